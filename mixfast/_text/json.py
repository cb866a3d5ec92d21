"""JSON read with no name twice, which the standard reader lets pass; and which files are JSON, not YAML."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from mixfast._text.names import listing


def read_json(text: str, error: type[Exception], *, as_text: bool = False) -> Any:
    """Return the JSON value; raise ``error`` for what is none, and for names given twice.

    With ``as_text``, numbers stay text: as floats, counts would lose digits.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        if repeated:
            raise error(f"given twice: {listing(repeated)}")
        return dict(pairs)

    number: Any = str if as_text else None
    try:
        return json.loads(text, object_pairs_hook=unique, parse_int=number, parse_float=number, parse_constant=number)
    except json.JSONDecodeError as problem:
        raise error(f"not JSON: {problem}") from problem


def is_json(path: Path, what: str, error: type[Exception]) -> bool:
    """Whether a file is JSON, by its name, and not YAML; ``error`` for any other name of ``what``."""
    suffix = path.suffix.lower()
    if suffix not in (".yaml", ".yml", ".json"):
        raise error(f"{what} must end in .yaml, .yml or .json, got {path.name!r}")
    return suffix == ".json"
