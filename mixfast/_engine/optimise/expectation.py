"""A few steps of expectation maximisation, which find the right order of magnitude of shares at once."""

from __future__ import annotations

import math

import numpy as np

from mixfast._engine.backend import simplex
from mixfast._engine.backend.arrays import Columns, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.base import Objective

_STEPS = 3
# The least share of a domain that had one, and the part of the way to a new point that is left out: the projection may take the whole
# of a small share, which rows (or the KL term) cannot do without.
_LEAST, _HELD = 1e-12, 0.01


def settle(objective: Objective, limits: Limits, w: Vector, columns: Columns | None = None) -> Vector:
    """Return w after a few steps ``w_k <- w_k * g_k / <g, w>``, kept within the limits; w itself under limits on groups.

    Where one expert explains a row far better than the others, Newton's model of -log only ever doubles what the row is given, while
    these steps find the right order of magnitude at once. They are no good at the last digits.
    """
    if limits.groups is not None:
        return w
    least = np.where(w > 0.0, _LEAST, 0.0)
    for _ in range(_STEPS):
        pull = -w * objective.sums(w, columns)[1]
        # Reductions by name: the methods' wrappers take as long as the sums of a small solve.
        total = float(np.add.reduce(pull))
        if not (0.0 < total < math.inf and np.minimum.reduce(pull) >= 0.0):
            break
        moved = simplex.project(np.maximum(pull / total, least), limits.low, limits.high)
        w = moved + _HELD * (w - moved)
    return w
