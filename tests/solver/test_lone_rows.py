"""Rows that only one expert explains, with weights over many decades: their optima are known in closed form.

The curvature of such a row is invisible beside that of the others until its expert's share is almost 0, so that a Newton step would remove it.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from mixfast import ExpertTable, Region, solve

pytestmark = pytest.mark.filterwarnings("ignore:.* rows and .* domains", "ignore:.* of the .* rows")

DECADES = [2, 6, 10, 14, 18, 22, 30, 40, 100]
# More steps than this would mean that the search runs into the tolerance by small reductions of a share.
FEW = 60


@pytest.mark.parametrize("decades", DECADES)
def test_two_experts(decades: int) -> None:
    # -log(w_0 + w_1 / e) - c log(w_1) has its minimum at w_1 = c / ((1 + c) (1 - 1/e)).
    c = 10.0**-decades
    table = ExpertTable.from_loglik(np.array([[0.0, -1.0], [-300.0, 0.0]]), weight=[1.0, c])
    solution = solve(table)
    share = c / ((1.0 + c) * -math.expm1(-1.0))
    least = -math.log1p(share * math.expm1(-1.0)) - c * math.log(share)
    assert solution.status == "optimal"
    assert len(solution.trace) <= FEW
    assert least - 1e-15 <= solution.value <= least + 1e-8
    assert 0.5 * share <= solution.mixture.weights[1] <= share + 2e-8


@pytest.mark.parametrize("decades", DECADES)
@pytest.mark.parametrize("cap", [None, 0.99])
def test_eight_experts_with_one_row_each(decades: int, cap: float | None) -> None:
    # The first row has weight 1 and is explained by all, the others by one expert each: w_k = c_k / (sum(c) (1 - 1/e)) for k > 0.
    k = 8
    loglik = np.full((k, k), -300.0)
    loglik[0] = -1.0
    np.fill_diagonal(loglik, 0.0)
    weight = np.append(1.0, 10.0 ** (-decades * np.arange(1, k) / (k - 1) - 2.0))
    table = ExpertTable.from_loglik(loglik, weight=weight)
    region = None if cap is None else Region(table.domains, cap=cap)
    solution = solve(table, region)
    shares = weight[1:] / (weight.sum() * -math.expm1(-1.0))
    if cap is not None and 1.0 - shares.sum() > cap:
        # The excess goes to others in proportion: the first row does not distinguish them.
        shares *= (1.0 - cap) / shares.sum()
    first = 1.0 - shares.sum()
    least = -math.log(first + shares.sum() / math.e) - weight[1:] @ np.log(shares)
    assert solution.status == "optimal"
    assert len(solution.trace) <= FEW
    assert least - 1e-12 <= solution.value <= least + 1e-8 * max(1.0, weight.sum())
    assert (solution.mixture.weights[1:] >= 0.5 * shares).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("domains", [2, 8, 40, 90])
@pytest.mark.parametrize("far", [82.0, 600.0])
def test_a_row_far_below_for_all_experts_but_one(domains: int, far: float, dtype: type) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        loglik = -rng.gamma(2.0, 1.0, (8, domains))
        loglik[3] -= far
        loglik[3, rng.integers(domains)] = -1.0
        weight = 10.0 ** rng.uniform(-15.0, 0.0, 8)
        solution = solve(ExpertTable.from_loglik(loglik.astype(dtype), weight=weight))
        assert solution.status == "optimal"
        assert solution.gap <= 1e-8 * max(1.0, weight.sum())
        assert len(solution.trace) <= FEW


def test_a_cap_of_1e_19_of_the_only_expert_of_a_row() -> None:
    # Both rows need the capped expert; the second decides between the other two.
    loglik = np.array([[-200.0, -200.0, 0.0], [0.0, -1.0, -1.0], [-2.0, 0.0, -1.0]])
    region = Region(["a", "b", "c"], cap={"c": 1e-19})
    solution = solve(ExpertTable.from_loglik(loglik, domains=["a", "b", "c"]), region)
    # -log(w + (1 - w)/e) - log(w/e^2 + 1 - w) over w, the share of a
    e = math.exp(-1.0)
    up, down = 1.0 - e, 1.0 - e**2
    share = (up - down * e) / (2.0 * up * down)
    assert solution.status == "optimal"
    assert solution.mixture["c"] == pytest.approx(1e-19, rel=1e-12)
    assert solution.mixture["a"] == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize("seed", range(40))
def test_caps_over_twenty_decades(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, k = int(rng.choice([10, 50, 300])), int(rng.choice([5, 16]))
    loglik, weight = -200.0 * rng.random((n, k)), 10.0 ** rng.uniform(-12.0, 0.0, n)
    cap = 10.0 ** rng.uniform(-20.0, 0.0, k)
    cap[rng.integers(k)] = 1.0
    table = ExpertTable.from_loglik(loglik, weight=weight)
    solution = solve(table, Region(table.domains, cap=cap))
    w = solution.mixture.weights
    assert solution.status == "optimal"
    assert len(solution.trace) <= FEW
    assert (w <= cap * (1.0 + 1e-12)).all()
    assert _gap(loglik, weight, w, cap) <= 1e-8 * max(1.0, weight.sum())


@pytest.mark.parametrize("scale", [1e4, 1e10, 1e20, 1e80])
def test_the_sum_of_the_weights_does_not_matter(scale: float) -> None:
    rng = np.random.default_rng(1)
    loglik, weight = -rng.gamma(2.0, 1.0, (300, 8)), rng.random(300)
    weight /= weight.sum()
    one = solve(ExpertTable.from_loglik(loglik, weight=weight))
    large = solve(ExpertTable.from_loglik(loglik, weight=weight * scale))
    assert large.status == "optimal"
    assert len(large.trace) <= len(one.trace) + 2
    assert large.value == pytest.approx(one.value * scale, rel=1e-8)
    np.testing.assert_allclose(large.mixture.weights, one.mixture.weights, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("far", [82.0, 200.0, 600.0])
def test_rows_that_a_sample_misses(far: float, dtype: type) -> None:
    # The sample of 8192 rows leaves the only experts of these three rows without a share.
    rng = np.random.default_rng(3)
    loglik = -rng.gamma(1.0, 1.0, (40_000, 16))
    for k in (3, 8, 13):
        loglik[:, k] -= 3.0
        loglik[1000 * k + 77] -= far
        loglik[1000 * k + 77, k] = -1.0
    loglik = np.minimum(loglik, 0.0).astype(dtype)
    solution = solve(ExpertTable.from_loglik(loglik))
    w = solution.mixture.weights
    assert solution.status == "optimal"
    assert len(solution.trace) <= FEW
    assert (w[[3, 8, 13]] >= 1e-5).all()
    assert _gap(loglik.astype(np.float64), np.full(40_000, 1 / 40_000), w, np.ones(16)) <= 2e-8


def _gap(loglik: np.ndarray, weight: np.ndarray, w: np.ndarray, cap: np.ndarray) -> float:
    """Return the Frank-Wolfe gap in extended precision."""
    exact = loglik.astype(np.longdouble)
    p = np.exp(exact - exact.max(axis=1, keepdims=True))
    gradient = -(weight / (p @ w)) @ p
    vertex, left = np.zeros_like(gradient), np.longdouble(1.0)
    for k in np.argsort(gradient):
        vertex[k] = min(np.longdouble(cap[k]), left)
        left -= vertex[k]
    return float(gradient @ (w - vertex))
