"""Cells of a table as numbers: missing values in any spelling, percent signs, decimal commas; and columns that hold none."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Vector

_MISSING = frozenset(["", "nan", "na", "n/a", "#n/a", "<na>", "nat", "null", "none"])
_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?\Z")
# Text that may also be a whole number with a comma between thousands.
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}\Z")
# Text that was meant as a number, such as 1_000, 1.234,5 or 12 %: such a column is refused, not left out.
_MEANT = re.compile(r"[+-]?[\d.,'_\s]*\d[\d.,'_\s]*(?:[eE][+-]?\d+)?\s*[%\w]?\Z")
# Longer text was not meant as a number; the time for matching grows with the cube of the length.
_LONGEST_MEANT = 60


@dataclass(frozen=True)
class Numbers:
    """The cells of one column.

    Attributes
    ----------
    values : (R,) float64
        NaN for missing cells.
    wrong : list of (int, str)
        Row and text of cells that are not numbers.
    percent : bool
        Whether cells have percent signs and were divided by 100.
    comma : (int, str) or None
        Row and text of the first cell with a decimal comma.
    points : bool
        Whether cells have decimal points.
    thousands : bool
        Whether every comma may also separate thousands.
    text : bool
        Whether no cell is a number or was meant as one, and some are not missing.
    """

    values: Vector
    wrong: list[tuple[int, str]] = field(default_factory=list)
    percent: bool = False
    comma: tuple[int, str] | None = None
    points: bool = False
    thousands: bool = False
    text: bool = False

    @property
    def empty(self) -> bool:
        """Whether every cell is missing."""
        return not self.wrong and bool(np.isnan(self.values).all())


def numbers_of(cells: Iterable[object]) -> Numbers:
    """Return the numbers of a column."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "fiu":
        return Numbers(cells.astype(np.float64))
    rows = list(cells)
    if all(isinstance(cell, str) for cell in rows):
        words = [cast("str", cell).strip() for cell in rows]
        plain = _plain(words)
        if plain is not None:
            return Numbers(plain)
    return _one_by_one(rows)


def _plain(words: list[str]) -> Vector | None:
    """Return the numbers of a column that holds only numbers and missing cells; None for other columns."""
    try:
        values = np.array([float(word) if word.lower() not in _MISSING else math.nan for word in words])
    except ValueError:
        return None
    # Python's float also accepts 1_000, which other readers of such files do not.
    return None if any("_" in word for word in words) else values


def _one_by_one(rows: Sequence[object]) -> Numbers:
    values = np.full(len(rows), math.nan)
    wrong: list[tuple[int, str]] = []
    percent, plain, points = 0, 0, False
    commas: list[str] = []
    first: tuple[int, str] | None = None
    meant = False
    for row, cell in enumerate(rows):
        if is_missing(cell):
            continue
        text = str(cell).strip() if isinstance(cell, (str, bytes)) else ""
        bare = text.removesuffix("%").rstrip() if text else text
        if _COMMA.match(bare):
            commas.append(bare)
            first = first or (row, text)
            values[row] = float(bare.replace(",", "."))
        elif is_number(cell if not text else bare) and not isinstance(cell, (bool, np.bool_)):
            values[row] = float(cast("float", bare or cell))
            points |= "." in bare
        else:
            wrong.append((row, str(cell)))
            meant |= len(text) <= _LONGEST_MEANT and bool(_MEANT.match(text))
            continue
        if bare != text:
            percent += 1
            values[row] /= 100.0
        elif values[row] != 0.0:
            plain += 1
    if percent and plain:
        wrong += [(row, str(cell)) for row, cell in enumerate(rows) if str(cell).rstrip().endswith("%")][:1]
    return Numbers(
        values, wrong, percent > 0, first, points, bool(commas) and all(map(_THOUSANDS.match, commas)),
        text=bool(wrong) and not meant and bool(np.isnan(values).all()),
    )  # fmt: skip


def is_number(cell: object) -> bool:
    """Return whether a cell is a number as Python writes it, without underscores."""
    if isinstance(cell, (str, bytes)) and "_" in str(cell):
        return False
    try:
        float(cast("float", cell))
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def is_missing(cell: object) -> bool:
    """Return whether a cell holds no value, in any spelling."""
    if cell is None or (isinstance(cell, (float, np.floating)) and math.isnan(cell)):
        return True
    # The missing cells of pandas are not strings and cannot be compared.
    return (isinstance(cell, str) or type(cell).__name__ in ("NAType", "NaTType")) and str(
        cell
    ).strip().lower() in _MISSING


def plain_numbers(rows: list[list[str]], positions: list[int]) -> NDArray[np.float64] | None:
    """Return columns of a file that hold only numbers, else None; all loops run in C."""
    # With at least two positions, the getter returns tuples.
    pick = itemgetter(*positions, positions[-1])
    width = len(positions) + 1
    try:
        numbers = np.fromiter(map(float, chain.from_iterable(map(pick, rows))), np.float64, len(rows) * width)
    except ValueError:
        return None
    # Python's float also accepts 1_000, which other readers of such files do not.
    if any("_" in "".join(cells) for cells in map(pick, rows)):
        return None
    return np.ascontiguousarray(numbers.reshape(-1, width)[:, :-1])
