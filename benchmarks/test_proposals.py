"""propose(): exact proposals of 52 log-linear metrics and of 52 laws in epochs, with caps and a KL term, and searched proposals of other laws.

For `mixfast` the whole of `propose` is timed, including checks and the Proposal. For peers the time starts with the problem built in cvxpy and includes its compilation.
Every answer is projected onto the region, and the same float64 function computes the gap of its shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from benchmarks import runs
from benchmarks.peers import Contender
from benchmarks.suite import Wrong, contenders
from mixfast import Region, fit
from mixfast._engine.objectives.epoch_terms import gain, harm
from mixfast.proposers import propose

METRICS = 52


class Law:
    """Log-linear metrics with the interface of a fitted law."""

    name = "log_linear"

    def __init__(self, gamma: np.ndarray, a: np.ndarray) -> None:
        self.gamma, self.a = gamma, a
        self.metrics = tuple(f"metric {j}" for j in range(gamma.size))
        self.domains = tuple(f"domain {k}" for k in range(a.shape[1]))

    def law_of(self, metric: str) -> tuple[Law, int]:
        """Return the law of a metric and the metric's position in it."""
        return self, self.metrics.index(metric)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Metrics (M, J)."""
        return np.exp(self.gamma) + np.exp(x @ self.a.T)


class EpochLaw:
    """Metrics in epochs with the interface of a fitted law: gains that saturate, harm from repetition, and three shapes of the gain."""

    name, convex = "epochs", True

    def __init__(self, rng: np.random.Generator, rate: np.ndarray) -> None:
        domains = rate.size
        self.rate = rate
        self.a, self.h = rng.gamma(1.0, 0.5, (METRICS, domains)), rng.gamma(1.0, 0.05, (METRICS, domains))
        self.a *= rng.random((METRICS, domains)) < 0.7
        self.h *= rng.random((METRICS, domains)) < 0.5
        self.rho, self.p = np.exp(rng.normal(-1.0, 0.5, METRICS)), rng.choice([0.5, 0.75, 1.0], METRICS)
        self.tau, self.b0 = rng.uniform(1.0, 3.0, METRICS), rng.normal(0.0, 0.3, METRICS)
        self.floor, self.sign = np.full(METRICS, 0.5), np.ones(METRICS)
        self.metrics = tuple(f"metric {j}" for j in range(METRICS))
        self.domains = tuple(f"domain {k}" for k in range(domains))

    def law_of(self, metric: str) -> tuple[EpochLaw, int]:
        """Return the law of a metric and the metric's position in it."""
        return self, self.metrics.index(metric)

    def deficits(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Metrics minus their floors (J,) at one mixture, and their gradients (J, K)."""
        epochs = self.rate * w
        first, slope, _ = gain(epochs, self.rho[:, None], self.p[:, None])
        second, more, _ = harm(epochs, self.tau[:, None])
        e = np.exp(self.b0 - (self.a * first).sum(axis=1) + (self.h * second).sum(axis=1))
        return e, e[:, None] * (self.h * more - self.a * slope) * self.rate

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Metrics (M, J)."""
        return np.array([self.floor + self.deficits(np.maximum(w, 1e-100))[0] for w in x])


@dataclass(frozen=True)
class Case:
    """A law, the region, and the weight of the KL term."""

    law: Law | EpochLaw
    region: Region
    kl: float = 0.05
    patience: float = 5.0

    def gap(self, shares: np.ndarray) -> float:
        """Frank-Wolfe gap at the mixture of the region nearest to the shares, none of them 0."""
        w = np.maximum(self.region.project(shares), 1e-300)
        gradient = self.kl * (np.log(w / self.region.prior) + 1.0)
        if isinstance(self.law, EpochLaw):
            gradient += self.law.deficits(w)[1].mean(axis=0)
        else:
            gradient += (np.exp(self.law.a @ w) / len(self.law.a)) @ self.law.a
        return float(gradient @ w) - self.region.lower_bound(gradient)


@lru_cache(maxsize=1)
def case_of(domains: int, steep: float) -> Case:
    """Return a region: token counts over three orders of magnitude, and a budget of half of four epochs of all tokens."""
    rng = np.random.default_rng(0)
    law = Law(rng.normal(-1.0, 0.3, METRICS), rng.normal(-0.5, steep, (METRICS, domains)))
    tokens = (1e12 * np.exp(rng.normal(0.0, 1.5, domains)) / domains).astype(np.int64)
    available = dict(zip(law.domains, tokens.tolist(), strict=True))
    return Case(law, Region.from_tokens(available, 2 * int(tokens.sum())))


@lru_cache(maxsize=1)
def epoch_case_of(domains: int) -> Case:
    """Return laws in epochs over the region of `case_of`."""
    rng = np.random.default_rng(0)
    tokens = (1e12 * np.exp(rng.normal(0.0, 1.5, domains)) / domains).astype(np.int64)
    law = EpochLaw(rng, 2.0 * tokens.sum() / tokens)
    return Case(law, Region.from_tokens(dict(zip(law.domains, tokens.tolist(), strict=True)), 2 * int(tokens.sum())))


def _ours(case: Case) -> np.ndarray:
    return propose(case.law, case.region, kl=case.kl).mixture.weights


@pytest.mark.parametrize("steep", [1.0, 3.0])
@pytest.mark.parametrize("domains", [24, 64, 256, pytest.param(1024, marks=pytest.mark.large)])
@contenders("proposal", Contender("mixfast", _ours))
def test_exact(measure: Any, domains: int, steep: float, contender: Contender) -> None:
    """The proposal of Olmix, solved exactly; `steep` is the spread of the coefficients."""
    case = case_of(domains, steep)

    def check(shares: np.ndarray) -> dict[str, Any]:
        gap = case.gap(shares)
        if contender.ours and gap > 1e-8:
            raise Wrong(f"its gap is {gap:.1e}")
        held = int((case.region.cap - shares < 1e-9).sum())
        return {"gap": gap, "note": f"{held} at caps"}

    measure(
        contender, case, group=f"exact proposal, {domains} domains, steep {steep:g}", check=check, rows=METRICS,
        domains=domains, quantity="proposal",
    )  # fmt: skip


@pytest.mark.parametrize("domains", [24, 64, 256])
@contenders("proposal", Contender("mixfast", _ours))
def test_exact_in_epochs(measure: Any, domains: int, contender: Contender) -> None:
    """The proposal of laws in epochs, solved exactly; half of the slopes at share 0 are infinite."""
    case = epoch_case_of(domains)

    def check(shares: np.ndarray) -> dict[str, Any]:
        gap = case.gap(shares)
        if contender.ours and gap > 1e-8:
            raise Wrong(f"its gap is {gap:.1e}")
        return {"gap": gap, "note": f"{int((case.region.cap - shares < 1e-9).sum())} at caps"}

    measure(
        contender, case, group=f"exact proposal in epochs, {domains} domains", check=check, rows=METRICS,
        domains=domains, quantity="proposal",
    )  # fmt: skip


@pytest.mark.parametrize("law", ["gp", "linear"])
def test_of_fitted_laws(measure: Any, law: str) -> None:
    """Proposals of laws of 128 runs: a search if the law is not convex."""
    name, x, y = runs.runs()
    swarm = runs.as_swarm(x[:128], y[:128, :3])
    fitted, region = fit(swarm, law, folds=0), Region(swarm.domains, cap=0.4)
    measure(
        Contender("mixfast", lambda it: propose(it, region).mixture.weights), fitted, group=f"proposal of {law}, {name}",
        rows=128, domains=len(swarm.domains), quantity="proposal",
    )  # fmt: skip
