"""How many labelled molecules of the target are enough: the mixtures of the ChEMBL part, found on nested subsets of the target's training rows.

All sources, by molecule. Test molecules are those of the ChEMBL part. A row's own value is left out of everything that it is judged by: the model of the target, and the
target's mean, which is an expert too and which deviations need.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mixfast
from benchmarks.assays import mixtures
from benchmarks.assays import squared_mixtures as squared
from benchmarks.assays.chembl import OFFSETS, TEST, World, record, rmse, spearman
from benchmarks.assays.ridge import Fitted
from benchmarks.assays.store import Store
from mixfast import Region
from mixfast.experts import predictions

Array = NDArray[np.float64]
Index = NDArray[np.intp]

ROWS = ("5", "10", "20", "40", "80", "all")
KL = (0.03, 0.1, 0.3)
# Share of the target's own expert in the prior of "target and sources with KL", and the weight of its term.
OWN, TOWARDS_OWN = 0.9, 0.1
METHODS = (
    "mean of the target", "balanced", "best single source", "exact", *(f"exact with KL {kl:g}" for kl in KL), "sources and mean",
    "target only", "target and sources", "target and sources with KL",
)  # fmt: skip
KEYS = ("target", "split", "rows", "offset")
SETTINGS = tuple((rows, offset) for rows in ROWS for offset in OFFSETS)
MOST = 1  # splits; the interval is over targets
# What a user of raw predictions sees: shares of the two experts of the target, how many sources have an interval above 0, whether `bootstrap` warns, and
# whether `holdout` has the mixture below equal shares, and below all of its rows.
SEEN = ("mean_share", "own_share", "active", "firm", "warned", "below_equal", "lowest")
COLUMNS = (*KEYS, "labelled", *(f"{figure} {method}" for method in METHODS for figure in ("rmse", "rho")), *SEEN)


def run(folder: Path, *, processes: int = 1, targets: int = 32, sources: int | None = None, splits: int = MOST) -> None:
    """Append the results of all targets that the file does not have, in one process; there is one split. `sources` takes so many random ones."""
    results = Store(folder / "assays_few_rows.csv", COLUMNS, KEYS)
    world = World.of(targets)
    record(results, world, min(splits, MOST), SETTINGS, lambda target, missing: judge(world, target, missing, sources))


def judge(world: World, target: int, splits: list[int], count: int | None) -> list[dict[str, Any]]:
    """Return the lines of one target."""
    molecules = np.flatnonzero(world.experts.measured[:, target])
    y, bits = world.experts.values[molecules, target], world.experts.bits[molecules]
    sources = world.sources_of(target, molecules, count)
    raw = predictions([expert.model for expert in sources], bits)
    by_offset = dict(zip(OFFSETS, (raw, raw - [expert.mean for expert in sources]), strict=True))
    lines = []
    for split in splits:
        test, train = parts(len(y), target, split)
        for rows in ROWS:
            few = train if rows == "all" else train[: int(rows)]
            own = Fitted.to(bits[few], y[few])
            apart, used = own.apart, own.model.predict(bits[test])[:, 0]
            for offset, predicted in by_offset.items():
                judged, later = Table.of(predicted, y, few, test, offset == "deviations", apart, used)
                line = {"target": world.names[target], "split": split, "rows": rows, "offset": offset}
                lines.append(line | scored(judged, later, y[few], y[test], offset == "raw", split))
    return lines


def parts(count: int, target: int, split: int) -> tuple[Index, Index]:
    """Return the test rows and the training rows, in the order in which subsets take them."""
    order = np.random.default_rng([target, split]).permutation(count)
    test, train = np.split(order, [round(TEST * count)])
    return test, train


class Table:
    """Predictions of sources, of the target's mean and of the target's own model for the same rows."""

    def __init__(self, sources: Array, mean: Array, own: Array) -> None:
        self.sources, self.mean, self.own = sources, mean, own

    @classmethod
    def of(
        cls, predicted: Array, y: Array, few: Index, test: Index, shifted: bool, apart: Array, used: Array
    ) -> tuple[Table, Table]:
        """Return the table on which shares are found, each row without its own value, and the one for the test rows."""
        mean = (y[few].sum() - y[few]) / (few.size - 1)
        later = np.full(test.size, y[few].mean())
        return (
            cls(predicted[few] + (mean[:, None] if shifted else 0.0), mean, apart),
            cls(predicted[test] + (later[:, None] if shifted else 0.0), later, used),
        )

    def with_mean(self) -> Array:
        return np.column_stack([self.sources, self.mean])

    def with_own(self) -> Array:
        return np.column_stack([self.sources, self.own])


def scored(judged: Table, later: Table, y: Array, y_test: Array, plain: bool, seed: int) -> dict[str, Any]:
    """Return the figures of every method for one subset and one offset."""
    line: dict[str, Any] = {"labelled": y.size}
    shares = {}
    for method, predicted, w in _answers(judged, later, y):
        shares[method] = w
        line[f"rmse {method}"] = f"{rmse(y_test, predicted):.4f}"
        line[f"rho {method}"] = f"{spearman(y_test, predicted):.4f}"
    line["mean_share"] = f"{shares['sources and mean'][-1]:.4f}"
    line["own_share"] = f"{shares['target and sources'][-1]:.4f}"
    line["active"] = int((shares["exact"] > 1e-3).sum())
    return line | (seen(judged.sources, y, seed) if plain else {})


def _answers(judged: Table, later: Table, y: Array) -> Iterator[tuple[str, Array, Array]]:
    """Yield method, predictions for the test rows and shares."""
    one = np.ones(1)
    yield "mean of the target", later.mean, one
    domains = mixtures.names(judged.sources.shape[1])
    equal = Region(domains)
    table = squared.table_of(judged.sources, y)
    found = {
        "balanced": np.full(len(domains), 1.0 / len(domains)),
        "best single source": squared.best_single(judged.sources, y),
        "exact": mixfast.solve(table, threads=1).mixture.weights,
    }
    for kl in KL:
        found[f"exact with KL {kl:g}"] = mixfast.solve(table, equal, kl=kl, threads=1).mixture.weights
    for method, w in found.items():
        yield method, later.sources @ w, w
    w = squared.exact(judged.with_mean(), y)
    yield "sources and mean", later.with_mean() @ w, w
    yield "target only", later.own, one
    table = squared.table_of(judged.with_own(), y)
    w = mixfast.solve(table, threads=1).mixture.weights
    yield "target and sources", later.with_own() @ w, w
    prior = dict.fromkeys(domains, (1.0 - OWN) / len(domains)) | {table.domains[-1]: OWN}
    towards = Region(table.domains, prior=prior)
    w = mixfast.solve(table, towards, kl=TOWARDS_OWN, threads=1).mixture.weights
    yield "target and sources with KL", later.with_own() @ w, w


def seen(predicted: Array, y: Array, seed: int) -> dict[str, int]:
    """Return what `bootstrap` and `holdout` say of the optimum."""
    table = squared.table_of(predicted, y)
    found = mixfast.solve(table, threads=1).bootstrap(seed=seed)
    held = mixfast.solver.holdout(table, seed=seed, threads=1)
    return {
        "firm": sum(low > 1e-3 for low, _ in found.intervals.values()),
        "warned": int(bool(found.doubt)),
        "below_equal": int(held["mixfast"].held_out_loss < held["uniform"].held_out_loss),
        "lowest": int(held.rows[0].name == "mixfast"),
    }
