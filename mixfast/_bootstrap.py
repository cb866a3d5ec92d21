"""Intervals for the shares: resample whole sequences, and re-solve every replicate from the solution at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._objective import CrossEntropy, Matrix, Regularised, Vector
from mixfast._problem import Problem
from mixfast.region import Region
from mixfast.solution import Solution
from mixfast.tables import ExpertTable

# Sequences beyond this many are resampled in blocks of neighbours. The spread of a share needs far fewer units to be measured.
_MOST_UNITS = 4096
# Newton steps of a replicate: the first leaves an error of 1/n, next to a spread of 1/sqrt(n).
_ROUNDS = 2


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Shares of the replicates and what they say.

    Attributes
    ----------
    solution : Solution
        The solve the replicates started from.
    shares : (R, K) float64
        Optimal shares of each replicate.
    intervals : dict of str to (float, float)
        Percentile interval of each share at `level`.
    level : float
    gap : float
        Largest Frank-Wolfe gap of a replicate in its own objective, nats, before its last step (an upper bound of what is left).
    units : int
        What was resampled: sequences, or blocks of neighbouring ones where there are more than 4096.
    seconds : float
    """

    solution: Solution
    shares: Matrix = field(repr=False)
    level: float
    gap: float
    units: int
    seconds: float

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Percentile interval (low, high) of each share."""
        tail = 0.5 * (1.0 - self.level)
        low, high = np.quantile(self.shares, [tail, 1.0 - tail], axis=0)
        return {name: (float(a), float(b)) for name, a, b in zip(self.solution.mixture.domains, low, high, strict=True)}

    @property
    def standard_errors(self) -> dict[str, float]:
        """Standard deviation of each share over the replicates."""
        return dict(zip(self.solution.mixture.domains, self.shares.std(axis=0, ddof=1).tolist(), strict=True))


def bootstrap(
    table: ExpertTable,
    region: Region | None = None,
    *,
    replicates: int = 200,
    level: float = 0.9,
    seed: int = 0,
    solution: Solution | None = None,
    **options: Any,
) -> Bootstrap:
    """Measure how much the optimal shares depend on which sequences happened to be in the table.

    Each replicate draws the sequences of every group anew, with replacement, and is solved from the solution by Newton steps over the
    region; the gradients of all replicates come from one sweep of the rows.

    Parameters
    ----------
    table, region, options
        As in `solve`; a table of log-likelihoods, and not the objective "worst".
    replicates : int, default 200
    level : float, default 0.9
        Coverage of the intervals.
    seed : int, default 0
    solution : Solution, optional
        The solve of the same problem, if at hand.

    Returns
    -------
    Bootstrap

    Raises
    ------
    ValueError
        Fewer than 2 replicates, a level outside (0, 1), a table of predictions, or the objective "worst".

    Notes
    -----
    Rows without sequence ids count as sequences of their own. Cost: two sweeps for all replicates together (4 n K R operations each).
    Reference: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8 and 13.
    """
    from mixfast import solver

    began = perf_counter()
    if replicates < 2 or not 0.0 < level < 1.0:
        raise ValueError(
            f"bootstrap needs at least 2 replicates and a level between 0 and 1; got {replicates} and {level}"
        )
    if solution is None:
        solution = solver.solve(table, region, **options)
    problem = solution._problem
    if problem.table.kind != "ce" or problem.worst:
        raise ValueError(
            'bootstrap resamples tables of log-likelihoods with a weighted objective, not predictions and not "worst"'
        )
    rng = np.random.default_rng(seed)
    unit, group = _units(problem.table)
    counts = _draw(rng, unit, group, problem.table, replicates)
    shares, gap = _solve_replicates(problem, solution, unit, counts)
    full = np.zeros((replicates, table.n_domains))
    full[:, slice(None) if problem.usable is None else problem.usable] = shares
    return Bootstrap(solution, full, level, gap, group.size, perf_counter() - began)


def _units(table: ExpertTable) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Unit of each row (n,) int32, and the group of each unit: whole sequences, or blocks of neighbouring ones."""
    unit = np.empty(table.n_rows, dtype=np.int32)
    groups: list[int] = []
    most = max(_MOST_UNITS // table.n_groups, 2)
    for g in range(table.n_groups):
        rows = slice(int(table.group_offsets[g]), int(table.group_offsets[g + 1]))
        n = rows.stop - rows.start
        if table.sequence is None:
            index, count = np.arange(n), n
        else:
            # Sequences in order of first appearance, so that neighbours stay together.
            _, first, index = np.unique(table.sequence[rows], return_index=True, return_inverse=True)
            index, count = np.argsort(np.argsort(first))[index.reshape(-1)], first.size
        if count > most:
            index, count = index * most // count, most
        unit[rows] = index + len(groups)
        groups.extend([g] * count)
    return unit, np.array(groups)


def _draw(
    rng: np.random.Generator, unit: NDArray[np.int32], group: NDArray[np.int64], table: ExpertTable, replicates: int
) -> NDArray[np.float32]:
    """How often each replicate holds each unit (R, U), scaled so that a group keeps its total weight."""
    counts = np.zeros((replicates, group.size))
    rows = None if table.uniform_weight is not None else table.row_weight
    weight: Vector = np.bincount(unit, weights=rows, minlength=group.size).astype(np.float64)
    for g in range(table.n_groups):
        members = np.flatnonzero(group == g)
        for start in range(0, replicates, 256):  # in pieces, between which Ctrl-C is seen
            some = counts[start : start + 256]
            some[:, members] = rng.multinomial(members.size, np.full(members.size, 1.0 / members.size), len(some))
        total = counts[:, members] @ weight[members]
        counts[:, members] *= weight[members].sum() / np.maximum(total, 1e-300)[:, None]
    return counts.astype(np.float32)


def _solve_replicates(
    problem: Problem, solution: Solution, unit: NDArray[np.int32], counts: NDArray[np.float32]
) -> tuple[Matrix, float]:
    """Optimal shares (R, C) over the usable domains, and the largest gap seen before the last step."""
    objective = problem.objective
    base = objective.base if isinstance(objective, Regularised) else objective
    if not isinstance(base, CrossEntropy):
        raise TypeError(f"bootstrap of a {type(base).__name__}")
    w = solution.mixture.weights if problem.usable is None else solution.mixture.weights[problem.usable]
    # Domains far from having a share stay without one in every replicate: leave them out of the K-dimensional work.
    _, gradient, _ = objective.sums(w)
    columns = _near(problem, base, w, gradient)
    rows = max(1, objective.rows // max(65536, 64 * columns.size))
    hessian = objective.sums(w[columns], columns, hessian=1 << (rows.bit_length() - 1))[2]
    if hessian is None:
        raise RuntimeError("a Hessian was asked for and not given")
    hessian[np.diag_indices_from(hessian)] += objective.separable(w[columns], columns)[1]
    limits = problem.limits.restrict(columns)
    shares = np.repeat(w[None, :], counts.shape[0], axis=0)
    gap = 0.0
    for _ in range(_ROUNDS):
        gradients = base.gradients(shares, unit, counts)
        if problem.kl > 0.0:
            prior = problem.prior if problem.usable is None else problem.prior[problem.usable]
            gradients += np.array([Regularised.term(problem.kl, prior, row)[1] for row in shares])
        gap = 0.0
        for row, g in zip(shares, gradients, strict=True):
            gap = max(gap, problem.limits.gap(g, row))
            step = limits.newton(hessian, np.ascontiguousarray(g[columns]), np.ascontiguousarray(row[columns]))
            row[columns] = limits.clip(row[columns] + step)
            if problem.kl > 0.0:
                row[columns] = np.maximum(row[columns], 0.1 * w[columns])
            row /= row.sum()
    return shares, gap


def _near(problem: Problem, base: CrossEntropy, w: Vector, gradient: Vector) -> NDArray[np.int32]:
    """Domains with a share, and the 64 that are nearest to one."""
    has = w > 0.0
    if np.count_nonzero(~has) > 64:
        rest = np.where(has, np.inf, gradient)
        has[np.argpartition(rest, 64)[:64]] = True
    else:
        has[:] = True
    return np.flatnonzero(has).astype(np.int32)
