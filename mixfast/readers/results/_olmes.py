"""``metrics-all.jsonl``, ``metrics.json`` and ``task-*-metrics.json`` of OLMES: one object for each task."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mixfast.readers.results._contents import Contents, Format, Measure, ResultsError, Wanted
from mixfast.readers.results._numbers import as_number, as_step
from mixfast.readers.results._source import Source

# The means of log-likelihoods of the right answer. Versions differ in the sign: most write log-likelihoods, which are negative, some
# write bits per byte under ``logits_per_byte_corr``.
_LOGITS = re.compile(r"^(?:sum_logits|logits_per_(?:token|char|byte))(?:_corr)?$")
# Means of the index of a choice over the examples, which measure nothing.
_NUMBERS = re.compile(r"^(?:predicted_index\w*|correct_choice)$")
_AVERAGES = ("macro", "micro")
_OF_TASKS = re.compile(r"_(?:macro|micro)$")


def _fits(source: Source) -> bool:
    first = source.document if source.kind == "json" else None
    if source.kind == "jsonl":
        first = next((entry for _, entry in source.lines()), None)
    if not isinstance(first, Mapping):
        return False
    tasks = first.get("tasks")
    if isinstance(tasks, list) and ("all_primary_scores" in first or any("alias" in each for each in _mappings(tasks))):
        return True
    return isinstance(first.get("task_config"), Mapping) and isinstance(first.get("metrics"), Mapping)


def _read(source: Source, wanted: Wanted) -> Contents:
    measures: list[Measure] = []
    text: dict[str, None] = {}
    notes: dict[str, None] = {}
    bookkeeping: dict[str, None] = {}
    fields = _fields(source.document) if source.kind == "json" and isinstance(source.document, Mapping) else {}
    written = ""
    for number, task in _tasks(source):
        metrics = task.get("metrics")
        if not isinstance(metrics, Mapping):
            raise ResultsError(f"task {number} must have a mapping 'metrics'")
        alias, n, why = _alias(task), as_step(task.get("num_instances")), _average(task)
        written = max(written, str(task.get("current_date") or ""))
        fields |= _fields(task)
        for name, value in _flat(metrics):
            key, measured = f"{alias}/{name}", as_number(value)
            if measured is None:
                text[key] = None
            elif _NUMBERS.match(name):
                bookkeeping[key] = None
            else:
                direction, unit, note = _meaning(_decisive(name, task, metrics), measured)
                if note:
                    notes[note] = None
                left_out = why or _left_out(name, task, metrics)
                measures.append(Measure(key, measured, n=n or None, unit=unit, direction=direction, left_out=left_out))
    return Contents(
        measures, fields=fields, written=written, text=tuple(text), bookkeeping=tuple(bookkeeping), notes=tuple(notes)
    )


def _tasks(source: Source) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the number and the object of each task of any of the three files."""
    if source.kind == "jsonl":
        found: Any = source.lines(may_end_early=True)
    else:
        document = source.document
        entries = document.get("tasks", [document]) if isinstance(document, Mapping) else document
        found = enumerate(entries if isinstance(entries, list) else [entries], start=1)
    for number, task in found:
        if not isinstance(task, Mapping):
            raise ResultsError(f"task {number} must be a mapping with 'task_config' and 'metrics'")
        yield number, task


def _mappings(given: list[Any]) -> list[Mapping[str, Any]]:
    return [each for each in given if isinstance(each, Mapping)]


def _config(task: Mapping[str, Any]) -> Mapping[str, Any]:
    config = task.get("task_config")
    return config if isinstance(config, Mapping) else {}


def _alias(task: Mapping[str, Any]) -> str:
    metadata = _config(task).get("metadata")
    alias = metadata.get("alias") if isinstance(metadata, Mapping) else None
    return str(alias or task.get("alias") or task.get("task_name") or "task")


def _average(task: Mapping[str, Any]) -> str:
    """Return why an object is left out as an average of other tasks; empty for a task."""
    primary = _config(task).get("primary_metric")
    if primary in _AVERAGES or any(_OF_TASKS.search(str(name)) for name in task.get("metrics", ())):
        return f"{primary if primary in _AVERAGES else 'macro'} average of other tasks"
    return ""


def _flat(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the metrics; those of a nested mapping, such as ``extra_metrics``, by their path."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{inner}", each) for inner, each in _flat(value))
        else:
            yield str(name), value


def _left_out(name: str, task: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    if name.startswith("extra_metrics/"):
        return "secondary measurement (extra_metrics)"
    if name == "primary_score" and (other := _repeated(task, metrics)):
        return f"repeats {other}"
    return ""


def _repeated(task: Mapping[str, Any], metrics: Mapping[str, Any]) -> str | None:
    """Return the metric that the primary score repeats: the one that the task names, else the first with the same value."""
    primary = _config(task).get("primary_metric")
    if primary in metrics and primary != "primary_score":
        return str(primary)
    same = [
        name for name, value in metrics.items() if name != "primary_score" and value == metrics.get("primary_score")
    ]
    return same[0] if same else None


def _decisive(name: str, task: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Return the name that tells what a metric means; that of a primary score is the metric that it copies."""
    if name != "primary_score":
        return name
    return _repeated(task, metrics) or str(_config(task).get("primary_metric") or name)


def _meaning(name: str, value: float) -> tuple[str | None, str | None, str]:
    """Return direction, unit and a note; the direction of log-likelihoods is decided by their sign."""
    if name.startswith("bits_per_byte"):
        return "min", "bits_per_byte", ""
    if name == "no_answer":
        return "min", "error", ""
    if not _LOGITS.match(name):
        return None, None, ""
    if value < 0.0:
        return "max", "logprob", ""
    if value > 0.0 and name.startswith("logits_per_byte"):
        note = f"{name} is positive, as bits per byte are and log-likelihoods are not: less is taken as better"
        return "min", "bits_per_byte", note
    if value > 0.0:
        return "min", "logprob", f"{name} is positive, as negative log-likelihoods are: less is taken as better"
    return None, None, ""


def _fields(task: Mapping[str, Any]) -> dict[str, str]:
    model = task.get("model_config")
    given = {"model": model.get("model") if isinstance(model, Mapping) else None, "model_hash": task.get("model_hash")}
    return {key: str(value) for key, value in given.items() if value}


OLMES = Format(
    "olmes",
    'for each task "task_config" and "metrics"',
    ("metrics-all.jsonl", "metrics.json", "task-*-metrics.json"),
    _fits,
    _read,
)
