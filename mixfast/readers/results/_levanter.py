"""``eval_metrics.jsonl`` and ``tracker_metrics.jsonl`` of levanter: the losses of tagged validation sets, one line for each evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mixfast._text.names import listing
from mixfast.readers.results._contents import Contents, Format, Measure, ResultsError, Wanted
from mixfast.readers.results._numbers import as_number, as_step
from mixfast.readers.results._source import Source

_TIMES = ("loading_time", "total_time")
_BATCHES = "levanter's bits per byte are means over batches, weighted by tokens: compare only runs with the same evaluation batch size"
# levanter counts losses in nats per token.
_UNITS = {"loss": "nats_per_token", "bpb": "bits_per_byte"}


def _fits(source: Source) -> bool:
    if source.kind not in ("jsonl", "json"):
        return False
    first = next((found for _, found in source.lines()), None) if source.kind == "jsonl" else source.document
    if not isinstance(first, Mapping):
        return False
    if isinstance(first.get("summary"), Mapping) and set(first) <= {"config", "summary"}:
        return True
    return "step" in first and any(_is_evaluated(key) for key in first)


def _is_evaluated(name: str) -> bool:
    """Return whether a name is that of a validation set (``eval/...``, ``eval_dropless/...``) or of lm-eval during training."""
    root, slash, _ = name.partition("/")
    return bool(slash) and (root.startswith("eval") or root in ("lm_eval", "labeled_eval"))


def _read(source: Source, wanted: Wanted) -> Contents:
    # After a restart steps repeat: of two lines for one step the later holds, and what was beyond the step of the restart is void.
    reached = -1
    void: set[int] = set()
    latest: dict[tuple[str, int | None], float] = {}
    repeated: set[int] = set()
    text: dict[str, None] = {}
    bookkeeping: dict[str, None] = {}
    errors: dict[tuple[str, int | None], float] = {}
    entries = source.lines(may_end_early=True) if source.kind == "jsonl" else iter([(1, source.document)])
    for number, entry in entries:
        step, found = _evaluation(entry, number)
        if step is not None and step < reached:
            beyond = {at for _, at in latest if at is not None and at > step}
            latest = {key: value for key, value in latest.items() if key[1] not in beyond}
            void |= beyond
        reached = reached if step is None else step
        for name, value in found.items():
            if name in ("step", "_step") or not _is_evaluated(name) or name.endswith(_TIMES):
                bookkeeping[name] = None
                continue
            measured = as_number(value)
            if measured is None:
                text[name] = None
            elif "_stderr" in name.rpartition("/")[2]:
                errors[name.replace("_stderr", ""), step] = measured
            else:
                if latest.get((name, step), measured) != measured and step is not None:
                    repeated.add(step)
                latest[name, step] = measured
    why = left_out({name for name, _ in latest})
    measures = [
        Measure(
            name,
            value,
            step=step,
            unit=unit_of(name),
            direction=None if unit_of(name) is None else "min",
            stderr=errors.get((name, step)),
            left_out=why[name],
        )
        for (name, step), value in latest.items()
    ]
    notes = [_BATCHES] if any(measure.unit == "bits_per_byte" for measure in measures) else []
    if repeated:
        notes.append(
            f"{len(repeated)} step{'s are' if len(repeated) > 1 else ' is'} in the file twice with different values, as after a restart: the later "
            "line is used"
        )
    if void := void - {step for _, step in latest if step is not None}:
        notes.append(
            f"training was restarted before {'steps' if len(void) > 1 else 'step'} {listing(map(str, sorted(void)))}, which it has not reached "
            "again: their values are left out"
        )
    return Contents(measures, text=tuple(text), bookkeeping=tuple(bookkeeping), notes=tuple(notes))


def _evaluation(entry: Any, number: int) -> tuple[int | None, Mapping[str, Any]]:
    """Return the step and the values of a line; those of a tracker are under ``summary``."""
    if not isinstance(entry, Mapping):
        raise ResultsError(f"line {number}: expected a mapping of names to numbers")
    found = entry.get("summary", entry)
    if not isinstance(found, Mapping):
        raise ResultsError(f"line {number}: 'summary' must be a mapping of names to numbers")
    return as_step(found.get("step", found.get("_step"))), found


def left_out(names: Iterable[str]) -> dict[str, str]:
    """Return for each name why it is left out; empty for a leaf of the tree of validation sets.

    levanter names the mean over all sets below a tag like a leaf. Only the other names show that it is a mean: ``eval/paloma/bpb`` is one if
    there is ``eval/paloma/c4_en/bpb``.
    """
    given = list(names)
    parents = {
        ("/".join(parts[:depth]), parts[-1])
        for parts in (name.split("/") for name in given)
        if "ema" not in parts[1:2]
        for depth in range(1, len(parts) - 1)
    }
    return {name: _why(name, parents) for name in given}


def _why(name: str, parents: set[tuple[str, str]]) -> str:
    tag, _, metric = name.rpartition("/")
    if tag.split("/")[1:2] == ["ema"]:
        return "moving average of the weights"
    if name.startswith("lm_eval/averages/"):
        return "mean of tasks that differ between evaluations"
    if metric.startswith(("macro_", "micro_")) or (tag, metric) in parents:
        return f"mean over the sets of {tag}"
    return ""


def unit_of(name: str) -> str | None:
    """Return the unit that levanter defines for a metric."""
    metric = name.rpartition("/")[2].removeprefix("macro_").removeprefix("micro_")
    return None if name.startswith("lm_eval/") else _UNITS.get(metric)


LEVANTER = Format(
    "levanter",
    'lines of "step" and names such as "eval/paloma/c4_en/bpb"',
    ("eval_metrics.jsonl", "tracker_metrics.jsonl"),
    _fits,
    _read,
)
