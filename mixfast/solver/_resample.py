"""Resample whole sequences, and solve all replicates together, starting at the solution."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Bins, Matrix, Vector
from mixfast._engine.backend.rows import resample as sample_units
from mixfast._text.names import listing
from mixfast._text.progress import long_work
from mixfast.solver import _replicates
from mixfast.solver._block_units import BlockUnits, block_units, unit_weights
from mixfast.solver._problem import Problem
from mixfast.tables import ExpertTable, ShardedTable

Units = Bins | BlockUnits

# More sequences than this are resampled in blocks of neighbours. Far fewer units are enough to measure the spread of a share.
_MOST_UNITS = 4096
# With fewer units than this, a warning says that the intervals are too narrow.
_FEW = 20
# Units that are sampled in one piece.
_DRAWS = 1 << 15


class Resampled(NamedTuple):
    """Optimal shares (R, K) of the replicates, their accuracy, and the number of resampled units; see `Bootstrap`."""

    shares: Matrix
    gap: float
    error: float
    units: int
    doubt: str
    merged: bool


@long_work("solving resamples")
def resample(problem: Problem, w: Vector, *, replicates: int, seed: int) -> Resampled:
    """Solve `replicates` copies of a problem; each resamples the sequences of every group with replacement.

    `w` (K,) is the solution of the problem itself.
    """
    unit, group, merged = _units(problem.table)
    weight = _weights(unit, group, problem.table)
    counts = _draw(np.random.default_rng(seed), unit, group, problem.table, replicates)
    found = _replicates.solve(problem, problem.reach.restrict(w), unit, counts)
    shares = np.array([problem.reach.spread(row) for row in found.shares])
    doubt = _doubt(problem.table, group[weight > 0.0], problem.weights.share)
    return Resampled(shares, found.gap, found.error, group.size, doubt, merged)


def _doubt(table: ExpertTable | ShardedTable, group: NDArray[np.int64], weight: Vector) -> str:
    """Return a warning about groups with a positive weight and too few units; empty if there are none."""
    counts = np.bincount(group, minlength=table.n_groups)
    few = [g for g in range(table.n_groups) if weight[g] > 0.0 and counts[g] < _FEW]
    if not few:
        return ""
    named = listing(f"{table.group_names[g]} has {counts[g]}" for g in few)
    return (
        f"intervals are too narrow: a group needs about {_FEW} sequences to show how much they differ, and {named}; score more texts, or "
        "split documents into shorter sequences"
    )


def _units(table: ExpertTable | ShardedTable) -> tuple[Units, NDArray[np.int64], bool]:
    """Return the unit of each row (n,) int32, the group of each unit, and whether units are blocks of neighbouring sequences."""
    most = max(_MOST_UNITS // table.n_groups, 2)
    if isinstance(table, ShardedTable):
        return block_units(table, most)
    unit = np.empty(table.n_rows, dtype=np.int32)
    groups: list[NDArray[np.int64]] = []
    total, merged = 0, False
    for g in range(table.n_groups):
        rows = slice(int(table.group_offsets[g]), int(table.group_offsets[g + 1]))
        n = rows.stop - rows.start
        if table.sequence is None:
            index, count = np.arange(n), n
            length = None
        else:
            # Stretches of rows with the same id are numbered in order of first appearance, so that neighbours stay together.
            ids = table.sequence[rows]
            starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
            length = np.diff(starts, append=n)
            _, first, index = np.unique(ids[starts], return_index=True, return_inverse=True)
            index, count = np.argsort(np.argsort(first))[index.reshape(-1)], first.size
        if count > most:
            index, count, merged = index * most // count, most, True
        index = index + total
        unit[rows] = index if length is None else np.repeat(index, length)
        groups.append(np.full(count, g))
        total += count
    return unit, np.concatenate(groups), merged


def _weights(unit: Any, group: NDArray[np.int64], table: ExpertTable | ShardedTable) -> Vector:
    """Return the weight of each unit (U,): the sum of its row weights, or the number of its rows if all weights are equal."""
    if isinstance(table, ShardedTable):
        return unit_weights(table, unit, group.size)
    rows = None if table.uniform_weight is not None else table.row_weight
    weight: Vector = np.bincount(unit, weights=rows, minlength=group.size).astype(np.float64)
    return weight


def _draw(
    rng: np.random.Generator,
    unit: Units,
    group: NDArray[np.int64],
    table: ExpertTable | ShardedTable,
    replicates: int,
) -> NDArray[np.float32]:
    """Return how often each replicate contains each unit (R, U), scaled so that each group keeps its total weight.

    Units of weight 0 are never sampled: a replicate that consists of them would have no loss.
    """
    counts = np.empty((replicates, group.size), dtype=np.float32)
    weight = _weights(unit, group, table)
    for g in range(table.n_groups):
        first, last = np.searchsorted(group, [g, g + 1])
        own = weight[first:last]
        has = np.flatnonzero(own > 0.0)
        size = has.size
        step = max(_DRAWS // size, 1)
        for start in range(0, replicates, step):  # in pieces that fit into the cache; Ctrl-C is handled between them
            piece = counts[start : start + step]
            words = (len(piece) * size + 1) // 2
            bits = rng.integers(0, 2**64 - 1, words, dtype=np.uint64, endpoint=True).view(np.uint32)
            bits = bits[: len(piece) * size].reshape(-1, size)
            if size == own.size:
                sample_units(bits, piece, int(first))
                continue
            some = np.empty((len(piece), size), dtype=np.float32)
            sample_units(bits, some, 0)
            piece[:, first:last] = 0.0
            piece[:, first + has] = some
        if own.min() < own.max():
            mine = counts[:, first:last]
            mine *= (own.sum() / (mine @ own))[:, None]
    return counts
