"""Optimal shares under a KL term for given slopes: ``clip(exp(t + level), low, high)`` that sum to 1.

``t_k = log prior_k - slope_k / kl``. Only one number, the level, has to be found.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Vector

_PASSES = 100
# Tolerance of the sum of shares, and a larger one for limits that leave no freedom.
_SUM, _LIMITS = 1e-15, 1e-9
_TINY = 1e-300
# When a share becomes free at a level, the search goes this much further, so that rounding does not keep the share at its bound.
_NUDGE = 1e-6


def shares_at_level(
    t: Vector, low: Vector, high: Vector, level: float
) -> tuple[Vector, NDArray[np.bool_], float] | None:
    """Return shares ``clip(exp(t + level), low, high)`` that sum to 1, which of them are free, and the level, by Newton from `level`.

    The sum is piecewise linear and increasing in exp(level). Return None if the search does not converge.
    """
    below, above = -math.inf, math.inf
    for _ in range(_PASSES):
        # Shares are at most 1, so larger values do not matter and must not overflow.
        x = np.exp(np.minimum(t + level, 1.0))
        w = np.minimum(np.maximum(x, low), high)
        free = x == w
        excess = float(w.sum()) - 1.0
        room = float(x @ free)
        if abs(excess) <= _SUM:
            return w, free, level
        if excess > 0.0:
            above = level
        else:
            below = level
        if room > max(excess, _TINY):
            new = level + math.log1p(-excess / room)
        elif excess > 0.0:
            # The next lower level at which another share becomes free.
            new = float((np.log(np.maximum(high, _TINY)) - t)[x > high].max(initial=-math.inf)) - _NUDGE
        else:
            new = float((np.log(np.maximum(low, _TINY)) - t)[w < high].min(initial=math.inf)) + _NUDGE
        if not below < new < above:
            if not (math.isfinite(below) and math.isfinite(above)):
                # All shares at their caps with a sum below 1, or at their floors with a sum above 1, is a rounding error of the limits.
                return (w, free, level) if abs(excess) <= _LIMITS else None
            new = 0.5 * (below + above)
        if new in (level, below, above):
            # If the level is in the thousands, its rounding limits the accuracy of the shares.
            if room > _TINY:
                w = np.where(free, np.minimum(np.maximum(w * (1.0 - excess / room), low), high), w)
            return w, free, level
        level = new
    return None


def first_level(t: Vector, high: Vector) -> float:
    """Return the level at which ``min(exp(t + level), high)`` sums to 1, up to underflow and overflow."""
    top = float(t.max())
    e = np.exp(t - top)
    # Sort the shares by the level at which they reach their caps. When share i reaches its cap, all before it have done so.
    order = np.argsort(high / np.maximum(e, _TINY))
    e, high = e[order], high[order]
    capped = np.cumsum(high) - high
    rest = np.cumsum(e[::-1])[::-1]
    full = capped + high / np.maximum(e, _TINY) * rest >= 1.0
    i = int(full.argmax()) if full[-1] else full.size - 1
    return math.log(max((1.0 - float(capped[i])) / max(float(rest[i]), _TINY), _TINY)) - top
