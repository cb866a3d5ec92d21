"""``results_*.json`` of lighteval.

``results`` has one mapping for each ``task|shots``. Two kinds of entries repeat the others: ``task:_average|shots``, the mean over the parts of
a task, and ``all``, which averages each metric over all tasks and also averages standard errors. The configuration of
a task has the direction of each metric if it lists its metrics.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from mixfast.readers.results._contents import Contents, Format, Measure, ResultsError, Wanted
from mixfast.readers.results._source import Source

_ALL = "all"
_AVERAGE = ":_average"
_STDERR = "_stderr"


def _fits(source: Source) -> bool:
    if source.kind != "json" or not isinstance(document := source.document, dict):
        return False
    results = document.get("results")
    if not isinstance(results, dict) or not all(isinstance(metrics, dict) for metrics in results.values()):
        return False
    return "config_general" in document or any("|" in str(task) for task in results)


def _read(source: Source, wanted: Wanted) -> Contents:
    document = source.document
    measures: list[Measure] = []
    text: set[str] = set()
    for task, metrics in document["results"].items():
        if not isinstance(metrics, dict):
            raise ResultsError(f"the results of {task} must be a mapping of metrics, not {type(metrics).__name__}")
        measures += _measures(task, metrics, _config(document, task), text)
    general = document.get("config_general")
    general = general if isinstance(general, dict) else {}
    name = general.get("model_name")
    limit = general.get("max_samples")
    return Contents(
        measures,
        fields={"model_name": str(name)} if name else {},
        text=tuple(sorted(text)),
        notes=(f"measured on at most {limit} documents of each task (--max-samples)",)
        if isinstance(limit, int)
        else (),
    )


def _measures(task: str, metrics: Mapping[str, Any], config: Mapping[str, Any], text: set[str]) -> Iterator[Measure]:
    count = config.get("effective_num_docs")
    directions = _directions(config)
    for metric, value in metrics.items():
        if metric.endswith(_STDERR) and metric.removesuffix(_STDERR) in metrics:
            continue
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            text.add(f"{task}/{metric}")
            continue
        spread = metrics.get(metric + _STDERR)
        yield Measure(
            f"{task}/{metric}",
            math.nan if value is None else float(value),
            stderr=float(spread) if isinstance(spread, (int, float)) and math.isfinite(spread) else None,
            # -1 stands for a number that was not counted.
            n=count if isinstance(count, int) and count > 0 else None,
            direction=directions.get(metric),
            left_out=_reason(task, metric),
        )


def _reason(task: str, metric: str) -> str:
    if task == _ALL:
        return "mean over all tasks"
    if _AVERAGE in task:
        return f"aggregate of {task.partition(_AVERAGE)[0]}"
    return "standard error" if metric.endswith(_STDERR) else ""


def _config(document: Mapping[str, Any], task: str) -> Mapping[str, Any]:
    """Return the configuration of a task, which older files have under its name without the number of shots."""
    configs = document.get("config_tasks")
    if not isinstance(configs, dict):
        return {}
    found = configs.get(task, configs.get(task.rpartition("|")[0]))
    return found if isinstance(found, dict) else {}


def _directions(config: Mapping[str, Any]) -> dict[str, str]:
    """Return which way is better for each metric whose definition is in the configuration of the task."""
    out: dict[str, str] = {}
    metrics = config.get("metrics")
    for each in metrics if isinstance(metrics, list) else []:
        if not isinstance(each, dict):
            continue
        # Metrics that are computed together have lists of names and mappings.
        names, better = each.get("metric_name"), each.get("higher_is_better")
        for name in names if isinstance(names, list) else [names]:
            way = better.get(name) if isinstance(better, dict) else better
            if isinstance(name, str) and isinstance(way, bool):
                out[name] = "max" if way else "min"
    return out


LIGHTEVAL = Format("lighteval", "results of lighteval: results by task|shots", ("results_*.json",), _fits, _read)
