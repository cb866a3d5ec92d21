"""The part of a region that a solver works on: the domains that may have a share, and a point at which all of them have one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Columns, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._text.names import listing
from mixfast.errors import InfeasibleError
from mixfast.region._region import UNREACHABLE, Region


@dataclass(frozen=True, eq=False)
class Reach:
    """A region over the C of its K domains that may have a share.

    Attributes
    ----------
    region : Region
        As given, with a cap of 0 for domains that the KL term rules out.
    usable : (C,) int32 or None
        Positions of the domains that may have a share; None for all.
    limits : Limits
        Limits of the usable domains.
    """

    region: Region
    usable: Columns | None
    limits: Limits

    @property
    def prior(self) -> Vector:
        """Prior shares (C,) of the usable domains."""
        return self.restrict(self.region.prior)

    def restrict(self, shares: Vector) -> Vector:
        """Return the entries (C,) of the usable domains, from those of all domains (K,)."""
        return shares if self.usable is None else shares[self.usable]

    def spread(self, shares: Vector) -> Vector:
        """Return the shares of all domains (K,), from those of the usable ones (C,)."""
        if self.usable is None:
            return shares
        out = np.zeros(self.region.n_domains)
        out[self.usable] = shares
        return out

    def places(self, names: Iterable[str]) -> dict[str, int]:
        """Return the positions of names among the usable domains; other names are left out."""
        usable = range(self.region.n_domains) if self.usable is None else self.usable.tolist()
        place = {self.region.domains[k]: i for i, k in enumerate(usable)}
        return {name: place[name] for name in names if name in place}

    def inner_point(self, near: Vector) -> Vector:
        """Return a mixture (K,) of the region close to `near` (K,), in which every usable domain has a share."""
        region = self.region
        w = region.project(near)
        may = self.spread(np.ones(self.limits.low.size)) > 0.0
        missing = np.flatnonzero(may & (w <= 0.0))
        if missing.size:
            centre = region.project(np.where(may, 1.0 / np.count_nonzero(may), 0.0))
            points = [centre]
            for k in missing[centre[missing] <= 0.0]:
                cost = np.zeros(w.size)
                cost[k] = -1.0
                points.append(region.linear_min(cost))
            w = 0.9 * w + 0.1 * np.mean(points, axis=0)
        return w


def limits_over(region: Region, *, interior: bool = False) -> Limits:
    """Return the limits of all domains of a region for the solver loops; `interior` keeps shares above 0."""
    return Limits(region.floor, region.cap, region.group_limits, interior)


def reach(region: Region, kl: float) -> Reach:
    """Find the domains that may have a share: their limits allow one and, if ``kl > 0``, their prior is above 0.

    Raises
    ------
    InfeasibleError
        If, with ``kl > 0``, a domain of prior 0 has a floor, or no mixture is left without the domains of prior 0.
    """
    may = region.reachable
    if kl > 0.0 and not region.prior.all():
        lost = may & (region.prior <= 0.0)
        held = [region.domains[k] for k in np.flatnonzero(lost & (region.floor > 0.0))]
        if held:
            raise InfeasibleError(
                f"with kl > 0 a domain of prior 0 cannot have a share, but {listing(held)} must have one: "
                "give it a prior above 0, or remove its floor"
            )
        if lost.any():
            names = [region.domains[k] for k in np.flatnonzero(lost)]
            try:
                region = region.replace(cap=np.where(lost, 0.0, region.cap))
            except InfeasibleError as error:
                raise InfeasibleError(
                    f"with kl > 0 a domain of prior 0 cannot have a share, and without {listing(names)} the region is empty: {error}"
                ) from None
            may = region.reachable
    limits = limits_over(region, interior=kl > 0.0)
    if may.all():
        return Reach(region, None, limits)
    usable = np.flatnonzero(may).astype(np.int32)
    return Reach(region, usable, _without(limits, ~may).restrict(usable))


def _without(limits: Limits, closed: NDArray[np.bool_]) -> Limits:
    """Return the limits, with group limits loosened by as much as the negligible shares of the domains `closed` can contribute."""
    groups = limits.groups
    if groups is None:
        return limits
    slack = np.where((groups.rows[:, closed] != 0.0).any(axis=1), UNREACHABLE * np.abs(groups.rows).max(axis=1), 0.0)
    return replace(limits, groups=groups._replace(low=groups.low - slack, high=groups.high + slack))
