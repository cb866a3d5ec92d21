"""The methods: (evidence, objective, region) -> mixture and the number of proxies used."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import mixfast
from benchmarks.lab import epoch_rows
from benchmarks.lab.corpora import DOMAINS, TARGETS
from benchmarks.lab.evidence import OBJECTIVES, ROUNDS, Chooser, Evidence
from benchmarks.lab.laboratory import VALIDATION
from mixfast import mde

BLOCK = 8
"""Tokens of a block; within a block the weights follow the experts' posterior."""
KL = 0.05
"""Pull to the natural mixture, nats per byte. Olmix recommends this number for its losses in bits."""
WEAR, PASSES = 15.4, 32
"""Repeats after which a token is worth 1/e of a new one (Muennighoff et al. 2023, arXiv:2305.16264), and a cap in epochs that does not bind."""


@dataclass(frozen=True)
class Choice:
    """The mixture that a method chose, and the number of proxy runs it used."""

    objective: str
    method: str
    capped: bool
    mixture: mixfast.Mixture
    proxies: int


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


def _worn(kl: float = 0.0, *, fitted: bool = False) -> Chooser:
    def choose(evidence: Evidence, objective: str, _region: mixfast.Region) -> tuple[Any, int]:
        table, region = (
            evidence.table(OBJECTIVES[objective], 1),
            evidence.lab.region(capped=True, max_epochs=PASSES),
        )
        wear = evidence.wear if fitted else WEAR
        found = mixfast.solve(table, region, kl=kl, objective=evidence.per_byte(objective), wear=wear)
        return found.mixture, len(DOMAINS) + (len(evidence.matched) if fitted else 0)

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
    "mixfast, tokens, fitted wear": _worn(fitted=True),
    "mixfast, tokens, fitted wear, KL": _worn(KL, fitted=True),
    "temperature 2": epoch_rows.temperature,
    "UtiliMax": epoch_rows.utilimax,
    "mixfast, epochs, matched": epoch_rows.epochs(True),
    "mixfast, epochs, matched, searched": epoch_rows.epochs(True, convex=False),
    "mixfast, epochs, unmatched": epoch_rows.epochs(False),
    "mixfast, epochs, unmatched, searched": epoch_rows.epochs(False, convex=False),
    "mixfast, epochs, unmatched, own rate": epoch_rows.epochs(False, own_rate=True),
    "mixfast, epochs, 32 matched": epoch_rows.epochs(True, count=epoch_rows.FEW),
    "mixfast, epochs, matched, KL": epoch_rows.epochs(True, kl=KL),
    "mixfast, epochs, matched, searched, KL": epoch_rows.epochs(True, convex=False, kl=KL),
    "mixfast, epochs, unmatched, KL": epoch_rows.epochs(False, kl=KL),
    "mixfast, epochs, matched, guard": epoch_rows.epochs(True, guard=True),
    "mixfast, epochs, matched, next runs": epoch_rows.next_runs,
    "mixfast, epochs, matched, present law": epoch_rows.epochs(True),
    "Olmix, matched": epoch_rows.matched("log_linear", kl=KL * math.log(2)),
    "RegMix, matched": epoch_rows.matched("lightgbm", method="regmix"),
    "mixfast, auto, matched, KL": epoch_rows.matched("auto", kl=KL),
    "mixfast, auto, matched, counted": epoch_rows.matched("auto", counted=True),
}
# These have their own caps instead of the common ones.
OWN_CAPS = tuple(name for name in METHODS if name.endswith("epochs") or "wear" in name)
# Without caps: the methods of the papers, their counterparts here, and all rows that know repetition.
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
    "temperature 2",
    *(name for name in METHODS if "matched" in name),
    *OWN_CAPS,
)
# With caps: all methods but these, which have limits of their own or are asked whether they need none.
FREE = (
    "mixfast, epochs, unmatched, searched",
    "mixfast, epochs, 32 matched",
    "mixfast, epochs, matched, searched, KL",
    "mixfast, epochs, unmatched, KL",
    "mixfast, epochs, matched, guard",
    "mixfast, epochs, matched, next runs",
    "mixfast, epochs, matched, present law",
    "mixfast, auto, matched, counted",
    *OWN_CAPS,
)


def about_repetition(method: str) -> bool:
    """Whether a row was added to ask about repetition."""
    return any(word in method for word in ("matched", "fitted wear", "temperature", "UtiliMax"))


def choices(evidence: Evidence, known: Sequence[Choice] = ()) -> list[Choice]:
    """Return the choice of every method for every objective, with caps and without; known choices are not computed again."""
    have = {(one.capped, one.method, one.objective): one for one in known}
    found = []
    for capped in (True, False):
        region = evidence.lab.region(capped=capped)
        for method, choose in METHODS.items():
            for objective in OBJECTIVES if (method not in FREE if capped else method in UNCAPPED) else ():
                if one := have.get((capped, method, objective)):
                    found.append(one)
                    continue
                shares, proxies = choose(evidence, objective, region)
                weights = shares.align(DOMAINS).weights if isinstance(shares, mixfast.Mixture) else shares
                # Smaller shares are set to 0: a final run has 8000 windows, so they would not be sampled.
                kept = np.where(np.asarray(weights) < 1e-5, 0.0, weights)
                mixture = mixfast.Mixture(DOMAINS, kept / math.fsum(kept))
                found.append(Choice(objective, method, capped, mixture, proxies))
    # Rows of an earlier version of a method stay, under another name.
    return found + [one for one in known if one.method not in METHODS]
