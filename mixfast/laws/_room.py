"""Refuse a fit whose matrices do not fit in memory before time is spent on it."""

from __future__ import annotations

from mixfast._text.memory import too_little_for
from mixfast._text.numbers import size

# Matrices of this size that a fit and its error bars need besides those that it keeps.
_WORK = 4


def require_room(what: str, numbers: str, width: int, metrics: int) -> None:
    """Raise `ValueError` if a matrix (C, C) for each of J metrics does not fit in memory.

    `what` are the matrices, and `numbers` what their rows and columns stand for, both in the plural; `width` is C, `metrics` is J.
    """
    needed = (metrics + _WORK) * width * width * 8
    if (room := too_little_for(needed)) is not None:
        raise ValueError(
            f"the {what} of {width} {numbers} for each of {metrics} metrics take {size(needed)}, and {size(room)} of memory are free: "
            "put domains together, or fit fewer metrics at a time"
        )
