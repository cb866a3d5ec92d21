"""Recognise token counts, and percentages without a sign, in place of shares, if all rows of the table agree."""

from __future__ import annotations

import re
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
# Counts of one budget have equal sums up to rounding, as a fraction.
_SAME_SUM = 1e-5
# A column below this share in every run is a setting, such as a seed, or has another unit, such as millions.
_LEAST_SHARE = 1e-5
# The first and the last word of a name; what may be counted beside tokens; and names of phases.
_FIRST_WORD = re.compile(r"(?P<word>[a-z]+(?:[_-]?\d+)?)[\s_/:.-]+(?P<stem>.+)\Z")
_LAST_WORD = re.compile(r"(?P<stem>.+?)[\s_/:.-]+(?P<word>[a-z]+(?:[_-]?\d+)?)\Z")
_OF_TEXT = ("token", "doc", "document", "byte", "char", "character", "word", "sample", "example", "sequence", "row")
_UNITS = frozenset([*_OF_TEXT, *(f"{one}s" for one in _OF_TEXT)])
_PHASE = re.compile(r"(?:p|phase|stage|period|part)[_-]?\d+\Z")


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
    if found := total_column(names, values, within=_SAME_AMOUNT):
        return f"{shown(found)} is the sum of the other columns", found
    small = (values / values.sum(axis=1)[:, None]).max(axis=0)
    if (tiny := np.flatnonzero((small > 0.0) & (small < _LEAST_SHARE))).size:
        name = names[tiny[0]]
        return (
            f"{shown(name)} is below {_LEAST_SHARE:.3%} in every run, as a setting or a count in another unit is",
            name,
        )
    if len(values) > 1 and (doubt := _doubt_of_runs(names, values))[0]:
        return doubt
    return (told, names[0]) if (told := counted_twice(names)) else ("", "")


def _doubt_of_runs(names: Sequence[str], values: Matrix) -> tuple[str, str]:
    """Return the same for what two and more runs tell."""
    numbering = (np.diff(values, axis=0) == 1.0).all(axis=0)
    if len(values) > 2 and numbering.any():
        name = names[int(numbering.argmax())]
        return f"{shown(name)} numbers the runs", name
    constant = np.flatnonzero(np.ptp(values, axis=0) == 0.0)
    if constant.size and values[0, constant[0]] > 0.0:
        name = names[constant[0]]
        return f"{shown(name)} is {values[0, constant[0]]:g} in every run, as a setting of the runs is", name
    rest = values.sum(axis=1)[:, None] - values
    spread = np.ptp(rest, axis=0)
    alone = (spread <= _SAME_SUM * rest.max(axis=0)) & (np.ptp(values, axis=0) > 3.0 * spread)
    if len(names) > 2 and alone.any():
        name = names[int(alone.argmax())]
        return f"without {shown(name)} all runs have the same sum", name
    parts = groups_within(names, values, _is_constant_sum)
    if parts and len(parts[0].columns) < values.shape[1]:
        name = parts[0].pattern
        return f"the columns {name} alone have the same sum in every run, as one of several mixtures has", name
    return "", ""


def setting_beside_percentages(names: Sequence[str], values: Matrix) -> str | None:
    """Return a column (R, K) that is tiny in every run, and without which the sums are as close to 100; None if there is none."""
    over = values.sum(axis=1) - 100.0
    tiny = (values > 0.0).any(axis=0) & (values < 100.0 * _LEAST_SHARE).all(axis=0)
    without = np.abs(over[:, None] - values).mean(axis=0)
    found = np.flatnonzero(tiny & (without <= np.abs(over).mean()))
    return names[found[0]] if found.size else None


def total_column(names: Sequence[str], values: Matrix, *, within: float = _ROUNDING) -> str | None:
    """Return the column (R, K) that is the sum of all others in every row, or exactly of all but one; None if there is none.

    The sum may differ by the fraction ``within``, as the tokens that a run was planned to have.
    """
    if values.shape[1] < 3:
        return None
    # In some runs one domain may be all.
    largest = int(values.mean(axis=0).argmax()) if np.isfinite(values).all() else 0
    total = values[:, largest]
    if not ((total > 0.0) & (total == values.max(axis=1))).all():
        return None
    others = np.delete(values, largest, axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        over = others.sum(axis=1) - total
        same = bool((np.abs(over) <= within * total).all())
        # One more column may be the sum of a part, or a setting.
        of_most = (np.abs(others - over[:, None]) <= _ROUNDING * total[:, None]).all(axis=0)
    several = values.shape[1] > 3 and len(values) > 1
    return names[largest] if same or (several and of_most.any()) else None


def counted_twice(names: Sequence[str]) -> str:
    """Return why columns of these names are not the tokens of one domain each: phases, or documents beside tokens; empty if they may be."""
    for cut in (_FIRST_WORD, _LAST_WORD):
        parts = [cut.match(name.strip().lower()) for name in names]
        if not all(parts):
            continue
        stems: dict[str, set[str]] = {}
        for part in parts:
            if part is not None:
                stems.setdefault(part["word"], set()).add(part["stem"])
        words = list(stems)
        counts = all(word in _UNITS for word in words)
        if not counts and not all(_PHASE.match(word) for word in words):
            continue
        if len(words) > 1 and set.intersection(*stems.values()):
            return f"the names have {listing(words)} for the same domains"
        if counts and len(words) == 1 and words[0] not in ("token", "tokens"):
            return f"their names say that they count {words[0]}"
    return ""


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
