"""Split a sharded table in two by whole sequences, without a list of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast.errors import TableError
from mixfast.tables._hash import mixed
from mixfast.tables._names import some
from mixfast.tables._selection import split_mask

# Tables with at most this many rows are split exactly, from a list of all rows, as tables in memory are.
LISTED = 1 << 20
# In a larger table without sequence ids, this many neighbouring rows stay together.
_TOGETHER = 64


class Side(NamedTuple):
    """The rows of one of the two tables of a split.

    Attributes
    ----------
    share : float
        Fraction of the sequences in the first table.
    seed : int
    second : bool
        Whether these are the rows of the second table.
    listed : (n,) bool or None
        Which rows of the whole table are in the first one; None if the hash of a sequence decides.
    """

    share: float
    seed: int
    second: bool = False
    listed: NDArray[np.bool_] | None = None

    @property
    def other(self) -> Side:
        """The rows of the other table."""
        return self._replace(second=not self.second)

    def taken(self, start: int, first: int, count: int, ids: NDArray[np.integer] | None) -> NDArray[np.bool_]:
        """Return which rows of a range belong to this table, (count,).

        Parameters
        ----------
        start, first : int
            Number of the first row in the whole table, and in its part.
        count : int
        ids : (count,) or None
            The sequence of each row.
        """
        if self.listed is not None:
            return self.listed[start : start + count] ^ self.second
        part = mixed(np.array([start - first], dtype=np.uint64) + mixed(np.array([self.seed], dtype=np.uint64)))
        if ids is None:
            low = first // _TOGETHER
            keys = np.arange(low, (first + count - 1) // _TOGETHER + 1, dtype=np.uint64)
            skipped = first - low * _TOGETHER
            return np.repeat(self._below(keys + part), _TOGETHER)[skipped : skipped + count]
        begins = np.concatenate(([0], np.flatnonzero(ids[1:] != ids[:-1]) + 1))
        keys = ids[begins].astype(np.int64).view(np.uint64)
        return np.repeat(self._below(keys + part), np.diff(begins, append=count))

    def _below(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        return (mixed(keys) < np.uint64(int(self.share * 2.0**64))) ^ self.second


class RowsOfBlock(NamedTuple):
    """What a split needs to know about the rows of a block: where it begins, ids, groups and whether weights are above 0 (None: all)."""

    start: int
    first: int
    kept: NDArray[np.bool_]
    ids: NDArray[np.integer] | None
    codes: NDArray[np.int32]
    alive: NDArray[np.bool_] | None

    def counts(self, side: Side, n_groups: int) -> NDArray[np.int64]:
        """Return rows of each group on this side and the other, and those of them with a weight above 0, (4, G)."""
        taken = side.taken(self.start, self.first, self.codes.size, self.ids)
        alive = self.kept if self.alive is None else self.kept & self.alive
        rows = (taken & self.kept, ~taken & self.kept, taken & alive, ~taken & alive)
        return np.array([np.bincount(self.codes[which], minlength=n_groups) for which in rows])


def listed_side(blocks: Sequence[RowsOfBlock], n_groups: int, share: float, seed: int | np.random.Generator) -> Side:
    """Return the side of a small table that `ExpertTable.split` would make of the same rows."""
    kept = np.concatenate([block.kept for block in blocks])
    codes = np.concatenate([block.codes for block in blocks])
    ids = alive = None
    if blocks[0].ids is not None:
        # Equal ids in different parts are different sequences.
        parts = np.concatenate([np.full(block.codes.size, block.start - block.first) for block in blocks])
        pairs = np.stack([parts, np.concatenate([block.ids for block in blocks]).astype(np.int64)])
        ids = np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1)
    if blocks[0].alive is not None:
        alive = np.concatenate([block.alive for block in blocks])
    order = np.flatnonzero(kept)
    order = order[np.argsort(codes[order], kind="stable")]
    offsets = np.concatenate(([0], np.cumsum(np.bincount(codes[order], minlength=n_groups))))
    in_first = split_mask(
        None if ids is None else ids[order],
        offsets,
        share,
        np.random.default_rng(seed),
        None if alive is None else alive[order],
    )
    listed = np.zeros(kept.size, dtype=bool)
    listed[order] = in_first
    return Side(share, 0, listed=listed)


def refuse_one_sided(alive: NDArray[np.int64], names: Sequence[str]) -> None:
    """Raise if a group has no row with a weight above 0 in one of the tables, (2, G)."""
    if not alive.all():
        lone = [name for name, sides in zip(names, alive.T, strict=True) if not sides.all()]
        raise TableError(
            f"cannot split group {some(lone)} in two: it needs at least two sequences of its own with a weight above 0; "
            "give finer sequence ids, leave the group out, or try another seed if it has only a few sequences"
        )
