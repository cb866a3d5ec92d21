"""``metrics.json`` of allenai/olmo-eval: a list of tasks with their metrics, by scorer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mixfast.readers.results._contents import Contents, Format, Measure, ResultsError, Wanted
from mixfast.readers.results._numbers import as_number, as_step
from mixfast.readers.results._source import Source

# The units of the metrics of olmo-eval for which less is better; its other metrics are scores.
_LESS = {"bits_per_byte": "bits_per_byte", "perplexity": "perplexity"}


def _fits(source: Source) -> bool:
    found = source.document if source.kind == "json" else None
    if not isinstance(found, Mapping) or not isinstance(found.get("tasks"), list):
        return False
    return "summary" in found and all(isinstance(each, Mapping) and "task" in each for each in found["tasks"])


def _read(source: Source, wanted: Wanted) -> Contents:
    found = source.document
    tasks = found.get("tasks") if isinstance(found, Mapping) else None
    if not isinstance(tasks, list):
        raise ResultsError("expected a list 'tasks', as olmo-eval writes it")
    measures: list[Measure] = []
    text: dict[str, None] = {}
    for place, task in enumerate(tasks, start=1):
        if not isinstance(task, Mapping) or not isinstance(task.get("metrics", {}), Mapping):
            raise ResultsError(f"task {place} must have a mapping 'metrics'")
        name, run = str(task.get("task", place)), str(task.get("model") or "")
        for metric, scorer, value in _scores(task.get("metrics", {})):
            key, number = f"{name}/{metric}{':' if scorer else ''}{scorer}", as_number(value)
            if number is None:
                text[key] = None
                continue
            measures.append(_measure(key, metric, number, run, as_step(task.get("num_instances"))))
    # The summary repeats the tasks; what only the summary has are means of suites.
    measured = {str(task.get("task")) for task in tasks}
    suites = [name for name in _summarised(found.get("summary")) if name not in measured]
    notes = (
        [f"means of suites are left out, because their tasks are in the file: {', '.join(sorted(set(suites)))}"]
        if suites
        else []
    )
    if failed := found.get("errors"):
        notes.append(f"{len(failed)} task{'s' if len(failed) > 1 else ''} failed, as the file says under 'errors'")
    runs = {measure.run for measure in measures}
    if len(runs) == 1:
        # One model: the run is named by its folder, as for the formats without a name.
        measures = [_without_run(measure) for measure in measures]
    return Contents(
        measures,
        fields=_fields(found, runs),
        written=str(found.get("timestamp") or ""),
        text=tuple(text),
        notes=tuple(notes),
    )


def _scores(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield metric, scorer and value; files before 2026-02 had no scorers."""
    for metric, value in metrics.items():
        if isinstance(value, Mapping):
            for scorer, score in value.items():
                yield str(metric), str(scorer), score
        else:
            yield str(metric), "", value


def _measure(key: str, metric: str, value: float, run: str, n: int | None) -> Measure:
    unit = _LESS.get(metric)
    return Measure(key, value, run=run, n=n or None, unit=unit, direction=None if unit is None else "min")


def _without_run(measure: Measure) -> Measure:
    return Measure(measure.metric, measure.value, n=measure.n, unit=measure.unit, direction=measure.direction)


def _summarised(summary: Any) -> Iterator[str]:
    """Yield the names of tasks and suites in the summary, which has a level of models if there are several."""
    for name, entry in summary.items() if isinstance(summary, Mapping) else ():
        if isinstance(entry, Mapping) and "score" not in entry:
            yield from map(str, entry)
        else:
            yield str(name)


def _fields(found: Mapping[str, Any], runs: set[str]) -> dict[str, str]:
    config = found.get("config")
    model = config.get("model") if isinstance(config, Mapping) else None
    given: dict[str, Any] = {"model": model or (next(iter(runs)) if len(runs) == 1 else "")}
    given |= {key: found.get(key) for key in ("experiment_name", "experiment_id", "experiment_group")}
    return {key: str(value) for key, value in given.items() if value}


OLMO_EVAL = Format(
    "olmo-eval", '"tasks", each with "task" and "metrics" by scorer, and "summary"', ("metrics.json",), _fits, _read
)
