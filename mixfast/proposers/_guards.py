"""Guards and goals: what each metric must keep or reach, from the forms in which users write it to limits on predicted values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._text.audience import either
from mixfast._text.names import listing, misspelt, places, shown
from mixfast.laws import Target, members

Amount = float | str
# A comparison, a number, its unit and what it is relative to; all but the number are optional.
_FORM = re.compile(r"\s*(<=|>=)?\s*([-+]?[0-9.][0-9._]*(?:[eE][-+]?[0-9]+)?)\s*(sd|%)?\s*(better|worse)?\s*")
_ALL, _PATTERN = "*", "*?["


@dataclass(frozen=True)
class Guard:
    """One metric with the value that it must keep or reach.

    Attributes
    ----------
    metric : str
    index : int
        Position of the metric in the law.
    sign : float
        -1 for a metric to maximise, else 1.
    kind : str
        "guard", "goal" or "tolerance".
    given : str
        As the user wrote it.
    limit : float
        The largest value of the metric that is allowed, or the smallest if more is better.
    reference : float
        Its predicted value at the reference mixture.
    sd : float or None
        Seed standard deviation of the metric; None if it is not known.
    of_runs : float or None
        The standard deviation over the runs, if the amount is in standard deviations and the seed noise is not known.
    """

    metric: str
    index: int
    sign: float
    kind: str
    given: str
    limit: float
    reference: float
    sd: float | None = None
    of_runs: float | None = None

    @property
    def words(self) -> str:
        """The limit in words."""
        return f"at {'most' if self.sign > 0.0 else 'least'} {self.limit:.6g}"


class _Room(NamedTuple):
    """A parsed amount: its number, unit ("", "sd" or "%"), comparison ("", "<=" or ">=") and direction ("", "better" or "worse")."""

    number: float
    unit: str
    comparison: str
    direction: str


class _Metrics:
    """The metrics of a law, with what the forms of guards refer to."""

    def __init__(self, law: Any, target: Target, at: Vector) -> None:
        self.law, self.names, self.sign, self.at = law, target.metrics, target.sign, at
        self.noise: Mapping[str, float] = getattr(law, "noise", None) or {}
        self.spread: Mapping[str, float] = getattr(law, "spread", None) or {}

    def size(self, j: int, room: _Room, what: str) -> tuple[float, float | None]:
        """Return an amount in the metric's unit, and the standard deviation over the runs if that is what it refers to."""
        name = self.names[j]
        if room.unit == "%":
            if self.at[j] == 0.0:
                raise ValueError(
                    f"{what}: the predicted value at the reference is 0, so a percentage of it is 0: give a number in the unit of the metric"
                )
            return room.number / 100.0 * abs(float(self.at[j])), None
        if room.unit == "":
            return room.number, None
        if _known(self.noise.get(name)):
            return room.number * self.noise[name], None
        if _known(self.spread.get(name)):
            return room.number * self.spread[name], self.spread[name]
        raise ValueError(
            f"{what}: neither the seed noise nor the standard deviation over the runs is known: give a number in the unit of the metric"
        )

    def guard(self, j: int, kind: str, given: object, limit: float, of_runs: float | None = None) -> Guard:
        name = self.names[j]
        sd = self.noise.get(name)
        return Guard(
            metric=name,
            index=j,
            sign=float(self.sign[j]),
            kind=kind,
            given=given if isinstance(given, str) else f"{given:g}",
            limit=limit,
            reference=float(self.at[j]),
            sd=sd if _known(sd) else None,
            of_runs=of_runs,
        )


def guards_of(
    law: Any, target: Target, given: Mapping[str, Amount], at: Vector, targets: list[int]
) -> tuple[Guard, ...]:
    """Return one guard for each metric that the mapping names or matches.

    Parameters
    ----------
    law, target
    given : mapping of metric, pattern or ``*`` to amount
        How much worse than at the reference each may be.
    at : (J,)
        Metrics predicted at the reference.
    targets : list of int
        Metrics that ``*`` does not match.

    Raises
    ------
    ValueError
        Unknown metrics, malformed amounts, or a pattern without a metric.
    """
    known, found = _Metrics(law, target, at), []
    for j, (name, amount) in _chosen("guard", given, target.metrics, targets).items():
        what = either(f"guard[{shown(name)}] is {shown(amount)}", f"--guard {name}={amount}")
        room = _parsed(amount)
        if room is None or room.comparison or room.direction == "better" or not 0.0 <= room.number < math.inf:
            raise ValueError(
                f"{what}, expected how much worse than at the reference the metric may be: a number >= 0 in its unit, '1 sd' or '2 %'"
            )
        size, of_runs = known.size(j, room, f"{what} for {target.metrics[j]}")
        found.append(known.guard(j, "guard", amount, float(at[j] + target.sign[j] * size), of_runs))
    return tuple(found)


def _typed(name: str, amount: Amount) -> str:
    """Return a goal as the command takes it."""
    text = str(amount)
    return f"{name}{text.replace(' ', '', 1)}" if text.startswith(("<", ">")) else f"{name}={text}"


def goals_of(law: Any, target: Target, given: Mapping[str, Amount], at: Vector) -> tuple[Guard, ...]:
    """Return one goal for each metric that the mapping names or matches; parameters and errors as for `guards_of`."""
    known, found = _Metrics(law, target, at), []
    for j, (name, amount) in _chosen("goals", given, target.metrics, []).items():
        metric, sign = target.metrics[j], float(target.sign[j])
        right = "<=" if sign > 0.0 else ">="
        what = either(f"goals[{shown(name)}] is {shown(amount)}", f"--reach {shown(_typed(name, amount))}")
        room = _parsed(amount)
        if room is None or not math.isfinite(room.number) or (room.direction and room.number < 0.0):
            raise ValueError(
                f"{what}, expected a value as '{right} 0.9', or a change from near as '2 % better', '1 sd better' or '0.01 worse'"
            )
        if room.comparison not in ("", right):
            more = "less" if sign > 0.0 else "more"
            raise ValueError(f"{what}, but {more} is better for {metric}: its goal begins with {right}")
        if not room.direction:
            if room.unit:
                moved = f"'{room.number:g} {room.unit} better'"
                number = f"'{right} {room.number:g}'"
                if room.unit == "%":
                    number += f" or '{right} {room.number / 100.0:g}'"
                raise ValueError(
                    f"{what}: write the value to reach without a unit, as {number}, or a change from near, as {moved}"
                    if room.comparison
                    else f"{what}: say whether that is better or worse, as {moved}"
                )
            found.append(known.guard(j, "goal", amount, room.number))
            continue
        size, of_runs = known.size(j, room, f"{what} for {metric}")
        change = -size if room.direction == "better" else size
        found.append(known.guard(j, "goal", amount, float(at[j] + sign * change), of_runs))
    return tuple(found)


def tolerated(law: Any, target: Target, tolerance: float | Mapping[str, float], at: Vector) -> tuple[Guard, ...]:
    """Return the guards of `tolerance`: amounts by metric name, or one number for all metrics that count."""
    if isinstance(tolerance, Mapping):
        unknown = [name for name in tolerance if name not in target.metrics]
        if unknown:
            raise ValueError(
                f"tolerance names {misspelt(unknown, target.metrics)}; the law's metrics are: {listing(target.metrics, 100)}"
            )
        place = places(target.metrics)
        room = {place[name]: float(amount) for name, amount in tolerance.items()}
    else:
        room = dict.fromkeys(target.used, float(tolerance))
    wrong = [f"{target.metrics[j]}={amount}" for j, amount in room.items() if not amount >= 0.0]
    if wrong:
        raise ValueError(f"tolerance must be >= 0, in the unit of each metric, got {listing(wrong)}")
    known = _Metrics(law, target, at)
    return tuple(
        known.guard(j, "tolerance", amount, float(at[j] + target.sign[j] * amount))
        for j, amount in room.items()
        if amount < math.inf
    )


def _known(sd: float | None) -> bool:
    return sd is not None and 0.0 < sd < math.inf


def _parsed(given: object) -> _Room | None:
    """Parse an amount or a goal; None if it is malformed."""
    if isinstance(given, (int, float, np.number)) and not isinstance(given, bool):
        return _Room(float(given), "", "", "")
    match = _FORM.fullmatch(given) if isinstance(given, str) else None
    if match is None:
        return None
    comparison, number, unit, direction = (part or "" for part in match.groups())
    try:
        return _Room(float(number), unit, comparison, direction)
    except ValueError:
        return None


def _chosen(
    what: str, given: Mapping[str, Amount], metrics: tuple[str, ...], targets: list[int]
) -> dict[int, tuple[str, Amount]]:
    """Return the entry of each metric, in the metrics' order: its name before the longest pattern, and ``*`` last."""
    if not isinstance(given, Mapping) or not given:
        came = "empty" if isinstance(given, Mapping) else type(given).__name__
        raise ValueError(f"{what} is {came}, expected a mapping of metrics, or patterns such as 'code_*', to amounts")
    found: dict[int, tuple[str, Amount]] = {}
    exact: dict[int, str] = {}
    for name in sorted(given, key=lambda name: len(str(name))):
        if name == _ALL and _ALL not in metrics:
            every = [j for j in range(len(metrics)) if j not in targets]
            if not every:
                raise ValueError(
                    f"{what} names '*', all metrics that the objective does not name, but the objective names all: name metrics or patterns"
                )
        else:
            every = members(name, metrics, what)
            if name in metrics or not set(_PATTERN) & set(name):
                j = every[0]
                if j in exact:
                    raise ValueError(f"{what} names {metrics[j]} twice: {shown(exact[j])} and {shown(name)}")
                exact[j] = name
                continue
        found.update(dict.fromkeys(every, (name, given[name])))
    found.update({j: (name, given[name]) for j, name in exact.items()})
    return dict(sorted(found.items()))
