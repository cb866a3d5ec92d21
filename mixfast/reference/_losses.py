"""Losses of the reference: float64, from raw log-likelihoods by log-sum-exp, summed in blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mixfast.tables import ExpertTable

Array = npt.NDArray[np.float64]

# Elements of one block of rows in float64 (16 MB), so that a large float32 table is never converted as a whole.
_BLOCK_ELEMENTS = 2_000_000


class Pass(NamedTuple):
    """Value, gradient (K,) and Hessian (K, K) of a loss at one mixture, float64."""

    value: float
    gradient: Array
    hessian: Array


class GroupPass(NamedTuple):
    """Losses (G,) and gradients (G, K) of every group of a table at one mixture, float64."""

    losses: Array
    gradients: Array


def log_mixed(loglik: npt.ArrayLike, mixture: npt.ArrayLike) -> Array:
    """Return ``log sum_k w_k exp(l_ik)`` of each row, (n,) float64 nats, by log-sum-exp over the support of w."""
    table, w = np.asarray(loglik), np.asarray(mixture, dtype=np.float64)
    support = np.flatnonzero(w > 0)
    out = np.empty(table.shape[0])
    for rows in _blocks(table.shape):
        terms = np.asarray(table[rows][:, support], dtype=np.float64) + np.log(w[support])
        top = terms.max(axis=1)
        # A row that is -inf for every expert in use has the logarithm -inf.
        safe = np.where(np.isfinite(top), top, 0.0)
        with np.errstate(divide="ignore"):
            out[rows] = safe + np.log(np.exp(terms - safe[:, None]).sum(axis=1))
    return out


def ensemble_loss(loglik: npt.ArrayLike, weight: npt.ArrayLike, mixture: npt.ArrayLike) -> float:
    """Return ``-sum_i c_i log sum_k w_k exp(l_ik)`` in nats. Rows of weight 0 are ignored."""
    c = row_weights(weight, np.shape(loglik)[0])
    used = c > 0
    return float(-np.sum(c[used] * log_mixed(loglik, mixture)[used]))


def gradient(loglik: npt.ArrayLike, weight: npt.ArrayLike, mixture: npt.ArrayLike) -> Array:
    """Return ``g_k = -sum_i c_i exp(l_ik - log sum_q w_q exp(l_iq))``, (K,) float64.

    An expert of share 0 may be better than the mixture by a factor above e^709 on a row. Its entry is then -inf, which is the value
    rounded to float64.
    """
    table, c = np.asarray(loglik), row_weights(weight, np.shape(loglik)[0])
    mixed = log_mixed(table, mixture)
    total = np.zeros(table.shape[1])
    for rows in _blocks(table.shape):
        used = c[rows] > 0
        with np.errstate(over="ignore", invalid="ignore"):
            ratio = np.exp(np.asarray(table[rows], dtype=np.float64)[used] - mixed[rows][used, None])
        # -inf minus -inf: the expert gives the row probability 0, as the mixture does.
        total -= c[rows][used] @ np.nan_to_num(ratio, nan=0.0, posinf=np.inf)
    return total


def squared_error(
    prediction: npt.ArrayLike, target: npt.ArrayLike, weight: npt.ArrayLike, mixture: npt.ArrayLike
) -> Pass:
    """Return value, gradient and Hessian of ``1/2 sum_i c_i |p_i w - y_i|^2``.

    ``prediction`` is (n, K), or (n, K, D) for D outputs; ``target`` is (n,) or (n, D); ``weight`` is (n,).
    """
    p, y, c, w = (np.asarray(a, dtype=np.float64) for a in (prediction, target, weight, mixture))
    p = p.reshape(p.shape[0], p.shape[1], -1)
    y = y.reshape(y.shape[0], -1)
    residual = np.einsum("ikd,k->id", p, w) - y
    return Pass(
        float(0.5 * np.sum(c[:, None] * residual**2)),
        np.einsum("i,ikd,id->k", c, p, residual),
        np.einsum("i,ikd,ild->kl", c, p, p),
    )


def kl_divergence(mixture: npt.ArrayLike, prior: npt.ArrayLike) -> float:
    """Return ``sum_k w_k log(w_k / q_k)`` in nats, 0 log 0 = 0; inf if a domain with prior 0 has a share."""
    w, q = np.asarray(mixture, dtype=np.float64), np.asarray(prior, dtype=np.float64)
    used = w > 0
    with np.errstate(divide="ignore"):
        return float(np.sum(w[used] * (np.log(w[used]) - np.log(q[used]))))


def kl_gradient(mixture: npt.ArrayLike, prior: npt.ArrayLike) -> Array:
    """Return the gradient ``log(w_k / q_k) + 1`` of the divergence; -inf for a share of 0, +inf for a prior of 0."""
    w, q = np.asarray(mixture, dtype=np.float64), np.asarray(prior, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope: Array = np.where(q > 0, np.log(w) - np.log(q) + 1.0, np.inf)
    return slope


def group_pass(table: ExpertTable, mixture: npt.ArrayLike) -> GroupPass:
    """Return the loss and the gradient of every group of a table: cross entropy or squared error, depending on its kind."""
    w = np.asarray(mixture, dtype=np.float64)
    losses, gradients = [], []
    for data, target, c in group_rows(table):
        if target is None:
            losses.append(ensemble_loss(data, c, w))
            gradients.append(gradient(data, c, w))
        else:
            value, slope, _ = squared_error(data, target, c, w)
            losses.append(value)
            gradients.append(slope)
    return GroupPass(np.array(losses), np.array(gradients))


def group_weights(table: ExpertTable, objective: Mapping[str, float] | None = None) -> Array:
    """Return the weights (G,) of the groups in an objective, which sum to 1; None gives equal weights."""
    names = list(table.group_names)
    if objective is None:
        return np.full(len(names), 1.0 / len(names))
    unknown = set(objective) - set(names)
    if unknown:
        raise ValueError(
            f"objective names groups {sorted(unknown)}, which the table does not have; its groups are {names}"
        )
    weights = np.array([float(objective.get(name, 0.0)) for name in names])
    shares: Array = weights / weights.sum()
    return shares


def total_value(
    table: ExpertTable,
    mixture: npt.ArrayLike,
    *,
    prior: npt.ArrayLike | None = None,
    kl: float = 0.0,
    objective: Mapping[str, float] | str | None = None,
) -> float:
    """Return ``L(w) + kl * KL(w || prior)`` with L the weighted sum, or the worst, of the groups' losses."""
    w = np.asarray(mixture, dtype=np.float64)
    losses = np.array(
        [
            ensemble_loss(data, c, w) if y is None else squared_error(data, y, c, w).value
            for data, y, c in group_rows(table)
        ]
    )
    loss = losses.max() if isinstance(objective, str) else group_weights(table, objective) @ losses
    return float(loss) + (kl * kl_divergence(mixture, prior) if kl and prior is not None else 0.0)


def _blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    step = max(1, _BLOCK_ELEMENTS // max(1, shape[1]))
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def row_weights(weight: npt.ArrayLike, n: int) -> Array:
    return np.broadcast_to(np.asarray(weight, dtype=np.float64), (n,))


def group_rows(table: ExpertTable) -> Iterator[tuple[Any, Any, Array]]:
    """Yield data, target (None for cross entropy) and row weights of each group."""
    mse = table.kind == "mse"
    data: Any = table.prediction if mse else table.loglik
    for start, stop in zip(table.group_offsets[:-1], table.group_offsets[1:], strict=True):
        rows = slice(int(start), int(stop))
        target = np.asarray(table.target[rows], dtype=np.float64) if mse else None
        yield data[rows], target, np.asarray(table.row_weight[rows], dtype=np.float64)
