"""Slow and obviously right: what every fast path of `mixfast` is measured against.

Plain numpy in float64, one formula a function, no tricks. Losses are evaluated from the raw log-likelihoods by
log-sum-exp, never from probabilities, so nothing here can underflow. The convex problem is also written for cvxpy
(extra ``reference``), whose solvers share no line of code with ours.

The functions `row_pass` and `mixture_nll` are the backend contract; the others take a log-likelihood array of shape
(n, K), or an `ExpertTable`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mixfast._text.optional import needed
from mixfast.errors import BackendError, RegionError
from mixfast.reference._conic import ConicSolution, solve_cvxpy
from mixfast.reference._losses import (
    Array,
    GroupPass,
    Pass,
    ensemble_loss,
    gradient,
    group_pass,
    group_weights,
    kl_divergence,
    kl_gradient,
    log_mixed,
    row_weights,
    squared_error,
    total_value,
)

if TYPE_CHECKING:
    from mixfast.region import Region

__all__ = [
    "ConicSolution",
    "GroupPass",
    "Pass",
    "WorstGap",
    "eg_paper",
    "eg_paper_path",
    "em",
    "ensemble_loss",
    "frank_wolfe_gap",
    "gradient",
    "group_pass",
    "group_weights",
    "kl_divergence",
    "kl_gradient",
    "linear_minimum",
    "log_mixed",
    "mixture_nll",
    "row_pass",
    "solve_cvxpy",
    "squared_error",
    "total_value",
    "worst_gap",
]


class WorstGap(NamedTuple):
    """Certified gap of a minimax objective and the group weights (G,) of the bound."""

    gap: float
    group_weights: Array


# ---------------------------------------------------------------------------------------------- backend contract


def row_pass(prob: npt.ArrayLike, offset: npt.ArrayLike, weight: npt.ArrayLike, mixture: npt.ArrayLike) -> Pass:
    """Return value, gradient and Hessian of ``-sum_i c_i (log(p_i . w) + o_i)``.

    Parameters
    ----------
    prob : (n, K)
        Probabilities of each row divided by ``exp(offset)``.
    offset : (n,), nats
        What was subtracted from the row's log-likelihoods, usually its maximum.
    weight : (n,)
        Row weights c. Rows of weight 0 do not exist.
    mixture : (K,)
        Shares w.

    Returns
    -------
    Pass
        ``value`` is inf and the gradient has -inf where a row of positive weight has ``p_i . w = 0``.
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
    """Return ``-sum_{i in group} c_i (log(p_i . w_m) + o_i)`` for M mixtures and G groups, shape (M, G), nats.

    ``groups`` (G + 1,) holds the offsets of the groups' rows: group g has rows ``groups[g]:groups[g + 1]``.
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


# --------------------------------------------------------------------------------------------------- certificates


def linear_minimum(slope: npt.ArrayLike, region: Region) -> float:
    """Return ``min_{s in region} <slope, s>``.

    Without group bounds the shares above the floors are filled from the cheapest domain up; with them it is a linear
    programme, given to scipy's HiGHS.

    Raises
    ------
    BackendError
        When the region has bounds and scipy is missing.
    """
    g = np.asarray(slope, dtype=np.float64)
    if np.isneginf(g[np.asarray(region.cap) > 0]).any():
        return -np.inf
    if len(region.bound_lower) == 0:
        cap, floor = np.minimum(region.cap, 1.0), np.asarray(region.floor, dtype=np.float64)
        s, left = floor.copy(), 1.0 - floor.sum()
        for k in np.argsort(g, kind="stable"):
            add = min(cap[k] - floor[k], max(left, 0.0))
            s[k] += add
            left -= add
        used = s > 0
        return float(np.sum(g[used] * s[used]))
    result = _linprog(g, region)
    return float(result.fun)


def frank_wolfe_gap(slope: npt.ArrayLike, mixture: npt.ArrayLike, region: Region) -> float:
    """Return ``<g, w> - min_{s in region} <g, s>``, an upper bound of ``L(w) - L*`` for convex L.

    References
    ----------
    Jaggi (2013), Revisiting Frank-Wolfe: projection-free sparse convex optimization, equation 2.
    """
    g, w = np.asarray(slope, dtype=np.float64), np.asarray(mixture, dtype=np.float64)
    used = w != 0
    return float(np.sum(g[used] * w[used])) - linear_minimum(g, region)


def worst_gap(
    losses: npt.ArrayLike,
    gradients: npt.ArrayLike,
    mixture: npt.ArrayLike,
    region: Region,
    group_weights: npt.ArrayLike | None = None,
) -> WorstGap:
    """Return the gap of ``max_g L_g(w)`` certified by group weights, given or the best there are.

    For any weights u on the simplex ``min_w max_g L_g(w) >= sum_g u_g L_g(w') - gap_u(w')``, gap_u being the
    Frank-Wolfe gap of the weighted sum. The best u is found by the dual linear programme: ``min t`` subject to
    ``L_g + <grad_g, s - w'> <= t`` and s in the region.
    """
    values, slopes = np.asarray(losses, dtype=np.float64), np.asarray(gradients, dtype=np.float64)
    w = np.asarray(mixture, dtype=np.float64)
    if group_weights is None:
        result = _linprog_epigraph(values - slopes @ w, slopes, region)
        u = np.maximum(-np.asarray(result.ineqlin.marginals)[: values.size], 0.0)
        u = u / u.sum()
    else:
        u = np.asarray(group_weights, dtype=np.float64)
    return WorstGap(float(values.max() - u @ values) + frank_wolfe_gap(u @ slopes, w, region), u)


# ------------------------------------------------------------------------------------------------------ iterations


def eg_paper_path(
    loglik: npt.ArrayLike,
    length: npt.ArrayLike | None = None,
    *,
    weight: npt.ArrayLike | None = None,
    eta: float = 1.0,
    steps: int = 100,
    stop: float = 1e-4,
) -> Iterator[Array]:
    """Yield the iterates of MixMin's published loop, the uniform start first.

    ``w <- w * exp(-eta g) / sum``, until the largest ``|g_k|`` at the point before the update is below ``stop``
    (the update is kept) or ``steps`` are done. Rows weigh ``1 / (n length)``, or ``weight`` where it is given.

    Notes
    -----
    ``<w, g> = -sum_i c_i`` always, so the largest ``|g_k|`` is at least ``sum_i c_i`` and the stop rule cannot fire for
    sequences shorter than ``1 / stop`` on average.

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


def eg_paper(
    loglik: npt.ArrayLike,
    length: npt.ArrayLike | None = None,
    *,
    weight: npt.ArrayLike | None = None,
    eta: float = 1.0,
    steps: int = 100,
    stop: float = 1e-4,
) -> Array:
    """Return the last iterate of `eg_paper_path`, (K,): the mixture the MixMin code returns."""
    return list(eg_paper_path(loglik, length, weight=weight, eta=eta, steps=steps, stop=stop))[-1]


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


# --------------------------------------------------------------------------------------------------------- helpers


def _limits(region: Region) -> tuple[Array, Array]:
    """The group bounds as ``A s <= b``, infinite ones left out."""
    rows = np.asarray(region.bound_rows, dtype=np.float64).reshape(-1, region.n_domains)
    upper, lower = np.asarray(region.bound_upper), np.asarray(region.bound_lower)
    above, below = np.isfinite(upper), np.isfinite(lower)
    return np.vstack([rows[above], -rows[below]]), np.concatenate([upper[above], -lower[below]])


def _linprog(slope: Array, region: Region) -> Any:
    a, b = _limits(region)
    ones = np.ones((1, region.n_domains))
    # A slope of +inf (a prior of 0 under a divergence) is a domain that may not be used.
    box = np.column_stack([region.floor, np.where(np.isposinf(slope), 0.0, np.minimum(region.cap, 1.0))])
    # And -inf is left for domains with a cap of 0, which cost nothing.
    slope = np.where(np.isfinite(slope) & (np.asarray(region.cap) > 0), slope, 0.0)
    return _highs(c=slope, A_ub=a if b.size else None, b_ub=b if b.size else None, A_eq=ones, b_eq=[1.0], bounds=box)


def _linprog_epigraph(level: Array, slopes: Array, region: Region) -> Any:
    """``min t`` subject to ``level_g + <slope_g, s> <= t`` for every g and s in the region; variables (s, t)."""
    a, b = _limits(region)
    k, groups = region.n_domains, level.size
    top = np.hstack([slopes, -np.ones((groups, 1))])
    a_ub = np.vstack([top, np.hstack([a, np.zeros((b.size, 1))])])
    box = [*zip(region.floor, np.minimum(region.cap, 1.0), strict=True), (None, None)]
    return _highs(
        c=np.append(np.zeros(k), 1.0),
        A_ub=a_ub,
        b_ub=np.concatenate([-level, b]),
        A_eq=np.append(np.ones(k), 0.0)[None, :],
        b_eq=[1.0],
        bounds=box,
    )


def _highs(**problem: Any) -> Any:
    with needed("a linear programme of the reference", "SciPy", "mixfast[reference]", BackendError):
        from scipy.optimize import linprog
    # The tightest HiGHS takes; its default of 1e-7 is coarser than the gaps certified here.
    tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    result = linprog(method="highs", options=tight, **problem)
    if result.status != 0:
        raise RegionError(f"the linear programme over the region failed: {result.message}")
    return result
