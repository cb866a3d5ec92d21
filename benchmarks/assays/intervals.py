"""Paired differences between two methods, with an interval over target assays.

The unit is the target: the splits of one target share most of their molecules, so they are averaged first. The interval is that of Student's t over the
means of the targets. It covers the choice of targets and, within each, the choice of splits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Paired:
    """Mean difference over targets, half of its 95 % interval, and how many targets have a difference above and below 0."""

    mean: float
    half: float
    above: int
    below: int
    targets: int

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ± {self.half:.3f}"


def paired(one: Mapping[tuple[str, int], float], other: Mapping[tuple[str, int], float]) -> Paired:
    """Return one minus other; the keys are (target, split), and both must have the same."""
    if one.keys() != other.keys():
        missing = sorted(one.keys() ^ other.keys())
        raise ValueError(f"only one of both methods has (target, split) {missing[0]}, of {len(missing)} such keys")
    return over_targets((target, one[target, split] - other[target, split]) for target, split in one)


def over_targets(values: Iterable[tuple[str, float]]) -> Paired:
    """Return the mean and interval of values that each belong to a target."""
    by_target: dict[str, list[float]] = {}
    for target, value in values:
        by_target.setdefault(target, []).append(value)
    means = np.array([np.mean(own) for own in by_target.values()])
    return Paired(
        float(means.mean()), half_interval(means), int((means > 0.0).sum()), int((means < 0.0).sum()), len(means)
    )


def half_interval(means: np.ndarray[tuple[int, ...], np.dtype[np.float64]], level: float = 0.95) -> float:
    """Return half of the interval of the mean of independent values; NaN for fewer than two."""
    from scipy.stats import t

    if len(means) < 2:
        return float("nan")
    return float(t.ppf(0.5 + level / 2.0, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means)))
