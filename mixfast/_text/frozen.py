"""Immutable objects that are equal to their copies, also after pickle, deepcopy or transfer to another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


class Frozen:
    """A frozen dataclass with arrays: compared by content, with read-only arrays in its copies too.

    Pickle and deepcopy create writeable arrays, which are made read-only again. Fields with a leading underscore are
    not compared: they describe how something was computed, or follow from the other fields.
    """

    __slots__ = ()

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, locked(value))

    def _compared(self) -> dict[str, Any]:
        """Return the compared fields by name."""
        return {one.name: getattr(self, one.name) for one in fields(self) if not one.name.startswith("_")}  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, type(self)) and type(other) is type(self) and same(self._compared(), other._compared())

    def __hash__(self) -> int:
        # Hash names and numbers only: they usually differ, and hashing arrays is slow.
        known = (value for value in self._compared().values() if isinstance(value, (str, int, tuple)))
        return hash((type(self).__name__, *(value for value in known if _is_plain(value))))


def _is_plain(value: object) -> bool:
    return not isinstance(value, tuple) or all(isinstance(item, str) for item in value)


def locked(value: Any) -> Any:
    """Make an array, or the arrays in a tuple, read-only; return anything else unchanged."""
    if type(value) is np.ndarray and value.flags.writeable:
        value = value.view()
        value.setflags(write=False)
    elif isinstance(value, tuple) and any(isinstance(item, np.ndarray) for item in value):
        items = [locked(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal: arrays by shape and entries, with NaN equal to NaN, and containers of such values."""
    if one is other:
        return True
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        alike = type(one) is type(other) or (isinstance(one, np.ndarray) and isinstance(other, np.ndarray))
        return alike and one.shape == other.shape and one.dtype == other.dtype and _equal(one, other)
    if type(one) is not type(other):
        return False
    if hasattr(one, "device") and hasattr(one, "equal"):  # it is a tensor
        return bool(one.device == other.device and one.equal(other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == other or (one != one and other != other)
    if isinstance(one, (Frozen, Mapping)):
        return bool(one == other)
    if callable(getattr(one, "state", None)):  # it is a law
        return same(one.state(), other.state())
    if is_dataclass(one):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    return bool(one == other)


def _equal(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
