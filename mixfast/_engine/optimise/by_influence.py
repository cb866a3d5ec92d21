"""Minimise over the rows of a large table in memory in few sweeps, on a sample of the rows that matter (`influence.py`).

1. Sweep all rows coarsely, at the optimum of a small sample: the sums, and the influence of each row on the optimum.
2. Sample rows by influence. The sums correct the sample, so that it matches all rows there (`Guide`).
3. Minimise the corrected sample, and sweep all rows: the gap certifies the point, or the sums correct the sample again. The second of these
   sweeps has a Hessian over the domains that have a share or may get one (before, these would be too many), and so have later ones if the last
   correction did not help enough.

The sample only proposes points. If a sweep makes little progress, the caller continues over all rows from the best point.

References: as in `guided.py`, which does the same for tables that are too large for a second look at each row.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.base import Objective, Sums
from mixfast._engine.objectives.kl import guide_from
from mixfast._engine.optimise.newton import ALL_DOMAINS, rounding_of_gap
from mixfast._engine.optimise.trace import Minimum, Trace

# Rows of the sample: at least the first number, and one in the second number of all rows.
_LEAST_ROWS, _ONE_IN = 1 << 14, 32
# Gap to which the corrected sample is minimised, as a fraction of the last gap and of the tolerance.
_AHEAD, _ROOM = 1e-3, 0.4
# A sweep that leaves more than this fraction of the gap has made little progress, unless it has a new Hessian. After one that leaves more than
# the second, the next has one.
_SLOW, _MEDIOCRE = 0.3, 0.03
# A domain without a share may get one if its slope is less than this fraction of the last gap above the level of the others.
_MAY_ENTER = 0.0005
# The gap that a corrected sample leaves, as a fraction of the last gap. It is measured in float64 if float32 rounding errors would matter.
_LEFT = 0.01
# A larger gap, relative to the rows' total weight, is that of a row that lacks all of its experts.
_LOST = 1.0


def from_influential(
    objective: Objective,
    limits: Limits,
    w: Vector,
    inside: Callable[[Objective, Vector, Sums, float], Vector],
    *,
    tol: float,
    max_iter: int,
    trace: Trace,
) -> Minimum | None:
    """Minimise from w (K,), the optimum of a small sample; `inside` minimises an objective from a point, with its sums there, to a gap.

    Returns the best point, whose gap is above `tol` if a sweep made little progress; None if the rows are too few to be sampled by influence,
    or if w leaves some row without any of its experts.
    """
    # 1. and 2.
    found = objective.influential(w, max(_LEAST_ROWS, objective.rows // _ONE_IN))
    if found is None:
        return None
    sums, sample = found
    gap = limits.gap(sums[1], w)
    if not gap <= _LOST * objective.total:
        return None
    trace.add(objective.rows, w.size, sums[0], gap)
    guide = guide_from(sample, objective.total)
    best: Minimum | None = None
    hessian: Matrix | None = None
    curved: Columns | None = None
    curving = precise = False
    # 3.
    for step in range(1, max_iter + 1):
        bend = guide.correct(w, sums, curved, bend=w.size <= ALL_DOMAINS)
        w = inside(guide, w, (sums[0], sums[1], bend), max(_AHEAD * gap, _ROOM * tol))
        if _LEFT * gap <= tol and _rounding(objective, guide, hessian, w) > 0.5 * tol:
            objective, precise = objective.precise(), True
        curved = _movers(guide.sums(w)[1], w, limits, gap) if curving else None
        sums = objective.sums_over(w, curved)
        hessian = hessian if sums[2] is None else sums[2]
        left, noise = limits.gap(sums[1], w), _rounding(objective, guide, hessian, w)
        if left <= tol < left + noise:
            objective, noise, precise = objective.precise(), 0.0, True
            sums = objective.sums_over(w, None)
            left = limits.gap(sums[1], w)
        if not left < math.inf:
            break
        trace.add(objective.rows, w.size, sums[0], left + noise)
        if best is None or left + noise < best.gap:
            best = Minimum(w, sums[0], sums[1], left + noise, trace.steps, steps=step)
        if left + noise <= tol or (left > _SLOW * gap and step > 1 and sums[2] is None):
            break
        # Without a new Hessian, the next step would leave the same fraction of the gap.
        mediocre = left * left > tol * gap and sums[2] is None and (step == 1 or left > _MEDIOCRE * gap)
        curving, gap = mediocre and not precise, left
    return best


def _movers(slope: Vector, w: Vector, limits: Limits, gap: float) -> Columns:
    """Return the domains that have a share, or may get one: those whose slope is hardly above that of the others."""
    has = w > 0.0
    level = float(slope[has & (w < limits.high)].max(initial=float(slope[has].min())))
    return np.flatnonzero(has | (slope <= level + _MAY_ENTER * gap)).astype(np.int32)


def _rounding(objective: Objective, guide: Objective, hessian: Matrix | None, w: Vector) -> float:
    """Return how much of the gap may be rounding error; from the Hessian of all rows over the domains in use, or from the guide's."""
    has = np.flatnonzero(w).astype(np.int32)
    # A domain may have got its share after the sweep that computed the Hessian.
    if objective.rounding(1.0) == 0.0 or (hessian is not None and hessian.diagonal()[has].all()):
        return rounding_of_gap(objective, hessian, w)
    return rounding_of_gap(objective, guide.sums(w[has], has, hessian=1)[2], w[has])
