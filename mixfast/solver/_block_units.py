"""The units that the bootstrap resamples in a sharded table: which one each row of a block belongs to."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Bins, Vector
from mixfast.tables import Block, Sequences, ShardedTable, number_sequences, sequence_hash, sequence_starts, windows


class BlockUnits(NamedTuple):
    """At most `size` units of each group, which keep neighbouring sequences together.

    If the ids in a part do not ascend, its sequences are distributed over the units by a hash of their ids, because rows of a sequence
    may then be far apart.

    Attributes
    ----------
    sequences : Sequences
    first, size : (G,) int64
        The first unit of each group, and how many it has.
    place : (U,) int32 or None
        The number of each unit if empty ones are left out.
    """

    sequences: Sequences
    first: NDArray[np.int64]
    size: NDArray[np.int64]
    place: NDArray[np.int32] | None = None

    def bins(self, block: Block) -> Bins:
        """Return the unit of each row of a block, (r,) int32."""
        out = np.empty(len(block.rows), dtype=np.int32)
        for group, window in windows(block):
            rows, size = window.stop - window.start, int(self.size[group])
            if "sequence" not in block.rows.vectors:
                units, begins = self._of_rows(block, group, rows)
            else:
                begins = sequence_starts(block, window)
                if self.sequences.ascending:
                    number = int(self.sequences.first[block.index, group]) + np.arange(begins.size)
                    units = number * size // int(self.sequences.counts[group])
                else:
                    units = (sequence_hash(block, window, begins) % np.uint64(size)).astype(np.int64)
            out[window] = np.repeat(int(self.first[group]) + units, np.diff(begins, append=rows))
        return out if self.place is None else self.place[out]

    def _of_rows(self, block: Block, group: int, rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the units of rows that are sequences of their own, and the row, counted from the first of the group, at which each begins."""
        size, count = int(self.size[group]), int(self.sequences.counts[group])
        first = int(self.sequences.first[block.index, group])
        units = np.arange(first * size // count, (first + rows - 1) * size // count + 1)
        # Row i belongs to unit floor(i size / count), so unit u begins at row ceil(u count / size).
        return units, np.maximum(-(-units * count // size) - first, 0)


def block_units(table: ShardedTable, most: int) -> tuple[BlockUnits, NDArray[np.int64], bool]:
    """Return the units of a sharded table, at most `most` for each group, the group of each unit, and whether sequences share units."""
    sequences = number_sequences(table)
    size = np.minimum(sequences.counts, most)
    units = BlockUnits(sequences, np.cumsum(size) - size, size)
    group = np.repeat(np.arange(table.n_groups), size)
    if not sequences.ascending:
        filled = table.reduce(_row_counts, units, group.size, size=group.size) > 0.0
        place = (np.cumsum(filled) - 1).astype(np.int32)
        units, group = BlockUnits(sequences, units.first, size, place), group[filled]
    return units, group, bool((sequences.counts > most).any())


def unit_weights(table: ShardedTable, units: Any, count: int) -> Vector:
    """Return the sum of the row weights of each unit, or the number of its rows if all weights are equal, (U,)."""
    counted = _row_counts if table.uniform_weight is not None else _row_weights
    return table.reduce(counted, units, count, size=count)


def _row_counts(block: Block, units: BlockUnits, count: int) -> Vector:
    return np.bincount(units.bins(block), minlength=count).astype(np.float64)


def _row_weights(block: Block, units: BlockUnits, count: int) -> Vector:
    weights = np.bincount(units.bins(block), weights=block.rows.weights, minlength=count)
    return weights.astype(np.float64, copy=False)
