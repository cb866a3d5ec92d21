"""A metric in other units has the same law; laws that cannot describe the values of a metric all say so in the same way."""

from __future__ import annotations

import numpy as np
import pytest

from mixfast import Swarm, fit

pytest.importorskip("numba")
pytest.importorskip("scipy")

DOMAINS = ("web", "code", "maths")
POSITIVE = ("log_linear", "autoscale", "bimix")


def swarm_of(y, *names):
    x = mixtures(len(y))
    return Swarm(x, y, domains=DOMAINS, metric_names=names, runs=[f"r{i}" for i in range(len(y))])


def mixtures(runs):
    return np.random.default_rng(0).dirichlet(np.ones(3), runs)


def curved(runs=40):
    """Return a loss of order 1."""
    return 2.0 + np.exp(-3.0 * mixtures(runs)[:, 0]) + 0.01 * np.random.default_rng(1).standard_normal(runs)


def r2(truth, predicted):
    return 1.0 - ((predicted - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()


@pytest.mark.parametrize(
    # LightGBM's trees sum gradients in single precision; log_linear's delta is Olmix's, for unscaled losses.
    ("law", "off"),
    [("linear", 1e-9), ("log_linear", 2e-3), ("autoscale", 1e-4), ("bimix", 1e-6), ("gp", 1e-4), ("lightgbm", 1e-2)],
)
def test_units_of_a_metric_do_not_change_how_well_it_is_described(law, off):
    if law == "lightgbm":
        pytest.importorskip("lightgbm")
    y = curved()
    factors = (1.0, 10.0, 1000.0, 1e-3)
    values = y[:, None] * np.array(factors)
    names = [f"m{i}" for i in range(len(factors))]
    predicted = fit(swarm_of(values, *names), law, folds=0).predict(mixtures(len(y)))
    reached = np.array([r2(y, predicted[:, i] / factor) for i, factor in enumerate(factors)])
    assert reached[0] > 0.7
    np.testing.assert_allclose(reached, reached[0], atol=off)


@pytest.mark.parametrize("law", POSITIVE)
def test_laws_that_are_positive_refuse_negative_metrics_in_the_same_words(law):
    swarm = swarm_of(np.column_stack([curved(), -curved()]), "loss", "quiz/nlogp")
    with pytest.raises(
        ValueError, match=f"no law can be fitted to quiz/nlogp: {law}: negative values, and this law is positive"
    ):
        fit(swarm, law)
    fitted = fit(swarm, ["linear", law], folds=3)
    assert fitted.laws["quiz/nlogp"] == "linear"
    (note,) = [note for note in fitted.notes if "left out" in note]
    assert note.startswith(f"quiz/nlogp: a law was left out: {law}: negative values")
    assert "linear, gp and lightgbm can describe it" in note


def test_one_line_names_all_metrics_that_a_law_cannot_describe():
    values = np.column_stack([-curved(), -2.0 * curved(), curved()])
    notes = [note for note in fit(swarm_of(values, "a", "b", "c")).notes if "left out" in note]
    assert notes == [notes[0]]
    assert notes[0].startswith("a, b: a law was left out: log_linear: ")
