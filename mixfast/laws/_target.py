"""Objectives over metrics: parse the accepted forms and turn them into weights by metric name.

This file also decides which metrics of a fitted law are convex functions of the mixture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.epoch_exponents import EpochExponents
from mixfast._engine.objectives.exponentials import Convex
from mixfast._text.audience import either
from mixfast._text.names import did_you_mean, listing, shown
from mixfast._text.numbers import total as exact_sum
from mixfast._text.visible import quote
from mixfast.laws._protocol import Predictor
from mixfast.swarm import find_names

Objective = str | Mapping[str, object] | None

# The mean of all metrics, each divided by its standard deviation over the runs; both spellings.
_SCALED = ("standardised", "standardized")
# Larger values of a unit indicate another scale. Scores above 1.05 are percentages, not fractions (predictions of fractions can slightly
# exceed 1). Losses above 20 are sums or not losses: in nats per token they stay below the logarithm of the vocabulary size, about 12.
_LARGEST = {"score": 1.05, "nats": 20.0}
# Percentages begin where fractions end. Sums of losses may lie on both sides of 20, so scales differ only beyond this ratio.
_RATIO = {"score": 1.0, "nats": 10.0}


@dataclass(frozen=True, eq=False)
class Target:
    """``sum_j weight_j sign_j f_j``, or, if `worst`, the largest of ``sign_j f_j`` over metrics with weight above 0.

    Signs are -1 for metrics to maximise; weights (J,) are >= 0 and sum to 1.
    """

    metrics: tuple[str, ...]
    weight: Vector
    sign: Vector
    worst: bool
    # Whether each metric is divided by its standard deviation over the runs, so that units do not matter.
    scaled: bool = False

    @property
    def used(self) -> list[int]:
        """Return positions of the metrics that count."""
        return [int(j) for j in np.flatnonzero(self.weight > 0.0)]

    def score(self, values: Matrix) -> Vector:
        """Return the objective (M,) for metrics (M, J)."""
        if self.worst:
            return (values * self.sign)[:, self.weight > 0.0].max(axis=1)
        return values @ (self.weight * self.sign)

    def spread(self, values: Matrix, sd: Matrix) -> Vector:
        """Return its standard deviation (M,) if the errors of all metrics were fully correlated, which is an upper bound."""
        if self.worst:
            return sd[np.arange(len(sd)), self._top(values)]
        return sd @ self.weight

    def slope(self, values: Matrix, gradients: NDArray[np.float64]) -> Matrix:
        """Return the gradient (M, K) of the objective from those of the metrics (M, J, K); if `worst`, of the worst metric."""
        if self.worst:
            top = self._top(values)
            return gradients[np.arange(len(top)), top] * self.sign[top][:, None]
        return np.einsum("mjk,j->mk", gradients, self.weight * self.sign)

    def _top(self, values: Matrix) -> NDArray[np.int64]:
        """Return the metric (M,) that is worst at each mixture."""
        used = np.array(self.used)
        return used[(values * self.sign)[:, used].argmax(axis=1)]


def resolve(objective: Objective, law: Predictor) -> Target:
    """Return the weights that an objective gives to the metrics of a law.

    Raises
    ------
    ValueError
        If it names unknown metrics, or if it is the mean or the worst of all metrics and these have different units.
    """
    metrics = tuple(law.metrics)
    sign = _signs(getattr(law, "direction", None), metrics)
    size = len(metrics)
    if objective is None or objective == "worst":
        return Target(metrics, _even(law, metrics, worst=objective == "worst"), sign, objective == "worst")
    if objective in _SCALED and objective not in metrics:
        return Target(metrics, _scaled(law, metrics), sign, worst=False, scaled=True)
    if isinstance(objective, str):
        chosen = _members(objective, metrics)
        weight = np.zeros(size)
        weight[chosen] = 1.0
    elif isinstance(objective, Mapping):
        weight = np.zeros(size)
        for name, given in objective.items():
            members, share = _entry(name, given, metrics)
            weight[members] += share / len(members)
    else:
        raise ValueError(
            f"objective is {type(objective).__name__}, expected None, 'worst', 'standardised', a metric's name, or a mapping of metrics or families"
        )
    total = exact_sum(weight)
    if not 0.0 < total < math.inf:
        raise ValueError(
            f"the weights of the objective must have a positive, finite sum, got {total:g}: {shown(objective)}"
        )
    return Target(metrics, weight / total, sign, False)


def _varied(law: Predictor, metrics: tuple[str, ...]) -> list[int]:
    """Return positions of the metrics that differ between runs; of all metrics if none does."""
    spread = getattr(law, "spread", {})
    return [j for j, name in enumerate(metrics) if spread.get(name) != 0.0] or list(range(len(metrics)))


def _even(law: Predictor, metrics: tuple[str, ...], *, worst: bool) -> Vector:
    """Return the same weight (J,) for every metric that varies; `ValueError` if the metrics cannot be compared."""
    counted = _varied(law, metrics)
    units = getattr(law, "unit", None)
    groups: dict[str, list[str]] = {}
    if isinstance(units, tuple):
        for j in counted:
            groups.setdefault(units[j], []).append(metrics[j])
        if len(groups) == 1 and (unit := next(iter(groups))) in _LARGEST:
            groups = _scales(law, metrics, counted, unit)
    if len(groups) > 1:
        what = "the largest" if worst else "the mean"
        by_unit = "; ".join(f"{unit}: {listing(names, limit=2)}" for unit, names in groups.items())
        one, other = [names[0] for names in groups.values()][:2]
        how = either(
            f"name one metric (objective={shown(one)}), give weights (objective={{{shown(one)}: 1, {shown(other)}: 2}}), or divide each by its standard "
            f"deviation over the runs (objective={_SCALED[0]!r})",
            f"name one metric (--objective {quote(one)}), give weights (--objective {quote(one + '=1')} --objective {quote(other + '=2')}), or "
            f"divide each by its standard deviation over the runs (--objective {_SCALED[0]})",
        )
        raise ValueError(
            f"{what} of all metrics is meaningless, because they have different units or scales ({by_unit}): {how}"
        )
    weight = np.zeros(len(metrics))
    weight[counted] = 1.0 / len(counted)
    return weight


def _scales(law: Predictor, metrics: tuple[str, ...], counted: list[int], unit: str) -> dict[str, list[str]]:
    """Group metrics of one unit by scale: below and above the largest usual value, judged by predictions at equal shares."""
    size, largest = len(law.domains), _LARGEST[unit]
    values = np.asarray(law.predict(np.full((1, size), 1.0 / size)), dtype=np.float64)[0]
    sizes = np.abs(values[counted])
    groups: dict[str, list[str]] = {}
    if sizes.max() <= _RATIO[unit] * sizes.min():
        return groups
    for j in counted:
        groups.setdefault(f"{unit} {'above' if abs(values[j]) > largest else 'up to'} {largest:g}", []).append(
            metrics[j]
        )
    return groups


def _scaled(law: Predictor, metrics: tuple[str, ...]) -> Vector:
    """Return weights (J,) that sum to 1, in proportion to 1 / standard deviation over the runs."""
    sd = getattr(law, "spread", {})
    counted = [j for j, name in enumerate(metrics) if 0.0 < sd.get(name, 0.0) < math.inf]
    if not counted:
        raise ValueError(
            f"objective {_SCALED[0]!r} divides each metric by its standard deviation over the runs, but this law has no such standard "
            "deviations above 0: fit the law again, or give weights"
        )
    weight = np.zeros(len(metrics))
    own = np.array([sd[metrics[j]] for j in counted])
    weight[counted] = own.min() / own  # 1 / own would overflow for deviations of 1e-310
    return weight / math.fsum(weight)


def _entry(name: str, given: object, metrics: tuple[str, ...]) -> tuple[list[int], float]:
    """Parse one entry: a name or pattern with a number, or a family with members[, number]. Return metrics and joint weight."""
    share: Any = 1.0
    members: Any = name
    if isinstance(given, str):
        members = given
    elif isinstance(given, Mapping):
        if not {"metrics"} <= set(given) <= {"metrics", "weight"}:
            raise ValueError(
                f"family {shown(name)} has the keys {listing(given)}, expected metrics and optionally weight"
            )
        members, share = given["metrics"], given.get("weight", 1.0)
    elif isinstance(given, tuple) and len(given) == 2 and not isinstance(given[1], str):
        members, share = given
    elif isinstance(given, Sequence):
        members = given
    else:
        share = given
    try:
        number = float(share)
    except (TypeError, ValueError):
        raise ValueError(f"the weight of {shown(name)} is {shown(share)}, expected a number >= 0") from None
    if not (math.isfinite(number) and number >= 0.0):
        raise ValueError(f"the weight of {shown(name)} is {number}, expected a finite number >= 0")
    if isinstance(members, str):
        return _members(members, metrics), number
    found: list[int] = []
    for member in members:
        found += [j for j in _members(member, metrics) if j not in found]
    if not found:
        raise ValueError(f"family {shown(name)} has no metrics; the metrics are: {listing(metrics, limit=100)}")
    return found, number


def _members(name: str, metrics: tuple[str, ...]) -> list[int]:
    """Return the position of the metric of this name, or of all metrics with the prefix before a final ``*``."""
    if name in metrics:
        return [metrics.index(name)]
    if isinstance(name, str) and name.endswith("*"):
        found = [j for j, metric in enumerate(metrics) if metric.startswith(name[:-1])]
        if found:
            return found
    meant = find_names(metrics, [name], "metric")[0] if isinstance(name, str) else None
    if meant is not None:
        return [metrics.index(meant)]
    raise ValueError(
        f"objective names {shown(name)}, which the law does not know{did_you_mean(name, metrics)}; its metrics are: {listing(metrics, 100)}"
    )


def _signs(direction: Mapping[str, str] | Sequence[str] | None, metrics: tuple[str, ...]) -> Vector:
    """Return +1 for metrics to minimise, -1 for metrics to maximise."""
    if direction is None:
        return np.ones(len(metrics))
    named = direction if isinstance(direction, Mapping) else dict(zip(metrics, direction, strict=True))
    wrong = [f"{name}={shown(named[name])}" for name in metrics if named.get(name, "min") not in ("min", "max")]
    if wrong:
        raise ValueError(f"direction must be 'min' or 'max', got {listing(wrong)}")
    return np.array([-1.0 if named.get(name, "min") == "max" else 1.0 for name in metrics])


def has_slopes(law: object) -> bool:
    """Whether a law knows its gradients. A fit of trees or of a foreign regressor has the method, but no gradients."""
    return bool(getattr(law, "smooth", hasattr(law, "slopes")))


def convex_form(law: Predictor, target: Target) -> tuple[Convex | None, list[str]]:
    """Return the convex form of the metrics that count; or None and the names of those that have no convex form."""
    size, k = len(target.metrics), len(law.domains)
    a, linear, on, constant = np.zeros((size, k)), np.zeros((size, k)), np.zeros(size), np.zeros(size)
    rate = getattr(law, "rate", None)
    # A domain without tokens has an infinite rate, and no share.
    epochs = None if rate is None else EpochExponents.none(size, np.where(np.isfinite(rate), rate, 0.0))
    owner: dict[int, tuple[Any, list[int], list[int]]] = {}
    find = getattr(law, "law_of", None)
    for j in target.used:
        fitted, column = find(target.metrics[j]) if find is not None else (law, j)
        entry = owner.setdefault(id(fitted), (fitted, [], []))
        entry[1].append(j)
        entry[2].append(column)
    other: list[str] = []
    in_epochs = False
    for fitted, rows, columns in owner.values():
        sign = target.sign[rows]
        if getattr(fitted, "name", "") == "log_linear" and np.asarray(fitted.a).shape[1] == k and (sign > 0.0).all():
            a[rows], on[rows] = np.asarray(fitted.a)[columns], 1.0
            constant[rows] = np.exp(np.asarray(fitted.gamma)[columns])
        elif epochs is not None and _convex_in_epochs(fitted, columns, sign):
            on[rows], constant[rows] = np.exp(fitted.b0[columns]), sign * fitted.floor[columns]
            epochs.put(
                rows,
                gain=fitted.a[columns],
                harm=fitted.h[columns],
                rho=fitted.rho[columns],
                p=fitted.p[columns],
                tau=fitted.tau[columns],
            )
            in_epochs = True
        elif (plane := _plane(fitted, columns, k)) is not None:
            constant[rows], linear[rows] = sign * plane[0], sign[:, None] * plane[1]
        else:
            other += [target.metrics[j] for j in rows]
    return (None if other else Convex(a, on, linear, constant, epochs if in_epochs else None)), other


def _convex_in_epochs(fitted: Any, columns: list[int], sign: Vector) -> bool:
    """Whether these metrics of a fitted law are laws in epochs that are convex if they are minimised or maximised as asked."""
    return (
        getattr(fitted, "name", "") == "epochs"
        and bool(fitted.convex)
        and bool((np.asarray(fitted.sign)[columns] == sign).all())
    )


def _plane(fitted: Any, columns: list[int], k: int) -> tuple[Vector, Matrix] | None:
    """Return intercepts and coefficients of a law that is linear in the mixture alone; None for other laws."""
    if getattr(fitted, "name", "") != "linear" or not hasattr(fitted, "slopes"):
        return None
    even = np.full((1, k), 1.0 / k)
    try:
        values, gradients = fitted.slopes(even)
    except ValueError:  # a law that was fitted with features expects more columns
        return None
    values, gradients = np.asarray(values)[0, columns], np.asarray(gradients)[0, columns]
    return (values - gradients @ even[0], gradients) if gradients.shape == (len(columns), k) else None
