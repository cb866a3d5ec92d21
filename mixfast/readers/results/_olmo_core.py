"""``metrics.json`` and ``metrics_step<N>.json`` of OLMo-core's ``MetricSaverCallback``: one flat mapping of name to latest value."""

from __future__ import annotations

import math
import re
from typing import Any

from mixfast.readers.results._contents import Contents, Format, Measure, ResultsError, Wanted
from mixfast.readers.results._numbers import as_number
from mixfast.readers.results._source import Source

# The families of names that OLMo-core's trainer records; evaluators add ``eval/``.
_FAMILIES = ("eval/", "train/", "optim/", "throughput/", "system/", "data/")
_STEP = re.compile(r"metrics_step(\d+)\.json$")
# OLMo-core evaluates the average of several checkpoints under this prefix.
_MERGED = "eval/merged/"
_OWN_DATA = "loss on the run's own training data"
_LABEL = re.compile(r"^(?P<task>.*) \((?P<metric>[^()]*?)(?P<second> v2)?\)$")
# What the labels of in-loop evaluations mean (OLMo-in-loop-evals, ``ICLMetric``). The losses of multiple choice are divided by characters.
# The two "soft losses" are the probability of the right choice and its logarithm: more is better.
_LABELS = {
    "BPB": ("min", "bits_per_byte"), "CE loss": ("min", "nats_per_character"), "soft loss": ("max", "score"),
    "log soft loss": ("max", "logprob"), "accuracy": ("max", "score"), "length-normalized accuracy": ("max", "score"),
    "PMI-DC accuracy": ("max", "score"), "F1 score": ("max", "score"),
}  # fmt: skip


def _fits(source: Source) -> bool:
    if source.kind != "json" or not isinstance(source.document, dict):
        return False
    keys = source.document.keys()
    # W&B's summary has the same names, but also fields that begin with an underscore.
    return (
        any(key.startswith(_FAMILIES) for key in keys)
        and not any(key.startswith("_") for key in keys)
        and not any(isinstance(value, (dict, list)) for value in source.document.values())
    )


def _read(source: Source, wanted: Wanted) -> Contents:
    found = source.document
    if not isinstance(found, dict):
        raise ResultsError("expected one mapping of name to number, as OLMo-core's MetricSaverCallback writes it")
    named = _STEP.search(source.name)
    step = int(named[1]) if named else None
    measures, text, bookkeeping = [], [], []
    for name, value in found.items():
        number = as_number(value)
        if number is None:
            text.append(name)
        elif name.startswith("eval/"):
            direction, unit = _meaning(name)
            why = _left_out(name, found)
            measures.append(Measure(name, number, unit=unit, direction=direction, step=step, left_out=why))
        elif name.startswith("train/") and name.endswith(("loss", "PPL")):
            measures.append(Measure(name, number, step=step, left_out=_OWN_DATA))
        else:
            bookkeeping.append(name)
    return Contents(measures, text=tuple(text), bookkeeping=tuple(bookkeeping), notes=_notes(measures, step))


def _meaning(name: str) -> tuple[str | None, str | None]:
    """Return the direction and the unit that OLMo-core defines for a metric."""
    if name.endswith("/CE loss"):
        return "min", "nats_per_token"
    if name.endswith("/PPL"):
        return "min", "perplexity"
    label = _LABEL.match(name)
    return _LABELS.get(label["metric"], (None, None)) if label else (None, None)


def _left_out(name: str, found: dict[str, Any]) -> str:
    if name.startswith(_MERGED):
        return "model of merged weights"
    label = _LABEL.match(name)
    if label and not label["second"] and f"{label['task']} ({label['metric']} v2)" in found:
        return "first version of a metric whose second version is in the file"
    return ""


def _notes(measures: list[Measure], step: int | None) -> tuple[str, ...]:
    notes = []
    if step is None and measures:
        notes.append("metrics.json holds the latest value of each metric, which may be from different steps")
    if any(math.isnan(measure.value) for measure in measures):
        notes.append("NaN marks metrics that the run had not evaluated yet")
    return tuple(notes)


OLMO_CORE = Format(
    "olmo-core",
    'one mapping of names such as "eval/downstream/arc (BPB v2)" to numbers',
    ("metrics.json", "metrics_step*.json"),
    _fits,
    _read,
)
