"""``results_*.json`` of lm-evaluation-harness, and the mapping that its ``simple_evaluate`` returns.

``results`` has one mapping for each task and each group of tasks. Its keys are ``metric,filter``; files before version 0.4 have no filter.
They include ``alias``, ``name`` and ``sample_len``; ``metric_stderr,filter`` is a number or the text "N/A". ``higher_is_better`` has the
direction by metric, without its filter; it is null if the tasks of a group disagree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mixfast._text.names import listing
from mixfast.readers.results._contents import Contents, Format, Measure, ResultsError, Wanted
from mixfast.readers.results._lm_eval_about import model_of, of_task, shots_of, step_of, written
from mixfast.readers.results._lm_eval_samples import of_samples
from mixfast.readers.results._source import Source

# Keys of a task that describe it.
_ABOUT = frozenset(["alias", "name", "sample_len", "sample_count", "samples"])
# At least one of them is in each file, whatever its version.
_SIGNS = frozenset(["higher_is_better", "n-shot", "n-samples", "configs", "versions", "config", "group_subtasks"])
# With --predict_only, lm-evaluation-harness computes no metrics and writes this one with the value 999.
_PLACEHOLDER = "bypass"
_PERPLEXITIES = {"word_perplexity": "perplexity_per_word", "byte_perplexity": "perplexity_per_byte"}


def _fits(source: Source) -> bool:
    if source.kind != "json" or not isinstance(document := source.document, dict):
        return False
    results = document.get("results")
    if not isinstance(results, dict) or "config_general" in document or any("|" in str(task) for task in results):
        return False
    if not all(isinstance(metrics, dict) for metrics in results.values()):
        return False
    return not _SIGNS.isdisjoint(document) or any("," in key for metrics in results.values() for key in metrics)


def _read(source: Source, wanted: Wanted) -> Contents:
    document = source.document
    measures: list[Measure] = []
    text: set[str] = set()
    step = step_of(document)
    for task, metrics in document["results"].items():
        if not isinstance(metrics, dict):
            raise ResultsError(f"the results of {task} must be a mapping of metrics, not {type(metrics).__name__}")
        measures += _measures(document, task, metrics, step, text)
    notes = [*_partly_measured(document), *_kept_groups(document, measures), *_lost_parts(document, measures)]
    samples = document.get("samples")
    if wanted.samples and isinstance(samples, dict):
        for task, each in samples.items():
            computed, problem = of_samples(task, each, shots=shots_of(document, task), step=step)
            measures += computed
            notes += [problem] if problem else []
    return Contents(
        measures,
        fields=model_of(document),
        written=written(document),
        text=tuple(sorted(text)),
        bookkeeping=tuple(sorted(_ABOUT & {key for metrics in document["results"].values() for key in metrics})),
        notes=tuple(notes),
    )


def _measures(
    document: Mapping[str, Any], task: str, metrics: Mapping[str, Any], step: int | None, text: set[str]
) -> Iterator[Measure]:
    """Yield the metrics of a task or a group; add keys without numbers to ``text``."""
    directions = of_task(document, "higher_is_better", task)
    count = _count(document, task, metrics)
    shots = shots_of(document, task)
    version = (document.get("versions") or {}).get(task)
    is_group = task in (document.get("groups") or {}) or bool(_children(document, task))
    for key, cell in metrics.items():
        metric, comma, chosen = key.partition(",")
        if key in _ABOUT or not key.strip() or metric.endswith("_stderr"):
            continue
        value = _number(cell)
        if value is None:
            text.add(f"{task}/{key}")
            continue
        spread = _number(metrics.get(f"{metric}_stderr{comma}{chosen}"))
        better = directions.get(metric)
        yield Measure(
            f"{task}/{key}",
            value,
            stderr=None if spread is None or math.isnan(spread) else spread,
            n=count,
            unit=_unit(document, task, metric),
            direction=("max" if better else "min") if isinstance(better, bool) else None,
            step=step,
            left_out=_reason(document, task, key, is_group=is_group),
            told_apart="" if shots is None else f"{task}|{shots}/{key}",
            version="" if version is None else str(version),
        )


def _number(cell: object) -> float | None:
    """Return a number, NaN for a metric without a value, and None for other text."""
    if type(cell) is float:
        return cell
    if cell is None or (isinstance(cell, str) and cell.strip().lower() in ("n/a", "nan", "")):
        return math.nan
    if isinstance(cell, (str, bool, Mapping, list, tuple)):
        return None
    try:
        return float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _reason(document: Mapping[str, Any], task: str, key: str, *, is_group: bool) -> str:
    """Return why a metric is left out; empty if it is kept."""
    if key.partition(",")[0] == _PLACEHOLDER:
        return "placeholder of a run with --predict_only"
    if not is_group:
        return ""
    parts = [leaf for leaf in _leaves(document, task) if key in document["results"].get(leaf, ())]
    return f"aggregate of {listing(parts, limit=3)}" if parts else ""


def _children(document: Mapping[str, Any], task: str) -> list[str]:
    children = (document.get("group_subtasks") or {}).get(task)
    return [str(child) for child in children] if isinstance(children, list) else []


def _leaves(document: Mapping[str, Any], task: str) -> list[str]:
    """Return the tasks of a group, at any depth; if the file does not list them, all tasks that are no groups."""
    if not document.get("group_subtasks"):
        return [name for name in document["results"] if name not in document["groups"]]
    found: dict[str, None] = {}
    pending, seen = [task], set()
    while pending:
        name = pending.pop(0)
        if name in seen:
            continue
        seen.add(name)
        children = _children(document, name)
        pending += children
        if not children and name != task:
            found[name] = None
    return list(found)


def _kept_groups(document: Mapping[str, Any], measures: Iterable[Measure]) -> list[str]:
    kept = {each.metric.partition("/")[0] for each in measures if not each.left_out}
    groups = [name for name in document.get("groups") or {} if name.partition("/")[0] in kept]
    if not groups:
        return []
    return [
        f"the parts of {listing(groups, limit=3)} are not in the file: the group is kept, although it averages several tasks"
    ]


def _lost_parts(document: Mapping[str, Any], measures: Iterable[Measure]) -> list[str]:
    """Return a note on the groups that are left out although some of their parts are not in the file."""
    kept = {each.metric.partition("/")[0] for each in measures if not each.left_out}
    groups = list(document.get("groups") or {})
    held = {leaf for group in groups if group.partition("/")[0] in kept for leaf in _leaves(document, group)}
    # Parts of nested groups are named once, with the innermost group, which files list last.
    lost = {
        leaf: group
        for group in groups
        if group.partition("/")[0] not in kept
        for leaf in _leaves(document, group)
        if leaf not in document["results"] and leaf not in held
    }
    found = [f"{part} of {group}" for part, group in lost.items()]
    return [f"parts of groups that are left out are not in the file: {listing(found, limit=3)}"] if found else []


def _unit(document: Mapping[str, Any], task: str, metric: str) -> str | None:
    if metric == "bits_per_byte":
        return "bits_per_byte"
    if metric == "perplexity" and of_task(document, "configs", task).get("output_type") == "loglikelihood":
        # The exponential of the mean over documents of -log p(document).
        return "perplexity_per_document"
    return _PERPLEXITIES.get(metric)


def _count(document: Mapping[str, Any], task: str, metrics: Mapping[str, Any]) -> int | None:
    count = of_task(document, "n-samples", task).get("effective", metrics.get("sample_len"))
    return count if isinstance(count, int) else None


def _partly_measured(document: Mapping[str, Any]) -> list[str]:
    """Return a note on the tasks that were measured on a part of their documents."""
    parts = []
    for task in document["results"]:
        counts = of_task(document, "n-samples", task)
        effective, original = counts.get("effective"), counts.get("original")
        if isinstance(effective, int) and isinstance(original, int) and effective < original:
            parts.append(f"{task} on {effective} of {original}")
    return [f"measured on a part of the documents (--limit): {listing(parts, limit=3)}"] if parts else []


LM_EVAL = Format(
    "lm-eval",
    "results of lm-evaluation-harness: results by task, with keys metric,filter",
    ("results_*.json", "results.json", "*_20??-??-??T*.json"),
    _fits,
    _read,
)
