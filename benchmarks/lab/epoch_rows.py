"""The rows that know how often a run reads each domain: laws in epochs, laws on repetition-matched proxies, fitted wear, and cheap controls."""

from __future__ import annotations

from typing import Any

import numpy as np

import mixfast
from benchmarks.lab.corpora import DOMAINS
from benchmarks.lab.evidence import OBJECTIVES, ROUNDS, Chooser, Evidence
from benchmarks.lab.laboratory import VALIDATION
from mixfast import baselines
from mixfast.laws.epochs import Epochs

GUARD = "2 %"
"""How much worse than natural a domain's validation loss may be in the row with a guard."""
FEW = 32
"""Matched proxies of the row that uses half of them."""
TEMPERATURE = 2.0


def epochs(
    matched: bool,
    *,
    convex: bool = True,
    kl: float = 0.0,
    count: int | None = None,
    guard: bool = False,
    own_rate: bool = False,
) -> Chooser:
    """Return the chooser of a law in epochs, evaluated at the epochs of the final run, or with `own_rate` at those of the proxies."""

    def choose(evidence: Evidence, objective: str, region: mixfast.Region) -> tuple[Any, int]:
        metrics = OBJECTIVES[objective]
        kept = tuple(dict.fromkeys((*metrics, *VALIDATION))) if guard else metrics
        swarm = evidence.counted(matched, count).select(kept)
        fitted = mixfast.fit(swarm, Epochs(convex=convex), folds=0)
        if own_rate:
            # A region that knows its tokens would set the epochs of the final run.
            region = mixfast.Region(region.domains, cap=region.cap, prior=region.prior)
        else:
            supply = {name: evidence.lab.supply[name] for name in DOMAINS}
            fitted = fitted.for_run(supply, sum(supply.values()))
            region = evidence.lab.timed(region)
        weights, limits = dict.fromkeys(metrics, 1.0), dict.fromkeys(VALIDATION, GUARD) if guard else None
        return mixfast.propose(fitted, region, kl=kl, objective=weights, guard=limits).mixture, len(swarm)

    return choose


def matched(law: str, *, counted: bool = False, **options: Any) -> Chooser:
    """Return the chooser of a law on the matched proxies; unless `counted`, the law is not told how often they read each domain."""

    def choose(evidence: Evidence, objective: str, region: mixfast.Region) -> tuple[Any, int]:
        swarm = (evidence.counted(True) if counted else evidence.matched).select(OBJECTIVES[objective])
        fitted = mixfast.fit(swarm, law, folds=5 if law == "auto" else 0)
        return mixfast.propose(fitted, evidence.lab.timed(region) if counted else region, **options).mixture, len(swarm)

    return choose


def next_runs(evidence: Evidence, objective: str, region: mixfast.Region) -> tuple[Any, int]:
    """Return the proposal of a law in epochs after the rounds of matched proxies that were chosen with it."""
    swarm = evidence.followed_matched(objective, ROUNDS).select(OBJECTIVES[objective])
    fitted = mixfast.fit(swarm, Epochs(), folds=0)
    return mixfast.propose(fitted, evidence.lab.timed(region)).mixture, len(swarm)


def temperature(evidence: Evidence, _objective: str, region: mixfast.Region) -> tuple[Any, int]:
    """Return shares in proportion to the square root of the supply."""
    return baselines.temperature({name: evidence.lab.supply[name] for name in region.domains}, TEMPERATURE), 0


def utilimax(evidence: Evidence, objective: str, region: mixfast.Region) -> tuple[Any, int]:
    """Return UtiliMax's mixture, with utilities from the experts: 1 for the best expert of a task, 0 for the worst."""
    metrics, store = OBJECTIVES[objective], evidence.lab.store
    losses = np.array([[store.metric(f"expert-{name}", metric) for metric in metrics] for name in DOMAINS])
    worst, best = losses.max(axis=0), losses.min(axis=0)
    return baselines.utilimax(region, utilities=(worst - losses) / (worst - best)), len(DOMAINS)
