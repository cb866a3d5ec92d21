"""solve(): the certified minimum of the ensemble's loss over the mixtures of a region."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import one_of
from mixfast._text.progress import working
from mixfast.ranks import led
from mixfast.region import Region
from mixfast.solver._minimise import Found, minimise_problem
from mixfast.solver._problem import Problem
from mixfast.solver._solution import Solution
from mixfast.tables import ExpertTable, ShardedTable

# The loops of the MixMin code, and how many of the last iterates each script drops.
PAPER_LOOPS = {"eg-paper": 0, "eg-paper-pcba": 1}
_METHODS = ("auto", "newton", *PAPER_LOOPS)
_BACKENDS = ("auto", "cpu", "cuda", "reference")
# Values of a table that may take seconds to solve. Announcing the work of a smaller one would cost a measurable part of its solve.
_LARGE = 1 << 22


@led
def solve(
    table: ExpertTable | ShardedTable,
    region: Region | None = None,
    *,
    kl: float = 0.0,
    objective: Mapping[str, float] | str | None = None,
    tol: float = 1e-8,
    method: str = "auto",
    backend: str = "auto",
    start: Mapping[str, float] | NDArray[np.float64] | None = None,
    wear: float | str | Mapping[str, float | str] | None = None,
    threads: int | None = None,
    max_iter: int = 200,
) -> Solution:
    """Find the mixture that minimises the loss of the experts' ensemble, with a certificate.

    Minimise ``sum_g omega_g L_g(w) + kl * sum_k w_k log(w_k / prior_k)`` over the region, where
    ``L_g(w) = sum_{i in g} c_i * -log(sum_k w_k exp(loglik_ik))`` for tables of log-likelihoods, and
    ``L_g(w) = 1/2 sum_{i in g} c_i (p_i . w - y_i)^2`` for tables of predictions.

    Parameters
    ----------
    table : ExpertTable or ShardedTable
        n rows, K domains; one file or arrays, or a folder of parts.
    region : Region, optional
        Caps, floors, group limits and the prior, aligned by name; the whole simplex by default.
    kl : float, default 0
        Weight of the KL divergence to the region's prior, nats. Above 0 the optimum is unique and every domain with a prior has a share.
    objective : dict of group to weight, a group's name, "worst", or None
        A single name, but not a key of a dict, may be a pattern such as ``code_*``. Weights are normalised to sum 1; groups that are not named have weight 0. None gives all
        groups the same weight. "worst" minimises the largest group loss.
    tol : float, default 1e-8
        Frank-Wolfe gap to reach, nats (times the sum of the row weights, if that is above 1). 1e-8 is far smaller than differences
        that data can show; it costs one or two sweeps more than 1e-4.
    method : {"auto", "newton", "eg-paper", "eg-paper-pcba"}
        "eg-paper" reproduces the MixMin code for language models: 100 steps of exponentiated gradient from equal shares, eta 1, the last
        iterate, without region and kl. "eg-paper-pcba" returns the iterate before the last, as the paper's script for chemistry (PCBA) does.
        Status and gap describe the returned iterate, which may be far from the optimum after 100 steps.
    backend : {"auto", "cpu", "reference", "cuda"}
        "auto" computes on the device that holds the table. "cuda" copies a table from CPU memory to the GPU for the solve (the solution
        keeps that copy), or streams it in every sweep if it does not fit; blocks of a folder are always streamed. "reference" computes in
        plain numpy, slowly, and takes no folder.
    start : Mixture, dict or (K,) array, optional
        Mixture to start from; one near the answer saves steps. It is projected onto the region. With at least 1e7 rows, a start that is
        still optimal costs one sweep.
    wear : float, str, or dict of domain to float or str, optional
        Count repeated tokens for less than new ones. A domain of share w is read w / u times, where u is the share that one epoch of it
        fills. If that is more than once, it counts as the share ``u + u wear (1 - exp(-(w/u - 1) / wear))``. `wear` is the number of
        repeats after which a token is worth 1/e of a new one; Muennighoff et al. measured 15.4. A dict has a number for every domain;
        `math.inf` counts its repeats fully. A text such as ``"4 epochs"`` is a threshold: tokens count fully up to it, and nothing beyond (within 0.01
        epochs, which keeps slopes continuous). `laws.fit_wear` fits either form. Needs token counts. Caps hold as
        well, so allow more epochs in the region if `wear` is to limit repetition. The loss is then the loss of the effective
        shares; the problem stays convex, and the gap stays a proof. For log-likelihoods only.
    threads : int, optional
        CPU threads (of each rank); by default MIXFAST_NUM_THREADS, or all available up to 16. The answer does not depend on the number.
    max_iter : int, default 200
        Newton steps over all rows.

    Returns
    -------
    Solution

    Raises
    ------
    AlignmentError
        Region and table name different domains, or a dict `wear` leaves out a domain or names an unknown one.
    RegionError
        `wear` without token counts.
    TableError, ValueError
        An objective that names unknown groups, or numbers out of range.
    BackendError
        The backend is not available: no CUDA device, torch or triton missing, or predictions for the GPU.

    Warns
    -----
    NotConvergedWarning
        The gap is above the tolerance; the solution is the best point found, with its true gap.

    Notes
    -----
    The table is not copied. The solver needs additional memory of 1/10 of its size, or 50 MB if that is more. Cost: four to seven sweeps of
    the rows, because most of the search uses samples of them; two or three with at least 1e7 rows (`mixfast._engine.optimise`). Of the last four
    small tables (up to 524 288 values), up to 16 MB each are kept for the next solve, until the table is freed. Deterministic. Safe in threads and after a fork.

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
    ('optimal', 0.5525, True)
    """
    problem = checked_problem(
        table,
        region,
        kl=kl,
        objective=objective,
        tol=tol,
        method=method,
        backend=backend,
        start=start,
        wear=wear,
        threads=threads,
        max_iter=max_iter,
    )
    if table.n_rows * table.n_domains < _LARGE:
        found = found_by(problem, method, backend)
    else:
        with working("solving"):
            found = found_by(problem, method, backend)
    # The paper's loop has no tolerance, so a large gap is no reason to warn.
    return Solution.of(problem, found, warn=method not in PAPER_LOOPS)


def checked_problem(
    table: ExpertTable | ShardedTable,
    region: Region | None,
    *,
    method: str = "auto",
    backend: str = "auto",
    **options: Any,
) -> Problem:
    """Check the arguments of `solve` and build the problem."""
    if method not in _METHODS:
        raise ValueError(f"method is {one_of(method, _METHODS)}")
    if backend not in _BACKENDS:
        raise ValueError(f"backend is {one_of(backend, _BACKENDS)}")
    return Problem.of(table, region, backend=backend, **options)


def found_by(problem: Problem, method: str, backend: str) -> Found:
    """Minimise a problem by the requested method and backend."""
    if method in PAPER_LOOPS:
        from mixfast.solver._paper_loop import follow_paper

        return follow_paper(problem, drop=PAPER_LOOPS[method])
    if backend == "reference":
        from mixfast.solver._by_reference import minimise_by_reference

        return minimise_by_reference(problem)
    return minimise_problem(problem)
