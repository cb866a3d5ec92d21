"""Read JSON and refuse repeated names, which the standard reader accepts; decide by name whether a file is JSON or YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mixfast._text.atomic import is_stream
from mixfast._text.names import given_twice, shown
from mixfast._text.nesting import TOO_DEEP, check_nesting

# Numbers with more digits before the point overflow float64, so converting them would fail later.
_MOST_DIGITS = 300


class Repeated(ValueError):
    """An object in a JSON text has the same name twice."""


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a dict of these names and values; raise `Repeated` if a name is repeated. Used as ``object_pairs_hook``."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Repeated(given_twice([name for name, _ in pairs]))
    return found


def read_json(text: str, error: type[Exception], *, as_text: bool = False) -> Any:
    """Return the JSON value; raise ``error`` for invalid JSON and for repeated names.

    With ``as_text``, numbers stay text, because large counts would lose digits as floats.
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
    """Return the number, truth value or text that JSON has for a word of a file; raise ValueError if it has none."""
    return read_json(text, ValueError)


def is_json(path: Path, what: str, error: type[Exception]) -> bool:
    """Whether a file is JSON (and not YAML, like a stream) by its name; raise ``error`` for any other ending of ``what``."""
    suffix = path.suffix.lower()
    if suffix not in (".yaml", ".yml", ".json") and not is_stream(path):
        raise error(f"{what} must end in .yaml, .yml or .json, got {shown(path.name)}")
    return suffix == ".json"
