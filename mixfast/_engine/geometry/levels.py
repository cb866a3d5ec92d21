"""Shares ``clip(exp(t + level), low, high)`` that sum to 1: what is best under a KL term for given slopes.

``t_k = log prior_k - slope_k / kl``. One number, the level, is left to be found.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Vector

_PASSES = 100
# The rounding of a sum of shares, and of limits that leave no choice.
_SUM, _LIMITS = 1e-15, 1e-9
_TINY = 1e-300
# How far past the level at which a share comes free the search goes, so that rounding does not hold it back.
_NUDGE = 1e-6


def shares_at_level(
    t: Vector, low: Vector, high: Vector, level: float
) -> tuple[Vector, NDArray[np.bool_], float] | None:
    """Shares ``clip(exp(t + level), low, high)`` that sum to 1, which of them are free, and the level, by Newton from `level`.

    In exp(level) their sum is piecewise linear and increasing. None where it does not settle.
    """
    below, above = -math.inf, math.inf
    for _ in range(_PASSES):
        # Shares are at most 1: nothing above matters, and nothing must overflow.
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
            # The nearest limit below, at which another share comes free.
            new = float((np.log(np.maximum(high, _TINY)) - t)[x > high].max(initial=-math.inf)) - _NUDGE
        else:
            new = float((np.log(np.maximum(low, _TINY)) - t)[w < high].min(initial=math.inf)) + _NUDGE
        if not below < new < above:
            if not (math.isfinite(below) and math.isfinite(above)):
                # All shares at their caps and still too little, or at their floors and too much, is the rounding of the limits.
                return (w, free, level) if abs(excess) <= _LIMITS else None
            new = 0.5 * (below + above)
        if new in (level, below, above):
            # A level of thousands has digits enough for shares only up to its rounding.
            if room > _TINY:
                w = np.where(free, np.minimum(np.maximum(w * (1.0 - excess / room), low), high), w)
            return w, free, level
        level = new
    return None


def first_level(t: Vector, high: Vector) -> float:
    """The level at which ``min(exp(t + level), high)`` sums to 1, but for what is lost to float64's range."""
    top = float(t.max())
    e = np.exp(t - top)
    # In the order in which shares reach their caps; all before i are capped once share i is.
    order = np.argsort(high / np.maximum(e, _TINY))
    e, high = e[order], high[order]
    capped = np.cumsum(high) - high
    rest = np.cumsum(e[::-1])[::-1]
    full = capped + high / np.maximum(e, _TINY) * rest >= 1.0
    i = int(full.argmax()) if full[-1] else full.size - 1
    return math.log(max((1.0 - float(capped[i])) / max(float(rest[i]), _TINY), _TINY)) - top
