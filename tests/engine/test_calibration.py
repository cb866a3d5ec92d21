"""Calibration of weights: the totals are met, by the least change, and the losses of rows are those of the library."""

import numpy as np
import pytest

from mixfast._engine.objectives.calibration import calibrated, coded, row_losses


def rows(count=400, width=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.gamma(2.0, size=count), rng.normal(1.0, 1.0, size=(count, width)).astype(np.float32)


def test_weights_meet_the_totals_with_the_least_change():
    weight, features = rows()
    wanted = 1.02 * (weight @ features.astype(float))
    found = calibrated(weight, features, wanted)
    np.testing.assert_allclose(found @ features.astype(float), wanted, rtol=1e-5)
    cp = pytest.importorskip("cvxpy")
    w = cp.Variable(len(weight))
    change = cp.sum(cp.multiply(1.0 / weight, cp.square(w - weight)))
    best = cp.Problem(cp.Minimize(change), [features.T.astype(float) @ w == wanted]).solve(solver="CLARABEL")
    assert ((found - weight) ** 2 / weight).sum() == pytest.approx(best, rel=1e-3)


def test_weights_stay_positive_where_the_totals_pull_them_below():
    weight, features = rows()
    wanted = weight @ features.astype(float)
    wanted[0] *= 1.6
    found = calibrated(weight, features, wanted)
    assert found.min() > 0.0
    missed = np.abs(found @ features - wanted).max()
    assert missed < 0.1 * np.abs(weight @ features - wanted).max()


def test_features_that_repeat_change_nothing():
    weight, features = rows()
    wanted = 1.02 * (weight @ features.astype(float))
    twice = calibrated(weight, np.hstack([features, features]), np.concatenate([wanted, wanted]))
    np.testing.assert_allclose(twice, calibrated(weight, features, wanted), rtol=1e-3)


def test_few_rows_meet_many_smooth_losses_nearly():
    # The losses of 640 mixtures depend on each other so closely that most eigenvalues are rounding errors.
    rng = np.random.default_rng(0)
    depth = np.abs(rng.normal(size=(30_000, 4)) @ rng.normal(size=(4, 16)) + 0.5 * rng.standard_t(5, (30_000, 16)))
    depth = (depth - depth.min(axis=1, keepdims=True)).astype(np.float32)
    mixtures = np.vstack([np.eye(16), *(rng.dirichlet(np.full(16, a), 312) for a in (0.05, 0.3))])
    others = np.vstack([rng.dirichlet(np.full(16, a), 200) for a in (0.1, 1.0)])
    features = np.hstack([np.ones((len(depth), 1), dtype=np.float32), row_losses(depth, mixtures)])
    wanted = features.mean(axis=0, dtype=np.float64)
    found = calibrated(np.full(2780, 1.0 / 2780), features[:2780], wanted)
    assert found.min() > 0.0
    assert np.abs(found @ features[:2780] - wanted).max() < 2e-3
    apart = row_losses(depth, others).mean(axis=0, dtype=np.float64) - found @ row_losses(depth[:2780], others)
    assert np.abs(apart).max() < 5e-3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_of_rows_where_exp_underflows(dtype):
    depth = np.array([[0.0, 3000.0, np.inf], [1.0, 0.0, 2.0]], dtype=dtype)
    mixtures = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    expected = [[np.log(2.0), 3000.0, np.inf], [-np.log(0.5 + 0.5 * np.exp(-1.0)), 0.0, 2.0]]
    np.testing.assert_allclose(row_losses(depth, mixtures), expected, rtol=1e-6)


def test_codes_of_depths_are_near_them():
    depth = np.array([[0.0, 0.01, 20.0], [np.inf, 0.0, 1.0]])
    codes, values = coded(depth)
    assert codes[1, 0] == 255
    found = values[codes]
    assert np.isinf(found[1, 0])
    known = np.isfinite(depth)
    assert np.all(np.abs(found[known] - depth[known]) <= 0.012 * (1.0 + depth[known]))
