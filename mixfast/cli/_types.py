"""Types of option values for argparse: whole numbers, positive numbers, shares, seeds and budgets."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TypeVar

from mixfast._text.names import shown
from mixfast._text.numbers import count, number
from mixfast.cli._refusals import InputError

_T = TypeVar("_T")


def checked(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """Return a type for argparse that keeps the message of a ValueError."""

    def convert(value: str) -> _T:
        try:
            return parse(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def whole(least: int, most: float = math.inf, what: str = "a whole number") -> Callable[[str], int]:
    """Return a type for argparse that takes whole numbers within limits."""

    def convert(value: str) -> int:
        try:
            found = int(value)
        except ValueError:
            found = least - 1
        if not least <= found <= most:
            limits = f"of at least {least}" if math.isinf(most) else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"got {shown(value)}, expected {what} {limits}")
        return found

    return convert


def _real(above: bool, what: str) -> Callable[[str], float]:
    """Return a type for argparse that takes finite numbers above 0, or at least 0."""

    def convert(value: str) -> float:
        found = number(value)
        if not (math.isfinite(found) and (found > 0.0 if above else found >= 0.0)):
            raise InputError(f"got {shown(value)}, expected {what}")
        return found

    return checked(convert)


seed = whole(0, 2**32 - 1)

positive = _real(True, "a number above 0")

not_negative = _real(False, "a number of at least 0")


def folds(value: str) -> int:
    """Return the number of folds; 0 means that no runs are held out."""
    found = whole(0)(value)
    if found == 1:
        raise argparse.ArgumentTypeError("got '1', expected 0 for none, or 2 or more")
    return found


def share_between(value: str) -> float:
    """Return a share between 0 and 1, both excluded."""
    found = positive(value)
    if not found < 1.0:
        raise argparse.ArgumentTypeError(f"got {shown(value)}, expected a share between 0 and 1")
    return found


def budget(value: str) -> int:
    """Return the tokens of a training run, at least 1."""
    try:
        tokens = count(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if tokens < 1:
        raise argparse.ArgumentTypeError("a budget must be at least one token")
    return tokens
