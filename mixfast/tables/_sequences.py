"""Number the sequences of a sharded table without a list of them: from the first and last ids of the blocks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast.tables._hash import mixed

if TYPE_CHECKING:
    from mixfast.tables._blocks import Block
    from mixfast.tables._sharded import ShardedTable

Integers = NDArray[np.int64]


class Sequences(NamedTuple):
    """How many sequences each group has, and with which of them each block begins.

    A sequence is a stretch of rows of a group that have one id in one part; without ids, each row is a sequence.

    Attributes
    ----------
    counts : (G,) int64
        Sequences of each group.
    rows : (B, G) int64
        Rows of each group in each block.
    first : (B, G) int64
        Number of the sequence to which a block's first row of a group belongs, counted from 0 in each group.
    earlier : (B, G) int64
        Rows of that sequence in earlier blocks; 0 if it begins in this block.
    ascending : bool
        Whether the ids ascend in each group of each part. If they do not, a sequence may return after others: only its id tells which
        rows belong together, and `counts` may be larger than the number of sequences.
    """

    counts: Integers
    rows: Integers
    first: Integers
    earlier: Integers
    ascending: bool


def number_sequences(table: ShardedTable) -> Sequences:
    """Number the sequences of every group in the order of the rows. Reads the ids once, if there are any."""
    found = table.collect(_ends)
    rows, first, earlier = (np.zeros((len(found), table.n_groups), dtype=np.int64) for _ in range(3))
    counts, before = np.zeros(table.n_groups, dtype=np.int64), dict[int, tuple[int, _Ends]]()
    ascending = True
    for index, (part, groups) in enumerate(found):
        first[index] = counts
        for group, ends in groups.items():
            rows[index, group] = ends.rows
            last_part, last = before.get(group, (-1, ends))
            same_part = table.has_sequence and part == last_part
            goes_on = same_part and last.last_id == ends.first_id
            ascending &= ends.ascending and not (same_part and last.last_id > ends.first_id)
            if goes_on:
                first[index, group] -= 1
                earlier[index, group] = last.last_length
                if ends.stretches == 1:
                    ends = ends._replace(last_length=ends.last_length + last.last_length)
            counts[group] += ends.stretches - goes_on
            before[group] = part, ends
    return Sequences(counts, rows, first, earlier, ascending)


def windows(block: Block) -> Iterator[tuple[int, slice]]:
    """Yield the groups that have rows in a block, and where these are; reads no values."""
    codes, count = block.rows.codes, len(block.rows)
    if codes is None:
        if count:
            yield 0, slice(0, count)
        return
    begins = [0, *(np.flatnonzero(codes[1:] != codes[:-1]) + 1).tolist(), count]
    for first, last in pairwise(begins):
        if last > first:
            yield int(codes[first]), slice(first, last)


def sequence_starts(block: Block, window: slice) -> Integers:
    """Return the rows of a group at which a sequence begins, counted from its first row in the block; all of them without ids."""
    ids = block.rows.vectors.get("sequence")
    if ids is None:
        return np.arange(window.stop - window.start)
    ids = ids[window]
    return np.concatenate(([0], np.flatnonzero(ids[1:] != ids[:-1]) + 1))


def sequence_hash(block: Block, window: slice, begins: Integers) -> NDArray[np.uint64]:
    """Return a hash of the sequences that begin at these rows of a group; equal ids in different parts are different sequences."""
    ids = block.rows.vectors["sequence"][window][begins].astype(np.int64).view(np.uint64)
    return mixed(ids + mixed(np.array([block.start - block.first], dtype=np.uint64)))


class _Ends(NamedTuple):
    """Rows of a group in a block, the ids of the first and the last, the number of stretches, the rows of the last, and whether ids ascend."""

    rows: int
    first_id: int
    last_id: int
    stretches: int
    last_length: int
    ascending: bool


def _ends(block: Block) -> tuple[int, dict[int, _Ends]]:
    """Return the row of the table at which the part of a block begins, and what its groups begin and end with."""
    out = {}
    for group, window in windows(block):
        rows, ids = window.stop - window.start, block.rows.vectors.get("sequence")
        if ids is None:
            out[group] = _Ends(rows, 0, 0, rows, 1, True)
        else:
            begins = sequence_starts(block, window)
            ids = ids[window][begins]
            ascending = bool((ids[1:] > ids[:-1]).all())
            out[group] = _Ends(rows, int(ids[0]), int(ids[-1]), begins.size, rows - int(begins[-1]), ascending)
    return block.start - block.first, out
