"""The groups of the rows that a conversion reads: one pass over their column gives names, codes and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import places
from mixfast.errors import TableError
from mixfast.tables._blocks import coded, text
from mixfast.tables._group_names import labels_of, ordered_names
from mixfast.tables._names import checked_names, some
from mixfast.tables._rows_in import Input, RowsIn


@dataclass(frozen=True)
class Groups:
    """The groups of all rows.

    Attributes
    ----------
    names : tuple of G str
        In the order of the output; empty if there are no groups.
    rows : (G,) int64
        Rows of each group.
    is_sorted : bool
        Whether the rows are sorted by group.
    """

    names: tuple[str, ...]
    rows: NDArray[np.int64]
    is_sorted: bool
    # For each file the code of each entry of its column; None if all its rows belong to the group of the second number.
    _codes: tuple[dict[Any, int] | None, ...]
    _alone: tuple[int, ...]
    _counts: dict[tuple[int, int], NDArray[np.int64]]

    def codes(self, rows: RowsIn, number: int, first: int, last: int) -> NDArray[np.int32]:
        """Return the groups of a range of rows of a file."""
        codes = self._codes[number]
        if codes is None:
            return np.full(last - first, self._alone[number], dtype=np.int32)
        return coded(rows.read("group", first, last), codes)

    def count(self, number: int, first: int, group: int) -> int:
        """Return how many rows of a group the piece of a file has that begins at a row."""
        return int(self._counts[number, first][group])

    def present(self, pieces: Iterable[Any], codes: Callable[[Any], NDArray[np.int32]]) -> tuple[str, ...]:
        """Return the names of the groups that have rows in some pieces."""
        if not self.names:
            return ()
        found = np.zeros(len(self.names), dtype=bool)
        for piece in pieces:
            found[codes(piece)] = True
        return tuple(name for name, here in zip(self.names, found.tolist(), strict=True) if here)


def read_groups(
    inputs: Sequence[Input],
    ranges: Callable[[RowsIn], list[tuple[int, int]]],
    by_input: Sequence[str] | None,
) -> Groups:
    """Read the groups of all rows; ``by_input`` are names for the rows of each input, in place of the groups in its files."""
    files = [file for one in inputs for file in one.files]
    if by_input is not None:
        names = checked_names(by_input, "names of groups")
        alone = tuple(place for place, one in enumerate(inputs) for _ in one.files)
        rows = np.zeros(len(names), dtype=np.int64)
        for place, file in zip(alone, files, strict=True):
            rows[place] += file.n_rows
        return Groups(names, rows, True, (None,) * len(files), alone, {})
    if "group" not in files[0].dtypes:
        return Groups((), np.zeros(0, dtype=np.int64), True, (None,) * len(files), (0,) * len(files), {})
    found = [[_entries(file, first, last) for first, last in ranges(file)] for file in files]
    labels = [
        labels_of(file, list(dict.fromkeys(entry for piece, _ in pieces for entry in piece)))
        for file, pieces in zip(files, found, strict=True)
    ]
    names = checked_names(_all_names(inputs, labels), "names of groups")
    codes_of = places(names)
    codes = tuple({entry: codes_of[name] for entry, name in one.items()} for one in labels)
    counts, total, is_sorted, last_code = {}, np.zeros(len(names), dtype=np.int64), True, 0
    for number, (file, pieces) in enumerate(zip(files, found, strict=True)):
        for (first, _), (piece, ascending) in zip(ranges(file), pieces, strict=True):
            here = np.zeros(len(names), dtype=np.int64)
            for entry, count in piece.items():
                here[codes[number][entry]] += count
            counts[number, first] = here
            total += here
            present = np.flatnonzero(here)
            # Entries are in the order in which they first appear.
            order = [codes[number][entry] for entry in piece]
            is_sorted &= ascending and order == sorted(order) and int(present[0]) >= last_code
            last_code = int(present[-1])
    keep = total > 0
    if not keep.all():
        unused = [name for name, kept in zip(names, keep.tolist(), strict=True) if not kept]
        raise TableError(f"{inputs[0].path}: no row belongs to the groups {some(unused)}")
    return Groups(names, total, is_sorted, codes, (0,) * len(files), counts)


def _entries(file: RowsIn, first: int, last: int) -> tuple[dict[Any, int], bool]:
    """Return the rows of each entry of a range of rows, in the order of first appearance, and whether equal entries are neighbours."""
    entries = file.read("group", first, last)
    if entries.dtype.kind not in "iubUSTO":
        raise TableError(f"{file.path}: group is {entries.dtype}, expected integers or names")
    starts = np.concatenate(([0], np.flatnonzero(entries[1:] != entries[:-1]) + 1))
    lengths = np.diff(starts, append=entries.size)
    values, at, inverse = np.unique(entries[starts], return_index=True, return_inverse=True)
    counts = np.bincount(inverse.reshape(-1), weights=lengths).astype(np.int64)
    order = np.argsort(at)
    found = {
        text(value): int(count) for value, count in zip(values[order].tolist(), counts[order].tolist(), strict=True)
    }
    return found, starts.size == values.size


def _all_names(inputs: Sequence[Input], labels: Sequence[dict[Any, str]]) -> tuple[str, ...]:
    """Return the names of all groups, in the order of the inputs."""
    out: dict[str, None] = {}
    place = 0
    for one in inputs:
        here = labels[place : place + len(one.files)]
        place += len(one.files)
        out.update(dict.fromkeys(ordered_names(one.files, here, one.groups)))
        unnamed = dict.fromkeys(name for found in here for name in found.values() if name not in out)
        if unnamed:
            raise TableError(f"{one.path} has the groups {some(list(unnamed))}, which its table.json does not name")
    return tuple(out)
