"""Cut a table into blocks, the fixed ranges of rows whose sums are added, and share them out among the ranks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast.tables._whole import Whole

# A table has about this many blocks, within these numbers of elements for each.
_BLOCKS = 256
_FEWEST, _MOST = 1 << 16, 1 << 24
# Blocks have a multiple of this many rows, as the panels of the sweeps do.
_ROWS = 512
# Blocks of a sample, and the bytes (and least number of rows) that it reads at one place. Neighbouring rows often come from one document, so
# a sample of many short runs says more about the table than one of few long runs. Its blocks have at most this many runs.
_SAMPLED_BLOCKS, _RUN_BYTES, _RUN_ROWS, _MOST_RUNS = 64, 2048, 8, 256
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
        if groups := whole.parts[number].row_groups:
            # Whole row groups, each with the first block that begins in it.
            begins = np.concatenate(([0], groups[:-1]))
            starts = np.unique(begins[np.searchsorted(begins, starts, side="right") - 1])
        part.append(np.full(starts.size, number))
        first.append(starts)
        last.append(np.append(starts[1:], count))
    before = np.concatenate(([0], np.cumsum(rows)))
    numbers, firsts = np.concatenate(part), np.concatenate(first)
    return Plan(numbers, firsts, np.concatenate(last), before[numbers] + firsts)


def shares(plan: Plan, size: int) -> list[tuple[int, int]]:
    """Return the range of blocks of each rank: about equally many rows, whole parts where that is balanced within 5 %.

    Among boundaries that are near enough, that of the largest subtree is used, so that few sums cross.
    """
    # Boundary b lies before block b.
    rows_before = np.append(plan.start, plan.start[-1] + plan.last[-1] - plan.first[-1])
    at_part = np.concatenate(([True], plan.part[1:] != plan.part[:-1], [True]))
    boundaries = np.arange(len(plan) + 1)
    subtree = np.where(boundaries, boundaries & -boundaries, 1 << 62)
    cuts = [0]
    for rank in range(1, size):
        off = np.abs(rows_before - rows_before[-1] * rank / size)
        near = off <= max(_BALANCE / 2 * rows_before[-1] / size, off.min())
        # The last key counts most.
        best = np.lexsort((off, -subtree, ~at_part, ~near))[0]
        cuts.append(max(int(best), cuts[-1]))
    cuts.append(len(plan))
    return list(pairwise(cuts))


def sampled_blocks(count: int) -> int:
    """Return the number of blocks of a sample of this many rows."""
    return max(min(_SAMPLED_BLOCKS, count), 1)


def sampled_rows(whole: Whole, count: int) -> int:
    """Return how many rows a sample of about `count` reads."""
    runs = (run for index in range(sampled_blocks(count)) for run in sampled_runs(whole, count, index))
    return sum(run.last - run.first for run in runs)


def sampled_runs(whole: Whole, count: int, index: int) -> list[Run]:
    """Return the rows of block `index` of a sample: runs of neighbouring rows, spread evenly over its stretch of the table."""
    rows_before = np.concatenate(([0], np.cumsum(whole.rows)))
    starts = rows_before.tolist()
    total, blocks = starts[-1], sampled_blocks(count)
    low, high = (total * place // blocks for place in (index, index + 1))
    wanted = count * (index + 1) // blocks - count * index // blocks
    run = max(_RUN_BYTES // (len(whole.domains) * whole.parts[0].dtype.itemsize), _RUN_ROWS, wanted // _MOST_RUNS)
    # Row groups of parquet files are read whole, so as few as possible are read.
    pieces = 1 if whole.parts[0].row_groups else max(-(-wanted // run), 1)
    stretch = (high - low) / pieces
    sizes = np.minimum(np.diff(wanted * np.arange(pieces + 1) // pieces), int(stretch) or 1)
    room = np.maximum(stretch - sizes, 0.0)
    begins = low + (np.arange(pieces) * stretch + np.random.default_rng(index).random(pieces) * room).astype(np.int64)
    numbers = np.searchsorted(rows_before, begins, side="right") - 1
    runs: list[Run] = []
    for number, begin, size in zip(numbers.tolist(), begins.tolist(), sizes.tolist(), strict=True):
        end = begin + size
        while begin < end:
            before, after = starts[number], starts[number + 1]
            runs.append(Run(number, begin - before, min(end, after) - before))
            number, begin = number + 1, after
    return runs
