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
    def sizes(self) -> Vector:
        """What violations of guards (J,) are divided by to compare them: 1 for a tolerance, else the metric's standard deviation over the runs."""
        out = np.ones(self.target.weight.size)
        spread = getattr(self.law, "spread", None) or {}
        for guard in self.guards:
            if guard.kind != "tolerance" and 0.0 < spread.get(guard.metric, 0.0) < math.inf:
                out[guard.index] = spread[guard.metric]
        return out

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
