"""The KL projection of shares within caps and floors, with which expectation maximisation keeps small shares."""

from __future__ import annotations

import numpy as np
import pytest

from mixfast._engine.backend import simplex
from mixfast._engine.backend.arrays import Vector


def by_bisection(x: Vector, low: Vector, high: Vector) -> Vector:
    """Return clip(factor x) with a sum of 1, by bisection of the logarithm of the factor."""
    short, long = -800.0, 800.0
    for _ in range(200):
        middle = 0.5 * (short + long)
        if _scaled(x, middle, low, high).sum() > 1.0:
            long = middle
        else:
            short = middle
    return _scaled(x, short, low, high)


def _scaled(x: Vector, log_factor: float, low: Vector, high: Vector) -> Vector:
    out: Vector = np.clip(np.exp(np.minimum(log_factor + np.log(x), 700.0)), low, high)
    return out


@pytest.mark.parametrize("seed", range(200))
def test_it_is_the_multiple_that_fits_the_limits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 40))
    x = 10.0 ** rng.uniform(-float(rng.choice([1, 20, 300])), float(rng.choice([0, 20])), k)
    low, high = np.zeros(k), np.ones(k)
    if seed % 3 == 1:
        high = np.maximum(rng.random(k), 1.0 / k)
    elif seed % 3 == 2:
        low, high = rng.dirichlet(np.ones(k)) * float(rng.choice([0.01, 0.9, 1.0])), np.full(k, 1.0)
    w = simplex.kl_project(x, low, high)
    expected = by_bisection(x, low, high)
    np.testing.assert_allclose(w, expected, rtol=1e-9, atol=1e-15)
    assert (w >= low).all()
    assert (w <= high).all()
    assert w.sum() == pytest.approx(1.0, abs=1e-14)


def test_known_projections() -> None:
    none, full = np.zeros(3), np.ones(3)
    np.testing.assert_allclose(
        simplex.kl_project(np.array([0.7, 0.2, 0.1]), none, np.full(3, 0.5)), [0.5, 1 / 3, 1 / 6]
    )
    np.testing.assert_allclose(simplex.kl_project(np.array([2.0, 0.0, 6.0]), none, full), [0.25, 0.0, 0.75])
    tiny = simplex.kl_project(np.array([1.0, 1e-20, 1e-300]), none, full)
    np.testing.assert_allclose(tiny, [1.0, 1e-20, 1e-300], rtol=1e-15)
    # Without an x above 0, only the floors are left.
    np.testing.assert_array_equal(simplex.kl_project(none, np.full(3, 1 / 3), full), np.full(3, 1 / 3))


def test_what_cannot_be_projected_is_refused() -> None:
    none, full = np.zeros(2), np.ones(2)
    for x, high in (([1.0, 0.0], np.full(2, 0.6)), ([1.0, -1.0], full), ([np.nan, 1.0], full), ([np.inf, 1.0], full)):
        with pytest.raises(ValueError, match=r"empty|not finite"):
            simplex.kl_project(np.array(x), none, high)
