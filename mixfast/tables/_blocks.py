"""Blocks: the fixed ranges of rows whose sums are added, and how a rank reads its own."""

from __future__ import annotations

import itertools
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast.errors import TableError
from mixfast.tables._parts import OpenPart
from mixfast.tables._sides import RowsOfBlock, Side
from mixfast.tables._values import checked_block
from mixfast.tables._whole import Whole

# A table has about this many blocks, within these numbers of elements for each.
_BLOCKS = 256
_FEWEST, _MOST = 1 << 16, 1 << 24
# Blocks have a multiple of this many rows, as the panels of the sweeps do.
_ROWS = 512
# Blocks of a sample, and the rows that it reads at one place.
_SAMPLED_BLOCKS, _RUN = 64, 256
# A rank keeps this many parts open; more, if all rows fit in this fraction of the memory: their pages then stay mapped from one sweep to
# the next, which saves a fifth of a sweep. A part takes two descriptors.
_OPEN, _OPEN_IN_MEMORY, _IN_MEMORY = 16, 256, 0.5
# A rank may have this fraction more or less than its share of the rows, if its blocks then end at the end of a part.
_BALANCE = 0.05


class Run(NamedTuple):
    """A range of rows of one part."""

    part: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """The blocks of a table: block b is the rows ``first[b]`` to ``last[b]`` of a part, and begins at row ``start[b]`` of the table."""

    part: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    start: NDArray[np.int64]

    def __len__(self) -> int:
        return self.part.size


def planned(whole: Whole) -> Plan:
    """Return the blocks of a table; they depend on its parts only."""
    rows, n_domains = whole.rows, len(whole.domains)
    elements = min(max(int(rows.sum()) * n_domains // _BLOCKS, _FEWEST), _MOST)
    step = max(elements // n_domains // _ROWS, 1) * _ROWS
    part, first, last = [], [], []
    for number, count in enumerate(rows.tolist()):
        starts = np.arange(0, count, step)
        part.append(np.full(starts.size, number))
        first.append(starts)
        last.append(np.minimum(starts + step, count))
    before = np.concatenate(([0], np.cumsum(rows)))
    numbers, firsts = np.concatenate(part), np.concatenate(first)
    return Plan(numbers, firsts, np.concatenate(last), before[numbers] + firsts)


def shares(plan: Plan, size: int) -> list[tuple[int, int]]:
    """Return the range of blocks of each rank: about equally many rows, whole parts where that is balanced within 5 %."""
    ends = np.concatenate((plan.start[1:], [plan.start[-1] + plan.last[-1] - plan.first[-1]]))
    total = int(ends[-1])
    # Boundary b lies before block b.
    rows_before = np.concatenate(([0], ends))
    at_part = np.concatenate(([True], plan.part[1:] != plan.part[:-1], [True]))
    cuts = [0]
    for rank in range(1, size):
        ideal = total * rank / size
        cut = int(np.searchsorted(rows_before, ideal))
        if cut and ideal - rows_before[cut - 1] < rows_before[min(cut, len(plan))] - ideal:
            cut -= 1
        whole_parts = np.flatnonzero(at_part & (np.abs(rows_before - ideal) <= _BALANCE / 2 * total / size))
        if whole_parts.size:
            cut = int(whole_parts[np.argmin(np.abs(rows_before[whole_parts] - ideal))])
        cuts.append(min(max(cut, cuts[-1]), len(plan)))
    cuts.append(len(plan))
    return list(itertools.pairwise(cuts))


@dataclass(frozen=True)
class View:
    """Which rows and domains of the whole table a table has.

    Attributes
    ----------
    chosen : tuple of int or None
        The domains, as positions in those of the whole table; None for all.
    sampled : int
        Number of rows of a sample; 0 for all rows.
    group_rows : (G,) int64
        Rows of each group, from which default weights follow.
    uniform_weight : float or None
        The weight c of every row; None if they differ.
    sides : tuple of Side
        The splits that made this table, all of whose rows it has without any.
    """

    chosen: tuple[int, ...] | None = None
    sampled: int = 0
    group_rows: tuple[int, ...] = ()
    uniform_weight: float | None = None
    sides: tuple[Side, ...] = ()


class Here:
    """The blocks of a table that belong to this rank."""

    def __init__(self, whole: Whole, view: View, make: Callable[..., Any], first: int, last: int) -> None:
        self.whole, self.view = whole, view
        # Makes an ExpertTable, whose file imports this one.
        self.make = make
        self.first, self.last = first, last
        self.plan = planned(whole)
        self.memories: list[dict[Any, Any]] = [{} for _ in range(first, last)]
        self.rows_before = np.concatenate(([0], np.cumsum(whole.rows)))
        self._open: OrderedDict[int, OpenPart] = OrderedDict()
        elements = int(whole.rows.sum()) * len(whole.domains)
        fits = elements * whole.parts[0].dtype.itemsize <= _IN_MEMORY * memory_bytes()
        self._most_open = _OPEN_IN_MEMORY if fits else _OPEN

    @property
    def n_blocks(self) -> int:
        """Blocks of the whole table, of all ranks."""
        return sampled_blocks(self.view.sampled) if self.view.sampled else len(self.plan)

    def seen(self) -> NDArray[np.float64]:
        """Return the extremes of all blocks that have been visited (smallest value, largest, smallest row maximum), and their number."""
        found = [memory["extremes"] for memory in self.memories if "extremes" in memory]
        if not found:
            return np.array([np.inf, -np.inf, np.inf, 0.0])
        low, high, lowest_top = np.array(found).T
        return np.array([low.min(), high.max(), lowest_top.min(), float(len(found))])

    def part(self, number: int) -> OpenPart:
        """Return an open part; the least recently used one is closed if there are many."""
        found = self._open.get(number)
        if found is None:
            found = self._open[number] = self.whole.parts[number].open()
            if len(self._open) > self._most_open:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(number)
        return found

    def visit(self) -> Iterator[Block]:
        """Yield the blocks of this rank in order; check each part before its first block and after its last."""
        if self.view.sampled:
            for index in range(self.first, self.last):
                yield Block(self, index, None)
            return
        previous = -1
        for index in range(self.first, self.last):
            number = int(self.plan.part[index])
            if number != previous:
                if previous >= 0:
                    self.whole.parts[previous].check()
                self.whole.parts[number].check()
                previous = number
            yield Block(self, index, Run(number, int(self.plan.first[index]), int(self.plan.last[index])))
        if previous >= 0:
            self.whole.parts[previous].check()

    def runs(self, index: int) -> list[Run]:
        """Return the rows of a sampled block: runs of neighbouring rows, spread evenly over its stretch of the table."""
        total, blocks = int(self.rows_before[-1]), sampled_blocks(self.view.sampled)
        low, high = (total * place // blocks for place in (index, index + 1))
        count = self.view.sampled * (index + 1) // blocks - self.view.sampled * index // blocks
        pieces = max(-(-count // _RUN), 1)
        stretch = (high - low) / pieces
        place = np.random.default_rng(index).random(pieces)
        runs: list[Run] = []
        for piece in range(pieces):
            size = min(count * (piece + 1) // pieces - count * piece // pieces, int(stretch) or 1)
            begin = low + int(piece * stretch + place[piece] * max(stretch - size, 0.0))
            while size > 0:
                number = int(np.searchsorted(self.rows_before, begin, side="right")) - 1
                taken = min(size, int(self.rows_before[number + 1]) - begin)
                row = begin - int(self.rows_before[number])
                runs.append(Run(number, row, row + taken))
                begin, size = begin + taken, size - taken
        return runs


def memory_bytes() -> int:
    """Return the bytes of memory of this machine; 0 if the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0


def sampled_blocks(count: int) -> int:
    """Return the number of blocks of a sample of this many rows."""
    return max(min(_SAMPLED_BLOCKS, count), 1)


class Block:
    """A range of rows of a table of several parts, as the functions of `ShardedTable.reduce` and `ShardedTable.collect` get it.

    Attributes
    ----------
    index : int
        Number of the block in the table.
    start : int
        Number of its first row in the whole table.
    part : Path
        The file.
    first : int
        Number of its first row in the part.
    columns : (K,) int32 or None
        Where the table's domains are in `table`; None if `table` has them in this order.
    memory : dict
        Lives as long as the table on this rank; empty at the first visit.
    """

    def __init__(self, here: Here, index: int, run: Run | None) -> None:
        self._here, self.index = here, index
        self._runs = [run] if run is not None else here.runs(index)
        number, self.first, _ = self._runs[0]
        self._number = number
        self.part: Path = here.whole.parts[number].path
        self.start = int(here.rows_before[number]) + self.first
        self.memory = here.memories[index - here.first]
        # The rows of a sample are put into the order of the table when they are read.
        self.columns = _columns(here.whole.orders[number] if run is not None else None, here.view.chosen)
        self._mapped = run is not None
        self._table: Any = None

    @property
    def table(self) -> Any:
        """The rows as an `ExpertTable`, with the weights that they have in the table and the groups of the table (some may have no rows here).

        The rows are mapped, not copied, unless they have to be sorted by group. The columns are those of the part.
        """
        if self._table is None:
            self._table = self.memory.get("table") or self._read()
            if not self._mapped:
                self.memory["table"] = self._table
        return self._table

    @property
    def n_rows(self) -> int:
        """Number of rows that are read; `table` has fewer on one side of a split, perhaps none."""
        return sum(run.last - run.first for run in self._runs)

    @property
    def filled(self) -> bool:
        """Whether `table` has rows."""
        return not self._here.view.sides or self.table.n_rows > 0

    def error(self, row: int, text: str) -> TableError:
        """Return the error about a row of the block (as it is in the part, before sorting by group): names its file and row."""
        for run in self._runs:
            if row < run.last - run.first:
                return TableError(f"{self._here.whole.parts[run.part].path}, row {run.first + row}: {text}")
            row -= run.last - run.first
        return TableError(f"{self.part}: {text}")

    def _read(self) -> Any:
        here, whole = self._here, self._here.whole
        values = self._values()
        extremes = self.memory.get("extremes")
        if extremes is None:
            extremes = self.memory["extremes"] = checked_block(values, self.columns, self._domains(), self.error)
        vectors = {key: self._vector(key) for key in ("weight", "length", "sequence", "bytes") if whole.has(key)}
        codes = self._codes()
        kept = self._kept(vectors.get("sequence"))
        if kept is not None:
            values, codes = values[kept], codes if codes is None else codes[kept]
            vectors = {key: array[kept] for key, array in vectors.items()}
        if codes is not None and np.any(codes[1:] < codes[:-1]):
            order = np.argsort(codes, kind="stable")
            values, codes = values[order], codes[order]
            vectors = {key: array[order] for key, array in vectors.items()}
        return here.make(
            values, self._domains(), vectors, codes, whole.group_names, extremes, *self._weights(vectors, codes)
        )

    def facts(self) -> RowsOfBlock:
        """Return what a split needs to know of the rows, without their values."""
        sequence = self._vector("sequence") if self._here.whole.has("sequence") else None
        alive = self._vector("weight") > 0.0 if self._here.whole.has("weight") else None
        kept, codes = self._kept(sequence), self._codes()
        kept = np.ones(self.n_rows, dtype=bool) if kept is None else kept
        codes = np.zeros(self.n_rows, dtype=np.int32) if codes is None else codes
        return RowsOfBlock(self.start, self.first, kept, sequence, codes, alive)

    def _kept(self, sequence: NDArray[Any] | None) -> NDArray[np.bool_] | None:
        """Return which rows this side of a split has; None for all."""
        if not self._here.view.sides:
            return None
        at, kept = 0, np.ones(self.n_rows, dtype=bool)
        for run in self._runs:
            count = run.last - run.first
            ids = None if sequence is None else sequence[at : at + count]
            start = int(self._here.rows_before[run.part]) + run.first
            for side in self._here.view.sides:
                kept[at : at + count] &= side.taken(start, run.first, count, ids)
            at += count
        return kept

    def _domains(self) -> tuple[str, ...]:
        whole = self._here.whole
        own = whole.parts[self._number].domains
        return whole.domains if not self._mapped or own is None or whole.orders[self._number] is None else own

    def _values(self) -> NDArray[Any]:
        here = self._here
        if self._mapped:
            return here.part(self._number).values(self._runs[0].first, self._runs[0].last)
        out = np.empty((self.n_rows, len(here.whole.domains)), dtype=here.whole.parts[0].dtype)
        at = 0
        for run in self._runs:
            rows = out[at : at + run.last - run.first]
            here.part(run.part).read_into(rows, "loglik", run.first)
            order = here.whole.orders[run.part]
            if order is not None:
                rows[:] = rows[:, order]
            at += len(rows)
        return out

    def _vector(self, key: str) -> NDArray[Any]:
        pieces = [self._here.part(run.part).read(key, run.first, run.last) for run in self._runs]
        found = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return found.astype(np.float64) if key == "weight" else found

    def _codes(self) -> NDArray[np.int32] | None:
        whole = self._here.whole
        if not whole.has("group"):
            return None
        return np.concatenate(
            [
                coded(self._here.part(run.part).read("group", run.first, run.last), whole.codes[run.part])
                for run in self._runs
            ]
        )

    def _weights(
        self, vectors: dict[str, NDArray[Any]], codes: NDArray[np.int32] | None
    ) -> tuple[float | None, NDArray[np.float64] | None]:
        """Return the weights c of the rows: one number if all rows of the table have it, else an array."""
        view = self._here.view
        stretch = int(self._here.rows_before[-1]) / view.sampled if view.sampled else 1.0
        if view.uniform_weight is not None:
            return view.uniform_weight * stretch, None
        length = vectors.get("length")
        size: Any = 1.0 if length is None else length.astype(np.float64)
        if "weight" in vectors:
            weight = vectors["weight"] / size * stretch
        elif codes is None:
            weight = stretch / (view.group_rows[0] * size)
        else:
            weight = stretch / (np.array(view.group_rows, dtype=np.float64)[codes] * size)
        if np.ndim(weight) == 0 or not weight.size or (weight == weight[0]).all():
            return float(weight if np.ndim(weight) == 0 else weight[0] if weight.size else 1.0), None
        return None, weight


def coded(entries: NDArray[Any], codes: dict[Any, int] | None) -> NDArray[np.int32]:
    """Return the table's codes of entries of ``group``."""
    starts = np.concatenate(([0], np.flatnonzero(entries[1:] != entries[:-1]) + 1))
    if codes is None:
        return np.zeros(entries.size, dtype=np.int32)
    found = np.array([codes[text(entry)] for entry in entries[starts].tolist()], dtype=np.int32)
    return np.repeat(found, np.diff(starts, append=entries.size))


def text(entry: Any) -> Any:
    """Return an entry of ``group`` with bytes as text."""
    return entry.decode("utf-8") if isinstance(entry, bytes) else int(entry) if isinstance(entry, bool) else entry


def _columns(order: NDArray[np.int32] | None, chosen: tuple[int, ...] | None) -> NDArray[np.int32] | None:
    if chosen is None:
        return order
    picked = np.array(chosen, dtype=np.int32)
    return picked if order is None else np.ascontiguousarray(order[picked])
