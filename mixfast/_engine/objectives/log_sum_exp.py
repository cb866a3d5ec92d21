"""Losses and gradients by log-sum-exp: slow, but correct for rows on which exp of a log-likelihood underflows.

Sweeps use it for the few rows or mixtures where experts differ by more than the range of exp.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector

# Elements in one block of rows.
_BLOCK = 1 << 20


def log_mixed(loglik: NDArray[np.floating], w: Vector) -> Vector:
    """Compute ``log sum_k w_k exp(l_ik)`` of each row, (n,) nats."""
    support = np.flatnonzero(w > 0.0)
    log_share = np.log(w[support])
    out = np.empty(loglik.shape[0])
    for rows in _blocks(loglik):
        terms = loglik[rows][:, support].astype(np.float64) + log_share
        top = terms.max(axis=1)
        # If all have probability 0, the logarithm is -inf.
        top = np.where(np.isfinite(top), top, 0.0)
        with np.errstate(divide="ignore"):
            out[rows] = top + np.log(np.exp(terms - top[:, None]).sum(axis=1))
    return out


def loss(loglik: NDArray[np.floating], c: Vector, w: Vector) -> float:
    """Compute ``-sum_i c_i log sum_k w_k exp(l_ik)`` in nats; rows of weight 0 do not count."""
    used = c > 0.0
    return float(-np.sum(c[used] * log_mixed(loglik, w)[used]))


def gradient(loglik: NDArray[np.floating], c: Vector, w: Vector) -> Vector:
    """Compute ``g_k = -sum_i c_i exp(l_ik - log sum_q w_q exp(l_iq))``, (K,).

    An expert with share 0 may be better than the mixture by more than e^709 on a row. Its entry is then -inf, because the value exceeds float64.
    """
    mixed = log_mixed(loglik, w)
    total: Vector = np.zeros(loglik.shape[1])
    for rows in _blocks(loglik):
        used = c[rows] > 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            ratio = np.exp(loglik[rows].astype(np.float64)[used] - mixed[rows][used, None])
        # -inf minus -inf: the expert and the mixture both give the row probability 0.
        total -= c[rows][used] @ np.nan_to_num(ratio, nan=0.0, posinf=np.inf)
    return total


def losses(loglik: NDArray[np.floating], c: Vector, mixtures: Matrix) -> Vector:
    """Compute `loss` of several mixtures (M, K), (M,)."""
    return np.array([loss(loglik, c, w) for w in mixtures])


def _blocks(loglik: NDArray[np.floating]) -> Iterator[slice]:
    step = max(1, _BLOCK // loglik.shape[1])
    return (slice(start, start + step) for start in range(0, loglik.shape[0], step))
