"""Minimise over a region: from a sample of the rows to all of them, on a working set of domains.

1. Settle, and solve on a sample of the rows that stays in cache.
2. Sweep all rows and domains: the gap certifies the answer, or names the domains that want a share.
3. Solve over the domains that have a share or want one (`Newton`), and sweep again.

Tables of few domains need no working set: there every sweep is over all of them. Tables of many domains on few rows go by way of
`wide.py`, and so do those on which a Newton step is not found in its time.
"""

from __future__ import annotations

import math

import numpy as np

from mixfast._engine.backend.arrays import Columns, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.geometry.unfinished import UnfinishedStep
from mixfast._engine.objectives.base import SAMPLE_ROWS, Objective, Sums
from mixfast._engine.optimise.expectation import settle
from mixfast._engine.optimise.newton import ALL_DOMAINS, NOISE, ROUGH, Newton, rounding_of_gap
from mixfast._engine.optimise.trace import Minimum, Trace
from mixfast._engine.optimise.wide import is_wide, near_optimum

# Elements that a sample may have whatever the table, and how many times larger than its sample a table must be.
_SAMPLE_ELEMENTS, _WORTH_SAMPLING = 4 << 20, 4
# Steps on a sample, and the gap to which it is solved, over its rows and its weight: its optimum is off by more.
_SAMPLE_STEPS, _SAMPLE_TOL = 30, 1e-1
# Up to this many domains a Hessian over all of them is affordable where it must be.
_DENSE_DOMAINS = 1000
# Domains added to the working set in one round.
_NEW_DOMAINS = 64
# Domains that come in with a share of 0 get this part together, so that they need not grow by doubling.
_SEED = 0.1
# The gap over the working set to reach, as a part of the gap over all domains, and of the tolerance: the rest is room for the others.
_AHEAD, _ROOM = 0.02, 0.5
# Rounds without progress, close to the optimum, after which the working set is given up on; progress is a gap of less than this part.
_VAIN_ROUNDS, _PROGRESS = 3, 0.9


# What is beyond floating point on the way is seen and avoided, not warned of.
@np.errstate(invalid="ignore", over="ignore")
def minimise(objective: Objective, limits: Limits, w: Vector, *, tol: float, max_iter: int = 200) -> Minimum:
    """Minimise an objective over the limits to a Frank-Wolfe gap of `tol`, starting at w (K,), for at most `max_iter` Newton steps."""
    trace = Trace()
    if not is_wide(objective.rows, w.size, limits.interior):
        try:
            return _from_sample(objective, limits, w, tol=tol, max_iter=max_iter, trace=trace, whole=True)
        except UnfinishedStep:
            pass
    inner = near_optimum(objective, limits, w, tol=tol, trace=trace)
    if inner is None:
        return _from_sample(objective, limits, w, tol=tol, max_iter=max_iter, trace=trace, whole=False)
    if inner.gap <= tol * max(1.0, objective.total):
        return inner
    try:
        more = _solve(objective.precise(), limits, inner.w, tol=tol, max_iter=max_iter, trace=trace, whole=True)
    except UnfinishedStep:
        return inner
    return more if more.gap < inner.gap else inner


def _from_sample(
    objective: Objective, limits: Limits, w: Vector, *, tol: float, max_iter: int, trace: Trace, whole: bool
) -> Minimum:
    count = _sample_rows(objective.rows, w.size)
    sample = objective.sample(count) if objective.rows >= _WORTH_SAMPLING * count else objective
    # Where experts are further apart than exp reaches, a row may need a domain that a sparse start leaves out.
    apart = getattr(objective, "shift", False) and w.size <= _DENSE_DOMAINS
    if w.size > ALL_DOMAINS and np.count_nonzero(w) > ALL_DOMAINS and not limits.interior and not apart:
        w = _sparse_start(sample, limits, w)
    w = settle(sample, limits, w)
    if sample is not objective:
        # A sample's optimum is off by about (domains / rows) nats; solving it closer than that buys nothing.
        rough = max(_SAMPLE_TOL / count * sample.total, tol)
        w = _solve(sample, limits, w, tol=rough, max_iter=_SAMPLE_STEPS, trace=trace, whole=whole).w
    return _solve(objective, limits, w, tol=tol, max_iter=max_iter, trace=trace, whole=whole)


def _sample_rows(rows: int, domains: int) -> int:
    """Rows of the sample: few enough to stay in cache, and at most 1/20 of a table of thousands of domains."""
    return min(SAMPLE_ROWS, max(rows // 20, _SAMPLE_ELEMENTS // domains))


def _solve(
    objective: Objective, limits: Limits, w: Vector, *, tol: float, max_iter: int, trace: Trace, whole: bool
) -> Minimum:
    """Minimise over a growing set of domains until a sweep of all of them certifies the gap."""
    if objective.columns <= ALL_DOMAINS:
        return Newton(objective, limits, None, tol=tol, trace=trace, whole=whole).minimise(w, None, max_iter)
    steps, vain, noisy, noise = 0, 0, False, 0.0
    previous = target = math.inf
    columns: Columns | None = None
    while True:
        value, gradient, _ = objective.sums(w)
        gap = limits.gap(gradient, w)
        # A gap of its own on domains that were just solved closer than that is float32's rounding.
        solved = gap if columns is None else limits.restrict(columns).gap(gradient[columns], w[columns])
        if gap > tol and solved > 2.0 * target and objective.precise() is not objective:
            objective, noisy, noise, previous, target = objective.precise(), False, 0.0, math.inf, math.inf
            continue
        trace.add(objective.rows, w.size, value, gap)
        if gap <= tol and noisy:
            objective, noisy, noise = objective.precise(), False, 0.0
            continue
        # A round may raise the gap, by domains that come in; several without a lower one are the end of what rounding allows.
        vain = vain + 1 if gap >= _PROGRESS * previous and gap < NOISE * objective.total else 0
        if gap + noise <= tol or steps >= max_iter or vain == _VAIN_ROUNDS:
            return Minimum(w, value, gradient, gap + noise, trace.steps, None, steps)
        previous = min(gap, previous)
        columns = _choose(limits, gradient, w)
        part, here = _within(columns, w, (value, gradient, None))
        if gap > ROUGH * objective.total and columns is not None:
            part, here = _seeded(objective, limits.restrict(columns), part, gradient[columns], columns), None
        target = max(_AHEAD * gap, _ROOM * tol)
        search = Newton(objective, limits, columns, tol=target, trace=trace, whole=whole)
        inner = search.minimise(part, here, max_iter - steps)
        steps += max(inner.steps, 1)
        noise = rounding_of_gap(objective, inner.hessian, inner.w)
        noisy = noisy or noise > _ROOM * tol
        w = inner.w if columns is None else _spread(inner.w, columns, w.size)


def _within(columns: Columns | None, w: Vector, found: Sums) -> tuple[Vector, Sums | None]:
    """Shares and sums over the columns."""
    return (w, found) if columns is None else (w[columns], (found[0], found[1][columns], None))


def _spread(part: Vector, columns: Columns, size: int) -> Vector:
    w = np.zeros(size)
    w[columns] = part
    return w


def _seeded(objective: Objective, inside: Limits, w: Vector, gradient: Vector, columns: Columns) -> Vector:
    """Shares in which domains that come in have a little, settled."""
    newcomers = np.mean([inside.linear_min(cost) for cost in _pulls(gradient)], axis=0)
    return settle(objective, inside, (1.0 - _SEED) * w + _SEED * newcomers, columns)


def _sparse_start(sample: Objective, limits: Limits, w: Vector) -> Vector:
    """A point of the region with few shares: the mean of vertices that prefer the domains which pay most at w."""
    out: Vector = np.mean([limits.linear_min(cost) for cost in _pulls(sample.sums(w)[1])], axis=0)
    return out


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
    """Domains that have a share, and those that most want one; None for all."""
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
