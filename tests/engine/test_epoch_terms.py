"""Gain and harm of epochs: derivatives against differences, and the limits at 0 epochs."""

from __future__ import annotations

import numpy as np
import pytest

from mixfast._engine.objectives.epoch_terms import gain, harm, late_harm

E = np.array([1e-6, 1e-3, 0.1, 1.0, 4.0, 30.0, 400.0])


@pytest.mark.parametrize("p", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("rho", [0.03, 1.0, 7.0])
def test_derivatives_of_the_gain(rho, p):
    epochs = E[:5] / rho
    _check(lambda e: gain(e, rho, p), epochs, 1e-4 * epochs)


@pytest.mark.parametrize("function", [harm, late_harm])
@pytest.mark.parametrize("tau", [0.5, 2.0, 5.0])
def test_derivatives_of_the_harm(function, tau):
    _check(lambda e: function(e, tau), E, 1e-4 * (1.0 + E))


def _check(function, epochs, step):
    up, low, found = function(epochs + step), function(epochs - step), function(epochs)
    for i in range(2):
        rounding = 4e-16 * (np.abs(up[i]) + np.abs(low[i])) / step
        assert (np.abs((up[i] - low[i]) / (2 * step) - found[i + 1]) <= 1e-6 * np.abs(found[i + 1]) + rounding).all()


def test_the_gain_at_no_epochs():
    zero = np.zeros(2)
    value, slope, bend = gain(zero, 2.0, np.array([0.5, 1.0]))
    assert value.tolist() == [0.0, 0.0]
    assert slope.tolist() == [np.inf, 2.0]
    assert bend.tolist() == [-np.inf, -4.0]


def test_the_gain_of_endless_epochs_is_one():
    value, slope, bend = gain(np.array([1e300]), 1.0, 1.0)
    assert (value[0], slope[0], bend[0]) == (1.0, 0.0, 0.0)
