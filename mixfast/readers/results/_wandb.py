"""Runs of Weights & Biases: the folder of a run, offline or online, and exports from the web page or the API.

Exports are read by `_wandb_exports`, and the ``.wandb`` file of a run by `_wandb_log`. No server is contacted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mixfast._text.names import matching
from mixfast._text.yaml import read_yaml
from mixfast.readers.results._contents import Contents, Format, ResultsError, Wanted
from mixfast.readers.results._history import History, add_row, flat, measures_of, training_step, without_media
from mixfast.readers.results._numbers import as_number
from mixfast.readers.results._source import Source
from mixfast.readers.results._wandb_exports import fits_table, rows_of, table_of
from mixfast.readers.results._wandb_log import MAGIC, read_log

# Files of a run as they are named in its folder; run-20261129_171436-s0z7dwvn names its start and its id.
_SUMMARY = "wandb-summary.json"
_STARTED = re.compile(r"^(?:offline-)?run-(\d{8})_(\d{6})-(\w+)$")
_OWN = ("_step", "_runtime", "_timestamp", "_wandb")
_OVER_STEPS = re.compile(r"\.(?:last|min|max|mean|best|first)$")
_CUT = "a record is incomplete or damaged: the run was killed, still writes the file, or the file is corrupt; the values before it are used"
_NO_END = "the run has not ended, or was killed: its last values may be from an earlier step than those of other runs"


def _fits(source: Source) -> bool:
    if source.kind == "other":
        with source.open() as handle:
            return handle.read(len(MAGIC)) == MAGIC
    if source.kind == "table":
        return fits_table(source.columns)
    if source.kind == "jsonl":
        first = next((line for _, line in source.lines()), None)
        return isinstance(first, dict) and "_step" in first
    if source.kind != "json":
        return False
    document = source.document
    if isinstance(document, dict) and (source.name == _SUMMARY or sum(name in document for name in _OWN) > 1):
        return True
    return rows_of(document) is not None


def _read(source: Source, wanted: Wanted) -> Contents:
    if source.kind == "other":
        return _log(source, wanted)
    if source.kind == "table":
        return table_of(source.columns, wanted)
    if source.kind == "jsonl":
        return table_of([row for _, row in source.lines(may_end_early=True)], wanted)
    if (rows := rows_of(source.document)) is not None:
        return table_of(rows, wanted)
    return _summary(source, wanted)


def _log(source: Source, wanted: Wanted) -> Contents:
    with source.open() as handle:
        log = read_log(handle.read())
    history, notes = log.history, []
    for name, value in without_media(log.summary).items():
        number = as_number(value)
        # A summary repeats the last, the smallest or the largest values of the history.
        if number is not None and name not in history and _OVER_STEPS.sub("", name) not in history:
            history[name] = {None: number}
    if log.rest:
        notes.append(_CUT)
    elif log.exit_code is None:
        notes.append(_NO_END)
    elif log.exit_code:
        notes.append(f"the run has failed: it ended with exit code {log.exit_code}")
    return _contents(source, wanted, history, log.config, log.fields, log.text, tuple(notes))


def _summary(source: Source, wanted: Wanted) -> Contents:
    if not isinstance(source.document, dict):
        raise ResultsError("a summary of W&B must be a dictionary")
    history: History = {}
    text: dict[str, None] = {}
    row = dict(flat(source.document))
    last = {name.removesuffix(".last") for name in row if name.endswith(".last")}
    add_row(history, {name.removesuffix(".last"): value for name, value in row.items() if name not in last}, text)
    # A metric without a value is null in a summary, or "NaN".
    history.update({name: {training_step(row): float("nan")} for name, value in row.items() if value is None})
    config, notes = {}, []
    beside = source.path.with_name("config.yaml")
    if wanted.domains:
        try:
            config = _config(beside.read_text("utf-8"))
        except (OSError, ValueError) as problem:
            notes.append(f"config.yaml in the same folder cannot be read, so the run has no mixture: {problem}")
    return _contents(source, wanted, history, config, {}, text, tuple(notes))


def _config(text: str) -> dict[str, Any]:
    """Return the configuration of a run: W&B writes each key with its value and a description."""
    found = read_yaml(text, ValueError)
    if not isinstance(found, dict):
        return {}
    return {
        name: value
        for key, inner in found.items()
        for name, value in flat(inner["value"] if isinstance(inner, dict) and "value" in inner else inner, key)
    }


def _contents(
    source: Source,
    wanted: Wanted,
    history: History,
    config: Mapping[str, Any],
    fields: Mapping[str, str],
    text: Mapping[str, None],
    notes: tuple[str, ...],
) -> Contents:
    measures, bookkeeping = measures_of({name: values for name, values in history.items() if not name.startswith("_")})
    folder = source.path.parent.parent if source.path.parent.name == "files" else source.path.parent
    started = _STARTED.match(folder.name)
    names: dict[str, None] = {}
    for pattern in wanted.domains:
        names.update(dict.fromkeys(matching(list(config), pattern)))
    shares = {name: share for name in names if (share := as_number(config[name])) is not None}
    seconds = history.get("_timestamp", {})
    written = datetime.fromtimestamp(max(seconds.values()), UTC).isoformat() if seconds else ""
    return Contents(
        measures,
        {"": shares} if shares else {},
        {**({"id": started[3]} if started else {}), **fields},
        written,
        tuple(name for name in text if not name.startswith("_")),
        tuple(bookkeeping),
        notes,
    )


WANDB = Format(
    "wandb",
    "a run of W&B in its folder, or an export: the table of runs, a chart, or a history",
    (_SUMMARY, "*.wandb", "wandb-history.jsonl", "wandb_export_*.csv", "*-history*/*.parquet"),
    _fits,
    _read,
)
