"""One temperature for each classifier, which makes its probabilities sharper or flatter, fitted on held-out rows.

Probabilities p become ``p^(1/T) / sum p^(1/T)``. In ``1/T`` the log-loss of the held-out rows is convex, so its minimum is found exactly.
Reference: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (arXiv 1706.04599), section 4.2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Temperatures beyond these are not used: if every held-out row is predicted right, the loss falls as T goes to 0.
LOWEST, HIGHEST = 0.05, 20.0
_STEPS = 100
_EXACT = 1e-12


class Curve(NamedTuple):
    """Slope and curvature of the log-loss in 1/T."""

    slope: float
    curvature: float


def tempered(probability: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return probabilities (n, C) at a temperature; those of 0 remain 0."""
    if temperature == 1.0:
        return probability
    with np.errstate(divide="ignore"):
        logs = np.log(probability)
    return _softmax(logs, 1.0 / temperature)


def fitted_temperature(probability: NDArray[np.float64], place: NDArray[np.intp]) -> float:
    """Return the temperature in [LOWEST, HIGHEST] with the smallest log-loss of rows (m, C) whose true classes are the columns ``place``.

    The probabilities of the true classes must be above 0. If no temperature is better than another, the result is 1.
    """
    with np.errstate(divide="ignore"):
        logs = np.log(probability)
    true = logs[np.arange(place.size), place]
    low, high = 1.0 / HIGHEST, 1.0 / LOWEST
    first, last = _curve(logs, true, low), _curve(logs, true, high)
    size = max(float(np.abs(np.where(np.isfinite(logs), logs, 0.0)).max()), 1.0)
    if max(abs(first.slope), abs(last.slope)) <= _EXACT * size:
        return 1.0
    if first.slope >= 0.0:
        return HIGHEST
    if last.slope <= 0.0:
        return LOWEST
    at = 1.0
    for _ in range(_STEPS):
        here = _curve(logs, true, at)
        if here.slope > 0.0:
            high = at
        else:
            low = at
        step = at - here.slope / here.curvature if here.curvature > 0.0 else low
        # Newton's step, or the middle of the interval if the step leaves it.
        new = step if low < step < high else 0.5 * (low + high)
        if abs(new - at) <= _EXACT * at:
            break
        at = new
    return 1.0 / at


def _curve(logs: NDArray[np.float64], true: NDArray[np.float64], inverse: float) -> Curve:
    """Return the derivatives of ``mean(log sum exp(logs / T) - true / T)`` in 1/T."""
    share = _softmax(logs, inverse)
    known = np.where(share > 0.0, logs, 0.0)
    mean = (share * known).sum(axis=1)
    variance = (share * (known - mean[:, None]) ** 2).sum(axis=1)
    return Curve(float(np.mean(mean - true)), float(np.mean(variance)))


def _softmax(logs: NDArray[np.float64], inverse: float) -> NDArray[np.float64]:
    scaled = logs * inverse
    scaled -= scaled.max(axis=1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled
