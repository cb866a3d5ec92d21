"""solve(): the certified optimum of an ensemble's loss over the mixtures that a region allows; and what is built on it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine import backend as _backend
from mixfast._engine.optimise.trace import Minimum, Step
from mixfast.errors import NotConvergedWarning
from mixfast.region import Region
from mixfast.solver._minimise import solve_problem, wrap
from mixfast.solver._problem import Problem
from mixfast.solver._solution import Solution
from mixfast.tables import ExpertTable

Vector = NDArray[np.float64]

_METHODS = ("auto", "newton", "eg-paper")
_BACKENDS = ("auto", "cpu", "cuda", "reference")


def solve(
    table: ExpertTable,
    region: Region | None = None,
    *,
    kl: float = 0.0,
    objective: Mapping[str, float] | str | None = None,
    tol: float = 1e-8,
    method: str = "auto",
    backend: str = "auto",
    start: Mapping[str, float] | NDArray[np.float64] | None = None,
    wear: float | None = None,
    threads: int | None = None,
    max_iter: int = 200,
) -> Solution:
    """Find the mixture that minimises the loss of the experts' ensemble, with a certificate.

    Minimise ``sum_g omega_g L_g(w) + kl * sum_k w_k log(w_k / prior_k)`` over the region, where
    ``L_g(w) = sum_{i in g} c_i * -log(sum_k w_k exp(loglik_ik))`` for tables of log-likelihoods, and
    ``L_g(w) = 1/2 sum_{i in g} c_i (p_i . w - y_i)^2`` for tables of predictions.

    Parameters
    ----------
    table : ExpertTable
        n rows, K domains.
    region : Region, optional
        Caps, floors, group limits and the prior, aligned by name; the whole simplex by default.
    kl : float, default 0
        Weight of the KL divergence to the region's prior, nats. Above 0 the optimum is unique and has no zeros.
    objective : dict of group to weight, "worst", or None
        Weights are normalised to sum 1, groups left out count 0; None weighs all groups alike. "worst" minimises the largest group loss.
    tol : float, default 1e-8
        Frank-Wolfe gap to reach, nats (times the sum of the row weights, where that is above 1). 1e-8 is far below what any data
        can tell apart; it costs one or two sweeps more than 1e-4.
    method : {"auto", "newton", "eg-paper"}
        "eg-paper" reproduces the MixMin code: 100 steps of exponentiated gradient from uniform, eta 1, last iterate, no region, no kl.
    backend : {"auto", "cpu", "reference", "cuda"}
        "auto" follows where the table lives. "cuda" brings a table from CPU memory to the GPU for the solve (the solution keeps that
        copy), or streams it in every sweep where it does not fit. "reference" computes in plain numpy, slowly.
    start : Mixture, dict or (K,) array, optional
        Where to start; near the answer it saves steps. It is projected on the region.
    wear : float, optional
        Repeated tokens are worth less than new ones: a domain read w / u times, u the share that one epoch of it fills, counts as the
        share ``u + u wear (1 - exp(-(w/u - 1) / wear))``. 15.4 is what Muennighoff et al. measured: repeats after which a token is worth
        1/e of a new one. Needs token counts; caps hold as well, so let the region allow more epochs where wear is to decide. The
        loss is then that of the effective shares; the problem stays convex and the gap a proof. For log-likelihoods.
    threads : int, optional
        CPU threads; MIXFAST_NUM_THREADS, or all available up to 16, by default. The answer is the same for any number.
    max_iter : int, default 200
        Newton steps over all rows.

    Returns
    -------
    Solution

    Raises
    ------
    AlignmentError
        Region and table name different domains.
    RegionError
        `wear` without token counts.
    TableError, ValueError
        An objective that names unknown groups, or numbers out of range.
    BackendError
        The backend is not there: no CUDA device, torch or triton missing, or predictions for the GPU.

    Warns
    -----
    NotConvergedWarning
        The gap is above the tolerance; the solution is the best point found, with its true gap.

    Notes
    -----
    The table is read where it lies: beside it the solver needs 1/10 of its size, or 50 MB where that is more. Cost: about six sweeps of
    the rows, most of the search being done on samples of them (`mixfast._engine.optimise.newton`). Deterministic. Safe in threads and after a fork.

    References
    ----------
    Thudi et al., "MixMin: Finding Data Mixtures via Convex Minimization" (arXiv 2502.10510). Muennighoff et al., "Scaling
    Data-Constrained Language Models" (arXiv 2305.16264), for `wear`.

    Examples
    --------
    >>> import numpy as np
    >>> from mixfast import ExpertTable, solve
    >>> table = ExpertTable.from_loglik(np.log([[0.8, 0.1], [0.2, 0.7], [0.3, 0.6]]), domains=["web", "code"])
    >>> solution = solve(table)
    >>> solution.status, round(solution.mixture["code"], 4), solution.gap <= 1e-8
    ('optimal', 0.5804, True)
    """
    if method not in _METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(_METHODS)}")
    if backend not in _BACKENDS:
        raise ValueError(f"backend is {backend!r}, expected one of {', '.join(_BACKENDS)}")
    problem = Problem.of(
        table, region, kl, objective, tol, max_iter, _backend.thread_count(threads), start, backend, wear
    )
    if method == "eg-paper":
        return _eg_paper(problem)
    if backend == "reference":
        from mixfast.solver._by_reference import solve_reference

        return wrap(problem, *solve_reference(problem), "reference (numpy)")
    return solve_problem(problem)


def _eg_paper(problem: Problem) -> Solution:
    """The MixMin code's loop, step for step, in float64."""
    if problem.region is not None or problem.kl > 0.0 or problem.worst:
        raise ValueError('method "eg-paper" is the loop of the MixMin code: no region, no kl, no "worst"')
    began = perf_counter()
    problem = replace(problem, wide=True)
    objective, limits = problem.objective, problem.limits
    w = np.full(problem.table.n_domains, 1.0 / problem.table.n_domains)
    trace: list[Step] = []
    for _ in range(100):
        value, gradient, _ = objective.sums(w)
        trace.append(Step(objective.rows, w.size, value, limits.gap(gradient, w), perf_counter() - began))
        w = w * np.exp(-gradient)
        w /= w.sum()
        # As in the paper's code: the test looks at the point before the step, the step stays taken.
        if np.abs(gradient).max() < 1e-4:
            break
    value, gradient, _ = objective.sums(w)
    gap = limits.gap(gradient, w)
    where = "cpu (eg-paper)" if problem.device is None else "cuda (eg-paper)"
    minimum = Minimum(w, value, gradient, gap, trace, None, problem.max_iter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConvergedWarning)
        out = wrap(problem, minimum, problem.group_weight, perf_counter() - began, where)
    return replace(out, status="user_limit" if gap > problem.tol else "optimal")


def path(
    table: ExpertTable,
    region: Region | None = None,
    *,
    kl: Sequence[float] | None = None,
    cap: Sequence[float | Mapping[str, float]] | None = None,
    **options: Any,
) -> list[Solution]:
    """Solve along a sequence of KL weights, or of caps, each from the answer before.

    Parameters
    ----------
    table, region
        As in `solve`.
    kl : sequence of float, optional
        KL weights, nats.
    cap : sequence of number or dict of domain to number, optional
        Caps that replace those of the region. Give `kl` or `cap`, not both.
    options
        Further arguments of `solve` (a single `kl` beside `cap`: as ``base_kl``).

    Returns
    -------
    list of Solution
        In the order given. Each is certified on its own, so a bad start costs time only.

    Raises
    ------
    ValueError
        Neither or both of `kl` and `cap`.
    """
    if (kl is None) == (cap is None):
        raise ValueError("path sweeps over kl or over cap: give exactly one of them")
    base_kl = options.pop("base_kl", 0.0)
    previous: Solution | None = None
    out = []
    steps: list[tuple[float, Region | None]]
    if kl is not None:
        steps = [(float(value), region) for value in kl]
    else:
        base = region if region is not None else Region(table.domains)
        steps = [(base_kl, base.replace(cap=value)) for value in cap or ()]
    for weight, where in steps:
        start = None
        if previous is not None:
            # A little of everything, so that no domain that may come back starts out with nothing.
            start = 0.999 * previous.mixture.weights + 0.001 / table.n_domains
        previous = solve(table, where, kl=weight, start=start, **options)
        out.append(previous)
    return out
