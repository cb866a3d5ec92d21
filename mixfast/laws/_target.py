"""Objectives over metrics: the forms in which they may be written, turned into weights by name.

Also the one place that knows which metrics of a fitted law are convex functions of the mixture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.exponentials import Convex
from mixfast._text.audience import either
from mixfast._text.names import did_you_mean, listing, shown
from mixfast._text.numbers import total as exact_sum
from mixfast._text.visible import quote
from mixfast.laws._protocol import Predictor
from mixfast.swarm import find_names

Objective = str | Mapping[str, object] | None

# The mean of all metrics, each divided by its standard deviation over the runs.
_SCALED = ("standardised", "standardized")
# Larger numbers of these units are of another scale: scores are percentages, not fractions (whose predictions may be a little above 1),
# and losses are sums or no losses; in nats per token they stay below the logarithm of the vocabulary, about 12.
_LARGEST = {"score": 1.05, "nats": 20.0}
# Percentages begin where fractions end. Sums of losses may lie on both sides of 20: the scale is another only beyond this ratio.
_RATIO = {"score": 1.0, "nats": 10.0}


@dataclass(frozen=True, eq=False)
class Target:
    """``sum_j weight_j sign_j f_j``, or where `worst` the largest of ``sign_j f_j`` over metrics of weight above 0.

    Signs are -1 for metrics of which more is better; weights (J,) are >= 0 and sum to 1.
    """

    metrics: tuple[str, ...]
    weight: Vector
    sign: Vector
    worst: bool

    @property
    def used(self) -> list[int]:
        """Positions of the metrics that count."""
        return [int(j) for j in np.flatnonzero(self.weight > 0.0)]

    def score(self, values: Matrix) -> Vector:
        """The objective (M,) of metrics (M, J)."""
        if self.worst:
            return (values * self.sign)[:, self.weight > 0.0].max(axis=1)
        return values @ (self.weight * self.sign)

    def spread(self, values: Matrix, sd: Matrix) -> Vector:
        """Its standard deviation (M,) if the errors of all metrics were fully correlated, which is the largest possible."""
        if self.worst:
            return sd[np.arange(len(sd)), self._top(values)]
        return sd @ self.weight

    def slope(self, values: Matrix, gradients: NDArray[np.float64]) -> Matrix:
        """Gradient (M, K) of the objective from those of the metrics (M, J, K); of the largest metric where `worst`."""
        if self.worst:
            top = self._top(values)
            return gradients[np.arange(len(top)), top] * self.sign[top][:, None]
        return np.einsum("mjk,j->mk", gradients, self.weight * self.sign)

    def _top(self, values: Matrix) -> NDArray[np.int64]:
        """The metric (M,) that is worst at each mixture."""
        used = np.array(self.used)
        return used[(values * self.sign)[:, used].argmax(axis=1)]


def resolve(objective: Objective, law: Predictor) -> Target:
    """The weights that an objective gives to a law's metrics.

    Raises
    ------
    ValueError
        If it names other metrics; or if it is the mean or the worst of all metrics and these have different units.
    """
    metrics = tuple(law.metrics)
    sign = _signs(getattr(law, "direction", None), metrics)
    size = len(metrics)
    if objective is None or objective == "worst":
        return Target(metrics, _even(law, metrics, worst=objective == "worst"), sign, objective == "worst")
    if objective in _SCALED and objective not in metrics:
        return Target(metrics, _scaled(law, metrics), sign, False)
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
    """Positions of the metrics that are not one and the same in all runs; of all metrics where every one is."""
    spread = getattr(law, "spread", {})
    return [j for j, name in enumerate(metrics) if spread.get(name) != 0.0] or list(range(len(metrics)))


def _even(law: Predictor, metrics: tuple[str, ...], *, worst: bool) -> Vector:
    """The same weight (J,) for every metric that varies; `ValueError` where their numbers cannot be compared."""
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
            f"{what} of all metrics means nothing, for they have different units or scales ({by_unit}): {how}"
        )
    weight = np.zeros(len(metrics))
    weight[counted] = 1.0 / len(counted)
    return weight


def _scales(law: Predictor, metrics: tuple[str, ...], counted: list[int], unit: str) -> dict[str, list[str]]:
    """Metrics of one unit by their scale: up to its largest usual number, and above, as the law predicts them of equal shares."""
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
    """Weights (J,) in proportion to 1 / standard deviation over the runs, with sum 1."""
    sd = getattr(law, "spread", {})
    counted = [j for j, name in enumerate(metrics) if 0.0 < sd.get(name, 0.0) < math.inf]
    if not counted:
        raise ValueError(
            f"objective {_SCALED[0]!r} divides each metric by its standard deviation over the runs, which this law does not know, or which "
            "is 0: fit it again, or give weights"
        )
    weight = np.zeros(len(metrics))
    own = np.array([sd[metrics[j]] for j in counted])
    weight[counted] = own.min() / own  # not 1 / own, which overflows for deviations of 1e-310
    return weight / math.fsum(weight)


def _entry(name: str, given: object, metrics: tuple[str, ...]) -> tuple[list[int], float]:
    """Metrics and their joint weight from one entry: name or pattern and number, or family and members[, number]."""
    share: Any = 1.0
    members: Any = name
    if isinstance(given, str):
        members = given
    elif isinstance(given, Mapping):
        if not {"metrics"} <= set(given) <= {"metrics", "weight"}:
            raise ValueError(
                f"family {shown(name)} has the keys {listing(given)}, expected metrics and, if wanted, weight"
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
    """Positions of the metric of this name, or of all that begin with what stands before a final ``*``."""
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
    """+1 for metrics to minimise, -1 for metrics to maximise."""
    if direction is None:
        return np.ones(len(metrics))
    named = direction if isinstance(direction, Mapping) else dict(zip(metrics, direction, strict=True))
    wrong = [f"{name}={shown(named[name])}" for name in metrics if named.get(name, "min") not in ("min", "max")]
    if wrong:
        raise ValueError(f"direction must be 'min' or 'max', got {listing(wrong)}")
    return np.array([-1.0 if named.get(name, "min") == "max" else 1.0 for name in metrics])


def has_slopes(law: object) -> bool:
    """Whether a law knows its gradients; a fit of trees, or of a regressor from elsewhere, has the method but not them."""
    return bool(getattr(law, "smooth", hasattr(law, "slopes")))


def convex_form(law: Predictor, target: Target) -> tuple[Convex | None, list[str]]:
    """The convex form of the metrics that count; None, and the names of those that have none, where there are such."""
    size, k = len(target.metrics), len(law.domains)
    a, linear, on, constant = np.zeros((size, k)), np.zeros((size, k)), np.zeros(size), np.zeros(size)
    owner: dict[int, tuple[Any, list[int], list[int]]] = {}
    find = getattr(law, "law_of", None)
    for j in target.used:
        fitted, column = find(target.metrics[j]) if find is not None else (law, j)
        entry = owner.setdefault(id(fitted), (fitted, [], []))
        entry[1].append(j)
        entry[2].append(column)
    other: list[str] = []
    for fitted, rows, columns in owner.values():
        sign = target.sign[rows]
        if getattr(fitted, "name", "") == "log_linear" and np.asarray(fitted.a).shape[1] == k and (sign > 0.0).all():
            a[rows], on[rows] = np.asarray(fitted.a)[columns], 1.0
            constant[rows] = np.exp(np.asarray(fitted.gamma)[columns])
        elif (plane := _plane(fitted, columns, k)) is not None:
            constant[rows], linear[rows] = sign * plane[0], sign[:, None] * plane[1]
        else:
            other += [target.metrics[j] for j in rows]
    return (None if other else Convex(a, on, linear, constant)), other


def _plane(fitted: Any, columns: list[int], k: int) -> tuple[Vector, Matrix] | None:
    """Intercepts and coefficients of a law that is linear in the mixture alone; None for others."""
    if getattr(fitted, "name", "") != "linear" or not hasattr(fitted, "slopes"):
        return None
    even = np.full((1, k), 1.0 / k)
    try:
        values, gradients = fitted.slopes(even)
    except ValueError:  # one that was fitted with features wants more columns
        return None
    values, gradients = np.asarray(values)[0, columns], np.asarray(gradients)[0, columns]
    return (values - gradients @ even[0], gradients) if gradients.shape == (len(columns), k) else None
