"""Intervals for the shares: resample whole sequences, and re-solve every replicate from the solution at once."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.backend.rows import resample
from mixfast._text.names import listing
from mixfast.errors import MixfastWarning
from mixfast.region import Region
from mixfast.solver import _replicates
from mixfast.solver._solution import Solution
from mixfast.tables import ExpertTable

# Sequences beyond this many are resampled in blocks of neighbours. The spread of a share needs far fewer units to be measured.
_MOST_UNITS = 4096
# Fewer units than this hardly show how much units differ.
_FEW = 20
# Units that are drawn at a time.
_DRAWS = 1 << 15


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
        Largest Frank-Wolfe gap of a replicate in its own objective, nats: measured at the 8 replicates whose last step was longest.
    error : float
        Largest distance of a share from the optimum of its replicate, in standard errors of that share, as one more Newton step from
        these 8 shows it. A share whose standard error is below 1 % of the largest one is measured against that 1 %.
    units : int
        What was resampled: sequences, or blocks of neighbouring ones where there are more than 4096.
    doubt : str
        Why the intervals are too narrow, where a group has too few sequences to draw from; empty otherwise.
    seconds : float
    """

    solution: Solution
    shares: Matrix = field(repr=False)
    level: float
    gap: float
    error: float
    units: int
    doubt: str
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
    region; the gradients of all replicates come from the same sweeps of the rows. Steps end where they are short beside the spread of
    the shares; `Bootstrap.error` says how short.

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

    Warns
    -----
    MixfastWarning
        A group has too few sequences to tell how far the shares move; the intervals are too narrow.

    Raises
    ------
    ValueError
        Fewer than 2 replicates, a level outside (0, 1), a table of predictions, or the objective "worst".

    Notes
    -----
    Rows without sequence ids count as sequences of their own. Cost: one sweep, and one to four for all replicates
    together (4 n K R operations each, less where most are done).
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
    w = solution.mixture.weights if problem.usable is None else solution.mixture.weights[problem.usable]
    found = _replicates.solve(problem, w, unit, counts)
    full = np.zeros((replicates, table.n_domains))
    full[:, slice(None) if problem.usable is None else problem.usable] = found.shares
    doubt = _doubt(problem.table, group, problem.group_weight)
    if doubt:
        warnings.warn(doubt, MixfastWarning, stacklevel=2)
    return Bootstrap(solution, full, level, found.gap, found.error, group.size, doubt, perf_counter() - began)


def _doubt(table: ExpertTable, group: NDArray[np.int64], weight: Vector) -> str:
    """What is to be said of groups that count and have too few units."""
    counts = np.bincount(group, minlength=table.n_groups)
    few = [g for g in range(table.n_groups) if weight[g] > 0.0 and counts[g] < _FEW]
    if not few:
        return ""
    named = listing(f"{table.group_names[g]} has {counts[g]}" for g in few)
    return (
        f"intervals are too narrow: a group needs some {_FEW} sequences to show how much they differ, and {named}; score more texts, or "
        "give shorter sequences where these are whole documents"
    )


def _units(table: ExpertTable) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Unit of each row (n,) int32, and the group of each unit: whole sequences, or blocks of neighbouring ones."""
    unit = np.empty(table.n_rows, dtype=np.int32)
    groups: list[NDArray[np.int64]] = []
    total = 0
    most = max(_MOST_UNITS // table.n_groups, 2)
    for g in range(table.n_groups):
        rows = slice(int(table.group_offsets[g]), int(table.group_offsets[g + 1]))
        n = rows.stop - rows.start
        if table.sequence is None:
            index, count = np.arange(n), n
            length = None
        else:
            # Of each stretch of rows with the same id, in order of first appearance, so that neighbours stay together.
            ids = table.sequence[rows]
            starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
            length = np.diff(starts, append=n)
            _, first, index = np.unique(ids[starts], return_index=True, return_inverse=True)
            index, count = np.argsort(np.argsort(first))[index.reshape(-1)], first.size
        if count > most:
            index, count = index * most // count, most
        index = index + total
        unit[rows] = index if length is None else np.repeat(index, length)
        groups.append(np.full(count, g))
        total += count
    return unit, np.concatenate(groups)


def _draw(
    rng: np.random.Generator, unit: NDArray[np.int32], group: NDArray[np.int64], table: ExpertTable, replicates: int
) -> NDArray[np.float32]:
    """How often each replicate holds each unit (R, U), scaled so that a group keeps its total weight."""
    counts = np.empty((replicates, group.size), dtype=np.float32)
    rows = None if table.uniform_weight is not None else table.row_weight
    weight: Vector = np.bincount(unit, weights=rows, minlength=group.size).astype(np.float64)
    for g in range(table.n_groups):
        first, last = np.searchsorted(group, [g, g + 1])
        size = int(last - first)
        own = weight[first:last]
        step = max(_DRAWS // size, 1)
        for start in range(0, replicates, step):  # in pieces, which stay in cache and between which Ctrl-C is seen
            piece = counts[start : start + step]
            words = (len(piece) * size + 1) // 2
            bits = rng.integers(0, 2**64 - 1, words, dtype=np.uint64, endpoint=True).view(np.uint32)
            resample(bits[: len(piece) * size].reshape(-1, size), piece, int(first))
        if own.min() < own.max():
            mine = counts[:, first:last]
            mine *= (own.sum() / np.maximum(mine @ own, 1e-300))[:, None]
    return counts
