"""The reference implementation against closed forms, and against conic solvers that share no code with it."""

from __future__ import annotations

import itertools
import sys
from decimal import Decimal, getcontext
from types import SimpleNamespace

import numpy as np
import pytest
from certificate import _Limits, _linear_minimum, check, inspect

from mixfast import reference
from mixfast.errors import BackendError
from mixfast.reference import _losses
from mixfast.reference._gaps import limits_of

# Simple replacements for ExpertTable and Region, so that these tests depend on no other room.


def make_table(loglik=None, *, groups=None, weight=None, prediction=None, target=None, names=None):
    data = np.asarray(loglik if prediction is None else prediction, dtype=np.float64)
    n, k = data.shape
    sizes = [n] if groups is None else groups
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    if weight is None:
        weight = np.concatenate([np.full(size, 1.0 / size) for size in sizes])
    return SimpleNamespace(
        kind="ce" if prediction is None else "mse",
        loglik=data,
        prediction=data,
        target=target,
        row_weight=np.asarray(weight, dtype=np.float64),
        group_offsets=offsets,
        group_names=tuple(f"g{i}" for i in range(len(sizes))) if groups else ("all",),
        domains=tuple(names or (f"d{i}" for i in range(k))),
    )


def make_region(k, *, cap=1.0, floor=0.0, prior=None, bounds=(), names=None):
    prior = np.full(k, 1.0 / k) if prior is None else np.asarray(prior, dtype=np.float64)
    return SimpleNamespace(
        domains=tuple(names or (f"d{i}" for i in range(k))),
        n_domains=k,
        prior=prior / prior.sum(),
        cap=np.broadcast_to(np.asarray(cap, dtype=np.float64), (k,)),
        floor=np.broadcast_to(np.asarray(floor, dtype=np.float64), (k,)),
        bound_rows=np.array([row for row, _, _ in bounds], dtype=np.float64).reshape(-1, k),
        bound_lower=np.array([lower for _, lower, _ in bounds], dtype=np.float64),
        bound_upper=np.array([upper for _, _, upper in bounds], dtype=np.float64),
    )


def make_solution(table, weights, value, gap, status="optimal", **more):
    mixture = SimpleNamespace(domains=table.domains, weights=np.asarray(weights, dtype=np.float64))
    more.setdefault("multipliers", None)
    return SimpleNamespace(mixture=mixture, value=value, gap=gap, status=status, **more)


def random_loglik(seed, n=60, k=5, spread=2.0):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=spread, size=(n, k)) + rng.normal(size=(n, 1)) - 6.0


def random_mixture(seed, k):
    return np.random.default_rng(seed).dirichlet(np.ones(k))


# ------------------------------------------------------------------------------------------------ values and slopes


def test_row_pass_by_hand():
    value, slope, curve = reference.row_pass([[1.0, 0.5], [0.25, 1.0]], [-1.0, -2.0], [2.0, 3.0], [0.5, 0.5])
    assert value == pytest.approx(-2 * (np.log(0.75) - 1) - 3 * (np.log(0.625) - 2), rel=1e-15)
    np.testing.assert_allclose(slope, [-2 / 0.75 - 3 * 0.25 / 0.625, -2 * 0.5 / 0.75 - 3 / 0.625], rtol=1e-15)
    v = np.array([[1 / 0.75, 0.5 / 0.75], [0.25 / 0.625, 1 / 0.625]])
    np.testing.assert_allclose(curve, v.T @ np.diag([2.0, 3.0]) @ v, rtol=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_row_pass_agrees_with_the_raw_loss_and_differences(seed):
    table, k = random_loglik(seed), 5
    weight, w = np.random.default_rng(seed).random(60), random_mixture(seed, k)
    top = table.max(axis=1)
    value, slope, curve = reference.row_pass(np.exp(table - top[:, None]), top, weight, w)
    assert value == pytest.approx(reference.ensemble_loss(table, weight, w), rel=1e-13)
    np.testing.assert_allclose(slope, reference.gradient(table, weight, w), rtol=1e-12)
    assert w @ slope == pytest.approx(-weight.sum(), rel=1e-13)
    # H w = -g, because v_i . w = 1 on every row.
    np.testing.assert_allclose(curve @ w, -slope, rtol=1e-12)
    step = 1e-6
    for axis in np.eye(k):
        up, down = (reference.ensemble_loss(table, weight, w + sign * step * axis) for sign in (1, -1))
        assert (up - down) / (2 * step) == pytest.approx(slope @ axis, rel=1e-7)
        up, down = (reference.gradient(table, weight, w + sign * step * axis) for sign in (1, -1))
        np.testing.assert_allclose((up - down) / (2 * step), curve @ axis, rtol=1e-6, atol=1e-6)


def test_rows_of_weight_zero_do_not_exist():
    table = random_loglik(1)
    table[3] = -np.inf
    weight = np.full(60, 0.1)
    weight[3] = 0.0
    w = np.full(5, 0.2)
    kept = np.delete(table, 3, axis=0)
    assert reference.ensemble_loss(table, weight, w) == pytest.approx(reference.ensemble_loss(kept, 0.1, w), rel=1e-14)
    np.testing.assert_allclose(
        reference.gradient(table, weight, w), reference.gradient(kept, 0.1, w), rtol=1e-13, equal_nan=False
    )
    value, slope, _ = reference.row_pass([[0.0, 0.0], [1.0, 0.5]], [0.0, 0.0], [0.0, 1.0], [0.5, 0.5])
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_a_row_no_expert_in_use_explains_costs_infinity():
    table = np.array([[-1.0, -np.inf], [-2.0, -3.0]])
    assert reference.ensemble_loss(table, 1.0, [0.0, 1.0]) == np.inf
    assert reference.gradient(table, 1.0, [0.0, 1.0])[0] == -np.inf
    value, slope, _ = reference.row_pass(np.exp(table), [0.0, 0.0], [1.0, 1.0], [0.0, 1.0])
    assert value == np.inf
    assert slope[0] == -np.inf
    assert np.isfinite(slope[1])


def test_loss_of_whole_sequences_never_underflows():
    """Rows with values in the thousands of nats and differences of the same size, against 60-digit decimals."""
    getcontext().prec = 60
    table = np.array([[-4200.5, -8000.25, -4195.75], [-700.0, -9000.5, -12000.0], [-3.25, -3600.0, -2.5]])
    w = [0.25, 0.5, 0.25]
    exact = sum(
        -sum(Decimal(share) * Decimal(float(value)).exp() for share, value in zip(w, row, strict=True)).ln()
        for row in table
    )
    assert reference.ensemble_loss(table, 1.0, w) == pytest.approx(float(exact), rel=1e-15)
    # The row maximum belongs to an expert with share 0.
    assert reference.ensemble_loss(table[:1], 1.0, [0.0, 1.0, 0.0]) == 8000.25


def test_blocks_do_not_change_the_answer(monkeypatch):
    table, weight, w = random_loglik(3, n=101), np.random.default_rng(3).random(101), random_mixture(3, 5)
    whole = reference.ensemble_loss(table, weight, w), reference.gradient(table, weight, w)
    monkeypatch.setattr(_losses, "_BLOCK_ELEMENTS", 37)
    assert reference.ensemble_loss(table, weight, w) == pytest.approx(whole[0], rel=1e-15)
    np.testing.assert_allclose(reference.gradient(table, weight, w), whole[1], rtol=1e-14)


def test_mixture_nll_equals_the_brute_force_log_mean():
    """A8, first half: every candidate and group, one row at a time."""
    table = random_loglik(4, n=30, k=4)
    groups, top = np.array([0, 10, 10, 30]), table.max(axis=1)
    weight = np.full(30, 1 / 10)
    mixtures = np.random.default_rng(4).dirichlet(np.ones(4), size=7)
    found = reference.mixture_nll(np.exp(table - top[:, None]), top, weight, groups, mixtures)
    assert found.shape == (7, 3)
    for m, g in itertools.product(range(7), range(3)):
        rows = range(groups[g], groups[g + 1])
        brute = -sum(weight[i] * np.log(sum(mixtures[m, k] * np.exp(table[i, k]) for k in range(4))) for i in rows)
        assert found[m, g] == pytest.approx(brute, rel=1e-13, abs=1e-15)
    assert reference.mixture_nll(np.exp(table), 0 * top, weight, [0, 30], mixtures[0]).shape == (1, 1)


def test_sequence_level_is_token_level_with_posterior_weights():
    """A8, second half: ``log sum_k w_k prod_t p_kt = sum_t log sum_k w_k(prefix) p_kt``."""
    rng = np.random.default_rng(5)
    tokens = rng.normal(scale=3.0, size=(12, 50, 6)) - 5.0  # sequence, position, expert
    w = random_mixture(5, 6)
    whole = reference.log_mixed(tokens.sum(axis=1), w)
    for s in range(12):
        prefix = np.concatenate([np.zeros((1, 6)), np.cumsum(tokens[s], axis=0)[:-1]])
        posterior = np.log(w) + prefix
        posterior = np.exp(posterior - posterior.max(axis=1, keepdims=True))
        posterior /= posterior.sum(axis=1, keepdims=True)
        by_token = sum(reference.log_mixed(tokens[s, t : t + 1], posterior[t])[0] for t in range(50))
        assert by_token == pytest.approx(whole[s], rel=1e-13)


def test_squared_error_by_differences_and_by_hand():
    rng = np.random.default_rng(6)
    prediction, target, weight = rng.normal(size=(20, 4, 3)), rng.normal(size=(20, 3)), rng.random(20)
    w = random_mixture(6, 4)
    value, slope, curve = reference.squared_error(prediction, target, weight, w)
    brute = 0.5 * sum(weight[i] * np.sum((w @ prediction[i] - target[i]) ** 2) for i in range(20))
    assert value == pytest.approx(brute, rel=1e-14)
    for axis in np.eye(4):
        up, down = (reference.squared_error(prediction, target, weight, w + sign * 0.5 * axis) for sign in (1, -1))
        assert up.value - down.value == pytest.approx(slope @ axis, rel=1e-12)  # exact for a quadratic
        np.testing.assert_allclose(up.gradient - down.gradient, curve @ axis, rtol=1e-11)
    flat = reference.squared_error(prediction[:, :, 0], target[:, 0], weight, w)
    assert flat.value == pytest.approx(0.5 * weight @ (prediction[:, :, 0] @ w - target[:, 0]) ** 2, rel=1e-14)


def test_groups_of_a_real_table():
    """The fields that the reference reads from a table: sorted groups, a weight for each row, each output of a prediction as a row."""
    tables = pytest.importorskip("mixfast.tables")
    loglik, group = random_loglik(16, n=30, k=4), np.arange(30) % 3
    w = random_mixture(16, 4)
    length = np.arange(1, 31)
    table = tables.ExpertTable.from_loglik(loglik, group=group, length=length)
    losses, slopes = reference.group_pass(table, w)
    for g in range(3):
        rows = group == g
        weight = 1.0 / (10 * length[rows])
        assert losses[g] == pytest.approx(reference.ensemble_loss(loglik[rows], weight, w), rel=1e-14)
        np.testing.assert_allclose(slopes[g], reference.gradient(loglik[rows], weight, w), rtol=1e-13)
    assert reference.total_value(table, w) == pytest.approx(losses.mean(), rel=1e-14)
    assert reference.total_value(table, w, objective="worst") == losses.max()
    rng = np.random.default_rng(16)
    prediction, target = rng.normal(size=(20, 4, 3)), rng.normal(size=(20, 3))
    table = tables.ExpertTable.from_predictions(prediction, target)
    value, slope, _ = reference.squared_error(prediction, target, np.full(20, 1 / 20), w)
    found = reference.group_pass(table, w)
    assert found.losses[0] == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(found.gradients[0], slope, rtol=1e-12)


def test_divergence():
    assert reference.kl_divergence([0.5, 0.5, 0.0], [0.25, 0.5, 0.25]) == pytest.approx(0.5 * np.log(2.0))
    assert reference.kl_divergence([0.5, 0.5], [1.0, 0.0]) == np.inf
    w, q, step = np.array([0.2, 0.3, 0.5]), np.array([0.5, 0.25, 0.25]), 1e-6
    for axis in np.eye(3):
        slope = (reference.kl_divergence(w + step * axis, q) - reference.kl_divergence(w - step * axis, q)) / (2 * step)
        assert slope == pytest.approx(reference.kl_gradient(w, q) @ axis, rel=1e-8)


# ----------------------------------------------------------------------------------------------------- certificates


@pytest.mark.parametrize("seed", range(20))
def test_linear_minimum_by_enumeration_and_by_linear_programme(seed):
    rng = np.random.default_rng(seed)
    k = 4
    floor = rng.random(k) * 0.2
    cap = floor + rng.random(k) * 0.5 + 0.1
    slope = rng.normal(size=k)
    region = make_region(k, cap=cap, floor=floor)
    # At a vertex, all but one domain are at a limit.
    vertices = []
    for free in range(k):
        for ends in itertools.product((0, 1), repeat=k - 1):
            s = np.insert(np.where(ends, np.delete(cap, free), np.delete(floor, free)), free, 0.0)
            s[free] = 1.0 - s.sum()
            if floor[free] - 1e-12 <= s[free] <= cap[free] + 1e-12:
                vertices.append(s)
    least = min(slope @ s for s in vertices)
    assert reference.linear_minimum(slope, region) == pytest.approx(least, abs=1e-12)
    # A group limit that is never active still selects the linear program.
    same = make_region(k, cap=cap, floor=floor, bounds=[(np.ones(k), -1.0, 2.0)])
    assert reference.linear_minimum(slope, same) == pytest.approx(least, abs=1e-9)


def test_linear_minimum_under_a_group_bound():
    region = make_region(3, bounds=[([1.0, 1.0, 0.0], -np.inf, 0.25)])
    assert reference.linear_minimum([-4.0, -2.0, -1.0], region) == pytest.approx(0.25 * -4 + 0.75 * -1)


def test_an_infinitely_better_expert_leaves_no_bound():
    slope = np.array([-np.inf, -1.0])
    assert reference.frank_wolfe_gap(slope, [0.0, 1.0], make_region(2)) == np.inf
    assert reference.frank_wolfe_gap(slope, [0.0, 1.0], make_region(2, cap=[0.0, 1.0])) == pytest.approx(0.0)


@pytest.mark.parametrize("seed", range(10))
def test_gap_bounds_the_distance_to_the_optimum(seed):
    table = random_loglik(seed, n=40, k=4)
    region = make_region(4, cap=0.6, floor=0.05)
    best = reference.solve_cvxpy(make_table(table), region).value
    rng = np.random.default_rng(seed)
    for w in np.clip(rng.dirichlet(np.ones(4), size=20), 0.05, 0.6):
        w = w + (1 - w.sum()) / 4
        if (w > 0.6).any() or (w < 0.05).any():
            continue
        gap = reference.frank_wolfe_gap(reference.gradient(table, 1 / 40, w), w, region)
        assert gap >= reference.ensemble_loss(table, 1 / 40, w) - best - 1e-8


def test_minimax_gap_of_a_known_problem():
    """Two groups, each explained by one expert alone: the optimum for the worst is the even mixture."""
    table = make_table(np.log([[0.8, 0.1], [0.1, 0.8]]), groups=[1, 1])
    losses, slopes = reference.group_pass(table, [0.5, 0.5])
    gap, shares = reference.worst_gap(losses, slopes, [0.5, 0.5], make_region(2))
    assert gap == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(shares, [0.5, 0.5], atol=1e-9)
    given = reference.worst_gap(losses, slopes, [0.5, 0.5], make_region(2), [0.9, 0.1])
    assert given.gap > 0.1
    off = reference.group_pass(table, [0.7, 0.3])
    assert reference.worst_gap(*off, [0.7, 0.3], make_region(2)).gap >= off.losses.max() - losses.max()


# ------------------------------------------------------------------------------------------------------- iterations


def test_disjoint_experts_get_the_counts():
    """Each row is explained by one expert: the optimal share is the weight of its rows, and EM reaches it in one step."""
    table = np.full((10, 3), -np.inf)
    table[np.arange(10), [0, 0, 0, 0, 0, 1, 1, 1, 2, 2]] = -np.linspace(1, 900, 10)
    np.testing.assert_allclose(reference.em(table, 0.1, steps=1), [0.5, 0.3, 0.2], rtol=1e-13)
    w = np.array([0.5, 0.3, 0.2])
    slope = reference.gradient(table, 0.1, w)
    assert reference.frank_wolfe_gap(slope, w, make_region(3)) == pytest.approx(0, abs=1e-12)
    found = reference.solve_cvxpy(make_table(table), make_region(3))
    np.testing.assert_allclose(found.weights, w, atol=1e-4)


def test_two_experts_by_bisection():
    table = random_loglik(7, n=200, k=2, spread=0.7)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        slope = reference.gradient(table, 1 / 200, [middle, 1 - middle])
        low, high = (middle, high) if slope[0] < slope[1] else (low, middle)
    assert 0.01 < low < 0.99
    assert reference.em(table, 1 / 200, steps=5000)[0] == pytest.approx(low, abs=1e-9)
    assert reference.solve_cvxpy(make_table(table), make_region(2)).weights[0] == pytest.approx(low, abs=1e-5)


def test_em_never_goes_up():
    table, before = random_loglik(8), np.inf
    for steps in range(0, 60, 3):
        w = reference.em(table, 1 / 60, steps=steps)
        now = reference.ensemble_loss(table, 1 / 60, w)
        assert now <= before + 1e-14
        before = now


def plain_mixmin_loop(prob, length, steps=100):
    """The published loop, written as simply as possible: probabilities, one array, one step size."""
    n, k = prob.shape
    w = np.ones(k) / k
    for _ in range(steps):
        g = -((1.0 / length) / (prob @ w)) @ prob / n
        w = w * np.exp(-1.0 * g)
        w = w / w.sum()
    return w


def test_eg_of_the_paper_equals_the_plain_loop():
    """A5 and A6: uniform start, eta 1, exactly 100 steps, last iterate."""
    rng = np.random.default_rng(9)
    prob, length = rng.random((50, 6)), rng.integers(5, 80, size=50)
    path = list(reference.eg_paper_path(np.log(prob), length))
    assert len(path) == 101
    np.testing.assert_array_equal(path[0], np.full(6, 1 / 6))
    np.testing.assert_allclose(path[-1], plain_mixmin_loop(prob, length), rtol=1e-12)
    np.testing.assert_allclose(path[7], plain_mixmin_loop(prob, length, steps=7), rtol=1e-12)
    np.testing.assert_array_equal(reference.eg_paper(np.log(prob), length), path[-1])
    weight = 1.0 / (50 * length)
    np.testing.assert_allclose(reference.eg_paper(np.log(prob), weight=weight), path[-1], rtol=1e-14)


def test_stop_rule_of_the_paper_keeps_the_update():
    table = random_loglik(10, n=40, k=3)
    path = list(reference.eg_paper_path(table, np.full(40, 1e6)))
    # Gradients are of order 1 / length < 1e-4 from the start: one update is made and kept.
    assert len(path) == 2
    assert not np.array_equal(path[0], path[1])
    # mean(1 / length) > 1e-4: the stop rule cannot fire.
    assert len(list(reference.eg_paper_path(table, np.full(40, 9999.0)))) == 101


# ---------------------------------------------------------------------------------------------------- conic solvers

SOLVERS = ["CLARABEL", "ECOS"]
BOUNDS = [([1.0, 1.0, 0.0, 0.0, 0.0], 0.1, 0.3), ([0.0, 0.0, 0.0, 1.0, 1.0], -np.inf, 0.35)]
REGIONS = {
    "simplex": {},
    "caps": {"cap": [0.3, 0.3, 0.5, 0.2, 1.0]},
    "caps and floors": {"cap": 0.4, "floor": [0.1, 0.0, 0.05, 0.0, 0.02]},
    "group bounds": {"bounds": BOUNDS},
    "everything": {"cap": 0.7, "floor": [0.0, 0.02, 0.0, 0.05, 0.0], "bounds": BOUNDS, "prior": [5, 1, 1, 2, 1]},
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kl", [0.0, 0.05])
@pytest.mark.parametrize("objective", [None, {"g0": 3.0, "g2": 1.0}, "worst"], ids=["mean", "weighted", "worst"])
@pytest.mark.parametrize("limits", REGIONS)
def test_conic_solvers_pass_the_certificate(limits, objective, kl, solver):
    table, region = make_table(random_loglik(11, n=120), groups=[30, 40, 50]), make_region(5, **REGIONS[limits])
    found = reference.solve_cvxpy(table, region, kl=kl, objective=objective, solver=solver)
    assert found.status == "optimal"
    solution = make_solution(table, found.weights, found.value, 0.0, group_weights=found.group_weights)
    # An interior-point solver is accurate to 1e-8 in value but only to 1e-4 in the shares, because the loss is flat there.
    # The Frank-Wolfe gap is of first order in the shares, so it detects this.
    report = check(table, region, solution, kl=kl, objective=objective, tol=5e-5, feasible_tol=1e-6)
    np.testing.assert_allclose(report.group_weights.sum(), 1.0, rtol=1e-9)
    if solver != SOLVERS[0]:
        first = reference.solve_cvxpy(table, region, kl=kl, objective=objective, solver=SOLVERS[0])
        assert found.value == pytest.approx(first.value, abs=2e-7)


@pytest.mark.parametrize("objective", [None, "worst"])
def test_a_third_solver_agrees(objective):
    table, region = make_table(random_loglik(12, n=60), groups=[20, 40]), make_region(5, cap=0.5)
    one = reference.solve_cvxpy(table, region, objective=objective)
    tight = {"eps_abs": 1e-8, "eps_rel": 1e-8}
    other = reference.solve_cvxpy(table, region, objective=objective, solver="SCS", options=tight)
    assert other.value == pytest.approx(one.value, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_conic_optimum_is_no_worse_than_em(seed):
    """A5: gap, loss at most that of 5000 EM steps, identity at the optimum."""
    table = random_loglik(seed, n=80)
    tight = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11}
    found = reference.solve_cvxpy(make_table(table), make_region(5), options=tight)
    assert found.value <= reference.ensemble_loss(table, 1 / 80, reference.em(table, 1 / 80, steps=5000)) + 1e-9
    w = found.weights / found.weights.sum()
    slope = reference.gradient(table, 1 / 80, w)
    assert w @ slope == pytest.approx(-1.0, rel=1e-12)
    assert reference.frank_wolfe_gap(slope, w, make_region(5)) <= 1e-6


@pytest.mark.parametrize("limits", ["simplex", "caps and floors", "everything"])
def test_squared_error_equals_a_quadratic_programme(limits):
    """A7: cvxpy, and the active-set code of Goldfarb and Idnani applied to the Gram matrix."""
    quadprog = pytest.importorskip("quadprog")
    rng = np.random.default_rng(13)
    prediction, target = rng.normal(size=(200, 5)), rng.normal(size=200)
    table, region = make_table(prediction=prediction, target=target), make_region(5, **REGIONS[limits])
    one = reference.solve_cvxpy(table, region)
    two = reference.solve_cvxpy(table, region, solver="ECOS")
    gram, linear = prediction.T @ prediction / 200, prediction.T @ target / 200
    a, b = limits_of(region)
    constraints = np.vstack([np.ones((1, 5)), np.eye(5), -np.eye(5), -a]).T
    levels = np.concatenate([[1.0], region.floor, -region.cap, -b])
    exact = quadprog.solve_qp(gram, linear, constraints, levels, meq=1)[0]
    for found in (one, two):
        np.testing.assert_allclose(found.weights, exact, atol=5e-5)
    value = 0.5 * exact @ gram @ exact - linear @ exact + 0.5 * target @ target / 200
    assert one.value == pytest.approx(value, abs=1e-9)
    check(table, region, make_solution(table, exact, value, 0.0), tol=1e-9)


def test_a_failed_reference_is_no_reference():
    table = make_table(random_loglik(14))
    with pytest.raises(BackendError, match=r"expected 'optimal'|failed"):
        reference.solve_cvxpy(table, make_region(5), options={"max_iter": 1})
    with pytest.raises(BackendError, match="one order"):
        reference.solve_cvxpy(table, make_region(5, names=["d1", "d0", "d2", "d3", "d4"]))
    with pytest.raises(ValueError, match="not 'best'"):
        reference.solve_cvxpy(table, make_region(5), objective="best")
    with pytest.raises(ValueError, match="nowhere"):
        reference.solve_cvxpy(table, make_region(5), objective={"nowhere": 1.0})


def test_missing_cvxpy_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(BackendError, match=r"mixfast\[reference\]"):
        reference.solve_cvxpy(make_table(random_loglik(15)), make_region(5))


# ------------------------------------------------------------------------------- the certificate itself can refuse


@pytest.fixture(scope="module")
def solved():
    """Return a squared-error problem with an active cap, floor and group bound, solved exactly, with its multipliers."""
    quadprog = pytest.importorskip("quadprog")
    rng = np.random.default_rng(21)
    prediction = rng.normal(size=(100, 4)) + np.array([0.0, 0.3, 0.6, 0.9])
    target = prediction @ [0.7, 0.4, 0.1, -0.2] + 0.1 * rng.normal(size=100)
    table = make_table(prediction=prediction, target=target)
    cap, floor = np.array([0.5, 1.0, 1.0, 1.0]), np.array([0.0, 0.0, 0.0, 0.05])
    region = make_region(4, cap=cap, floor=floor, bounds=[([0.0, 1.0, 0.0, 1.0], -np.inf, 0.3)])
    gram, linear = prediction.T @ prediction / 100, prediction.T @ target / 100
    constraints = np.vstack([np.ones((1, 4)), np.eye(4), -np.eye(4), -region.bound_rows]).T
    levels = np.concatenate([[1.0], floor, -cap, -region.bound_upper])
    w, _, _, _, price, _ = quadprog.solve_qp(gram, linear, constraints, levels, meq=1)
    multipliers = {"floor": price[1:5], "cap": price[5:9], "bound_upper": price[9:]}
    value = reference.total_value(table, w)
    return table, region, make_solution(table, w, value, 0.0, multipliers=multipliers)


@pytest.mark.parametrize("seed", range(20))
def test_rational_linear_programme_agrees_with_highs(seed):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 12))
    w = rng.dirichlet(np.ones(k))
    rows = (rng.random((3, k)) < 0.5) * rng.choice([1.0, 0.3], size=(3, k)) + np.eye(3, k)
    level = rows @ w
    bounds = [
        (row, here - 0.1 * rng.random(), here + 0.1 * rng.random()) for row, here in zip(rows, level, strict=True)
    ]
    region = make_region(k, cap=np.minimum(2 * w, 1.0), floor=0.3 * w, bounds=bounds)
    slope = rng.normal(size=k)
    found = _linear_minimum(slope, w, _Limits.of(region, region.domains))
    assert float(found) == pytest.approx(reference.linear_minimum(slope, region), abs=1e-9)


def test_rational_linear_programme_has_no_tolerance():
    """With a slope of -1e12, room of 1e-13 for a domain is worth 0.1."""
    region = make_region(2, cap=[1.0, 1e-13])
    found = _linear_minimum(np.array([0.0, -1e12]), np.array([1.0, 0.0]), _Limits.of(region, region.domains))
    assert float(found) == pytest.approx(-0.1, rel=1e-12)
    # A point beyond its cap is inside the enlarged limits by which it is checked.
    found = _linear_minimum(
        np.array([0.0, -1e12]), np.array([0.5, 0.5]), _Limits.of(region, region.domains).around(np.array([0.5, 0.5]))
    )
    assert float(found) == pytest.approx(-5e11, rel=1e-12)


def changed(solution, **changes):
    return SimpleNamespace(**{**vars(solution), **changes})


def test_certificate_accepts_an_exact_optimum_with_multipliers(solved):
    table, region, solution = solved
    assert solution.multipliers["cap"][0] > 1e-3
    assert solution.multipliers["floor"][3] > 1e-3
    assert solution.multipliers["bound_upper"][0] > 1e-3
    report = check(table, region, solution, tol=1e-10)
    assert report.slackness <= 1e-10


def test_multipliers_are_what_loosening_a_limit_is_worth(solved):
    """The documented sign and unit: the decrease of the optimum for each unit by which a limit is loosened."""
    table, region, solution = solved
    step = 1e-4
    tight = {"tol_gap_abs": 1e-13, "tol_gap_rel": 1e-13, "tol_feas": 1e-13}
    for name, index, sign in (("cap", 0, 1), ("floor", 3, -1), ("bound_upper", 0, 1)):
        loose = getattr(region, name).copy()
        loose[index] += sign * step
        value = reference.solve_cvxpy(table, changed(region, **{name: loose}), options=tight).value
        assert (solution.value - value) / step == pytest.approx(solution.multipliers[name][index], rel=1e-2)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda s: {"value": s.value + 1e-6}, "recomputed"),
        (lambda s: {"gap": -1e-3}, "negative"),
        (lambda s: {"mixture": moved(s, 0, 1, 1e-4)}, "optimal but|infeasible"),
        (lambda s: {"mixture": moved(s, 1, 0, 1e-6)}, "infeasible.*cap"),
        (lambda s: {"mixture": moved(s, 2, 1, 1e-3)}, "infeasible.*bound_upper|bound_upper"),
        (lambda s: {"multipliers": {**s.multipliers, "cap": -s.multipliers["cap"]}}, "negative"),
        (lambda s: {"multipliers": {**s.multipliers, "cap": np.zeros(4)}}, "stationarity"),
        (lambda s: {"multipliers": {**s.multipliers, "cap": s.multipliers["cap"][::-1]}}, "slackness of cap"),
        (lambda s: {"multipliers": {}}, "stationarity"),
    ],
)
def test_certificate_refuses(solved, fault, says):
    table, region, solution = solved
    with pytest.raises(AssertionError, match=says):
        check(table, region, changed(solution, **fault(solution)), tol=1e-8)


def moved(solution, source, target, amount):
    weights = solution.mixture.weights.copy()
    weights[source] -= amount
    weights[target] += amount
    return SimpleNamespace(domains=solution.mixture.domains, weights=weights)


def test_certificate_refuses_a_gap_that_understates(solved):
    table, region, _ = solved
    w = [0.4, 0.1, 0.4, 0.1]
    off = make_solution(table, w, reference.total_value(table, w), 0.0, "user_limit")
    assert any("understates" in failure for failure in inspect(table, region, off).failures)
    honest = inspect(table, region, changed(off, gap=inspect(table, region, off).gap))
    assert honest.valid


def test_certificate_aligns_by_name(solved):
    table, region, solution = solved
    order = [2, 0, 3, 1]
    names = tuple(table.domains[i] for i in order)
    shuffled = SimpleNamespace(
        **{**vars(region), "domains": names, "bound_rows": region.bound_rows[:, order]}
        | {name: getattr(region, name)[order] for name in ("cap", "floor", "prior")}
    )
    mixture = SimpleNamespace(domains=names, weights=solution.mixture.weights[order])
    assert check(table, shuffled, changed(solution, mixture=mixture), tol=1e-10).gap <= 1e-10


def test_divergence_certificate_survives_underflowed_shares():
    """A small KL weight: the optimal share of a bad expert is exp(-1000) = 0 in float64, where the slope is -inf."""
    table = make_table(np.log([[0.9, 0.1], [0.8, 0.2]]))
    region, kl = make_region(2), 1e-5
    w = np.array([1.0, 0.0])
    value = reference.total_value(table, w, prior=region.prior, kl=kl)
    report = check(table, region, make_solution(table, w, value, 0.0), kl=kl, tol=1e-9)
    assert report.gap >= -1e-12
    even = make_solution(table, [0.5, 0.5], reference.total_value(table, [0.5, 0.5], prior=region.prior, kl=kl), 0.0)
    assert not inspect(table, region, even, kl=kl).valid
