"""Minimise the largest of several convex functions, ``min_w max_p phi_p(w) + KL``, by sequential quadratic programming.

Each round:

1. computes the gap at w with the current multipliers: sum_p lambda_p phi_p is convex, so its value at w minus its Frank-Wolfe gap is a
   lower bound of the minimax value;
2. finds the step d that minimises t + 1/2 d'Hd under phi_p + <g_p, d> <= t and the region's limits, where H is the Hessian of the Lagrangian,
   and the multipliers of that quadratic program;
3. shortens the step until the largest function falls by a fraction of the fall that the model predicts.

Limits ``f_j(w) <= most_j`` on some functions are pieces as well, ``F + rho * (f_j - most_j)``: an exact penalty, which has the minimum of F
if rho is above the sum of their multipliers.

Reference: Nocedal and Wright, "Numerical Optimization", chapter 18, with the maximum as its merit function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._engine.geometry import qp
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.geometry.unfinished import UnfinishedStep
from mixfast._engine.objectives.kl import Kl
from mixfast._engine.objectives.pieces import GroupGuide, Pieces, Values, WeightedMetrics
from mixfast._engine.optimise.newton import IDLE, KEEP, ROUGH, advances
from mixfast._engine.optimise.trace import Minimum, Trace
from mixfast._engine.optimise.wide import is_wide, near_largest

# The fraction of the predicted fall that a step must achieve, and the relative rise of the value that rounding may cause.
_ARMIJO, _ROUNDING = 1e-4, 1e-14
_HALVINGS = 40
# With a guide: the first gap on the sample, later gaps as fractions of the last one and of the tolerance, the fraction of a gap that counts as
# little progress, and the gap below which the Hessians of the guide are good enough.
_GUIDE_TOL, _AHEAD, _ROOM, _SLOW, _CLOSE = 1e-7, 1e-5, 0.02, 0.3, 1e-3
# The optimum of a sample differs from that of all rows by more than this gap; a closer solution is not useful.
_SAMPLE_TOL, _SAMPLE_STEPS = 1e-5, 50
# Multiplications that rounds after the interior point method may use in total; one round among K domains takes about K^3.
_WORK = 1e11
# The first penalty of limits in units of the objective, the largest, and the factor by which it grows. After `_DOUBTED`, limits that are
# still violated may contradict each other.
_PENALTY, _LARGEST, _GROWTH, _DOUBTED = 10.0, 1e7, 10.0, 100.0
# A penalty that is as large as it needs to be, as a multiple of the sum of the multipliers.
_ENOUGH = 2.0
# A limit is satisfied to this, or to ten times the tolerance if that is larger; a smaller multiplier of the objective is treated as zero.
_KEPT, _NONE = 1e-9, 1e-9


# If a loss or slope overflows at a trial step, `Values.finite` detects it and the step is shortened; such a gap is infinite.
@np.errstate(invalid="ignore", over="ignore", divide="ignore")
def minimise_largest(
    pieces: Pieces, limits: Limits, kl: Kl, w: Vector, *, weight: Vector | None = None, tol: float, max_iter: int
) -> tuple[Minimum, Vector]:
    """Minimise the largest function to a gap of `tol`, multiplied by the weight of its rows if that is above 1, starting on a sample if there are many rows.

    Parameters
    ----------
    pieces : Pieces
        P functions over the usable domains.
    limits, kl
        Over the usable domains.
    w : (K,)
        Start.
    weight : (P,), optional
        Multipliers to start with; by default those of the largest functions at w.

    Returns
    -------
    Minimum and (P,)
        The best point, and the multipliers that prove its gap.
    """
    trace, tol = Trace(), tol * max(1.0, pieces.total)

    def descend(w: Vector, weight: Vector | None, whole: bool) -> tuple[Minimum, Vector]:
        return _descend(pieces, limits, kl, w, weight, trace, tol=tol, max_iter=max_iter, whole=whole)

    if pieces.guide is not None:
        return _guided(pieces, pieces.guide, limits, kl, w, weight, trace, tol=tol, max_iter=max_iter)
    if not is_wide(pieces.rows, w.size, limits.steep):
        sample = pieces.sample()
        try:
            if sample is not pieces:
                found, weight = _descend(
                    sample, limits, kl, w, weight, trace, tol=_SAMPLE_TOL, max_iter=_SAMPLE_STEPS, whole=True
                )
                w = found.w
            ended = descend(w, weight, True)
            if pieces.fragile or not limits.steep or ended[0].gap <= tol * max(1.0, abs(ended[0].value)):
                return ended
            # Quadratic models follow steep slopes at share 0 only slowly.
            other = near_largest(pieces, limits, kl, w, weight, tol=tol, trace=trace)
            return ended if other is None or not other[0].gap < ended[0].gap else other
        except UnfinishedStep:
            pass
    inner = near_largest(pieces, limits, kl, w, weight, tol=tol, trace=trace)
    if inner is None:
        return descend(w, weight, False)
    # Do not start rounds that would take many seconds; the gap still shows the quality of the point.
    max_iter = min(max_iter, int(_WORK / w.size**3))
    if inner[0].gap <= tol or max_iter == 0:
        return inner
    try:
        return descend(inner[0].w, inner[1], True)
    except UnfinishedStep:
        return inner


def _guided(
    pieces: Pieces,
    guide: GroupGuide,
    limits: Limits,
    kl: Kl,
    w: Vector,
    weight: Vector | None,
    trace: Trace,
    *,
    tol: float,
    max_iter: int,
) -> tuple[Minimum, Vector]:
    """Minimise over very many rows in few sweeps: like `guided.few_sweeps`, for the largest function."""
    best: tuple[Minimum, Vector] | None = None
    start = w
    if guide.matched is None:
        small = pieces.sample()
        found, weight = _descend(
            guide if small is pieces else small,
            limits,
            kl,
            w,
            weight,
            trace,
            tol=_SAMPLE_TOL,
            max_iter=_SAMPLE_STEPS,
            whole=False,
        )
        w = found.w
    rough, curved = (_GUIDE_TOL, True) if guide.matched is None else (_ROOM * tol, False)
    for sweep in range(max_iter + 1):
        inner, proof = _descend(guide, limits, kl, w, weight, trace, tol=rough, max_iter=_SAMPLE_STEPS, whole=False)
        w, weight, began = inner.w, proof, perf_counter()
        here = pieces.at(w, curved=curved)
        value, lagrangian, gap = _certified(here, limits, kl, w, proof)
        gap = gap if math.isfinite(value) and math.isfinite(gap) else math.inf
        trace.sweep(pieces.rows, w.size, value, gap, nbytes=pieces.nbytes, seconds=perf_counter() - began)
        before = math.inf if best is None else best[0].gap
        if best is None or gap < before:
            best = Minimum(w, value, lagrangian, gap, trace.steps, None, sweep), proof
        if gap <= tol or sweep == max_iter:
            return best
        if not math.isfinite(gap) or (sweep and not gap < _SLOW * before):
            break
        # Hessians of all rows are computed in the first sweep, and again if they did not bring the gap close to the tolerance.
        guide.correct(w, here)
        curved, rough = gap > _CLOSE, max(_AHEAD * gap, _ROOM * tol)
    if best is None:
        raise RuntimeError("no sweep was made")
    # A gap above one nat a row is that of a row whose only expert the sample left without a share: no point to go on from.
    w, weight = (best[0].w, best[1]) if best[0].gap <= pieces.total else (start, None)
    more = _descend(pieces, limits, kl, w, weight, trace, tol=tol, max_iter=max_iter - best[0].steps, whole=False)
    return more if more[0].gap < best[0].gap else best


def _certified(here: Values, limits: Limits, kl: Kl, w: Vector, weight: Vector) -> tuple[float, Vector, float]:
    """Return the largest value, the gradient of the Lagrangian, and the gap that these multipliers prove."""
    cost, slope = kl.at(w)
    lagrangian = weight @ here.gradients + slope
    value = float(here.values.max()) + cost
    return value, lagrangian, max(float(here.values.max() - weight @ here.values), 0.0) + limits.gap(lagrangian, w)


class Limited(NamedTuple):
    """The minimum of the largest of P functions under limits on J metrics, and what proves it.

    Attributes
    ----------
    found : Minimum
    weight : (P,)
        Multipliers of the functions; they sum to 1.
    multipliers : (J,)
        Multipliers of the limits, in units of the functions for each unit of the metric.
    broken : float
        Largest violation of a limit: of the order of the gap, unless no mixture satisfies all limits.
    plain : float
        Multipliers of the functions without a penalty, together; 0 if the penalty is too small.
    """

    found: Minimum
    weight: Vector
    multipliers: Vector
    broken: float
    plain: float


def minimise_limited(
    target: WeightedMetrics,
    most: Vector,
    limits: Limits,
    *,
    kl: Kl,
    start: Vector,
    tol: float,
    max_iter: int,
    unit: float = 1.0,
    doubted: Callable[[], None] = lambda: None,
) -> Limited:
    """Minimise the largest of several weighted sums of metrics under ``f_j <= most_j``.

    Parameters
    ----------
    target : WeightedMetrics
        P functions of J metrics over the usable domains; one function for a weighted sum.
    most : (J,)
        Upper limits; infinite for no limit.
    limits, kl, start, tol, max_iter
        As for `minimise_largest`.
    unit : float
        By how much the functions vary, if the metrics vary by about 1.
    doubted : callable, optional
        Called once if a large penalty leaves a violation; it may raise an exception if no mixture satisfies all limits.

    Notes
    -----
    Every limit needs one piece for each function. With several functions, only limits that some minimum violates become pieces: a
    minimum under some of the limits that satisfies the others is the minimum under all of them.
    """
    limited = np.isfinite(most)
    chosen = limited if target.rows == 1 else np.zeros(most.size, dtype=bool)
    while True:
        answer = _under(
            target,
            np.where(chosen, most, math.inf),
            limits,
            unit,
            doubted,
            kl=kl,
            start=start,
            tol=tol,
            max_iter=max_iter,
        )
        excess = np.where(limited, target.form.metrics(answer.found.w) - most, -math.inf)
        new = ~chosen & (excess > max(10.0 * tol, _KEPT))
        if not new.any():
            return answer._replace(broken=float(excess.max(initial=0.0)))
        chosen, start = chosen | new, answer.found.w


def _under(
    target: WeightedMetrics,
    most: Vector,
    limits: Limits,
    unit: float,
    doubted: Callable[[], None],
    *,
    kl: Kl,
    start: Vector,
    tol: float,
    max_iter: int,
) -> Limited:
    """Minimise under all limits at once, by pieces with a penalty that grows until it is exact."""
    limits = limits.above_zero(target.form.steep)

    def solve(penalty: float, w: Vector) -> Limited:
        return _penalised(target, most, penalty * unit, limits, kl=kl, start=w, tol=tol, max_iter=max_iter)

    penalty, answer = _PENALTY, solve(_PENALTY, start)
    # The penalty is large enough if the multipliers that prove the minimum include the plain objective.
    while penalty < _LARGEST and not (answer.plain > _NONE and answer.broken <= max(10.0 * tol, _KEPT)):
        if penalty == _DOUBTED:
            doubted()
        penalty *= _GROWTH
        answer = solve(penalty, answer.found.w)
    needed = _ENOUGH * float(answer.multipliers.sum()) / unit
    if answer.found.gap > tol * max(1.0, abs(answer.found.value)) and 0.0 < needed < penalty:
        # A penalty far above the multipliers makes rounds slow.
        again = solve(needed, answer.found.w)
        answer = again if again.found.gap < answer.found.gap and again.plain > _NONE else answer
    return answer


def _penalised(
    target: WeightedMetrics,
    most: Vector,
    penalty: float,
    limits: Limits,
    *,
    kl: Kl,
    start: Vector,
    tol: float,
    max_iter: int,
) -> Limited:
    """Minimise the largest function plus `penalty` times the largest violation of a limit."""
    functions, limited = target.rows, np.flatnonzero(np.isfinite(most))
    rows = target.weight[:, None, :] + penalty * np.eye(most.size)[limited]
    rows = np.concatenate([target.weight, rows.reshape(-1, most.size)])
    offset = np.concatenate([target.offset, (target.offset[:, None] - penalty * most[limited]).ravel()])
    pieces = WeightedMetrics(target.form, rows, offset)
    found, proof = minimise_largest(pieces, limits, kl, start, tol=tol, max_iter=max_iter)
    plain, penalised = proof[:functions], proof[functions:].reshape(functions, limited.size)
    multipliers = np.zeros(most.size)
    multipliers[limited] = penalty * penalised.sum(axis=0)
    broken = float((target.form.metrics(found.w) - most)[limited].max(initial=0.0))
    return Limited(found, plain + penalised.sum(axis=1), multipliers, broken, float(plain.sum()))


def _descend(
    pieces: Pieces,
    limits: Limits,
    kl: Kl,
    w: Vector,
    weight: Vector | None,
    trace: Trace,
    *,
    tol: float,
    max_iter: int,
    whole: bool,
) -> tuple[Minimum, Vector]:
    """Run the rounds. `whole`: raise `UnfinishedStep` if a step is not found within its work limit; otherwise take a partial step."""
    here = pieces.at(w)
    weight = _largest(here) if weight is None else weight
    best, proof, steps = None, weight, 0
    ahead, idle = (math.inf, math.inf), 0
    while True:
        # 1. The gap with the current multipliers.
        slope = kl.at(w)[1]
        value, lagrangian, gap = _certified(here, limits, kl, w, weight)
        trace.add(pieces.rows, w.size, value, gap)
        if best is None or gap < best.gap:
            best, proof = Minimum(w, value, lagrangian, gap, trace.steps), weight
        best.steps = steps
        idle = 0 if advances(value, gap, *ahead) else idle + 1
        ahead = ahead if idle else (value, gap)
        if gap <= tol or steps >= max_iter or idle == IDLE:
            return best, proof
        # 2. The step and new multipliers.
        curvature = pieces.hessian(weight, here)
        if kl.weight > 0.0:
            curvature[np.diag_indices_from(curvature)] += kl.curve(w)
        low = limits.lowest(w)
        if pieces.fragile and gap > ROUGH:
            low = np.maximum(low, KEEP * w)
        with np.errstate(invalid="ignore", divide="ignore"):
            direction, weight_new = qp.minimax(
                curvature,
                here.values,
                here.gradients + slope,
                w,
                low=low,
                high=limits.high,
                groups=limits.groups,
                whole=whole,
            )
        if not np.isfinite(weight_new).all():  # no function was found to attain the maximum
            weight_new = weight
        # 3. The part of the step that lowers the maximum.
        promised = float((here.values + (here.gradients + slope) @ direction).max()) - float(here.values.max())
        found = _shorten(pieces, limits, kl, w, value, direction, promised)
        steps += 1
        if found is not None:
            w, here = found
        elif np.array_equal(weight_new, weight) or (np.array_equal(weight_new, proof) and best.w is w):
            return best, proof  # all available multipliers were tried at this point
        weight = weight_new


def _shorten(
    pieces: Pieces, limits: Limits, kl: Kl, w: Vector, value: float, direction: Vector, promised: float
) -> tuple[Vector, Values] | None:
    """Return the first of the halved steps along `direction` with enough of the predicted fall, evaluated; None if there is none."""
    length = 1.0
    for _ in range(_HALVINGS):
        there = limits.clip(w + length * direction, w)
        found = pieces.at(there)
        change = float(found.values.max()) + kl.at(there)[0] - value
        allowed = _ARMIJO * length * promised + _ROUNDING * max(1.0, abs(value))
        if math.isfinite(change) and found.finite and change <= allowed:
            return there, found
        length *= 0.5
    return None


def _largest(found: Values) -> Vector:
    """Return equal multipliers for the largest functions, 0 for the others."""
    top = found.values == found.values.max()
    out: Vector = top / np.count_nonzero(top)
    return out
