"""The domains of a region as a tree for Olmix's sampler: sources, the leaves of each, and the priors of both levels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Vector
from mixfast._text.names import listing, misspelt, shown
from mixfast.designs._olmix import Olmix
from mixfast.errors import AlignmentError, RegionError
from mixfast.region import Region

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Tree:
    """Sources and the leaves of each, both in alphabetical order.

    Attributes
    ----------
    sources : tuple of str
    leaves : tuple of ndarray
        Positions of each source's domains among those of the region: topics without qualities, qualities, and sources without topics.
    source_prior : ndarray
        Prior shares of the sources, tempered, with the sum 1.
    leaf_prior : tuple of ndarray
        Prior shares of the leaves of each source, tempered, with the sum 1; the given shares if they are fixed.
    given : ndarray
        Fixed shares of sources; 0 for sampled ones.
    drawn, fixed : ndarray of bool
        Sources with a sampled share, and sources with fixed shares of the leaves.
    flat : ndarray of bool
        Domains that are sources without topics.
    """

    sources: tuple[str, ...]
    leaves: tuple[Places, ...]
    source_prior: Vector
    leaf_prior: tuple[Vector, ...]
    given: Vector
    drawn: NDArray[np.bool_]
    fixed: NDArray[np.bool_]
    flat: NDArray[np.bool_]

    def places(self, name: str, domains: Sequence[str]) -> Places:
        """Return the positions of the domains of a source, of a topic with its qualities, or of a frozen group.

        Raises
        ------
        AlignmentError
            If nothing has this name.
        """
        found = [k for k, domain in enumerate(domains) if _covers(name, domain)]
        if not found:
            known = listing((*self.sources, *domains), limit=40)
            raise AlignmentError(f"nonzero names {shown(name)}; there are: {known}")
        return np.array(found, dtype=np.int64)


def tree(region: Region, settings: Olmix) -> Tree:
    """Sort the domains of a region into sources, with the priors of the settings.

    Raises
    ------
    AlignmentError
        If the settings name sources or topics that are not in the region.
    RegionError
        If they name only some topics of a source, or leave nothing to sample.
    """
    domains = region.domains
    owner = [name.split(":", 1)[0] for name in domains]
    sources = tuple(sorted(set(owner)))
    order = sorted(range(region.n_domains), key=lambda k: domains[k])
    places: dict[str, list[int]] = {source: [] for source in sources}
    for k in order:
        places[owner[k]].append(k)
    leaves = tuple(np.array(found, dtype=np.int64) for found in places.values())
    for what, given in (("source_prior", settings.source_prior), ("source_share", settings.source_share)):
        _known(what, given, sources)
    topics = [name for name in domains if ":" in name]
    for what, given in (("topic_prior", settings.topic_prior), ("topic_share", settings.topic_share)):
        _known(what, [name for name in given if ":" not in name or not any(_covers(name, d) for d in topics)], topics)
    source_heat, topic_heat = settings.temperatures
    priors, fixed = [], []
    for source, own in zip(sources, leaves, strict=True):
        names, natural = [domains[k] for k in own], region.prior[own]
        shares = _within(source, names, natural, settings.topic_share, "topic_share")
        fixed.append(shares is not None)
        if shares is None:
            shares = _within(source, names, natural, settings.topic_prior, "topic_prior")
            shares = _tempered(natural if shares is None else shares, topic_heat)
        priors.append(shares)
    sums = (float(region.prior[own].sum()) for own in leaves)
    shares = _source_prior(dict(zip(sources, sums, strict=True)), settings)
    drawn = np.array([source not in settings.source_share for source in sources])
    held = np.array([float(settings.source_share.get(source, 0.0)) for source in sources])
    if shares[drawn].sum() == 0.0 and abs(held.sum() - 1.0) > 1e-9:
        raise RegionError(f"source_share gives {held.sum():.6g} in all, and no other source has a prior above 0")
    flat = np.array([":" not in name for name in domains])
    return Tree(sources, leaves, _tempered(shares, source_heat), tuple(priors), held, drawn, np.array(fixed), flat)


def _covers(name: str, domain: str) -> bool:
    """Return whether a domain has this name, or is below it in the tree."""
    return domain == name or domain.startswith(f"{name}:")


def _known(what: str, given: Collection[str], known: Collection[str]) -> None:
    every = set(known)
    if unknown := [name for name in given if name not in every]:
        raise AlignmentError(f"{what} names {misspelt(unknown, known)}; there are: {listing(known, limit=40)}")


def _within(source: str, names: Sequence[str], natural: Vector, given: Mapping[str, float], what: str) -> Vector | None:
    """Return the shares of a source's leaves from given topic shares, or None if no topic of the source is given.

    The share of a topic is divided among its qualities in proportion to their natural shares.
    """
    topics = {topic: share for topic, share in given.items() if topic.split(":", 1)[0] == source}
    if not topics:
        return None
    owner = [max((topic for topic in topics if _covers(topic, name)), key=len, default=None) for name in names]
    if missing := [name for name, topic in zip(names, owner, strict=True) if topic is None]:
        raise RegionError(
            f"{what} names {len(topics)} topics of {shown(source)} but not {listing(missing)}: name all of them or none"
        )
    out = np.zeros(len(names))
    for topic, share in topics.items():
        own = np.array([name == topic for name in owner])
        part = natural[own] if own.sum() > 1 else np.ones(own.sum())
        out[own] = share * part / part.sum() if part.sum() > 0.0 else 0.0
    if not out.any():
        raise RegionError(f"{what} gives the share 0 to all of {listing(names)}, expected at least one above 0")
    return out / out.sum()


def _source_prior(natural: Mapping[str, float], settings: Olmix) -> Vector:
    """Return the prior shares of the sources: given, derived from given topics, or natural."""
    shares = {source: float(settings.source_prior.get(source, share)) for source, share in natural.items()}
    sums: dict[str, float] = {}
    for topic, share in settings.topic_prior.items():
        source = topic.split(":", 1)[0]
        sums[source] = sums.get(source, 0.0) + share
    if len(sums) > 1:
        left = 1.0 - sum(share for source, share in shares.items() if source not in sums)
        if not left > 0.0:
            raise RegionError(
                f"topic_prior names the sources {listing(sums)}, and the priors of the others leave {left:.6g} for "
                "them; the shares of source_prior must sum to less than 1 here"
            )
        total = sum(sums.values())
        shares |= {source: left * share / total for source, share in sums.items()}
    out = np.array(list(shares.values()))
    if not out.any():
        raise RegionError(f"source_prior gives the share 0 to all of {listing(natural)}, expected at least one above 0")
    return out / out.sum()


def _tempered(prior: Vector, temperature: float) -> Vector:
    """Return ``prior ** temperature`` with the sum 1; an all-zero prior stays as it is, unless it has one domain."""
    if not prior.any():
        # A source without a prior: its leaves are only used if the source has a fixed share.
        return np.ones(1) if prior.size == 1 else prior
    shares = prior / prior.sum()
    return shares if temperature >= 1.0 else shares**temperature / (shares**temperature).sum()
