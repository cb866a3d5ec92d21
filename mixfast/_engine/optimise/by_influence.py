"""Minimise over the rows of a large table in memory in four or five sweeps, on a sample of the rows that matter (`influence.py`).

1. Sweep all rows coarsely, at the optimum of a small sample: the sums, and the influence of each row on the optimum.
2. Sample rows by influence. The sums correct the sample, so that it matches all rows there (`Guide`).
3. Minimise the corrected sample, and sweep all rows: the gap certifies the point, or the sums correct the sample again. The first of these
   sweeps has a Hessian over the domains that have a share or may get one; others have one if the last correction did not help enough.

The sample only proposes points. If a sweep makes little progress, the caller continues over all rows from the best point.

References: as in `guided.py`, which does the same for tables that are too large for a second look at each row.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.base import Objective
from mixfast._engine.objectives.kl import guide_from
from mixfast._engine.optimise.newton import rounding_of_gap
from mixfast._engine.optimise.trace import Minimum, Trace

# Rows of the sample: at least the first number, and one in the second number of all rows.
_LEAST_ROWS, _ONE_IN = 1 << 14, 32
# Gap to which the corrected sample is minimised, as a fraction of the last gap and of the tolerance.
_AHEAD, _ROOM = 1e-4, 0.1
# A sweep that leaves more than this fraction of the gap has made little progress; after one that leaves more than the second, the Hessian
# is corrected again.
_SLOW, _MEDIOCRE = 0.3, 0.03
# A domain without a share may get one if its slope is less than this above the level of the others, relative to the rows' total weight.
_MAY_ENTER = 0.02
# The gap that a corrected sample leaves, as a fraction of the last gap, and how many times the rounding error makes a gap doubtful.
_LEFT, _DOUBTFUL = 0.01, 5.0
# A larger gap, relative to the rows' total weight, is that of a row that lacks all of its experts.
_LOST = 1.0


def from_influential(
    objective: Objective,
    limits: Limits,
    w: Vector,
    inside: Callable[[Objective, Vector, float], Vector],
    *,
    tol: float,
    max_iter: int,
    trace: Trace,
) -> Minimum | None:
    """Minimise from w (K,), the optimum of a small sample; `inside` minimises an objective from a point to a gap.

    Returns the best point, whose gap is above `tol` if a sweep made little progress; None if the rows are too few to be sampled by influence,
    or if w leaves some row without any of its experts.
    """
    found = objective.influential(w, max(_LEAST_ROWS, objective.rows // _ONE_IN))
    if found is None:
        return None
    sums, sample = found
    gap = limits.gap(sums[1], w)
    if not gap <= _LOST * objective.total:
        return None
    trace.add(objective.rows, w.size, sums[0], gap)
    guide = guide_from(sample, objective.total)
    guide.correct(w, sums)
    best: Minimum | None = None
    curving, known = True, None
    for step in range(1, max_iter + 1):
        w = inside(guide, w, max(_AHEAD * gap, _ROOM * tol))
        if known is not None and _doubtful(objective, known, w, gap, tol):
            objective = objective.precise()
        curved = _movers(guide.sums(w)[1], w, limits, objective.total) if curving else None
        sums = objective.sums_over(w, curved)
        known = known if sums[2] is None else sums[2]
        left = limits.gap(sums[1], w) + rounding_of_gap(objective, known, w)
        if not math.isfinite(left):
            break
        trace.add(objective.rows, w.size, sums[0], left)
        if best is None or left < best.gap:
            best = Minimum(w, sums[0], sums[1], left, trace.steps, sums[2], step)
        if left <= tol or (best is not None and left > _SLOW * gap and step > 1):
            break
        guide.correct(w, sums, curved)
        curving, gap = left > _MEDIOCRE * gap and step > 1, left
    return best


def _movers(slope: Vector, w: Vector, limits: Limits, total: float) -> Columns:
    """Return the domains that have a share, or may get one: those whose slope is hardly above that of the others."""
    has = w > 0.0
    level = float(slope[has & (w < limits.high)].max(initial=float(slope[has].min())))
    return np.flatnonzero(has | (slope <= level + _MAY_ENTER * total)).astype(np.int32)


def _doubtful(objective: Objective, hessian: Matrix, w: Vector, gap: float, tol: float) -> bool:
    """Whether float32 rounding errors may hide that the next gap is below the tolerance."""
    noise = rounding_of_gap(objective, hessian, w)
    return noise > 0.5 * tol and _LEFT * gap < _DOUBTFUL * noise
