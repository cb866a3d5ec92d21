"""Laws: fits of swarms and predictions for many candidates. RegMix's published runs if they are next to the checkout, otherwise synthetic
ones.

The study `swarm_laws` measures how well the laws predict; here every fit is checked on held-out runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmarks import runs
from benchmarks.limits import median_seconds
from benchmarks.peers import Contender
from benchmarks.suite import Wrong, contenders
from mixfast import Swarm, fit
from mixfast._engine.objectives.epoch_terms import gain, harm
from mixfast.laws._epoch_search import Grid
from mixfast.laws.boosted import Boosted
from mixfast.laws.gaussian import GaussianProcess
from mixfast.laws.log_linear import LogLinear


class Fitted(NamedTuple):
    """Mixtures and losses to fit, and mixtures to predict."""

    x: np.ndarray
    y: np.ndarray
    new: np.ndarray


@lru_cache(maxsize=1)
def data() -> tuple[str, np.ndarray, np.ndarray]:
    """Return the runs that this machine has."""
    return runs.runs()


def part(size: int, metrics: int) -> tuple[str, Fitted, np.ndarray]:
    """Return the origin of the runs, the runs to fit, and the losses of 64 others."""
    name, x, y = data()
    order = np.random.default_rng(0).permutation(len(x))
    chosen, other = order[:size], order[-64:]
    return name, Fitted(x[chosen], y[chosen][:, :metrics], x[other]), y[other][:, :metrics]


def error_on(truth: np.ndarray) -> Any:
    """Check that predictions of held-out runs are better than their mean."""

    def check(found: np.ndarray) -> dict[str, Any]:
        error = np.sqrt(np.mean((found - truth) ** 2, axis=0) / truth.var(axis=0))
        if not (error < 1.0).all():
            raise Wrong(f"errors of {error.max():.2f} standard deviations on runs not seen")
        return {"note": f"error {error.mean():.3f} of the standard deviation"}

    return check


def _log_linear(case: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return LogLinear().fit(*case).objective


def summed(objective: np.ndarray) -> dict[str, Any]:
    """Return the objective that the fit reached."""
    return {"note": f"summed Huber loss {np.sum(objective):.6f}"}


@contenders("log_linear", Contender("mixfast", _log_linear))
def test_log_linear(measure: Any, contender: Contender) -> None:
    """The log-linear law of all runs, one metric: peers take seconds to minutes for it."""
    name, x, y = data()
    measure(
        contender, (x, y[:, :1]), group=f"log-linear law, {name}, 1 metric", check=summed, rows=len(x), domains=x.shape[1],
        quantity="fit",
    )  # fmt: skip


def test_log_linear_of_all(measure: Any) -> None:
    """The log-linear law of all runs, all metrics."""
    name, x, y = data()
    measure(
        Contender("mixfast", _log_linear), (x, y), group=f"log-linear law, {name}, {y.shape[1]} metrics", check=summed,
        rows=len(x), domains=x.shape[1], quantity="fit",
    )  # fmt: skip


# The kernel of scikit-learn's usual model: a constant mean, no prior of the length scales.
SAME = {"mean": "constant", "log": False, "prior": 0.0}


def _gaussian(case: Fitted) -> np.ndarray:
    return GaussianProcess(**SAME).fit(case.x, case.y).predict(case.new)


def _gaussian_default(case: Fitted) -> np.ndarray:
    return GaussianProcess().fit(case.x, case.y).predict(case.new)


@pytest.mark.parametrize(
    ("size", "metrics"), [(128, 3), *(pytest.param(size, 13, marks=pytest.mark.large) for size in (128, 448))]
)
@contenders("gaussian", Contender("mixfast", _gaussian), Contender("mixfast, its own priors", _gaussian_default))
def test_gaussian_process(measure: Any, size: int, metrics: int, contender: Contender) -> None:
    """Fit and prediction of 64 runs, with the same kernel and data."""
    name, case, truth = part(size, metrics)
    measure(
        contender, case, group=f"Gaussian process, {name}, {size} runs, {metrics} metrics", check=error_on(truth), rows=size,
        domains=case.x.shape[1], quantity="fit",
    )  # fmt: skip


class Trees(NamedTuple):
    """A boosted law without early stopping, the runs it is fitted to, and candidates to predict."""

    law: Boosted
    x: np.ndarray
    y: np.ndarray
    candidates: np.ndarray


@lru_cache(maxsize=1)
def trees() -> tuple[str, Trees, np.ndarray]:
    """A thousand trees for each of two metrics, and what ours predicts."""
    name, x, y = data()
    x, y = np.ascontiguousarray(x), y[:, :2]
    law = Boosted(rounds=1000, stopping="none", min_leaf=20).fit(x, y)
    candidates = np.random.default_rng(1).dirichlet(np.full(x.shape[1], 0.3), size=5000)
    return name, Trees(law, x, y, candidates), law.predict(candidates)


@contenders("trees", Contender("mixfast", lambda case: case.law.predict(case.candidates)))
def test_boosted_predict(measure: Any, contender: Contender) -> None:
    """Predictions of boosted trees for many candidates; the same trees, the same bits."""
    name, case, ours = trees()

    def check(found: np.ndarray) -> dict[str, Any]:
        error = float(np.abs(found - ours).max())
        if error:
            raise Wrong(f"predictions differ by {error:.1e}")
        return {"note": "equal to the last bit"}

    measure(
        contender, case, group=f"boosted trees, {name}, predict", check=check, rows=len(case.candidates),
        domains=case.x.shape[1], per=len(case.candidates), unit="candidate",
    )  # fmt: skip


@pytest.mark.parametrize(
    "law", ["linear", "log_linear", "autoscale", "gp", pytest.param("lightgbm", marks=pytest.mark.large)]
)
def test_fit(measure: Any, law: str) -> None:
    """`fit` as a user calls it, with its cross-validation, on 128 runs and three metrics."""
    name, case, truth = part(128, 3)
    swarm = runs.as_swarm(case.x, case.y)
    measure(
        Contender("mixfast", lambda it: fit(it, law).predict(case.new)), swarm, group=f"fit {law}, {name}, 128 runs, 3 metrics",
        check=error_on(truth), rows=128, domains=case.x.shape[1], quantity="fit and cross-validation",
    )  # fmt: skip


class Ran(NamedTuple):
    """Return the output of a command and its processor time, in seconds."""

    text: str
    processor: float


@pytest.mark.parametrize("name", ["fit", pytest.param("compare", marks=pytest.mark.large)])
def test_command(measure: Any, name: str, tmp_path: Path) -> None:
    """The commands `fit` and `compare` as a user types them, including the start of Python and the reading of two files."""
    source, case, _ = part(128, 13)
    files = [tmp_path / "ratios.csv", tmp_path / "metrics.csv"]
    runs.as_swarm(case.x, case.y).to_csv(*files)

    def command(paths: list[Path]) -> Ran:
        before = os.times()
        done = subprocess.run(
            [sys.executable, "-m", "mixfast", name, *map(str, paths)], check=True, capture_output=True, text=True
        )
        after = os.times()
        return Ran(done.stdout, sum(after[2:4]) - sum(before[2:4]))

    def check(ran: Ran) -> dict[str, Any]:
        if "metric 12" not in ran.text:
            raise Wrong("a metric is missing")
        return {"note": f"{ran.processor:.1f} s of processors"}

    measure(
        Contender("mixfast", command), files, group=f"command {name}, {source}, 128 runs, 13 metrics", check=check, rows=128,
        domains=case.x.shape[1], quantity="command",
    )  # fmt: skip


@pytest.mark.parametrize("law", ["log_linear", "gp"])
def test_predict(measure: Any, law: str) -> None:
    """Predictions of a fitted law for many candidates."""
    name, case, _ = part(128, 3)
    fitted = fit(runs.as_swarm(case.x, case.y), law, folds=0)
    candidates = np.random.default_rng(1).dirichlet(np.full(case.x.shape[1], 0.3), size=20_000)
    measure(
        Contender("mixfast", fitted.predict), candidates, group=f"predict {law}, {name}, 128 runs, 3 metrics",
        rows=len(candidates), domains=case.x.shape[1], per=len(candidates), unit="candidate",
    )  # fmt: skip


def in_epochs(runs_of: int, domains: int, metrics: int, diverged: int = 0) -> tuple[Swarm, np.ndarray]:
    """Return a swarm with gains that saturate and harm from repetition, some of whose runs diverged in one metric, and the true metrics."""
    rng = np.random.default_rng(0)
    prior = rng.dirichlet(np.full(domains, 2.0))
    x = rng.dirichlet(0.5 * domains * prior, runs_of)
    rate = 10.0 ** rng.uniform(-0.5, 1.0, domains) / prior
    truth = np.empty((runs_of, metrics))
    for j in range(metrics):
        a, h = rng.exponential(0.3, domains), rng.exponential(0.02, domains) * (rng.random(domains) < 0.3)
        first = gain(x * rate, rng.uniform(0.2, 2.0), rng.uniform(0.5, 1.0))[0]
        truth[:, j] = 2.0 + np.exp(-first @ a + harm(x * rate, rng.uniform(1.0, 2.0))[0] @ h)
    y = truth + 0.02 * truth.std(axis=0) * rng.normal(size=truth.shape)
    y[:diverged, 0] = 100.0
    names = [f"domain {k}" for k in range(domains)]
    return Swarm(
        x, y, domains=names, metric_names=[f"metric {j}" for j in range(metrics)], runs=[str(i) for i in range(runs_of)],
        tokens=dict(zip(names, 1e9 / rate, strict=True)), budget=1e9,
    ), truth  # fmt: skip


def products(swarm: Swarm) -> float:
    """Return the seconds in which BLAS multiplies the columns of every shape that the law in epochs compares, gains and harms, once."""
    epochs = swarm.epochs
    assert epochs is not None
    grid = Grid.of(epochs, convex=True)
    shapes = [np.hstack([first, second]) for first in grid.gains for second in grid.harms]
    return median_seconds(lambda: [x.T @ x for x in shapes])


@pytest.mark.parametrize("diverged", [0, 2])
def test_epochs(measure: Any, diverged: int) -> None:
    """`fit` of the law in epochs with its cross-validation: 320 runs, 40 domains, 50 metrics; at most 2 s on two cores."""
    swarm, truth = in_epochs(320, 40, 50, diverged)

    def check(found: np.ndarray) -> dict[str, Any]:
        return error_on(truth[diverged:])(found[diverged:])

    more = f", {diverged} runs diverged in one metric" if diverged else ""
    measure(
        Contender("mixfast", lambda it: fit(it, "epochs").predict(it.ratios)), swarm,
        group=f"fit epochs, made up, 320 runs, 50 metrics{more}", check=check, rows=320, domains=40,
        quantity="fit and cross-validation", limits=lambda: {"products of the columns of every shape": products(swarm)},
    )  # fmt: skip
