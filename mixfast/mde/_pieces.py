"""Cut the rows of a sharded table into pieces: whole sequences, or stretches of a fixed number of tokens of them.

A piece may begin in one block and end in another. A block sums the rows it has of each piece; the sums of a piece that lies in several
blocks are added where the answers of the blocks meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast.errors import TableError
from mixfast.tables import Block, Sequences, ShardedTable, number_sequences, sequence_starts, windows

Integers = NDArray[np.int64]


class Sums(NamedTuple):
    """Pieces in their order: their numbers and sequence ids (p,), sums of log-likelihoods (p, K), tokens, least and largest row weight (p,)."""

    numbers: Integers
    ids: Integers
    loglik: Matrix
    tokens: Vector
    least: Vector
    most: Vector

    def some(self, which: NDArray[np.bool_]) -> Sums:
        """Return some of the pieces."""
        return Sums._make(array[which] for array in self)

    @classmethod
    def joined(cls, parts: list[Sums]) -> Sums:
        """Put the sums of several blocks together; the parts of one piece are added."""
        numbers, ids, loglik, tokens, least, most = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        begins = np.flatnonzero(np.concatenate(([True], numbers[1:] != numbers[:-1])))
        return cls(
            numbers[begins],
            ids[begins],
            np.add.reduceat(loglik, begins, axis=0),
            np.add.reduceat(tokens, begins),
            np.minimum.reduceat(least, begins),
            np.maximum.reduceat(most, begins),
        )


@dataclass(frozen=True, eq=False)
class Pieces:
    """The pieces of every group, numbered from 0 in each group over all blocks.

    Attributes
    ----------
    sequences : Sequences
    size : int or None
        Tokens of a piece; None for whole sequences.
    counts : (G,) int64
        Pieces of each group.
    first : (B, G) int64
        Number of the first piece that begins in a block.
    cut_off : (B, G) bool
        Whether the first row of a group in a block belongs to a piece that begins in an earlier block.
    open : (B, G) bool
        Whether the last piece of a group in a block continues in a later block.
    """

    sequences: Sequences
    size: int | None
    counts: Integers
    first: Integers
    cut_off: NDArray[np.bool_]
    open: NDArray[np.bool_]

    @classmethod
    def of(cls, table: ShardedTable, name: str, size: int | None) -> Pieces:
        """Number the pieces of a table at a level; refuse sequences whose rows are not neighbours."""
        sequences = number_sequences(table)
        if not sequences.ascending:
            raise TableError(
                f'level "{name}" of a sharded table needs sequence ids that ascend within each group of each part, and here they do not; '
                "write the parts with the rows of each sequence together and ascending ids"
            )
        cut_off = sequences.earlier > 0
        if size is None:
            counts, first = sequences.counts, sequences.first + cut_off
        else:
            cut_off &= sequences.earlier % size > 0
            begun = np.array(table.collect(_begun, sequences, size)).reshape(-1, table.n_groups)
            counts = begun.sum(axis=0)
            first = np.cumsum(begun, axis=0) - begun
        open_ = np.zeros(cut_off.shape, dtype=bool)
        for group in range(table.n_groups):
            present = np.flatnonzero(sequences.rows[:, group])
            open_[present[:-1], group] = cut_off[present[1:], group]
        return cls(sequences, size, counts, first, cut_off, open_)

    def cut(self, block: Block, group: int, window: slice) -> tuple[Integers, int]:
        """Return the rows of a group at which its pieces in a block begin, counted from its first row there, and the number of the first piece."""
        begins = _begins(block, group, window, self.sequences, self.size)
        first = int(self.first[block.index, group])
        if self.cut_off[block.index, group]:
            return np.concatenate(([0], begins)), first - 1
        return begins, first

    def sums(self, block: Block, group: int, window: slice, which: Integers | None = None) -> Sums:
        """Sum the rows of the pieces of a group that a block has; `which` are some of them, None for all."""
        begins, first = self.cut(block, group, window)
        tokens = np.diff(begins, append=window.stop - window.start)
        numbers = first + np.arange(begins.size)
        rows: Any = None
        if which is not None:
            numbers, begins, tokens = numbers[which], begins[which], tokens[which]
            ends = np.cumsum(tokens)
            rows = np.repeat(window.start + begins + tokens - ends, tokens) + np.arange(tokens.sum())
            begins = ends - tokens
        if not numbers.size:
            nothing = np.zeros(0)
            return Sums(numbers, numbers, block.loglik(numbers).astype(np.float64), nothing, nothing, nothing)
        values = block.loglik()[window] if rows is None else block.loglik(rows)
        loglik = np.add.reduceat(values, begins, axis=0, dtype=np.float64)
        rows = window if rows is None else rows
        weight = block.rows.weights[rows]
        least, most = np.minimum.reduceat(weight, begins), np.maximum.reduceat(weight, begins)
        ids = block.rows.vectors["sequence"][rows][begins].astype(np.int64)
        return Sums(numbers, ids, loglik, tokens.astype(np.float64), least, most)

    def whole(self, block: Block, group: int, count: int) -> NDArray[np.bool_]:
        """Return which of the `count` pieces of a group in a block lie in it completely, (p,)."""
        out = np.ones(count, dtype=bool)
        out[0] &= not self.cut_off[block.index, group]
        out[-1] &= not self.open[block.index, group]
        return out


def _begun(block: Block, sequences: Sequences, size: int) -> Integers:
    """Return how many pieces of each group begin in a block, (G,)."""
    out = np.zeros(sequences.counts.size, dtype=np.int64)
    for group, window in windows(block):
        out[group] = _begins(block, group, window, sequences, size).size
    return out


def _begins(block: Block, group: int, window: slice, sequences: Sequences, size: int | None) -> Integers:
    """Return the rows at which pieces of a group begin, counted from its first row in the block."""
    begins = sequence_starts(block, window)
    earlier = int(sequences.earlier[block.index, group])
    if size is None:
        return begins[1:] if earlier else begins
    rows = window.stop - window.start
    begun = np.repeat(begins, np.diff(begins, append=rows))
    begun[: begins[1] if begins.size > 1 else rows] -= earlier
    return np.flatnonzero((np.arange(rows) - begun) % size == 0)
