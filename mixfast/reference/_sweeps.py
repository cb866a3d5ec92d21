"""The backend contract in numpy: one sweep of the rows, and the losses of many mixtures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mixfast.reference._losses import Array, Pass


def row_pass(prob: npt.ArrayLike, offset: npt.ArrayLike, weight: npt.ArrayLike, mixture: npt.ArrayLike) -> Pass:
    """Return value, gradient and Hessian of ``-sum_i c_i (log(p_i @ w) + o_i)``.

    Parameters
    ----------
    prob : (n, K)
        Probabilities of each row divided by ``exp(offset)``.
    offset : (n,), nats
        Number subtracted from the row's log-likelihoods, usually their maximum.
    weight : (n,)
        Row weights c. Rows of weight 0 are ignored.
    mixture : (K,)
        Shares w.

    Returns
    -------
    Pass
        If a row of positive weight has ``p_i . w = 0``, ``value`` is inf and the gradient contains -inf.
    """
    p, o, c, w = (np.asarray(a, dtype=np.float64) for a in (prob, offset, weight, mixture))
    p, o, c = p[c > 0], o[c > 0], c[c > 0]
    mixed = p @ w
    with np.errstate(divide="ignore", invalid="ignore"):
        value = -np.sum(c * (np.log(mixed) + o))
        ratio = np.where(p > 0, p / mixed[:, None], 0.0)
        hessian = (ratio * c[:, None]).T @ ratio
    return Pass(float(value), -(c @ ratio), hessian)


def mixture_nll(
    prob: npt.ArrayLike,
    offset: npt.ArrayLike,
    weight: npt.ArrayLike,
    groups: npt.ArrayLike,
    mixtures: npt.ArrayLike,
) -> Array:
    """Return ``-sum_{i in group} c_i (log(p_i @ w_m) + o_i)`` for M mixtures and G groups, shape (M, G), nats.

    ``groups`` (G + 1,) has the first row of each group and the number of rows: group g has the rows ``groups[g]:groups[g + 1]``.
    """
    p, o, c, w = (np.asarray(a, dtype=np.float64) for a in (prob, offset, weight, np.atleast_2d(mixtures)))
    bounds = np.asarray(groups, dtype=np.int64)
    out = np.zeros((w.shape[0], bounds.size - 1))
    for m in range(w.shape[0]):
        with np.errstate(divide="ignore"):
            log_mixed = np.log(p @ w[m]) + o
        for g in range(bounds.size - 1):
            rows = np.arange(bounds[g], bounds[g + 1])
            rows = rows[c[rows] > 0]
            out[m, g] = -np.sum(c[rows] * log_mixed[rows])
    return out
