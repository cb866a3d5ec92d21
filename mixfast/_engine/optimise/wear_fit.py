"""Fit how repeated tokens wear out to runs whose epochs are known: one least-squares problem for all metrics, with shared numbers of repeats.

Metric j, in the direction in which less is better: ``y_rj = c_j + exp(b_j - sum_k a_jk g(E_rk; v_k)^p)`` with a at least 0, where g counts
effective epochs (`wear.py`), of which there are 1 / v at most: v lies between 0 (repeats count fully) and 1 (they count nothing). Repeats fade, with
``v = 1 / (1 + R*)``, or count fully up to ``1 / v`` epochs. The v are shared by all metrics, and c, b and a belong to one each, so a step solves
one small system for every metric and one for v.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.progress import tracked

# Bounds of v: R* of infinity and of 0.05, or thresholds of infinity and of 1.05 epochs.
LEAST, MOST = 0.0, 1.0 / 1.05
# How far the constant may lie below the smallest value, in ranges of the values.
_NEAR, _FAR = 0.01, 30.0
# A profile may find a better fit this often, by at least this fraction of the height of an interval.
_RESTARTS, _BETTER = 2, 0.1
# How round a threshold is at first.
_ROUND = 4.0
# If fewer values than this fraction are left after the coefficients, they do not tell the noise.
_SPARE = 0.25
# The largest exponent, and the smallest curvature as a fraction of the mean one.
_HIGHEST, _FLAT = 50.0, 1e-10
# Where profiles are computed: repeats of 0.05 to 800, and infinite ones.
_GRID = (MOST, *(1.0 / (1.0 + 0.1 * 2.0**step) for step in range(14)), LEAST)

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Runs:
    """Epochs (R, K), metrics (R, J) with 0 where a run has no value, and weights (R, J) that are 0 there.

    With a `corner`, domains count fully up to a threshold: sharply if it is infinite, and rounded by a smaller one, which is at least 2.
    """

    epochs: Matrix
    values: Matrix
    weight: Matrix
    power: float = 1.0
    corner: float | None = None


@dataclass(frozen=True, eq=False)
class State:
    """A fit: constants and coefficients (J, K + 2) in the order c, b, a; v (K,); the weighted sum of squares (J,)."""

    local: Matrix
    v: Vector
    squares: Vector


def effective(epochs: Matrix, v: Vector) -> tuple[Matrix, Matrix]:
    """Return effective epochs and their derivatives with respect to v, both (R, K)."""
    fresh, more = np.minimum(epochs, 1.0), np.maximum(epochs - 1.0, 0.0)
    t = more * (v / (1.0 - v))
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.where(t < 1e-4, 1.0 - 0.5 * t, -np.expm1(-t) / t)
        slope = np.where(t < 1e-3, -0.5 + t / 3.0, (np.exp(-t) * (1.0 + t) - 1.0) / t**2)
    return fresh + more * kept, more**2 * slope / (1.0 - v) ** 2


def up_to(epochs: Matrix, v: Vector, corner: float) -> tuple[Matrix, Matrix]:
    """Return the same as `effective` of epochs that count fully up to 1 / v and nothing beyond, with the norm `corner` between the two."""
    passed = epochs * v
    with np.errstate(divide="ignore", invalid="ignore"):
        # The limit is at most this many epochs; where it is infinite, all of them count.
        most = np.where(v > 0.0, 1.0 / v, np.inf)
        if np.isinf(corner):
            return np.minimum(epochs, most), np.where(passed > 1.0, -(most**2), 0.0)
        worth = epochs * (1.0 + np.minimum(passed, 1e6) ** corner) ** (-1.0 / corner)
        return worth, np.where(v > 0.0, -((worth * v) ** (corner + 1.0)) * most**2, 0.0)


def start(runs: Runs, v: Vector) -> State:
    """Return the state of metrics that depend on nothing."""
    seen = runs.weight > 0.0
    low = np.where(seen, runs.values, np.inf).min(axis=0)
    high = np.where(seen, runs.values, -np.inf).max(axis=0)
    c = low - 0.3 * (high - low)
    mean = (runs.weight * runs.values).sum(axis=0) / runs.weight.sum(axis=0)
    local = np.zeros((len(c), runs.epochs.shape[1] + 2))
    local[:, 0], local[:, 1] = c, np.log(mean - c)
    return State(local, v, _squares(runs, local, v))


def descend(runs: Runs, state: State, together: Matrix, *, steps: int = 60, tol: float = 1e-7) -> State:
    """Return a local minimum by damped Gauss-Newton steps. The columns of `together` (K, S) say which v move together; S = 0 keeps them."""
    seen = runs.weight > 0.0
    low = np.where(seen, runs.values, np.inf).min(axis=0)
    span = np.where(seen, runs.values, -np.inf).max(axis=0) - low
    least = np.zeros_like(state.local)
    least[:, 0], least[:, 1] = low - _FAR * span, -np.inf
    most = np.full_like(state.local, np.inf)
    most[:, 0] = low - _NEAR * span
    damping = 1e-3
    for _ in range(steps):
        step = _step(runs, state, together, least, most, damping)
        local = np.clip(state.local + step[0], least, most)
        v = np.clip(state.v + step[1], LEAST, MOST)
        squares = _squares(runs, local, v)
        gained = state.squares.sum() - squares.sum()
        if not gained > 0.0:
            damping *= 5.0
            if damping > 1e8:
                break
            continue
        done = gained < tol * squares.sum()
        state, damping = State(local, v, squares), max(damping / 4.0, 1e-9)
        if done:
            break
    return state


def _model(runs: Runs, local: Matrix, v: Vector) -> tuple[Matrix, Matrix, Matrix]:
    """Return the excess exp(...) (R, J), the columns of a, and their derivatives with respect to v (R, K)."""
    worth, slope = effective(runs.epochs, v) if runs.corner is None else up_to(runs.epochs, v, runs.corner)
    if runs.power != 1.0:
        # Effective epochs are 0 only if the epochs are, and then they do not depend on v.
        slope = runs.power * np.where(worth > 0.0, worth, 1.0) ** (runs.power - 1.0) * slope
        worth = np.power(worth, runs.power, dtype=np.float64)
    return np.exp(np.minimum(local[:, 1] - worth @ local[:, 2:].T, _HIGHEST)), worth, slope


def _squares(runs: Runs, local: Matrix, v: Vector) -> Vector:
    excess, _, _ = _model(runs, local, v)
    out: Vector = (runs.weight * (runs.values - local[:, 0] - excess) ** 2).sum(axis=0)
    return out


def _columns(runs: Runs, state: State, together: Matrix) -> tuple[Array, Array, Matrix]:
    """Return weighted derivatives with respect to the coefficients (J, R, K + 2) and to v (J, R, S), weighted residuals (J, R)."""
    excess, worth, slope = _model(runs, state.local, state.v)
    root = np.sqrt(runs.weight.T)
    residual = root * (runs.values - state.local[:, 0] - excess).T
    tilt = (root * excess.T)[:, :, None]
    own = np.concatenate([root[:, :, None], tilt, -tilt * worth], axis=2)
    # The derivative with respect to v_k has the factor a_jk.
    common = (-tilt * slope * state.local[:, None, 2:]) @ together
    return own, common, residual


def _step(
    runs: Runs, state: State, together: Matrix, least: Matrix, most: Matrix, damping: float
) -> tuple[Matrix, Vector]:
    """Return a damped step of the coefficients (J, K + 2) and of v (K,); what is held by a bound does not move."""
    local, v = state.local, state.v
    own, common, residual = _columns(runs, state, together)
    pull = np.einsum("jrl,jr->jl", own, residual)
    held = ((local <= least) & (pull <= 0.0)) | ((local >= most) & (pull >= 0.0))
    own = np.where(held[:, None, :], 0.0, own)
    pull = np.where(held, 0.0, pull)
    within = own.transpose(0, 2, 1) @ own
    _damp(within, damping)
    if not together.shape[1]:
        only = np.linalg.solve(within, pull[:, :, None])[:, :, 0]
        return np.asarray(only, dtype=np.float64), np.zeros_like(v)
    drag = np.einsum("jrs,jr->s", common, residual)
    fixed = together.T @ ((v <= LEAST) | (v >= MOST)) > 0.0
    outward = np.where(together.T @ (v <= LEAST) > 0.0, drag <= 0.0, drag >= 0.0)
    fixed &= outward
    common, drag = np.where(fixed, 0.0, common), np.where(fixed, 0.0, drag)
    across = own.transpose(0, 2, 1) @ common  # (J, L, S)
    flat = common.reshape(-1, common.shape[2])
    shared = (flat.T @ flat)[None]
    _damp(shared, damping)
    solved = np.linalg.solve(within, np.concatenate([across, pull[:, :, None]], axis=2))
    reduced = shared[0] - (across.transpose(0, 2, 1) @ solved[:, :, :-1]).sum(axis=0)
    move = np.linalg.solve(reduced, drag - np.einsum("jls,jl->s", across, solved[:, :, -1]))
    # v is bounded: far steps say no more than the bound.
    move = np.clip(move, -0.3, 0.3)
    return solved[:, :, -1] - solved[:, :, :-1] @ move, together @ move


def _damp(gram: NDArray[np.float64], damping: float) -> None:
    """Add to the diagonals (..., L, L), so that they are positive."""
    at = np.arange(gram.shape[-1])
    diagonal = gram[..., at, at]
    flat = _FLAT * diagonal.mean(axis=-1, keepdims=True) + 1e-300
    gram[..., at, at] += damping * diagonal + np.where(diagonal > 0.0, flat, 1.0)


@dataclass(frozen=True, eq=False)
class Fitted:
    """The best fit with one v for all domains, that with one for each, and the runs with each metric weighted by its residual variance."""

    runs: Runs
    pooled: State
    single: State


def fit(
    epochs: Matrix, values: Matrix, powers: tuple[float, ...], first: tuple[float, ...], *, threshold: bool = False
) -> Fitted:
    """Fit each power, from the best v of `first` for all domains, and return the most likely one. Missing values are NaN; less is better."""
    seen = np.isfinite(values)
    scaled, _, _ = _standardised(values)
    best: tuple[float, Fitted] | None = None
    for power in powers:
        corner = _ROUND if threshold else None
        found = _fit_power(Runs(epochs, scaled, seen.astype(np.float64), power, corner), first)
        squares = _squares(replace(found.runs, weight=seen.astype(np.float64)), found.single.local, found.single.v)
        doubt = float((seen.sum(axis=0) * np.log(np.maximum(squares, 1e-300))).sum())
        if best is None or doubt < best[0]:
            best = doubt, found
    if best is None:
        raise ValueError("no power was given")
    return best[1]


def guess(epochs: Matrix, values: Matrix, v: float) -> Matrix:
    """Return the values (R, J) of a fit in which all domains have this v."""
    scaled, centre, scale = _standardised(values)
    runs = Runs(epochs, scaled, np.isfinite(values).astype(np.float64))
    domains = epochs.shape[1]
    state = descend(runs, start(runs, np.full(domains, v)), np.zeros((domains, 0)), tol=1e-4)
    excess, _, _ = _model(runs, state.local, state.v)
    return np.asarray(centre + scale * (state.local[:, 0] + excess))


def _standardised(values: Matrix) -> tuple[Matrix, Vector, Vector]:
    """Return the values with mean 0 and standard deviation 1, 0 where they are missing, and the two."""
    centre = np.nanmean(values, axis=0)
    # Squares of tiny values are 0.
    most = np.maximum(np.nanmax(np.abs(values - centre), axis=0), 1e-300)
    scale = np.maximum(most * np.nanstd((values - centre) / most, axis=0), 1e-300)
    return np.where(np.isfinite(values), (values - centre) / scale, 0.0), centre, scale


def _fit_power(runs: Runs, first: tuple[float, ...]) -> Fitted:
    domains = runs.epochs.shape[1]
    all_together, alone = np.ones((domains, 1)), np.eye(domains)
    flat = [descend(runs, start(runs, np.full(domains, v)), np.zeros((domains, 0)), tol=1e-4) for v in first]
    state = min(flat, key=lambda one: float(one.squares.sum()))
    state = descend(runs, state, all_together, tol=1e-5)
    single = state
    # Metrics count by their residual variance, which is that of noise only after every domain has its own v.
    for at_last in (False, True):
        runs = scaled(runs, single)
        if runs.corner is not None:
            # A rounded corner shows the way from runs that lie below the threshold.
            runs = replace(runs, corner=np.inf if at_last else 2.0 * _ROUND)
        single = descend(runs, replace(single, squares=_squares(runs, single.local, single.v)), alone, tol=1e-6)
    pooled = descend(runs, replace(state, squares=_squares(runs, state.local, state.v)), all_together)
    return Fitted(runs, pooled, single)


def intervals(fitted: Fitted, domains: Sequence[int], most: float) -> tuple[Fitted, dict[int, tuple[float, float]]]:
    """Return the fit and the interval of each of these domains; where a profile found a better fit, it is followed first."""
    for _ in range(_RESTARTS):
        found: dict[int, tuple[float, float]] = {}
        best = fitted.single
        for k in tracked(domains, "computing the intervals of wear", len(domains), "domain"):
            *ends, lowest = _profile(fitted, k, most)
            found[k] = (ends[0], ends[1])
            best = min(best, lowest, key=lambda state: float(state.squares.sum()))
        if best.squares.sum() > fitted.single.squares.sum() - _BETTER * most:
            break
        fitted = replace(fitted, single=descend(fitted.runs, best, np.eye(len(best.v)), tol=1e-6))
    return fitted, found


def pooled_interval(fitted: Fitted, most: float) -> tuple[float, float]:
    """Return the interval of one v for all domains."""
    low, high, _ = _profile(fitted, None, most)
    return low, high


def _profile(fitted: Fitted, domain: int | None, most: float) -> tuple[float, float, State]:
    """Return the v at which the profile of the sum of squares rises by `most` variances of the noise, of one domain or of all together.

    Other v and all coefficients are fitted again at each v of a grid; the ends are interpolated. An end that is not reached is the bound.
    The state with the least sum of squares that was seen is returned too.
    """
    runs, state = fitted.runs, fitted.pooled if domain is None else fitted.single
    domains = len(state.v)
    rest = np.zeros((domains, 0)) if domain is None else np.delete(np.eye(domains), domain, axis=1)
    moved = slice(None) if domain is None else slice(domain, domain + 1)
    height = np.sqrt(most * (inflation(fitted, domain) if domain is not None else 1.0))
    own = float(state.v[0 if domain is None else domain])
    ends, lowest = [], state
    for grid, bound in (([v for v in _GRID if v < own], LEAST), ([v for v in reversed(_GRID) if v > own], MOST)):
        at, near, rise = state, own, 0.0
        # Most profiles that do not reach the height at the bound do so nowhere.
        if own != bound:
            last = _fitted_at(runs, state, moved, bound, rest)
            lowest = min(lowest, last, key=lambda one: float(one.squares.sum()))
            if last.squares.sum() - state.squares.sum() < height**2:
                ends.append(bound)
                continue
        for v in grid:
            at = _fitted_at(runs, at, moved, v, rest)
            lowest = min(lowest, at, key=lambda one: float(one.squares.sum()))
            higher = float(np.sqrt(max(at.squares.sum() - state.squares.sum(), 0.0)))
            if higher >= height:
                # No v lies between a finite number of repeats and none at all.
                ends.append(bound if v == LEAST else _between(near, v, (height - rise) / (higher - rise)))
                break
            near, rise = v, higher
        else:
            ends.append(bound)
    return ends[0], ends[1], lowest


def _fitted_at(runs: Runs, state: State, moved: slice, v: float, rest: Matrix) -> State:
    """Return a fit with some v fixed, from a state near it."""
    fixed = state.v.copy()
    fixed[moved] = v
    return descend(runs, State(state.local, fixed, _squares(runs, state.local, fixed)), rest, steps=12, tol=1e-5)


def _between(one: float, other: float, part: float) -> float:
    """Interpolate in the logarithm of the repeats."""
    repeats = [np.log(1.0 / max(v, _GRID[-2]) - 1.0) for v in (one, other)]
    return float(1.0 / (1.0 + np.exp((1.0 - part) * repeats[0] + part * repeats[1])))


def inflation(fitted: Fitted, domain: int) -> float:
    """Return how much the noise that metrics of one run share enlarges the variance of one v; at least 1."""
    runs, state = fitted.runs, fitted.single
    own, common, residual = _columns(runs, state, np.eye(len(state.v)))
    within = own.transpose(0, 2, 1) @ own
    _damp(within, 1e-9)
    common = common - own @ np.linalg.solve(within, own.transpose(0, 2, 1) @ common)
    flat = common.reshape(-1, common.shape[2])
    shared = flat.T @ flat
    _damp(shared[None], 1e-9)
    each = (common @ np.linalg.solve(shared, np.eye(len(state.v))[domain])) * residual  # (J, R)
    alone = float((each**2).sum())
    return max(float((each.sum(axis=0) ** 2).sum()) / alone, 1.0) if alone > 0.0 else 1.0


def spare(fitted: Fitted) -> NDArray[np.bool_]:
    """Return for which metrics (J,) the values suffice to tell noise from effects."""
    left, count = _left(fitted.runs, fitted.single)
    return np.asarray(left > _SPARE * count)


def residual(fitted: Fitted) -> float:
    """Return the root mean square residual, in standard deviations of the metrics."""
    seen = (fitted.runs.weight > 0.0).astype(np.float64)
    squares = _squares(replace(fitted.runs, weight=seen), fitted.single.local, fitted.single.v)
    return float(np.sqrt(squares.sum() / seen.sum()))


def valued(state: State) -> NDArray[np.bool_]:
    """Return which domains (K,) some metric gains from."""
    return np.asarray((state.local[:, 2:] > 0.0).any(axis=0))


def scaled(runs: Runs, state: State) -> Runs:
    """Return the runs with each metric weighted by one over the variance of its noise, as estimated from the residuals of a fit."""
    seen = (runs.weight > 0.0).astype(np.float64)
    squares, (left, count) = _squares(replace(runs, weight=seen), state.local, state.v), _left(runs, state)
    variance = squares / np.maximum(left, _SPARE * count)
    return replace(runs, weight=seen / np.maximum(variance, 1e-12 * variance.max() + 1e-300))


def _left(runs: Runs, state: State) -> tuple[Vector, Vector]:
    """Return the number of values (J,) less that of the coefficients above 0, and the number of values."""
    count = (runs.weight > 0.0).sum(axis=0).astype(np.float64)
    return count - 2.0 - (state.local[:, 2:] > 0.0).sum(axis=1) - len(state.v) / len(state.local), count
