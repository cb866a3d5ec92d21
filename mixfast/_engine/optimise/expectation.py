"""A few steps of expectation maximisation, which quickly find the right order of magnitude of shares."""

from __future__ import annotations

import math

import numpy as np

from mixfast._engine.backend import simplex
from mixfast._engine.backend.arrays import Columns, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.base import Objective

STEPS = 3
# The smallest share kept for a domain that had one, and the fraction of the old point that each step keeps: otherwise the projection
# may remove a small share that rows (or the KL term) need.
LEAST, HELD = 1e-12, 0.01


def settle(objective: Objective, limits: Limits, w: Vector, columns: Columns | None = None) -> Vector:
    """Return w after a few steps ``w_k <- w_k * g_k / <g, w>``, kept within the limits; w itself if there are group limits.

    If one expert explains a row far better than the others, each step of Newton's model of -log at most doubles the row's probability, while
    these steps find the right order of magnitude at once. They converge slowly near the optimum.
    """
    if limits.groups is not None:
        return w
    has = w > 0.0
    # A domain without a share gets none, not even the rounding error of a projection: the shares in use decide how much later sweeps cost.
    least, most = np.where(has, LEAST, 0.0), np.where(has, limits.high, limits.low)
    for _ in range(STEPS):
        pull = -w * objective.sums(w, columns)[1]
        # Call the reductions directly: the array methods' wrappers take as long as the sums of a small solve.
        total = float(np.add.reduce(pull))
        if not (0.0 < total < math.inf and np.minimum.reduce(pull) >= 0.0):
            break
        moved = simplex.project(np.maximum(pull / total, least), limits.low, most)
        w = moved + HELD * (w - moved)
    return w
