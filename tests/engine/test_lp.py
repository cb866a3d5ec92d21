"""The linear programs over a region: the vertex against scipy, and contradictions against scipy's verdict."""

from __future__ import annotations

import numpy as np
import pytest

from mixfast._engine.geometry import lp

linprog = pytest.importorskip("scipy.optimize").linprog


def random_problem(rng, feasible):
    """Return a box, a sum and a few rows, including ties, redundant rows, equations and fixed shares."""
    n_domains, n_rows = int(rng.integers(1, 15)), int(rng.integers(1, 7))
    lower = np.where(rng.random(n_domains) < 0.3, rng.random(n_domains) / n_domains, 0.0)
    upper = np.minimum(1.0, lower + rng.random(n_domains) * rng.choice([0.2, 1.0, 4.0]))
    if rng.random() < 0.3:
        lower, upper = np.round(lower, 1), np.maximum(np.round(upper, 1), np.round(lower, 1))
    if not lower.sum() <= 1.0 <= upper.sum():
        lower, upper = np.zeros(n_domains), np.ones(n_domains)
    rows = (rng.random((n_rows, n_domains)) < rng.choice([0.2, 0.5])).astype(float)
    if rng.random() < 0.3:
        rows *= rng.normal(size=rows.shape) * 10.0 ** rng.integers(-2, 3)
    if rng.random() < 0.2:
        rows[-1] = rows[0]
    inside = lower + (upper - lower) * (1.0 - lower.sum()) / max((upper - lower).sum(), 1e-300)
    width = np.abs(rows).max(axis=1) * rng.choice([0.0, 0.01, 0.3], size=n_rows)
    row_lower, row_upper = rows @ inside - width * rng.random(n_rows), rows @ inside + width * rng.random(n_rows)
    open_side = rng.random(n_rows)
    row_lower[open_side < 0.3], row_upper[open_side > 0.7] = -np.inf, np.inf
    if not feasible:
        moved = 0.3 * rng.normal(size=n_rows) * np.abs(rows).max(axis=1)
        row_lower, row_upper = row_lower + moved, row_upper + moved
    cost = rng.normal(size=n_domains)
    cost = [cost, np.round(cost), np.zeros(n_domains)][rng.choice(3, p=[0.5, 0.4, 0.1])]
    return cost, lower, upper, rows, row_lower, row_upper


def by_scipy(cost, lower, upper, rows, row_lower, row_upper):
    matrix, right = np.concatenate([rows, -rows]), np.concatenate([row_upper, -row_lower])
    finite = np.isfinite(right)
    return linprog(
        cost,
        A_ub=matrix[finite],
        b_ub=right[finite],
        A_eq=np.ones((1, cost.size)),
        b_eq=[1.0],
        bounds=np.column_stack([lower, upper]),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )


def violation(s, lower, upper, rows, row_lower, row_upper):
    scale = np.maximum(np.abs(rows).max(axis=1), 1e-300)
    over = np.maximum(rows @ s - row_upper, row_lower - rows @ s) / scale
    return max(abs(s.sum() - 1.0), (lower - s).max(), (s - upper).max(), over.max())


@pytest.mark.parametrize("seed", range(400))
def test_minimum_equals_scipy(seed):
    cost, *limits = random_problem(np.random.default_rng(seed), feasible=True)
    vertex = lp.minimise(cost, *limits)
    assert violation(vertex, *limits) <= 1e-12
    assert cost @ vertex == pytest.approx(by_scipy(cost, *limits).fun, abs=1e-9)


def test_contradictions_equal_scipy():
    outcomes = set()
    for seed in range(400):
        cost, *limits = random_problem(np.random.default_rng(10_000 + seed), feasible=False)
        reference = by_scipy(cost, *limits)
        try:
            lp.check(*limits)
            vertex = lp.minimise(cost, *limits)
        except lp.Contradiction as found:
            assert reference.status == 2
            # The rows that it names contradict each other even without the other rows.
            lower, upper, rows, row_lower, row_upper = limits
            chosen = list(found.rows)
            assert by_scipy(cost, lower, upper, rows[chosen], row_lower[chosen], row_upper[chosen]).status == 2
            outcomes.add("contradiction")
        else:
            assert reference.status == 0
            assert cost @ vertex == pytest.approx(reference.fun, abs=1e-9)
            outcomes.add("vertex")
    assert outcomes == {"contradiction", "vertex"}


@pytest.mark.parametrize("cost_kind", ["zero", "ties", "negative ties"])
def test_highly_degenerate_equations_finish(cost_kind):
    """Rows that hold with equality at a symmetric point and equal costs: a simplex method may cycle here."""
    n_domains, n_rows = 60, 12
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = (rng.random((n_rows, n_domains)) < 0.3).astype(float)
        activity = rows @ np.full(n_domains, 1.0 / n_domains)
        cost = {
            "zero": np.zeros(n_domains),
            "ties": rng.integers(0, 2, n_domains).astype(float),
            "negative ties": -rng.integers(0, 3, n_domains).astype(float),
        }[cost_kind]
        limits = (np.zeros(n_domains), np.full(n_domains, 1.0 / 20.0), rows, activity, activity)
        vertex = lp.minimise(cost, *limits)
        assert violation(vertex, *limits) <= 1e-12
        assert cost @ vertex == pytest.approx(by_scipy(cost, *limits).fun, abs=1e-9)


def test_many_domains_take_few_steps(monkeypatch):
    """With bound flipping, the number of steps depends on the number of rows, not of domains."""
    rng = np.random.default_rng(1)
    n_domains, n_rows = 20_000, 5
    rows = (rng.random((n_rows, n_domains)) < 0.2).astype(float)
    centre = rows @ np.full(n_domains, 1.0 / n_domains)
    limits = (np.zeros(n_domains), np.full(n_domains, 4.0 / n_domains), rows, centre - 0.001, centre + 0.001)
    solves = []
    original = np.linalg.solve
    monkeypatch.setattr(np.linalg, "solve", lambda *a: solves.append(1) or original(*a))
    vertex = lp.minimise(rng.normal(size=n_domains), *limits)
    assert violation(vertex, *limits) <= 1e-12
    assert len(solves) <= 3 * 200


def test_a_vertex_has_few_shares_between_their_bounds():
    rng = np.random.default_rng(2)
    for seed in range(50):
        cost, lower, upper, rows, *row_limits = random_problem(np.random.default_rng(seed), feasible=True)
        vertex = lp.minimise(rng.normal(size=cost.size), lower, upper, rows, *row_limits)
        between = (vertex > lower + 1e-12) & (vertex < upper - 1e-12)
        assert between.sum() <= rows.shape[0] + 1


def test_equal_costs_fill_the_first_domains():
    everything = (np.zeros(4), np.full(4, 0.4), np.ones((1, 4)), np.array([0.0]), np.array([1.0]))
    assert lp.minimise(np.ones(4), *everything).tolist() == pytest.approx([0.4, 0.4, 0.2, 0.0], abs=1e-15)
