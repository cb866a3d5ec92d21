"""JSON read with no name twice, which the standard reader lets pass; and which files are JSON, not YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mixfast._text.atomic import is_stream
from mixfast._text.names import given_twice, shown
from mixfast._text.nesting import TOO_DEEP, check_nesting

# More digits than a float64 can have before the point: whoever converts the number would fail.
_MOST_DIGITS = 300


class Repeated(ValueError):
    """An object of a JSON text gives a name twice."""


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these names and values; `Repeated` if a name is given twice: the ``object_pairs_hook`` of readers."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Repeated(given_twice([name for name, _ in pairs]))
    return found


def read_json(text: str, error: type[Exception], *, as_text: bool = False) -> Any:
    """Return the JSON value; raise ``error`` for what is none, and for names given twice.

    With ``as_text``, numbers stay text: as floats, counts would lose digits.
    """

    def whole(digits: str) -> int:
        if len(digits) > _MOST_DIGITS:
            raise error(f"a number of {len(digits)} digits, {digits[:20]}..., which no setting or share is")
        return int(digits)

    number: Any = str if as_text else None
    try:
        found = json.loads(
            text, object_pairs_hook=unique, parse_int=number or whole, parse_float=number, parse_constant=number
        )
    except Repeated as problem:
        raise error(str(problem)) from None
    except json.JSONDecodeError as problem:
        raise error(f"not JSON: {problem}") from problem
    except RecursionError:
        raise error(TOO_DEEP) from None
    return check_nesting(found, error)


def json_value(text: str) -> Any:
    """Return the number, truth value or text that JSON has for a word of a file; a ValueError refuses it."""
    return read_json(text, ValueError)


def is_json(path: Path, what: str, error: type[Exception]) -> bool:
    """Whether a file is JSON, by its name, and not YAML, as a stream is; ``error`` for any other name of ``what``."""
    suffix = path.suffix.lower()
    if suffix not in (".yaml", ".yml", ".json") and not is_stream(path):
        raise error(f"{what} must end in .yaml, .yml or .json, got {shown(path.name)}")
    return suffix == ".json"
