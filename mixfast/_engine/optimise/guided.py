"""Minimise over very many rows in few sweeps: between sweeps, the search runs on a sample that is corrected to match all rows (`Guide`).

1. Solve on the sample, from a point that a small sample gave, or from the given one. Sums of a larger part of the rows, which does not
   stay in memory, correct the guide once: the sample's optimum is then nearer to that of all rows.
2. Sweep all rows: the gap certifies the point, or the sums correct the guide there. Hessians of all rows are computed in the first sweep, and
   later if the gap would not reach the tolerance without.
3. Minimise the guide, and sweep again.

If a sweep makes little progress, Newton's method over all rows continues from the best point.

References: Shamir, Srebro, Zhang, "Communication-efficient distributed optimization using an approximate Newton-type method" (ICML 2014), for
minimising a sample with a corrected slope.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.base import Objective, Sums
from mixfast._engine.optimise.newton import rounding_of_gap
from mixfast._engine.optimise.trace import Minimum, Trace

# Gap of the first solve on the sample, times rows: its optimum differs from that of all rows by more.
_SAMPLE_TOL = 1e-2
# Gap to which a corrected guide is minimised, as a fraction of the last gap and of the tolerance.
_AHEAD, _ROOM = 1e-5, 0.02
# A sweep that leaves more than this fraction of the gap has made little progress.
_SLOW = 0.3
# A start with a larger gap (relative to the rows' total weight) is worse than the sample's optimum.
_NEAR = 1e-2
# The first Hessian is computed from one row in p if that leaves this many times the rows of the sample; p is at most the second number.
_HESSIAN_ROWS, _THINNEST = 64, 8
# Rows that correct the guide before the first sweep, as a multiple of those of the sample, and at most as a fraction of all rows.
_SKIMMED_ROWS, _SKIMMED = 16, 0.125
# A step of length s in the Hessian's norm leaves about this many times s^2 of the gap.
_THIRD_ORDER = 20.0

Solve = Callable[[Objective, Vector, float], Vector]


def few_sweeps(
    objective: Objective,
    limits: Limits,
    w: Vector,
    *,
    given: Vector | None,
    near: Callable[[Vector], Vector],
    inside: Solve,
    tol: float,
    max_iter: int,
    trace: Trace,
) -> tuple[Minimum, Sums]:
    """Minimise an objective that has a guide.

    Parameters
    ----------
    objective : Objective
    limits : Limits
    w : (K,)
        Start.
    given : (K,) or None
        A point that may be near the answer, because a user gave it; the search begins with a sweep there.
    near : callable
        Returns a better start from a small sample.
    inside : callable
        Minimises a guide from a point to a gap.
    tol : float
    max_iter : int
        Sweeps after the first.
    trace : Trace

    Returns
    -------
    Minimum and Sums
        The best point, whose gap is above `tol` if a sweep made little progress, and the sums of all rows at it.
    """
    guide = objective.guide
    matched = guide.at is not None
    rough = max(_SAMPLE_TOL / guide.rows * guide.total, tol)
    if matched:
        w = inside(guide, w, _ROOM * tol)
    elif given is None:
        w = _skimmed(objective, inside(guide, near(w), rough), inside, rough)
    objective = _precise(objective, guide, w if given is None else near(w), tol)
    at = w if given is None or matched else given
    best: tuple[Minimum, Sums] | None = None
    every = _thinned(objective.rows, guide.rows)
    for sweep in range(max_iter + 1):
        began = perf_counter()
        found = objective.sums(at, hessian=every)
        gap = limits.gap(found[1], at) + rounding_of_gap(objective, found[2], at) if _finite(found, at) else math.inf
        trace.sweep(objective.rows, at.size, found[0], gap, nbytes=objective.nbytes, seconds=perf_counter() - began)
        before = math.inf if best is None else best[0].gap
        if best is None or gap < before:
            best = Minimum(at, found[0], found[1], gap, trace.steps, found[2], sweep), found
        if gap <= tol or sweep == max_iter:
            if guide.at is None and found[2] is not None and math.isfinite(found[0]):
                guide.correct(at, found)  # for ranges around the point
            break
        if at is given and not gap <= _NEAR * objective.total:
            # The given point is no better than the optimum of the sample.
            at = _skimmed(objective, inside(guide, near(w), rough), inside, rough)
            continue
        if not math.isfinite(found[0]) or (gap > _SLOW * before and not (sweep == 1 and given is not None)):
            break
        guide.correct(at, found)
        new = inside(guide, at, max(_AHEAD * gap, _ROOM * tol))
        every = 1 if _needs_hessian(guide, new - at, gap, tol) else 0
        at = _whole(limits, new)
    if best is None:
        raise RuntimeError("no sweep was made")
    return best


def _skimmed(objective: Objective, w: Vector, inside: Solve, rough: float) -> Vector:
    """Return the minimum of the guide after a correction by more rows than the sample has."""
    guide = objective.guide
    count = min(_SKIMMED_ROWS * guide.rows, round(_SKIMMED * objective.rows))
    if count < 2 * guide.rows or (more := objective.skimmed(count)) is None:
        return w
    found = more.sums(w, hessian=1)
    if not _finite(found, w):
        return w
    guide.correct(w, found)
    return inside(guide, w, rough)


def _finite(found: Sums, w: Vector) -> bool:
    """Whether no row is explained only by an expert without a share; if one is, sums are infinite, and their rounding error is not a number."""
    return math.isfinite(found[0]) and math.isfinite(found[1] @ w)


def _whole(limits: Limits, w: Vector) -> Vector:
    """Return w with a sum of exactly the total if there are group limits: the solution is certified at such shares, without another sweep."""
    short = limits.total - math.fsum(w)
    if limits.groups is None or short == 0.0:
        return w
    w = w.copy()
    w[int(np.argmax(np.where(w < limits.high, w, -1.0)))] += short
    return w


def _thinned(rows: int, sampled: int) -> int:
    """Return p so that the Hessian of one row in p is far more accurate than that of the sample."""
    most = min(max(rows // (_HESSIAN_ROWS * sampled), 1), _THINNEST)
    return 1 << (most.bit_length() - 1)


def _needs_hessian(guide: Any, step: Vector, gap: float, tol: float) -> bool:
    """Whether the sweep after this step and the one after it would not reach the tolerance without a new Hessian."""
    hessian = guide.sums(guide.at, hessian=1)[2]
    left = min(_THIRD_ORDER * float(step @ hessian @ step) / guide.total, 1.0)
    return left * gap > tol and 2.0 * left**2 * gap > 0.3 * tol


def _precise(objective: Objective, guide: Any, w: Vector, tol: float) -> Objective:
    """Return the objective in float64 if float32 rounding errors would matter at the tolerance."""
    if objective.rounding(1.0) == 0.0:
        return objective
    noise = rounding_of_gap(objective, guide.sums(w, hessian=1)[2], w)
    return objective.precise() if not np.isfinite(noise) or noise > 0.5 * tol else objective
