"""Euclidean projection onto a region with group limits: a dual active-set method around the projection without them.

For multipliers m of the active rows, ``w(m) = capped(x - rows' m)`` minimises the Lagrangian, where
``capped`` is the exact projection onto the box and the sum. The dual is concave, once differentiable and piecewise
quadratic in the B multipliers, for any K: Newton's method with a line search reaches its maximum in finitely many
steps (Li and Swetits 1997, "A new algorithm for solving strictly convex quadratic programs"). Rows become active
one at a time, the most violated first, and inactive when their multiplier reaches 0, as in Lawson and Hanson's NNLS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast.errors import MixfastError

# Tolerance of active rows, relative to the numbers that cancel: ten rounding errors. If rounding keeps the error above it, an error below
# the last number that has not halved in this many steps is accepted; the final correction removes the rest.
_ACTIVITY = 2e-15
_PATIENCE = 8
_ACTIVITY_STALLED = 1e-10
# Redundant rows make the Newton system singular; adding this fraction of its trace makes it definite.
_RIDGE = 1e-12


def project(
    x: Vector,
    lower: Vector,
    upper: Vector,
    rows: Matrix,
    row_lower: Vector,
    row_upper: Vector,
    capped: Callable[[Vector], Vector],
) -> Vector:
    """Return the point (K,) of the region nearest to ``x``; the region must not be empty.

    ``capped(y)`` must be the exact projection onto ``{sum = 1, lower <= w <= upper}``; ``rows`` is (B, K).
    """
    scale = np.abs(rows).max(axis=1)
    rows, row_lower, row_upper = rows / scale[:, None], row_lower / scale, row_upper / scale
    n_rows = rows.shape[0]
    multiplier = np.zeros(n_rows)
    side = np.zeros(n_rows, dtype=np.int8)  # +1 active at the upper limit, -1 at the lower, 0 inactive
    x = x - x.max()  # the sum is fixed, so subtracting a constant changes nothing but improves precision
    point = capped(x)

    best, stalled = math.inf, 0
    for _ in range(100 * (n_rows + 2)):
        # The numbers that cancel in x - rows' m, for shares above their floor, determine both rounding errors and sensible step sizes.
        spread = 1.0 + float(np.abs(x[point > lower]).max(initial=0.0))
        cancelling = spread + float(np.abs(multiplier).max())
        tolerance = _ACTIVITY * cancelling
        held = np.flatnonzero(side)
        active = rows[held]
        target = np.where(side > 0, row_upper, row_lower)[held]
        excess = active @ point - target
        error = float(np.abs(excess).max(initial=0.0))
        stalled = stalled + 1 if error > 0.5 * best else 0
        best = min(best, error)
        if error <= tolerance or (stalled >= _PATIENCE and error <= _ACTIVITY_STALLED * cancelling):
            # Correct rounding first: errors in the active rows must not look like a violation of rows that almost depend on them.
            settled = _settle(point, lower, upper, active, target)
            activity = rows @ settled
            outside = np.where(side == 0, np.maximum(activity - row_upper, row_lower - activity), -math.inf)
            worst = int(outside.argmax())
            if outside[worst] <= tolerance:
                return settled
            side[worst] = 1 if activity[worst] > row_upper[worst] else -1
            best, stalled = math.inf, 0
            continue

        free = active[:, (lower < point) & (point < upper)]
        if free.shape[1]:
            free = free - free.mean(axis=1, keepdims=True)  # the sum is fixed: only moves within it count
        curvature = free @ free.T
        ridge = _RIDGE * max(float(np.trace(curvature)), 1.0)
        direction = np.asarray(np.linalg.solve(curvature + ridge * np.eye(held.size), excess), dtype=np.float64)

        # A multiplier may not change its sign: the step ends when the first one reaches 0. That of an equation can become active again.
        shrinks = side[held] * direction < 0.0
        steps = np.full(held.size, math.inf)
        steps[shrinks] = -multiplier[held][shrinks] / direction[shrinks]
        longest = float(steps.min())
        # If the dual is flat, only the ridge determines the length of the direction, and a multiplier of 1e12 would lose
        # all digits. Moves larger than the spread of x rarely change anything, so the search starts with at most that.
        first = min(1.0, longest, spread / float(np.abs(direction).max()))
        # Treat a slope that can be a rounding error as zero: following it would send the multipliers to infinity.
        start = float(direction @ excess)
        enough = 0.1 * max(start, tolerance * float(np.abs(direction).sum()))
        along = partial(_slope, capped, x - multiplier @ rows, direction @ active, active, target, direction)
        step, point = _line_search(along, start, enough, first, longest)
        multiplier[held] += step * direction
        if step == longest:
            gone = held[steps == longest]
            multiplier[gone] = 0.0
            side[gone] = 0
            best, stalled = math.inf, 0
    raise MixfastError(
        f"projection on {rows.shape[1]} domains and {n_rows} group limits did not finish: please report it"
    )


def _slope(
    capped: Callable[[Vector], Vector],
    start: Vector,
    move: Vector,
    active: Matrix,
    target: Vector,
    direction: Vector,
    step: float,
) -> tuple[float, Vector]:
    """Return the slope of the dual at ``step`` along ``direction``, and the corresponding point."""
    point = capped(start - step * move)
    return float(direction @ (active @ point - target)), point


def _settle(point: Vector, lower: Vector, upper: Vector, held: Matrix, target: Vector) -> Vector:
    """Correct rounding errors in the sum and active rows by changing shares inside their bounds.

    The smallest such correction lies in the span of the rows. It is a last Newton step on the multipliers, without the
    cancellation in ``x - rows' m`` for large x.
    """
    equations = np.vstack([np.ones(point.size), held])
    right = np.append(1.0, target)
    missing = right - equations @ point
    for _ in range(4):
        free = (lower < point) & (point < upper)
        settled = point.copy()
        settled[free] += np.linalg.lstsq(equations[:, free], missing, rcond=None)[0]
        settled = np.clip(settled, lower, upper)
        left = right - equations @ settled
        # Shares that the correction moved to a bound stay there; the others absorb the remaining error.
        if np.abs(left).max() >= 0.5 * np.abs(missing).max():
            break
        point, missing = settled, left
    return point


def _line_search(
    slope: Callable[[float], tuple[float, Vector]], start: float, enough: float, first: float, longest: float
) -> tuple[float, Vector]:
    """Return a step up to ``longest`` at which the non-increasing ``slope`` is ``enough`` or less, and its point."""
    low, high = 0.0, math.inf
    low_slope, high_slope = start, 0.0
    step = first
    for attempt in range(200):
        here, point = slope(step)
        if abs(here) <= enough or (here > 0.0 and step == longest):
            break
        if here > 0.0:
            low, low_slope = step, here
        else:
            high, high_slope = step, here
        if math.isinf(high):
            # A step of 1 is Newton's step: never skip it, because it is the exact maximum of the piece.
            step = min(4.0 * step, longest, 1.0 if step < 1.0 else math.inf)
        elif attempt % 2:
            step = low + (high - low) * low_slope / (low_slope - high_slope)
        else:
            step = math.sqrt(max(low, 1e-4 * high) * high)
    return step, point
