"""Parts in which no row counts: their weights are 0, or no resample has drawn them."""

import numpy as np
import pytest
from makers import parts, tokens

from mixfast import mde, solve, solver
from mixfast.solver._problem import rows_of

N, CUTS = 3000, (1, 2, 1000, 2000, 3000)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Return the folder and the rows in memory: the weights of all rows of the first, third and last part are 0, or those of one group there."""
    loglik = tokens(N, 5)
    # Only an expert that nothing else needs gives these rows, whose weights are 0, a probability.
    loglik[:, 4] -= 5.0
    loglik[2:900, :4] = -np.inf
    group = np.arange(N) // 5 % 2
    weight = np.random.default_rng(0).random(N // 5).repeat(5)
    weight[:1] = weight[2:1000] = weight[2000:] = 0.0
    weight[(group == 1) & (np.arange(N) < 1500)] = 0.0
    facts = {
        "weight": weight,
        "group": group,
        "sequence": np.arange(N) // 5 * 1 + (np.arange(N) >= 1) + (np.arange(N) >= 2),
    }
    return parts(tmp_path_factory.mktemp("parts"), CUTS, loglik, **facts)


@pytest.mark.parametrize("objective", [None, "worst", {"group_0": 1.0}])
def test_they_change_no_answer(tables, objective):
    found, want = (solve(table, objective=objective) for table in tables)
    assert (found.status, want.status) == ("optimal", "optimal")
    assert found.value == pytest.approx(want.value, rel=1e-9)
    assert list(found.group_losses.values()) == pytest.approx(list(want.group_losses.values()), rel=1e-8)
    assert found.mixture.weights == pytest.approx(want.mixture.weights, abs=1e-4)


def test_their_rows_may_have_probability_0(tables):
    w = np.array([0.4, 0.3, 0.2, 0.1, 0.0])
    for wide in (False, True):
        found, want = (rows_of(one).weighted(np.full(2, 0.5), None, wide=wide).sums(w, hessian=1) for one in tables)
        for one, other in zip(found, want, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)


def test_they_change_no_loss(tables):
    mixtures = np.random.default_rng(1).dirichlet(np.ones(5), 4)
    found, want = (solver.group_losses(table, mixtures) for table in tables)
    np.testing.assert_allclose(found, want, rtol=1e-12)
    found, want = (solver.lone_losses(table) for table in tables)
    for one, other in zip(found, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("level", ["token", "posterior"])
@pytest.mark.parametrize("rows", [None, 500])
def test_they_change_no_feature(tables, level, rows):
    mixtures = np.random.default_rng(1).dirichlet(np.ones(5), 4)
    found, want = (mde.features(table, mixtures, levels=(level,), rows=rows) for table in tables)
    np.testing.assert_allclose(found.values, want.values, rtol=1e-6 if rows is None else 0.2)
    (slopes, _), (same, _) = (one.slopes(mixtures) for one in (found, want))
    np.testing.assert_allclose(slopes, same, rtol=1e-6 if rows is None else 0.2)


def test_they_change_no_interval(tables):
    found, want = (solver.bootstrap(table, replicates=10) for table in tables)
    assert np.isfinite(found.shares).all()
    np.testing.assert_allclose(found.shares, want.shares, atol=1e-3)


def test_a_resample_may_leave_out_a_part(tmp_path):
    table, whole = parts(tmp_path, (1, 2, 3, 200), tokens(200, 3))
    found, want = (solver.bootstrap(one, replicates=10) for one in (table, whole))
    np.testing.assert_allclose(found.shares, want.shares, atol=1e-3)
