"""Certificates in plain numpy and scipy: linear minima over a region, and Frank-Wolfe gaps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mixfast._text.optional import needed
from mixfast.errors import BackendError, RegionError
from mixfast.reference._losses import Array
from mixfast.region import Region


class WorstGap(NamedTuple):
    """Certified gap of the objective "worst", and the group weights (G,) of the bound."""

    gap: float
    group_weights: Array


def linear_minimum(slope: npt.ArrayLike, region: Region) -> float:
    """Return ``min_{s in region} <slope, s>``.

    Without group limits the domains are filled from the smallest slope up, each to its cap. With group limits scipy's HiGHS solves a
    linear programme.

    Raises
    ------
    BackendError
        If the region has group limits and scipy is missing.
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
    return float(_linprog(g, region).fun)


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
    """Return the gap of ``max_g L_g(w)``, certified by the given group weights or by the best ones.

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


def limits_of(region: Region) -> tuple[Array, Array]:
    """Return the finite group limits as ``A s <= b``."""
    rows = np.asarray(region.bound_rows, dtype=np.float64).reshape(-1, region.n_domains)
    upper, lower = np.asarray(region.bound_upper), np.asarray(region.bound_lower)
    above, below = np.isfinite(upper), np.isfinite(lower)
    return np.vstack([rows[above], -rows[below]]), np.concatenate([upper[above], -lower[below]])


def _linprog(slope: Array, region: Region) -> Any:
    a, b = limits_of(region)
    ones = np.ones((1, region.n_domains))
    # A slope of +inf (a prior of 0 with a KL term) means that the domain may not be used.
    box = np.column_stack([region.floor, np.where(np.isposinf(slope), 0.0, np.minimum(region.cap, 1.0))])
    # A slope of -inf remains only for domains with a cap of 0; their slope does not matter.
    slope = np.where(np.isfinite(slope) & (np.asarray(region.cap) > 0), slope, 0.0)
    return _highs(c=slope, A_ub=a if b.size else None, b_ub=b if b.size else None, A_eq=ones, b_eq=[1.0], bounds=box)


def _linprog_epigraph(level: Array, slopes: Array, region: Region) -> Any:
    """``min t`` subject to ``level_g + <slope_g, s> <= t`` for every g and s in the region; variables (s, t)."""
    a, b = limits_of(region)
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
    # The smallest tolerance that HiGHS accepts; its default of 1e-7 is coarser than the gaps certified here.
    tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    result = linprog(method="highs", options=tight, **problem)
    if result.status != 0:
        raise RegionError(f"the linear programme over the region failed: {result.message}")
    return result
