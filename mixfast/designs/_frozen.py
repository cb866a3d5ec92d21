"""Frozen groups: treat domains with fixed ratios to each other as one domain, and expand mixtures back to all domains.

A frozen group is one column of the collapsed mixture r; its members have the shares ``r_group * ratio``. A cap on any
member caps the group: ``r_group <= min_j cap_j / ratio_j`` (Lemma 1 of Olmix, arXiv:2602.12237).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.names import listing, misspelt, places, shown
from mixfast._text.numbers import total as exact_sum
from mixfast.errors import AlignmentError, RegionError
from mixfast.region import Bound, Region

Frozen = Mapping[str, Mapping[str, float]]

# A share this near to a limit is at the limit; the rounding error of a share is a thousand times smaller.
_ROOM = 1e-13


@dataclass(frozen=True)
class Collapsed:
    """A region with each frozen group as one domain.

    Attributes
    ----------
    region : Region
        The region over the columns: the groups, in the given order, then the other domains.
    column : ndarray (K,)
        The column of each domain.
    ratio : ndarray (K,)
        The share of each domain in its column, above 0; the shares of a column sum to 1.
    whole : Region
        The region of all domains.
    """

    region: Region
    column: NDArray[np.int64]
    ratio: Vector
    whole: Region

    def spread(self, rows: Matrix) -> Matrix:
        """Convert mixtures (M, C) of the columns to mixtures (M, K) of the domains, with sums of 1 up to rounding."""
        return rows[:, self.column] * self.ratio

    def expand(self, rows: Matrix) -> Matrix:
        """Convert mixtures (M, C) of the columns to mixtures (M, K) of the domains that sum to exactly 1."""
        return _summing_to_one(self.spread(rows), self.whole, np.bincount(self.column)[self.column] == 1)

    def collapse(self, rows: Matrix) -> Matrix:
        """Convert mixtures (M, K) of the domains to shares (M, C) of the columns."""
        return self.over_members(np.add, rows)

    def over_members(self, operation: np.ufunc, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Combine values (..., K) of the domains of each column by a ufunc such as ``np.add``, to (..., C)."""
        order = np.argsort(self.column, kind="stable")
        starts = np.searchsorted(self.column[order], np.arange(self.region.n_domains))
        return np.asarray(operation.reduceat(values[..., order], starts, axis=-1))


def collapsed(region: Region, frozen: Frozen | None) -> Collapsed:
    """Return the region with each group of ``frozen``, a mapping of names to shares by domain, as one domain.

    Raises
    ------
    RegionError
        If a group is empty, its shares are not positive and finite, or two groups share a domain.
    AlignmentError
        If a member is not a domain of the region.
    InfeasibleError
        If no mixture satisfies both the ratios and the limits.
    """
    if not frozen:
        return Collapsed(region, np.arange(region.n_domains), np.ones(region.n_domains), region)
    place = places(region.domains)
    groups = {name: _ratios(name, members, region, place) for name, members in frozen.items()}
    taken = Counter(member for members in groups.values() for member in members)
    if several := sorted(name for name, count in taken.items() if count > 1):
        raise RegionError(f"frozen groups must not overlap; these domains are in several: {listing(several)}")
    others = dict.fromkeys(name for name in region.domains if name not in taken)
    if clash := [name for name in groups if name in others]:
        raise RegionError(
            f"these frozen groups have the names of domains outside them: {listing(clash)}; rename the groups"
        )
    names = (*groups, *others)
    column, ratio = np.zeros(region.n_domains, dtype=np.int64), np.ones(region.n_domains)
    for at, name in enumerate(names):
        members = groups.get(name, {name: 1.0})
        into = [place[member] for member in members]
        column[into], ratio[into] = at, list(members.values())
    # The region of the columns is known only once the limits are combined, which needs the members of each column.
    of = Collapsed(Region(names), column, ratio, region)
    # Tightened by a unit in the last place, so that the product of group share and ratio satisfies the limit after rounding.
    single = np.bincount(column) == 1
    caps = of.over_members(np.minimum, region.cap / ratio) * np.where(single, 1.0, 1.0 - 2.0**-51)
    floors = of.over_members(np.maximum, region.floor / ratio) * np.where(single, 1.0, 1.0 + 2.0**-51)
    bounds = [
        Bound(bound.name, names, float(low), float(high), tuple(of.over_members(np.add, ratio * row).tolist()))
        for bound, row, low, high in zip(
            region.bounds, region.bound_rows, region.bound_lower, region.bound_upper, strict=True
        )
    ]
    prior = of.over_members(np.add, region.prior)
    return replace(of, region=Region(names, prior=prior, cap=np.minimum(caps, 1.0), floor=floors, bounds=bounds))


def _ratios(name: str, members: Mapping[str, float], region: Region, place: Mapping[str, int]) -> dict[str, float]:
    """Check a frozen group and divide its shares by their sum."""
    if not isinstance(members, Mapping) or not members:
        raise RegionError(f"frozen[{shown(name)}] must map domains to shares, at least one, got {shown(members)}")
    if unknown := [domain for domain in members if domain not in place]:
        raise AlignmentError(
            f"frozen[{shown(name)}] names {misspelt(unknown, region.domains)}, not in the region, whose domains are: {listing(region.domains)}"
        )
    shares = {domain: float(share) for domain, share in members.items()}
    if wrong := [f"{domain}={share}" for domain, share in shares.items() if not 0.0 <= share < math.inf]:
        raise RegionError(f"frozen[{shown(name)}] must hold finite shares, none below 0, got {listing(wrong)}")
    total = exact_sum(shares.values())
    if not 0.0 < total < math.inf:
        raise RegionError(
            f"the shares of frozen[{shown(name)}] sum to {total:g}, expected a sum above 0; to exclude the domains, set their caps to 0"
        )
    if nothing := [domain for domain, share in shares.items() if share == 0.0]:
        raise RegionError(
            f"frozen[{shown(name)}] gives {listing(nothing)} the share 0; leave these domains out of the group, and set their caps to 0"
        )
    return {domain: share / total for domain, share in shares.items()}


def _summing_to_one(rows: Matrix, region: Region, free: NDArray[np.bool_]) -> Matrix:
    """Add the rounding error of each sum to one share: a free one with room on both sides, or else the largest."""
    room = np.where(free, np.minimum(rows - region.floor, region.cap - rows), -1.0)
    best = room.argmax(axis=1)
    for row, k, space in zip(rows, best.tolist(), room.max(axis=1).tolist(), strict=True):
        column = k if space > _ROOM else int(row.argmax())
        for _ in range(4):
            missing = 1.0 - math.fsum(row)
            if missing == 0.0:
                break
            row[column] += missing
    return rows
