"""Check the type of every field of a ledger, so that an error in an edited ledger names the field."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mixfast._text.names import shown
from mixfast.reuse._changes import ReuseError


class _Kind(NamedTuple):
    """The type of a field: a test, and its description in messages."""

    fits: Callable[[Any], bool]
    words: str


def check_fields(document: Mapping[str, Any], where: str) -> None:
    """Raise `ReuseError` for a field of the wrong type in an update or an open plan, and name the field."""
    _check(document, _FIELDS, where)
    for place, change in enumerate(document["changes"], start=1):
        of = f"change {place} of {where}"
        kind = change.get("change")
        if not isinstance(kind, str) or kind not in _CHANGES:
            raise ReuseError(f"{of} of the ledger is of kind {shown(kind)}, expected one of {', '.join(_CHANGES)}")
        _check(change, _CHANGES[kind], of, complete=True)
    if "region" in document:
        region = document["region"]
        _check(region, _REGION, f"the region of {where}", complete=True)
        for place, bound in enumerate(region["bounds"], start=1):
            _check(bound, _BOUND, f"limit {place} of the region of {where}", complete=True)


def _check(document: Mapping[str, Any], kinds: Mapping[str, _Kind], where: str, *, complete: bool = False) -> None:
    for name, kind in kinds.items():
        if name not in document:
            if complete:
                raise ReuseError(f"{where} of the ledger has no {name}, expected {kind.words}")
            continue
        if not kind.fits(document[name]):
            raise ReuseError(f"the {name} of {where} of the ledger is {shown(document[name])}, expected {kind.words}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    # Regions store counts as int64.
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return (type(value) is int and abs(value) < 2**63) or (type(value) is float and math.isfinite(value))


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _each(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and all(map(fits, value))


def _by_name(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(_is_text, value)) and all(map(fits, value.values()))


_TEXT = _Kind(_is_text, "a text")
_TEXTS = _Kind(_each(_is_text), "a list of texts")
_COUNT = _Kind(_is_count, "a whole number, at least 0")
_COUNT_OR_NONE = _Kind(_or_none(_is_count), "a whole number, at least 0, or null")
_NUMBER = _Kind(_is_number, "a number")
_NUMBER_OR_NONE = _Kind(_or_none(_is_number), "a number or null")
_NUMBERS_BY_NAME = _Kind(_by_name(_is_number), "numbers by domain")
_NUMBERS_OR_NONE = _Kind(_or_none(_by_name(_is_number)), "numbers by domain, or null")
_MAPPINGS = _Kind(_each(lambda value: isinstance(value, dict)), "a list of names with values")

_FIELDS = {
    "when": _TEXT,
    "why": _TEXT,
    "kind": _TEXT,
    "changes": _MAPPINGS,
    "virtual": _Kind(_or_none(_is_text), "a text or null"),
    "frozen": _NUMBERS_BY_NAME,
    "reopened": _TEXTS,
    "runs": _COUNT,
    "full_runs": _COUNT,
    "loss": _NUMBER_OR_NONE,
    "warnings": _TEXTS,
    "mixture": _NUMBERS_BY_NAME,
    "tokens": _Kind(_by_name(_is_count), "whole numbers by domain"),
    "budget": _COUNT_OR_NONE,
    "max_epochs": _NUMBERS_BY_NAME,
    "objective": _TEXTS,
    "kl": _NUMBER,
    "region": _Kind(lambda value: isinstance(value, dict), "names with values"),
}
_CHANGES = {
    "add": {"domains": _TEXTS},
    "remove": {"domains": _TEXTS},
    "revise": {"domains": _Kind(_by_name(_is_text), "new names by old ones")},
    "partition": {"parent": _TEXT, "parts": _TEXTS},
}
_REGION = {
    "domains": _TEXTS,
    "target_tokens": _COUNT_OR_NONE,
    "available": _Kind(_or_none(_by_name(_is_count)), "whole numbers by domain, or null"),
    "max_epochs": _NUMBERS_OR_NONE,
    "prior": _NUMBERS_OR_NONE,
    "cap": _NUMBERS_OR_NONE,
    "floor": _NUMBERS_OR_NONE,
    "bounds": _MAPPINGS,
}
_BOUND = {
    "name": _TEXT,
    "domains": _TEXTS,
    "coefficients": _Kind(_each(_is_number), "a list of numbers"),
    "lower": _NUMBER_OR_NONE,
    "upper": _NUMBER_OR_NONE,
}
