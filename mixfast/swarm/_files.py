"""Read the files and data frames of a Swarm into tables of named columns.

Data frames are read by their named columns, which all libraries have. None of these libraries is imported for it.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from mixfast._text.kinds import kind_of, other_kind
from mixfast._text.names import listing, shown
from mixfast._text.optional import needed
from mixfast._text.packed import gunzip, unzstd
from mixfast.swarm._cells import is_number
from mixfast.swarm._checks import SwarmError, refuse_repeated
from mixfast.swarm._columns import ID_NAMES, spelled

# A table of pandas, polars or pyarrow, a mapping of column to cells, or an Arrow stream; recognised by its attributes.
Frame = Any
Source = str | os.PathLike[str] | IO[str] | IO[bytes]

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_PARQUET = b"PAR1"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
# First characters of text files that are not tables of runs.
_OTHER_TEXT = ("{", "[", "<")
# Number of lines from which the separator of columns is found.
_SAMPLED = 20
_EXPECTED = "a csv file with a row for each run"


@dataclass(frozen=True, eq=False)
class Raw:
    """A table as read: names of columns, and a function that returns the cells of one.

    Attributes
    ----------
    where : str
        Its name in messages.
    names : tuple of str
    rows : int
    cells : callable
        The cells of the column at a position.
    text : list of list of str, or None
        The rows of a file.
    delimiter : str
        Separator of columns in a file; empty for a data frame.
    label : str or None
        The column made from the row labels of pandas.
    """

    where: str
    names: tuple[str, ...]
    rows: int
    cells: Callable[[int], Sequence[object]]
    text: list[list[str]] | None = None
    delimiter: str = ""
    label: str | None = None

    @cached_property
    def places(self) -> dict[str, int]:
        """The position of each column; for a repeated name, the first position."""
        return {name: place for place, name in reversed(list(enumerate(self.names)))}

    @cached_property
    def spellings(self) -> dict[str, list[str]]:
        """The names of columns by their spelling without capitals and spaces."""
        found: dict[str, list[str]] = {}
        for name in self.names:
            found.setdefault(spelled(name), []).append(name)
        return found


def same(one: Source, other: Source) -> bool:
    """Return whether two sources are the same file."""
    if isinstance(one, (str, os.PathLike)) and isinstance(other, (str, os.PathLike)):
        try:
            return os.path.samefile(one, other)
        except OSError:  # reading reports a missing file
            return False
    return one is other


def read_csv(source: Source, what: str) -> Raw:
    """Read a table with a header: columns between commas, semicolons or tabs, also compressed by gzip or zstd, or a parquet file.

    ``what`` names file objects in messages.
    """
    path: str | os.PathLike[str] | None = None
    if isinstance(source, (str, os.PathLike)):
        path, where = source, f"{what} file {os.fspath(source)}"
        text: str | bytes = b"" if Path(source).is_dir() else Path(source).read_bytes()
    elif hasattr(source, "read"):
        where, text = f"{what} file", source.read()
    else:
        raise SwarmError(
            f"{what} must be a path or an open file, got {type(source).__name__}; Swarm.from_frames takes data frames"
        )
    if isinstance(text, bytes):
        if text.startswith(_GZIP):
            path = None
            text = gunzip(text, where, SwarmError)
        elif text.startswith(_ZSTD):
            path = None
            text = unzstd(text, where, SwarmError)
        if text.startswith(_PARQUET):
            return replace(read_frame(_parquet(text, where), what), where=where)
        text = _decoded(text, where, path)
    if path is not None and (text.lstrip().startswith(_OTHER_TEXT) or Path(path).is_dir()):
        _refuse_other_kinds(path, what)
    return _parsed(text.removeprefix("\ufeff"), where)


def column_names(source: Source, what: str) -> tuple[str, ...]:
    """Return the names of the columns of a table, including bookkeeping."""
    return read_csv(source, what).names


def _delimiter(text: str) -> str:
    """Return the separator of columns: the one that gives the first lines as many cells as the header; a comma if none does.

    If several do, the one with most columns; of equal ones no comma, which may stand in a name as arc/acc,none and in numbers as 0,5.
    """
    lines = list(islice(filter(str.strip, io.StringIO(text, newline="")), _SAMPLED))
    found: dict[str, int] = {}
    for mark in "\t;,":
        try:
            widths = {len(row) for row in csv.reader(lines, delimiter=mark)}
        except csv.Error:  # reading the file reports it
            continue
        if len(widths) == 1 and max(widths) > 1:
            found[mark] = max(widths)
    if found:
        return max(found, key=found.__getitem__)
    return next((mark for mark in ",\t;" if lines and mark in lines[0]), ",")


def _refuse_other_kinds(path: str | os.PathLike[str], what: str) -> None:
    """Raise if a file is of a known kind that is not a table."""
    kind = kind_of(path)
    if kind in ("csv", "tsv", "text", "yaml"):
        return
    raise SwarmError(f"{what} file {other_kind(path, _EXPECTED)}")


def _parquet(data: bytes, where: str) -> Frame:
    with needed(f"{where}: reading a parquet file", "pyarrow", "mixfast[io]", SwarmError):
        import pyarrow
        import pyarrow.parquet
    try:
        return pyarrow.parquet.read_table(io.BytesIO(data))
    except (pyarrow.ArrowException, OSError) as problem:
        raise SwarmError(f"{where} is a parquet file that is cut off or damaged: {problem}") from problem


def _decoded(data: bytes, where: str, path: str | os.PathLike[str] | None) -> str:
    # Excel's "Unicode text" is UTF-16.
    utf16 = data.startswith(_UTF16) and len(data) % 2 == 0
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
        at = text.find("\x00")
    except UnicodeDecodeError as problem:
        at = problem.start
    if at < 0:
        return text
    if path is not None and (kind_of(path) != "binary" or "tfevents" in Path(path).name):
        raise SwarmError(f"{where.removesuffix(os.fspath(path))}{other_kind(path, _EXPECTED)}")
    line = data[:at].count(b"\n") + 1
    raise SwarmError(f"{where} is not UTF-8 text: byte 0x{data[at]:02x} in line {line}; save it as csv in UTF-8")


def _parsed(text: str, where: str) -> Raw:
    delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        rows = [row for row in reader if row]
    except csv.Error as problem:
        raise SwarmError(f"{where}, line {reader.line_num}: not comma-separated values: {problem}") from problem
    if not rows or not text.strip():
        raise SwarmError(f"{where} is empty; it needs a header, and one row for each run")
    header = tuple([name.strip() for name in rows.pop(0)])
    if len(header) == 1 and "|" in header[0]:
        raise SwarmError(f"{where} is separated by '|'; write it with commas")
    if all(is_number(name) for name in header):
        raise SwarmError(
            f"{where} has no header: its first line holds only numbers; it must hold the names of the columns"
        )
    if not rows:
        raise SwarmError(f"{where} has a header but no runs")
    width = len(header)
    if set(map(len, rows)) != {width}:
        odd = next(row for row in rows if len(row) != width)
        raise SwarmError(
            f"{where}: the row of {shown(odd[0])} (row {rows.index(odd) + 1} below the header) has {len(odd)} cells, "
            f"but the header has {width}"
        )
    return Raw(where, header, len(rows), lambda position: [row[position] for row in rows], rows, delimiter)


def read_frame(frame: Frame, what: str) -> Raw:
    """Return the columns of a pandas, polars or pyarrow table, of a mapping, of rows, or of an object that exports Arrow streams."""
    if isinstance(frame, Mapping) and frame and all(isinstance(row, Mapping) for row in frame.values()):
        # Keys that only number the rows name no runs if the rows do.
        numbered = list(frame) == list(range(len(frame)))
        other = [run for run, row in frame.items() if not numbered and row.get("run", run) != run]
        if other:
            raise SwarmError(
                f"{what}: the numbers of {shown(other[0])} have another name under 'run'; leave 'run' out of them"
            )
        frame = _columns_of([{"run": run, **row} for run, row in frame.items()])
    elif isinstance(frame, (list, tuple)) and frame and all(isinstance(row, Mapping) for row in frame):
        frame = _columns_of(frame)
    elif hasattr(frame, "collect") and not isinstance(frame, Mapping):
        frame = frame.collect()  # lazy
    elif hasattr(frame, "to_frame") and hasattr(frame, "index"):
        frame = frame.to_frame()  # a column of pandas with row labels
    columns: list[Any]
    label = None
    if isinstance(frame, Mapping):
        names, columns = list(frame), list(frame.values())
    elif isinstance(getattr(frame, "column_names", None), (list, tuple)):
        names = list(frame.column_names)
        columns = [frame.column(position) for position in range(len(names))]
    elif hasattr(frame, "columns") and hasattr(frame, "__getitem__"):
        names = list(frame.columns)
        refuse_repeated([str(name) for name in names], f"{what}: names of columns")
        columns = [frame[name] for name in names]
        label = _add_index(frame, names, columns)
    elif hasattr(frame, "__arrow_c_stream__"):
        return read_frame(_arrow(frame, what), what)
    else:
        raise SwarmError(
            f"{what} must be a data frame (pandas, polars, pyarrow), a mapping of column to cells, a mapping of run to its numbers by name, or a "
            f"list of rows, got {type(frame).__name__}"
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
    return Raw(what, tuple(names), rows, lambda position: _plain(columns[position]), label=label)


def _columns_of(rows: Sequence[Mapping[str, object]]) -> dict[str, list[object]]:
    """Return the columns of rows; a name that a row lacks is a missing cell."""
    return {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}


def _add_index(frame: Frame, names: list[Any], columns: list[Any]) -> str | None:
    """Add the row labels of pandas as a column and return its name, unless they are unnamed and only number the rows."""
    index = getattr(frame, "index", None)
    if index is None or callable(index):
        return None
    name = getattr(index, "name", None)
    if name is None and (type(index).__name__ == "RangeIndex" or set(ID_NAMES) & set(map(spelled, names))):
        return None
    name = "index" if name is None else name
    if not isinstance(name, str) or name in names:
        return None
    names.append(name)
    columns.append(index)
    return name


def _arrow(frame: Frame, what: str) -> Frame:
    with needed(f"{what}: reading a {type(frame).__name__}", "pyarrow", "mixfast[io]", SwarmError):
        import pyarrow
    return pyarrow.table(frame)


def _plain(column: Iterable[object]) -> Sequence[object]:
    for method in ("to_numpy", "to_pylist", "to_list", "tolist"):
        if hasattr(column, method):
            return cast("Sequence[object]", getattr(column, method)())
    return list(column)


def read_columns(source: Source, what: str) -> dict[str, Sequence[object]]:
    """Return the cells of the columns of a table in a file, as `read_frame` takes them."""
    raw = read_csv(source, what)
    refuse_repeated(raw.names, f"{raw.where}: names of columns")
    return {name: raw.cells(at) for at, name in enumerate(raw.names)}
