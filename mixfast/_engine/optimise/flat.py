"""Flat optima: how far each share can move while the objective stays within eps of the optimum.

For each end of each share:

1. maximise the share within the quadratic model of the objective at the optimum, by bisection over a linear term for the share;
2. along the ray to that point, find the last point within eps, using exact values of the objective. For very many rows, the values of a
   corrected sample (`Guide`) are used, and one sweep evaluates the ends.
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
# Points along each ray with exact values, and how often the search is repeated around the best of them.
_PLACES, _REPEATS = 8, 3


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
    hessian[np.diag_indices_from(hessian)] += objective.separable(w[columns], columns)[1]
    inside = replace(limits, interior=False).restrict(columns)
    local = {int(k): i for i, k in enumerate(columns)}
    targets = np.repeat(w[None, :], 2 * len(moving), axis=0)
    for i, k in enumerate(tracked(moving, "searching ranges", len(moving), "domain")):
        for j, sign in enumerate((-1.0, 1.0)):
            targets[2 * i + j, columns] = _model_end(
                inside, hessian, gradient, w[columns], k=local[k], sign=sign, eps=eps
            )
    out = []
    if guided:
        ends = _along(near.losses, w, targets, value + eps)
        reached = _within(objective.losses(ends) - value, eps, w, ends)
        return [
            (float(min(low, w[k])), float(max(high, w[k])))
            for k, low, high in zip(
                moving, reached[::2, moving].diagonal(), reached[1::2, moving].diagonal(), strict=True
            )
        ]
    # In blocks: each holds the candidates of all domains.
    for start in range(0, len(moving), _TOGETHER):
        reached = _along(objective.losses, w, targets[2 * start : 2 * (start + _TOGETHER)], value + eps)
        for i, k in enumerate(moving[start : start + _TOGETHER]):
            out.append((float(min(reached[2 * i, k], w[k])), float(max(reached[2 * i + 1, k], w[k]))))
    return out


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
    limits: Limits, hessian: Matrix, gradient: Vector, w: Vector, *, k: int, sign: float, eps: float
) -> Vector:
    """Return the point of the region with the largest sign * w_k at which the quadratic model has risen by eps."""
    pull, active = np.zeros(w.size), limits.active(w)

    def rise(theta: float) -> tuple[float, Vector]:
        pull[k] = -sign * theta
        step = limits.newton(hessian, gradient + pull, w, active)
        return float(gradient @ step + 0.5 * step @ hessian @ step), step

    # The model's rise grows with the linear term; find a term that is too strong, then bisect.
    scale = np.sqrt(2.0 * eps * max(float(hessian[k, k]), 1e-12))
    low, high, best = 0.0, max(scale, 1e-12), w
    for _ in range(_DOUBLINGS):
        up, step = rise(high)
        if up > eps:
            break
        there = limits.clip(w + step)
        if there[k] == best[k] and high > 1e6 * scale:
            return there
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
    return best


def _along(losses: Callable[[Matrix], Vector], w: Vector, targets: Matrix, level: float) -> Matrix:
    """For each target (T, K), return the furthest point found between w and it with a loss of at most `level`."""
    low, high = np.zeros(targets.shape[0]), np.ones(targets.shape[0])
    for _ in range(_REPEATS):
        places = low[:, None] + (high - low)[:, None] * np.linspace(1.0 / _PLACES, 1.0, _PLACES)
        points = w + places[:, :, None] * (targets - w)[:, None, :]
        inside = losses(points.reshape(-1, w.size)).reshape(places.shape) <= level
        # The loss is convex along a ray, so points within the level come first.
        count = inside.sum(axis=1)
        ends = np.concatenate([low[:, None], places], axis=1)
        rows = np.arange(targets.shape[0])
        low, high = ends[rows, count], ends[rows, np.minimum(count + 1, _PLACES)]
    return w + low[:, None] * (targets - w)
