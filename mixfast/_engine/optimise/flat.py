"""Flat optima: how far each share can move while the objective stays within eps of the optimum.

For each end of each share:

1. maximise the share within the quadratic model of the objective at the optimum, by bisection over a linear term for the share;
2. along the ray to that point, find the last point within eps, using exact values of the objective. For very many rows, the values of a
   corrected sample (`Guide`) are used, and one sweep evaluates the ends; then the search is over;
3. bound the end from outside with the gradient at the point found: the objective is above its tangent there, and a linear function is maximised
   over the limits exactly (`_outer`). While the bound is further than `_CLOSE` from the share, repeat 1 and 2 with that gradient.

The ends are shares of mixtures within eps, so the true ends may only be further out. With a curvature that changes fast along the way, the
quadratic model of the optimum alone ends too early; its repetition at the point found is Newton's method for the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.base import Objective
from mixfast._text.progress import tracked

# Maximum number of domains that may exchange share with the domain, and number of domains processed together.
_DOMAINS, _TOGETHER = 256, 64
# Doublings of the linear term until it is too strong, and bisection steps between that and the last that was not.
_DOUBLINGS, _BISECTIONS = 60, 40
_SIGNS = (-1.0, 1.0)
# Points along each ray with exact values, and how often the search is repeated around the best of them.
_PLACES, _REPEATS = 8, 3
# An end is settled if it is proved to within this share, or after so many rounds.
_CLOSE, _ROUNDS = 2e-4, 8
# With up to this many domains that move, the Hessian is computed again at the point found; else that of the optimum is used.
_FEW = 64
# Shares that are 0 where the slope is infinite there are moved inside by this much for the gradient.
_INSIDE = 1e-9


def ranges(
    objective: Objective, limits: Limits, w: Vector, *, eps: float, moving: list[int]
) -> list[tuple[float, float]]:
    """Find the smallest and largest share of some domains over ``{w in limits: objective <= optimum + eps}``.

    Parameters
    ----------
    objective : Objective
        Over the usable domains.
    limits : Limits
    w : (K,)
        The optimal shares.
    eps : float
        In the unit of the objective, above 0.
    moving : list of int
        Positions of the domains whose ranges are wanted.

    Returns
    -------
    list of (float, float)
        One pair for each of `moving`. Both ends are reached by mixtures with computed objectives.
    """
    # Of very many rows, only the ends that were found are evaluated on all of them.
    guided = objective.guide is not None and objective.guide.at is not None
    near = objective.guide if guided else objective
    columns = _movers(near.sums(w)[1], w, moving)
    value, gradient, hessian = near.sums(w[columns], columns, hessian=1)
    if hessian is None:
        raise RuntimeError("a Hessian was asked for and not given")
    diagonal = np.diag_indices_from(hessian)
    rows_only = hessian.copy()
    hessian[diagonal] += objective.separable(w[columns], columns)[1]
    inside = replace(limits, interior=False).restrict(columns)
    local = {int(k): i for i, k in enumerate(columns)}
    scale = [np.sqrt(2.0 * eps * max(float(hessian[local[k], local[k]]), 1e-12)) for k in moving]
    targets = np.repeat(w[None, :], 2 * len(moving), axis=0)
    for i, k in enumerate(tracked(moving, "searching ranges", len(moving), "domain")):
        for j, sign in enumerate(_SIGNS):
            targets[2 * i + j, columns], _ = _model_end(
                inside, hessian, gradient, w[columns], k=local[k], sign=sign, eps=eps, scale=scale[i]
            )
    if guided:
        ends = _along(near.losses, w, targets, value + eps)
        reached = _within(objective.losses(ends) - value, eps, w, ends)
        return [_ends(reached[2 * i : 2 * i + 2], w, k) for i, k in enumerate(moving)]
    out = []
    # In blocks: each holds the candidates of all domains.
    for start in range(0, len(moving), _TOGETHER):
        some = moving[start : start + _TOGETHER]
        reached = _along(objective.losses, w, targets[2 * start : 2 * (start + _TOGETHER)], value + eps)
        beyond = np.full(2 * len(some), np.inf)
        for _ in range(_ROUNDS):
            unsettled = np.flatnonzero(beyond > _CLOSE)
            if not unsettled.size:
                break
            aims = reached[unsettled].copy()
            for place, end in enumerate(unsettled.tolist()):
                i, sign = end // 2, _SIGNS[end % 2]
                k, at = some[i], reached[end]
                if limits.steep:
                    at = (1.0 - _INSIDE) * at + _INSIDE * w
                here, slope, _ = objective.sums(at)
                left = value + eps - here
                if columns.size <= _FEW:
                    curved = objective.sums(at[columns], columns, hessian=1)[2]
                    rows_only = rows_only if curved is None else curved
                model = rows_only.copy()
                model[diagonal] += objective.separable(at[columns], columns)[1]
                aims[place, columns], theta = _model_end(
                    inside,
                    model,
                    slope[columns],
                    at[columns],
                    k=local[k],
                    sign=sign,
                    eps=left,
                    scale=scale[start + i],
                )
                outer = _outer(limits, slope, at, k=k, sign=sign, left=left, theta=theta)
                beyond[end] = min(beyond[end], max(outer - sign * reached[end, k], 0.0))
            further = _along(objective.losses, reached[unsettled], aims, value + eps, 1)
            for place, end in enumerate(unsettled.tolist()):
                k, sign = some[end // 2], _SIGNS[end % 2]
                gained = sign * (further[place, k] - reached[end, k])
                if gained > 0.0:
                    reached[end] = further[place]
                    beyond[end] = max(beyond[end] - gained, 0.0)
        out += [_ends(reached[2 * i : 2 * i + 2], w, k) for i, k in enumerate(some)]
    return out


def _ends(reached: Matrix, w: Vector, k: int) -> tuple[float, float]:
    return float(min(reached[0, k], w[k])), float(max(reached[1, k], w[k]))


def _outer(limits: Limits, slope: Vector, at: Vector, *, k: int, sign: float, left: float, theta: float) -> float:
    """Return a number that sign * w_k exceeds nowhere in the limits where the objective is at most `left` above its value at ``at``.

    The objective is above its tangent, so ``slope @ (w - at) <= left`` there. Any multiplier 1 / theta of this gives a bound; the one of the
    quadratic model gives a close one.
    """
    most = float(limits.high[k] if sign > 0.0 else -limits.low[k])
    pull = -slope
    pull[k] += sign * theta
    if not (theta > 0.0 and np.isfinite(pull).all()):
        return most
    best = limits.linear_min(-pull)
    return min(float(left + slope @ at + pull @ best) / theta, most)


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


def _model_end(
    limits: Limits,
    hessian: Matrix,
    gradient: Vector,
    w: Vector,
    *,
    k: int,
    sign: float,
    eps: float,
    scale: float,
) -> tuple[Vector, float]:
    """Return the point of the region with the largest sign * w_k at which the quadratic model around w has risen by eps, and the linear term there.

    `scale` is about the size of the linear term.
    """
    pull, active = np.zeros(w.size), limits.active(w)

    def rise(theta: float) -> tuple[float, Vector]:
        pull[k] = -sign * theta
        step = limits.newton(hessian, gradient + pull, w, active)
        return float(gradient @ step + 0.5 * step @ hessian @ step), step

    # The model's rise grows with the linear term; find a term that is too strong, then bisect.
    low, high, best = 0.0, max(scale, 1e-12), w
    for _ in range(_DOUBLINGS):
        up, step = rise(high)
        if up > eps:
            break
        there = limits.clip(w + step)
        if there[k] == best[k] and high > 1e6 * scale:
            return there, high
        low, high, best = high, 4.0 * high, there
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        up, step = rise(middle)
        if up > eps:
            high = middle
        else:
            low, best = middle, limits.clip(w + step)
        if high - low <= 1e-6 * high:
            break
    return best, high


def _along(
    losses: Callable[[Matrix], Vector], start: Vector | Matrix, targets: Matrix, level: float, repeats: int = _REPEATS
) -> Matrix:
    """For each target (T, K), return the furthest point found between a start (K,) or (T, K) and it with a loss of at most `level`."""
    low, high = np.zeros(targets.shape[0]), np.ones(targets.shape[0])
    start = np.broadcast_to(start, targets.shape)
    for _ in range(repeats):
        places = low[:, None] + (high - low)[:, None] * np.linspace(1.0 / _PLACES, 1.0, _PLACES)
        points = start[:, None, :] + places[:, :, None] * (targets - start)[:, None, :]
        inside = losses(points.reshape(-1, targets.shape[1])).reshape(places.shape) <= level
        # The loss is convex along a ray, so points within the level come first.
        count = inside.sum(axis=1)
        ends = np.concatenate([low[:, None], places], axis=1)
        rows = np.arange(targets.shape[0])
        low, high = ends[rows, count], ends[rows, np.minimum(count + 1, _PLACES)]
    return start + low[:, None] * (targets - start)
