"""The metrics of runs: select some of them, combine them into sums, or say which way is better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import listing, places, shown
from mixfast.errors import AlignmentError
from mixfast.swarm._checks import SwarmError, checked_metrics
from mixfast.swarm._names import match_names


class Measured(NamedTuple):
    """Metrics with their values (R, J), their directions and their units, as the fields of a `Swarm`."""

    metrics: tuple[str, ...]
    values: NDArray[np.float64]
    direction: tuple[str, ...]
    unit: tuple[str, ...]


def select(held: Measured, metrics: str | Iterable[str]) -> Measured:
    """Return these metrics only, in that order; see `Swarm.select`."""
    given = [metrics] if isinstance(metrics, str) else list(metrics)
    at = places(held.metrics)
    meant = [[name] if name in at else match_names(held.metrics, [name], "metric") for name in given]
    names = checked_metrics(name for several in meant for name in several)
    columns = [at[name] for name in names]
    return Measured(
        names,
        held.values[:, columns],
        tuple(held.direction[column] for column in columns),
        tuple(held.unit[column] for column in columns),
    )


def combine(held: Measured, metrics: Mapping[str, Mapping[str, float]]) -> Measured:
    """Return weighted sums of the metrics; see `Swarm.combine`."""
    names = checked_metrics(metrics)
    values, directions, units = np.zeros((len(held.values), len(names))), [], []
    at = places(held.metrics)
    for column, (name, parts) in enumerate(metrics.items()):
        if unknown := [part for part in parts if part not in at]:
            raise AlignmentError(
                f"{shown(name)} is a sum with {listing(unknown)}, and there is no such metric; the metrics are: {listing(held.metrics)}"
            )
        columns = [at[part] for part in parts]
        ways = {held.direction[one] for one in columns}
        if len(ways) != 1:
            raise SwarmError(
                f"{shown(name)} adds metrics for which more is better and metrics for which less is better: {listing(parts)}; combine them separately"
            )
        values[:, column] = held.values[:, columns] @ np.array(list(parts.values()), dtype=np.float64)
        directions.append(ways.pop())
        units.append(" and ".join(dict.fromkeys(held.unit[one] for one in columns)))
    return Measured(names, values, tuple(directions), tuple(units))


def better(held: Measured, more: str | Iterable[str], less: str | Iterable[str]) -> tuple[Measured, set[str]]:
    """Return the metrics with the direction of these set, and which were named; see `Swarm.better`."""
    up, down = (
        match_names(held.metrics, [names] if isinstance(names, str) else list(names), "metric")
        for names in (more, less)
    )
    raised, lowered = set(up), set(down)
    if both := [name for name in up if name in lowered]:
        raise SwarmError(f"{listing(both)} is in both more and less; name it in one of them")
    way = dict(zip(held.metrics, held.direction, strict=True)) | dict.fromkeys(up, "max") | dict.fromkeys(down, "min")
    # The default unit is that of losses; a metric for which more is better is a score.
    unit = (
        "score" if name in raised and given == "nats" else given
        for name, given in zip(held.metrics, held.unit, strict=True)
    )
    return held._replace(direction=tuple(way[name] for name in held.metrics), unit=tuple(unit)), raised | lowered
