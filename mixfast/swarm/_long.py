"""Convert a long table of metrics, with a row for each run and metric, to a wide one; `mixfast collect --long` writes long tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import counted, listing, places, shown
from mixfast.swarm._cells import is_missing, is_number
from mixfast.swarm._checks import SwarmError, run_id
from mixfast.swarm._files import Raw
from mixfast.swarm._ids import id_candidates, spelled_column
from mixfast.swarm._table import read_table

_DIRECTIONS = ("min", "max")
# Columns that name what a metric was measured on.
_TASKS = ("task", "task_name", "dataset", "benchmark", "subset", "split", "filter", "n_shot", "num_fewshot")
# Words of the column that tells in lm-eval's tables whether more is better.
_MORE = "higher_is_better"
_WAYS = {"true": "max", "1": "max", "1.0": "max", "false": "min", "0": "min", "0.0": "min"}


@dataclass(frozen=True)
class Widened:
    """A wide table of metrics, with the directions and units of a long table.

    Attributes
    ----------
    raw : Raw
    directions, units : mapping of str to str
        By metric, where the table has them.
    notes : tuple of str
        Notes for the report.
    """

    raw: Raw
    directions: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def is_long(raw: Raw) -> bool:
    """Return whether a table has columns "metric", with names, and "value"."""
    metric = spelled_column(raw, "metric")
    if metric is None or spelled_column(raw, "value") is None:
        return False
    return not all(is_number(cell) or is_missing(cell) for cell in raw.cells(raw.places[metric]))


def widened(raw: Raw, id: str | None) -> Widened:
    """Convert a long table to one with a row for each run and a column for each metric; return a wide table unchanged.

    If a run has several values of a metric, the value of the last step is used.

    Raises
    ------
    SwarmError
        If a run has two values of a metric at one step, or a metric has two directions or units.
    """
    if not is_long(raw):
        return Widened(raw)
    columns = {name: column for name in ("metric", "value") if (column := spelled_column(raw, name)) is not None}
    metrics = [str(cell).strip() for cell in raw.cells(raw.places[columns["metric"]])]
    key = _key(raw, id, metrics)
    _refuse_tasks(raw, metrics)
    # Text is a name, also "nan" and "none", as in wide tables.
    runs = [
        "" if is_missing(cell) and not isinstance(cell, str) else run_id(cell) for cell in raw.cells(raw.places[key])
    ]
    for what, names in (("run", runs), ("metric", metrics)):
        if "" in names:
            raise SwarmError(f"{raw.where}: row {names.index('') + 1} below the header has a value without a {what}")
    table = read_table(raw, [columns["value"]], runs, keep=True)
    steps = _steps(raw, runs)
    values, earlier, behind = _pivoted(raw, runs, metrics, table.values[:, 0], steps)
    told = {what: _told(raw, what, metrics) for what in ("direction", "unit")}
    cells: list[Sequence[object]] = [list(dict.fromkeys(runs)), *values]
    wide = Raw(raw.where, (key, *dict.fromkeys(metrics)), values.shape[1], lambda position: cells[position])
    return Widened(wide, told["direction"], told["unit"], (*_notes(raw, told, earlier, behind, runs), *table.notes))


def _key(raw: Raw, id: str | None, metrics: list[str]) -> str:
    """Return the column of runs. With several metrics, a column without repeated cells cannot be it: it numbers the rows."""
    found = id_candidates(raw, id)
    if not found:
        raise SwarmError(
            f"{raw.where} is a long table, with columns 'metric' and 'value', and needs a column 'run'; it has {listing(map(repr, raw.names))}"
        )
    several = len(set(metrics)) > 1
    repeated = (name for name in found if len({*map(str, raw.cells(raw.places[name]))}) < raw.rows)
    return next(repeated, found[0]) if several else found[0]


def _refuse_tasks(raw: Raw, metrics: list[str]) -> None:
    """Raise if one metric is of several tasks, which another column names: its values would be taken as one metric."""
    for column in filter(None, (spelled_column(raw, word) for word in _TASKS)):
        tasks: dict[str, str] = {}
        for metric, cell in zip(metrics, raw.cells(raw.places[column]), strict=True):
            task = "" if is_missing(cell) else str(cell).strip()
            if (other := tasks.setdefault(metric, task)) != task:
                raise SwarmError(
                    f"{raw.where}: {shown(metric)} has values of {shown(other)} and of {shown(task)} in the column {shown(column)}; put both into the "
                    f"name of the metric, as {shown(f'{task or other}/{metric}')}"
                )


def _steps(raw: Raw, runs: list[str]) -> NDArray[np.float64]:
    """Return the training step of each row, NaN where there is none."""
    column = spelled_column(raw, "step")
    if column is None:
        return np.full(raw.rows, np.nan)
    return read_table(raw, [column], runs, keep=True).values[:, 0]


def _pivoted(
    raw: Raw, runs: list[str], metrics: list[str], values: NDArray[np.float64], steps: NDArray[np.float64]
) -> tuple[NDArray[np.float64], int, list[str]]:
    """Return the values (J, R) of the last steps, the number of values of earlier ones, and the runs whose last step is before that of others."""
    rows, columns = (places(dict.fromkeys(names)) for names in (runs, metrics))
    out = np.full((len(columns), len(rows)), np.nan)
    last: dict[tuple[str, str], tuple[float, float]] = {}
    earlier = 0
    # A row without a step is the oldest.
    order = np.where(np.isnan(steps), -np.inf, steps).tolist()
    for run, metric, value, step in zip(runs, metrics, values.tolist(), order, strict=True):
        known = last.get((run, metric))
        if known is not None:
            earlier += step != known[0]
            if step < known[0]:
                continue
            if step == known[0] and value != known[1] and value == value and known[1] == known[1]:
                raise SwarmError(
                    f"{raw.where}: run {shown(run)} has two values of {shown(metric)}, {known[1]:.6g} and {value:.6g}"
                    f"{'' if step == -np.inf else f', at step {step:g}'}; keep one row for each run and metric"
                )
            if step == known[0] and value != value:
                continue
        last[run, metric] = (step, value)
        out[columns[metric], rows[run]] = value
    latest: dict[str, float] = {}
    for (_, metric), (step, _) in last.items():
        latest[metric] = max(step, latest.get(metric, step))
    behind = dict.fromkeys(run for (run, metric), (step, _) in last.items() if -np.inf < step < latest[metric])
    return out, earlier, list(behind)


def _told(raw: Raw, what: str, metrics: list[str]) -> dict[str, str]:
    """Return the direction or the unit of each metric, from the column of this name."""
    column = spelled_column(raw, what)
    ways: dict[str, str] = {}
    if column is None and what == "direction":
        column, ways = spelled_column(raw, _MORE), _WAYS
    if column is None:
        return {}
    found: dict[str, str] = {}
    for metric, cell in zip(metrics, raw.cells(raw.places[column]), strict=True):
        word = "" if is_missing(cell) else str(cell).strip()
        word = ways.get(word.lower(), word)
        if not word:
            continue
        if what == "direction" and word not in _DIRECTIONS:
            raise SwarmError(
                f'{raw.where}: the direction of {shown(metric)} must be "min" (lower is better), "max" or empty, got {shown(word)}'
            )
        if found.setdefault(metric, word) != word:
            raise SwarmError(
                f"{raw.where}: the {what} of {shown(metric)} is {shown(found[metric])} in one row and {shown(word)} in another"
            )
    return found


def _notes(
    raw: Raw, told: Mapping[str, Mapping[str, str]], earlier: int, behind: list[str], runs: list[str]
) -> list[str]:
    parts = [f"{raw.where}: a long table, a row for each run and metric"]
    parts += [f"{what} of {counted(len(found), 'metric')} from its column" for what, found in told.items() if found]
    notes = ["; ".join(parts)]
    if earlier:
        notes.append(
            f"{raw.where}: the last step of each metric is used; {counted(earlier, 'value')} of other steps left out"
        )
    if behind:
        notes.append(f"{raw.where}: the last step is before that of other runs: {listing(behind, limit=8)}")
    mark = spelled_column(raw, "mark")
    cells = [] if mark is None else raw.cells(raw.places[mark])
    marked = dict.fromkeys(run for run, cell in zip(runs, cells, strict=False) if not is_missing(cell))
    if marked:
        notes.append(
            f"{raw.where}: used although the column 'mark' says that they diverged: {listing(marked, limit=8)}"
        )
    return notes
