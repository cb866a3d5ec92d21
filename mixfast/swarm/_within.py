"""Mixtures among the columns of a table: which columns, told by a common beginning or end of their names, sum to 1 in every run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from mixfast._engine.backend.arrays import Matrix
from mixfast.mixture import sum_to_one
from mixfast.swarm._names import SEPARATORS


@dataclass(frozen=True)
class Within:
    """Columns that form one mixture for each run.

    Attributes
    ----------
    pattern : str
        What the names, and no others of the table, match, such as ``weight_*``.
    columns : tuple of int
    """

    pattern: str
    columns: tuple[int, ...]


def mixtures_within(names: Sequence[str], values: Matrix) -> list[Within]:
    """Return the groups of two and more columns (R, C) that share a beginning or an end of their names and sum to 1, without overlap."""
    groups: dict[tuple[int, ...], str] = {}
    for pattern, belongs in _patterns(names):
        columns = tuple(at for at, name in enumerate(names) if belongs(name))
        # Of several patterns for the same columns the longest says most.
        if len(columns) > 1 and len(pattern) > len(groups.get(columns, "")) and _is_mixture(values[:, columns]):
            groups[columns] = pattern
    found: list[Within] = []
    for columns, pattern in sorted(groups.items(), key=lambda item: (item[0], -len(item[0]))):
        if not any(set(columns) & set(one.columns) for one in found):
            found.append(Within(pattern, columns))
    return found


def block_within(values: Matrix) -> tuple[int, ...] | None:
    """Return the first two or more neighbouring columns (R, C) that sum to 1 in every run; None where there are none."""
    count = values.shape[1]
    fits = [bool(np.isfinite(one).all() and one.min() >= 0.0 and one.max() <= 1.0) for one in values.T]
    for start in range(count):
        total = np.zeros(len(values))
        for end in range(start, count):
            if not fits[end]:
                break
            total = total + values[:, end]
            if end > start and sum_to_one(total).all():
                return tuple(range(start, end + 1))
    return None


def _patterns(names: Sequence[str]) -> list[tuple[str, Callable[[str], bool]]]:
    """Every beginning and end of a name, cut at a separator, as a pattern and as a test of names."""
    starts = {name[: at + 1] for name in names for at, mark in enumerate(name[:-1]) if mark in SEPARATORS}
    ends = {name[at:] for name in names for at, mark in enumerate(name) if at and mark in SEPARATORS}
    return [
        *((f"{start}*", partial(_begins, start)) for start in sorted(starts)),
        *((f"*{end}", partial(_ends, end)) for end in sorted(ends)),
    ]


def _begins(start: str, name: str) -> bool:
    return name.startswith(start)


def _ends(end: str, name: str) -> bool:
    return name.endswith(end)


def _is_mixture(values: Matrix) -> bool:
    return bool(np.isfinite(values).all() and (values >= 0.0).all() and sum_to_one(values.sum(axis=1)).all())
