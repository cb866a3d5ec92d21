"""Judge collected metrics: which way is better and who says so, and which runs diverged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import listing, matching, misspelt
from mixfast.readers.results._contents import ResultsError
from mixfast.swarm import in_doubt, told_direction, told_unit

# A run has diverged if at least half of its metrics are worse than the median by more robust standard deviations than this.
_FAR = 8.0
# Smallest number of runs that give a meaningful median and deviation.
_FEWEST = 5
# Standard deviation of a normal distribution, in units of its median absolute deviation.
_TO_DEVIATION = 1.4826


@dataclass
class Directions:
    """Which way is better for each metric.

    Attributes
    ----------
    ways, units : dict of str to str
        By metric, where the caller, a file or the name tells them.
    by : dict of str to str
        Where the direction comes from: "given" (by the caller), "file" or "name".
    unknown : list of str
        Metrics without a known direction.
    doubted : dict of str to str
        Metrics for which the opposite direction may be right, and why.
    notes : list of str
        Contradictions between files and names.
    """

    ways: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    by: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    doubted: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def pick(names: Sequence[str], wanted: str, known: Sequence[str], what: str) -> list[str]:
    """Return the names that a name or a pattern matches; if none does, those of ``known``; if none does either, raise."""
    found = matching(names, wanted) or matching(known, wanted)
    if not found:
        raise ResultsError(
            f"{what} names a metric that was not found: {misspelt([wanted], known)}; the metrics are: {listing(known)}"
        )
    return found


def directions(
    names: Sequence[str],
    told: dict[str, set[str]],
    units: dict[str, set[str]],
    values: NDArray[np.float64],
    more: Iterable[str],
    less: Iterable[str],
) -> Directions:
    """Return the direction and unit of each metric, as the caller gives them, else as the files say, else as its name tells.

    Parameters
    ----------
    told, units : dict of str to set of str
        What the files say about each metric.
    values : (R, J) float64
    """
    out = Directions()
    up = [name for one in more for name in pick(names, one, names, "more")]
    down = [name for one in less for name in pick(names, one, names, "less")]
    if both := sorted(set(up) & set(down)):
        raise ResultsError(f"more and less both match {listing(both)}; a metric has one direction")
    disagree: list[str] = []
    given = {**dict.fromkeys(up, "max"), **dict.fromkeys(down, "min")}
    for name, column in zip(names, values.T, strict=True):
        files = told.get(name, set())
        way, by = given.get(name), "given"
        if len(files) > 1:
            disagree.append(name)
        if way is None and len(files) == 1:
            (way,), by = files, "file"
        if way is None:
            way, by = told_direction(name), "name"
        if way is None:
            out.unknown.append(name)
        else:
            out.ways[name], out.by[name] = way, by
            if by != "given" and (why := in_doubt(column, way, assumed=False, unit=told_unit(name))):
                out.doubted[name] = why
        found = units.get(name, set())
        unit = next(iter(found)) if found else told_unit(name)
        if unit is not None:
            out.units[name] = unit
    against = [
        name for name in names if out.by.get(name) == "file" and told_direction(name) not in (None, out.ways[name])
    ]
    if against:
        out.notes.append(
            f"files and names of metrics disagree on which way is better, and the direction of the files is used: {listing(against)}"
        )
    if disagree:
        out.notes.append(f"the files disagree on which way is better: {listing(disagree)}")
    return out


def diverged(values: NDArray[np.float64], ways: Sequence[str | None]) -> list[tuple[int, float]]:
    """Return the rows of runs that diverged, each with the median of its robust z-scores.

    Parameters
    ----------
    values : (R, J) float64
        NaN for missing values.
    ways : sequence of "min", "max" or None, length J
        For None, deviations in both directions count.
    """
    if len(values) < _FEWEST or not values.shape[1]:
        return []
    scores = np.full(values.shape, np.nan)
    for at, (column, way) in enumerate(zip(values.T, ways, strict=True)):
        known = column[~np.isnan(column)]
        if len(known) < _FEWEST:
            continue
        middle = np.median(known)
        deviation = _TO_DEVIATION * np.median(np.abs(known - middle))
        if deviation > 0.0:
            far = (column - middle) / deviation
            scores[:, at] = far if way == "min" else -far if way == "max" else np.abs(far)
    out = []
    for row, own in enumerate(scores):
        known = own[~np.isnan(own)]
        if len(known) and (score := float(np.median(known))) > _FAR:
            out.append((row, score))
    return out
