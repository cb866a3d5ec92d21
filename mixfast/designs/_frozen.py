"""Frozen groups: treat domains with fixed ratios to each other as one domain, and expand mixtures back to all domains.

A frozen group is one column of the collapsed mixture r; its members have the shares ``r_group * ratio``. A cap on any
member caps the group: ``r_group <= min_j cap_j / ratio_j`` (Lemma 1 of Olmix, arXiv:2602.12237).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.names import listing, misspelt, shown
from mixfast._text.numbers import total as exact_sum
from mixfast.errors import AlignmentError, RegionError
from mixfast.region import Bound, Region

Frozen = Mapping[str, Mapping[str, float]]

# A share this near to a limit is at the limit; the rounding error of a share is a thousand times smaller.
_ROOM = 1e-13
# Most domains without groups: the matrix of columns by domains takes a few GB.
_MOST_DOMAINS = 20_000


@dataclass(frozen=True)
class Collapsed:
    """A region with each frozen group as one domain.

    Attributes
    ----------
    region : Region
        The region over the columns: the groups, in the given order, then the other domains.
    spread : ndarray (C, K)
        Shares of the domains in each column; rows sum to 1.
    whole : Region
        The region of all domains.
    """

    region: Region
    spread: Matrix
    whole: Region

    def expand(self, rows: Matrix) -> Matrix:
        """Convert mixtures (M, C) of the columns to mixtures (M, K) of the domains that sum to exactly 1."""
        free = (np.count_nonzero(self.spread, axis=1) == 1) @ (self.spread > 0.0)
        return _summing_to_one(rows @ self.spread, self.whole, free > 0)

    def collapse(self, rows: Matrix) -> Matrix:
        """Convert mixtures (M, K) of the domains to shares (M, C) of the columns."""
        return rows @ (self.spread > 0.0).T


def collapsed(region: Region, frozen: Frozen | None) -> Collapsed:
    """Return the region with each group of ``frozen``, a mapping of names to shares by domain, as one domain.

    Raises
    ------
    RegionError
        If a group is empty, its shares are not positive and finite, two groups share a domain, or the number of columns times
        the number of domains exceeds 20 000 squared.
    AlignmentError
        If a member is not a domain of the region.
    InfeasibleError
        If no mixture satisfies both the ratios and the limits.
    """
    groups = {name: _ratios(name, members, region) for name, members in (frozen or {}).items()}
    place = {name: index for index, name in enumerate(region.domains)}
    taken = [member for members in groups.values() for member in members]
    if len(set(taken)) < len(taken):
        raise RegionError(
            f"frozen groups must not overlap; these domains are in several: {listing(sorted({n for n in taken if taken.count(n) > 1}))}"
        )
    others = [name for name in region.domains if name not in set(taken)]
    if clash := [name for name in groups if name in others]:
        raise RegionError(
            f"these frozen groups have the names of domains outside them: {listing(clash)}; rename the groups"
        )
    names = (*groups, *others)
    if len(names) * region.n_domains > _MOST_DOMAINS**2:
        raise RegionError(
            f"{region.n_domains:,} domains, {len(names):,} with each frozen group as one, are too many for a design: the matrix of groups by "
            f"domains would take {8e-9 * len(names) * region.n_domains:,.0f} GB, and the limit is {_MOST_DOMAINS:,} domains, "
            f"{8e-9 * _MOST_DOMAINS**2:.1f} GB. Merge small domains, or freeze the ratios of most of them in a few groups (frozen; --frozen)"
        )
    spread = np.zeros((len(names), region.n_domains))
    for row, name in zip(spread, names, strict=True):
        for member, share in groups.get(name, {name: 1.0}).items():
            row[place[member]] = share
    if not groups:
        return Collapsed(region, spread, region)
    used = spread > 0.0
    ratio = np.where(used, spread, 1.0)
    # Tightened by a unit in the last place, so that the product of group share and ratio satisfies the limit after rounding.
    single = used.sum(axis=1) == 1
    caps = np.where(used, region.cap / ratio, np.inf).min(axis=1) * np.where(single, 1.0, 1.0 - 2.0**-51)
    floors = np.where(used, region.floor / ratio, 0.0).max(axis=1) * np.where(single, 1.0, 1.0 + 2.0**-51)
    bounds = [
        Bound(bound.name, names, float(low), float(high), tuple((spread @ row).tolist()))
        for bound, row, low, high in zip(
            region.bounds, region.bound_rows, region.bound_lower, region.bound_upper, strict=True
        )
    ]
    prior = region.prior @ used.T
    return Collapsed(Region(names, prior=prior, cap=np.minimum(caps, 1.0), floor=floors, bounds=bounds), spread, region)


def _ratios(name: str, members: Mapping[str, float], region: Region) -> dict[str, float]:
    """Check a frozen group and divide its shares by their sum."""
    if not isinstance(members, Mapping) or not members:
        raise RegionError(f"frozen[{shown(name)}] must map domains to shares, at least one, got {shown(members)}")
    if unknown := [domain for domain in members if domain not in region.domains]:
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
