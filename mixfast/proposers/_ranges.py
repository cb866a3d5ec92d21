"""How far each proposed share can move while the objective stays within eps.

After an exact solve of a weighted sum, each end is the solution of a convex problem. After a search, the ranges are those of the mixtures it
evaluated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.base import Objective
from mixfast._engine.objectives.exponentials import Exponentials
from mixfast._engine.objectives.kl import Regularised
from mixfast._engine.optimise import flat
from mixfast._engine.optimise.flat import Range
from mixfast.proposers._task import Task

Ranges = dict[str, tuple[float, float]]


def ranges_seen(
    points: Matrix, near: NDArray[np.bool_], w: Vector, names: tuple[str, ...], wanted: list[str]
) -> Ranges:
    """Return the smallest and largest share of each domain among w (K,) and the points (M, K) of a search that are `near` (M,)."""
    kept = np.concatenate([points[near], w[None, :]])
    low, high = kept.min(axis=0), kept.max(axis=0)
    return {name: (float(low[k]), float(high[k])) for k, name in enumerate(names) if name in wanted}


def ranges_solved(task: Task, smooth: Exponentials, w: Vector, *, eps: float, wanted: list[str]) -> dict[str, Range]:
    """Compute the ranges around an exact solution w (K,), and how far the true ends may be beyond them."""
    base = smooth.restrict(task.reach.usable)
    objective: Objective = Regularised(base, task.kl) if task.weight > 0.0 else base
    limits = task.reach.limits
    if base.epochs is not None:
        limits = limits.above_zero(base.epochs.steep)
    moving = task.reach.places(wanted)
    found = flat.ranges(objective, limits, task.reach.restrict(w), eps=eps, moving=list(moving.values()))
    return {**dict.fromkeys(wanted, Range(0.0, 0.0, 0.0)), **dict(zip(moving, found, strict=True))}
