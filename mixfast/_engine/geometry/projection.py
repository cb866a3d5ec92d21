"""Euclidean projection on a region with limits on groups: a dual active-set method around the capped projection.

For multipliers m of the rows that are held at a limit, ``w(m) = capped(x - rows' m)`` minimises the Lagrangian, where
``capped`` is the exact projection on the box and the sum. The dual is concave, once differentiable and piecewise
quadratic in the B multipliers, whatever K is: Newton's method with a line search reaches its maximum in finitely many
steps (Li and Swetits 1997, "A new algorithm for solving strictly convex quadratic programs"). Around it, rows enter
one at a time, the most violated first, and leave when their multiplier reaches 0, as in Lawson and Hanson's NNLS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast.errors import MixfastError

# Rows are met to this, relative to the numbers that cancel: ten roundings. Where rounding keeps the error above it, one
# that has not halved in so many steps and is below the second number is taken; the last correction removes the rest.
_ACTIVITY = 2e-15
_PATIENCE = 8
_ACTIVITY_STALLED = 1e-10
# Redundant rows make the Newton system singular; this much of its trace makes it definite.
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

    ``capped(y)`` must be the exact projection on ``{sum = 1, lower <= w <= upper}``; ``rows`` is (B, K).
    """
    scale = np.abs(rows).max(axis=1)
    rows, row_lower, row_upper = rows / scale[:, None], row_lower / scale, row_upper / scale
    n_rows = rows.shape[0]
    multiplier = np.zeros(n_rows)
    side = np.zeros(n_rows, dtype=np.int8)  # +1 held at the upper limit, -1 at the lower, 0 not held
    x = x - x.max()  # the sum is fixed, so a constant changes nothing; without it the digits go to what matters
    point = capped(x)

    best, stalled = math.inf, 0
    for _ in range(100 * (n_rows + 2)):
        # The numbers that cancel in x - rows' m where a share is above its floor set both rounding and sensible steps.
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
            # Settled first: rounding in the held rows must not pass for a violation of rows that almost depend on them.
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

        # A multiplier may not change its sign: the first to reach 0 ends the step. That of an equation can come back.
        shrinks = side[held] * direction < 0.0
        steps = np.full(held.size, math.inf)
        steps[shrinks] = -multiplier[held][shrinks] / direction[shrinks]
        longest = float(steps.min())
        # Where the dual is flat the ridge alone sets the length of the direction, and a multiplier of 1e12 would cost
        # all digits. A move of more than the spread of x rarely changes anything: the search begins no further out.
        first = min(1.0, longest, spread / float(np.abs(direction).max()))
        # A slope that rounding alone can make counts as none: following it would send the multipliers to infinity.
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
    """Return the slope of the dual at ``step`` along ``direction``, and the point that belongs to it."""
    point = capped(start - step * move)
    return float(direction @ (active @ point - target)), point


def _settle(point: Vector, lower: Vector, upper: Vector, held: Matrix, target: Vector) -> Vector:
    """Return ``point`` with the rounding in its sum and held rows given back to the shares inside their bounds.

    The smallest such correction lies in the span of the rows: it is a last Newton step on the multipliers, without the
    cancellation that ``x - rows' m`` suffers when x is large.
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
        # Shares that the correction pushed to a bound stay there, and the others settle what that leaves.
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
            # The step of 1 is Newton's: never jump over it, it is the exact maximum of the piece.
            step = min(4.0 * step, longest, 1.0 if step < 1.0 else math.inf)
        elif attempt % 2:
            step = low + (high - low) * low_slope / (low_slope - high_slope)
        else:
            step = math.sqrt(max(low, 1e-4 * high) * high)
    return step, point
