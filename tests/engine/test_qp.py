"""Quadratic programs: the compiled step over caps and floors, and the numpy solvers under any limits; full KKT checks."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from mixfast._engine.backend import simplex
from mixfast._engine.geometry import lp, qp
from mixfast._engine.optimise import newton

Vector = NDArray[np.float64]


class Problem(NamedTuple):
    hessian: Vector
    gradient: Vector
    w: Vector
    low: Vector
    high: Vector
    rows: Vector
    rows_low: Vector
    rows_high: Vector


def curvature(rng: np.random.Generator, k: int) -> tuple[Vector, Vector]:
    """Return Hessian and gradient of a likelihood: of full rank, with fewer rows than domains, with copies or near copies."""
    n = int(rng.integers(1, 3 * k + 3))
    prob = rng.random((n, k)) ** rng.integers(1, 5) + 1e-9
    kind = rng.integers(5)
    if kind == 1:
        prob[:, rng.integers(k)] = prob[:, 0]
    if kind == 2 and k > 1:
        prob[:, 1] = prob[:, 0] * (1.0 + 1e-6 * rng.standard_normal(n))
    ratio = prob / (prob @ rng.dirichlet(np.full(k, rng.choice([0.1, 1.0, 10.0]))))[:, None]
    return ratio.T @ ratio / n, -ratio.mean(0)


def random_problem(rng: np.random.Generator, k: int, n_rows: int) -> Problem:
    hessian, gradient = curvature(rng, k)
    kind = rng.integers(6)
    if kind == 0:
        gradient = rng.standard_normal(k)
    if kind == 1:
        hessian = hessian * rng.choice([0.0, 1e-6, 1e4])
    low = np.where(rng.random(k) < 0.3, 0.5 * rng.random(k) / k, 0.0)
    w = low + (1.0 - low.sum()) * rng.dirichlet(np.full(k, rng.choice([0.2, 1.0, 10.0])))
    high = np.where(rng.random(k) < 0.4, w + 0.3 * rng.random(k) * (rng.random(k) < 0.6), 1.0)
    low = np.where(rng.random(k) < 0.15, w, low)
    fixed = rng.random(k) < rng.choice([0.0, 0.2, 1.0], p=[0.6, 0.35, 0.05])
    low, high = np.where(fixed, w, low), np.where(fixed, w, np.minimum(np.maximum(high, w), 1.0))
    rows = (rng.random((n_rows, k)) < 0.5) * np.where(rng.random((n_rows, 1)) < 0.7, 1.0, 3.0 * rng.random((n_rows, k)))
    if n_rows > 1 and rng.random() < 0.3:
        rows[1] = rows[0]
    if n_rows and rng.random() < 0.1:
        rows[0] = 1.0
    activity = rows @ w
    rows_low = activity - np.where(rng.random(n_rows) < 0.5, 0.0, 0.2 * rng.random(n_rows))
    rows_high = activity + np.where(rng.random(n_rows) < 0.4, 0.0, 0.2 * rng.random(n_rows))
    rows_low = np.where(rng.random(n_rows) < 0.3, -np.inf, rows_low)
    rows_high = np.where(rng.random(n_rows) < 0.3, np.inf, rows_high)
    return Problem(hessian, gradient, w, low, high, rows, rows_low, rows_high)


def violation(p: Problem, step: Vector) -> float:
    share = p.w + step
    activity = p.rows @ share
    outside = [p.low - share, share - p.high, p.rows_low - activity, activity - p.rows_high, np.abs([step.sum()])]
    return float(np.concatenate(outside).max())


def gap(p: Problem, slope: Vector, step: Vector) -> float:
    """Return how far `slope` at the step is from being balanced by the limits: 0 if and only if KKT holds."""
    slope = slope - slope.mean()
    # w is feasible only up to rounding, and so are the limits computed from it.
    loose = 1e-14
    best = lp.minimise(
        slope, p.low - loose, p.high + loose, p.rows, p.rows_low - 10 * loose, p.rows_high + 10 * loose, p.w.sum()
    )
    return float(slope @ (p.w + step - best))


def size(*parts: Vector) -> float:
    return max(1e-3, *(float(np.abs(part).max(initial=0.0)) for part in parts))


def limits_of(p: Problem) -> dict:
    return {"low": p.low, "high": p.high, "groups": (p.rows, p.rows_low, p.rows_high)}


def newton_step(p: Problem) -> Vector:
    return qp.newton(p.hessian, p.gradient, p.w, **limits_of(p))


def assert_newton(p: Problem) -> Vector:
    step = newton_step(p)
    assert violation(p, step) <= 1e-12
    assert abs(gap(p, p.gradient + p.hessian @ step, step)) <= 1e-10 * size(p.hessian, p.gradient)
    return step


def assert_minimax(p: Problem, losses: Vector, gradients: Vector) -> tuple[Vector, Vector]:
    step, weights = qp.minimax(p.hessian, losses, gradients, p.w, **limits_of(p))
    assert violation(p, step) <= 1e-12
    assert weights.min() >= 0.0
    assert abs(math.fsum(weights) - 1.0) <= 1e-12
    pieces, scale = losses + gradients @ step, size(p.hessian, gradients, losses)
    assert weights @ (pieces.max() - pieces) <= 1e-10 * scale
    assert abs(gap(p, weights @ gradients + p.hessian @ step, step)) <= 1e-10 * scale
    return step, weights


def box(low: list[float] | Vector, high: list[float] | Vector, w: list[float] | Vector, seed: int = 0) -> Problem:
    k = len(w)
    none = np.zeros(0)
    return Problem(
        *curvature(np.random.default_rng(seed), k), *map(np.array, (w, low, high)), np.zeros((0, k)), none, none
    )


@pytest.mark.parametrize("seed", range(60))
def test_newton_meets_kkt(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(6):
        assert_newton(random_problem(rng, int(rng.integers(1, 25)), int(rng.integers(0, 5))))


@pytest.mark.parametrize("seed", range(40))
def test_minimax_meets_kkt(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(6):
        p = random_problem(rng, int(rng.integers(1, 20)), int(rng.integers(0, 4)))
        groups = int(rng.integers(1, 10))
        gradients = p.gradient + rng.choice([0.01, 0.3, 1.0]) * rng.standard_normal((groups, p.w.size))
        losses = rng.choice([0.0, 0.01, 0.3]) * rng.standard_normal(groups)
        if rng.random() < 0.3:
            gradients[-1], losses[-1] = gradients[0], losses[0]
        assert_minimax(p, losses, gradients)


@pytest.mark.parametrize("seed", range(6))
def test_interior_point_and_walk_alone(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second stage gives the same result as the first."""
    stage = qp._active_set
    walks = []

    def second_only(problem, at, rounds, *, careful=False):
        if careful:
            walks.append(1)
            return stage(problem, at, rounds, careful=True)
        return None

    monkeypatch.setattr(qp, "_active_set", second_only)
    rng = np.random.default_rng(seed)
    for _ in range(10):
        p = random_problem(rng, int(rng.integers(2, 15)), int(rng.integers(0, 4)))
        assert_newton(p) if rng.random() < 0.5 else assert_minimax(p, np.zeros(2), rng.standard_normal((2, p.w.size)))
    assert len(walks) == 10


@pytest.mark.parametrize("seed", range(10))
def test_walk_from_afar(seed: int) -> None:
    """The walk alone finds the optimum from the start, even with many limits in between."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(4, 20))
    p = box(np.zeros(k), np.full(k, 2.5 / k), rng.dirichlet(np.full(k, 50.0)), seed)
    p = p._replace(hessian=p.hessian + np.eye(k), gradient=3.0 * rng.standard_normal(k))
    limits = np.concatenate([p.low - p.w, [0.0]]), np.concatenate([p.high - p.w, [0.0]])
    problem = qp._Problem.of(p.hessian, p.gradient, np.ones((1, k)), *limits)
    start = qp._Point(np.zeros(k), np.zeros(1), np.zeros(k + 1, dtype=np.int8))
    point = qp._active_set(problem, start, k + 1, careful=True)
    assert point is not None
    np.testing.assert_allclose(point.x, assert_newton(p), atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_against_cvxpy(seed: int) -> None:
    cvxpy = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    p = random_problem(rng, 8, 2)
    p = p._replace(rows_low=np.maximum(p.rows_low, -1.0), rows_high=np.minimum(p.rows_high, 9.0))
    gradients, losses = rng.standard_normal((3, 8)), 0.1 * rng.standard_normal(3)
    d = cvxpy.Variable(8)
    limits = [cvxpy.sum(d) == 0, p.w + d >= p.low, p.w + d <= p.high]
    limits += [p.rows @ (p.w + d) >= p.rows_low, p.rows @ (p.w + d) <= p.rows_high]
    square = 0.5 * cvxpy.quad_form(d, cvxpy.psd_wrap(p.hessian))

    def best(cost) -> float:
        problem = cvxpy.Problem(cvxpy.Minimize(cost), limits)
        problem.solve(solver="CLARABEL")
        assert problem.status == "optimal"
        return float(problem.value)

    step = assert_newton(p)
    assert p.gradient @ step + 0.5 * step @ p.hessian @ step == pytest.approx(best(p.gradient @ d + square), abs=1e-6)
    step, _ = assert_minimax(p, losses, gradients)
    value = (losses + gradients @ step).max() + 0.5 * step @ p.hessian @ step
    assert value == pytest.approx(best(cvxpy.max(losses + gradients @ d) + square), abs=1e-6)


def test_shares_at_a_limit_are_exactly_there() -> None:
    p = box([0.0] * 4, [0.3] * 4, [0.25] * 4)
    p = p._replace(gradient=np.array([-9.0, -8.0, 5.0, 6.0]))
    p = p._replace(rows=np.array([[1.0, 1.0, 0.0, 0.0]]), rows_low=np.array([-np.inf]), rows_high=np.array([0.55]))
    step = assert_newton(p)
    assert step[0] == 0.3 - 0.25
    assert p.rows[0] @ (p.w + step) == pytest.approx(0.55, abs=1e-15)


def test_exact_copies_and_no_curvature() -> None:
    p = box([0.0] * 3, [1.0] * 3, [1 / 3] * 3)
    assert_newton(p._replace(hessian=np.ones((3, 3)), gradient=np.full(3, -1.0)))
    assert_newton(p._replace(hessian=np.zeros((3, 3)), gradient=np.zeros(3)))
    step = assert_newton(p._replace(hessian=np.zeros((3, 3)), gradient=np.array([0.0, 1.0, -1.0])))
    np.testing.assert_allclose(p.w + step, [0.0, 0.0, 1.0], atol=1e-15)


def test_equal_and_contrary_rows() -> None:
    p = box([0.0] * 4, [1.0] * 4, [0.1, 0.2, 0.3, 0.4])
    rows = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0], [2.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    activity = rows @ p.w
    step = assert_newton(p._replace(rows=rows, rows_low=activity, rows_high=activity))
    assert np.abs(rows @ step).max() <= 1e-15


@pytest.mark.parametrize("w", [[1.0], [0.25] * 4, [1.0, 0.0, 0.0]])
def test_a_single_feasible_point(w: list[float]) -> None:
    p = box(w, w, w)
    assert not newton_step(p).any()
    assert not qp.minimax(p.hessian, np.zeros(2), np.ones((2, len(w))), p.w, **limits_of(p))[0].any()
    # Caps that sum to 1 give the same result.
    assert np.abs(newton_step(p._replace(low=np.zeros(len(w))))).max() <= 1e-15


def test_one_group_is_a_newton_step() -> None:
    for seed in range(10):
        p = random_problem(np.random.default_rng(seed), 6, 0)
        p = p._replace(hessian=p.hessian + np.eye(6))
        step, weights = assert_minimax(p, np.array([3.0]), p.gradient[None])
        assert weights == [1.0]
        np.testing.assert_allclose(step, assert_newton(p), atol=1e-11)


def test_identical_groups() -> None:
    p = box([0.0] * 5, [1.0] * 5, [0.2] * 5, seed=3)
    p = p._replace(hessian=p.hessian + np.eye(5))
    step, _ = assert_minimax(p, np.ones(4), np.tile(p.gradient, (4, 1)))
    np.testing.assert_allclose(step, assert_newton(p), atol=1e-11)


def test_nonsense_in_gives_a_feasible_step() -> None:
    p = box([0.0] * 3, [1.0] * 3, [1 / 3] * 3)
    step = newton_step(p._replace(gradient=np.array([np.nan, 0.0, 0.0])))
    assert np.isfinite(step).all()
    assert violation(p, step) <= 1e-12


def compiled_step(p: Problem, state: NDArray[np.int8]) -> None:
    """The compiled step satisfies KKT: its state gives the sign of each reduced gradient."""
    state = state.copy()
    step, level, rounds = simplex.qp(p.hessian, p.gradient, p.w, p.low, p.high, state)
    assert violation(p, step) <= 1e-12
    reduced = p.gradient + p.hessian @ step + level
    wrong = np.where(state == 0, np.abs(reduced), state * reduced)[p.low < p.high]
    assert wrong.max(initial=0.0) <= 1e-10 * size(p.hessian, p.gradient)
    # A cycle among multipliers that are 0 up to rounding is reported, and the result is right.
    assert rounds > 0 or wrong.max(initial=0.0) <= 1e-12 * size(p.hessian, p.gradient)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("kind", ["likelihood", "any"])
def test_compiled_step(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(40):
        k = int(rng.integers(1, 25))
        p = random_problem(rng, k, 0)
        if kind == "likelihood":
            # The gradient lies in the range of the Hessian and has its scale.
            hessian, _ = curvature(rng, k)
            p = p._replace(hessian=hessian, gradient=hessian @ rng.standard_normal(k) * rng.choice([1e-6, 1e-2, 1.0]))
        if rng.random() < 0.3:
            p = p._replace(w=simplex.linear_min(rng.standard_normal(k), p.low, p.high))
        at = np.where(p.w <= p.low, -1, np.where(p.w >= p.high, 1, 0))
        guess = rng.integers(-1, 2, k) if rng.random() < 0.3 else at
        compiled_step(p, guess.astype(np.int8))


def test_many_compiled_steps_are_one_after_the_other() -> None:
    rng = np.random.default_rng(0)
    problems = [random_problem(rng, 7, 0) for _ in range(12)]
    which = rng.integers(0, 5, 12)
    hessians = np.array([p.hessian for p in problems[:5]])
    g, w, low, high = (np.array([getattr(p, name) for p in problems]) for name in ("gradient", "w", "low", "high"))
    found = simplex.qp_many(hessians, which, g, w, low, high, np.zeros((12, 7), dtype=np.int8))
    for p, i, step in zip(problems, which, found, strict=True):
        wanted, _, _ = simplex.qp(hessians[i], p.gradient, p.w, p.low, p.high, np.zeros(7, dtype=np.int8))
        assert np.array_equal(step, wanted)
    with pytest.raises(ValueError, match="the others require"):
        simplex.qp_many(hessians, which, g, w[:11], low, high, np.zeros((12, 7), dtype=np.int8))
    with pytest.raises(ValueError, match="is 5: expected 0 to 4"):
        simplex.qp_many(
            hessians, np.where(which == which.max(), 5, which), g, w, low, high, np.zeros((12, 7), dtype=np.int8)
        )


def test_secant_updates_are_those_of_the_solver() -> None:
    rng = np.random.default_rng(0)
    before = np.array([curvature(rng, 6)[0] for _ in range(4)])
    which, moved = np.array([2, 0, 3]), rng.standard_normal((3, 6))
    change = np.array([before[0] @ moved[0], -moved[1], rng.standard_normal(6)])
    after = before.copy()
    simplex.bfgs_many(after, which, moved, change)
    for i, step, seen in zip(which, moved, change, strict=True):
        wanted = before[i].copy()
        newton.update_by_secant(wanted, step, seen)
        np.testing.assert_allclose(after[i], wanted, rtol=1e-9, atol=1e-12 * np.abs(wanted).max())
    assert np.array_equal(after[1], before[1])


def test_a_share_of_next_to_nothing_grows_again() -> None:
    """Under a KL term and group limits: the slope is far above rounding, in units as small as the share itself."""
    w = np.array([0.5, 0.5 - 1e-37, 1e-37])
    gradient = np.array([-1.5, -0.5, -31.0])
    rows, held = np.array([[1.0, 0.0, 0.0]]), np.array([0.5])
    step = qp.newton(
        np.eye(3) + np.diag(1.0 / w), gradient, w, low=0.01 * w, high=np.ones(3), groups=(rows, held, held)
    )
    assert step[2] == pytest.approx(30.5 * w[2], rel=1e-6, abs=0.0)


def test_the_core_refuses_lengths_that_do_not_fit() -> None:
    three, four = np.full(3, 0.5), np.full(4, 0.5)
    for solve in (simplex.project, simplex.linear_min):
        with pytest.raises(ValueError, match="the others require"):
            solve(three, np.zeros(3), four)
    with pytest.raises(ValueError, match="the others require"):
        simplex.qp(np.eye(3), three, three, np.zeros(4), four, np.zeros(3, dtype=np.int8))
