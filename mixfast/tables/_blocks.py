"""How a rank reads its blocks of a table, and the block that functions over a table get."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast.errors import TableError
from mixfast.tables._names import decoded
from mixfast.tables._opening import OpenParts
from mixfast.tables._parts import Part, Readable, Stamp
from mixfast.tables._plan import Plan, Run, planned, sampled_blocks, sampled_runs
from mixfast.tables._sides import RowsOfBlock, Side
from mixfast.tables._values import checked_block
from mixfast.tables._whole import Whole

# A rank keeps this many parts open; more, if all rows fit in this fraction of the memory: their pages then stay mapped from one sweep to
# the next, which saves a fifth of a sweep.
_OPEN, _OPEN_IN_MEMORY, _IN_MEMORY = 16, 256, 0.5
# What a vector of the rows must hold: an error's words, and the test.
_ALLOWED: dict[str, tuple[str, Callable[[NDArray[Any]], NDArray[np.bool_]]]] = {
    "weight": ("a number of at least 0", lambda array: (array >= 0) & (array < math.inf)),
    "length": ("a number above 0", lambda array: (array > 0) & (array < math.inf)),
    "bytes": ("an integer of at least 0", lambda array: array >= 0),
}


class View(NamedTuple):
    """Which rows and domains of the whole table a table has.

    Attributes
    ----------
    group_rows : (G,) tuple of int
        Rows of each group, from which default weights follow.
    uniform_weight : float or None
        The weight of every row if all are equal.
    chosen : tuple of int or None
        The domains, as positions in those of the whole table; None for all.
    sides : tuple of Side
        The sides of random splits that a row must be on.
    sampled : int
        Number of rows that a sample reads; 0 for all rows.
    stretch : float
        What the weights of a sample are multiplied by.
    kept : bool
        Whether the rows of a sample stay in memory; otherwise each sum reads them again.
    """

    group_rows: tuple[int, ...]
    uniform_weight: float | None = None
    chosen: tuple[int, ...] | None = None
    sides: tuple[Side, ...] = ()
    sampled: int = 0
    stretch: float = 1.0
    kept: bool = True

    @property
    def held(self) -> bool:
        """Whether the rows of a block stay in memory once they have been read."""
        return self.sampled > 0 and self.kept


class Here:
    """The blocks of a table that belong to this rank: `first` to `last`."""

    def __init__(
        self,
        whole: Whole,
        view: View,
        make: Callable[..., Any],
        parts: OpenParts,
        stamps: Mapping[str, Stamp],
        first: int,
        last: int,
    ) -> None:
        self.whole: Whole = whole
        self.view: View = view
        self._parts = parts
        # Of the files as this rank sees them, by name; another machine may see other dates and inodes.
        self._stamps = stamps
        # Makes an ExpertTable, whose file imports this one.
        self.make = make
        self.first: int = first
        self.last: int = last
        self.plan: Plan = planned(whole)
        self.memories: list[dict[Any, Any]] = [{} for _ in range(first, last)]
        self.rows_before: NDArray[np.int64] = np.concatenate(([0], np.cumsum(whole.rows)))
        self._sweeps, self._step = 0, 1
        elements = int(whole.rows.sum()) * len(whole.domains)
        self._fits = elements * whole.parts[0].dtype.itemsize <= _IN_MEMORY * memory_bytes()

    @property
    def n_blocks(self) -> int:
        """Blocks of the whole table, of all ranks."""
        return sampled_blocks(self.view.sampled) if self.view.sampled else len(self.plan)

    def seen(self) -> NDArray[np.float64]:
        """Return the extremes of the blocks whose values have been read (smallest, largest, smallest row maximum), and their number."""
        found = [memory["extremes"] for memory in self.memories if "extremes" in memory]
        if not found:
            return np.array([math.inf, -math.inf, math.inf, 0.0])
        low, high, lowest_top = np.array(found).T
        return np.array([low.min(), high.max(), lowest_top.min(), float(len(found))])

    def part(self, number: int) -> Readable:
        """Return an open part."""
        return self._parts.part(self._local(number), _OPEN_IN_MEMORY if self._fits else _OPEN)

    def _local(self, number: int) -> Part:
        part = self.whole.parts[number]
        stamp = self._stamps.get(part.path.name, part.stamp)
        return part if stamp == part.stamp else part._replace(stamp=stamp)

    def turn(self) -> bool:
        """Return whether the next sweep goes backwards: every second one, if the table is larger than the memory.

        It then begins with the rows that the last sweep has left in memory.
        """
        self._sweeps += 1
        return not self._fits and not self.view.sampled and self._sweeps % 2 == 0

    def visit(self, backwards: bool = False) -> Iterator[Block]:
        """Yield the blocks of this rank in order; check that each part is unchanged before its first block and after its last."""
        previous, self._step = -1, -1 if backwards else 1
        for index in range(self.first, self.last)[:: self._step]:
            if self.view.sampled:
                yield Block(self, index, sampled_runs(self.whole, self.view.sampled, index))
                continue
            run = self._run(index)
            if run.part != previous:
                self._check(previous)
                self._check(run.part)
                previous = run.part
            yield Block(self, index, [run])
        self._check(previous)

    def _run(self, index: int) -> Run:
        return Run(int(self.plan.part[index]), int(self.plan.first[index]), int(self.plan.last[index]))

    def read_ahead(self, index: int) -> None:
        """Have the system read the block after this one from the disk, unless it is still in memory from the last sweep."""
        index += self._step
        if self.first <= index < self.last and not (self._fits and "extremes" in self.memories[index - self.first]):
            number, first, last = self._run(index)
            if not self.whole.parts[number].row_groups:
                self.part(number).prefetch(first, last)

    def _check(self, number: int) -> None:
        if number >= 0:
            self._local(number).check()


def memory_bytes() -> int:
    """Return the bytes of memory of this machine; 0 if the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0


class Block:
    """A range of rows of a table of several parts, as the functions of `ShardedTable.reduce` and `ShardedTable.collect` get it.

    Attributes
    ----------
    index : int
        Number of the block in the table.
    part : Path
        The file of its first row.
    first, start : int
        Number of its first row in the part, and in all parts together.
    columns : (K,) int32 or None
        Where the table's domains are in `table`; None if `table` has them in this order.
    memory : dict
        Lives as long as the table on this rank; empty at the first visit.
    """

    def __init__(self, here: Here, index: int, runs: list[Run]) -> None:
        self._here, self._runs = here, runs
        self.index: int = index
        number, first, _ = runs[0]
        self.first: int = first
        self.part: Path = here.whole.parts[number].path
        self.start: int = int(here.rows_before[number]) + self.first
        self.memory: dict[Any, Any] = here.memories[index - here.first]
        # Rows of a sample come from several parts, and are put into the order of the table when they are read.
        self._order = None if here.view.sampled else here.whole.orders[number]
        self.columns: NDArray[np.int32] | None = _columns(self._order, here.view.chosen)
        self._rows: Rows | None = None
        self._table: Any = None
        self._loglik: NDArray[Any] | None = None

    @property
    def table(self) -> Any:
        """The rows as an `ExpertTable`, with the weights that they have in the whole table.

        It has the groups of the whole table, some of which may have no rows here. The columns are those of the part, with its names. The
        values are mapped, not copied, unless the rows have to be sorted by group, or only some of them belong to the table.
        """
        if self._table is None:
            found = self.memory.get("table") if self._here.view.held else None
            self._table = found if found is not None else self._read()
            if self._here.view.held:
                self.memory["table"] = self._table
        return self._table

    @property
    def n_rows(self) -> int:
        """Number of rows that are read; `table` has fewer on one side of a split, perhaps none."""
        return sum(last - first for _, first, last in self._runs)

    @property
    def filled(self) -> bool:
        """Whether `table` has rows."""
        return not self._here.view.sides or len(self.rows) > 0

    @property
    def rows(self) -> Rows:
        """What is known of the rows besides their values; reads none of the values."""
        if self._rows is None:
            found = self.memory.get("rows") if self._here.view.held else None
            self._rows = found if found is not None else Rows.read(self)
            if self._here.view.held:
                self.memory["rows"] = self._rows
        return self._rows

    def loglik(self, chosen: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Return the log-likelihoods of all rows of `table`, or of the `chosen` ones, (r, K), in the order of the table's domains.

        They are in memory, so numpy may use them; it does not survive a mapped file that is cut short. Only chosen rows are read and checked.
        """
        if self._here.view.sampled:
            values = self.table.loglik if chosen is None else self.table.loglik[chosen]
        elif chosen is None:
            if self._loglik is None:
                self._loglik = self._checked_values(mapped=False)
            values = self._loglik
        else:
            values = self._chosen_values(chosen if self.rows.order is None else self.rows.order[chosen])
        return values if self.columns is None else np.ascontiguousarray(values[:, self.columns])

    def error(self, row: int, text: str) -> TableError:
        """Return the error about a row of `table`, which names its file and row."""
        order = self.rows.order
        return self._error(row if order is None else int(order[row]), text)

    def _error(self, position: int, text: str) -> TableError:
        """Return the error about a row, counted as the block reads them."""
        for part, first, last in self._runs:
            if position < last - first:
                return TableError(f"{self._here.whole.parts[part].path}, row {first + position}: {text}")
            position -= last - first
        return TableError(f"{self.part}: {text}")

    def _read(self) -> Any:
        rows, whole = self.rows, self._here.whole
        # Rows that are copied are read, because numpy does not survive a mapped file that is cut short.
        values = self._checked_values(mapped=rows.order is None)
        make, extremes = self._here.make, self.memory["extremes"]
        return make(
            values, self._names(), rows.vectors, rows.codes, whole.group_names, extremes, rows.uniform, rows.weight
        )

    def _checked_values(self, *, mapped: bool) -> NDArray[Any]:
        """Return the values of the rows of the table, with the columns of the part."""
        values = self._values(mapped=mapped)
        if "extremes" not in self.memory:
            # All rows are checked, also those that are not on this side of a split.
            self.memory["extremes"] = checked_block(values, self.columns, self._names(), self._error)
        return values if self.rows.order is None else values[self.rows.order]

    def _chosen_values(self, positions: NDArray[np.integer]) -> NDArray[Any]:
        """Read the values of rows, counted as the block reads them, in any order."""
        number, first, _ = self._runs[0]
        part, dtype = self._here.part(number), self._here.whole.parts[number].dtype
        by_place = np.argsort(positions, kind="stable")
        ascending = positions[by_place]
        values = np.empty((positions.size, len(self._names())), dtype=dtype)
        if self._here.whole.parts[number].row_groups:
            values[by_place] = self._values(mapped=False)[ascending]
        else:
            ends = np.flatnonzero(np.diff(ascending, append=-1) != 1) + 1
            found = np.empty_like(values)
            for begin, end in pairwise([0, *ends.tolist()]):
                part.read_into(found[begin:end], "loglik", first + int(ascending[begin]))
            values[by_place] = found
        checked_block(values, self.columns, self._names(), lambda row, text: self._error(int(positions[row]), text))
        return values

    def _names(self) -> tuple[str, ...]:
        own = self._here.whole.parts[self._runs[0].part].domains
        return self._here.whole.domains if self._order is None or own is None else own

    def _values(self, *, mapped: bool) -> NDArray[Any]:
        here = self._here
        if not here.view.sampled:
            number, first, last = self._runs[0]
            part = here.part(number)
            found = part.values(first, last) if mapped else part.read("loglik", first, last)
            here.read_ahead(self.index)
            return found
        out = np.empty((self.n_rows, len(here.whole.domains)), dtype=here.whole.parts[0].dtype)
        for number, first, last in self._runs:
            here.part(number).prefetch(first, last)
        at = 0
        for number, first, last in self._runs:
            taken = out[at : at + last - first]
            here.part(number).read_into(taken, "loglik", first)
            if (order := here.whole.orders[number]) is not None:
                taken[:] = taken[:, order]
            at += last - first
        return out

    def vector(self, key: str) -> NDArray[Any]:
        """Read a vector of the rows as it is in the parts, (r,); entries that are not allowed are refused at the first visit."""
        pieces = [self._here.part(number).read(key, first, last) for number, first, last in self._runs]
        found = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        if key in _ALLOWED and ("checked", key) not in self.memory:
            words, test = _ALLOWED[key]
            wrong = np.flatnonzero(~test(found))
            if wrong.size:
                raise self._error(int(wrong[0]), f"{key} is {found[wrong[0]]}, expected {words}")
            self.memory["checked", key] = True
        return found

    def codes(self) -> NDArray[np.int32] | None:
        """Read the group of each row, as the table's code, (r,); None without groups."""
        whole = self._here.whole
        if not whole.has("group"):
            return None
        return np.concatenate(
            [
                coded(self._here.part(number).read("group", first, last), whole.codes[number])
                for number, first, last in self._runs
            ]
        )

    def kept(self, sequence: NDArray[Any] | None) -> NDArray[np.bool_] | None:
        """Return which rows this side of a split has, given their sequences; None for all."""
        if not self._here.view.sides:
            return None
        at, kept = 0, np.ones(self.n_rows, dtype=bool)
        for number, first, last in self._runs:
            count = last - first
            ids = None if sequence is None else sequence[at : at + count]
            for side in self._here.view.sides:
                kept[at : at + count] &= side.taken(int(self._here.rows_before[number]) + first, first, count, ids)
            at += count
        return kept

    def facts(self) -> RowsOfBlock:
        """Return what a split needs to know of the rows, without their values."""
        sequence = self.vector("sequence") if self._here.whole.has("sequence") else None
        alive = self.vector("weight") > 0.0 if self._here.whole.has("weight") else None
        kept, codes = self.kept(sequence), self.codes()
        kept = np.ones(self.n_rows, dtype=bool) if kept is None else kept
        codes = np.zeros(self.n_rows, dtype=np.int32) if codes is None else codes
        return RowsOfBlock(self.start, self.first, kept, sequence, codes, alive)

    def group_entries(self) -> list[Any]:
        """Return the distinct entries of ``group`` in the rows, in the order of their first rows."""
        number, first, last = self._runs[0]
        entries, _ = runs_of(self._here.part(number).read("group", first, last))
        return list(dict.fromkeys(entries.tolist()))

    @property
    def n_groups(self) -> int:
        """Number of groups of the whole table."""
        return len(self._here.whole.group_names)

    @property
    def part_number(self) -> int:
        """Number of the part of its first row."""
        return self._runs[0].part

    @property
    def view(self) -> View:
        """Which rows and domains the table has."""
        return self._here.view

    @property
    def keys(self) -> tuple[str, ...]:
        """The vectors of rows that the parts have."""
        return tuple(key for key in ("weight", "length", "sequence", "bytes") if self._here.whole.has(key))


class Rows:
    """What is known of the rows of a block besides their values: weights, lengths, sequences, groups.

    Attributes
    ----------
    order : (r,) int or None
        Positions in the block as it is read of the rows of the table, sorted by group; None if these are all rows as they are.
    vectors : dict of str to (r,)
        ``weight``, ``length``, ``sequence`` and ``bytes``, if the table has them.
    codes : (r,) int32 or None
        Group of each row, ascending.
    uniform, weight : float or None, and (r,) float64 or None
        The weight c of all rows if it is the same, else that of each.
    """

    def __init__(
        self,
        size: int,
        order: NDArray[np.intp] | None,
        vectors: dict[str, NDArray[Any]],
        codes: NDArray[np.int32] | None,
        weights: tuple[float | None, NDArray[np.float64] | None],
    ) -> None:
        self._size = size
        self.order: NDArray[np.intp] | None = order
        self.vectors: dict[str, NDArray[Any]] = vectors
        self.codes: NDArray[np.int32] | None = codes
        self.uniform: float | None = weights[0]
        self.weight: NDArray[np.float64] | None = weights[1]

    def __len__(self) -> int:
        return self._size if self.order is None else self.order.size

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weight c of each row, (r,)."""
        return np.full(len(self), self.uniform) if self.weight is None else self.weight

    @classmethod
    def read(cls, block: Block) -> Rows:
        """Read and check the vectors of a block; sort them by group, and leave out the rows of other sides of splits."""
        vectors = {key: block.vector(key) for key in block.keys}
        codes, order = block.codes(), None
        if (kept := block.kept(vectors.get("sequence"))) is not None:
            order = np.flatnonzero(kept)
        unsorted = codes is not None and np.any(codes[1:] < codes[:-1])
        if codes is not None and unsorted:
            order = _by_group(codes) if order is None else order[_by_group(codes[order])]
        if order is not None:
            vectors = {key: array[order] for key, array in vectors.items()}
            codes = None if codes is None else codes[order]
        if "weight" in vectors:
            vectors["weight"] = vectors["weight"].astype(np.float64, copy=False)
        return cls(block.n_rows, order, vectors, codes, _weights(block.view, vectors, codes))


def _weights(
    view: View, vectors: dict[str, NDArray[Any]], codes: NDArray[np.int32] | None
) -> tuple[float | None, NDArray[np.float64] | None]:
    """Return the weight c of all rows, or that of each: the weight or 1/n_g, divided by the length if given."""
    if view.uniform_weight is not None:
        return view.uniform_weight * view.stretch, None
    size: Any = vectors["length"].astype(np.float64) if "length" in vectors else 1.0
    with np.errstate(over="ignore"):
        if "weight" in vectors:
            weight = vectors["weight"] / size * view.stretch
        else:
            counts: Any = np.array(view.group_rows, dtype=np.float64)
            weight = view.stretch / ((counts[0] if codes is None else counts[codes]) * size)
    if np.ndim(weight) == 0:
        return float(weight), None
    if not weight.size:
        return 1.0, None
    if (weight == weight[0]).all():
        return float(weight[0]), None
    return None, weight


def _by_group(codes: NDArray[np.int32]) -> NDArray[np.intp]:
    # numpy sorts 16 bits by counting, which is faster.
    return np.argsort(codes.astype(np.int16) if codes.max(initial=0) < 1 << 15 else codes, kind="stable")


def coded(entries: NDArray[Any], codes: dict[Any, int] | None) -> NDArray[np.int32]:
    """Return the table's codes of entries of ``group``, given those of all distinct entries of the part."""
    if codes is None or not entries.size:
        return np.zeros(entries.size, dtype=np.int32)
    values, lengths = runs_of(entries)
    known, numbers = np.array(list(codes)), np.array(list(codes.values()), dtype=np.int32)
    order = np.argsort(known)
    return np.repeat(numbers[order][np.searchsorted(known[order], values)], lengths)


def runs_of(entries: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the values of runs of equal entries of ``group``, as integers or text, and the lengths of the runs: groups are usually adjacent."""
    starts = np.concatenate(([0], np.flatnonzero(entries[1:] != entries[:-1]) + 1))
    values = decoded(entries[starts], "group")
    return values.astype(np.int8) if values.dtype.kind == "b" else values, np.diff(starts, append=entries.size)


def text(entry: Any) -> Any:
    """Return an entry of ``group`` with bytes as text."""
    return entry.decode("utf-8") if isinstance(entry, bytes) else int(entry) if isinstance(entry, bool) else entry


def _columns(order: NDArray[np.int32] | None, chosen: tuple[int, ...] | None) -> NDArray[np.int32] | None:
    if chosen is None:
        return order
    picked = np.array(chosen, dtype=np.int32)
    return picked if order is None else np.ascontiguousarray(order[picked])
