"""The sequences of the rows that a conversion reads: ids that are different in different files, and rows at which a part may end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast.errors import TableError
from mixfast.tables._rows_in import RowsIn


class _Ids(NamedTuple):
    """Smallest and largest id of a file, and whether its ids never decrease."""

    least: int
    most: int
    ascending: bool


class Sequences:
    """The sequences of all rows.

    Attributes
    ----------
    dtype : dtype
        Of the ids.
    renumbered : bool
        Whether files use the same ids for different sequences, so that all ids are replaced.
    """

    def __init__(self, files: Sequence[RowsIn], ids: Sequence[_Ids]) -> None:
        self._files, self._ids = files, ids
        spans = sorted((one.least, one.most) for one in ids)
        self.renumbered = any(low <= high for (_, high), (low, _) in pairwise(spans))
        common = np.result_type(*(file.dtypes.get("sequence", np.dtype(np.int64)) for file in files))
        # No integer type holds all of uint64 and int64.
        self.renumbered |= common.kind not in "iu"
        self.dtype: np.dtype[Any] = np.dtype(np.int64) if self.renumbered else common
        self._starts = np.concatenate(([0], np.cumsum([one.most - one.least + 1 for one in ids], dtype=object)))
        # Ids that are spread widely, such as hashes, are replaced by their ranks in the file.
        self._ranked = self.renumbered and int(self._starts[-1]) > np.iinfo(np.int64).max
        # Of the last file that was asked for.
        self._ranks: dict[int, NDArray[Any]] = {}
        self._all_cuts: dict[int, NDArray[np.int64]] = {}
        if self._ranked:
            sizes = [np.unique(self._own(file, 0, file.n_rows)).size for file in files]
            self._starts = np.concatenate(([0], np.cumsum(sizes)))

    def ids(self, file: RowsIn, number: int, first: int, last: int) -> NDArray[Any]:
        """Return the ids of a range of rows of a file."""
        own = self._own(file, first, last)
        if not self.renumbered:
            return own
        start = int(self._starts[number])
        if self._ranked:
            return np.searchsorted(self._all(number), own) + start
        least = self._ids[number].least
        # The differences fit into 64 bits, although ids of uint64 may not.
        own = own if own.dtype.itemsize == 8 else own.astype(np.int64)
        return (own - own.dtype.type(least)).astype(np.int64) + start

    def cut_near(self, number: int, row: int) -> int:
        """Return a row of a file near the given one before which a part may end, because no sequence continues; 0 or the end if need be."""
        file = self._files[number]
        if row == 0 or "sequence" not in file.dtypes:
            return row
        if not (self._ids[number].ascending and file.is_direct):
            cuts = self._cuts(number)
            return int(cuts[np.argmin(np.abs(cuts - row))])
        here = int(self._own(file, row, row + 1)[0])
        below, above = self._first_with(number, here), self._first_with(number, here + 1)
        return below if row - below <= above - row else above

    def _first_with(self, number: int, least: int) -> int:
        """Return the first row of a file with an id of at least this, by bisection: the ids never decrease."""
        file = self._files[number]
        low, high = 0, file.n_rows
        while low < high:
            middle = (low + high) // 2
            if int(self._own(file, middle, middle + 1)[0]) < least:
                low = middle + 1
            else:
                high = middle
        return low

    def _cuts(self, number: int) -> NDArray[np.int64]:
        """Return all rows of a file before which no sequence continues."""
        if number not in self._all_cuts:
            ids = self._own(self._files[number], 0, self._files[number].n_rows)
            _, inverse = np.unique(ids, return_inverse=True)
            ends = np.zeros(int(inverse.max()) + 1, dtype=np.int64)
            # Later rows overwrite earlier ones, so each sequence keeps its last row.
            ends[inverse] = np.arange(ids.size)
            reach = np.maximum.accumulate(ends[inverse])
            self._all_cuts = {number: np.concatenate(([0], np.flatnonzero(reach == np.arange(ids.size)) + 1))}
        return self._all_cuts[number]

    def _all(self, number: int) -> NDArray[Any]:
        if number not in self._ranks:
            file = self._files[number]
            self._ranks = {number: np.unique(self._own(file, 0, file.n_rows))}
        return self._ranks[number]

    def _own(self, file: RowsIn, first: int, last: int) -> NDArray[Any]:
        """Return the ids in the file; without any, each row is a sequence."""
        if "sequence" not in file.dtypes:
            return np.arange(first, last)
        return file.read("sequence", first, last)


def read_sequences(files: Sequence[RowsIn], ranges: Callable[[RowsIn], list[tuple[int, int]]]) -> Sequences:
    """Read the ids of all rows once."""
    return Sequences(files, [_read(file, ranges(file)) for file in files])


def _read(file: RowsIn, pieces: Sequence[tuple[int, int]]) -> _Ids:
    if "sequence" not in file.dtypes:
        return _Ids(0, file.n_rows - 1, True)
    if file.dtypes["sequence"].kind not in "iu":
        raise TableError(f"{file.path}: sequence must be integers, got {file.dtypes['sequence']}")
    least, most, ascending, previous = [], [], True, None
    for first, last in pieces:
        ids = file.read("sequence", first, last)
        least.append(int(ids.min()))
        most.append(int(ids.max()))
        ascending &= bool((ids[1:] >= ids[:-1]).all()) and (previous is None or int(ids[0]) >= previous)
        previous = int(ids[-1])
    return _Ids(min(least), max(most), ascending)
