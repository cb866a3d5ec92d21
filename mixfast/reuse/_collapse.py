"""Collapse: treat the frozen part of a mixture as one virtual domain, with exact limits, prior and coefficients.

With frozen ratios p over the set F, a collapsed mixture r stands for
``Phi(r) = (r_virtual * p, r_others)``. Everything linear in the mixture stays linear: coefficients of a law, bounds, caps. The divergence is
``KL(Phi(r) || q) = KL(r || q') + r_virtual * D``, with q' the collapsed prior and ``D = KL(p || q_F / q'_virtual)``. Up to a constant, this is
the divergence to a prior whose virtual share is multiplied by ``exp(-D)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._text.names import domain_names, listing, misspelt, places, positions, shown
from mixfast.errors import AlignmentError, InfeasibleError
from mixfast.mixture import NINE_DIGITS, Mixture
from mixfast.region import Bound, Region
from mixfast.reuse._changes import ReuseError

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Collapse:
    """One virtual domain that replaces the domains with frozen relative shares.

    Attributes
    ----------
    virtual : str
        Name of the virtual domain, which comes first.
    frozen : Mixture
        Shares of its members within it.
    others : tuple of str
        The other domains.
    full : Region
        The region over all domains, with the prior and every limit.
    """

    virtual: str
    frozen: Mixture
    others: tuple[str, ...]
    full: Region

    @classmethod
    def of(cls, shares: Mapping[str, float], members: Iterable[str], full: Region, *, virtual: str) -> Collapse:
        """Freeze the members at their ratios in ``shares``; the region's other domains stay open."""
        names = domain_names(members, ReuseError)
        known = shares.keys() & set(full.domains)
        if unknown := [name for name in names if name not in known]:
            raise ReuseError(
                f"{listing(unknown)} cannot be frozen: they must be in the old mixture ({listing(shares)}) and in the "
                f"new region ({listing(full.domains)})"
            )
        total = math.fsum(shares[name] for name in names)
        if not total > 0.0:
            raise ReuseError(
                f"{listing(names)} have no share in the old mixture, so there are no ratios to freeze; reopen these domains"
            )
        if virtual in full.domains:
            raise ReuseError(
                f"the virtual domain cannot be called {shown(virtual)}, the name of a real domain; give it another name"
            )
        frozen = Mixture(names, [shares[name] / total for name in names])
        members = set(names)
        return cls(virtual, frozen, tuple(name for name in full.domains if name not in members), full)

    @property
    def domains(self) -> tuple[str, ...]:
        """The collapsed domains: the virtual one, then the others."""
        return (self.virtual, *self.others)

    @cached_property
    def matrix(self) -> Matrix:
        """Matrix (K, 1 + others) with ``Phi(r) = matrix @ r``: column 0 holds the frozen ratios, the others are unit vectors; rows as in the full region."""
        out = np.zeros((self.full.n_domains, len(self.domains)))
        place = places(self.full.domains)
        for name, ratio in self.frozen.items():
            out[place[name], 0] = ratio
        for column, name in enumerate(self.others, start=1):
            out[place[name], column] = 1.0
        out.setflags(write=False)
        return out

    # Mixtures.

    def expand(self, collapsed: Mapping[str, float]) -> Mixture:
        """Convert a collapsed mixture to one over the domains of the full region; the ratios of the frozen part are exact."""
        if set(collapsed) != set(self.domains):
            raise AlignmentError.between("the collapsed mixture", collapsed, "the reuse plan", self.domains)
        return Mixture(self.full.domains, self.matrix @ np.array([collapsed[name] for name in self.domains]))

    def expand_rows(self, rows: ArrayLike, domains: Iterable[str]) -> Matrix:
        """Convert collapsed mixtures (R, 1 + others) with columns ``domains`` to mixtures (R, K) to train proxies on."""
        names, table = domain_names(domains, ReuseError), np.asarray(rows, dtype=np.float64)
        if set(names) != set(self.domains):
            raise AlignmentError.between("the rows", names, "the reuse plan", self.domains)
        if table.ndim != 2 or table.shape[1] != len(names):
            raise ReuseError(f"rows must have shape (R, {len(names)}), one share for each domain, got {table.shape}")
        return np.asarray(table[:, positions(self.domains, names)] @ self.matrix.T)

    def collapse(self, shares: Mapping[str, float], *, partly: bool = False) -> dict[str, float]:
        """Convert a mixture with the frozen ratios to collapsed shares; raise `ReuseError` if its ratios differ.

        With ``partly`` the mixture may lack domains, as long as it has all members or none; missing domains get 0.
        """
        given = set(shares)
        if unknown := sorted(given - set(self.full.domains)):
            raise ReuseError(
                f"{misspelt(unknown, self.full.domains)} are not domains of this plan: {listing(self.full.domains)}"
            )
        lacking = [name for name in self.full.domains if name not in given]
        if lacking and not partly:
            raise AlignmentError.between("the mixture", shares, "the reuse plan", self.full.domains)
        total = math.fsum(shares.get(name, 0.0) for name in self.frozen)
        off = [
            f"{name} ({shares.get(name, 0.0):.6g}, frozen {total * ratio:.6g})"
            for name, ratio in self.frozen.items()
            if abs(shares.get(name, 0.0) - total * ratio) > NINE_DIGITS
        ]
        if off:
            raise ReuseError(f"the mixture does not have the frozen ratios of {shown(self.virtual)}: {listing(off)}")
        return {self.virtual: total} | {name: float(shares.get(name, 0.0)) for name in self.others}

    def tokens(self, available: Matrix) -> Matrix:
        """Convert tokens (R, K) in the order of the full region to tokens (R, 1 + others) of the collapsed domains.

        The virtual domain has the tokens for which its epochs are the mean of its members' epochs, weighted by their shares:
        ``1 / sum_j p_j^2 / tokens_j``. If the frozen ratios are the natural ones, that is the sum of the members' tokens.
        """
        place = places(self.full.domains)
        ratios = self.matrix[:, 0]
        used = ratios > 0.0
        with np.errstate(divide="ignore"):
            virtual = 1.0 / (ratios[used] ** 2 / available[:, used]).sum(axis=1)
        return np.column_stack([virtual, *(available[:, place[name]] for name in self.others)])

    # The region.

    @cached_property
    def cap(self) -> tuple[float, str]:
        """Largest share of the virtual domain, ``min over frozen j of cap_j / p_j`` (Lemma 1), and the domain that determines it."""
        caps = self.full.by_name(self.full.cap)
        found = ((caps[name] / ratio, name) for name, ratio in self.frozen.items() if ratio > 0.0)
        return min(found, key=lambda each: each[0])

    @cached_property
    def floor(self) -> tuple[float, str]:
        """Smallest share of the virtual domain, ``max over frozen j of floor_j / p_j``, and the domain that determines it."""
        floors = self.full.by_name(self.full.floor)
        found = ((floors[name] / ratio, name) for name, ratio in self.frozen.items() if ratio > 0.0)
        return max(found, key=lambda each: each[0])

    @cached_property
    def divergence(self) -> float:
        """``KL(p || q_F / q'_virtual)`` in nats: the distance of the frozen ratios from those of the prior; infinite outside its support."""
        prior = self.full.by_name(self.full.prior)
        mass = math.fsum(prior[name] for name in self.frozen)
        terms = []
        for name, ratio in self.frozen.items():
            if ratio > 0.0:
                if not prior[name] > 0.0:
                    return math.inf
                terms.append(ratio * (math.log(ratio) - math.log(prior[name] / mass)))
        return max(0.0, math.fsum(terms))

    @cached_property
    def natural(self) -> dict[str, float]:
        """The collapsed prior: the virtual domain has the sum of its members."""
        prior = self.full.by_name(self.full.prior)
        mass = math.fsum(prior[name] for name in self.frozen)
        return {self.virtual: mass} | {name: prior[name] for name in self.others}

    @cached_property
    def _tilted(self) -> dict[str, float]:
        return self.natural | {self.virtual: self.natural[self.virtual] * math.exp(-self.divergence)}

    @property
    def kl_constant(self) -> float:
        """``KL(Phi(r) || q) - KL(r || region.prior)`` in nats, the same for every r."""
        total = math.fsum(self._tilted.values())
        return -math.log(total) if total > 0.0 else math.inf

    @cached_property
    def region(self) -> Region:
        """The collapsed mixtures whose expansion is in the full region; `InfeasibleError` if there are none.

        With its prior, a KL term equals the KL term over all domains up to `kl_constant`.
        """
        full, ratios = self.full, self.matrix
        if blocked := [full.domains[k] for k in np.flatnonzero((full.floor > 0.0) & (ratios.sum(axis=1) == 0.0))]:
            raise InfeasibleError(f"{listing(blocked)} have a floor but a frozen share of 0; reopen these domains")
        # The members' shares are multiples of the virtual share, so their caps and floors limit it.
        columns = positions(self.others, full.domains)
        cap = [min(self.cap[0], 1.0), *full.cap[columns].tolist()]
        floor = [self.floor[0], *full.floor[columns].tolist()]
        bounds = self._bounds()
        prior: dict[str, float] | None = None
        if full.has_prior:
            prior = self._tilted if math.fsum(self._tilted.values()) > 0.0 else self.natural
        try:
            region = Region(self.domains, prior=prior, cap=cap, floor=floor, bounds=bounds or None)
        except InfeasibleError as problem:
            raise InfeasibleError(
                f"no mixture with these ratios satisfies the limits: {problem}. {self._what_to_reopen(cap, floor)}, or change the limits"
            ) from problem
        return region.replace(counted=full.counted)

    def _bounds(self) -> list[Bound]:
        """Return the bounds of the full region as bounds on collapsed mixtures."""
        bounds = []
        for bound, row in zip(self.full.bounds, self.full.bound_rows @ self.matrix, strict=True):
            members = np.flatnonzero(row)
            if members.size:
                names = tuple(self.domains[k] for k in members)
                bounds.append(Bound(bound.name, names, bound.lower, bound.upper, tuple(row[members].tolist())))
            elif (bound.lower or 0.0) > 0.0 or (bound.upper or 0.0) < 0.0:
                raise InfeasibleError(
                    f"bound {shown(bound.name)} cannot hold: its domains are frozen at 0; reopen these domains"
                )
        return bounds

    def _what_to_reopen(self, caps: list[float], floors: list[float]) -> str:
        """Name the members whose floor or cap makes the limits infeasible."""
        (high, narrow), (low, wide) = self.cap, self.floor
        culprits: dict[str, str] = {}
        if low > min(high, 1.0) or low + math.fsum(floors[1:]) > 1.0:
            culprits[wide] = f"floor {self.full.by_name(self.full.floor)[wide]:.6g}"
        if low <= 1.0 and (low > high or high + math.fsum(caps[1:]) < 1.0):
            culprits[narrow] = f"cap {self.full.by_name(self.full.cap)[narrow]:.6g}"
        reasons = [
            f"{shown(name)} ({limit} over its ratio {self.frozen[name]:.6g})" for name, limit in culprits.items()
        ]
        because = (
            f", because of {listing(reasons)}. Reopen {listing(culprits)}"
            if culprits
            else ". Reopen some of its domains"
        )
        return f"{shown(self.virtual)} would need a share of at least {low:.6g} and at most {high:.6g}{because}"
