"""Compare the final models' losses with those of the natural mixture, for each method and objective, with intervals over seeds."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.lab.evidence import OBJECTIVES
from benchmarks.lab.methods import OWN_CAPS, Choice
from benchmarks.lab.stages import SEEDS, final_run
from benchmarks.lab.store import Store


@dataclass(frozen=True)
class Verdict:
    """One method on one objective: change of the loss against natural in percent (below 0 is better)."""

    objective: str
    method: str
    capped: bool
    proxies: int
    loss: float
    changes: tuple[float, ...]
    """One for each seed."""
    epochs: float
    """Largest number of passes that its final run made over a domain."""

    @property
    def change(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.changes))

    @property
    def half(self) -> float:
        """Half of the 95 % interval of `change`; NaN with one seed."""
        return half_interval(self.changes)


def half_interval(values: Sequence[float]) -> float:
    """Return half of the 95 % interval of a mean, by Student's t; NaN for one value."""
    if len(values) < 2:
        return math.nan
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


def verdicts(found: Iterable[Choice], store: Store, supply: Mapping[str, int], budget: int) -> list[Verdict]:
    """Evaluate every choice whose final models are trained; method and natural are compared seed by seed."""
    found = list(found)
    natural = next(one.mixture for one in found if one.method == "natural")
    result = []
    for one in found:
        pairs = [
            (
                _loss(store, final_run(one.mixture, seed), one.objective),
                _loss(store, final_run(natural, seed), one.objective),
            )
            for seed in range(SEEDS)
            if final_run(one.mixture, seed) in store and final_run(natural, seed) in store
        ]
        if pairs:
            ours, theirs = np.array(pairs).T
            changes = tuple((100 * (ours / theirs - 1)).tolist())
            epochs = max(one.mixture[name] * budget / supply[name] for name in one.mixture)
            result.append(
                Verdict(one.objective, one.method, one.capped, one.proxies, float(ours.mean()), changes, epochs)
            )
    return result


def save(rows: Iterable[Verdict], path: Path) -> None:
    """Write verdicts.csv."""
    columns = (
        "objective",
        "method",
        "capped",
        "proxies",
        "nats_per_byte",
        "change_percent",
        "half_95",
        "most_epochs",
        "by_seed",
    )
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            numbers = (f"{row.loss:.5f}", f"{row.change:.3f}", f"{row.half:.3f}", f"{row.epochs:.2f}")
            seeds = " ".join(f"{change:.3f}" for change in row.changes)
            writer.writerow([row.objective, row.method, int(row.capped), row.proxies, *numbers, seeds])


def table(rows: Iterable[Verdict], *, capped: bool) -> str:
    """Return a Markdown table, methods by objectives and their mean, the best of each column bold, best methods first."""
    proxies: dict[str, int] = {}
    changes: dict[str, dict[str, tuple[float, ...]]] = {}
    for row in rows:
        if row.capped is capped:
            proxies[row.method] = row.proxies
            changes.setdefault(row.method, {})[row.objective] = row.changes
    for found in changes.values():
        if len(found) == len(OBJECTIVES) and len({len(each) for each in found.values()}) == 1:
            found["all"] = tuple(np.mean(list(found.values()), axis=0).tolist())
    columns = (*OBJECTIVES, "all")
    best = {
        name: min((np.mean(each[name]) for each in changes.values() if name in each), default=0) for name in columns
    }
    lines = ["| method | proxies | " + " | ".join(columns) + " |", "|---|---:|" + "---:|" * len(columns)]
    for method in sorted(changes, key=lambda method: np.mean(changes[method].get("all", (math.inf,)))):
        shown = [_cell(changes[method].get(name, ()), best[name]) for name in columns]
        lines.append(f"| {method} | {proxies[method]} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def against(rows: Iterable[Verdict], ours: str) -> str:
    """Return a Markdown table of one method's change minus that of each other method, with caps, seed by seed.

    Three seeds give a poor estimate of the spread, so the spread of a column is pooled over all its rows.
    """
    changes: dict[str, dict[str, tuple[float, ...]]] = {}
    for row in rows:
        if row.capped or row.method in OWN_CAPS:
            changes.setdefault(row.method, {})[row.objective] = row.changes
    columns = (*OBJECTIVES, "all")
    lines = ["| against | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    for method, theirs in changes.items():
        shared = [name for name in OBJECTIVES if len(theirs.get(name, ())) == len(changes[ours].get(name, ())) > 0]
        if method != ours and len(shared) == len(OBJECTIVES):
            less = {name: np.subtract(changes[ours][name], theirs[name]) for name in OBJECTIVES}
            found[method] = less | {"all": np.mean(list(less.values()), axis=0)}
    halves = {name: pooled_half([less[name] for less in found.values()]) for name in columns}
    for method, less in found.items():
        cells = [f"{less[name].mean():+.1f} ± {halves[name]:.1f}" for name in columns]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def pooled_half(groups: Sequence[NDArray[np.float64]]) -> float:
    """Return half of the 95 % interval of a group's mean, of groups of n values each that share one spread."""
    values = np.array(groups)
    count, n = values.shape
    if n < 2:
        return math.nan
    freedom = count * (n - 1)
    sd = math.sqrt(float(np.square(values - values.mean(axis=1, keepdims=True)).sum()) / freedom)
    return float(stats.t.ppf(0.975, freedom)) * sd / math.sqrt(n)


def _cell(changes: Sequence[float], best: float) -> str:
    if not len(changes):
        return ""
    half = half_interval(changes)
    text = f"{np.mean(changes):+.1f}" + ("" if math.isnan(half) else f" ± {half:.1f}")
    return f"**{text}**" if np.mean(changes) == best else text


def _loss(store: Store, run: str, objective: str) -> float:
    return float(np.mean([store.metric(run, name) for name in OBJECTIVES[objective]]))
