"""Test the papers' claims at this scale; each claim is a row with its figures."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

import mixfast
from benchmarks.lab.corpora import DOMAINS, TARGETS
from benchmarks.lab.evidence import OBJECTIVES, Evidence
from benchmarks.lab.laboratory import VALIDATION
from benchmarks.lab.life import after, trained
from benchmarks.lab.methods import Choice
from benchmarks.lab.stages import final_run
from mixfast import mde

SIZES = (8, 16, 25, 50)
DRAWS = 10
FEWEST = 8
"""Smallest number of unseen runs for a rank correlation."""
AVERAGES = {"validation": VALIDATION, "validation and targets": (*VALIDATION, *TARGETS)}
"""Analogues of the averages of the MDE paper over SlimPajama's domains, and over end tasks and these."""


@dataclass(frozen=True)
class Row:
    """One figure of a claim: what was varied, and the rank correlation or other number found, with its standard error."""

    claim: str
    case: str
    runs: int
    value: float
    error: float


def save(rows: Sequence[Row], path: Path) -> None:
    """Write claims.csv."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["claim", "case", "runs", "value", "standard_error"])
        writer.writerows([row.claim, row.case, row.runs, f"{row.value:.4f}", f"{row.error:.4f}"] for row in rows)


def rank(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return Spearman's correlation."""
    return float(stats.spearmanr(a, b).statistic)


def _splits(count: int, size: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(count)
        yield order[:size], order[size:]


def features(evidence: Evidence) -> list[Row]:
    """Rank correlation on unseen runs, for laws of the shares and laws that also have the experts' ensemble losses as inputs."""
    rows = []
    for average, metrics in AVERAGES.items():
        swarm = _averaged(evidence.swarm, metrics)
        known = mde.features(evidence.table(metrics, 1), swarm)
        alone = rank(known.values.mean(axis=1), swarm.values[:, 0])
        rows.append(Row(f"MDE features, {average}", "the experts' ensemble, no runs", 0, alone, np.nan))
        for law in ("linear", "lightgbm", "gp"):
            for size in SIZES:
                for shown, more in (("shares", None), ("shares and MDE", known)):
                    found = [
                        rank(
                            mixfast.fit(swarm.subset(train), law, features=more, folds=0).predict(swarm.ratios[test])[
                                :, 0
                            ],
                            truth,
                        )
                        for train, test in _splits(len(swarm), size)
                        for truth in (swarm.values[test, 0],)
                    ]
                    rows.append(_row(f"MDE features, {average}", f"{law}, {shown}", size, found))
    return rows


def shape(evidence: Evidence) -> list[Row]:
    """Rank correlation on unseen dense and sparse runs, for log-linear laws fitted to dense or to sparse runs; mean of the targets."""
    swarm = evidence.swarm.select(TARGETS)
    kinds = {
        kind: np.array([i for i, run in enumerate(swarm.runs) if run.startswith(kind)]) for kind in ("dense", "sparse")
    }
    rows = []
    for fitted, index in kinds.items():
        found: dict[str, list[float]] = {kind: [] for kind in kinds}
        for train, test in _splits(len(index), 24):
            law = mixfast.fit(swarm.subset(index[train]), "log_linear", folds=0)
            for kind in kinds:
                unseen = index[test] if kind == fitted else kinds[kind]
                guess = law.predict(swarm.ratios[unseen])
                found[kind].append(np.mean([rank(guess[:, j], swarm.values[unseen, j]) for j in range(len(TARGETS))]))
        rows += [
            _row("swarm shape, mean of targets", f"fitted on {fitted}, judged on {kind}", 24, found[kind])
            for kind in kinds
        ]
    return rows


def collapse(evidence: Evidence) -> list[Row]:
    """Rank correlation against c = runs / (m + 1), for swarms of several numbers m of domains; mean of the targets."""
    swarms = {len(DOMAINS): evidence.swarm.select(TARGETS)}
    for number, way in ((0, "start"), (1, "recomputation"), (2, "recomputation")):
        swarms[len(after(number))] = trained(evidence.lab.store, way, number)
    rows = []
    for m, swarm in sorted(swarms.items()):
        for c in (1.0, 1.5, 2.0):
            size = round(c * (m + 1))
            if swarm is None or size + FEWEST > len(swarm):
                continue
            found = []
            for train, test in _splits(len(swarm), size):
                guess = mixfast.fit(swarm.subset(train), "log_linear", folds=0).predict(swarm.ratios[test])
                found.append(np.mean([rank(guess[:, j], swarm.values[test, j]) for j in range(len(TARGETS))]))
            rows.append(_row("runs for each number of the law", f"{m} domains, c = {c:g}", size, found))
    return rows


def transfer(evidence: Evidence, chosen: Sequence[Choice]) -> list[Row]:
    """Rank correlation between predictions from small models and the losses of final models, over all chosen mixtures."""
    rows = []
    store = evidence.lab.store
    mixtures = {final_run(one.mixture, 0): one.mixture for one in chosen if final_run(one.mixture, 0) in store}
    weights = np.array([mixture.weights for mixture in mixtures.values()])
    capped = np.array([evidence.lab.region(capped=True).contains(row, 1e-6) for row in weights])
    for objective, metrics in OBJECTIVES.items():
        large = np.array([np.mean([store.metric(run, name) for name in metrics]) for run in mixtures])
        swarm = evidence.swarm.select(metrics)
        said = {
            law: mixfast.fit(swarm, law, folds=0).predict(weights).mean(axis=1)
            for law in ("lightgbm", "log_linear", "gp")
        }
        said["experts' ensemble"] = mde.features(evidence.table(metrics, 1), weights, domains=DOMAINS).values.mean(
            axis=1
        )
        for name, guess in said.items():
            for case, kept in (("within the caps", capped), ("all", np.ones(len(capped), dtype=bool))):
                rows.append(
                    Row(
                        f"small to large, {objective}",
                        f"{name}, {case}",
                        int(kept.sum()),
                        rank(guess[kept], large[kept]),
                        np.nan,
                    )
                )
    return rows


def ranks(evidence: Evidence) -> list[Row]:
    """Rank correlation of final models at the swarm's mixtures with the swarm's runs, and with the experts' ensemble."""
    store = evidence.lab.store
    mixtures = dict(zip(evidence.swarm.runs, evidence.swarm.ratios, strict=True))
    rows = []
    for kind, shown in (("fresh", "nothing repeated"), ("large", "natural amount of text")):
        runs = np.array([run for run in evidence.swarm.runs if f"{kind}-{run}" in store])
        for objective, metrics in OBJECTIVES.items() if len(runs) else ():
            small, large = (
                np.array([np.mean([store.metric(prefix + run, name) for name in metrics]) for run in runs])
                for prefix in ("", f"{kind}-")
            )
            for design in ("", "dense", "sparse"):
                kept = np.char.startswith(runs, design)
                case = f"{shown}, {design or 'all'}"
                value = rank(small[kept], large[kept])
                rows.append(Row(f"ranks across scale, {objective}", case, int(kept.sum()), value, np.nan))
            table, weights = evidence.table(metrics, 1), np.array([mixtures[run] for run in runs])
            ensemble = mde.features(table, weights, domains=DOMAINS).values.mean(axis=1)
            value = rank(ensemble, large)
            rows.append(
                Row(f"ranks across scale, {objective}", f"{shown}, the experts' ensemble", len(runs), value, np.nan)
            )
    return rows


def updates(path: Path) -> list[Row]:
    """Mean change against natural over five updates of the domains, percent, and the number of runs, for each way to follow them."""
    if not path.exists():
        return []
    with path.open() as file:
        lines = list(csv.DictReader(file))
    rows = []
    for way in dict.fromkeys(line["way"] for line in lines):
        own = [line for line in lines if line["way"] == way]
        seeds = [
            np.mean([float(line["change_percent"]) for line in own if line["seed"] == seed])
            for seed in sorted({line["seed"] for line in own})
        ]
        rows.append(_row("five updates, percent against natural", way, int(own[0]["runs"]), seeds))
    return rows


def _averaged(swarm: mixfast.Swarm, metrics: Sequence[str]) -> mixfast.Swarm:
    mean = swarm.select(metrics).values.mean(axis=1)
    return mixfast.Swarm(swarm.ratios, mean, domains=swarm.domains, metric_names=["average"], runs=swarm.runs)


def _row(claim: str, case: str, runs: int, found: Sequence[float]) -> Row:
    return Row(claim, case, runs, float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(len(found))))
