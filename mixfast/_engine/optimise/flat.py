"""Flat optima: how far each share can move while the loss stays within eps nats of the optimum."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._text.names import listing
from mixfast.errors import AlignmentError

if TYPE_CHECKING:
    from mixfast.solver._solution import Solution

# Domains that may take or give in exchange: all up to this many. Domains whose candidates are computed together.
_DOMAINS, _TOGETHER = 256, 64
# Bisection steps for the weight of the share against the loss in the quadratic model.
_BISECTIONS = 40
# Places along each ray at which exact losses are computed, and how often the search is repeated around the best of them.
_PLACES, _REPEATS = 8, 3


def ranges(solution: Solution, eps: float, domains: list[str] | None) -> dict[str, tuple[float, float]]:
    """See `Solution.ranges`."""
    if not eps > 0.0:
        raise ValueError(f"eps is {eps}, expected nats above 0")
    problem = solution._problem
    if problem.worst:
        raise ValueError(
            'ranges needs a weighted objective: solve with objective=solution.group_weights in place of "worst"'
        )
    names = problem.table.domains
    wanted = list(names) if domains is None else list(domains)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise AlignmentError(f"no domain {listing(unknown)} in the table, whose domains are {listing(names)}")
    usable = np.arange(len(names)) if problem.usable is None else problem.usable
    place = {names[k]: i for i, k in enumerate(usable.tolist())}
    objective = problem.objective
    w = solution.mixture.weights[usable]
    moving = [place[name] for name in wanted if name in place]
    columns = _movers(objective.sums(w)[1], w, moving)
    value, gradient, hessian = objective.sums(w[columns], columns, hessian=True)
    if hessian is None:
        raise RuntimeError("a Hessian was asked for and not given")
    hessian[np.diag_indices_from(hessian)] += objective.separable(w[columns], columns)[1]
    limits = replace(problem.limits, interior=False).restrict(columns)
    local = {int(k): i for i, k in enumerate(columns)}
    targets = np.repeat(w[None, :], 2 * len(moving), axis=0)
    for i, k in enumerate(moving):
        for j, sign in enumerate((-1.0, 1.0)):
            targets[2 * i + j, columns] = _model_end(limits, hessian, gradient, w[columns], local[k], sign, eps)
    out = dict.fromkeys(wanted, (0.0, 0.0))
    # In pieces: each holds candidates of all domains.
    for start in range(0, len(moving), _TOGETHER):
        reached = _along(objective.losses, w, targets[2 * start : 2 * (start + _TOGETHER)], value + eps)
        for i, k in enumerate(moving[start : start + _TOGETHER]):
            low, high = reached[2 * i, k], reached[2 * i + 1, k]
            out[names[usable[k]]] = (float(min(low, w[k])), float(max(high, w[k])))
    return out


def _movers(gradient: Vector, w: Vector, moving: list[int]) -> Columns:
    """Domains that take part: those with a share, those asked for, and so many of the rest, nearest to a share first."""
    part = w > 0.0
    part[moving] = True
    rest = np.flatnonzero(~part)
    part[rest[np.argsort(gradient[rest], kind="stable")[: max(_DOMAINS - int(part.sum()), 0)]]] = True
    return np.flatnonzero(part).astype(np.int32)


def _model_end(limits: Limits, hessian: Matrix, gradient: Vector, w: Vector, k: int, sign: float, eps: float) -> Vector:
    """The point of the region with the largest sign * w_k at which the quadratic model has risen by eps."""
    pull = np.zeros(w.size)
    low, high = 0.0, 1.0
    best = w

    def rise(theta: float) -> tuple[float, Vector]:
        pull[k] = -sign * theta
        step = limits.newton(hessian, gradient + pull, w)
        return float(gradient @ step + 0.5 * step @ hessian @ step), step

    # The model's rise grows with the pull; find a pull that is too strong, then bisect.
    scale = np.sqrt(2.0 * eps * max(float(hessian[k, k]), 1e-12))
    high = max(scale, 1e-12)
    for _ in range(60):
        up, step = rise(high)
        if up > eps:
            break
        if limits.clip(w + step)[k] == best[k] and high > 1e6 * scale:
            return limits.clip(w + step)
        best = limits.clip(w + step)
        low, high = high, 4.0 * high
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


def _along(losses: object, w: Vector, targets: Matrix, level: float) -> Matrix:
    """For each target (T, K) the furthest point found between w and beyond it, still in the region's segment, with loss <= level."""
    low, high = np.zeros(targets.shape[0]), np.ones(targets.shape[0])
    for _ in range(_REPEATS):
        places = low[:, None] + (high - low)[:, None] * np.linspace(1.0 / _PLACES, 1.0, _PLACES)
        points = w + places[:, :, None] * (targets - w)[:, None, :]
        values = losses(points.reshape(-1, w.size)).reshape(places.shape)  # type: ignore[operator]
        inside = values <= level
        # The loss is convex along a ray, so the places inside come first.
        count = inside.sum(axis=1)
        ends = np.concatenate([low[:, None], places], axis=1)
        rows = np.arange(targets.shape[0])
        low, high = ends[rows, count], ends[rows, np.minimum(count + 1, _PLACES)]
    return w + low[:, None] * (targets - w)
