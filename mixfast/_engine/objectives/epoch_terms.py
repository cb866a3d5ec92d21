"""What a number of epochs does to the logarithm of a metric: a gain that saturates, and a harm that begins late.

``gain(E) = 1 - exp(-(rho E)^p)`` is concave for p in (0, 1]. Its slope at 0 is infinite for p < 1.
``harm(E) = softplus((E - c) / (c + 1))`` with ``c = exp(tau) - 1`` is convex. ``late_harm(E) = softplus(log(1 + E) - tau)^2`` grows
more slowly and is not convex. Every function returns value, first and second derivative with respect to E, in the shape of E.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Derivatives = tuple[Array, Array, Array]


def gain(epochs: Array, rho: ArrayLike, p: ArrayLike) -> Derivatives:
    """Return the saturating gain and its derivatives; at 0 epochs these are infinite for p < 1."""
    rho, p = np.asarray(rho, dtype=np.float64), np.asarray(p, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        u = (rho * epochs) ** p
        kept = np.exp(-u)
        slope = p * rho * (rho * epochs) ** (p - 1.0) * kept
        # u / E is written so that p = 1 has a finite value at E = 0.
        bend = slope * ((p - 1.0) / epochs - p * rho * (rho * epochs) ** (p - 1.0))
        # At E = 0: for p = 1 the slope is rho and the second derivative -rho^2; for p < 1 they are inf and -inf.
        at_zero = np.where(p == 1.0, -(rho**2), -np.inf)
    slope = np.where(np.isnan(slope), 0.0, slope)
    return -np.expm1(-u), slope, np.where(epochs == 0.0, at_zero, np.where(np.isnan(bend), 0.0, bend))


def gain_alone(epochs: Array, rho: float, p: float) -> Array:
    """Return the gain without its derivatives, which take most of the time; the same bits as `gain`."""
    return np.asarray(-np.expm1(-((rho * epochs) ** p)))


def harm(epochs: Array, tau: ArrayLike) -> Derivatives:
    """Return the convex harm and its derivatives; it begins near exp(tau) - 1 epochs."""
    width = np.exp(np.asarray(tau, dtype=np.float64))
    soft, s = _softplus((epochs - (width - 1.0)) / width)
    return soft, s / width, s * (1.0 - s) / width**2


def late_harm(epochs: Array, tau: ArrayLike) -> Derivatives:
    """Return the harm that is not convex, and its derivatives; it begins near exp(tau) - 1 epochs."""
    soft, s = _softplus(np.log1p(epochs) - np.asarray(tau, dtype=np.float64))
    inner = 1.0 / (1.0 + epochs)
    slope = 2.0 * soft * s * inner
    return soft**2, slope, 2.0 * inner**2 * (s**2 + soft * s * (1.0 - s) - soft * s)


def _softplus(z: Array) -> tuple[Array, Array]:
    """Return ``log(1 + exp z)`` and its derivative, from one exponential."""
    small = np.exp(-np.abs(z))
    return np.maximum(z, 0.0) + np.log1p(small), np.where(z >= 0.0, 1.0, small) / (1.0 + small)
