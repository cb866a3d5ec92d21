"""The loops of `newton.py` and `expectation.py` in one compiled call, for tables that fit into the cache.

On 1000 rows of 8 experts a sweep takes a few microseconds, less than the Python between two sweeps. `csrc/rows/newton.c` has the same steps
with the same constants, over caps and floors and in float64; it calls the same compiled sweeps, quadratic steps and projections.
`tests/engine/test_newton.py` holds both loops to the same steps.
"""

from __future__ import annotations

from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.backend.rows import Rules
from mixfast._engine.geometry import limits as bounds
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.base import InCache, Objective
from mixfast._engine.optimise import expectation, newton
from mixfast._engine.optimise.trace import Minimum, Step, Trace

RULES = Rules(
    rough=newton.ROUGH,
    keep=newton.KEEP,
    overshot=newton.OVERSHOT,
    far=newton.FAR,
    soon=newton.SOON,
    near=newton.NEAR,
    rounded=newton.ROUNDED,
    many=newton.MANY,
    level=newton.LEVEL,
    rounding=bounds.ROUNDING,
    rise=newton.RISE,
    coarse_rise=newton.COARSE_RISE,
    trials=newton.TRIALS,
    accepted=newton.ACCEPTED,
    shorter=newton.SHORT,
    stalled=newton.STALLED,
    rescues=newton.RESCUES,
    idle=newton.IDLE,
    early=newton.EARLY,
    falls=newton.FALLS,
    advances=newton.ADVANCES,
    steps=expectation.STEPS,
    least=expectation.LEAST,
    held=expectation.HELD,
    quick=expectation.QUICK,
    most_steps=expectation.MOST_STEPS,
)


class Many(NamedTuple):
    """Minima of B problems: shares (B, C), values (B,), gradients (B, C), gaps (B,), numbers of Newton steps (B,)."""

    w: Matrix
    value: Vector
    gradient: Matrix
    gap: Vector
    steps: NDArray[np.int64]


def taken(objective: Objective, limits: Limits, domains: int) -> InCache | None:
    """Return the rows as the compiled loops take them; None if they do not know the objective, or limits other than caps and floors."""
    plain = limits.groups is None and limits.interior is False and limits.total == 1.0
    return objective.in_cache() if plain and domains <= newton.ALL_DOMAINS else None


def settle(objective: Objective, limits: Limits, w: Vector) -> Vector:
    """Return w (C,) after a few steps of expectation maximisation; see `expectation.settle`."""
    small = taken(objective, limits, w.size)
    if small is None:
        return expectation.settle(objective, limits, w)
    return small.rows.settle(w, limits.low, limits.high, RULES, small.threads)


def minimise(
    objective: Objective, limits: Limits, w: Vector, *, tol: float, max_iter: int, trace: Trace, settled: bool = True
) -> Minimum | None:
    """Return what `Newton.minimise` would from w (C,); None if the compiled loop does not suit.

    Unless w is `settled`, the search begins with expectation maximisation as in `expectation.settle_to`.
    """
    small = taken(objective, limits, w.size)
    if small is None:
        return None
    before = perf_counter() - trace.began
    w, value, gradient, gap, hessian, steps, lines = small.rows.newton(
        w, limits.low, limits.high, RULES, small.total, tol, max_iter, small.threads, not settled
    )
    rows, domains = objective.rows, w.size
    trace.steps += [Step._make((rows, domains, level, left, before + seconds)) for level, left, seconds in lines]
    return Minimum(w, value, gradient, gap, trace.steps, hessian, steps)


def minimise_many(small: InCache, limits: Limits, w: Vector, weight: Matrix, *, tol: float, max_iter: int) -> Many:
    """Minimise B times from w (C,), with row weights (B, n) in place of the rows' own.

    The tolerance is multiplied by the sum of the weights, if that is above 1. Runs on the calling thread, without the GIL.
    """
    weight = np.ascontiguousarray(weight)
    return Many(*small.rows.newton_many(weight, w, limits.low, limits.high, RULES, tol, max_iter))
