"""A few steps of expectation maximisation, which quickly find the right order of magnitude of shares."""

from __future__ import annotations

import math

import numpy as np

from mixfast._engine.backend import simplex
from mixfast._engine.backend.arrays import Columns, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.base import Objective

STEPS = 3
# The smallest share kept for a domain that had one, and the fraction of the old point that each step keeps: only a share above 0 can grow again
# if rows (or the KL term) need it later.
LEAST, HELD = 1e-12, 0.01
# With few rows for each domain or experts that differ by many nats, the steps converge fast. While a step leaves less than this fraction of
# the gap, more of them reach a tolerance sooner than Newton steps with their Hessians; at most this many.
QUICK, MOST_STEPS = 0.45, 12


def settle(objective: Objective, limits: Limits, w: Vector, columns: Columns | None = None) -> Vector:
    """Return w after a few steps ``w_k <- w_k * g_k / <g, w>``, kept within the limits; w itself if there are group limits.

    If one expert explains a row far better than the others, each step of Newton's model of -log at most doubles the row's probability, while
    these steps find the right order of magnitude at once. They converge slowly near the optimum. Caps and floors are kept by a KL projection,
    which is the exact step within them; a Euclidean one would remove a share of 1e-20 that some row needs.
    """
    return settle_to(-math.inf, objective, limits, w, columns)[0]


def settle_to(
    tol: float, objective: Objective, limits: Limits, w: Vector, columns: Columns | None = None
) -> tuple[Vector, bool]:
    """Return w as `settle` does, and whether its gap is at most `tol`: with a `tol` of at least 0, there are more steps while they are quick.

    With a tolerance, these are the steps with which the compiled loop begins (`csrc/rows/newton.c`); `tests/engine/test_newton.py` compares them.
    """
    if limits.groups is not None:
        return w, False
    has = w > 0.0
    # A domain without a share gets none, not even the rounding error of a projection: the shares in use decide how much later sweeps cost.
    least, most = np.where(has, LEAST, 0.0), np.where(has, limits.high, limits.low)
    before, quick, step = math.inf, True, 0
    while step < (MOST_STEPS if quick else STEPS):
        slope = objective.sums(w, columns)[1]
        pull = -w * slope
        # Call the reductions directly: the array methods' wrappers take as long as the sums of a small solve.
        total = float(np.add.reduce(pull))
        if not (0.0 < total < math.inf and np.minimum.reduce(pull) >= 0.0):
            break
        gap = -float(np.minimum.reduce(slope)) - total
        if gap <= tol:
            return w, True
        quick, before, step = tol >= 0.0 and gap <= QUICK * before, gap, step + 1
        moved = simplex.kl_project(np.maximum(pull / total, least), limits.low, most)
        w = moved + HELD * (w - moved)
    return w, False
