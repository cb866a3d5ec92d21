"""Write tables of runs as csv to paths or open files; all files are complete before the first one is replaced."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from mixfast._text.atomic import write_together
from mixfast._text.names import listing
from mixfast._text.outputs import RUNS, check_output
from mixfast.swarm._cells import is_number
from mixfast.swarm._checks import SwarmError
from mixfast.swarm._columns import CHOSEN, is_bookkeeping, is_by_product
from mixfast.swarm._files import Source

# The beginning of a cell that a spreadsheet computes, also in full-width form; also after separators that split a cell.
_FORMULA = re.compile(r"(?:^|[;\t\r\n])\s*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")


def write_runs(
    ratios: Source,
    metrics: Source,
    runs: Sequence[str],
    chosen: NDArray[np.bool_],
    domains: Sequence[str],
    mixtures: NDArray[np.float64],
    measured: Sequence[str],
    values: NDArray[np.float64],
    *,
    force: bool,
) -> None:
    """Write both tables. Floats are written with the digits that give the same float64 back, missing values as empty cells."""
    lost = [name for name in (*domains, *measured) if is_bookkeeping(name) or name != name.strip()]
    if lost := lost + [name for name in measured if is_by_product(name)]:
        raise SwarmError(f"these names would not be read back from a file: {listing(map(repr, lost))}; rename them")
    if _one_file(ratios, metrics):
        raise SwarmError(f"ratios and metrics need two files, but both are {ratios}; give another name for one")
    marked = bool(chosen.any())
    flags = [[str(int(mark))] if marked else [] for mark in chosen]
    header = ["run", *([CHOSEN] if marked else []), *domains]
    shares = ([run, *flag, *row.tolist()] for run, flag, row in zip(runs, flags, mixtures, strict=True))
    # Only NaN differs from itself.
    cells = ([value if value == value else "" for value in row.tolist()] for row in values)
    reached = ([run, *row] for run, row in zip(runs, cells, strict=True))
    _deliver([(ratios, csv_text(header, shares)), (metrics, csv_text(["run", *measured], reached))], force)


def _one_file(one: Source, other: Source) -> bool:
    if isinstance(one, (str, os.PathLike)) and isinstance(other, (str, os.PathLike)):
        return os.path.realpath(one) == os.path.realpath(other)
    return one is other


def write_csv(target: Source, header: Sequence[str], rows: Iterable[Sequence[object]], *, force: bool = False) -> None:
    """Write one table to a path or an open file; without ``force``, refuse to replace a file of another kind."""
    _deliver([(target, csv_text(header, rows))], force)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table of runs as csv; raise if a spreadsheet would compute a name."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    # Readers take a single carriage return for the end of a line, and the writer does not quote it.
    careful = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    formulas: dict[str, None] = {}
    # One row at a time: wide tables have millions of numbers.
    for row in chain([header], rows):
        texts = [cell for cell in row if isinstance(cell, str)]
        formulas |= dict.fromkeys(name for name in texts if _FORMULA.search(name) and not is_number(name))
        (careful if any("\r" in name for name in texts) else writer).writerow(row)
    if formulas:
        raise SwarmError(
            f"a spreadsheet that opens a csv file would compute these names: {listing(map(repr, formulas))}; rename them, so that "
            "none begins with =, +, -, @ or a tab, also after a semicolon"
        )
    return text.getvalue()


def _deliver(tables: Sequence[tuple[Source, str]], force: bool) -> None:
    files = {target: text for target, text in tables if isinstance(target, (str, os.PathLike))}
    for path in files:
        check_output(path, RUNS, SwarmError, force=force)
    write_together(files)
    for target, text in tables:
        if isinstance(target, (str, os.PathLike)):
            continue
        try:
            cast("IO[str]", target).write(text)
        except TypeError:  # opened for bytes
            cast("IO[bytes]", target).write(text.encode("utf-8"))
