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


FACTORS = (1.0, 10.0, 1000.0, 1e-3, 0.073)
# The largest change of r2 by a factor: LightGBM's trees sum gradients in single precision.
CHANGES = {"linear": 1e-9, "autoscale": 1e-4, "bimix": 1e-6, "gp": 1e-4, "lightgbm": 1e-2}


def reached_in_units(law, y, **options):
    """Return r2 on the runs of a metric multiplied by each factor."""
    if law == "lightgbm":
        pytest.importorskip("lightgbm")
        options = {"rounds": 200, **options}
    swarm = swarm_of(y[:, None] * np.array(FACTORS), *[f"m{i}" for i in range(len(FACTORS))])
    predicted = fit(swarm, law, folds=0, **options).predict(mixtures(len(y)))
    return np.array([r2(y, predicted[:, i] / factor) for i, factor in enumerate(FACTORS)])


@pytest.mark.parametrize("law", [*CHANGES, "log_linear"])
def test_units_of_a_metric_do_not_change_how_well_it_is_described(law):
    reached = reached_in_units(law, curved())
    assert reached[0] > 0.7
    np.testing.assert_allclose(reached, reached[0], atol=CHANGES.get(law, 2e-3))


@pytest.mark.parametrize("law", CHANGES)
def test_units_of_a_metric_that_the_law_does_not_match_do_not_matter(law):
    x = mixtures(60)
    y = 3.0 + 2.0 * ((x - [0.5, 0.3, 0.2]) ** 2).sum(axis=1) + 0.02 * np.random.default_rng(1).standard_normal(60)
    reached = reached_in_units(law, y)
    np.testing.assert_allclose(reached, reached[0], atol=CHANGES[law])


@pytest.mark.parametrize("law", ["linear", "gp", "lightgbm"])
@pytest.mark.parametrize("shift", [-5.0, -2.5, 40.0])
def test_a_shift_of_a_metric_changes_only_laws_that_know_zero(law, shift):
    y = curved() + shift
    reached = reached_in_units(law, y)
    np.testing.assert_allclose(reached, reached[0], atol=CHANGES[law])
    assert reached[0] > 0.7


def test_a_log_linear_law_with_its_delta_in_the_unit_of_the_metric_does_not_depend_on_the_unit():
    # By default delta is 0.02 for medians of 0.1 to 20, as published: there a factor of 10 makes Huber's loss less like squared errors.
    x = mixtures(60)
    y = 3.0 + 2.0 * ((x - [0.5, 0.3, 0.2]) ** 2).sum(axis=1) + 0.02 * np.random.default_rng(1).standard_normal(60)
    reached = [
        r2(
            y,
            fit(swarm_of(factor * y[:, None], "m"), "log_linear", folds=0, delta=0.02 * factor).predict(x)[:, 0]
            / factor,
        )
        for factor in FACTORS
    ]
    np.testing.assert_allclose(reached, reached[0], atol=1e-6)


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
