"""Split runs into those that a law is fitted to and those that it is scored on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixfast._text.audience import setting
from mixfast._text.names import shown
from mixfast.swarm._checks import SwarmError

# Shares that are rounded to 6 decimals, and then divided by their sum, differ by less from the ones that are not.
_SAME = 2e-6

Split = tuple[NDArray[np.int64], NDArray[np.int64]]


def same_mixture(ratios: NDArray[np.float64]) -> list[list[int]]:
    """Return the rows of each mixture, in order; the first rows of the mixtures are in order, too.

    Shares of one mixture may differ by `_SAME`, because one table has rounded them and another one has not.
    """
    exact: dict[bytes, list[int]] = {}
    for row, shares in enumerate(ratios):
        exact.setdefault(shares.tobytes(), []).append(row)
    groups = list(exact.values())
    w = ratios[[rows[0] for rows in groups]]
    # Sorted by a weighted sum of shares, mixtures that are nearly equal are near each other.
    weight = np.sqrt(np.arange(2.0, ratios.shape[1] + 2.0)) % 1.0
    sums, reach = w @ weight, _SAME * float(weight.sum())
    order = np.argsort(sums, kind="stable")
    begin = np.searchsorted(sums[order], sums[order] - reach)
    into = np.arange(len(groups))
    for place in np.flatnonzero(begin < np.arange(len(groups))).tolist():
        before = order[begin[place] : place]
        same = before[np.abs(w[before] - w[order[place]]).max(axis=1) <= _SAME]
        if same.size:
            into[order[place]] = into[same[0]]
    joined: dict[int, list[int]] = {}
    for group, rows in zip(into.tolist(), groups, strict=True):
        joined.setdefault(group, []).extend(rows)
    return sorted(map(sorted, joined.values()))


def mixture_of(ratios: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of each row's mixture (R,), counted from 0 in the order of their first rows."""
    out = np.empty(len(ratios), dtype=np.int64)
    for number, rows in enumerate(same_mixture(ratios)):
        out[rows] = number
    return out


def folds(ratios: NDArray[np.float64], chosen: NDArray[np.bool_], n: int, seed: int) -> list[Split]:
    """Return n splits; runs with the same mixture stay together and go to the fold that is smallest at that point."""
    groups = _shuffled(ratios, chosen, seed)
    if len(groups) < 2:
        raise SwarmError(
            "all runs that may be held out share one mixture, so folds cannot be scored; "
            f"add runs with other mixtures, or fit one law with {setting('folds', 0)}"
        )
    if not 2 <= n <= len(groups):
        raise SwarmError(
            f"folds must be at least 2 and at most {len(groups)}, the number of different mixtures among the runs "
            f"that were not chosen after looking at data; got {n}"
        )
    tests: list[list[int]] = [[] for _ in range(n)]
    for group in groups:
        min(tests, key=len).extend(group)
    return [_split(len(ratios), test) for test in tests]


def holdout(ratios: NDArray[np.float64], chosen: NDArray[np.bool_], share: float, seed: int) -> Split:
    """Return one split that tests about this share of the runs that may be tested."""
    if not 0.0 < share < 1.0:
        raise SwarmError(f"share must be above 0 and below 1, got {shown(share)}")
    groups = _shuffled(ratios, chosen, seed)
    if len(groups) < 2:
        raise SwarmError(
            "a holdout needs at least two different mixtures among the runs that were not chosen after looking at "
            f"data; of {len(ratios)} runs {int(chosen.sum())} were chosen, and the others have {len(groups)}"
        )
    wanted = max(1, round(share * sum(map(len, groups))))
    test: list[int] = []
    # One group always remains for the fit.
    for group in groups[:-1]:
        if not test or len(test) + len(group) <= wanted:
            test += group
    return _split(len(ratios), test)


def _shuffled(ratios: NDArray[np.float64], chosen: NDArray[np.bool_], seed: int) -> list[list[int]]:
    """Return the runs that may be tested, grouped by mixture, in a random order given by the seed."""
    free = np.flatnonzero(~chosen)
    groups = [free[rows].tolist() for rows in same_mixture(ratios[free])]
    return [groups[index] for index in np.random.default_rng(seed).permutation(len(groups)).tolist()]


def _split(runs: int, test: list[int]) -> Split:
    tested = np.zeros(runs, dtype=np.bool_)
    tested[test] = True
    return np.flatnonzero(~tested).astype(np.int64), np.flatnonzero(tested).astype(np.int64)
