"""``trainer_state.json`` of the Trainer of Hugging Face transformers."""

from __future__ import annotations

from mixfast.readers.results._contents import Contents, Format, Measure, ResultsError, Wanted
from mixfast.readers.results._source import Source


def _fits(source: Source) -> bool:
    return (
        source.kind == "json"
        and isinstance(source.document, dict)
        and isinstance(source.document.get("log_history"), list)
    )


def _read(source: Source, wanted: Wanted) -> Contents:
    measures = []
    for entry in source.document["log_history"]:
        if not isinstance(entry, dict):
            raise ResultsError("log_history must hold mappings")
        step = entry.get("step")
        measures += [
            Measure(name, float(value), step=step)
            for name, value in entry.items()
            if name.startswith("eval_") and isinstance(value, (int, float))
        ]
    return Contents(measures)


TRAINER = Format("trainer", "log_history", ("trainer_state.json",), _fits, _read)
