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
from mixfast._text.names import listing, misspelt
from mixfast.errors import AlignmentError
from mixfast.laws import Target
from mixfast.mixture import Mixture
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
    most : (J,) or None
        Largest value of each signed metric, infinite for metrics without a limit; None if no metric is limited.
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
    most: Vector | None

    @cached_property
    def reach(self) -> Reach:
        """The region over the domains that may have a share."""
        return reach(self.region, self.weight)

    @property
    def kl(self) -> Kl:
        """The KL term over the usable domains."""
        return Kl(self.weight, self.reach.prior)

    @property
    def counted(self) -> Target:
        """The target in which every metric with a limit also counts, to check whether all of them are convex."""
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


def most_of(law: Any, target: Target, tolerance: float | Mapping[str, float], reference: Vector) -> Vector:
    """Return the largest allowed value of each signed metric (J,)."""
    values = np.asarray(law.predict(reference[None, :]), dtype=np.float64)[0] * target.sign
    most = np.full(values.size, math.inf)
    if isinstance(tolerance, Mapping):
        unknown = [name for name in tolerance if name not in target.metrics]
        if unknown:
            raise ValueError(
                f"tolerance names {misspelt(unknown, target.metrics)}; the law's metrics are: {listing(target.metrics, 100)}"
            )
        room = {target.metrics.index(name): float(amount) for name, amount in tolerance.items()}
    else:
        room = dict.fromkeys(target.used, float(tolerance))
    wrong = [f"{target.metrics[j]}={amount}" for j, amount in room.items() if not amount >= 0.0]
    if wrong:
        raise ValueError(f"tolerance must be >= 0, in the unit of each metric, got {listing(wrong)}")
    for j, amount in room.items():
        most[j] = values[j] + amount
    return most
