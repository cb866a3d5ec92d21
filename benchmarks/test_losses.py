"""Losses of many mixtures over one table, and the features of ensembles that are made of them.

Peers start from ready float32 probabilities, ours from the log-likelihoods. The limit is the bare float32 matrix product of that shape.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmarks import facts, limits
from benchmarks.peers import Contender
from benchmarks.problems import Problem, gaussians
from benchmarks.suite import Wrong, contenders
from mixfast import ExpertTable, mde, reference, solver

CANDIDATES = 1000
SHAPES = {"1e5x16": (100_000, 16), "1e5x64": (100_000, 64), "1e6x16": (1_000_000, 16), "1e6x64": (1_000_000, 64)}
# Largest difference in nats between a float32 sum and the float64 reference.
PEERS_ERROR, OWN_ERROR = 1e-3, 1e-5


class Case(NamedTuple):
    """A table and the mixtures to evaluate on it."""

    problem: Problem
    mixtures: np.ndarray
    constant: float


@lru_cache(maxsize=1)
def case_of(name: str) -> tuple[Case, np.ndarray]:
    """The case, and the exact losses of three of its mixtures."""
    n, k = SHAPES[name]
    problem = gaussians(name, n, k, seed=7)
    mixtures = np.random.default_rng(7).dirichlet(np.ones(k), size=CANDIDATES)
    exact = [reference.ensemble_loss(problem.loglik, problem.row_weight, w) for w in mixtures[:3]]
    return Case(problem, mixtures, float(problem.row_weight @ problem.offset)), np.array(exact)


def _prepare(case: Case) -> tuple[ExpertTable, np.ndarray]:
    return ExpertTable.from_loglik(case.problem.loglik), case.mixtures


def _ours(ready: tuple[ExpertTable, np.ndarray]) -> np.ndarray:
    table, mixtures = ready
    return solver.losses(table, mixtures, threads=facts.threads())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.large] if name[:3] == "1e6" else []) for name in SHAPES]
)
@contenders("losses", Contender("mixfast", _ours, prepare=_prepare))
def test_losses(measure: Any, name: str, contender: Contender) -> None:
    """A thousand candidates, as a search over mixtures evaluates them."""
    case, exact = case_of(name)
    (n, k), m = case.problem.shape, CANDIDATES

    def check(losses: np.ndarray) -> dict[str, Any]:
        error = float(np.abs(np.asarray(losses)[:3] - exact).max())
        if error > (OWN_ERROR if contender.ours else PEERS_ERROR):
            raise Wrong(f"wrong by {error:.1e} nats")
        return {"note": f"error {error:.0e} nats"}

    measure(
        contender, case, group=f"losses {name}", check=check, problem=name, rows=n, domains=k, quantity=f"{m} losses",
        limits=lambda: {
            "float32 product, stored": limits.product(n, k, m), "one read of the table": limits.stream(case.problem.loglik),
        },
    )  # fmt: skip


LENGTH, GROUPS = 256, 8  # tokens of a sequence, groups of rows


class FeatureCase(NamedTuple):
    """A table of tokens in sequences and groups of equal size, and the mixtures of some runs."""

    table: ExpertTable
    mixtures: np.ndarray
    group: int


@lru_cache(maxsize=1)
def features_of(runs: int, rows: int = 100_000, domains: int = 16) -> FeatureCase:
    """Synthetic tokens."""
    rng = np.random.default_rng(0)
    group = rows // GROUPS // LENGTH * LENGTH
    n = group * GROUPS
    loglik = -rng.gamma(2.0, 1.5, (n, domains)).astype(np.float32)
    table = ExpertTable.from_loglik(loglik, group=np.arange(n) // group, sequence=np.arange(n) // LENGTH)
    return FeatureCase(table, rng.dirichlet(np.ones(domains), runs), group)


def _features(case: FeatureCase) -> np.ndarray:
    return mde.features(case.table, case.mixtures, threads=facts.threads()).values


@pytest.mark.parametrize("runs", [25, pytest.param(500, marks=pytest.mark.large)])
@contenders("features", Contender("mixfast", _features))
def test_features(measure: Any, runs: int, contender: Contender) -> None:
    """The features of the runs of a swarm at the level of tokens."""
    case = features_of(runs)
    exact = [
        reference.ensemble_loss(block, np.full(case.group, 1.0 / case.group), case.mixtures[0])
        for block in np.split(case.table.loglik, GROUPS)
    ]

    def check(values: np.ndarray) -> dict[str, Any]:
        error = float(np.abs(values[0] - exact).max())
        if error > OWN_ERROR:
            raise Wrong(f"wrong by {error:.1e} nats")
        return {"note": f"error {error:.0e} nats"}

    measure(
        contender, case, group=f"features of {runs} runs", check=check, rows=case.table.n_rows,
        domains=case.mixtures.shape[1], quantity=f"{runs} x {GROUPS} features",
        limits=lambda: {"one read of the table": limits.stream(case.table.loglik)},
    )  # fmt: skip


@pytest.mark.parametrize("what", ["posterior", "20000 rows"])
def test_other_features(measure: Any, what: str) -> None:
    """Features of posteriors, and of a sample of the rows."""
    case = features_of(25)
    options: dict[str, Any] = {"levels": ("posterior",)} if what == "posterior" else {"rows": 20_000}
    contender = Contender(
        "mixfast", lambda it: mde.features(it.table, it.mixtures, threads=facts.threads(), **options).values
    )
    measure(
        contender, case, group=f"features of 25 runs, {what}", rows=case.table.n_rows, domains=case.mixtures.shape[1],
        quantity="features",
    )  # fmt: skip
