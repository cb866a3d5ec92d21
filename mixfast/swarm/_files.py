"""Files and frames of a Swarm: two tables, one of mixtures and one of metrics, joined on the id of the run.

Frames are read through what they have in common: named columns. None of their libraries is imported for it.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from mixfast._text.atomic import write_text
from mixfast._text.names import listing
from mixfast._text.optional import needed
from mixfast.swarm._checks import SwarmError, refuse_repeated

# A table of pandas, polars or pyarrow, a mapping of column to cells, or an Arrow stream; told by what it has.
Frame = Any
Source = str | os.PathLike[str] | IO[str] | IO[bytes]

ID_NAMES = ("run", "run_id", "index")
"""Columns that may name the runs, the first that both tables have; the others are bookkeeping."""

CHOSEN = "chosen"

BOOKKEEPING = frozenset(
    [*ID_NAMES, CHOSEN, *("", "name", "display_name", "group", "state", "url", "tags", "notes", "seed"),
     *("step", "steps", "_step", "date", "time", "created_at", "timestamp")]
)  # fmt: skip
"""Columns that are never domains or metrics (in lower case): what Olmix and experiment trackers write beside them."""

# What pandas calls the columns of a file that have no name.
_NAMELESS = "unnamed:"


@dataclass(frozen=True, eq=False)
class Raw:
    """A table as it came: names of columns, and how to get the cells of one."""

    where: str
    names: tuple[str, ...]
    rows: int
    cells: Callable[[int], Sequence[object]]  # of the column at this position
    text: list[list[str]] | None = None  # the rows of a file


def is_bookkeeping(name: str) -> bool:
    """Whether a column of this name is never a domain or a metric."""
    return name.lower() in BOOKKEEPING or name.lower().startswith(_NAMELESS)


def read_csv(source: Source, what: str) -> Raw:
    """Read a comma-separated table with a header; ``what`` names file objects in messages."""
    if isinstance(source, (str, os.PathLike)):
        where = f"{what} file {os.fspath(source)}"
        text: str | bytes = Path(source).read_bytes()
    elif hasattr(source, "read"):
        where, text = f"{what} file", source.read()
    else:
        raise SwarmError(
            f"{what} must be a path or an open file, got {type(source).__name__}; Swarm.from_frames takes data frames"
        )
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as problem:
            raise SwarmError(f"{where} is not UTF-8 text: {problem}") from problem
    return _parsed(text.removeprefix("\ufeff"), where)


def _parsed(text: str, where: str) -> Raw:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [row for row in reader if row]
    except csv.Error as problem:
        raise SwarmError(f"{where}, line {reader.line_num}: not comma-separated values: {problem}") from problem
    if not rows or not text.strip():
        raise SwarmError(f"{where} is empty; it needs a header, and one row for each run")
    header = tuple([name.strip() for name in rows.pop(0)])
    if len(header) == 1 and (marks := [mark for mark in ";\t|" if mark in header[0]]):
        raise SwarmError(f"{where} is separated by {marks[0]!r}; write it with commas and decimal points")
    if all(is_number(name) for name in header):
        raise SwarmError(f"{where} has no header: its first line holds numbers only, and should name the columns")
    if not rows:
        raise SwarmError(f"{where} has a header but no runs")
    width = len(header)
    if set(map(len, rows)) != {width}:
        odd = next(row for row in rows if len(row) != width)
        raise SwarmError(
            f"{where}: the row of {odd[0]!r} (row {rows.index(odd) + 1} below the header) has {len(odd)} cells, "
            f"but the header has {width}"
        )
    return Raw(where, header, len(rows), lambda position: [row[position] for row in rows], rows)


def read_frame(frame: Frame, what: str) -> Raw:
    """Take the columns of a pandas, polars or pyarrow table, of a mapping, or of what exports Arrow streams."""
    if hasattr(frame, "collect") and not isinstance(frame, Mapping):
        frame = frame.collect()  # lazy
    columns: list[Any]
    if isinstance(frame, Mapping):
        names, columns = list(frame), list(frame.values())
    elif isinstance(getattr(frame, "column_names", None), (list, tuple)):
        names = list(frame.column_names)
        columns = [frame.column(position) for position in range(len(names))]
    elif hasattr(frame, "columns") and hasattr(frame, "__getitem__"):
        names = list(frame.columns)
        refuse_repeated([str(name) for name in names], f"{what}: names of columns")
        columns = [frame[name] for name in names]
        _add_index(frame, names, columns)
    elif hasattr(frame, "__arrow_c_stream__"):
        return read_frame(_arrow(frame, what), what)
    else:
        raise SwarmError(
            f"{what} must be a data frame (pandas, polars, pyarrow) or a mapping of column to cells, "
            f"got {type(frame).__name__}"
        )
    if wrong := [repr(name) for name in names if not isinstance(name, str)]:
        raise SwarmError(f"{what}: names of columns must be strings, got {listing(wrong)}")
    if not names:
        raise SwarmError(f"{what} is empty: it has no columns")
    lengths = {len(column) for column in columns}
    if len(lengths) != 1:
        raise SwarmError(f"{what}: columns have different lengths: {listing(sorted(lengths))}")
    (rows,) = lengths
    if rows == 0:
        raise SwarmError(f"{what} has columns but no runs")
    return Raw(what, tuple(names), rows, lambda position: _plain(columns[position]))


def _add_index(frame: Frame, names: list[Any], columns: list[Any]) -> None:
    """Take the labels of pandas rows for a column, unless they only count the rows."""
    index = getattr(frame, "index", None)
    if index is None or callable(index) or type(index).__name__ == "RangeIndex":
        return
    name = getattr(index, "name", None)
    name = "index" if name is None and not set(ID_NAMES) & set(names) else name
    if isinstance(name, str) and name not in names:
        names.append(name)
        columns.append(index)


def _arrow(frame: Frame, what: str) -> Frame:
    with needed(f"{what}: reading a {type(frame).__name__}", "pyarrow", "mixfast[io]", SwarmError):
        import pyarrow
    return pyarrow.table(frame)


def _plain(column: Iterable[object]) -> Sequence[object]:
    for method in ("to_numpy", "to_pylist", "to_list", "tolist"):
        if hasattr(column, method):
            return cast("Sequence[object]", getattr(column, method)())
    return list(column)


def is_number(cell: object) -> bool:
    if isinstance(cell, (str, bytes)) and "_" in str(cell):
        return False
    try:
        float(cast("float", cell))
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def write(
    ratios: Source,
    metrics: Source,
    runs: Sequence[str],
    chosen: NDArray[np.bool_],
    domains: Sequence[str],
    mixtures: NDArray[np.float64],
    measured: Sequence[str],
    values: NDArray[np.float64],
) -> None:
    """Write both tables; floats get the digits that read back as the same float64, a missing value an empty cell."""
    if lost := [name for name in (*domains, *measured) if is_bookkeeping(name) or name != name.strip()]:
        raise SwarmError(f"these names would not be read back from a file: {listing(map(repr, lost))}; rename them")
    marked = bool(chosen.any())
    flags = [[str(int(mark))] if marked else [] for mark in chosen]
    header = ["run", *([CHOSEN] if marked else []), *domains]
    write_csv(
        ratios, header, ([run, *flag, *row] for run, flag, row in zip(runs, flags, mixtures.tolist(), strict=True))
    )
    # NaN is the only number that differs from itself.
    cells = ([value if value == value else "" for value in row] for row in values.tolist())
    write_csv(metrics, ["run", *measured], ([run, *row] for run, row in zip(runs, cells, strict=True)))


def write_csv(target: Source, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write one table to a path or an open file."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    if isinstance(target, (str, os.PathLike)):
        write_text(target, text.getvalue())
        return
    try:
        cast("IO[str]", target).write(text.getvalue())
    except TypeError:  # opened for bytes
        cast("IO[bytes]", target).write(text.getvalue().encode("utf-8"))
