"""Solves on a sample by influence: the answers are those of all rows, and few sweeps of all rows are needed."""

import numpy as np
import pytest

from mixfast import ExpertTable, Region, reference, solve
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


def test_few_steps_are_not_exceeded():
    table = ExpertTable.from_loglik(heavy())
    with pytest.warns(UserWarning, match="gap"):
        solution = solve(table, max_iter=1)
    assert solution.status == "user_limit"
    assert np.isfinite(solution.gap)
