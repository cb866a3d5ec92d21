"""Olmix's hierarchical sampler of mixtures: sources, then the topics of each, then floors and limits of repetition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.names import listing
from mixfast.designs._frozen import Collapsed, Frozen
from mixfast.designs._regmix import STRENGTHS, within
from mixfast.errors import AlignmentError, InfeasibleError, RegionError
from mixfast.region import Region

Places = NDArray[np.int64]

# Candidates nearer than this in every share are one mixture.
_SAME = 1e-5

# Candidates drawn at a time, and how many are tried for each that is wanted before the limits are called too tight.
_BLOCK = 512
_TRIES = 50


@dataclass(frozen=True, kw_only=True)
class Olmix:
    """Settings of Olmix's sampler. Domains are called "source", "source:topic" or "source:topic:quality".

    Attributes
    ----------
    strength : (float, float)
        Smallest and largest strength of the Dirichlet draws of sources and topics. Default 0.1 and 5 (sparse); Olmix's
        dense swarms use 1 and 20.
    temperature : float
        Exponent of the priors where below 1, of sources and of topics apart. Default 1.
    minimum : float or (float, float)
        Smaller shares become 0, the others multiples of it. Default 0.002; Olmix's sparse swarms use 0.05, its dense
        ones 1e-4. Two numbers: the least share of a source, and of a topic within its source, without rounding.
    source_prior : mapping of str to float
        Replaces the prior shares of these sources; divided by the sum over all of them.
    topic_prior : mapping of str to float
        Replaces the prior shares of these "source:topic" within their source; divided by the sum there.
    source_share : mapping of str to float
        Shares of sources that are not drawn; the other sources divide the rest.
    nonzero : tuple of str
        Sources, topics or frozen groups that every mixture uses.
    proxy_tokens : int, optional
        Tokens of a proxy run. With it, no domain is repeated more than ``max_epochs`` times in one.
    max_epochs : float
        Default 1: the proxies repeat nothing.
    apart : float
        Least Euclidean distance between two candidates, 0 for none. Olmix offers 0.01.
    multiplier : int
        Candidates for each run. Default 10.
    """

    strength: tuple[float, float] = (0.1, 5.0)
    temperature: float = 1.0
    minimum: float | tuple[float, float] = 0.002
    source_prior: Mapping[str, float] = field(default_factory=dict)
    topic_prior: Mapping[str, float] = field(default_factory=dict)
    source_share: Mapping[str, float] = field(default_factory=dict)
    nonzero: tuple[str, ...] = ()
    proxy_tokens: int | None = None
    max_epochs: float = 1.0
    apart: float = 0.0
    multiplier: int = 10

    def __post_init__(self) -> None:
        low, high = self.strength
        shares = "finite numbers of at least 0"
        least = self.minimum if isinstance(self.minimum, tuple) else (self.minimum,)
        for what, value, fine, expected in (
            ("strength", self.strength, 0.0 < low <= high < np.inf, "two numbers above 0, the smaller first"),
            ("temperature", self.temperature, 0.0 < self.temperature <= 1.0, "above 0 and at most 1"),
            (
                "minimum",
                self.minimum,
                len(least) <= 2 and all(0.0 < x < 1.0 for x in least),
                "a share above 0 and below 1, or two: of a source, and of a topic within it",
            ),
            ("source_prior", self.source_prior, all(0.0 <= x < np.inf for x in self.source_prior.values()), shares),
            ("topic_prior", self.topic_prior, all(0.0 <= x < np.inf for x in self.topic_prior.values()), shares),
            (
                "source_share",
                self.source_share,
                all(x >= 0.0 for x in self.source_share.values()) and sum(self.source_share.values()) <= 1.0 + 1e-9,
                "shares of at least 0 that sum to 1 at most",
            ),
            ("nonzero", self.nonzero, not isinstance(self.nonzero, str), "a sequence of names"),
            ("proxy_tokens", self.proxy_tokens, self.proxy_tokens is None or self.proxy_tokens >= 1, "at least 1"),
            ("max_epochs", self.max_epochs, self.max_epochs > 0.0, "a number above 0"),
            ("apart", self.apart, 0.0 <= self.apart < 1.0, "a distance of at least 0 and below 1"),
            ("multiplier", self.multiplier, self.multiplier >= 1, "a whole number of at least 1"),
        ):
            if not fine:
                raise RegionError(f"the {what} of Olmix's sampler is {value!r}, expected {expected}")


def qualities(region: Region, frozen: Frozen) -> dict[str, Mapping[str, float]]:
    """Return ``frozen`` with one more group for each topic that has several qualities, at their prior ratios.

    Olmix draws sources and topics only. To give qualities other ratios, freeze the topic's yourself.
    """
    groups = dict(frozen)
    taken = {domain for members in frozen.values() for domain in members}
    topics: dict[str, dict[str, float]] = {}
    for domain, prior in zip(region.domains, region.prior.tolist(), strict=True):
        if domain.count(":") >= 2 and domain not in taken and prior > 0.0:
            topics.setdefault(domain.rsplit(":", 1)[0], {})[domain] = prior
    return groups | {name: members for name, members in topics.items() if len(members) > 1 and name not in groups}


@dataclass(frozen=True)
class _Tree:
    """Sources and the columns of each, both in alphabetical order, with the priors of both levels."""

    sources: tuple[str, ...]
    members: tuple[Places, ...]
    source_prior: Vector
    topic_prior: tuple[Vector, ...]
    drawn: NDArray[np.bool_]  # sources whose share is not given
    given: Vector


def olmix(columns: Collapsed, runs: int, settings: Olmix, *, seed: int) -> Matrix:
    """Return mixtures (runs, C) of the columns as Olmix draws them, with rows that sum to 1 up to rounding.

    A frozen group is one column, so that floors and rounding act on its whole: the original rounds its members, too,
    and their ratios hold only to within the minimum.

    Raises
    ------
    InfeasibleError
        If too few different candidates pass.
    """
    region, rng = columns.region, np.random.default_rng(seed)
    tree = _tree(region, settings)
    used = [_member(name, region, tree) for name in settings.nonzero]
    scarce = _epochs(columns, settings)
    caps = np.minimum(region.cap, settings.max_epochs / np.where(scarce > 0.0, scarce, 1e-300))
    low, high = np.log10(settings.strength).tolist()
    strengths = np.logspace(low, high, 1 if low == high else STRENGTHS)
    wanted, tried = runs * settings.multiplier, 0
    found = np.empty((0, region.n_domains))
    while len(found) < wanted and tried < wanted * _TRIES:
        tried += _BLOCK
        rows = _drawn(tree, region.n_domains, strengths, rng)
        fine: NDArray[np.bool_] = np.all(rows <= caps, axis=2)
        for places in used:
            fine &= rows[:, :, places].sum(axis=2) > 0.0
        # One of the draws that pass, any of them alike.
        pick = np.where(fine, rng.random(fine.shape), -1.0).argmax(axis=1)
        rows = _floored(rows[np.arange(_BLOCK), pick][np.any(fine, axis=1)], tree, settings)
        rows = rows[within(region, rows)]
        for places in used:
            rows = rows[rows[:, places].sum(axis=1) > 0.0]
        # Rounded up to thousandths, as the original does: a repetition of 1.0001 is too many.
        rows = rows[(np.ceil(1000.0 * rows * scarce - 1e-9) / 1000.0 <= settings.max_epochs).all(axis=1)]
        found = _different(np.concatenate([found, rows]), settings.apart)[:wanted]
    if len(found) < runs:
        raise InfeasibleError(
            f"Olmix's sampler found {len(found)} different mixtures within the limits, expected {runs}, out of {tried} "
            f"candidates; loosen the limits or the minimum, or use method='cover', which rejects nothing"
        )
    return found[rng.choice(len(found), runs, replace=False)]


def _tree(region: Region, settings: Olmix) -> _Tree:
    """Sort the domains of a region into sources, with the priors that the settings give."""
    owner = [name.split(":", 1)[0] for name in region.domains]
    # A source is drawn where its prior, or the one given in its place, is above 0.
    sources = tuple(sorted(set(owner)))
    order = sorted(range(region.n_domains), key=lambda k: region.domains[k])
    members = tuple(np.array([k for k in order if owner[k] == source], dtype=np.int64) for source in sources)
    for what, names, known in (
        ("source_prior", settings.source_prior, sources),
        ("source_share", settings.source_share, sources),
        ("topic_prior", settings.topic_prior, region.domains),
    ):
        if unknown := [name for name in names if name not in known]:
            raise AlignmentError(f"{what} names {listing(unknown)}; there are: {listing(known, limit=40)}")
    topics = []
    for places in members:
        prior = _tempered(region.prior[places], settings.temperature)
        topics.append(_overridden(prior, [region.domains[k] for k in places], settings.topic_prior, "topic_prior"))
    shares = _tempered(np.array([region.prior[places].sum() for places in members]), settings.temperature)
    shares = _overridden(shares, sources, settings.source_prior, "source_prior")
    drawn = np.array([source not in settings.source_share for source in sources])
    given = np.array([float(settings.source_share.get(source, 0.0)) for source in sources])
    left = float(given.sum())
    if shares[drawn].sum() == 0.0 and abs(left - 1.0) > 1e-9:
        raise RegionError(f"source_share gives {left:.6g} in all, and no other source has a prior above 0")
    return _Tree(sources, members, shares, tuple(topics), drawn, given)


def _tempered(prior: Vector, temperature: float) -> Vector:
    if not prior.any():
        # Domains without a prior within a source without one: only a share given to the source can use them.
        return np.full(prior.size, 1.0 / prior.size) if prior.size == 1 else prior
    shares = prior / prior.sum()
    return shares if temperature >= 1.0 else shares**temperature / (shares**temperature).sum()


def _overridden(prior: Vector, names: tuple[str, ...] | list[str], given: Mapping[str, float], what: str) -> Vector:
    shares = np.array([float(given.get(name, old)) for name, old in zip(names, prior.tolist(), strict=True)])
    if not shares.any():
        if not set(names).isdisjoint(given):
            raise RegionError(f"{what} leaves nothing above 0 of {listing(names)}")
        return shares
    return np.asarray(shares / shares.sum())


def _member(name: str, region: Region, tree: _Tree) -> Places:
    """The columns of a source, a topic, or a frozen group."""
    if name in region.domains:
        return np.array([region.domains.index(name)], dtype=np.int64)
    if name in tree.sources:
        return tree.members[tree.sources.index(name)]
    raise AlignmentError(f"nonzero names {name!r}; there are: {listing((*tree.sources, *region.domains), limit=40)}")


def _epochs(columns: Collapsed, settings: Olmix) -> Vector:
    """How often one unit of share of each column (C,) reads its scarcest domain in a proxy run; 0 without a limit."""
    if settings.proxy_tokens is None:
        return np.zeros(len(columns.spread))
    available = columns.whole.available
    if available is None:
        raise RegionError("proxy_tokens limits repetition, for which the region must be built by Region.from_tokens")
    with np.errstate(divide="ignore"):
        once = np.where(columns.spread > 0.0, settings.proxy_tokens * columns.spread / available, 0.0)
    # Nothing available: any share is too much.
    return np.asarray(np.minimum(once.max(axis=1), 1e300))


def _drawn(tree: _Tree, size: int, strengths: Vector, rng: np.random.Generator) -> Matrix:
    """Draws (block, strengths, C): the same strength for the sources and the topics of a draw."""
    out = np.zeros((_BLOCK, len(strengths), size))
    sources = np.zeros((_BLOCK, len(strengths), len(tree.sources)))
    sources[:, :, tree.drawn] = (1.0 - tree.given.sum()) * _dirichlet(tree.source_prior[tree.drawn], strengths, rng)
    sources += tree.given
    for index, (places, prior) in enumerate(zip(tree.members, tree.topic_prior, strict=True)):
        out[:, :, places] = sources[:, :, index, None] * _dirichlet(prior, strengths, rng)
    return out


def _dirichlet(prior: Vector, strengths: Vector, rng: np.random.Generator) -> Matrix:
    """Draw Dirichlet(strength * prior), (block, strengths, len(prior)); in logarithms, where small ones do not vanish."""
    out = np.zeros((_BLOCK, len(strengths), prior.size))
    open_ = prior > 0.0
    if not open_.any():
        return out
    shape = np.broadcast_to(strengths[:, None] * prior[open_], (_BLOCK, len(strengths), int(open_.sum())))
    # Gamma(a) = Gamma(a + 1) U^(1/a) (Marsaglia and Tsang 2000).
    logs = np.log(rng.standard_gamma(shape + 1.0)) - rng.standard_exponential(shape.shape) / shape
    shares = np.exp(logs - logs.max(axis=2, keepdims=True))
    out[:, :, open_] = shares / shares.sum(axis=2, keepdims=True)
    return out


def _floored(rows: Matrix, tree: _Tree, settings: Olmix) -> Matrix:
    """Set small shares to 0, round the others, and divide by the sum; rows of which nothing is left are dropped."""
    if not isinstance(settings.minimum, tuple):
        rows = _normal(np.where(rows < settings.minimum, 0.0, rows))
        return _normal(np.rint(rows / settings.minimum))
    least_source, least_topic = settings.minimum
    rows = rows.copy()
    for places in tree.members:
        total = rows[:, places].sum(axis=1, keepdims=True)
        small = (total < least_source) | (rows[:, places] < least_topic * total)
        rows[:, places] = np.where(small, 0.0, rows[:, places])
    return _normal(rows)


def _normal(rows: Matrix) -> Matrix:
    """Divide rows by their sums; rows without any share are dropped."""
    sums = rows.sum(axis=1, keepdims=True)
    kept = sums[:, 0] > 0.0
    return np.asarray(rows[kept] / sums[kept])


def _different(rows: Matrix, apart: float) -> Matrix:
    """Return the rows that are not those of an earlier one, nor nearer to a kept one than ``apart``."""
    first = np.sort(np.unique(np.rint(rows / _SAME).astype(np.int64), axis=0, return_index=True)[1])
    rows = rows[first]
    if apart == 0.0:
        return rows
    kept: list[int] = []
    for index in range(len(rows)):
        if not kept or np.linalg.norm(rows[kept] - rows[index], axis=1).min() >= apart:
            kept.append(index)
    return rows[kept]
