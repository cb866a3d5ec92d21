"""The part with squared error: ridge regression on ChEMBL targets, root mean squared error and rank correlation on the target's test molecules.

Read "by molecule", no expert and no pool has a molecule of the target, neither of its test rows nor of the rows on which shares are found. Read "by assay", as in the
MixMin paper, sources keep all their molecules, so a source may have seen those of the target with its own values. Sources are random ones, or all with at least 100
molecules. Experts predict values ("raw"), or deviations from the mean of their source, to which the target's mean is added ("deviations").
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.assays import data, mixtures
from benchmarks.assays import squared_mixtures as squared
from benchmarks.assays.ridge import Bits, Expert, Experts, Fitted, Linear, Moments, Pool
from benchmarks.assays.store import Store
from mixfast.experts import predictions

Array = NDArray[np.float64]
Index = NDArray[np.intp]

FEW, MANY = 100, 500  # molecules of a target; a source has at least FEW
BITS = 512
LEAST = 30  # molecules that a source must keep
TEST = 0.2
FEWER = 2  # splits by assay, where differences are larger
OFFSETS = ("raw", "deviations")
SETTINGS = (
    ("molecule", "random", "raw"), ("molecule", "random", "deviations"), ("molecule", "all", "raw"), ("molecule", "all", "deviations"),
    ("assay", "random", "raw"), ("assay", "all", "raw"),
)  # fmt: skip
ENSEMBLES = (
    "natural", "balanced", "best single source", "random search", "RegMix", "MixMin's loop", "exact", "exact with KL",
    "exact without doubtful", "exact with constant", "target only", "target and sources", "target and sources with KL",
    "target and sources without doubtful",
)  # fmt: skip
RETRAINED = ("natural", "balanced", "random search", "RegMix", "exact", "exact with KL", "exact without doubtful",
             "target and sources", "target and all rows")  # fmt: skip
KEYS = ("target", "split", "by", "sources", "offset")
FIGURES = tuple(
    f"{figure} {way} {method}"
    for way, methods in (("ensemble", ENSEMBLES), ("retrained", RETRAINED))
    for method in methods
    for figure in ("rmse", "rho")
)
COLUMNS = (*KEYS, "molecules", "domains", "constant", "active", "own_share", *FIGURES)


@dataclass(frozen=True)
class World:
    """The data, the experts, and which columns are targets and sources."""

    names: tuple[str, ...]
    experts: Experts
    targets: tuple[int, ...]
    sources: tuple[int, ...]

    @classmethod
    def of(cls, targets: int) -> World:
        """Return ChEMBL with so many random targets."""
        assays = data.chembl()
        count = (~np.isnan(assays.values)).sum(axis=0)
        order = np.random.default_rng(0).permutation(np.flatnonzero((count >= FEW) & (count <= MANY)))
        experts = Experts(data.fingerprints(assays.smiles, BITS), assays.values)
        return cls(assays.names, experts, tuple(order[:targets].tolist()), tuple(np.flatnonzero(count >= FEW).tolist()))

    def sources_of(self, target: int, hidden: Index, count: int | None = None) -> list[Expert]:
        """Return the experts of all other sources, or of `count` random ones, without the hidden molecules; each keeps at least 30."""
        measured = self.experts.measured
        kept = measured.sum(axis=0) - measured[hidden].sum(axis=0)
        others = [source for source in self.sources if source != target and kept[source] >= LEAST]
        if count is not None:
            others = np.random.default_rng(target).permutation(others)[:count].tolist()
        return [self.experts.without(source, hidden) for source in others]


@dataclass(eq=False)
class Setting:
    """The sources of a target in one reading: predictions for its molecules, and models of mixtures that no split changes."""

    predicted: dict[str, Array]  # by offset, (n, K); deviations without a mean
    natural: Array  # (K,)
    pool: Pool
    names: list[str]
    bits: NDArray[np.uint8]  # (n, p) of the target's molecules
    kept: dict[bytes, tuple[Moments, list[Array]]] = field(default_factory=dict)

    @classmethod
    def of(cls, world: World, target: int, molecules: Index, by: str, count: int | None) -> Setting:
        found = world.sources_of(target, molecules if by == "molecule" else molecules[:0], count)
        bits = world.experts.bits[molecules]
        raw = predictions([expert.model for expert in found], bits)
        pool = Pool(found)
        names = mixtures.names(len(found))
        means = np.array([expert.mean for expert in found])
        return cls({"raw": raw, "deviations": raw - means}, pool.count / pool.rows, pool, names, bits)

    def moments(self, shares: Array) -> Moments:
        return self.pool.moments(shares)

    @cached_property
    def runs(self) -> Array:
        """Return as many random mixtures as there are sources, (K, K)."""
        runs = mixtures.random_runs(self.natural, len(self.names), 0)
        out: Array = runs / runs.sum(axis=1, keepdims=True)
        return out

    def models(self, shares: Array, keep: bool = False) -> list[Array]:
        """Return for each penalty what one model trained on the mixture predicts for the target's molecules, values and deviations (n, 2)."""
        key = shares.tobytes()
        if key in self.kept:
            return self.kept[key][1]
        moments = self.moments(shares)
        found = [model.predict(self.bits) for model in moments.ridge()]
        if keep:
            self.kept[key] = (moments, found)
        return found


def run(folder: Path, *, processes: int = 1, targets: int = 32, sources: int = 40, splits: int = 5) -> None:
    """Append the results of all targets that the file does not have, in one process."""
    results = Store(folder / "assays_chembl.csv", COLUMNS, KEYS)
    world = World.of(targets)
    record(results, world, splits, SETTINGS[:4], lambda target, missing: judge(world, target, sources, missing))


def record(
    results: Store,
    world: World,
    splits: int,
    settings: Iterable[tuple[str, ...]],
    judged: Callable[[int, list[int]], list[dict[str, Any]]],
) -> None:
    """Append what `judged` returns for each target and its splits that lack some setting."""
    for target in world.targets:
        name = world.names[target]
        missing = [split for split in range(splits) if any((name, split, *one) not in results for one in settings)]
        if not missing:
            continue
        start = time.perf_counter()
        with warnings.catch_warnings():
            # Optima and intervals of few rows are warned of as uncertain; they are what is studied.
            warnings.simplefilter("ignore")
            results.append(judged(target, missing))
        print(f"{name}, {len(missing)} splits: {time.perf_counter() - start:.1f} s", flush=True)


def judge(world: World, target: int, sources: int, splits: Iterable[int]) -> list[dict[str, Any]]:
    """Return the lines of one target."""
    molecules = np.flatnonzero(world.experts.measured[:, target])
    y = world.experts.values[molecules, target]
    bits = world.experts.bits[molecules]
    parts = {split: Split.of(bits, y, target, split) for split in splits}
    lines = []
    for (by, which), settings in groupby(SETTINGS, key=lambda one: one[:2]):
        setting = Setting.of(world, target, molecules, by, sources if which == "random" else None)
        offsets = [offset for *_, offset in settings]
        for split, part in parts.items():
            if by == "assay" and split >= FEWER:
                continue
            for offset in offsets:
                key = {"target": world.names[target], "split": split, "by": by, "sources": which, "offset": offset}
                lines.append(key | scored(setting, part, offset, by=by, few=which == "random"))
    return lines


@dataclass(frozen=True)
class Split:
    """The target's training and test rows, and its own model."""

    y: Array
    train: Index
    test: Index
    own: Array  # (n,) the own model's predictions
    apart: Array  # for each training row, those of a model without this row
    seed: int

    @classmethod
    def of(cls, bits: NDArray[np.uint8], y: Array, target: int, seed: int) -> Split:
        order = np.random.default_rng([target, seed]).permutation(len(y))
        test, train = np.split(order, [round(TEST * len(y))])
        fitted = Fitted.to(bits[train], y[train])
        return cls(y, train, test, fitted.model.predict(bits)[:, 0], fitted.apart, seed)


def scored(setting: Setting, split: Split, offset: str, *, by: str, few: bool) -> dict[str, Any]:
    """Return the figures of every method for one split and one offset; methods that take long are tried with few sources, by molecule."""
    y, train, test = split.y, split.train, split.test
    mean = float(y[train].mean())
    shift = mean if offset == "deviations" else 0.0
    line: dict[str, Any] = {
        "molecules": len(y),
        "domains": len(setting.names),
        "constant": _rounded(rmse(y[test], np.full(test.size, mean))),
    }
    shares = {}
    for way, method, predicted, w in _answers(setting, split, offset, mean, shift, by, few):
        line[f"rmse {way} {method}"] = _rounded(rmse(y[test], predicted[test]))
        line[f"rho {way} {method}"] = _rounded(spearman(y[test], predicted[test]))
        shares[method] = w
    line["active"] = int((shares["exact"] > 1e-3).sum())
    line["own_share"] = _rounded(shares["target and sources"][-1])
    return line


def _answers(
    setting: Setting, split: Split, offset: str, mean: float, shift: float, by: str, few: bool
) -> Iterator[tuple[str, str, Array, Array]]:
    """Yield way, method, predictions (n,) and shares."""
    y, train = split.y, split.train
    column = OFFSETS.index(offset)
    f = setting.predicted[offset] + shift
    here, values = f[train], y[train]

    def retrained(w: Array, keep: bool = False) -> Array:
        """Return the predictions with the penalty that is best on the target's training rows."""
        found = [model[:, column] + shift for model in setting.models(w, keep)]
        return min(found, key=lambda predicted: rmse(values, predicted[train]))

    equal = np.full(len(setting.names), 1.0 / len(setting.names))
    found = {"natural": setting.natural, "balanced": equal, "best single source": squared.best_single(here, values)}
    full = few and by == "molecule"
    if full:
        runs = setting.runs
        errors = np.array([rmse(values, retrained(w, keep=True)[train]) for w in runs])
        found["random search"] = runs[errors.argmin()]
        found["RegMix"] = mixtures.regmix(runs, errors**2, setting.natural, split.seed)
    found["MixMin's loop"] = squared.paper_loop(here, values)
    found["exact"] = squared.exact(here, values)
    if full:
        found["exact with KL"] = squared.with_kl(here, values)
    if full:
        found["exact without doubtful"] = squared.without_doubtful(here, values, split.seed)
    for method, w in found.items():
        yield "ensemble", method, f @ w, w
        if method in RETRAINED and (full or method in ("natural", "balanced", "exact")):
            yield "retrained", method, retrained(w, keep=method in ("natural", "balanced")), w
    constant = np.full((len(y), 1), mean)
    w = squared.exact(np.hstack([here, constant[train]]), values)
    yield "ensemble", "exact with constant", np.hstack([f, constant]) @ w, w
    yield "ensemble", "target only", split.own, np.ones(1)
    # The target's own expert is judged by predictions for rows that it was not fitted to.
    judged, used = np.column_stack([here, split.apart]), np.column_stack([f, split.own])
    ways: dict[str, Callable[[Array, Array], Array]] = {"target and sources": squared.exact}
    if by == "molecule":
        ways |= {
            "target and sources with KL": squared.towards_last,
            "target and sources without doubtful": lambda one, other: squared.without_doubtful(one, other, split.seed),
        }
    for method, find in ways.items():
        w = find(judged, values)
        yield "ensemble", method, used @ w, w
        if method == "target and sources":
            own = w[-1]
            if own < 1.0:
                sources = setting.moments(w[:-1] / w[:-1].sum())
                yield "retrained", method, with_target(setting, split, sources, own, column, shift), w
            else:
                yield "retrained", method, split.own, w
    if by == "assay":
        return
    rows = setting.pool.rows
    sources = setting.kept[setting.natural.tobytes()][0]
    w = np.append(setting.natural * rows, train.size) / (rows + train.size)
    yield "retrained", "target and all rows", with_target(setting, split, sources, w[-1], column, shift), w


def with_target(setting: Setting, split: Split, sources: Moments, own: float, column: int, shift: float) -> Array:
    """Return what one model of the sources' rows and the target's training rows predicts; the target has the share `own`.

    Weights have a mean of 1. The penalty is that of the lowest leave-one-out error on the target's rows.
    """
    bits, y = setting.bits[split.train], split.y[split.train]
    both = setting.pool.rows + y.size
    weight = own * both / y.size
    # The first target of a pool is the value, the second its deviation.
    z = np.column_stack([y, y - y.mean()])
    rows = Moments.of(bits, np.full(y.size, weight), weight * z)
    pooled = sources.times((1.0 - own) * both / sources.one) + rows

    def error(found: tuple[Linear, Callable[[Bits], Array]]) -> float:
        model, leverage = found
        return float((((model.predict(bits)[:, column] - z[:, column]) / (1.0 - weight * leverage(bits))) ** 2).sum())

    best, _ = min(pooled.with_leverage(), key=error)
    return best.predict(setting.bits)[:, column] + shift


def rmse(y: Array, predicted: Array) -> float:
    return float(np.sqrt(np.mean((y - predicted) ** 2)))


def spearman(y: Array, predicted: Array) -> float:
    """Return the rank correlation; 0 for predictions without differences."""
    from scipy.stats import spearmanr

    return 0.0 if np.ptp(predicted) == 0.0 else float(spearmanr(y, predicted).statistic)


def _rounded(value: float) -> str:
    return f"{value:.4f}"
