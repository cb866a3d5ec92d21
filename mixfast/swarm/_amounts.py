"""Recognise token counts, and percentages without a sign, in place of shares, if all rows of the table agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.names import counted, listing, shown
from mixfast.mixture import sum_to_one
from mixfast.swarm._within import groups_within

PERCENTAGES, COUNTS = "percentages", "counts of tokens"
# Smaller whole numbers may be weights, counts of files, or settings of the runs.
_FEWEST = 100.0
# Sums are equal up to rounding if they differ by less than this fraction.
_SAME_AMOUNT = 5e-3
_ROUNDING = 1e-9


def kind_of_amounts(values: Matrix) -> str | None:
    """Return what all rows (R, K) hold, `PERCENTAGES` or `COUNTS`; None if they hold shares, or do not agree."""
    if values.shape[1] < 2 or not len(values) or not np.isfinite(values).all() or (values < 0.0).any():
        return None
    if _percentages(values).all():
        # Shares with another column that is 99 also sum to 100.
        beside = sum_to_one(values.sum(axis=1)[:, None] - values).all(axis=0)
        return None if beside.any() else PERCENTAGES
    return COUNTS if _counts(values).all() else None


def is_mixture(values: Matrix) -> bool:
    """Return whether the rows (R, C) are shares, percentages or counts of tokens, all of one kind."""
    with np.errstate(over="ignore", invalid="ignore"):
        shares = values.size > 0 and bool((values >= 0.0).all() and sum_to_one(values.sum(axis=1)).all())
    return shares or kind_of_amounts(values) is not None


def in_shares(where: str, values: Matrix) -> tuple[Matrix, str]:
    """Convert amounts (R, K) to shares and return a note on it; return shares, and rows that do not agree, unchanged without a note."""
    kind = kind_of_amounts(values)
    if kind == PERCENTAGES:
        return (
            values / 100.0,
            f"{where}: shares read as percentages, because they sum to 100 in every run: divided by 100",
        )
    if kind == COUNTS:
        sums = values.sum(axis=1)
        span = f"{sums.min():,.0f}" if np.ptp(sums) == 0.0 else f"{sums.min():,.0f} to {sums.max():,.0f}"
        return values / sums[:, None], (
            f"{where}: shares read as counts of tokens, because all are whole numbers of {_FEWEST:g} and more: every run divided "
            f"by its sum, {span}"
        )
    return values, ""


def doubt_of_counts(names: Sequence[str], values: Matrix) -> tuple[str, str]:
    """Return why columns (R, K) of counts may not all be domains, and the first such column; both are empty if there is no doubt.

    The sum of shares must be 1, which reveals a column too many. Counts have no known sum.
    """
    if found := total_column(names, values):
        return f"{shown(found)} is the sum of the other columns", found
    if len(values) < 2:
        return "", ""
    constant = np.flatnonzero(np.ptp(values, axis=0) == 0.0)
    if constant.size and values[0, constant[0]] > 0.0:
        name = names[constant[0]]
        return f"{shown(name)} is {values[0, constant[0]]:g} in every run, as a setting of the runs is", name
    parts = groups_within(names, values, _is_constant_sum)
    if parts and len(parts[0].columns) < values.shape[1]:
        name = parts[0].pattern
        return f"the columns {name} alone have the same sum in every run, as one of several mixtures has", name
    return "", ""


def total_column(names: Sequence[str], values: Matrix) -> str | None:
    """Return the column (R, K) that is the sum of all others in every row; None if there is none."""
    if values.shape[1] < 3:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        others = values.sum(axis=1)[:, None] - values
        same = (np.abs(values - others) <= _ROUNDING * np.abs(others)).all(axis=0) & (others > 0.0).all(axis=0)
    return names[int(same.argmax())] if same.any() else None


def disagreement(values: Matrix) -> str:
    """Return the number of rows (R, K) that look like each kind of amounts, for a message; empty if all look alike."""
    sums = values.sum(axis=1)
    kinds = {"shares": sum_to_one(sums), PERCENTAGES: _percentages(values), COUNTS: _counts(values)}
    found = {what: int(rows.sum()) for what, rows in kinds.items() if rows.any()}
    rest = len(values) - sum(found.values())
    if not found.keys() - {"shares"} or (len(found) == 1 and not rest):
        return ""
    told = [f"{counted(count, 'run')} {'looks' if count == 1 else 'look'} like {what}" for what, count in found.items()]
    return listing([*told, *([f"{rest:,} like neither"] if rest else [])])


def _percentages(values: Matrix) -> NDArray[np.bool_]:
    return sum_to_one(values.sum(axis=1) / 100.0)


def _counts(values: Matrix) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        whole = (values == np.rint(values)) & ((values == 0.0) | (values >= _FEWEST))
    return whole.all(axis=1) & (values > 0.0).any(axis=1)


def _is_constant_sum(values: Matrix) -> bool:
    sums = values.sum(axis=1)
    return bool(np.ptp(sums) <= _SAME_AMOUNT * sums.max() and np.ptp(values, axis=0).any() and sums.max() > 0.0)
