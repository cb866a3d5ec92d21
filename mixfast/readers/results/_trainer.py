"""``trainer_state.json`` of the Trainer of Hugging Face transformers, and the ``eval_results.json`` of its example scripts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixfast.readers.results._contents import Contents, Format, Measure, ResultsError, Wanted
from mixfast.readers.results._history import History, measures_of
from mixfast.readers.results._source import Source
from mixfast.readers.results._tags import NATS

# The loss of a Trainer is a mean over tokens, in nats. With several validation sets, the name of the set is in the middle.
_LOSS = re.compile(r"^eval_(?:.+_)?loss$")
_CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")
_SAMPLES = "eval_samples"


def _fits(source: Source) -> bool:
    return (
        source.kind == "json"
        and isinstance(source.document, dict)
        and (isinstance(source.document.get("log_history"), list) or _is_results(source))
    )


def _is_results(source: Source) -> bool:
    return source.name in ("eval_results.json", "all_results.json") and any(
        name.startswith("eval_") for name in source.document
    )


def _read(source: Source, wanted: Wanted) -> Contents:
    state = source.document
    entries = state.get("log_history", [{key: value for key, value in state.items() if key != "epoch"}])
    history: History = {}
    text: dict[str, None] = {}
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise ResultsError(f"log_history must be a list of mappings, but entry {number} is {type(entry).__name__}")
        step = _step(entry)
        for name, value in entry.items():
            if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
                history.setdefault(name, {})[step] = float("nan") if value is None else float(value)
            else:
                text[name] = None
    samples = state.get(_SAMPLES)
    history.pop(_SAMPLES, None)
    measures, bookkeeping = measures_of(history, n=samples if isinstance(samples, int) else None)
    measures = [replace(one, unit=NATS, direction="min") if _LOSS.match(one.metric) else one for one in measures]
    return Contents(
        measures, text=tuple(text), bookkeeping=tuple(bookkeeping), notes=_notes(source.path, state, measures)
    )


def _step(entry: Mapping[str, Any]) -> int | None:
    step = entry.get("step")
    return int(step) if isinstance(step, (int, float)) else None


def _notes(path: Path, state: Mapping[str, Any], measures: list[Measure]) -> tuple[str, ...]:
    """Return notes on training that has not reached its last step, and on a last evaluation that is not the best."""
    notes = []
    done, planned = state.get("global_step"), state.get("max_steps")
    if isinstance(done, int) and isinstance(planned, int) and 0 < done < planned and not _is_followed(path):
        notes.append(f"training has reached step {done} of {planned}")
    best, at = state.get("best_metric"), state.get("best_global_step")
    if isinstance(best, (int, float)) and isinstance(at, int):
        same = [one for one in measures if one.step == at and one.value == best]
        if same and (last := max(one.step or 0 for one in measures if one.metric == same[0].metric)) > at:
            notes.append(
                f"the best {same[0].metric}, {best:g}, is from step {at}; the last, from step {last}, is used: --step {at} takes the best"
            )
    return tuple(notes)


def _is_followed(path: Path) -> bool:
    """Return whether this is the state of a checkpoint, and training went on."""
    own = _CHECKPOINT.match(path.parent.name)
    if own is None:
        return False
    run = path.parent.parent
    others = (_CHECKPOINT.match(one.parent.name) for one in run.glob(f"checkpoint-*/{path.name}"))
    return (run / path.name).exists() or any(int(one[1]) > int(own[1]) for one in others if one)


TRAINER = Format(
    "trainer",
    'a dictionary with "log_history"',
    ("trainer_state.json", "eval_results.json", "all_results.json"),
    _fits,
    _read,
)
