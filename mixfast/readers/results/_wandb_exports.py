"""Tables that are exported from W&B: the table of runs, the lines of a chart, and histories, as csv, json or parquet.

The table of runs has the columns Name, State, Created and Runtime, the configuration and the summary, which the file does not tell apart. A chart
has a column for each run, ``run - metric``, with ``run - metric__MIN`` and ``__MAX``. A history has a row for each call of ``log``.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mixfast._text.audience import either
from mixfast._text.names import listing, matching
from mixfast._text.visible import quote
from mixfast.readers.results._contents import Contents, Measure, ResultsError, Wanted
from mixfast.readers.results._history import History, add_row, flat, measures_of
from mixfast.readers.results._numbers import as_number, as_step
from mixfast.readers.results._table import id_column, runs_of
from mixfast.readers.results._tags import Tags, told
from mixfast.swarm import spelled, told_direction

Columns = Mapping[str, Sequence[Any]]

_NAMES = ("name", "display_name", "run_name", "id")
_DETAILS = frozenset(["created", "runtime", "user", "id", "sweep"])
_ENDED = "finished"
_SPREAD = ("__MIN", "__MAX")
_GROUP = "Group: "
# The default of run.history(), which samples.
_SAMPLED = 500
# With at least this many runs, a column with a single value is taken as a setting.
_FEW_RUNS = 3
_NOT_JSON = re.compile(r"\b(?:nan|inf)\b")


def rows_of(document: object) -> list[dict[str, Any]] | None:
    """Return the rows of an export as JSON: a list of rows, or the columns of pandas; None if it is something else."""
    if isinstance(document, dict) and document and all(isinstance(column, dict) for column in document.values()):
        # DataFrame.to_json: column, row label, cell.
        labels = dict.fromkeys(label for column in document.values() for label in column)
        document = [{name: column.get(label) for name, column in document.items()} for label in labels]
    if not isinstance(document, list) or not document or not all(isinstance(row, dict) for row in document):
        return None
    return document if fits_table(document[0]) else None


def fits_table(names: Iterable[str]) -> bool:
    """Return whether these are the columns of an export."""
    return bool(_kind(list(names)))


def _kind(names: Sequence[str]) -> str:
    """Return "chart", "history" or "runs"; empty if it is none of them."""
    words = {spelled(name) for name in names}
    if len(names) > 1 and " - " not in names[0] and all(" - " in name for name in names[1:]):
        return "chart"
    if words & {*_NAMES} and (("state" in words and words & _DETAILS) or {"created", "runtime"} <= words):
        return "runs"
    if "summary" in words and words & {*_NAMES}:
        return "runs"
    return "history" if "_step" in names else ""


def table_of(given: Columns | Sequence[Mapping[str, Any]], wanted: Wanted) -> Contents:
    """Return the content of an export, given as columns or as rows."""
    columns = _plain(given) if isinstance(given, Mapping) else _columns(given)
    kind = _kind(list(columns))
    if not kind:
        raise ResultsError(f"not an export of W&B: its columns are {listing(columns)}")
    return {"chart": _chart, "history": _history, "runs": _runs}[kind](columns, wanted)


def _plain(columns: Columns) -> dict[str, Sequence[Any]]:
    """Return the cells as Python's numbers: an integer of numpy is no int."""
    return {name: cells.tolist() if hasattr(cells, "tolist") else cells for name, cells in columns.items()}


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _rows(columns: Columns) -> Iterable[dict[str, Any]]:
    for cells in zip(*columns.values(), strict=True):
        # A missing cell of pandas is NaN, which is not equal to itself; text "NaN" is a value that was logged.
        yield {
            name: cell for name, cell in zip(columns, cells, strict=True) if not isinstance(cell, float) or cell == cell
        }


def _chart(columns: Columns, wanted: Wanted) -> Contents:
    axis = next(iter(columns))
    steps = [as_step(cell) if spelled(axis).endswith("step") else None for cell in columns[axis]]
    runs: dict[str, History] = {}
    notes = [
        "W&B samples the points of a chart, so the last value of a run may be missing; the table of runs, exported as csv, holds the last values"
    ]
    text: dict[str, None] = {}
    for name, cells in columns.items():
        if name == axis or name.endswith(_SPREAD):
            continue
        run, _, metric = name.rpartition(" - ")
        if run.startswith(_GROUP):
            notes.append(
                "lines of groups are means over several runs, and each group is taken as one run: export the chart without groups"
            )
        history = runs.setdefault(run, {})
        for step, cell in zip(steps, cells, strict=True):
            row = {metric: cell} if not isinstance(cell, float) or cell == cell else {}
            add_row(history, row, text, step)
    lines = [name.rpartition(" - ") for name in columns if name != axis and not name.endswith(_SPREAD)]
    if len({metric for _, _, metric in lines}) > 1 and any(" - " in run for run, _, _ in lines):
        notes.append(
            "names hold ' - ' more than once: what follows the last one is taken as the metric, and what precedes it as the run"
        )
    if any(
        list(columns[name + low]) != list(columns[name + high])
        for name in columns
        for low, high in [_SPREAD]
        if name + low in columns and name + high in columns
    ):
        notes.append(
            "points of the chart are means over several steps, because W&B sampled it or the chart is smoothed"
        )
    return _of_histories(runs, text, notes)


def _history(columns: Columns, wanted: Wanted) -> Contents:
    own = id_column(columns, wanted.id)
    runs: dict[str, History] = {}
    text: dict[str, None] = {}
    counts: dict[str, int] = {}
    for row in _rows(columns):
        run = "" if own is None else str(row.pop(own, ""))
        counts[run] = counts.get(run, 0) + 1
        add_row(runs.setdefault(run, {}), row, text)
    notes = []
    if any(count == _SAMPLED for count in counts.values()):
        notes.append(
            f"{_SAMPLED} rows are what run.history() samples from longer histories, so the last values may be missing: use run.scan_history(), or the "
            "history that W&B keeps as parquet"
        )
    return _of_histories(runs, text, notes)


def _of_histories(runs: Mapping[str, History], text: Mapping[str, None], notes: Sequence[str]) -> Contents:
    measures: list[Measure] = []
    bookkeeping: dict[str, None] = {}
    for run, history in runs.items():
        found, others = measures_of({tag: values for tag, values in history.items() if not tag.startswith("_")}, run)
        measures += found
        bookkeeping.update(dict.fromkeys(others))
    return Contents(measures, text=tuple(text), bookkeeping=tuple(bookkeeping), notes=tuple(dict.fromkeys(notes)))


def _runs(columns: dict[str, Sequence[Any]], wanted: Wanted) -> Contents:
    columns, settings = _expanded(columns)
    names = {spelled(name): name for name in reversed(list(columns))}
    own = id_column(columns, wanted.id) if wanted.id else next((names[one] for one in _NAMES if one in names), None)
    if own is None:
        raise ResultsError(
            f"the table of runs has no column {wanted.id or 'Name'}; its columns are: {listing(columns)}"
        )
    notes: list[str] = []
    columns = _each_once(columns, own, names, notes)
    if "state" in names:
        open_ = [
            f"{run} ({state})"
            for run, state in zip(columns[own], columns[names["state"]], strict=True)
            if state and str(state).lower() != _ENDED
        ]
        if open_:
            notes.append(
                f"{len(open_)} of {len(columns[own])} runs have not finished, so their last values may be from an earlier step: {listing(open_)}"
            )
    asked = {name for pattern in wanted.domains for name in matching(list(columns), pattern)}
    settings = [name for name in settings if name not in asked]
    mixed = [name for name in columns if name not in asked and name != own and _is_mixed(name, columns[name])]
    kept = {name: cells for name, cells in columns.items() if name not in settings and name not in mixed}
    found = runs_of(kept, replace(wanted, id=own))
    measures = _told(found.measures, len(columns[own]))
    return replace(
        found,
        measures=[one for one in measures if one is not None],
        text=(*found.text, *mixed),
        bookkeeping=(*found.bookkeeping, *settings),
        notes=(*notes, *found.notes),
    )


def _expanded(columns: Mapping[str, Sequence[Any]]) -> tuple[dict[str, Sequence[Any]], list[str]]:
    """Replace the columns summary and config, which hold dictionaries, by a column for each key; also return those of config."""
    found: dict[str, Sequence[Any]] = {}
    settings: list[str] = []
    for name, cells in columns.items():
        if name not in ("summary", "config"):
            found[name] = cells
            continue
        rows = [dict(flat(_dictionary(cell, name, at))) for at, cell in enumerate(cells, start=1)]
        inner = {key: list(values) for key, values in _columns(rows).items() if not key.startswith("_wandb")}
        for key, values in inner.items():
            free = key if key not in found else f"{name}.{key}"
            found[free] = ["" if value is None else value for value in values]
            if name == "config":
                settings.append(free)
    return found, settings


def _dictionary(cell: object, name: str, row: int) -> object:
    """Return the dictionary in a cell, which csv files hold in the notation of JSON or Python."""
    if not isinstance(cell, str):
        return cell if isinstance(cell, dict) else {}
    for parse in (json.loads, lambda text: ast.literal_eval(_NOT_JSON.sub("None", text))):
        try:
            return parse(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    raise ResultsError(
        f"column {name}, row {row} below the header, holds no dictionary in the notation of Python or JSON; write the table with "
        "json.dumps, or export the table of runs from the web page"
    )


def _each_once(
    columns: dict[str, Sequence[Any]], own: str, names: Mapping[str, str], notes: list[str]
) -> dict[str, Sequence[Any]]:
    """Keep one row for each name, because W&B allows runs with the same name: the newest finished run, else the newest."""
    runs = [str(cell) for cell in columns[own]]
    best: dict[str, tuple[tuple[bool, str], int]] = {}
    states, dates = (columns[names[word]] if word in names else [""] * len(runs) for word in ("state", "created"))
    for at, run in enumerate(runs):
        rank = (str(states[at]).lower() == _ENDED, str(dates[at]))
        if run not in best or rank >= best[run][0]:
            best[run] = (rank, at)
    if len(best) == len(runs):
        return columns
    repeated = sorted(run for run, count in Counter(runs).items() if count > 1)
    way = names.get("id")
    hint = f": {either(f'id={way!r}', f'--id {quote(way)}')} takes each row as a run" if way and way != own else ""
    notes.append(f"several rows have one {own}, and the newest that has finished is used for {listing(repeated)}{hint}")
    kept = sorted(at for _, at in best.values())
    return {name: [cells[at] for at in kept] for name, cells in columns.items()}


def _is_mixed(name: str, cells: Sequence[Any]) -> bool:
    """Return whether a setting holds numbers for some runs and text for others, as warmup: 100 and auto."""
    kinds = {as_number(cell) is None for cell in cells if cell is not None and cell != ""}
    return len(kinds) > 1 and told_direction(name) is None


def _told(measures: Sequence[Measure], runs: int) -> list[Measure]:
    """Leave out measures that their tags exclude, and those with the same value in all runs."""
    values: dict[str, list[float]] = {}
    for one in measures:
        values.setdefault(one.metric, []).append(one.value)
    reasons, beside = {}, Tags(values)
    for name, found in values.items():
        what = told(name, beside)
        reasons[name] = "hardware, time or the state of the optimiser" if what is None else what.left_out
        if (
            not reasons[name]
            and runs >= _FEW_RUNS == min(_FEW_RUNS, len(found))
            and len(set(found)) == 1
            and told_direction(name) is None
        ):
            reasons[name] = "the same in all runs, as settings are"
    return [replace(one, left_out=one.left_out or reasons[one.metric]) for one in measures]
