"""The law in epochs: planted truths, independent solvers, edge cases, and how it is used through `fit`."""

from __future__ import annotations

import numpy as np
import pytest

import mixfast
from mixfast._engine.objectives.epoch_terms import gain, harm
from mixfast.laws import Facts
from mixfast.laws.epochs import Epochs


def planted(runs: int = 60, domains: int = 4, metrics: int = 2, noise: float = 0.005, seed: int = 0):
    """Return mixtures, rates, and metrics of a planted law."""
    rng = np.random.default_rng(seed)
    ratios = rng.dirichlet(np.full(domains, 0.7), runs)
    rate = 8.0 * np.exp(rng.normal(0.0, 0.8, domains))
    epochs = ratios * rate
    a, h = rng.uniform(0.1, 0.8, (metrics, domains)), np.zeros((metrics, domains))
    h[:, 0] = 0.4
    values = np.stack(
        [0.6 + np.exp(0.4 - gain(epochs, 0.5, 0.8)[0] @ a[j] + harm(epochs, 1.5)[0] @ h[j]) for j in range(metrics)], 1
    )
    return ratios, rate, values + noise * rng.standard_normal(values.shape)


def test_the_law_predicts_new_runs_of_a_planted_truth_to_the_noise() -> None:
    ratios, rate, values = planted(runs=160, noise=0.005)
    law = Epochs().fit((ratios * rate)[:100], values[:100])
    error = law.predict((ratios * rate)[100:]) - values[100:]
    assert np.sqrt((error**2).mean()) < 2.0 * 0.005


def test_slopes_are_those_of_predictions() -> None:
    ratios, rate, values = planted()
    for convex in (True, False):
        law = Epochs(convex=convex).informed(Facts(np.array([1.0, -1.0]), np.full(2, np.nan)))
        law = law.fit(ratios * rate, values * [1.0, -1.0])
        at, step = ratios[:5] * rate + 0.1, 1e-6
        _, slopes = law.slopes(at)
        for k in range(4):
            move = step * np.eye(4)[k]
            measured = (law.predict(at + move) - law.predict(at - move)) / (2.0 * step)
            np.testing.assert_allclose(slopes[:, :, k], measured, rtol=1e-5, atol=1e-8)


def test_runs_without_tokens_are_refused_with_what_to_do() -> None:
    ratios, _, values = planted()
    swarm = mixfast.Swarm(ratios, values, domains=list("abcd"), metric_names=["x_loss", "y_loss"])
    with pytest.raises(ValueError, match=r"tokens available to the runs are unknown: give Swarm"):
        mixfast.fit(swarm, "epochs")
