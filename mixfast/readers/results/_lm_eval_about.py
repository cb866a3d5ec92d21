"""Facts about the evaluation in a results file of lm-evaluation-harness: the model, its step, the number of examples in the prompts, the date."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from mixfast.readers.results._source import Source

_STEP = re.compile(r"(?:global_?)?(?:step|checkpoint|ckpt|iter)[-_]?(\d+)(?:[-_].*)?")


def of_task(document: Mapping[str, Any], key: str, task: str) -> Mapping[str, Any]:
    """Return the mapping that a key of the document has for a task; empty if it has none."""
    found = (document.get(key) or {}).get(task)
    return found if isinstance(found, dict) else {}


def shots_of(document: Mapping[str, Any], task: str) -> int | None:
    """Return the number of examples in the prompts of a task."""
    shots = (document.get("n-shot") or {}).get(task)
    return shots if isinstance(shots, int) else None


def model_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Return fields that may name the run: names of the model, and the arguments with which it was loaded."""
    config = document.get("config")
    arguments = _arguments(config.get("model_args") if isinstance(config, dict) else None)
    named = {key: document.get(key) for key in ("model_name", "model_name_sanitized", "model_source")}
    named["model_name"] = named["model_name"] or arguments.get("pretrained")
    return {key: str(value) for key, value in {**arguments, **named}.items() if value not in (None, "")}


def _arguments(given: object) -> dict[str, Any]:
    """Return the arguments of a model, which are a mapping or text such as ``pretrained=a/b,revision=step1000``."""
    if isinstance(given, dict):
        return {str(key): value for key, value in given.items() if isinstance(value, (str, int, float))}
    if not isinstance(given, str):
        return {}
    pairs = (part.partition("=") for part in given.split(","))
    return {key.strip(): value for key, equals, value in pairs if equals}


def step_of(document: Mapping[str, Any]) -> int | None:
    """Return the step in the revision of the model or in the last folders of its path, such as ``run_3/checkpoint-500/hf``."""
    fields = model_of(document)
    for part in (fields.get("revision", ""), *reversed(re.split(r"[/\\]+", fields.get("model_name", ""))[-2:])):
        if found := _STEP.fullmatch(part):
            return int(found[1])
    return None


def written(document: Mapping[str, Any]) -> str:
    """Return when the evaluation began, as sortable text; files before version 0.4.2 do not tell."""
    try:
        return datetime.fromtimestamp(float(document["date"]), UTC).isoformat(timespec="seconds")
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return ""


def beside(path: Path, date: str) -> Mapping[str, Any]:
    """Return the results file that has the same date in its name as a file of samples; empty if there is none or it cannot be read."""
    found = sorted(path.parent.glob(f"*_{date}.json*"))
    return _document(found[0], found[0].stat().st_mtime_ns) if found else {}


# An evaluation has a file of samples for each task, which are read one after the other.
@lru_cache(maxsize=2)
def _document(path: Path, changed: int) -> Mapping[str, Any]:
    try:
        document = Source(path).document
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
