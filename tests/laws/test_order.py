"""Laws do not depend on the order of domains, metrics or runs, and runs of one mixture are left out together."""

from __future__ import annotations

import numpy as np
import pytest

import mixfast
from mixfast.laws._epoch_search import inner_folds
from mixfast.swarm import mixture_of
from tests.laws.test_epochs import planted

RUNS, DOMAINS, METRICS = 40, 4, 3
ORDER = {"domains": [2, 0, 3, 1], "metrics": [1, 2, 0], "runs": np.random.default_rng(1).permutation(RUNS).tolist()}


def fitted(law: str, moved: str | None) -> tuple[np.ndarray, list[float]]:
    """Return the predictions (R, J) and out-of-fold errors of a law, in the original order, after moving the parts of a swarm."""
    ratios, rate, values = planted(runs=RUNS, metrics=METRICS, noise=0.02)
    place = {name: list(range(count)) for name, count in zip(ORDER, (DOMAINS, METRICS, RUNS), strict=True)}
    if moved is not None:
        place[moved] = ORDER[moved]
    rows, columns, kept = place["runs"], place["domains"], place["metrics"]
    swarm = mixfast.Swarm(
        ratios[rows][:, columns],
        values[rows][:, kept],
        domains=[f"d{k}" for k in columns],
        metric_names=[f"m{j}_loss" for j in kept],
        runs=[str(i) for i in rows],
        tokens={f"d{k}": 1e9 / rate[k] for k in columns},
        budget=1e9,
    )
    fit = mixfast.fit(swarm, law, folds=0 if moved == "runs" else 3)
    back = np.argsort(kept)
    return fit.predict(ratios[:, columns])[:, back], [fit.reports[j].rmse for j in back] if fit.reports else []


# The order of the runs decides the inner folds of log_linear and lightgbm, and the order of the domains which of two equal splits of a
# tree is taken.
@pytest.mark.parametrize(
    ("law", "moved"),
    [
        *((law, moved) for law in ("epochs", "linear", "gp") for moved in ORDER),
        ("log_linear", "domains"),
        ("log_linear", "metrics"),
        ("lightgbm", "metrics"),
        ("bimix", "metrics"),
        ("autoscale", "metrics"),
    ],
)
def test_the_order_of_domains_metrics_and_runs_changes_nothing(law: str, moved: str) -> None:
    pytest.importorskip("lightgbm") if law == "lightgbm" else None
    (one, errors), (other, others) = fitted(law, None), fitted(law, moved)
    np.testing.assert_allclose(other, one, rtol=0.0, atol=1e-6 * one.std())
    if others:
        np.testing.assert_allclose(others, errors, rtol=1e-6)


def test_runs_of_one_mixture_are_in_one_fold_at_any_budget() -> None:
    ratios, rate, _ = planted(runs=30)
    twice = np.vstack([ratios, ratios[:12] + 1e-10])
    epochs = np.vstack([ratios * rate, ratios[:12] * rate * 3.0])
    mixture = mixture_of(twice)
    np.testing.assert_array_equal(mixture[30:], mixture[:12])
    fold = inner_folds(epochs, mixture, 5, 0)
    np.testing.assert_array_equal(fold[30:], fold[:12])
    assert len(set(fold[:30].tolist())) == 5
    swarm = mixfast.Swarm(
        twice / twice.sum(axis=1, keepdims=True),
        np.arange(42.0),
        domains=list("abcd"),
        metric_names=["loss"],
        tokens=dict(zip("abcd", 1e9 / rate, strict=True)),
        budget=np.where(np.arange(42) < 30, 1e9, 3e9),
    )
    for train, test in swarm.folds(5):
        assert not set(mixture[train].tolist()) & set(mixture[test].tolist())


@pytest.mark.parametrize("law", ["epochs", "log_linear", "lightgbm"])
def test_a_repeated_mixture_does_not_leak_into_the_choice_of_settings(law: str) -> None:
    # Every mixture stands in the swarm twice with pure noise as its metric: only a law whose inner folds part the pairs believes in it.
    pytest.importorskip("lightgbm") if law == "lightgbm" else None
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(4), 30)
    values = rng.standard_normal((30, 1)) * 0.1 + 3.0
    swarm = mixfast.Swarm(
        np.vstack([ratios, ratios]),
        np.vstack([values, values + 1e-3 * rng.standard_normal((30, 1))]),
        domains=list("abcd"),
        metric_names=["m_loss"],
        tokens=dict.fromkeys("abcd", 1e8),
        budget=1e9,
    )
    fit = mixfast.fit(swarm, law, folds=0)
    assert fit.predict(ratios).std() < 0.06


def test_mixtures_are_equal_within_rounding_and_not_beyond() -> None:
    rng = np.random.default_rng(0)
    w = rng.dirichlet(np.ones(5), 50)
    noisy = w + rng.uniform(-4e-10, 4e-10, w.shape)
    assert mixture_of(np.vstack([w, noisy])).tolist() == [*range(50), *range(50)]
    far = w.copy()
    far[:, 0] += 1e-4
    assert mixture_of(np.vstack([w, far])).tolist() == list(range(100))
    assert mixture_of(w[:, ::-1]).tolist() == mixture_of(w).tolist()
