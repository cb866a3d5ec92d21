"""Olmix's hierarchical sampler: sample sources and their topics, apply limits and minima, and choose among the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.audience import either, setting
from mixfast._text.progress import long_work, now
from mixfast.designs._frozen import Collapsed
from mixfast.designs._olmix import Olmix, Span
from mixfast.designs._olmix_tree import Places, Tree, tree
from mixfast.designs._regmix import STRENGTHS, within
from mixfast.errors import InfeasibleError, RegionError

# Candidates that differ by less than this in every share are the same mixture.
_SAME = 1e-5

# Most samples at a time, and most numbers in them (128 MB).
_BLOCK = 512
_NUMBERS = 1 << 24
# How often all samples are repeated before the limits are reported as too tight.
_ROUNDS = 50


@long_work("sampling mixtures")
def olmix(columns: Collapsed, runs: int, settings: Olmix, *, seed: int, existing: Matrix | None = None) -> Matrix:
    """Sample mixtures (runs, C) of the columns as Olmix does, with rows that sum to 1 up to rounding.

    ``runs * multiplier`` samples are made. Those outside the limits are dropped, equal ones count once, and the runs are chosen from
    the rest. If fewer than ``runs`` are left, more samples are made; Olmix stops. A frozen group is one column, so
    minima and rounding act on the whole group. Olmix also rounds its members, whose ratios then hold only to within the minimum.

    Mixtures nearer than ``existing_apart`` to a row of ``existing`` (R, K) are dropped.

    Raises
    ------
    InfeasibleError
        If too few different candidates satisfy the limits.
    """
    rng = np.random.default_rng(seed)
    sampler = _Sampler.of(columns, settings, existing)
    wanted, tried = runs * settings.multiplier, 0
    found = np.empty((0, columns.region.n_domains))
    size = max(1, min(_BLOCK, _NUMBERS // (STRENGTHS * columns.region.n_domains)))
    while len(found) < runs and tried < wanted * _ROUNDS:
        blocks = [sampler.draw(min(size, wanted - start), rng) for start in range(0, wanted, size)]
        found = _different(np.concatenate([found, *blocks]), settings.apart)
        tried += wanted
        now("{} of {} runs", len(found), runs)
    if len(found) < runs:
        raise InfeasibleError(
            f"Olmix's sampler found {len(found)} different mixtures within the limits, expected {runs}, out of {tried} "
            f"candidates; loosen the limits or the minimum, or use {setting('method', 'cover')}, which rejects nothing"
        )
    return found[rng.choice(len(found), runs, replace=False)]


@dataclass(frozen=True, eq=False)
class _Sampler:
    """Priors, strengths, limits, and the existing runs to avoid."""

    columns: Collapsed
    settings: Olmix
    tree: Tree
    nonzero: tuple[tuple[str, Places], ...]
    strengths: tuple[Vector, Vector]
    scarce: Vector
    existing: Matrix | None

    @classmethod
    def of(cls, columns: Collapsed, settings: Olmix, existing: Matrix | None) -> _Sampler:
        sorted_ = tree(columns.region, settings)
        nonzero = tuple((name, sorted_.places(name, columns.region.domains)) for name in settings.nonzero)
        strengths = _strengths(*settings.strengths)
        return cls(columns, settings, sorted_, nonzero, strengths, _epochs(columns, settings), existing)

    def draw(self, count: int, rng: np.random.Generator) -> Matrix:
        """Sample a number of mixtures, and return those within all limits; rows sum to 1."""
        rows = self._drawn(count, rng)
        fine = self._allowed(rows)
        # Choose one of the strengths that pass, all with the same probability.
        pick = np.where(fine, rng.random(fine.shape), -1.0).argmax(axis=1)
        kept = self._clipped(rows[np.arange(count), pick][fine.any(axis=1)])
        kept = kept[within(self.columns.region, kept)]
        for _, places in self.nonzero if self.settings.nonzero_in == "mixtures" else ():
            kept = kept[kept[:, places].sum(axis=1) > 0.0]
        # Rounded up to thousandths as in Olmix's code: 1.0001 epochs are too many.
        kept = kept[(np.ceil(1000.0 * kept * self.scarce - 1e-9) / 1000.0 <= self.settings.max_epochs).all(axis=1)]
        if self.existing is not None and len(self.existing) > 0:
            kept = kept[_distances(self.columns.spread(kept), self.existing) >= self.settings.existing_apart]
        return kept

    def _drawn(self, count: int, rng: np.random.Generator) -> Matrix:
        """Sample shares (count, strengths, C); sources and topics of a sample have the same position in their ranges of strengths."""
        tree, (of_sources, of_topics) = self.tree, self.strengths
        out = np.zeros((count, len(of_sources), self.columns.region.n_domains))
        sources = np.zeros((count, len(of_sources), len(tree.sources)))
        free = 1.0 - tree.given.sum()
        sources[:, :, tree.drawn] = free * _dirichlet(tree.source_prior[tree.drawn], of_sources, count, rng)
        sources += tree.given
        for index, (places, prior) in enumerate(zip(tree.leaves, tree.leaf_prior, strict=True)):
            shares = prior if tree.fixed[index] else _dirichlet(prior, of_topics, count, rng)
            out[:, :, places] = sources[:, :, index, None] * shares
        return out

    def _allowed(self, rows: Matrix) -> NDArray[np.bool_]:
        """Return which samples satisfy the caps and contain what every mixture must contain, before small shares are set to 0."""
        region, fine = self.columns.region, np.ones(rows.shape[:2], dtype=bool)
        if self.settings.bound:
            epochs = self.settings.max_epochs / np.where(self.scarce > 0.0, self.scarce, 1e-300)
            fine = np.all(rows <= np.minimum(region.cap, epochs), axis=2)
        least_source, least_topic = self.settings.minima
        for name, places in self.nonzero:
            source = self.tree.leaves[self.tree.sources.index(name.split(":", 1)[0])]
            total = rows[:, :, source].sum(axis=2, keepdims=True)
            held = np.where(rows[:, :, places] >= least_topic * total, rows[:, :, places], 0.0).sum(axis=2)
            fine &= held > (0.0 if ":" in name else least_source)
        return fine

    def _clipped(self, rows: Matrix) -> Matrix:
        """Set small shares to 0, round the others if there is one minimum, and divide by the sum; rows without any share are dropped."""
        least_source, least_topic = self.settings.minima
        if least_source == least_topic:
            rows = _normal(np.where(rows < least_source, 0.0, rows))
            return _normal(np.rint(rows / least_source))
        rows = rows.copy()
        for index, places in enumerate(self.tree.leaves):
            if self.tree.fixed[index]:
                continue
            total = rows[:, places].sum(axis=1, keepdims=True)
            least = np.where(self.tree.flat[places], least_source, least_topic * total)
            rows[:, places] = np.where(rows[:, places] < least, 0.0, rows[:, places])
        return _normal(rows)


def _strengths(of_sources: Span, of_topics: Span) -> tuple[Vector, Vector]:
    """Return the strengths of sources and of topics, evenly spaced on a log scale; one of each if neither has a range."""
    count = STRENGTHS if of_sources[0] < of_sources[1] or of_topics[0] < of_topics[1] else 1
    low, high = np.log10([of_sources, of_topics]).T.tolist()
    return np.logspace(low[0], high[0], count), np.logspace(low[1], high[1], count)


def _epochs(columns: Collapsed, settings: Olmix) -> Vector:
    """Return the epochs of the scarcest domain of each column (C,) in a proxy run, for each unit of share; 0 without a limit."""
    if settings.proxy_tokens is None:
        return np.zeros(columns.region.n_domains)
    available = columns.whole.available
    if available is None:
        raise RegionError(
            either(
                "proxy_tokens limits repetition, for which the region must be built by Region.from_tokens",
                "--proxy-tokens limits repetition, which needs --tokens and --budget",
            )
        )
    with np.errstate(divide="ignore"):
        once = columns.over_members(np.maximum, settings.proxy_tokens * columns.ratio / available)
    # For domains without tokens any share is too large.
    return np.asarray(np.minimum(once, 1e300))


def _dirichlet(prior: Vector, strengths: Vector, count: int, rng: np.random.Generator) -> Matrix:
    """Sample Dirichlet(strength * prior), (count, strengths, len(prior)), on a log scale so that small shares do not underflow."""
    out = np.zeros((count, len(strengths), prior.size))
    open_ = prior > 0.0
    if not open_.any():
        return out
    shape = np.broadcast_to(strengths[:, None] * prior[open_], (count, len(strengths), int(open_.sum())))
    # Gamma(a) = Gamma(a + 1) U^(1/a) (Marsaglia and Tsang 2000).
    logs = np.log(rng.standard_gamma(shape + 1.0)) - rng.standard_exponential(shape.shape) / shape
    shares = np.exp(logs - logs.max(axis=2, keepdims=True))
    out[:, :, open_] = shares / shares.sum(axis=2, keepdims=True)
    return out


def _normal(rows: Matrix) -> Matrix:
    """Divide rows by their sums; rows without any share are dropped."""
    sums = rows.sum(axis=1, keepdims=True)
    kept = sums[:, 0] > 0.0
    return np.asarray(rows[kept] / sums[kept])


def _distances(rows: Matrix, others: Matrix) -> Vector:
    """Return the Euclidean distance of each row to the nearest of the others."""
    return np.array([np.linalg.norm(others - row, axis=1).min() for row in rows])


def _different(rows: Matrix, apart: float) -> Matrix:
    """Return the rows that differ from all earlier ones, and are at least ``apart`` from every row that is kept."""
    first = np.sort(np.unique(np.rint(rows / _SAME).astype(np.int64), axis=0, return_index=True)[1])
    rows = rows[first]
    if apart == 0.0:
        return rows
    kept: list[int] = []
    for index in range(len(rows)):
        if not kept or np.linalg.norm(rows[kept] - rows[index], axis=1).min() >= apart:
            kept.append(index)
    return rows[kept]
