"""Solve over a growing set of domains, from a sample of the rows to all of them."""

from __future__ import annotations

import math
from time import perf_counter

import numpy as np

from mixfast._engine.backend.arrays import Columns, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.base import Objective
from mixfast._engine.optimise.newton import _ALL_DOMAINS, _DENSE_DOMAINS, _NOISE, _ROUGH, _em, _newton, _noise
from mixfast._engine.optimise.trace import Minimum, Step

# Rows of the sample on which the search begins, and the elements it may have whatever the table.
_SAMPLE_ROWS, _SAMPLE_ELEMENTS = 8192, 4 << 20


def _sample_rows(rows: int, domains: int) -> int:
    """Rows of the sample: few enough to stay in cache, and at most 1/20 of a table of thousands of domains."""
    return min(_SAMPLE_ROWS, max(rows // 20, _SAMPLE_ELEMENTS // domains))


# Rounds without progress, close to the optimum, after which the working set is given up on.
_VAIN_ROUNDS = 3


# Domains added to the working set in one round.
_NEW_DOMAINS = 64


# What is beyond floating point on the way is seen and avoided, not warned of.
@np.errstate(invalid="ignore", over="ignore")
def minimise(objective: Objective, limits: Limits, w: Vector, *, tol: float, max_iter: int = 200) -> Minimum:
    """Minimise over the limits to a Frank-Wolfe gap of `tol`, starting from a sample of the rows where there are many."""
    began = perf_counter()
    trace: list[Step] = []
    count = _sample_rows(objective.rows, w.size)
    sample = objective.sample(count) if objective.rows >= 4 * count else objective
    # Where experts are further apart than exp reaches, a row may need a domain that a sparse start leaves out.
    apart = getattr(objective, "shift", False) and w.size <= _DENSE_DOMAINS
    if w.size > _ALL_DOMAINS and np.count_nonzero(w) > _ALL_DOMAINS and not limits.interior and not apart:
        w = _sparse_start(sample, limits, w)
    w = _em(sample, limits, w)
    if sample is not objective:
        # A sample's optimum is off by about (domains / rows) nats; solving it closer than that buys nothing.
        w = _working_set(sample, limits, w, max(1e-1 / count * sample.total, tol), 30, trace, began).w
    return _working_set(objective, limits, w, tol, max_iter, trace, began)


def _working_set(
    objective: Objective,
    limits: Limits,
    w: Vector,
    tol: float,
    max_iter: int,
    trace: list[Step],
    began: float,
) -> Minimum:
    """Minimise over a growing set of domains until a sweep of all of them certifies the gap."""
    if objective.columns <= _ALL_DOMAINS:
        return _newton(objective, limits, None, w, None, tol, max_iter, trace, began)
    steps = 0
    previous, target, noise, vain = math.inf, math.inf, 0.0, 0
    inside, columns = limits, None
    while True:
        value, gradient, _ = objective.sums(w)
        gap = limits.gap(gradient, w)
        # A gap of its own on domains that were just solved closer than that is float32's rounding.
        solved = gap if columns is None else inside.gap(gradient[columns], w[columns])
        if gap > tol and solved > 2.0 * target and objective.precise() is not objective:
            objective, noise, previous, target = objective.precise(), 0.0, math.inf, math.inf
            continue
        trace.append(Step(objective.rows, w.size, value, gap, perf_counter() - began))
        if gap <= tol and noise:
            objective, noise = objective.precise(), 0.0
            continue
        # A round may raise the gap, by domains that come in; several without a lower one are the end of what rounding allows.
        vain = vain + 1 if gap >= 0.9 * previous and gap < _NOISE * objective.total else 0
        if gap <= tol or steps >= max_iter or vain == _VAIN_ROUNDS:
            return Minimum(w, value, gradient, gap, trace, None, steps)
        previous = min(gap, previous)
        columns = _choose(limits, gradient, w)
        inside = limits.restrict(columns)
        here: tuple[float, Vector] | None = (value, gradient) if columns is None else (value, gradient[columns])
        if gap > _ROUGH * objective.total and columns is not None:
            # Domains that come in with a share of 0 would have to grow by doubling: give them a little, and let it settle.
            seeded = 0.9 * w[columns] + 0.1 * np.mean([inside.linear_min(g) for g in _pulls(gradient[columns])], axis=0)
            w = w.copy()
            w[columns] = _em(objective, inside, seeded, columns)
            here = None
        # Solve the working set ahead of what the other domains add to the gap, not further; at the end leave them some room.
        target = max(0.02 * gap, 0.5 * tol)
        inner = _newton(objective, limits, columns, w, here, target, max_iter - steps, trace, began)
        steps += max(inner.steps, 1)
        if inner.hessian is not None and _noise(objective, inner.hessian, inner.w) > 0.5 * tol:
            noise = 1.0
        if columns is None:
            w = inner.w
        else:
            w = np.zeros(w.size)
            w[columns] = inner.w


def _sparse_start(sample: Objective, limits: Limits, w: Vector) -> Vector:
    """A point of the region with few shares: the mean of vertices that prefer the domains which pay most at w."""
    vertices = [limits.linear_min(cost) for cost in _pulls(sample.sums(w)[1])]
    return np.mean(vertices, axis=0)


def _pulls(gradient: Vector) -> list[Vector]:
    """Costs whose vertices prefer, each in its turn, the domains that pay most."""
    best = np.argsort(gradient)[:_NEW_DOMAINS]
    out = []
    for first in range(best.size):
        cost = np.zeros(gradient.size)
        cost[np.roll(best, -first)] = np.arange(-best.size, 0)
        out.append(cost)
    return out


def _choose(limits: Limits, gradient: Vector, w: Vector) -> Columns | None:
    """Domains that have a share, and those that most want one."""
    has = w > 0.0
    # At a solution the gradient is level over the domains between their bounds; those below it want a larger share.
    level = float(gradient[has & (w < limits.high)].max(initial=-math.inf))
    room = np.flatnonzero(~has & (limits.high > 0.0))
    wanting = room[gradient[room] < level] if np.isfinite(level) else room
    if wanting.size > _NEW_DOMAINS:
        wanting = wanting[np.argpartition(gradient[wanting], _NEW_DOMAINS)[:_NEW_DOMAINS]]
    chosen = has.copy()
    chosen[wanting] = True
    if limits.groups is not None and not chosen.all():
        chosen |= limits.linear_min(gradient) > 0.0
    return None if chosen.all() else np.flatnonzero(chosen).astype(np.int32)
