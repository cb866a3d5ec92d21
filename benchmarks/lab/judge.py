"""What the final models say: each method's loss on each objective against the natural mixture's, with intervals over seeds."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.lab.methods import OBJECTIVES, Choice
from benchmarks.lab.stages import SEEDS, final_run
from benchmarks.lab.store import Store

# Student's t for 95 %, two-sided, by degrees of freedom.
_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571}


@dataclass(frozen=True)
class Verdict:
    """One method on one objective: change of the loss against natural in percent (below 0 is better), over seeds."""

    objective: str
    method: str
    capped: bool
    proxies: int
    seeds: int
    loss: float
    change: float
    half: float
    """Half of the 95 % interval of `change`; NaN with one seed."""
    epochs: float
    """Most passes over any domain that its final run made."""


def verdicts(found: Iterable[Choice], store: Store, supply: dict[str, int], budget: int) -> list[Verdict]:
    """Judge every choice whose final models are there; natural and method are compared seed by seed."""
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
            change = 100 * (ours / theirs - 1)
            half = _T[len(pairs) - 1] * change.std(ddof=1) / np.sqrt(len(pairs)) if len(pairs) > 1 else np.nan
            epochs = max(one.mixture[name] * budget / supply[name] for name in one.mixture)
            result.append(
                Verdict(
                    one.objective,
                    one.method,
                    one.capped,
                    one.proxies,
                    len(pairs),
                    ours.mean(),
                    change.mean(),
                    half,
                    epochs,
                )
            )
    return result


def _loss(store: Store, run: str, objective: str) -> float:
    return float(np.mean([store.metric(run, name) for name in OBJECTIVES[objective]]))


def save(rows: Iterable[Verdict], path: Path) -> None:
    """Write verdicts.csv."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            [
                "objective",
                "method",
                "capped",
                "proxies",
                "seeds",
                "nats_per_byte",
                "change_percent",
                "half_95",
                "most_epochs",
            ]
        )
        for row in rows:
            numbers = (f"{row.loss:.5f}", f"{row.change:.3f}", f"{row.half:.3f}", f"{row.epochs:.2f}")
            writer.writerow([row.objective, row.method, int(row.capped), row.proxies, row.seeds, *numbers])


def table(rows: Iterable[Verdict], *, capped: bool) -> str:
    """Return a Markdown table, methods by objectives, the best mean of each objective bold, best methods first."""
    kept = [row for row in rows if row.capped is capped]
    methods = list(dict.fromkeys(row.method for row in kept))
    cells = {(row.method, row.objective): row for row in kept}
    best = {name: min((row.change for row in kept if row.objective == name), default=np.nan) for name in OBJECTIVES}
    lines = ["| method | proxies | " + " | ".join(OBJECTIVES) + " |", "|---|---:|" + "---:|" * len(OBJECTIVES)]

    def mean(method: str) -> float:
        return float(np.mean([cells[method, name].change if (method, name) in cells else 0.0 for name in OBJECTIVES]))

    for method in sorted(methods, key=mean):
        shown = []
        for name in OBJECTIVES:
            row = cells.get((method, name))
            if row is None:
                shown.append("")
            else:
                text = f"{row.change:+.1f}" + ("" if np.isnan(row.half) else f" ± {row.half:.1f}")
                shown.append(f"**{text}**" if row.change == best[name] else text)
        proxies = next(row.proxies for row in kept if row.method == method)
        lines.append(f"| {method} | {proxies} | " + " | ".join(shown) + " |")
    return "\n".join(lines)
