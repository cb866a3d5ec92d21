"""Held-out reports and intervals for squared error, against plain refits; tables with a level far above their differences."""

import warnings

import numpy as np
import pytest
from certificate import check

from mixfast import ExpertTable, Region, solve
from mixfast.errors import MixfastWarning, TableError
from mixfast.solver import bootstrap, holdout
from mixfast.solver._resample import _draw, _units


def table_of(rng, n=60, k=4, level=0.0, **options):
    prediction = rng.normal(size=(n, k))
    target = prediction @ rng.dirichlet(np.ones(k)) + 0.3 * rng.normal(size=n)
    return ExpertTable.from_predictions(
        prediction + level, target + level, domains=[f"d{i}" for i in range(k)], **options
    )


def plain_loss(table, w, rows=slice(None)):
    return 0.5 * float(np.mean((table.prediction[rows] @ w - table.target[rows]) ** 2))


def test_holdout_compares_refits():
    table = table_of(np.random.default_rng(0))
    found = holdout(table, share=0.25, seed=3)
    fit, held_out = table.split(0.75, seed=3)
    again = solve(fit).mixture.weights
    assert found.sizes == (fit.n_rows, held_out.n_rows)
    assert found["mixfast"].fit_loss == pytest.approx(plain_loss(fit, again), abs=1e-12)
    assert found["mixfast"].held_out_loss == pytest.approx(plain_loss(held_out, again), abs=1e-12)
    assert found["only d1"].held_out_loss == pytest.approx(plain_loss(held_out, np.eye(4)[1]), abs=1e-12)
    assert "eg-paper" not in [row.name for row in found.rows]


@pytest.mark.parametrize(
    "region", [None, Region(["d0", "d1", "d2", "d3"], cap=0.4, bounds={"b": (["d0", "d1"], 0.3, None)})]
)
@pytest.mark.parametrize("kl", [0.0, 0.1])
def test_bootstrap_solves_the_resampled_tables(region, kl):
    table = table_of(np.random.default_rng(1))
    found = bootstrap(table, region, kl=kl, replicates=12, seed=5)
    unit, group, _ = _units(table)
    counts = _draw(np.random.default_rng(5), unit, group, table, 12)
    for row, share in zip(counts, found.shares, strict=True):
        again = ExpertTable.from_predictions(
            table.prediction, table.target, domains=table.domains, weight=np.maximum(row[unit], 1e-300) / table.n_rows
        )
        assert share == pytest.approx(solve(again, region, kl=kl, tol=1e-12).mixture.weights, abs=2e-4)
    assert found.gap <= 1e-8
    assert found.error < 0.03


@pytest.mark.parametrize("seed", range(4))
def test_optimum_and_ranges_are_those_of_a_conic_solver(seed):
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    n, k, outputs = [(60, 4, 1), (200, 8, 1), (20, 30, 1), (50, 6, 2)][seed]
    prediction = rng.normal(size=(n, k, outputs))
    target = np.einsum("nkd,k->nd", prediction, rng.dirichlet(np.ones(k))) + 0.3 * rng.normal(size=(n, outputs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixfastWarning)
        table = ExpertTable.from_predictions(prediction, target, domains=[f"d{i}" for i in range(k)])
    region = Region(table.domains, cap=0.5, bounds={"b": (["d0", "d1"], 0.2, None)}) if seed % 2 else None
    found = solve(table, region, tol=1e-12)
    w = cp.Variable(k, nonneg=True)
    limits = [cp.sum(w) == 1] + ([w <= 0.5, w[0] + w[1] >= 0.2] if region else [])
    loss = 0.5 * cp.sum_squares((table.prediction - table.target[:, None]) @ w) / n
    assert found.value == pytest.approx(cp.Problem(cp.Minimize(loss), limits).solve(solver="CLARABEL"), abs=1e-7)
    eps = 1e-3
    for name, ends in found.ranges(eps, ["d0", f"d{k - 1}"]).items():
        share = w[int(name[1:])]
        for make, end in zip((cp.Minimize, cp.Maximize), ends, strict=True):
            exact = cp.Problem(make(share), [*limits, loss <= found.value + eps]).solve(solver="CLARABEL")
            assert end == pytest.approx(exact, abs=1e-4)


def test_prices_of_squared_error_are_in_units_of_the_objective():
    table = table_of(np.random.default_rng(9))
    region = Region(table.domains, cap=0.3)
    found = solve(table, region, tol=1e-12)
    price = found.shadow_prices[0]
    assert "of the objective" in price.text
    assert "nats" not in found.summary() + price.text
    wider = Region(table.domains, cap={name: 0.3 + 1e-6 * (name == price.name) for name in table.domains})
    assert (found.value - solve(table, wider, tol=1e-12).value) / 1e-6 == pytest.approx(price.price, rel=1e-3)


def test_a_common_level_costs_no_digits():
    near, far = (table_of(np.random.default_rng(2), level=level) for level in (0.0, 2.0**26))
    assert solve(far).mixture.weights == pytest.approx(solve(near).mixture.weights, abs=1e-5)
    check(far, None, solve(far), multipliers=False)


def test_squares_beyond_float64_are_refused():
    prediction = 1e200 * np.random.default_rng(3).normal(size=(20, 3))
    table = ExpertTable.from_predictions(prediction, prediction[:, 0], domains=["a", "b", "c"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(TableError, match="overflow float64"):
            solve(table)


def test_a_group_without_weight_is_refused():
    loglik = np.log(np.random.default_rng(4).dirichlet(np.ones(3), size=20))
    group = np.repeat([0, 1], 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixfastWarning)
        with pytest.raises(TableError, match=r"weight 0.*code"):
            ExpertTable.from_loglik(
                loglik, domains=["a", "b", "c"], group=group, group_names=["web", "code"], weight=1.0 - group
            )


@pytest.mark.parametrize("limited", [False, True])
def test_cancelling_residuals_are_not_certified_closer_than_float64_can_tell(limited):
    rng = np.random.default_rng(7)
    prediction = 1e9 * rng.normal(size=(5, 12))
    table = ExpertTable.from_predictions(
        prediction, prediction @ rng.dirichlet(np.ones(12)), domains=[f"d{i}" for i in range(12)]
    )
    region = Region(table.domains, bounds={"b": (["d0", "d1"], 0.01, 0.9)}) if limited else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixfastWarning)
        found = solve(table, region)
    residual = (table.prediction - table.target[:, None]).astype(np.longdouble)
    truth = 0.5 * float(np.mean((residual @ found.mixture.weights.astype(np.longdouble)) ** 2))
    assert found.gap >= truth
    assert found.status != "optimal"
    assert found.gap >= 1e-16 * float(np.max(np.mean(residual**2, axis=0)))


@pytest.mark.parametrize("kind", ["ce", "mse"])
def test_rows_without_weight_are_neither_resampled_nor_held_out_alone(kind):
    rng = np.random.default_rng(8)
    weight = np.concatenate([np.ones(20), np.ones(2), np.zeros(18)])
    options = {"domains": ["a", "b", "c"], "group": np.repeat([0, 1], 20), "group_names": ["x", "y"], "weight": weight}
    values = rng.normal(size=(40, 3)) - 3.0
    if kind == "ce":
        table = ExpertTable.from_loglik(values, **options)
    else:
        table = ExpertTable.from_predictions(values, values @ [0.5, 0.3, 0.2], **options)
    unit, group, _ = _units(table)
    counts = _draw(np.random.default_rng(0), unit, group, table, 50)
    assert np.isfinite(counts).all()
    assert (counts[:, 22:] == 0.0).all()
    assert counts[:, 20:22].sum(axis=1) == pytest.approx(2.0)
    for seed in range(10):
        for part in table.split(0.5, seed=seed):
            assert part.row_weight[part.group_offsets[1] :].sum() > 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixfastWarning)
        assert "y has 2" in bootstrap(table, replicates=10).doubt
        weight[21] = 0.0
        lone = ExpertTable.from_loglik(values, **options)
    with pytest.raises(TableError, match="two sequences of its own with a weight"):
        lone.split(0.5, seed=0)
