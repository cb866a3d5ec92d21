"""The training after the swarm: the rounds of the iterated search, and the final models on every chosen mixture."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

import mixfast
from benchmarks.lab.corpora import DOMAINS
from benchmarks.lab.evidence import BATCH, MATCHED_BATCH, OBJECTIVES, ROUNDS, Evidence
from benchmarks.lab.laboratory import Laboratory
from benchmarks.lab.methods import Choice
from benchmarks.lab.store import Job
from mixfast import designs

SEEDS = 3
LARGE, ENLARGED = {"large": "final", "fresh": "fresh"}, 16
"""Kinds of final models at mixtures of the swarm, with their recipes, and how many of them for each design."""


def next_round(evidence: Evidence, number: int, *, matched: bool) -> list[Job]:
    """Return the proxies of one round, for all objectives; matched proxies are chosen with the law in epochs, without caps."""
    jobs, batch = [], MATCHED_BATCH if matched else BATCH
    region = evidence.lab.region(capped=not matched)
    if matched:
        region = evidence.lab.timed(region)
    for objective, metrics in OBJECTIVES.items():
        swarm = (evidence.followed_matched if matched else evidence.followed)(objective, number).select(metrics)
        law = mixfast.fit(swarm, "epochs", folds=0) if matched else mixfast.fit(swarm)
        wanted = designs.next_runs(swarm, law, region, batch, seed=number)
        kind, recipe = next_kind(objective, matched=matched), "matched" if matched else "proxy"
        jobs += [
            Job(f"{kind}-{i:02d}", kind, recipe, mixfast.Mixture(DOMAINS, ratios), 0)
            for i, ratios in enumerate(wanted.design.ratios, number * batch)
        ]
    return jobs


def next_kind(objective: str, *, matched: bool) -> str:
    """Return the kind of the proxies that were chosen for an objective."""
    return f"matched-next-{objective}" if matched else f"next-{objective}"


def search(lab: Laboratory, workers: int, *, matched: bool) -> None:
    """Train the rounds; each is chosen from the results of the rounds before."""
    batch = MATCHED_BATCH if matched else BATCH
    for number in range(ROUNDS):
        kinds = [next_kind(objective, matched=matched) for objective in OBJECTIVES]
        if any(
            len(lab.store.runs(lambda row, kind=kind: row["kind"] == kind)) < (number + 1) * batch for kind in kinds
        ):
            lab.train(next_round(Evidence(lab), number, matched=matched), workers)


def final_run(mixture: mixfast.Mixture, seed: int) -> str:
    """Return the name of a final run: methods that agree to 1e-5 share it."""
    shares = np.round(mixture.align(DOMAINS).weights, 5) + 0.0
    return f"final-{hashlib.sha256(shares.tobytes()).hexdigest()[:10]}-s{seed}"


def finals(found: Iterable[Choice], seeds: Sequence[int]) -> list[Job]:
    """Return the final models of all choices, all models of one seed first: an interrupted training is complete for some seeds.

    Within a seed the laws in epochs without caps come first, because most questions are about them.
    """
    chosen = sorted(found, key=lambda one: (one.capped, "epochs" not in one.method))
    return [Job(final_run(one.mixture, seed), "final", "final", one.mixture, seed) for seed in seeds for one in chosen]


def enlarged(lab: Laboratory) -> list[Job]:
    """Return final models at the swarm's own first dense and sparse mixtures, with the natural amount of text and with all text."""
    return [
        Job(f"{large}-{run}", large, recipe, lab.store.mixture(run), 0)
        for large, recipe in LARGE.items()
        for kind in ("dense", "sparse")
        for run in lab.store.runs(lambda row, kind=kind: row["kind"] == kind)[:ENLARGED]
    ]


def load(path: Path) -> list[Choice]:
    """Read choices.csv."""
    with path.open() as file:
        return [
            Choice(
                row["objective"],
                row["method"],
                row["capped"] == "1",
                mixfast.Mixture(DOMAINS, [float(row[name]) for name in DOMAINS]),
                int(row["proxies"]),
            )
            for row in csv.DictReader(file)
        ]


def save(found: Iterable[Choice], path: Path) -> None:
    """Write choices.csv."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["objective", "method", "capped", "proxies", "final", *DOMAINS])
        for one in found:
            shares = [repr(one.mixture[name]) for name in DOMAINS]
            writer.writerow(
                [one.objective, one.method, int(one.capped), one.proxies, final_run(one.mixture, 0)[:-3], *shares]
            )
