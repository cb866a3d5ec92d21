"""Solves on a sample by influence: the answers are those of all rows, and few sweeps of all rows are needed."""

import numpy as np
import pytest

from mixfast import ExpertTable, Region, reference, solve
from mixfast._engine.objectives import rows_cpu
from mixfast._engine.objectives.influence import by_influence

# More rows than four samples, and enough columns; exponentials of the table are too large to be kept.
ROWS, DOMAINS = 150_000, 60


def test_a_sample_by_influence():
    rng = np.random.default_rng(0)
    influence = (0.5 + rng.pareto(1.5, size=50_000)).astype(np.float32)
    index, times = by_influence(influence.copy(), None, 2000)
    assert np.array_equal(index, np.unique(index))
    assert index.size <= 2000
    assert times.min() >= 1.0
    # Rows that are longer than the distance of the points are all there, and stand for themselves alone.
    large = np.flatnonzero(influence > influence.sum(dtype=np.float64) / 2000 * 1.001)
    assert np.isin(large, index).all()
    assert (times[np.isin(index, large)] == 1.0).all()
    # A sum over the rows is estimated without bias, and well for what is proportional to the influence.
    assert influence[index] @ times == pytest.approx(influence.sum(dtype=np.float64), rel=0.01)
    assert times.sum() == pytest.approx(50_000, rel=0.1)


def test_rows_without_influence_are_left_out():
    influence = np.zeros(1000, dtype=np.float32)
    influence[[3, 500, 999]] = 1.0
    index, times = by_influence(influence.copy(), None, 64)
    assert index.tolist() == [3, 500, 999]
    assert times.tolist() == [1.0, 1.0, 1.0]


def heavy(dtype="f4", spread=2.0, seed=0):
    """A table on which rare rows need domains of small shares: a few rows are explained by one domain alone."""
    rng = np.random.default_rng(seed)
    loglik = spread * rng.normal(size=(ROWS, DOMAINS)) - 6.0
    rare = rng.choice(ROWS, 200, replace=False)
    loglik[rare, rng.integers(DOMAINS // 2, size=200)] += 12.0
    loglik[:, DOMAINS // 2 :] -= 1.0
    return (loglik - loglik.max()).astype(dtype)


def certified(table, solution, region=None, kl=0.0):
    region = Region(table.domains) if region is None else region
    w, c = solution.mixture.weights, table.row_weight
    slope = reference.gradient(table.loglik, c, w)
    if kl:
        slope = slope + kl * (np.log(w) - np.log(region.prior) + 1.0)
    gap = float(slope @ w - slope @ region.linear_min(slope))
    assert solution.status == "optimal"
    assert gap <= 1.05e-8 * max(1.0, c.sum())
    whole = [step for step in solution.trace if step.rows == table.n_rows]
    assert whole[-1].gap == pytest.approx(solution.gap, rel=1e-3)
    assert len(whole) <= 7
    assert any(8192 < step.rows <= 16_384 for step in solution.trace)  # a sample by influence


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_the_optimum_of_all_rows(dtype):
    table = ExpertTable.from_loglik(heavy(dtype))
    certified(table, solve(table))


@pytest.mark.parametrize("kl", [0.0, 0.05])
@pytest.mark.parametrize("cap", [1.0, 0.03])
def test_limits_and_weights(cap, kl):
    rng = np.random.default_rng(1)
    weight = rng.exponential(size=ROWS) * (rng.random(ROWS) < 0.9)
    table = ExpertTable.from_loglik(heavy(), weight=weight / weight.sum())
    region = Region(table.domains, cap=cap, floor=0.002)
    certified(table, solve(table, region, kl=kl), region, kl)


@pytest.mark.parametrize("unit", [1e-50, 1e33, 1e36])
def test_any_unit_of_the_weights(unit):
    loglik, weight = heavy(), 0.5 + np.random.default_rng(3).random(ROWS)
    one, other = (solve(ExpertTable.from_loglik(loglik, weight=scale * weight)) for scale in (1.0, unit))
    assert other.status == "optimal"
    assert other.gap <= 1e-8 * max(1.0, unit * weight.sum())
    # The tolerance is multiplied by the sum of the weights; without it, the search took 195 sweeps for 1e33.
    assert sum(step.rows == ROWS for step in other.trace) <= 10
    if unit > 1.0:  # the tolerance of 1e-8 nats is met anywhere if the weights are tiny
        np.testing.assert_allclose(other.mixture.weights, one.mixture.weights, atol=2e-4)


def test_rows_far_below_the_optimum_of_a_small_sample():
    """Their influence has no bound in float32."""
    loglik = heavy()
    loglik[:8] = -90.0
    loglik[:8, 5] = -4.0
    table = ExpertTable.from_loglik(loglik, weight=1e6 * np.ones(ROWS))
    solution = solve(table)
    slope = reference.gradient(table.loglik, table.row_weight, solution.mixture.weights)
    # The slopes are about 1e11, of which float64 knows 1e-5.
    assert slope @ solution.mixture.weights - slope.min() <= 1.05 * solution.gap + 1e-3
    assert solution.status == "optimal"


def test_hundreds_of_nats():
    table = ExpertTable.from_loglik(heavy("f8", spread=150.0))
    certified(table, solve(table))


def test_more_domains_than_a_working_set_starts_with():
    rng = np.random.default_rng(2)
    loglik = np.repeat(heavy(), 2, axis=1) + rng.normal(size=(ROWS, 2 * DOMAINS)).astype("f4")
    table = ExpertTable.from_loglik(loglik - loglik.max())
    certified(table, solve(table))


def test_any_number_of_threads_gives_the_same_bits():
    table = ExpertTable.from_loglik(heavy())
    one, two = solve(table, threads=1), solve(table, threads=2)
    assert np.array_equal(one.mixture.weights, two.mixture.weights)
    assert one.gap == two.gap


def test_the_rows_of_the_sample_matter(monkeypatch):
    """Many domains are needed by some rows each; an even sample of as many rows needs three times the sweeps."""
    rng = np.random.default_rng(0)
    loglik = 2.0 * rng.normal(size=(ROWS, DOMAINS)) - 6.0
    rare = rng.choice(ROWS, 20_000, replace=False)
    loglik[rare, DOMAINS // 2 + rng.integers(DOMAINS // 2, size=rare.size)] += 7.0
    loglik[:, DOMAINS // 2 :] -= 2.0
    table = ExpertTable.from_loglik((loglik - loglik.max()).astype("f4"))

    def sweeps():
        solution = solve(table, threads=1)
        assert solution.status == "optimal"
        return sum(step.rows == ROWS for step in solution.trace)

    assert sweeps() <= 7
    monkeypatch.setattr(
        rows_cpu, "by_influence", lambda found, _, count: by_influence(np.ones_like(found), None, count)
    )
    assert sweeps() > 10


def test_few_steps_are_not_exceeded():
    table = ExpertTable.from_loglik(heavy())
    with pytest.warns(UserWarning, match="gap"):
        solution = solve(table, max_iter=1)
    assert solution.status == "user_limit"
    assert np.isfinite(solution.gap)


@pytest.mark.parametrize("steps", [4, 7])
@pytest.mark.filterwarnings("ignore:.*gap")
def test_the_best_point_is_returned_and_steps_are_counted_after_a_sample_that_did_not_help(steps):
    """Rounding keeps the gap above this tolerance, so Newton's method continues after the sample."""
    table = ExpertTable.from_loglik(heavy())
    solution = solve(table, tol=1e-14, max_iter=steps)
    assert solution.status == "user_limit"
    assert solution.gap <= min(step.gap for step in solution.trace if step.rows == ROWS) + 1e-13
