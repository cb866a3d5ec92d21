"""Check weights, lengths, groups and sequences of rows, and sort them by group."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._text.names import listing, places
from mixfast._text.numbers import LARGEST
from mixfast.errors import TableError
from mixfast.tables._names import SHOWN, checked_names, counted, decoded, some
from mixfast.tables._values import host_array


class RowFacts(NamedTuple):
    """The result of `describe`: each array (n,) in the order of the table, or None if it was not given."""

    order: NDArray[np.intp] | None  # how to sort the values by group; None if they are sorted already
    weight: NDArray[np.float64] | None
    length: NDArray[Any] | None
    bytes: NDArray[Any] | None
    sequence: NDArray[Any] | None
    grouped: bool
    group_names: tuple[str, ...]
    group_offsets: NDArray[np.int64]
    uniform_weight: float | None
    row_weight: NDArray[np.float64] | None


def describe(
    n_rows: int,
    n_outputs: int = 1,
    *,
    expanded: bool = False,
    weight: ArrayLike | None = None,
    length: ArrayLike | None = None,
    group: ArrayLike | None = None,
    group_names: Sequence[str] | Mapping[int, str] | None = None,
    sequence: ArrayLike | None = None,
    n_bytes: ArrayLike | None = None,
) -> RowFacts:
    """Check the arrays that describe the rows, and sort them by group.

    Vectors have one entry for each observation, or for each row (observation and output) if ``expanded``.
    """
    n = n_rows if expanded else n_rows // n_outputs
    raw = None if weight is None else _weights(weight, n)
    size = None if length is None else _lengths(length, n)
    ids = None if sequence is None else np.ascontiguousarray(_vector(sequence, "sequence", n, "iu"))
    in_bytes = None if n_bytes is None else _byte_counts(n_bytes, n)
    codes, universe = _groups(group, group_names, n)
    if n_outputs > 1 and not expanded:
        # Without ids, each observation is a sequence, so that its outputs stay together.
        ids = np.arange(n) if ids is None else ids
        raw, size, ids, codes = _each(lambda array: array.repeat(n_outputs), raw, size, ids, codes)
    order = None
    if codes is None:
        offsets = np.array([0, n_rows], dtype=np.int64)
    else:
        if np.any(codes[1:] < codes[:-1]):
            order = np.argsort(codes, kind="stable")
            raw, size, ids, in_bytes = _each(lambda array: array[order], raw, size, ids, in_bytes)
        offsets = np.concatenate(([0], np.cumsum(np.bincount(codes, minlength=len(universe))))).astype(np.int64)
    uniform_weight, row_weight = _row_weights(raw, size, offsets, n_outputs)
    if row_weight is not None:
        _refuse_weightless(row_weight, offsets, universe)
    return RowFacts(order, raw, size, in_bytes, ids, codes is not None, universe, offsets, uniform_weight, row_weight)


def _refuse_weightless(row_weight: NDArray[np.float64], offsets: NDArray[np.int64], names: Sequence[str]) -> None:
    """Raise if all rows of a group have weight 0: its loss is not defined."""
    empty = [
        str(name) for name, sum_ in zip(names, np.add.reduceat(row_weight, offsets[:-1]), strict=True) if not sum_ > 0.0
    ]
    if empty:
        raise TableError(
            f"all rows of these groups have weight 0, so their losses are not defined: {listing(empty)}; give some of their rows a "
            "weight above 0, or leave the groups out of the table"
        )


def _each(change: Callable[[NDArray[Any]], NDArray[Any]], *arrays: NDArray[Any] | None) -> list[Any]:
    return [None if array is None else change(array) for array in arrays]


def _vector(given: Any, name: str, n: int, kinds: str) -> NDArray[Any]:
    array = host_array(given, name)
    if array.shape != (n,):
        raise TableError(f"{name} has shape {array.shape}, expected ({n},): one entry for each of the {n} rows")
    if array.dtype.kind not in kinds:
        expected = "integers" if "f" not in kinds else "numbers"
        raise TableError(f"{name} must be {expected}, got {array.dtype}")
    return array


def _refuse_entries(array: NDArray[Any], allowed: NDArray[np.bool_], what: str) -> None:
    if not allowed.all():
        rows = np.flatnonzero(~allowed)
        shown = [f"row {row} ({array[row]})" for row in rows[:SHOWN].tolist()]
        raise TableError(f"{what} in {rows.size} of {array.size} rows: {counted(shown, rows.size)}")


def not_negative(given: Any, name: str, n: int) -> NDArray[np.float64]:
    """Return a vector (n,) of finite numbers of at least 0."""
    array = np.ascontiguousarray(_vector(given, name, n, "iuf"), dtype=np.float64)
    _refuse_entries(array, (array >= 0.0) & (array < math.inf), f"{name} is negative or not finite")
    return array


def _weights(given: Any, n: int) -> NDArray[np.float64]:
    """Return finite, non-negative weights with a positive sum."""
    array = not_negative(given, "weight", n)
    if not array.any():
        raise TableError("weight is 0 in every row: the loss would be 0 for every mixture")
    return array


def _lengths(given: Any, n: int) -> NDArray[Any]:
    """Return finite, positive lengths, in the type given."""
    array = np.ascontiguousarray(_vector(given, "length", n, "iuf"))
    _refuse_entries(array, (array > 0) & (array < math.inf), "length is not a positive number")
    return array


def _byte_counts(given: Any, n: int) -> NDArray[Any]:
    """Return bytes of rows, integers of at least 0, in the type given."""
    array = np.ascontiguousarray(_vector(given, "bytes", n, "iu"))
    _refuse_entries(array, array >= 0, "bytes is negative")
    return array


def _groups(
    given: ArrayLike | None, group_names: Sequence[str] | Mapping[int, str] | None, n: int
) -> tuple[NDArray[np.int32] | None, tuple[str, ...]]:
    """Return the code of each row and the names of the codes; (None, ("all",)) without groups."""
    if given is None:
        if group_names is not None:
            raise TableError("group_names are given but group is not: give the group of each row too")
        return None, ("all",)
    array = decoded(_vector(given, "group", n, "iubUSTO"), "group")
    if array.dtype.kind == "b":
        array = array.astype(np.int8)
    # Rows of a group are usually adjacent: names are looked up once for each run of equal entries.
    starts = np.concatenate(([0], np.flatnonzero(array[1:] != array[:-1]) + 1))
    values = array[starts].tolist()
    if all(isinstance(value, str) for value in values):
        found = tuple(dict.fromkeys(values))
        if isinstance(group_names, Mapping):
            raise TableError("group_names maps integer codes to names, but group already holds names")
        universe = checked_names(found if group_names is None else group_names, "group_names")
        position: dict[Any, int] = places(universe)
    elif all(isinstance(value, int) for value in values):
        if group_names is None:
            position = {value: code for code, value in enumerate(sorted(set(values)))}
            universe = tuple(f"group_{value}" for value in position)
        elif isinstance(group_names, Mapping):
            position = places(group_names)
            universe = checked_names(list(group_names.values()), "group_names")
        else:
            universe = checked_names(group_names, "group_names")
            position = places(range(len(universe)))
    else:
        raise TableError("group must be integer codes or names (str), one for each row, all of one type")
    unknown = [value for value in dict.fromkeys(values) if value not in position]
    if unknown:
        raise TableError(f"group holds {some(unknown)}, which group_names {list(universe)} do not cover")
    codes = np.array([position[value] for value in values], dtype=np.int32)
    unused = sorted(set(range(len(universe))) - set(codes.tolist()))
    if unused:
        raise TableError(f"group_names has {some([universe[code] for code in unused])}, but no row belongs to it")
    return np.repeat(codes, np.diff(starts, append=n)), universe


def _row_weights(
    raw: NDArray[np.float64] | None, length: NDArray[Any] | None, offsets: NDArray[np.int64], n_outputs: int
) -> tuple[float | None, NDArray[np.float64] | None]:
    """Return c as one number if all rows have the same, else as an array: the weight or 1/n_g, divided by the length if given."""
    if raw is None and length is None and offsets.size == 2:
        # The common case makes no numpy calls, because small tables are built in loops.
        return n_outputs / int(offsets[1]), None
    counts = np.diff(offsets)
    size: Any  # divisor of 1 or of the raw weight
    if raw is not None:
        size = 1.0
    elif (counts == counts[0]).all():
        size = float(counts[0]) / n_outputs
    else:
        size = np.repeat(counts / n_outputs, counts)
    if length is not None:
        first = length[0]
        size = size * (float(first) if (length == first).all() else length.astype(np.float64))
    with np.errstate(over="ignore", divide="ignore"):
        if raw is None:
            weight: Any = np.divide(1.0, size)
        else:
            weight = raw if isinstance(size, float) and size == 1.0 else raw / size
        total = weight.sum()
    if not 0.0 < total <= LARGEST:
        raise TableError(
            f"the row weights (weight over length) sum to {total:g}, expected a number above 0 and at most {LARGEST:g}: divide "
            "them all by the same number"
        )
    if weight.ndim == 0:
        return float(weight), None
    if (weight == weight[0]).all():
        return float(weight[0]), None
    return None, weight
