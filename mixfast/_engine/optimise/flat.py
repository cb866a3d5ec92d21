"""Flat optima: how far each share can move while the objective stays within eps of the optimum.

Each end of each share is the convex problem

    max  sign * w_k   over w in the region with  L(w) <= level,  level = L(w*) + eps,

whose solution minimises ``L(w) - sign * theta * w_k`` over the region for one multiplier theta > 0. From the optimum w*, repeat:

1. find the step and the multiplier that solve the problem for the quadratic model of L at the current point (`_model_end`);
2. sweep the rows at the new point p, and shorten the step if L has risen far beyond the level;
3. bound the end from both sides. Inside: p if ``L(p) <= level``, else the point of the segment from w* to p that convexity proves to be
   within the level. Outside, by Lagrangian duality: L is above its tangent at p, so every w of the region within the level has
   ``sign * w_k <= sign * p_k + (level - L(p) + gap) / theta``, where gap is the Frank-Wolfe gap of ``L(w) - sign * theta * w_k`` at p;
4. stop when the bounds are closer than `CLOSE`; else update the Hessian by a secant, or compute it again if the model has missed the level.

This is sequential quadratic programming, so the bounds close in quadratically with exact Hessians.

For very many rows, the ends are those of a corrected sample (`Guide`). One sweep evaluates them on all rows and moves ends beyond the level
back towards the optimum. There is no bound from outside then.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.geometry.limits import Active, Limits
from mixfast._engine.objectives.base import Objective
from mixfast._engine.optimise.newton import update_by_secant
from mixfast._text.names import listing
from mixfast._text.progress import tracked

# An end is found when the true end is proved to be at most this much of share further out; the search gives up after so many steps.
CLOSE, _ROUNDS = 1e-4, 40
# After this many steps, sums are in float64: rounding errors of float32 may be what keeps the bounds apart.
_EARLY = 8
# Maximum number of domains that may exchange share with the domain, and number added when others would.
_DOMAINS, _NEW_DOMAINS = 256, 32
# A point is accepted if its objective exceeds the level by at most this fraction of eps; how often a step is shortened until then.
_OVER, _SHORTENINGS = 1.0, 40
# The Hessian is computed again at a point that misses the level by more than this fraction of eps and of the miss before; else a secant is enough.
_MISSED, _NEARER = 0.02, 0.6
# The multiplier is found when the model has risen to within this fraction of eps of the level, within this many trials.
_EXACT, _TRIALS, _GROWTH = 1e-6, 60, 8.0
# The curvature of a KL term is that of at least this share. With a curvature of 1e80, a model has no digits left for the other domains.
_LEAST = 1e-10
# Multipliers this close together are a jump of the model's minimum; a share this close to its bound is at it.
_JUMP, _AT_BOUND = 1e-10, 1e-12


class Range(NamedTuple):
    """Smallest and largest share that were reached, and how much further out the true ends may be (NaN: not known)."""

    low: float
    high: float
    beyond: float


class _Start(NamedTuple):
    """The optimum (K,), its value and gradient (K,), and the Hessian over the columns without the separable part."""

    w: Vector
    value: float
    gradient: Vector
    columns: Columns
    hessian: Matrix


def ranges(objective: Objective, limits: Limits, w: Vector, *, eps: float, moving: list[int]) -> list[Range]:
    """Find the smallest and largest share of some domains over ``{w in limits: objective <= objective at w + eps}``.

    Parameters
    ----------
    objective : Objective
        Over the usable domains, convex.
    limits : Limits
    w : (K,)
        The optimal shares.
    eps : float
        In the unit of the objective, above 0.
    moving : list of int
        Positions of the domains whose ranges are wanted.

    Returns
    -------
    list of Range
        One for each of `moving`. Both ends are reached by mixtures within eps.
    """
    guided = objective.guide is not None and objective.guide.at is not None
    near = objective.guide if guided else objective
    value, gradient, _ = near.sums(w)
    columns = _movers(gradient, w, moving)
    start = _Start(w, value, gradient, columns, _curvature(near, w, columns))
    ends, beyond = np.repeat(w[None, :], 2 * len(moving), axis=0), np.zeros(2 * len(moving))
    for i, k in enumerate(tracked(moving, "searching ranges", len(moving), "domain")):
        for place, sign in ((2 * i, -1.0), (2 * i + 1, 1.0)):
            ends[place], beyond[place] = _end(near, limits, start, k=k, sign=sign, eps=eps)
    if guided:
        ends, beyond[:] = _within(objective.losses(ends) - value, eps, w, ends), math.nan
    return [
        Range(
            float(min(ends[2 * i, k], w[k])),
            float(max(ends[2 * i + 1, k], w[k])),
            float(beyond[2 * i : 2 * i + 2].max()),
        )
        for i, k in enumerate(moving)
    ]


def doubt(found: dict[str, Range]) -> str:
    """Return a sentence that names the domains whose ends are not proved to within `CLOSE`; empty if there are none."""
    unproved = {name: one.beyond for name, one in found.items() if one.beyond > CLOSE}
    if not unproved:
        return ""
    return (
        f"the range of {listing(list(unproved))} is attained but may be wider: its true ends are at most {max(unproved.values()):.2g} of share "
        f"further out, expected {CLOSE:g}; a smaller tol of the solve or a larger eps may help"
    )


# Overflow far from the optimum is detected and handled, so numpy need not warn.
@np.errstate(invalid="ignore", over="ignore", divide="ignore")
def _end(
    objective: Objective, limits: Limits, start: _Start, *, k: int, sign: float, eps: float
) -> tuple[Vector, float]:
    """Return the mixture (K,) within eps with the largest sign * w_k that was found, and how much larger it may be elsewhere."""
    w, _, gradient, columns, hessian = start
    value, level = start.value, start.value + eps
    best, outer = w, sign * float(limits.linear_min(_unit(k, w.size, -sign))[k])
    at, theta, missed, active = w, 0.0, math.inf, limits.restrict(columns).active(w[columns])
    for turn in range(_ROUNDS):
        if outer - sign * best[k] <= CLOSE:
            break
        if turn == _EARLY and objective.precise() is not objective:
            objective = objective.precise()
            level = objective.sums(w)[0] + eps
            value, gradient, _ = objective.sums(at)
        # 1.
        inside, local = limits.restrict(columns), int(np.searchsorted(columns, k))
        model = hessian + np.diag(objective.separable(np.maximum(at[columns], _LEAST), columns)[1])
        theta = theta or max(math.sqrt(2.0 * eps * max(float(model[local, local]), 0.0)), eps)
        step, theta = _model_end(
            inside,
            model,
            gradient[columns],
            at[columns],
            active,
            k=local,
            sign=sign,
            left=level - value,
            eps=eps,
            theta=theta,
        )
        # 2.
        there = at.copy()
        there[columns] = np.maximum(inside.clip(at[columns] + step, at[columns]), inside.lowest(at[columns]))
        new, slope, _ = objective.sums(there)
        for _ in range(_SHORTENINGS):
            if new <= level + _OVER * eps and np.isfinite(slope[columns]).all():
                break
            fraction = (level - value) / (new - value) if math.isfinite(new) and new > value else 0.25
            there = at + min(max(fraction, 0.1), 0.7) * (there - at)
            new, slope, _ = objective.sums(there)
        # 3.
        reached = there if new <= level else w + (eps / (new - level + eps)) * (there - w)
        if sign * reached[k] > sign * best[k]:
            best = reached
        pull = slope - sign * theta * _unit(k, w.size, 1.0)
        outer = min(outer, sign * float(there[k]) + (level - new + limits.gap(pull, there)) / theta)
        # 4.
        more = _joined(columns, pull, limits)
        before, missed = missed, abs(new - level)
        if more is not columns or objective.curved or missed > max(_MISSED * eps, _NEARER * before):
            hessian = _curvature(objective, there, more)
        else:
            change = (slope - gradient)[columns]
            old, now = at[columns], there[columns]
            change = change - (objective.separable(now, columns, now)[0] - objective.separable(old, columns, now)[0])
            hessian = hessian.copy()
            update_by_secant(hessian, now - old, change)
        if more is not columns:
            columns = more
            active = limits.restrict(columns).active(there[columns])
        at, value, gradient = there, new, slope
    return best, max(outer - sign * float(best[k]), 0.0)


def _unit(k: int, size: int, scale: float) -> Vector:
    out = np.zeros(size)
    out[k] = scale
    return out


def _curvature(objective: Objective, w: Vector, columns: Columns) -> Matrix:
    hessian = objective.sums(w[columns], columns, hessian=1)[2]
    if hessian is None:
        raise RuntimeError("a Hessian was asked for and not given")
    return hessian


def _within(rise: Vector, eps: float, w: Vector, ends: Matrix) -> Matrix:
    """Return the ends (T, K), moved towards w if the loss there has risen by more than eps: along a ray, the loss is convex."""
    kept = np.where(rise > eps, eps / np.maximum(rise, eps), 1.0)
    return w + kept[:, None] * (ends - w)


def _movers(gradient: Vector, w: Vector, moving: list[int]) -> Columns:
    """Return the domains that may change: those with a share, those asked for, and a limited number of others, closest to a share first."""
    part = w > 0.0
    part[moving] = True
    rest = np.flatnonzero(~part)
    part[rest[np.argsort(gradient[rest], kind="stable")[: max(_DOMAINS - int(part.sum()), 0)]]] = True
    return np.flatnonzero(part).astype(np.int32)


def _joined(columns: Columns, pull: Vector, limits: Limits) -> Columns:
    """Return the columns with the domains outside them that a linear function would give a share; the same object if there are none."""
    if columns.size == pull.size:
        return columns
    outside = np.ones(pull.size, dtype=bool)
    outside[columns] = False
    if not (limits.linear_min(pull)[outside] > 0.0).any():
        return columns
    rest = np.flatnonzero(outside)
    best = rest[np.argsort(pull[rest], kind="stable")[:_NEW_DOMAINS]]
    wanted = np.flatnonzero(outside & (limits.linear_min(pull) > 0.0))
    return np.unique(np.concatenate([columns, best, wanted])).astype(np.int32)


def _model_end(
    limits: Limits,
    hessian: Matrix,
    gradient: Vector,
    w: Vector,
    active: Active,
    *,
    k: int,
    sign: float,
    left: float,
    eps: float,
    theta: float,
) -> tuple[Vector, float]:
    """Return the step at whose end the quadratic model around w has risen by `left` with the largest sign * w_k, and its multiplier.

    The search starts at `theta`. The share moves piecewise linearly with the multiplier, at the rate b, and the model rises at the rate
    ``theta * b``: a parabola in theta, on which the next trial is found exactly unless a bound becomes active in between.
    """
    pull = gradient.copy()
    edge = float(limits.high[k] if sign > 0.0 else limits.lowest(w)[k])
    low: tuple[float, Vector] | None = None
    high: tuple[float, Vector] | None = None
    before: tuple[float, float] | None = None
    for _ in range(_TRIALS):
        pull[k] = gradient[k] - sign * theta
        step = limits.newton(hessian, pull, w, active)
        rise, moved = float(gradient @ step + 0.5 * step @ hessian @ step), sign * float(step[k])
        if abs(rise - left) <= _EXACT * eps:
            return step, theta
        if rise > left:
            high = theta, step
        else:
            low = theta, step
            if abs(w[k] + step[k] - edge) <= _AT_BOUND:
                return step, theta
        if high is not None and high[0] - (low[0] if low else 0.0) <= _JUMP * high[0]:
            break
        rate = moved / theta if before is None else (moved - before[1]) / (theta - before[0])
        square = theta * theta + 2.0 * (left - rise) / rate if rate > 0.0 else -1.0
        before = theta, moved
        least, most = low[0] if low else 0.0, high[0] if high else math.inf
        guess = math.sqrt(square) if square > 0.0 else 0.0
        if not least < guess < most:
            guess = 0.5 * (least + most) if math.isfinite(most) else _GROWTH * theta
        theta = guess
    if low is None or high is None:
        return step, theta
    return _between(low[1], high[1], hessian, gradient, left), high[0]


def _between(low: Vector, high: Vector, hessian: Matrix, gradient: Vector, left: float) -> Vector:
    """Return the step of the segment between two minima of nearly the same multiplier at which the model has risen by `left`."""
    change = high - low
    a, b = 0.5 * float(change @ hessian @ change), float((gradient + hessian @ low) @ change)
    c = float(gradient @ low + 0.5 * low @ hessian @ low) - left
    # The rise is convex along the segment, below the level at its start and above it at its end.
    root = math.sqrt(max(b * b - 4.0 * a * c, 0.0))
    part = -2.0 * c / (b + root) if b + root > 0.0 else 1.0
    return low + min(max(part, 0.0), 1.0) * change
