"""Flat optima: how far each share can move while the loss stays within eps nats of the optimum."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mixfast._newton import Limits
from mixfast._objective import Matrix, Vector
from mixfast.errors import AlignmentError, listing

if TYPE_CHECKING:
    from mixfast.solution import Solution

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
    objective, limits = problem.objective, replace(problem.limits, interior=False)
    w = solution.mixture.weights[usable]
    value, gradient, hessian = objective.sums(w, hessian=True)
    if hessian is None:
        raise RuntimeError("a Hessian was asked for and not given")
    hessian[np.diag_indices_from(hessian)] += objective.separable(w, None)[1]
    out = {name: (0.0, 0.0) for name in wanted if name not in place}
    moving = [name for name in wanted if name in place]
    targets = [
        _model_end(limits, hessian, gradient, w, place[name], sign, eps) for name in moving for sign in (-1.0, 1.0)
    ]
    reached = (
        _along(objective.losses, w, np.array(targets).reshape(-1, w.size), value + eps)
        if targets
        else np.zeros((0, w.size))
    )
    for i, name in enumerate(moving):
        k = place[name]
        low, high = reached[2 * i, k], reached[2 * i + 1, k]
        out[name] = (float(min(low, w[k])), float(max(high, w[k])))
    return {name: out[name] for name in wanted}


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
