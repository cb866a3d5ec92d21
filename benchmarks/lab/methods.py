"""The methods: (evidence, objective, region) -> mixture and the number of proxies used."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import mixfast
from benchmarks.lab.corpora import DOMAINS, TARGETS
from benchmarks.lab.laboratory import VALIDATION, Laboratory
from mixfast import mde

OBJECTIVES = {**{name: (name,) for name in TARGETS}, "mean": VALIDATION}
"""Metrics of each objective; all have the same weight."""
BLOCK = 8
"""Tokens of a block; within a block the weights follow the experts' posterior."""
KL = 0.05
"""Pull to the natural mixture, nats per byte. Olmix recommends this number for its losses in bits."""
WEAR, PASSES = 15.4, 32
"""Repeats after which a token is worth 1/e of a new one (Muennighoff et al. 2023, arXiv:2305.16264), and a cap in epochs that does not bind."""
FIRST, BATCH, ROUNDS = 16, 8, 2
"""For the iterated search: runs of the first design, runs per round, and rounds."""


@dataclass(frozen=True)
class Choice:
    """The mixture that a method chose, and the number of proxy runs it used."""

    objective: str
    method: str
    capped: bool
    mixture: mixfast.Mixture
    proxies: int


class Evidence:
    """The data that methods may use: the experts' tables and the swarm, nothing from final models."""

    def __init__(self, lab: Laboratory) -> None:
        self.lab = lab

    @cached_property
    def _scored(self) -> dict[str, np.ndarray]:
        """Log-likelihoods of each set's tokens, (windows, T, K)."""
        experts = [self.lab.expert(name) for name in DOMAINS]
        return {name: np.stack([expert[name] for expert in experts], axis=2) for name in experts[0]}

    def table(self, metrics: Sequence[str], block: int) -> mixfast.ExpertTable:
        """Return the experts' table of some sets: rows of `block` tokens each, a group for each set."""
        window = self.lab.scale.proxy.shape.window
        sums, sequence, group = [], [], []
        for name in metrics:
            scored = self._scored[name].astype(np.float64)
            sums.append(scored.reshape(-1, block, len(DOMAINS)).sum(axis=1))
            rows = len(sums[-1])
            sequence.append(np.arange(rows) // (window // block) + sum(map(len, sums[:-1])))
            group.append(np.full(rows, len(group)))
        loglik = np.concatenate(sums)
        return mixfast.ExpertTable.from_loglik(
            loglik,
            domains=DOMAINS,
            length=None if block == 1 else np.full(len(loglik), block),
            group=np.concatenate(group),
            group_names=metrics,
            sequence=np.concatenate(sequence) if block < window else None,
        )

    def per_byte(self, objective: str) -> dict[str, float]:
        """Return the weight of each group, in nats per token, of an objective that is a mean in nats per byte."""
        found = {}
        for name in OBJECTIVES[objective]:
            text = self.lab.corpora[name.removeprefix("val_")]
            found[name] = self.lab.scale.proxy.shape.window / float(text.held_bytes[: len(self._scored[name])].mean())
        return found

    @cached_property
    def swarm(self) -> mixfast.Swarm:
        """Dense and sparse runs, alternately."""
        runs = [self.lab.store.runs(lambda row, kind=kind: row["kind"] == kind) for kind in ("dense", "sparse")]
        return self.lab.store.swarm([run for pair in zip(*runs, strict=True) for run in pair], DOMAINS)

    def followed(self, objective: str, rounds: int) -> mixfast.Swarm:
        """Return the first runs of the swarm and those that `next_runs` chose in this number of rounds."""
        count = rounds * BATCH
        more = self.lab.store.runs(lambda row: row["kind"] == f"next-{objective}")[:count]
        return self.lab.store.swarm([*self.swarm.runs[:FIRST], *more], DOMAINS, chosen=more)


Chooser = Callable[[Evidence, str, mixfast.Region], tuple[Any, int]]


def _natural(_evidence: Evidence, _objective: str, region: mixfast.Region) -> tuple[Any, int]:
    return region.prior, 0


def _uniform(_evidence: Evidence, _objective: str, region: mixfast.Region) -> tuple[Any, int]:
    # The nearest point to the uniform mixture under caps fills every domain to one level or its cap: that is UniMax.
    return region.project(np.full(len(DOMAINS), 1 / len(DOMAINS))), 0


def _best_run(evidence: Evidence, objective: str, region: mixfast.Region) -> tuple[Any, int]:
    swarm = evidence.swarm.select(OBJECTIVES[objective])
    allowed = [row for row in range(len(swarm)) if region.contains(swarm.ratios[row])]
    best = min(allowed, key=lambda row: swarm.values[row].mean(), default=None)
    return (region.prior if best is None else swarm.ratios[best]), len(swarm)


def _mixmin_paper(evidence: Evidence, objective: str, region: mixfast.Region) -> tuple[Any, int]:
    table = evidence.table(OBJECTIVES[objective], evidence.lab.scale.proxy.shape.window)
    with warnings.catch_warnings():
        # The warning is expected: its 100 steps end above the tolerance.
        warnings.simplefilter("ignore", mixfast.errors.NotConvergedWarning)
        found = mixfast.solve(table, objective=evidence.per_byte(objective), method="eg-paper")
    return region.project(found.mixture.align(DOMAINS).weights), len(DOMAINS)


def _exact(block: int | None, kl: float = 0.0) -> Chooser:
    def choose(evidence: Evidence, objective: str, region: mixfast.Region) -> tuple[Any, int]:
        table = evidence.table(OBJECTIVES[objective], block or evidence.lab.scale.proxy.shape.window)
        return mixfast.solve(table, region, kl=kl, objective=evidence.per_byte(objective)).mixture, len(DOMAINS)

    return choose


def _within(epochs: float) -> Chooser:
    def choose(evidence: Evidence, objective: str, _region: mixfast.Region) -> tuple[Any, int]:
        return _exact(1)(evidence, objective, evidence.lab.region(capped=True, max_epochs=epochs))

    return choose


def _worn(kl: float = 0.0) -> Chooser:
    def choose(evidence: Evidence, objective: str, _region: mixfast.Region) -> tuple[Any, int]:
        table, region = (
            evidence.table(OBJECTIVES[objective], 1),
            evidence.lab.region(capped=True, max_epochs=PASSES),
        )
        found = mixfast.solve(table, region, kl=kl, objective=evidence.per_byte(objective), wear=WEAR)
        return found.mixture, len(DOMAINS)

    return choose


def _law(law: str, *, features: bool = False, **options: Any) -> Chooser:
    def choose(evidence: Evidence, objective: str, region: mixfast.Region) -> tuple[Any, int]:
        swarm = evidence.swarm.select(OBJECTIVES[objective])
        # As in the paper: the ensemble's losses on all sets, for every objective.
        known = mde.features(evidence.table((*VALIDATION, *TARGETS), 1), swarm) if features else None
        fitted = mixfast.fit(swarm, law, features=known, folds=5 if law == "auto" else 0)
        return mixfast.propose(fitted, region, **options).mixture, len(swarm) + features * len(DOMAINS)

    return choose


def _next(evidence: Evidence, objective: str, region: mixfast.Region) -> tuple[Any, int]:
    swarm = evidence.followed(objective, ROUNDS).select(OBJECTIVES[objective])
    return mixfast.propose(mixfast.fit(swarm), region).mixture, len(swarm)


METHODS: dict[str, Chooser] = {
    "natural": _natural,
    "uniform": _uniform,
    "best run": _best_run,
    "MixMin": _mixmin_paper,
    "mixfast, sequences": _exact(None),
    "mixfast, tokens": _exact(1),
    "mixfast, posterior of 8": _exact(BLOCK),
    "mixfast, tokens, KL": _exact(1, KL),
    "mixfast, posterior of 8, KL": _exact(BLOCK, KL),
    "RegMix": _law("lightgbm", method="regmix"),
    "Olmix": _law("log_linear", kl=KL * math.log(2)),
    "Olmix, no KL": _law("log_linear"),
    "MDE, ridge": _law("linear", features=True),
    "MDE, GP": _law("gp", features=True),
    "MDE, LightGBM": _law("lightgbm", features=True),
    "mixfast, auto": _law("auto"),
    "mixfast, auto and MDE": _law("auto", features=True),
    "mixfast, auto, KL": _law("auto", kl=KL),
    "mixfast, auto and MDE, KL": _law("auto", features=True, kl=KL),
    "mixfast, next runs": _next,
    **{f"mixfast, tokens, {epochs} epochs": _within(epochs) for epochs in (2, 8)},
    "mixfast, tokens, wear": _worn(),
    "mixfast, tokens, wear, KL": _worn(KL),
}
# These have their own caps instead of the common ones.
OWN_CAPS = tuple(name for name in METHODS if name.endswith("epochs") or ", wear" in name)
# With caps, all methods; without caps, those of the papers and their counterparts here.
UNCAPPED = (
    "natural",
    "uniform",
    "best run",
    "MixMin",
    "mixfast, tokens",
    "RegMix",
    "Olmix",
    "mixfast, auto",
    "mixfast, next runs",
    *OWN_CAPS,
)


def choices(evidence: Evidence, known: Sequence[Choice] = ()) -> list[Choice]:
    """Return the choice of every method for every objective, with caps and without; known choices are not computed again."""
    have = {(one.capped, one.method, one.objective): one for one in known}
    found = []
    for capped in (True, False):
        region = evidence.lab.region(capped=capped)
        for method, choose in METHODS.items():
            for objective in OBJECTIVES if (method not in OWN_CAPS if capped else method in UNCAPPED) else ():
                if one := have.get((capped, method, objective)):
                    found.append(one)
                    continue
                shares, proxies = choose(evidence, objective, region)
                weights = shares.align(DOMAINS).weights if isinstance(shares, mixfast.Mixture) else shares
                # Smaller shares are set to 0: a final run has 8000 windows, so they would not be sampled.
                kept = np.where(np.asarray(weights) < 1e-5, 0.0, weights)
                mixture = mixfast.Mixture(DOMAINS, kept / math.fsum(kept))
                found.append(Choice(objective, method, capped, mixture, proxies))
    return found
