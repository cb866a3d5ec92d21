"""Objectives over metrics: parse the accepted forms and turn them into weights by metric name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.audience import either, setting
from mixfast._text.names import did_you_mean, listing, matching, positions, shown
from mixfast._text.numbers import total as exact_sum
from mixfast._text.visible import quote
from mixfast.laws._protocol import Predictor
from mixfast.laws._scales import check_scale, factors, standardised
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

    Signs are -1 for metrics to maximise; weights (J,) are >= 0 and sum to 1. If `worst` and a scale is given, the largest of
    ``factor_j (sign_j f_j - origin_j)``: the change from a reference mixture, in the unit of the scale.
    """

    metrics: tuple[str, ...]
    weight: Vector
    sign: Vector
    worst: bool
    # Whether each metric is divided by a scale, so that units do not matter.
    scaled: bool = False
    factor: Vector | None = None
    origin: Vector | None = None

    @property
    def used(self) -> list[int]:
        """Return positions of the metrics that count."""
        return [int(j) for j in np.flatnonzero(self.weight > 0.0)]

    def score(self, values: Matrix) -> Vector:
        """Return the objective (M,) for metrics (M, J)."""
        if self.worst:
            return self._levels(values)[:, self.weight > 0.0].max(axis=1)
        return values @ (self.weight * self.sign)

    def spread(self, values: Matrix, sd: Matrix) -> Vector:
        """Return its standard deviation (M,) if the errors of all metrics were fully correlated, which is an upper bound."""
        if self.worst:
            top = self._top(values)
            return sd[np.arange(len(sd)), top] * self._factors[top]
        return sd @ self.weight

    def slope(self, values: Matrix, gradients: NDArray[np.float64]) -> Matrix:
        """Return the gradient (M, K) of the objective from those of the metrics (M, J, K); if `worst`, of the worst metric."""
        if self.worst:
            top = self._top(values)
            return gradients[np.arange(len(top)), top] * (self.sign * self._factors)[top][:, None]
        return np.einsum("mjk,j->mk", gradients, self.weight * self.sign)

    def _top(self, values: Matrix) -> NDArray[np.int64]:
        """Return the metric (M,) that is worst at each mixture."""
        used = np.array(self.used)
        return used[self._levels(values)[:, used].argmax(axis=1)]

    @property
    def _factors(self) -> Vector:
        return np.ones(self.sign.size) if self.factor is None else self.factor

    def _levels(self, values: Matrix) -> Matrix:
        """Return what the worst metric is the largest of, (M, J)."""
        signed: Matrix = values * self.sign
        return signed if self.factor is None or self.origin is None else (signed - self.origin) * self.factor


def resolve(
    objective: Objective, law: Predictor, *, scale: str | None = None, reference: Vector | None = None
) -> Target:
    """Return the weights that an objective gives to the metrics of a law.

    Parameters
    ----------
    objective
        As for `propose`.
    law : fitted law
    scale : {"spread", "noise", "reference"}, optional
        What each metric is divided by.
    reference : (J,), optional
        Metrics that the law predicts at the reference mixture; needed for the scale "reference", and for "worst" with any scale.

    Raises
    ------
    ValueError
        If it names unknown metrics, if it is the mean or the worst of all metrics and these have different units and no scale, or if the
        scale is unknown for a metric that counts.
    """
    check_scale(scale)
    metrics = tuple(law.metrics)
    sign = _signs(getattr(law, "direction", None), metrics)
    size = len(metrics)
    if objective in _SCALED and objective not in metrics:
        if scale is not None:
            raise ValueError(
                f"the objective {objective!r} is the mean of all metrics with {setting('scale', 'spread')}: leave out one of the two"
            )
        return Target(metrics, standardised(law), sign, worst=False, scaled=True)
    if objective is None or objective == "worst":
        worst = objective == "worst"
        if scale is None:
            return Target(metrics, _even(law, metrics, worst=worst), sign, worst)
        weight = np.zeros(size)
        weight[_varied(law, metrics)] = 1.0
    elif isinstance(objective, str):
        chosen = members(objective, metrics)
        weight = np.zeros(size)
        weight[chosen] = 1.0
    elif isinstance(objective, Mapping):
        weight = np.zeros(size)
        for name, given in objective.items():
            chosen, share = _entry(name, given, metrics)
            weight[chosen] += share / len(chosen)
    else:
        raise ValueError(
            f"objective is {type(objective).__name__}, expected None, 'worst', 'standardised', a metric's name, or a mapping of metrics or families"
        )
    total = exact_sum(weight)
    if not 0.0 < total < math.inf:
        raise ValueError(
            f"the weights of the objective must have a positive, finite sum, got {total:g}: {shown(objective)}"
        )
    weight = weight / total
    if scale is None:
        return Target(metrics, weight, sign, False)
    used = np.flatnonzero(weight > 0.0).tolist()
    factor = factors(scale, law, used, reference)
    if objective == "worst":
        if reference is None:
            raise ValueError(f"the objective 'worst' with {setting('scale', scale)} needs a reference mixture")
        return Target(metrics, weight, sign, True, True, factor / factor[used].mean(), reference * sign)
    weight = weight * factor
    return Target(metrics, weight / math.fsum(weight), sign, False, True)


def names_metrics(objective: Objective, metrics: tuple[str, ...]) -> bool:
    """Whether an objective names its metrics; otherwise it takes all of them, as "worst" does."""
    return isinstance(objective, Mapping) or objective in metrics or objective not in (None, "worst", *_SCALED)


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


def _entry(name: str, given: object, metrics: tuple[str, ...]) -> tuple[list[int], float]:
    """Parse one entry: a name or pattern with a number, or a family with members[, number]. Return metrics and joint weight."""
    share: Any = 1.0
    chosen: Any = name
    if isinstance(given, str):
        chosen = given
    elif isinstance(given, Mapping):
        if not {"metrics"} <= set(given) <= {"metrics", "weight"}:
            raise ValueError(
                f"family {shown(name)} has the keys {listing(given)}, expected metrics and optionally weight"
            )
        chosen, share = given["metrics"], given.get("weight", 1.0)
    elif isinstance(given, tuple) and len(given) == 2 and not isinstance(given[1], str):
        chosen, share = given
    elif isinstance(given, Sequence):
        chosen = given
    else:
        share = given
    try:
        number = float(share)
    except (TypeError, ValueError):
        raise ValueError(f"the weight of {shown(name)} is {shown(share)}, expected a number >= 0") from None
    if not (math.isfinite(number) and number >= 0.0):
        raise ValueError(f"the weight of {shown(name)} is {number}, expected a finite number >= 0")
    if isinstance(chosen, str):
        return members(chosen, metrics), number
    found: list[int] = []
    for member in chosen:
        found += [j for j in members(member, metrics) if j not in found]
    if not found:
        raise ValueError(f"family {shown(name)} has no metrics; the metrics are: {listing(metrics, limit=100)}")
    return found, number


def members(name: str, metrics: tuple[str, ...], what: str = "objective") -> list[int]:
    """Return the position of the metric of this name, or of all metrics that match it as a pattern: ``*``, ``?`` and ``[...]``.

    Raises
    ------
    ValueError
        If there is none; the message begins with `what`.
    """
    if isinstance(name, str) and (found := matching(metrics, name)):
        return positions(found, metrics)
    meant = find_names(metrics, [name], "metric")[0] if isinstance(name, str) else None
    if meant is not None:
        return [metrics.index(meant)]
    raise ValueError(
        f"{what} names {shown(name)}, which the law does not know{did_you_mean(name, metrics)}; its metrics are: {listing(metrics, 100)}"
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
