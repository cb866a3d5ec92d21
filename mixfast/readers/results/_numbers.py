"""Read the values of results files as numbers, missing numbers or text."""

from __future__ import annotations

import math
from typing import Any

# Text that stands for a missing number.
_MISSING = frozenset(["", "n/a", "na", "nan", "none", "null", "-"])


def as_number(value: Any) -> float | None:
    """Return a value of a file as a number: NaN for a missing one ("N/A", null, NaN), None if it is text or a structure.

    >>> as_number(0.5), as_number("N/A"), as_number("piqa"), as_number(True)
    (0.5, nan, None, None)
    """
    if value is None:
        return math.nan
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if isinstance(value, str):
        bare = value.strip()
        if bare.lower() in _MISSING:
            return math.nan
        try:
            return float(bare)
        except ValueError:
            return None
    return None


def as_step(value: Any) -> int | None:
    """Return a training step, or None if the value is none."""
    found = as_number(value)
    return int(found) if found is not None and math.isfinite(found) and found >= 0.0 else None
