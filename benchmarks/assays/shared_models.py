"""What all targets of one split have in common: the experts of all assays, and models that were trained on random mixtures of the sources."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.assays import data, experts, mixtures, splits, trees
from benchmarks.assays.splits import TRAIN, Split

Array = NDArray[np.float64]

# An assay takes part if it has as many positives, and as many negatives.
LEAST = 50


@dataclass(frozen=True)
class World:
    """The chosen assays of ToxCast: T targets, and K sources that are other assays."""

    features: Any  # (M, bits) sparse
    values: NDArray[np.float32]  # (M, A)
    names: tuple[str, ...]
    targets: tuple[int, ...]
    sources: tuple[int, ...]

    @property
    def measured(self) -> NDArray[np.bool_]:
        return np.isfinite(self.values)


@lru_cache(maxsize=1)
def world(targets: int, sources: int, seed: int = 0) -> World:
    """Choose assays at random among those with enough positives and negatives."""
    from scipy.sparse import csr_matrix

    assays = data.toxcast()
    enough = np.flatnonzero(
        ((assays.values == 1.0).sum(axis=0) >= LEAST) & ((assays.values == 0.0).sum(axis=0) >= LEAST)
    )
    chosen = np.random.default_rng(seed).permutation(enough)[: targets + sources].tolist()
    features = csr_matrix(data.fingerprints(assays.smiles).astype(np.float32))
    return World(features, assays.values, assays.names, tuple(chosen[:targets]), tuple(chosen[targets:]))


@dataclass(frozen=True)
class Unit:
    """One split of the chosen assays."""

    targets: int
    sources: int
    by: str
    seed: int

    @property
    def world(self) -> World:
        return world(self.targets, self.sources)

    @property
    def split(self) -> Split:
        return _split(self.targets, self.sources, self.by, self.seed)

    @property
    def path(self) -> Path:
        """The file of the shared models' predictions. Its name has the settings and the code that they depend on."""
        code = [Path(str(module.__file__)).read_text(encoding="utf-8") for module in (data, splits, trees, experts)]
        return data.CACHE / f"toxcast-{hashlib.sha256(repr([self, code]).encode()).hexdigest()[:16]}.npz"


@lru_cache(maxsize=2)
def _split(targets: int, sources: int, by: str, seed: int) -> Split:
    return Split.of(world(targets, sources).measured, by, seed)


@dataclass(frozen=True)
class Shared:
    """Predictions of the shared models for all M molecules."""

    whole: Array  # (M, K) experts of the sources
    apart: Array  # (M, K) the same, of their training molecules by cross-validation
    own: Array  # (M, T) experts of the targets
    own_apart: Array  # (M, T)
    mixtures: Array  # (R, K) natural shares, equal shares, and random mixtures
    trained: Array  # (M, R) models that were trained on them


def row_weights(shares: Array, counts: NDArray[np.int64], scale: str = "largest") -> Array:
    """Return the weight of each training row of K domains with these numbers of rows, ``shares / counts`` times a factor.

    The scales are those of `Mixture.row_weights`, without a list of all rows.
    """
    rate = shares / counts
    factor = {"largest": 1.0 / rate.max(), "mean": counts.sum(), "paper": counts.max() / shares.max()}
    return rate * factor[scale]


def retrained(unit: Unit, shares: Array, assays: tuple[int, ...], scale: str = "largest") -> Array:
    """Train one model on the pooled training rows of assays with these shares, and return its probabilities (M,)."""
    here = unit.world
    train = unit.split.part[:, assays] == TRAIN
    weight = train * row_weights(shares, train.sum(axis=0), scale)
    rows, label, total = trees.collapse(here.values[:, assays], weight)
    return trees.fit(here.features[rows], label, total).predict(here.features)


def random_mixtures(unit: Unit) -> Array:
    """Return the natural shares, equal shares, and as many random mixtures as there are sources (the cost of the experts)."""
    count = (unit.split.part[:, unit.world.sources] == TRAIN).sum(axis=0)
    drawn = mixtures.random_runs(count, len(count), unit.seed)
    return np.vstack([count / count.sum(), np.full(len(count), 1.0 / len(count)), drawn])


def shared(unit: Unit, each: Callable[..., Iterator[Any]]) -> None:
    """Compute the predictions of the shared models, unless their file exists; ``each(function, jobs)`` maps a function over jobs."""
    if unit.path.exists():
        return
    here, drawn = unit.world, random_mixtures(unit)
    found = list(each(_expert, [(unit, assay) for assay in here.sources + here.targets]))
    whole, apart = (np.stack([one[i] for one in found], axis=1) for i in (0, 1))
    trained = np.stack(list(each(_trained, [(unit, shares) for shares in drawn])), axis=1)
    K = len(here.sources)
    unit.path.parent.mkdir(parents=True, exist_ok=True)
    half = unit.path.with_suffix(".part.npz")
    np.savez(
        half, whole=whole[:, :K], apart=apart[:, :K], own=whole[:, K:], own_apart=apart[:, K:], mixtures=drawn, trained=trained.astype(np.float32),
    )  # fmt: skip
    half.replace(unit.path)


@lru_cache(maxsize=1)
def load(unit: Unit) -> Shared:
    """Return the predictions of the shared models."""
    with np.load(unit.path) as file:
        return Shared(**{name: file[name].astype(np.float64) for name in file.files})


def _expert(job: tuple[Unit, int]) -> experts.Expert:
    unit, assay = job
    return experts.expert(unit.world.features, unit.world.values, unit.split, assay)


def _trained(job: tuple[Unit, Array]) -> Array:
    unit, shares = job
    return retrained(unit, shares, unit.world.sources)
