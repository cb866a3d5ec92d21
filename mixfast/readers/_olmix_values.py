"""Read values in the YAML files of Olmix strictly: known keys only, and valid numbers."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from mixfast._text.names import listing, shown
from mixfast._text.numbers import LARGEST
from mixfast.errors import MixfastError

# What YAML 1.1 takes for null, true and false.
_NULL = ("", "~", "null")
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class OlmixConfigError(MixfastError, ValueError):
    """A configuration of Olmix is malformed or asks for something that mixfast does not support."""


def known_keys(given: Any, known: Collection[str], where: str) -> dict[str, Any]:
    """Return a mapping without the keys that are null; refuse unknown keys."""
    if not isinstance(given, Mapping):
        raise OlmixConfigError(f"{where} must be a mapping with some of {listing(sorted(known))}, got {shown(given)}")
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f" (did you mean {shown(near[0])}?)" if near else ""
            names = listing(sorted(known), limit=len(known))
            raise OlmixConfigError(f"{where} has the unknown key {shown(name)}{hint}; known are: {names}")
    return {name: value for name, value in given.items() if not is_null(value)}


def is_null(given: Any) -> bool:
    """Whether a value is null."""
    return given is None or (isinstance(given, str) and given.lower() in _NULL)


def is_off(given: Any) -> bool:
    """Whether an option is off, as if it were not given."""
    return not given or (isinstance(given, str) and (given.lower() in _NULL or _TRUTH.get(given.lower()) is False))


def mapping(given: Any) -> dict[str, Any]:
    """Return a mapping with names as keys."""
    if not isinstance(given, Mapping):
        raise OlmixConfigError(f"expected a mapping of name to number, got {shown(given)}")
    return {str(name): value for name, value in given.items()}


def number(given: Any, what: str) -> float:
    """Return a non-negative number; text such as 7/52.0, as in obj_weights, is a fraction."""
    parts = str(given).split("/")
    try:
        numbers = [float(part) for part in parts]
        value = numbers[0] / numbers[1] if len(numbers) == 2 else numbers[0]
    except (ValueError, IndexError, ZeroDivisionError):
        value = math.nan
    if len(parts) > 2 or not 0.0 <= value <= LARGEST:
        raise OlmixConfigError(f"{what} must be a number of at least 0, up to {LARGEST:g}, got {shown(given)}")
    return value


def whole(given: Any, what: str) -> int:
    """Return a whole number of at least 0."""
    try:
        value = Decimal(given)
    except (InvalidOperation, TypeError, ValueError):
        value = Decimal("NaN")
    if not value.is_finite() or not 0 <= value < 2**63 or value != value.to_integral_value():
        raise OlmixConfigError(f"{what} must be a whole number of at least 0, got {shown(given)}")
    return int(value)


def truth(given: Any, what: str) -> bool:
    """Return true or false; null is false."""
    truth = False if given is None else _TRUTH.get(str(given).lower())
    if truth is None:
        raise OlmixConfigError(f"{what} must be true or false, got {shown(given)}")
    return truth
