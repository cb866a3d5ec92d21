"""propose(): the exact proposal of 52 log-linear metrics with caps and a KL term, and searched proposals of other laws.

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


@dataclass(frozen=True)
class Case:
    """A law, the region, and the weight of the KL term."""

    law: Law
    region: Region
    kl: float = 0.05
    patience: float = 5.0

    def gap(self, shares: np.ndarray) -> float:
        """Frank-Wolfe gap at the mixture of the region nearest to the shares, none of them 0."""
        w = np.maximum(self.region.project(shares), 1e-300)
        e = np.exp(self.law.a @ w) / len(self.law.a)
        gradient = e @ self.law.a + self.kl * (np.log(w / self.region.prior) + 1.0)
        return float(gradient @ w) - self.region.lower_bound(gradient)


@lru_cache(maxsize=1)
def case_of(domains: int, steep: float) -> Case:
    """Return a region: token counts over three orders of magnitude, and a budget of half of four epochs of all tokens."""
    rng = np.random.default_rng(0)
    law = Law(rng.normal(-1.0, 0.3, METRICS), rng.normal(-0.5, steep, (METRICS, domains)))
    tokens = (1e12 * np.exp(rng.normal(0.0, 1.5, domains)) / domains).astype(np.int64)
    available = dict(zip(law.domains, tokens.tolist(), strict=True))
    return Case(law, Region.from_tokens(available, 2 * int(tokens.sum())))


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
