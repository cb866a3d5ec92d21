"""Turn the columns of one table into numbers, and list columns that hold none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.audience import either
from mixfast._text.names import listing, shown
from mixfast._text.visible import quote
from mixfast.swarm._cells import Numbers, numbers_of, plain_numbers
from mixfast.swarm._checks import SwarmError
from mixfast.swarm._files import Raw

# Most columns, and characters of a cell, shown in one message.
_SHOWN = 3
_CELL = 40
# A count of tokens with a suffix, in the description of a cell.
_SUFFIX = re.compile(r"has '[\d.,]+\s?[KkMBbGT]'")


@dataclass(frozen=True)
class Table:
    """Columns that hold numbers.

    Attributes
    ----------
    names : tuple of str
    values : (R, C) float64
        NaN for missing cells.
    text, empty : tuple of str
        Columns that were left out because no cell is a number, or because all cells are missing.
    notes : tuple of str
        Notes on cells that are not plain numbers: how they were read.
    percent : tuple of str
        Columns with percent signs.
    """

    names: tuple[str, ...]
    values: Matrix
    text: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    percent: tuple[str, ...] = ()


def read_table(raw: Raw, names: Sequence[str], ids: Sequence[str], *, keep: bool = False, check: bool = True) -> Table:
    """Return the columns of these names as numbers.

    Parameters
    ----------
    keep : bool
        Whether the columns were asked for. Text is then refused, and empty columns are kept and named.
    check : bool
        Whether malformed numbers are refused; otherwise their columns are left out.

    Raises
    ------
    SwarmError
        If cells are malformed; the message names all columns with such cells.
    """
    positions = [raw.places[name] for name in names]
    plain = None if raw.text is None or not positions else plain_numbers(raw.text, positions)
    if plain is not None and not np.isnan(plain).all(axis=0).any():
        return Table(tuple(names), plain)
    columns = {name: numbers_of(raw.cells(at)) for name, at in zip(names, positions, strict=True)}
    text = {name: None for name, one in columns.items() if one.text and not keep}
    empty = {name: None for name, one in columns.items() if one.empty}
    # In files with semicolons a comma is a decimal comma; in others, another column may show it.
    told = raw.delimiter == ";" or any(one.comma is not None and not one.thousands for one in columns.values())
    wrong = {
        name: why
        for name, one in columns.items()
        if name not in text and (why := _wrong(one, ids, commas_are_decimal=told))
    }
    if wrong and check:
        raise SwarmError(_malformed(raw, wrong))
    kept = [name for name in columns if name not in text and name not in wrong and (keep or name not in empty)]
    values = np.column_stack([columns[name].values for name in kept]) if kept else np.empty((raw.rows, 0))
    notes = tuple(_notes(raw, {name: columns[name] for name in kept}))
    percent = tuple(name for name in kept if columns[name].percent)
    return Table(tuple(kept), values, tuple(text), tuple(empty), notes, percent)


def _wrong(one: Numbers, ids: Sequence[str], *, commas_are_decimal: bool) -> str:
    """Return what is wrong with the cells of a column; empty if nothing is."""
    if one.wrong:
        row, cell = one.wrong[0]
        beside = " beside cells without a percent sign" if one.percent and cell.rstrip().endswith("%") else ""
        return f"run {shown(ids[row])} has {shown(cell[:_CELL])}{beside}"
    if one.comma is None:
        return ""
    row, cell = one.comma
    if one.points:
        return f"run {shown(ids[row])} has {shown(cell[:_CELL])} beside cells with a decimal point"
    if one.thousands and not commas_are_decimal:
        return f"run {shown(ids[row])} has {shown(cell[:_CELL])}, and its comma may be a decimal comma or separate thousands"
    return ""


def _malformed(raw: Raw, wrong: Mapping[str, str]) -> str:
    names = list(wrong)
    first = names[0]
    suffixed = any(_SUFFIX.search(why) for why in wrong.values())
    beyond = " (K, M, B and T are for files of token counts: 39.5B is 39500000000 here)" if suffixed else ""
    advice = (
        f"write plain numbers, with decimal points, without units and separators{beyond}; if it is neither a domain nor a metric, leave it out "
        f"({either(f'ignore={shown(first)}', f'--ignore {quote(first)}')})"
    )
    if len(names) == 1:
        return f"{raw.where}: column {shown(first)} must hold numbers, but {wrong[first]}; {advice}"
    told = listing((f"{shown(name)}: {why}" for name, why in wrong.items()), limit=_SHOWN)
    return f"{raw.where}: {len(names)} columns must hold numbers and do not ({told}); {advice}"


def _notes(raw: Raw, columns: Mapping[str, Numbers]) -> list[str]:
    """Return notes for the report on cells that were not plain numbers."""
    out = []
    if percent := [name for name, one in columns.items() if one.percent]:
        out.append(f"{raw.where}: percent signs read, their cells divided by 100: {_counted(percent)}")
    if commas := [name for name, one in columns.items() if one.comma is not None]:
        out.append(f"{raw.where}: decimal commas read as points: {_counted(commas)}")
    return out


def _counted(names: Sequence[str]) -> str:
    return f"{len(names)} column{'' if len(names) == 1 else 's'}: {listing(names, limit=_SHOWN)}"
