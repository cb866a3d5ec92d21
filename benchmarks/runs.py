"""Swarms to measure laws on: RegMix's published runs, and synthetic runs of the same size for machines without them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import mixfast
from benchmarks.facts import DATA

Matrix = NDArray[np.float64]

REGMIX = DATA / "regmix"


def table(path: Path) -> tuple[list[str], Matrix]:
    """Return the columns and rows of a file of numbers, sorted by its first column, which is removed."""
    with path.open(encoding="utf-8") as file:
        lines = csv.reader(file)
        header = next(lines)
        rows = np.array([[float(cell) for cell in line] for line in lines])
    return header[1:], rows[np.argsort(rows[:, 0]), 1:]


def regmix(folder: Path = REGMIX, part: str = "train") -> tuple[Matrix, Matrix, list[str]]:
    """Mixtures (R, 17), losses (R, 13) and short names of the losses."""
    _, x = table(folder / f"{part}_mixture_1m.csv")
    names, y = table(folder / f"{part}_pile_loss_1m.csv")
    return x, y, [name.removeprefix("metric/the_pile_").removesuffix("_val_loss") for name in names]


def swarm(folder: Path = REGMIX, part: str = "train") -> mixfast.Swarm:
    """Return the same as a Swarm."""
    return mixfast.Swarm.from_csv(folder / f"{part}_mixture_1m.csv", folder / f"{part}_pile_loss_1m.csv")


def made_up(runs: int = 512, domains: int = 17, metrics: int = 13) -> tuple[Matrix, Matrix]:
    """Return mixtures and losses of a log-linear law with a little noise; shares are rounded as RegMix's are."""
    rng = np.random.default_rng(0)
    x = np.round(rng.dirichlet(np.full(domains, 0.2), runs), 3)
    x /= x.sum(axis=1, keepdims=True)
    return x, 3.0 + np.exp(-2.0 * x @ rng.random((domains, metrics))) + 0.01 * rng.normal(size=(runs, metrics))


def runs() -> tuple[str, Matrix, Matrix]:
    """Return name, mixtures and losses: RegMix's runs if this machine has them, otherwise synthetic ones."""
    if (REGMIX / "train_mixture_1m.csv").exists():
        x, y, _ = regmix()
        return "RegMix", x / x.sum(axis=1, keepdims=True), y
    return ("made up", *made_up())


def as_swarm(x: Matrix, y: Matrix) -> mixfast.Swarm:
    """Return these runs as a Swarm with generated names; the id of a run is its position."""
    domains, metrics = (
        [f"{word} {i}" for i in range(n)] for word, n in (("domain", x.shape[1]), ("metric", y.shape[1]))
    )
    return mixfast.Swarm(x, y, domains=domains, metric_names=metrics, runs=[str(place) for place in range(len(x))])
