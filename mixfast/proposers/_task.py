"""The input of a proposal: law, region and objective, checked and in the law's order of domains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._engine.objectives.kl import Kl
from mixfast.errors import AlignmentError
from mixfast.laws import Target
from mixfast.mixture import Mixture
from mixfast.proposers._guards import Guard
from mixfast.region import Reach, Region, reach

# The smallest unit of a metric, as a fraction of its value: metrics that hardly vary are not known to more digits.
_ROUNDED = 1e-3


@dataclass(frozen=True, eq=False)
class Task:
    """A checked problem: law, region, target and settings.

    Attributes
    ----------
    law : fitted law or None
        None for convex metrics that belong to no fitted law.
    region : Region
        Domains that no run varied are fixed in it.
    target : Target
    weight : float
        Weight of the KL term.
    kappa : float
        Number of predictive standard deviations added to the objective.
    seed : int
        Seed of a search.
    tol : float
        Gap to reach in an exact solve.
    held : tuple of str
        Domains that are fixed.
    start : (K,) or None
        A mixture near the expected answer.
    guards : tuple of Guard
        The values that metrics must keep or reach; at most one for each metric.
    base : str
        The region's prior in words.
    """

    law: Any
    region: Region
    target: Target
    weight: float
    kappa: float
    seed: int
    tol: float
    held: tuple[str, ...]
    start: Vector | None
    guards: tuple[Guard, ...] = ()
    base: str = "the prior"

    @cached_property
    def reach(self) -> Reach:
        """The region over the domains that may have a share."""
        return reach(self.region, self.weight)

    @property
    def kl(self) -> Kl:
        """The KL term over the usable domains."""
        return Kl(self.weight, self.reach.prior)

    @cached_property
    def most(self) -> Vector | None:
        """Largest value of each signed metric (J,), infinite for metrics without a guard; None if there are no guards."""
        if not self.guards:
            return None
        most = np.full(self.target.weight.size, math.inf)
        for guard in self.guards:
            most[guard.index] = guard.sign * guard.limit
        return most

    @cached_property
    def scales(self) -> Vector:
        """The unit (J,) in which the value of each metric with a guard is compared; a power of 2, so that dividing by it rounds nothing.

        It is near the standard deviation over the runs, or near the value at the reference if that is not known.
        """
        out = np.ones(self.target.weight.size)
        spread = getattr(self.law, "spread", None) or {}
        for guard in self.guards:
            values = max(abs(guard.reference), abs(guard.limit))
            varies = spread.get(guard.metric, math.nan)
            out[guard.index] = _power_of_2(max(varies, _ROUNDED * values) if 0.0 < varies < math.inf else values)
        return out

    @cached_property
    def unit(self) -> float:
        """What the objective varies by over the runs, or its value at the prior if that is not known: a power of 2; 1 without an objective."""
        spread, target = getattr(self.law, "spread", None) or {}, self.target
        sizes = np.array([spread.get(target.metrics[j], math.nan) for j in target.used])
        if not np.isfinite(sizes).all():
            return _power_of_2(abs(float(target.score(self.law.predict(self.region.prior[None]))[0])))
        if target.worst:
            factors = 1.0 if target.factor is None else target.factor[target.used]
            return _power_of_2(float((sizes * factors).max(initial=0.0)))
        return _power_of_2(float(target.weight[target.used] @ sizes))

    @cached_property
    def sizes(self) -> Vector:
        """What violations of guards (J,) are divided by to compare them: one number for tolerances, else the scale of each metric."""
        if any(guard.kind == "tolerance" for guard in self.guards):
            indices = [guard.index for guard in self.guards]
            return np.full(self.target.weight.size, self.scales[indices].max())
        return self.scales

    @property
    def counted(self) -> Target:
        """The target in which every metric with a guard also counts, to check whether all of them are convex."""
        if self.most is None:
            return self.target
        weight = np.where(np.isfinite(self.most), 1.0, self.target.weight)
        return Target(self.target.metrics, weight, self.target.sign, self.target.worst)

    def inner(self) -> Vector:
        """Return a start over the usable domains in which no share is 0."""
        near = self.region.prior if self.start is None else self.start
        return np.ascontiguousarray(self.reach.restrict(self.reach.inner_point(near)))


def shares_of(what: str, given: Mapping[str, float], domains: tuple[str, ...]) -> Vector:
    """Return shares (K,) in the law's order."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{what} is {type(given).__name__}, expected a Mixture or a mapping of domain to share")
    if set(given) != set(domains):
        raise AlignmentError.between(what, given, "the law", domains)
    return Mixture(domains, [float(given[name]) for name in domains]).weights


def _power_of_2(size: float) -> float:
    """Return the power of 2 nearest to a size in logarithm; 1 for a size of 0 or one that is not finite."""
    return 2.0 ** round(math.log2(size)) if 0.0 < size < math.inf else 1.0
