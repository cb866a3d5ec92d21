"""The convex problem written for cvxpy, whose solvers share no code with ours."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mixfast._text.names import shown
from mixfast._text.optional import needed
from mixfast.errors import BackendError
from mixfast.reference._losses import Array, group_rows, group_weights, total_value
from mixfast.region import Region
from mixfast.tables import ExpertTable

# Settings of Clarabel for a second try: rounding errors may stop its last steps, on some processors and not on others.
_REFINED = {
    "iterative_refinement_max_iter": 50,
    "iterative_refinement_reltol": 1e-15,
    "iterative_refinement_abstol": 1e-15,
}


@dataclass(frozen=True)
class ConicSolution:
    """The answer of a conic solver: `weights` (K,), `value` recomputed by this module, and the solver's `status`."""

    weights: Array
    value: float
    status: str
    group_weights: Array
    solver: str
    seconds: float
    solver_seconds: float


def solve_cvxpy(
    table: ExpertTable,
    region: Region,
    *,
    kl: float = 0.0,
    objective: Mapping[str, float] | str | None = None,
    wear: float | str | Mapping[str, float | str] | None = None,
    solver: str = "CLARABEL",
    options: Mapping[str, Any] | None = None,
) -> ConicSolution:
    """Solve the whole convex problem with cvxpy, for tables of a few thousand rows at most.

    Minimises ``L(w) + kl * KL(w || prior)`` over the region, L the weighted sum of the groups' losses (equal weights
    for None) or, for ``"worst"``, the largest. Cross entropy and squared error; caps, floors and group bounds.

    Parameters
    ----------
    table, region
        Domains in the same order.
    kl : float, nats
        Weight of the KL divergence to ``region.prior``.
    objective : None, "worst", or dict of group name to weight
    wear : float, str, or dict of domain to float or str, optional
        As in `mixfast.solve`; the region must have token counts.
    solver : str
        A conic solver installed for cvxpy: CLARABEL, ECOS or SCS.
    options : mapping
        Passed to the solver.

    Returns
    -------
    ConicSolution
        ``value`` is recomputed at the returned weights (with `wear` it is the solver's value). The weights may miss the region by the
        solver's tolerance.

    Raises
    ------
    BackendError
        If cvxpy is missing, or the solver does not report ``optimal``. Clarabel gets a second try, with more refinement.
    """
    with needed("the reference problem", "CVXPY", "mixfast[reference]", BackendError):
        import cvxpy as cp
    if tuple(table.domains) != tuple(region.domains):
        raise BackendError(f"table {tuple(table.domains)} and region {tuple(region.domains)} must have one order")
    w = cp.Variable(region.n_domains)
    limits = [cp.sum(w) == 1, w >= region.floor, w <= np.minimum(region.cap, 1.0)]
    if kl:
        limits += [w[region.prior == 0] == 0] if (region.prior == 0).any() else []
    for row, lower, upper in zip(region.bound_rows, region.bound_lower, region.bound_upper, strict=True):
        limits += [row @ w >= lower] if np.isfinite(lower) else []
        limits += [row @ w <= upper] if np.isfinite(upper) else []
    worth = w
    if wear is not None:
        by_name = wear if isinstance(wear, Mapping) else dict.fromkeys(region.domains, wear)
        given = [by_name[name] for name in region.domains]
        # Beyond a threshold such as "4 epochs", tokens are worth nothing here; the solver rounds the corner.
        sharp = np.array([isinstance(one, str) for one in given])
        full = np.array(
            [float(str(one).removesuffix("epochs")) if up_to else 1.0 for one, up_to in zip(given, sharp, strict=True)]
        )
        repeats = np.array([1.0 if up_to else float(one) for one, up_to in zip(given, sharp, strict=True)])
        epoch, endless = np.asarray(region.available) / region.target_tokens, np.isinf(repeats)
        fresh, more = cp.Variable(region.n_domains), cp.Variable(region.n_domains)
        # Where repeats count fully, the whole share is fresh.
        limits += [w == fresh + more, fresh >= 0, fresh <= np.where(endless, 1.0, full * epoch), more >= 0]
        limits += [more[endless] == 0] if endless.any() else []
        unit = np.where(endless, 1.0, repeats) * np.where(epoch > 0, epoch, 1.0)
        worth = fresh + cp.multiply(np.where(sharp, 0.0, unit), 1 - cp.exp(-cp.multiply(1 / unit, more)))
    losses = [_cvxpy_loss(cp, worth, rows, np.asarray(region.cap) > 0) for rows in group_rows(table)]
    pull = 0.0
    if kl:
        has = region.prior > 0
        pull = kl * cp.sum(cp.rel_entr(w[has], region.prior[has]))
    worst: list[Any] = []
    if isinstance(objective, str):
        if objective != "worst":
            raise ValueError(f"objective is None, 'worst' or a dict of group weights, not {shown(objective)}")
        top = cp.Variable()
        worst = [loss <= top for loss in losses]
        problem = cp.Problem(cp.Minimize(top + pull), limits + worst)
    else:
        shares = group_weights(table, objective)
        used = [share * loss for share, loss in zip(shares, losses, strict=True) if share > 0]
        problem = cp.Problem(cp.Minimize(cp.sum(cp.hstack(used)) + pull), limits)
    began = time.perf_counter()
    try:
        with warnings.catch_warnings():
            # An inaccurate solution is solved for again, or is an error.
            warnings.filterwarnings("ignore", message="Solution may be inaccurate")
            problem.solve(solver=solver, **dict(options or {}))
            if problem.status == "optimal_inaccurate" and solver == "CLARABEL":
                problem.solve(solver=solver, warm_start=False, **(_REFINED | dict(options or {})))
    except cp.error.SolverError as error:
        raise BackendError(f"cvxpy with {solver} failed: {error}") from error
    seconds = time.perf_counter() - began
    if problem.status != "optimal":
        raise BackendError(f"cvxpy with {solver} ended as {shown(problem.status)}, expected 'optimal'")
    weights = np.maximum(np.asarray(w.value, dtype=np.float64), 0.0)
    if worst:
        # A dual value is a scalar or an array with one element, depending on the shape of the loss.
        duals = np.array([max(float(np.sum(limit.dual_value)), 0.0) for limit in worst])
        shares = duals / duals.sum()
    value = total_value(table, weights, prior=region.prior, kl=kl, objective=objective)
    if wear is not None:
        value = float(problem.value)
    solver_seconds = float(problem.solver_stats.solve_time or np.nan)
    return ConicSolution(weights, value, problem.status, shares, solver, seconds, solver_seconds)


def _cvxpy_loss(cp: Any, w: Any, rows: tuple[Any, Any, Array], usable: npt.NDArray[np.bool_]) -> Any:
    """The loss of one group's rows as a cvxpy expression."""
    data, target, c = rows
    if target is not None:
        return 0.5 * cp.sum_squares(cp.multiply(np.sqrt(c), np.asarray(data, dtype=np.float64) @ w - target))
    table, c = np.asarray(data, dtype=np.float64)[c > 0], c[c > 0]
    # The maximum over experts that may be used: an excluded expert must not make the others underflow.
    offset = table[:, usable].max(axis=1)
    prob = np.exp(np.minimum(table - offset[:, None], 0.0)) * usable
    return -(c @ cp.log(prob @ w)) - float(c @ offset)
