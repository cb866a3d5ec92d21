"""The classification part: XGBoost on ToxCast, average precision and log-loss of every method on the target's test rows."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.assays import mixtures, shared_models
from benchmarks.assays.mixtures import Rows
from benchmarks.assays.shared_models import Shared, Unit
from benchmarks.assays.splits import TEST, TRAIN, VALIDATION
from benchmarks.assays.store import Store
from benchmarks.assays.toxcast_tables import ASSAY, MANY, MOLECULE
from benchmarks.facts import POOLS

Array = NDArray[np.float64]

KEYS = ("setting", "split", "target")
COLUMNS = (*KEYS, "method", "ensemble_ap", "ensemble_loss", "retrained_ap", "retrained_loss", "sources")
TARGET_COLUMNS = (*KEYS, "rows", "positives", "test_rows", "test_positives", "nearest", "correlation")
# The settings beside the first show what changes the answer, and have fewer splits.
FEWER = 1
_TIMES = 3


@dataclass(frozen=True)
class Candidate:
    """The answer of one method: shares of assays, and the probabilities (M,) of both ways to use them."""

    shares: Array
    ensemble: Array
    retrained: Array


def run(folder: Path, *, processes: int = 2, targets: int = 30, sources: int = 24, splits: int = 5) -> None:
    """Append the results of all targets and splits that the files do not have."""
    results = Store(folder / "assays_toxcast.csv", COLUMNS, (*KEYS, "method"))
    facts = Store(folder / "assays_toxcast_targets.csv", TARGET_COLUMNS, KEYS)
    with _workers(processes) as each:
        for setting, unit in units(targets, sources, splits):
            names = [unit.world.names[target] for target in unit.world.targets]
            # The facts of a target are written after its results.
            open_ = [t for t, name in enumerate(names) if (setting, unit.seed, name) not in facts]
            if not open_:
                continue
            shared_models.shared(unit, each)
            for fact, lines in each(judge, [(setting, unit, t) for t in open_]):
                results.append(lines)
                facts.append([fact])
            print(f"{setting}, split {unit.seed}: {len(open_)} targets", flush=True)


def units(targets: int, sources: int, splits: int) -> Iterator[tuple[str, Unit]]:
    """Yield the settings and splits; the targets are the same in all, and many sources include the few."""
    for seed in range(splits):
        yield MOLECULE, Unit(targets, sources, "molecule", seed)
        if seed < FEWER:
            yield ASSAY, Unit(targets, sources, "assay", seed)
            yield MANY, Unit(targets, _TIMES * sources, "molecule", seed)


@contextmanager
def _workers(processes: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yield a function that maps over jobs in their order, in so many processes of one thread each."""
    os.environ |= dict.fromkeys(POOLS, "1")
    if processes <= 1:
        yield map
        return
    # Not forked: thread pools do not survive it.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield pool.imap
        pool.close()
        pool.join()


def judge(job: tuple[str, Unit, int]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the line of one target, and the line of each method."""
    setting, unit, t = job
    here, split = unit.world, unit.split
    target = here.targets[t]
    part, y = split.part[:, target], here.values[:, target].astype(np.float64)
    test, train = part == TEST, part == TRAIN
    key: dict[str, Any] = {"setting": setting, "split": unit.seed, "target": here.names[target]}
    with warnings.catch_warnings():
        # Every optimum over few rows is warned of as uncertain.
        warnings.simplefilter("ignore")
        found = candidates(unit, t, shared_models.load(unit))
    lines = [
        key
        | {"method": method, "sources": int((one.shares > 1e-3).sum())}
        | {f"ensemble_{name}": f"{value:.4f}" for name, value in scores(y[test], one.ensemble[test]).items()}
        | {f"retrained_{name}": f"{value:.4f}" for name, value in scores(y[test], one.retrained[test]).items()}
        for method, one in found.items()
    ]
    nearest, correlation = _nearest(here.values[:, here.sources], split.part[:, here.sources] == TRAIN, y, train)
    fact = key | {
        "rows": int(train.sum()), "positives": int(y[train].sum()), "test_rows": int(test.sum()), "test_positives": int(y[test].sum()),
        "nearest": here.names[here.sources[nearest]], "correlation": f"{correlation:.3f}",
    }  # fmt: skip
    return fact, lines


def candidates(unit: Unit, t: int, models: Shared) -> dict[str, Candidate]:
    """Return what each method makes of the target."""
    here, target = unit.world, unit.world.targets[t]
    part, y = unit.split.part[:, target], here.values[:, target].astype(np.float64)
    train, validation = part == TRAIN, part == VALIDATION
    rows, held_out = Rows(models.whole[train], y[train]), Rows(models.whole[validation], y[validation])
    apart = Rows(models.apart[train], y[train])
    natural, equal = models.mixtures[:2]
    runs = models.mixtures[2:]
    run_losses = np.array([mixtures.log_loss(y[train], proba) for proba in models.trained[train, 2:].T])
    lucky = int(run_losses.argmin())

    def of(shares: Array, retrained: Array | None = None) -> Candidate:
        if retrained is None:
            retrained = shared_models.retrained(unit, shares, here.sources)
        return Candidate(shares, models.whole @ shares, retrained)

    out = {
        "natural": of(natural, models.trained[:, 0]),
        "balanced": of(equal, models.trained[:, 1]),
        "best single source": of(mixtures.best_single(rows)),
        "random search": of(runs[lucky], models.trained[:, 2 + lucky]),
        "RegMix": of(mixtures.regmix(runs, run_losses, natural, unit.seed)),
        "MixMin's loop": of(mixtures.paper_loop(rows)),
        "exact": of(mixtures.exact(rows)),
        "exact, KL": of(mixtures.with_kl(rows, held_out)),
        "exact, doubtful sources dropped": of(mixtures.without_doubtful(rows, unit.seed)),
        "exact, out-of-fold": of(mixtures.exact(apart)),
    }
    for method, scale in (("MixMin's loop", "paper"), ("exact", "paper"), ("exact", "mean")):
        again = shared_models.retrained(unit, out[method].shares, here.sources, scale)
        out[f"{method}, {scale} weights"] = replace(out[method], retrained=again)
    temperature = mixtures.temperatures(held_out)
    tempered = mixtures.tempered(models.whole, temperature)
    shares = mixtures.exact(Rows(tempered[train], y[train]))
    out["exact, calibrated"] = replace(of(shares), ensemble=tempered @ shares)
    # The target's own rows: alone, pooled with the sources, and as one more domain, whose expert is judged by predictions for rows that it was not fitted to.
    own, everything = models.own[:, t], (target, *here.sources)
    out["target only"] = Candidate(np.ones(1), own, shared_models.retrained(unit, np.ones(1), (target,)))
    both = np.column_stack([own, models.whole])
    count = (unit.split.part[:, everything] == TRAIN).sum(axis=0)
    for method, shares in (
        ("target and sources, natural", count / count.sum()),
        (
            "target and sources",
            mixtures.exact(Rows(np.column_stack([models.own_apart[:, t], models.apart])[train], y[train])),
        ),
    ):
        out[method] = Candidate(shares, both @ shares, shared_models.retrained(unit, shares, everything))
    return out | with_rates_matched(unit, t, models)


def with_rates_matched(unit: Unit, t: int, models: Shared) -> dict[str, Candidate]:
    """Return methods whose experts are first shifted to the target's rate of positives: one number for each expert, from the target's training rows.

    The shift of a retrained model comes from the validation rows, because its predictions for training molecules are not out-of-fold.
    """
    here, target = unit.world, unit.world.targets[t]
    part, y = unit.split.part[:, target], here.values[:, target].astype(np.float64)
    train, validation = part == TRAIN, part == VALIDATION

    def matched(proba: Array, rows: Array, labels: Array) -> Array:
        return mixtures.shifted(proba, mixtures.shifts(Rows(rows, labels)))

    def of(
        apart: Array, whole: Array, assays: tuple[int, ...], shares: Array | None = None, trained: Array | None = None
    ) -> Candidate:
        if shares is None:
            apart, whole = (matched(proba, apart[train], y[train]) for proba in (apart, whole))
            shares = mixtures.exact(Rows(apart[train], y[train]))
        mixed_apart, mixed = apart @ shares, whole @ shares
        if trained is None:
            trained = shared_models.retrained(unit, shares, assays)
        ensemble = matched(mixed[:, None], mixed_apart[train, None], y[train])[:, 0]
        return Candidate(shares, ensemble, matched(trained[:, None], trained[validation, None], y[validation])[:, 0])

    own, own_apart = models.own[:, [t]], models.own_apart[:, [t]]
    both = [np.hstack(pair) for pair in ((own_apart, models.apart), (own, models.whole))]
    return {
        "natural, rates matched": of(
            models.apart, models.whole, here.sources, models.mixtures[0], models.trained[:, 0]
        ),
        "exact, rates matched": of(models.apart, models.whole, here.sources),
        "target only, rates matched": of(own_apart, own, (target,), np.ones(1)),
        "target and sources, rates matched": of(both[0], both[1], (target, *here.sources)),
    }


def scores(y: Array, proba: Array) -> dict[str, float]:
    """Return average precision and log-loss."""
    from sklearn.metrics import average_precision_score

    return {"ap": float(average_precision_score(y, proba)), "loss": mixtures.log_loss(y, proba)}


def _nearest(
    values: NDArray[np.float32], trained: NDArray[np.bool_], y: Array, train: NDArray[np.bool_]
) -> tuple[int, float]:
    """Return the source whose training labels correlate most with the target's, over at least 50 molecules, and the correlation."""
    found = np.full(values.shape[1], -1.0)
    for k in range(values.shape[1]):
        both = train & trained[:, k]
        if both.sum() >= 50 and 0 < values[both, k].sum() < both.sum() and 0 < y[both].sum() < both.sum():
            found[k] = np.corrcoef(values[both, k], y[both])[0, 1]
    return int(found.argmax()), float(found.max())
