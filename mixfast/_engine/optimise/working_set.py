"""Minimise over a region: from a sample of the rows to all of them, on a working set of domains.

1. Solve on a sample of the rows that stays in cache; of many domains, begin with the few that have the best slopes. Of a large table, continue
   on a sample of the rows that matter (`by_influence.py`), which usually leaves nothing to do.
2. Sweep all rows and domains: the gap certifies the answer, or shows which domains should get a share. Far from the optimum a coarse sweep
   is enough to choose them.
3. Solve over the domains that have or should get a share, and sweep again. If their columns fit into a copy, many are chosen, and steps 2
   and 3 are repeated on the copy, on few domains at a time, until the copy is solved. The last step is Newton's method (`Newton`).

Tables of few domains need no working set: every sweep uses all of them. Tables with many domains and few rows use
`wide.py`, and so do those for which a Newton step is not found within its work limit.
"""

from __future__ import annotations

import math

import numpy as np

from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.geometry.unfinished import UnfinishedStep
from mixfast._engine.objectives.base import SAMPLE_ROWS, Objective, Sums
from mixfast._engine.optimise import in_cache
from mixfast._engine.optimise.by_influence import from_influential
from mixfast._engine.optimise.expectation import settle
from mixfast._engine.optimise.guided import few_sweeps
from mixfast._engine.optimise.newton import ALL_DOMAINS, EARLY, NOISE, ROUGH, Newton, rounding_of_gap
from mixfast._engine.optimise.trace import Minimum, Trace
from mixfast._engine.optimise.wide import is_wide, near_optimum

# Elements that a sample may have for any table (more do not find the domains better than the first sweep of all rows does), and how many times larger than its sample a table must be.
_SAMPLE_ELEMENTS, _WORTH_SAMPLING = 600_000, 4
# Maximum steps on a sample, and its gap times rows divided by weight, of few and of many domains: its optimum differs from that of all rows
# by more.
_SAMPLE_STEPS, _SAMPLE_TOL, _MANY_TOL = 30, 1e-1, 1.0
# Maximum steps on a sample by influence: it is corrected after them, so that those that float32 rounding errors slow down are not worth much.
_GUIDED_STEPS = 12
# Domains added to the working set in one round: of a table; of a table whose columns are then copied, which costs about the same for more
# of them; and of a copy, where a sweep that finds others is cheap and most of a round is its Hessian.
_NEW_DOMAINS, _NEW_COPIED, _NEW_INSIDE = 64, 128, 32
# Domains of a sparse start: at least the first number, and more if the sample has that many rows for each.
_FIRST, _ROWS_EACH = 32, 128
# Total share given to domains that enter with a share of 0, so that they need not grow by doubling.
_SEED = 0.1
# Target gap over the working set, as a fraction of the gap over all domains and of the tolerance; the rest is left for the other domains.
_AHEAD, _ROOM = 0.02, 0.5
# Gaps relative to the rows' total weight: a larger one need not be exact to choose domains, and from a smaller one a round on a copy is
# solved to the tolerance.
_COARSE, _CLOSE = 1e-3, 1e-2
# A gap, relative to the rows' total weight, from which there is no way on: some row lacks all of its experts.
_LOST = 1e6
# After this many rounds without progress near the optimum, the working set is abandoned; progress is a gap below this fraction of the last.
_VAIN_ROUNDS, _PROGRESS = 3, 0.9


def minimise(
    objective: Objective, limits: Limits, w: Vector, *, tol: float, max_iter: int = 200, given: Vector | None = None
) -> Minimum:
    """Minimise an objective over the limits to a Frank-Wolfe gap of `tol`, starting at w (K,), with at most `max_iter` Newton steps.

    `tol` is multiplied by the sum of the row weights, if that is above 1: a gap far smaller than the value cannot be seen beside rounding.
    `given` (K,) is a point that may be near the answer, so that one sweep of all rows may be enough; only used for very many rows.
    """
    trace, tol = Trace(), tol * max(1.0, objective.total)
    if not _sampled(objective, w.size):
        found = in_cache.minimise(objective, limits, w, tol=tol, max_iter=max_iter, trace=trace, settled=False)
        if found is not None:
            return found
    return _by_sweeps(objective, limits, w, given=given, tol=tol, max_iter=max_iter, trace=trace)


# Overflow during the search is detected and handled, so numpy need not warn.
@np.errstate(invalid="ignore", over="ignore", divide="ignore")
def _by_sweeps(
    objective: Objective, limits: Limits, w: Vector, *, given: Vector | None, tol: float, max_iter: int, trace: Trace
) -> Minimum:
    """Minimise what is not solved in the cache."""
    if objective.guide is not None:
        return _in_few_sweeps(objective, limits, w, given=given, tol=tol, max_iter=max_iter, trace=trace)
    if not is_wide(objective.rows, w.size, limits.steep):
        try:
            found = _from_sample(objective, limits, w, tol=tol, max_iter=max_iter, trace=trace, whole=True)
        except UnfinishedStep:
            pass
        else:
            few_asked = found.steps >= max_iter and max_iter <= EARLY  # the caller wants to see where few steps lead
            if found.gap <= tol or limits.groups is None or few_asked:
                return found
            # Quadratic steps under group limits lose precision if the limits are far below 1.
            inner = near_optimum(objective, limits, w, tol=tol, trace=trace)
            return found if inner is None or found.gap <= inner.gap else inner
    inner = near_optimum(objective, limits, w, tol=tol, trace=trace)
    if inner is None:
        return _from_sample(objective, limits, w, tol=tol, max_iter=max_iter, trace=trace, whole=False)
    if inner.gap <= tol:
        return inner
    try:
        more = _solve(objective.precise(), limits, inner.w, tol=tol, max_iter=max_iter, trace=trace, whole=True)
    except UnfinishedStep:
        return inner
    return more if more.gap < inner.gap else inner


def _in_few_sweeps(
    objective: Objective, limits: Limits, w: Vector, *, given: Vector | None, tol: float, max_iter: int, trace: Trace
) -> Minimum:
    """Minimise an objective that has a guide; Newton's method over all rows ends what the guide cannot."""

    def near(w: Vector) -> Vector:
        small = objective.sample(SAMPLE_ROWS)
        rough = max(_SAMPLE_TOL / SAMPLE_ROWS * small.total, tol)
        return inside(small, settle(small, limits, w), rough)

    def inside(part: Objective, w: Vector, rough: float) -> Vector:
        return _solve(part, limits, w, tol=rough, max_iter=_SAMPLE_STEPS, trace=trace, whole=False).w

    found, here = few_sweeps(
        objective, limits, w, given=given, near=near, inside=inside, tol=tol, max_iter=max_iter, trace=trace
    )
    if found.gap <= tol or found.steps >= max_iter:
        return found
    # A gap above one nat a row is that of a row whose only expert the sample left without a share: no point to go on from.
    lost = not (math.isfinite(found.value) and found.gap <= objective.total)
    start = w if lost else found.w
    precise = objective.precise()
    search = Newton(precise, limits, None, tol=tol, trace=trace)
    known = here if precise is objective and not lost else None
    more = search.minimise(start, known, max_iter - found.steps)
    more.steps += found.steps
    return more if more.gap < found.gap else found


def _from_sample(
    objective: Objective, limits: Limits, w: Vector, *, tol: float, max_iter: int, trace: Trace, whole: bool
) -> Minimum:
    count = _sample_rows(objective.rows, w.size)
    sample = objective.sample(count) if _sampled(objective, w.size) else objective
    # Where to begin again if the sample leaves a row without its experts.
    dense = w if sample is not objective and w.size <= ALL_DOMAINS else None
    if w.size > ALL_DOMAINS and np.count_nonzero(w) > ALL_DOMAINS and not limits.steep:
        w, dense = _sparse_start(sample, limits, w), w
    else:
        w = in_cache.settle(sample, limits, w)
    if sample is not objective:
        # The optimum of a sample is off by about (domains / rows) nats; a closer solution is not useful.
        rough = max((_SAMPLE_TOL if w.size <= ALL_DOMAINS else _MANY_TOL) / count * sample.total, tol)
        w = _solve(sample, limits, w, dense, tol=rough, max_iter=_SAMPLE_STEPS, trace=trace, whole=whole).w

        def inside(part: Objective, w: Vector, here: Sums, rough: float) -> Vector:
            return _solve(part, limits, w, here=here, tol=rough, max_iter=_GUIDED_STEPS, trace=trace, whole=whole).w

        found = from_influential(objective, limits, w, inside, tol=tol, max_iter=max_iter, trace=trace)
        if found is not None and (found.gap <= tol or found.steps >= max_iter):
            return found
        if found is not None:
            here, rest = (found.value, found.gradient, None), max_iter - found.steps
            more = _solve(
                objective, limits, found.w, dense, tol=tol, max_iter=rest, trace=trace, whole=whole, here=here
            )
            more.steps += found.steps
            return more if more.gap < found.gap else found
    return _solve(objective, limits, w, dense, tol=tol, max_iter=max_iter, trace=trace, whole=whole)


def _sampled(objective: Objective, domains: int) -> bool:
    """Whether the search begins on a sample of the rows: those of a small table stay in cache as they are."""
    return objective.rows >= _WORTH_SAMPLING * _sample_rows(objective.rows, domains)


def _sample_rows(rows: int, domains: int) -> int:
    """Return the number of rows of the sample: few enough to stay in cache, and at most 1/20 of a table of thousands of domains."""
    return min(SAMPLE_ROWS, max(rows // 20, _SAMPLE_ELEMENTS // domains))


def _solve(
    objective: Objective,
    limits: Limits,
    w: Vector,
    dense: Vector | None = None,
    *,
    tol: float,
    max_iter: int,
    trace: Trace,
    whole: bool,
    among: Columns | None = None,
    here: Sums | None = None,
) -> Minimum:
    """Minimise over the domains `among` (None: all): over a growing set of them, until a sweep over all of them certifies the gap.

    `limits` and w are those of the domains `among`; `here` are the sums at w, if they are known. If the columns of the set fit into a copy,
    the set is minimised over in the same way: its sweeps then read the copy, and Newton's method moves few domains at a time.

    If few domains have a share, some row may have a probability of nearly 0 under all of them. The search then begins again at `dense` (K,).
    """
    if w.size <= ALL_DOMAINS:
        found = in_cache.minimise(objective, limits, w, tol=tol, max_iter=max_iter, trace=trace)
        if found is not None:
            return found
        return Newton(objective, limits, among, tol=tol, trace=trace, whole=whole).minimise(w, here, max_iter, dense)
    steps, vain, noisy, noise = 0, 0, False, 0.0
    previous = target = math.inf
    chosen: Columns | None = None
    known: tuple[Columns, Matrix] | None = None  # the last Hessian, and its domains
    while True:
        coarse = here is None and previous == math.inf and tol < _COARSE * objective.total and max_iter > 0
        value, gradient, _ = objective.sums(w, among, coarse=coarse) if here is None else here
        here = None
        gap = limits.gap(gradient, w)
        if coarse and not _COARSE * objective.total <= gap < math.inf:
            coarse, (value, gradient, _) = False, objective.sums(w, among)
            gap = limits.gap(gradient, w)
        if dense is not None and not gap <= _LOST * objective.total:
            w, dense, chosen, known = settle(objective, limits, dense, among), None, None, None
            continue
        # If domains were just solved to a smaller gap than they show now, the difference is float32 rounding.
        solved = gap if chosen is None else limits.restrict(chosen).gap(gradient[chosen], w[chosen])
        if gap > tol and solved > 2.0 * target and objective.precise() is not objective:
            objective, noisy, noise, previous, target = objective.precise(), False, 0.0, math.inf, math.inf
            continue
        trace.add(objective.rows, w.size, value, gap + noise)
        if gap <= tol and noisy:
            objective, noisy, noise = objective.precise(), False, 0.0
            continue
        # New domains may raise the gap for one round; several rounds without a lower gap mean that rounding allows no more.
        vain = vain + 1 if gap >= _PROGRESS * previous and gap < NOISE * objective.total else 0
        if gap + noise <= tol or steps >= max_iter or vain == _VAIN_ROUNDS:
            last = None if among is None or known is None else _over(known, w.size)
            return Minimum(w, value, gradient, gap + noise, trace.steps, last, steps)
        previous = min(gap, previous)
        packed = objective.packs(w.size)
        copied = not packed and objective.packs(int(np.count_nonzero(w)) + _NEW_COPIED)
        chosen = _choose(limits, gradient, w, _NEW_INSIDE if packed else _NEW_COPIED if copied else _NEW_DOMAINS)
        hessian = None
        if chosen is not None and objective.packs(chosen.size):
            hessian = _part_of(known, chosen)
        part, start = _within(chosen, w, (value, gradient, hessian))
        columns = chosen if among is None else among if chosen is None else among[chosen]
        if gap > ROUGH * objective.total and chosen is not None and columns is not None:
            part, start = _seeded(objective, limits.restrict(chosen), part, gradient[chosen], columns), None
        # Where steps over the set cost less than a sweep over all domains, the set is solved to the tolerance at once.
        cheap = objective.packs(part.size) and (not packed or gap <= _CLOSE * objective.total)
        target = _ROOM * tol if cheap else max(_AHEAD * gap, _ROOM * tol)
        inside = limits if chosen is None else limits.restrict(chosen)
        if coarse:
            start = None
        if packed or chosen is None or part.size <= ALL_DOMAINS or not objective.packs(part.size):
            search = Newton(objective, inside, columns, tol=target, trace=trace, whole=whole)
            inner = search.minimise(part, start, max_iter - steps)
        else:
            inner = _solve(
                objective, inside, part, tol=target, max_iter=max_iter - steps, trace=trace, whole=whole, among=columns
            )
        steps += max(inner.steps, 1)
        known = None
        if chosen is not None and inner.hessian is not None:
            has = np.flatnonzero(inner.w > 0.0)
            known = chosen[has], inner.hessian[np.ix_(has, has)]
        noise = rounding_of_gap(objective, inner.hessian, inner.w)
        noisy = noisy or noise > _ROOM * tol
        w = inner.w if chosen is None else _spread(inner.w, chosen, w.size)


def _within(columns: Columns | None, w: Vector, found: Sums) -> tuple[Vector, Sums | None]:
    """Return the shares and sums of the columns."""
    return (w, found) if columns is None else (w[columns], (found[0], found[1][columns], found[2]))


def _over(known: tuple[Columns, Matrix], size: int) -> Matrix:
    """Return a Hessian of some domains over all `size` domains, 0 for the others."""
    out = np.zeros((size, size))
    out[np.ix_(known[0], known[0])] = known[1]
    return out


def _part_of(known: tuple[Columns, Matrix] | None, columns: Columns) -> Matrix | None:
    """Return the known Hessian over the columns, if it has them all."""
    if known is None or not np.isin(columns, known[0]).all():
        return None
    place = np.searchsorted(known[0], columns)
    return known[1][np.ix_(place, place)]


def _spread(part: Vector, columns: Columns, size: int) -> Vector:
    w = np.zeros(size)
    w[columns] = part
    return w


def _seeded(objective: Objective, inside: Limits, w: Vector, gradient: Vector, columns: Columns) -> Vector:
    """Return shares in which entering domains have a small share, after expectation maximisation."""
    few = _FIRST if objective.packs(columns.size) else _NEW_DOMAINS
    newcomers = np.mean([inside.linear_min(cost) for cost in _pulls(gradient, few)], axis=0)
    return settle(objective, inside, (1.0 - _SEED) * w + _SEED * newcomers, columns)


def _sparse_start(sample: Objective, limits: Limits, w: Vector) -> Vector:
    """Return a point of the region with few shares: those with the best slopes at w, after expectation maximisation among them."""
    few = min(max(sample.rows // _ROWS_EACH, _FIRST), _NEW_DOMAINS)
    sparse = np.mean([limits.linear_min(cost) for cost in _pulls(sample.sums(w)[1], few)], axis=0)
    columns = np.flatnonzero(sparse).astype(np.int32)
    return _spread(settle(sample, limits.restrict(columns), sparse[columns], columns), columns, w.size)


def _pulls(gradient: Vector, few: int) -> list[Vector]:
    """Return costs whose vertices each prefer one of the domains with the best slopes."""
    best = np.argsort(gradient)[:few]
    rank, out = np.arange(best.size), []
    for first in range(best.size):
        cost = np.zeros(gradient.size)
        cost[best[rank - first]] = rank - best.size
        out.append(cost)
    return out


def _choose(limits: Limits, gradient: Vector, w: Vector, most: int) -> Columns | None:
    """Return the domains with a share and those that would gain most from one; None for all."""
    has = w > 0.0
    # At a solution the gradient is equal over domains between their bounds; a domain below that level should get a larger share.
    level = float(gradient[has & (w < limits.high)].max(initial=-math.inf))
    room = np.flatnonzero(~has & (limits.high > 0.0))
    wanting = room[gradient[room] < level] if np.isfinite(level) else room
    if wanting.size > most:
        wanting = wanting[np.argpartition(gradient[wanting], most)[:most]]
    chosen = has.copy()
    chosen[wanting] = True
    if limits.groups is not None and not chosen.all():
        chosen |= limits.linear_min(gradient) > 0.0
    return None if chosen.all() else np.flatnonzero(chosen).astype(np.int32)
