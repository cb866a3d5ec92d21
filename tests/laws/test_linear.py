"""The linear law: scikit-learn's ridge, published numbers, leave-one-out by brute force, missing values, calibration."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.runs import regmix
from mixfast import Swarm, fit
from mixfast.laws.linear import Linear


def runs(seed, n=40, k=5, metrics=3, noise=0.1):
    rng = np.random.default_rng(seed)
    x = rng.dirichlet(np.ones(k), n)
    return x, rng.standard_normal(metrics) + x @ rng.standard_normal((k, metrics)) + noise * rng.standard_normal(
        (n, metrics)
    )


@pytest.mark.parametrize("alpha", [0.005, 1.0, 30.0])
def test_raw_ridge_is_scikit_learns(alpha):
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = runs(0)
    other = linear_model.Ridge(alpha=alpha).fit(x, y)
    law = Linear(alpha=alpha, standardise=False).fit(x, y)
    np.testing.assert_allclose(law.coef, other.coef_, rtol=1e-9)
    np.testing.assert_allclose(law.predict(x), other.predict(x), rtol=1e-11)


def spearman(a, b):
    stats = pytest.importorskip("scipy.stats")
    return np.array([stats.spearmanr(p, q)[0] for p, q in zip(a.T, b.T, strict=True)])


@pytest.mark.parametrize(
    ("alpha", "mean_rank", "mean_mse", "pile_cc", "pile_cc_mae", "pile_cc_mse"),
    [
        (0.0, 0.8311, 0.2739, 0.9021, 0.1243, 0.0235),
        (0.01, None, None, 0.9009, None, None),
        (0.005, None, None, 0.9015, None, None),
        (1.0, 0.8141, 0.3012, 0.9007, 0.1277, None),
    ],
)
def test_regmix_numbers(shared_data, alpha, mean_rank, mean_mse, pile_cc, pile_cc_mae, pile_cc_mse):
    x, y, names = regmix(shared_data / "regmix")
    x_test, y_test, _ = regmix(shared_data / "regmix", "test")
    found = Linear(alpha=alpha, standardise=False).fit(x, y).predict(x_test)
    rank, cc = spearman(found, y_test), names.index("pile_cc")
    assert rank[cc] == pytest.approx(pile_cc, abs=1.5e-4)
    if mean_rank:
        assert rank.mean() == pytest.approx(mean_rank, abs=1e-4)
        assert np.abs(found - y_test)[:, cc].mean() == pytest.approx(pile_cc_mae, abs=1e-4)
    if mean_mse:
        assert ((found - y_test) ** 2).mean() == pytest.approx(mean_mse, abs=1e-4)
    if pile_cc_mse:
        assert ((found - y_test)[:, cc] ** 2).mean() == pytest.approx(pile_cc_mse, abs=1e-4)


@pytest.mark.parametrize("alpha", [0.1, 5.0])
def test_leave_one_out_error_is_that_of_leaving_out(alpha):
    x, y = runs(1, n=14)
    errors = []
    for left in range(len(x)):
        keep = np.arange(len(x)) != left
        errors.append(
            Linear(alpha=alpha, standardise=False).fit(x[keep], y[keep]).predict(x[left : left + 1]) - y[left]
        )
    expected = np.sqrt((np.array(errors)[:, 0] ** 2).mean(axis=0))
    np.testing.assert_allclose(Linear(alpha=alpha, standardise=False).fit(x, y).loo, expected, rtol=1e-9)


def test_the_best_ridge_is_chosen_for_each_metric():
    x, y = runs(2, n=25, k=8)
    y[:, 1] = np.random.default_rng(3).standard_normal(25)
    law = Linear().fit(x, y)
    assert law.alphas[1] > law.alphas[0]
    for alpha in (1e-4, 1e-2, 1.0, 100.0):
        assert (law.loo <= Linear(alpha=alpha).fit(x, y).loo * (1 + 1e-12)).all()


def test_metrics_are_fitted_on_the_runs_that_have_them():
    x, y = runs(4)
    gone = y.copy()
    gone[::3, 1] = np.nan
    law = Linear().fit(x, gone)
    rows = ~np.isnan(gone[:, 1])
    np.testing.assert_allclose(law.coef[1], Linear().fit(x[rows], y[rows, 1:2]).coef[0], rtol=1e-10)
    np.testing.assert_allclose(law.coef[[0, 2]], Linear().fit(x, y[:, [0, 2]]).coef, rtol=1e-10)
    gone[:, 2] = np.nan
    with pytest.raises(ValueError, match=r"metrics \[2\] have no value in any of the 40 runs"):
        Linear().fit(x, gone)


def test_units_of_features_do_not_matter():
    x, y = runs(5)
    features = np.column_stack([x, y[:, :1] ** 2])
    other = features * np.array([1, 1, 1, 1, 1, 1e6])
    np.testing.assert_allclose(Linear().fit(features, y).predict(features), Linear().fit(other, y).predict(other))


def test_too_few_runs_constant_columns_and_constant_metrics():
    x, y = runs(6, n=4, k=6)
    x = np.column_stack([x, np.full(4, 0.1)])
    y[:, 2] = 2.0
    law = Linear().fit(x, y)
    assert (law.coef[:, -1] == 0.0).all()
    assert any("are constant" in note for note in law.notes)
    np.testing.assert_allclose(law.predict(x)[:, 2], 2.0)
    assert np.isfinite(law.sd(x)).all()
    exact = Linear(alpha=0.0).fit(x, y)
    np.testing.assert_allclose(exact.predict(x), y, rtol=1e-9)
    assert any("passes through all" in note for note in exact.notes)
    one = Linear().fit(x[:1], y[:1])
    np.testing.assert_allclose(one.predict(x[:1]), y[:1])


def test_deviations_cover_new_runs_and_grow_away_from_the_old():
    x, y = runs(7, n=500, metrics=1)
    law = Linear().fit(x[:60], y[:60])
    score = (y[60:] - law.predict(x[60:])) / law.sd(x[60:])
    assert 0.9 < score.std() < 1.15
    near, far = law.sd(np.array([[0.2] * 5, [3.0, 0.0, 0.0, 0.0, -2.0]]))[:, 0]
    assert far > 1.3 * near


def test_slopes_and_state():
    x, y = runs(8)
    law = Linear().fit(x, y)
    values, slopes = law.slopes(x)
    np.testing.assert_allclose(values, law.predict(x))
    assert slopes.shape == (40, 3, 5)
    step = np.eye(5)[2]
    np.testing.assert_allclose(slopes[:, :, 2], law.predict(x + step) - values, atol=1e-12)
    again = Linear.from_state(law.state())
    assert (again.predict(x) == law.predict(x)).all()
    assert (again.sd(x) == law.sd(x)).all()


def test_fit_leaves_the_law_as_it_was():
    law = Linear()
    assert law.fit(*runs(9)) is not law
    assert not hasattr(law, "coef")


@pytest.mark.parametrize("alpha", [-1.0, np.nan, "cv"])
def test_impossible_ridges_are_refused(alpha):
    with pytest.raises(ValueError, match="alpha is"):
        Linear(alpha=alpha)


@pytest.mark.parametrize("law", ["linear", "log_linear", "gp"])
def test_more_domains_than_the_memory_takes_are_refused_at_once(law, monkeypatch):
    pytest.importorskip("scipy")
    monkeypatch.setattr("mixfast._text.memory.available_memory", lambda: 10**10)
    ratios = np.full((3, 100_000), 1e-5)
    with pytest.raises(
        ValueError,
        match=r"100\d\d\d (coefficients|hyper-parameters) for each of 1 metrics take 400 GB, and 10 GB of memory are free",
    ):
        fit(
            Swarm(ratios, [[1.0], [2.0], [3.0]], domains=[f"d{k}" for k in range(100_000)], metric_names=["m"]),
            law,
            folds=0,
        )
