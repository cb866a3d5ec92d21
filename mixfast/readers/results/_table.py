"""A table of several runs: a row for each run and a column for each metric, or a row for each measure (run, metric, value)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixfast._text.audience import either
from mixfast._text.names import listing, matching, misspelt, shown
from mixfast.readers.results._contents import Contents, Format, Measure, ResultsError, Wanted
from mixfast.readers.results._source import Source
from mixfast.swarm import (
    ID_NAMES,
    block_within,
    in_shares,
    is_bookkeeping,
    is_by_product,
    mixtures_within,
    numbers_of,
    run_id,
    spelled,
)

_STEPS = ("step", "global_step", "trainer/global_step", "_step", "iteration", "train/global_step")
_LONG = ("metric", "value")
_HEADER = 1 << 16


@dataclass(frozen=True)
class _Rows:
    """The ids and steps of the rows of a table, and how the cells of its columns are written.

    Attributes
    ----------
    columns : mapping of str to sequence
    names : mapping of str to str
        The columns by their spelling.
    runs : sequence of str
    steps : sequence of int or None
    decimal_commas : bool
        Whether a comma is known to stand before decimals, and not between thousands.
    percent, commas : dict of str to None
        Columns that were read with percent signs, or with decimal commas.
    """

    columns: Mapping[str, Sequence[object]]
    names: Mapping[str, str]
    runs: Sequence[str]
    steps: Sequence[int | None]
    decimal_commas: bool = False
    percent: dict[str, None] = field(default_factory=dict)
    commas: dict[str, None] = field(default_factory=dict)

    def numbers(self, name: str) -> NDArray[np.float64] | None:
        """Return the numbers of a column, None for text."""
        found = numbers_of(self.columns[name])
        if found.text:
            return None
        if found.wrong:
            row, cell = found.wrong[0]
            raise ResultsError(
                f"column {shown(name)} must hold numbers, but run {shown(self.runs[row])} has {shown(cell)}"
            )
        if found.comma is not None:
            row, cell = found.comma
            if found.points or (found.thousands and not self.decimal_commas):
                raise ResultsError(
                    f"column {shown(name)}: run {shown(self.runs[row])} has {shown(cell)}, and its comma may be a decimal comma or separate "
                    "thousands; write it with a decimal point, or without separators"
                )
            self.commas[name] = None
        if found.percent:
            self.percent[name] = None
        return found.values

    def notes(self, names: Container[str]) -> list[str]:
        """Return how those of the columns are read whose cells are no plain numbers."""
        out = []
        for what, found in (
            ("percent signs read, their cells divided by 100", self.percent),
            ("decimal commas read as points", self.commas),
        ):
            if of := [name for name in found if name in names]:
                out.append(f"{what}: {listing(of, limit=3)}")
        return out


def _fits(source: Source) -> bool:
    return source.kind == "table"


def id_column(columns: Mapping[str, object], wanted: str) -> str | None:
    """Return the column with the ids of runs: the one asked for, else the first with a usual name; None if there is none."""
    names = {spelled(name): name for name in reversed(list(columns))}
    if wanted:
        return wanted if wanted in columns else names.get(spelled(wanted))
    return next((names[known] for known in ID_NAMES if known in names), None)


def _read(source: Source, wanted: Wanted) -> Contents:
    with source.open() as handle:
        header = handle.readline(_HEADER)
    return runs_of(source.columns, wanted, decimal_commas=b";" in header and b"," not in header)


def runs_of(columns: Mapping[str, Sequence[object]], wanted: Wanted, *, decimal_commas: bool = False) -> Contents:
    """Return the content of a table of several runs; with ``decimal_commas``, cells such as 1,234 are no thousands."""
    own = id_column(columns, wanted.id)
    if own is None:
        what = (
            shown(wanted.id)
            if wanted.id
            else f"of the ids of runs, such as run ({either('id=NAME', '--id NAME')} says which it is)"
        )
        raise ResultsError(f"the table has no column {what}; its columns are: {listing(columns)}")
    names = {spelled(name): name for name in reversed(list(columns))}
    runs = ["" if cell is None or cell != cell else run_id(cell) for cell in columns[own]]
    if "" in runs:
        raise ResultsError(
            f"every row needs the id of its run in column {shown(own)}, missing in row {runs.index('') + 1} below the header"
        )
    # Another cell may show it, such as 0,12.
    others = (numbers_of(cells) for name, cells in columns.items() if name != own)
    told = decimal_commas or any(one.comma is not None and not one.thousands for one in others)
    rows = _Rows(columns, names, runs, _steps(columns, names, len(runs)), told)
    if all(word in names for word in _LONG):
        return _long(rows)
    return _wide(rows, own, wanted)


def _steps(columns: Mapping[str, Sequence[object]], names: Mapping[str, str], count: int) -> list[int | None]:
    for known in _STEPS:
        if known in names:
            found = numbers_of(columns[names[known]])
            if not found.wrong:
                return [int(step) if math.isfinite(step) else None for step in found.values.tolist()]
    return [None] * count


def _long(rows: _Rows) -> Contents:
    values = rows.numbers(rows.names["value"])
    if values is None:
        raise ResultsError("column 'value' must hold numbers")

    def optional(name: str) -> list[float]:
        found = rows.numbers(rows.names[name]) if name in rows.names else None
        return [math.nan] * len(rows.runs) if found is None else found.tolist()

    def words(name: str) -> list[str | None]:
        cells = rows.columns[rows.names[name]] if name in rows.names else [None] * len(rows.runs)
        return [
            str(cell).strip() if cell is not None and cell == cell and str(cell).strip() else None for cell in cells
        ]

    ways = words("direction")
    if wrong := sorted({str(way) for way in ways} - {"None", "min", "max"}):
        raise ResultsError(f"column 'direction' must hold min or max, got {listing(wrong)}")
    metrics = words("metric")
    if None in metrics:
        raise ResultsError(
            f"every row needs the name of its metric, missing in row {metrics.index(None) + 1} below the header"
        )
    _refuse_repeated([*zip(rows.runs, metrics, rows.steps, strict=True)], "row of one run and metric")
    parts = zip(
        rows.runs,
        metrics,
        values.tolist(),
        optional("stderr"),
        optional("n"),
        words("unit"),
        ways,
        rows.steps,
        strict=True,
    )
    return Contents(
        [
            Measure(
                str(metric), value, run, None if math.isnan(spread) else spread, None if math.isnan(n) else int(n), unit, way, step
            )
            for run, metric, value, spread, n, unit, way, step in parts
        ],
        notes=tuple(rows.notes(rows.columns)),
    )  # fmt: skip


def _wide(rows: _Rows, own: str, wanted: Wanted) -> Contents:
    others = [name for name in rows.columns if name != own]
    _refuse_repeated([*zip(rows.runs, rows.steps, strict=True)], "row of one run (and no column step tells them apart)")
    shares, notes = _shares(rows, others, wanted)
    in_phases = [name for name, values in shares.items() if values is None]
    bookkeeping = [
        name for name in others if name not in shares and (is_bookkeeping(name) or is_by_product(name, others))
    ]
    spreads = {name: rows.numbers(name) for name in bookkeeping if _of_spread(name) in others}
    text, measures = [], []
    for name in others:
        if name in shares or name in bookkeeping:
            continue
        values = rows.numbers(name)
        if values is None:
            text.append(name)
            continue
        spread = next(
            (found for each, found in spreads.items() if _of_spread(each) == name and found is not None), None
        )
        for at, value in enumerate(values.tolist()):
            # In a table of several runs, or a history, an empty cell means that nothing was measured.
            if not math.isnan(value):
                error = None if spread is None or math.isnan(spread[at]) else float(spread[at])
                measures.append(Measure(name, value, rows.runs[at], error, step=rows.steps[at]))
    notes += rows.notes({*shares, *(one.metric for one in measures)})
    mixtures = {}
    for at, run in enumerate(rows.runs):
        if shares and not in_phases:
            mixtures[run] = {name: float(column[at]) for name, column in shares.items() if column is not None}
    return Contents(
        measures,
        mixtures or {run: {} for run in rows.runs},
        text=tuple(text),
        bookkeeping=tuple(bookkeeping),
        notes=tuple(notes),
    )


def _of_spread(name: str) -> str:
    """Return the metric whose standard error is in a column of this name: acc,none for acc_stderr,none."""
    return name.replace("_stderr", "", 1).replace("_std_err", "", 1)


def _shares(
    rows: _Rows, others: Sequence[str], wanted: Wanted
) -> tuple[dict[str, NDArray[np.float64] | None], list[str]]:
    """Return the columns with the shares of domains, and notes: those wanted, else columns that sum to 1; None for those of several phases."""
    if wanted.domains:
        names: dict[str, None] = {}
        unknown = []
        for pattern in wanted.domains:
            meant = matching(list(others), pattern)
            names.update(dict.fromkeys(meant))
            unknown += [] if meant else [pattern]
        if unknown:
            raise ResultsError(f"domains names columns that do not exist: {misspelt(unknown, others)}")
        found = {name: rows.numbers(name) for name in names}
        if text := [name for name, values in found.items() if values is None]:
            raise ResultsError(f"columns of shares must hold numbers: {listing(text)}")
        plain = {name: values for name, values in found.items() if values is not None}
        divided, note = in_shares("columns asked for as domains", np.column_stack(list(plain.values())))
        return dict(zip(plain, divided.T, strict=True)), [note] if note else []
    numbers = {}
    for name in others:
        if not is_bookkeeping(name) and (values := rows.numbers(name)) is not None and not np.isnan(values).any():
            numbers[name] = values
    if not numbers:
        return {}, []
    known, table = list(numbers), np.column_stack(list(numbers.values()))
    groups = [one.columns for one in mixtures_within(known, table)]
    if not groups and len(set(rows.runs)) > 2 and (block := block_within(table)):
        groups = [block]
    if len(groups) > 1:
        several = [known[at] for group in groups for at in group]
        return dict.fromkeys(several), [
            f"columns hold {len(groups)} mixtures for each run, as for training in phases; they are not taken as metrics: {listing(several)}"
        ]
    if not groups and len(set(rows.runs)) > 1 and (percentages := _percentages(known, table)):
        meant = [known[at] for at in percentages]
        note = f"columns that sum to 100 in every row are taken as the mixture in percent, not as metrics: {listing(meant)}"
        return {name: numbers[name] / 100.0 for name in meant}, [note]
    shares = {known[at]: numbers[known[at]] for group in groups for at in group}
    note = f"columns that sum to 1 in every row are taken as the mixture, not as metrics: {listing(shares)}"
    return dict(shares), [note] if shares else []


def _percentages(names: Sequence[str], table: NDArray[np.float64]) -> tuple[int, ...]:
    """Return the first columns with a common beginning or end of their names that sum to 100 in every row; empty if there are none."""
    return next((one.columns for one in mixtures_within(names, table / 100.0)), ())


def _refuse_repeated(keys: Sequence[tuple[object, ...]], what: str) -> None:
    if twice := [key for key, count in Counter(keys).items() if count > 1]:
        shown_keys = (" ".join(str(part) for part in key if part is not None) for key in twice)
        raise ResultsError(f"more than one {what}: {listing(shown_keys)}")


TABLE = Format(
    "table",
    "csv or parquet with a column run: a row for each run, or for each run, metric and value",
    (),
    _fits,
    _read,
)
