"""Find mixtures among the columns of a table: columns with a common beginning or end of their names that sum to 1 in every run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mixfast._engine.backend.arrays import Matrix
from mixfast.mixture import sum_to_one
from mixfast.swarm._names import SEPARATORS

# Tolerance for rounding of running sums, and for sums of shares.
_ABOUT = 1e-2
# Most separators, from each end, at which a name is cut.
_MOST_CUTS = 16


@dataclass(frozen=True)
class Within:
    """Columns that form one mixture for each run.

    Attributes
    ----------
    pattern : str
        A pattern such as ``weight_*`` that matches these names and no others in the table.
    columns : tuple of int
    """

    pattern: str
    columns: tuple[int, ...]


def mixtures_within(names: Sequence[str], values: Matrix) -> list[Within]:
    """Return the groups of two and more columns (R, C) that share a beginning or an end of their names and sum to 1, without overlap."""
    return groups_within(names, values, _is_mixture)


def groups_within(names: Sequence[str], values: Matrix, fits: Callable[[Matrix], bool]) -> list[Within]:
    """Return the groups of two and more columns (R, C) that share a beginning or an end of their names and fit, without overlap."""
    groups: dict[tuple[int, ...], str] = {}
    for pattern, found_at in _patterns(names).items():
        columns = tuple(found_at)
        # Of several patterns for the same columns, the longest is the most specific.
        if len(columns) > 1 and len(pattern) > len(groups.get(columns, "")) and fits(values[:, columns]):
            groups[columns] = pattern
    found: list[Within] = []
    taken: set[int] = set()
    for columns, pattern in sorted(groups.items(), key=lambda item: (item[0], -len(item[0]))):
        if taken.isdisjoint(columns):
            taken.update(columns)
            found.append(Within(pattern, columns))
    return found


def block_within(values: Matrix) -> tuple[int, ...] | None:
    """Return the first two or more neighbouring columns (R, C) that sum to 1 in every run; None if there are none."""
    count = values.shape[1]
    fits = [bool(np.isfinite(one).all() and one.min() >= 0.0 and one.max() <= 1.0) for one in values.T]
    start = 0
    while start < count:
        end = next((at for at in range(start, count) if not fits[at]), count)
        # Sums of neighbours are differences of running sums, which increase: binary search finds those that are about 1 in the first run.
        running = np.zeros((end - start + 1, len(values)))
        np.cumsum(values[:, start:end].T, axis=0, out=running[1:])
        low, high = (
            np.searchsorted(running[:, 0], running[:, 0] + 1.0 - _ABOUT),
            np.searchsorted(running[:, 0], running[:, 0] + 1.0 + _ABOUT, side="right"),
        )
        for at, (first, last) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            whole = sum_to_one(running[max(first, at + 2) : last] - running[at]).all(axis=1)
            if whole.any():
                return tuple(range(start + at, start + max(first, at + 2) + int(whole.argmax())))
        start = end + 1
    return None


def _patterns(names: Sequence[str]) -> dict[str, list[int]]:
    """Return every beginning and end of a name, cut at a separator, as a pattern, with the columns that match it."""
    starts: dict[str, list[int]] = {}
    ends: dict[str, list[int]] = {}
    for column, name in enumerate(names):
        marks = [at for at, mark in enumerate(name) if mark in SEPARATORS]
        for at in marks[:_MOST_CUTS]:
            if at < len(name) - 1:
                starts.setdefault(f"{name[: at + 1]}*", []).append(column)
        for at in marks[-_MOST_CUTS:]:
            if at:
                ends.setdefault(f"*{name[at:]}", []).append(column)
    return dict(sorted(starts.items())) | dict(sorted(ends.items()))


def _is_mixture(values: Matrix) -> bool:
    return bool(np.isfinite(values).all() and (values >= 0.0).all() and sum_to_one(values.sum(axis=1)).all())
