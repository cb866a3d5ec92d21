"""Loops from the literature: exponentiated gradient as in the MixMin code, and expectation maximisation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mixfast.reference._losses import Array, gradient, row_weights


def eg_paper_path(
    loglik: npt.ArrayLike,
    length: npt.ArrayLike | None = None,
    *,
    weight: npt.ArrayLike | None = None,
    eta: float = 1.0,
    steps: int = 100,
    stop: float = 1e-4,
) -> Iterator[Array]:
    """Yield the iterates of MixMin's published loop, starting with equal shares.

    ``w <- w * exp(-eta g) / sum``, until the largest ``|g_k|`` at the point before the update is below ``stop``
    (the update is kept) or ``steps`` steps are done. Row weights are ``1 / (n length)``, or ``weight`` if it is given.

    Notes
    -----
    ``<w, g> = -sum_i c_i`` always, so the largest ``|g_k|`` is at least ``sum_i c_i``. The stop rule therefore cannot fire unless
    sequences have more than ``1 / stop`` tokens on average.

    References
    ----------
    Thudi et al. (2025), MixMin: finding data mixtures via convex minimization, arXiv 2502.10510, and its code.
    """
    n, k = np.shape(loglik)
    if weight is None:
        c = 1.0 / (n * np.broadcast_to(np.asarray(1.0 if length is None else length, dtype=np.float64), (n,)))
    else:
        c = row_weights(weight, n)
    w = np.full(k, 1.0 / k)
    yield w
    for _ in range(steps):
        g = gradient(loglik, c, w)
        # The gradient is negative, so the smallest exponent is subtracted: exp cannot overflow, the ratio is the same.
        w = w * np.exp(-eta * (g - g.min()))
        w = w / w.sum()
        yield w
        if np.abs(g).max() < stop:
            return


def eg_paper(loglik: npt.ArrayLike, length: npt.ArrayLike | None = None, **options: Any) -> Array:
    """Return the last iterate of `eg_paper_path`, (K,): the mixture the MixMin code returns."""
    return list(eg_paper_path(loglik, length, **options))[-1]


def em(
    loglik: npt.ArrayLike,
    weight: npt.ArrayLike,
    *,
    steps: int = 1000,
    tol: float = 0.0,
    start: npt.ArrayLike | None = None,
) -> Array:
    """Return the mixture (K,) after EM steps ``w_k <- w_k * -g_k / sum_i c_i`` on the simplex.

    The loss never rises. Stops before ``steps`` when the Frank-Wolfe gap over the simplex is at most ``tol``.
    """
    n, k = np.shape(loglik)
    c = row_weights(weight, n)
    w = np.full(k, 1.0 / k) if start is None else np.asarray(start, dtype=np.float64)
    for _ in range(steps):
        g = gradient(loglik, c, w)
        used = w > 0
        if np.sum(g[used] * w[used]) - g.min() <= tol:
            break
        w = np.where(used, w * np.where(used, -g, 0.0), 0.0)
        w = w / w.sum()
    return w
