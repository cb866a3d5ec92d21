"""Limits of groups far below 1: the optimum of rows that one expert each explains is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from mixfast import ExpertTable, Region, solve

pytestmark = pytest.mark.filterwarnings("ignore:.* rows and .* domains", "ignore:.* of the .* rows")


@pytest.mark.parametrize("upper", [1e-2, 1e-5, 1e-8])
@pytest.mark.parametrize("seed", range(5))
def test_a_group_that_rows_need_and_a_limit_keeps_small(seed: int, upper: float) -> None:
    # -sum_i c_i log(w_i) has its minimum at w_i in proportion to c_i, within the group and outside it.
    rng = np.random.default_rng(seed)
    k = 16
    loglik = np.full((k, k), -np.inf)
    np.fill_diagonal(loglik, -rng.gamma(1.0, 5.0, k))
    weight = 10.0 ** rng.uniform(-6.0, 0.0, k)
    names = [f"d{i}" for i in range(k)]
    table = ExpertTable.from_loglik(loglik, domains=names, weight=weight)
    solution = solve(table, Region(names, bounds={tuple(names[:8]): (1e-9, upper)}))
    shares = np.concatenate([upper * weight[:8] / weight[:8].sum(), (1.0 - upper) * weight[8:] / weight[8:].sum()])
    least = -weight @ (np.diagonal(loglik) + np.log(shares))
    assert solution.status == "optimal"
    assert least - 1e-12 * abs(least) <= solution.value <= least + 1e-8 * max(1.0, weight.sum())
    assert solution.mixture.weights[:8].sum() <= upper * (1.0 + 1e-9)


@pytest.mark.parametrize("lower", [1e-3, 1e-6])
def test_a_group_that_no_row_needs_keeps_its_lower_limit(lower: float) -> None:
    # One row, which prefers a domain outside the group: the group gets its lower limit, for its best domain.
    rng = np.random.default_rng(0)
    k = 120
    loglik = -rng.gamma(1.0, 2.0, (1, k)) - 1.0
    loglik[0, 100] = 0.0
    names = [f"d{i}" for i in range(k)]
    table = ExpertTable.from_loglik(loglik, domains=names)
    solution = solve(table, Region(names, bounds={tuple(names[:60]): (lower, 0.3)}))
    assert solution.status == "optimal"
    assert lower * (1.0 - 1e-9) <= solution.mixture.weights[:60].sum() <= lower + 1e-7
    assert solution.value == pytest.approx(-np.log1p(lower * (np.exp(loglik[0, :60].max()) - 1.0)), abs=1e-8)


def test_an_interior_point_takes_over_at_the_limit_of_steps() -> None:
    # One row: the optimum has all that the group may have in its best expert, and the rest in the best of the others.
    loglik = -100.0 * np.random.default_rng(6).gamma(1.0, 1.0, (1, 5))
    table, limit = ExpertTable.from_loglik(loglik, domains=list("abcde")), 1e-5
    solution = solve(table, Region(table.domains, bounds={("a", "b", "c"): (0.0, limit)}), max_iter=25)
    inside, outside = loglik[0, :3].max(), loglik[0, 3:].max()
    assert solution.status == "optimal"
    least = -max(np.logaddexp(np.log(limit) + inside, np.log1p(-limit) + outside), outside)
    assert solution.value == pytest.approx(least, abs=1e-8)
