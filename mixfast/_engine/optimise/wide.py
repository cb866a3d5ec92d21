"""Problems with many domains and few rows: the interior point method reaches the optimum directly.

1. The method of `interior.py` runs until the certified gap of the objective itself is small.
2. Shares next to a bound are set to it, and the method runs again over the others: shares of 1e-12 become 0.

If repeated tokens wear out, shares are split into two parts during the search (`halves.py`).

A problem is solved this way if one step here costs less than in the loops for few domains.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import numpy as np

from mixfast._engine.backend import simplex
from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.backend.blas import single_blas
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.geometry.unfinished import MANY_DOMAINS
from mixfast._engine.objectives.base import Objective
from mixfast._engine.objectives.forms import Forms
from mixfast._engine.objectives.kl import Kl, Regularised
from mixfast._engine.objectives.pieces import Pieces
from mixfast._engine.optimise.halves import Halves
from mixfast._engine.optimise.interior import Inner, minimise_inside
from mixfast._engine.optimise.trace import Minimum, Trace

# Maximum multiplications of one step, and the number up to which one thread takes less than 0.1 s.
_WORK, _ONE_THREAD = 1e11, 1e9
# Target gap as a fraction of the tolerance, and how often shares are set to their bounds.
_AHEAD, _SETTLINGS = 0.3, 3
# Largest error of the sum of the shares, and largest violation of a group limit that setting shares to their bounds may cause.
_FEASIBLE = 1e-12
# Multipliers below this fraction of the largest may be 0.
_NONE = 1e-9


def near_optimum(objective: Objective, limits: Limits, w: Vector, *, tol: float, trace: Trace) -> Minimum | None:
    """Return a point within `tol` of the minimum, if the method reaches it, and its gap; None if there are too many rows, or it ends outside the limits."""
    forms = objective.forms() if _work(objective.rows, w.size) <= _WORK else None
    if forms is None:
        return None
    term = objective.kl if isinstance(objective, Regularised) else _no_term(w.size)
    exact = objective.precise()

    def gap(at: Vector, _: Vector) -> float:
        return limits.gap(exact.sums(at)[1], at)

    w = _near(forms, limits, term, w, None, gap, tol).w
    if abs(_missing(limits, w)) > _FEASIBLE:
        return None
    value, gradient, _ = exact.sums(w)
    out = Minimum(w, value, gradient, limits.gap(gradient, w), trace.steps)
    trace.add(objective.rows, w.size, value, out.gap)
    return out


def near_largest(
    pieces: Pieces, limits: Limits, kl: Kl, w: Vector, weight: Vector | None, *, tol: float, trace: Trace
) -> tuple[Minimum, Vector] | None:
    """Like `near_optimum`, for the largest of several functions; also return the multipliers (P,) that prove the gap."""
    forms = pieces.forms() if _work(pieces.rows, w.size) <= _WORK else None
    if forms is None:
        return None

    def gap(at: Vector, proof: Vector) -> float:
        values, gradients = forms.at(forms.forms(at), at)
        return _proven(values, gradients + kl.at(at)[1], limits, at, proof)[0]

    found = _near(forms, limits, kl, w, weight, gap, tol)
    w = found.w
    if abs(_missing(limits, w)) > _FEASIBLE:
        return None
    here = pieces.at(w, curved=False)
    cost, slope = kl.at(w)
    least, proof = _proven(here.values, here.gradients + slope, limits, w, found.weight)
    out = Minimum(w, float(here.values.max()) + cost, proof @ here.gradients + slope, least, trace.steps)
    trace.add(pieces.rows, w.size, out.value, out.gap)
    return out, proof


def _proven(values: Vector, gradients: Matrix, limits: Limits, w: Vector, weight: Vector) -> tuple[float, Vector]:
    """Return the gap that multipliers (P,) prove at w, or those without the smallest of them, and the better multipliers.

    Multipliers of functions below the maximum are almost 0, but where slopes are infinite at share 0, their share of the slope may be large.
    """
    best = math.inf, weight
    for kept in (np.maximum(weight, 0.0), np.where(weight > _NONE * weight.max(), weight, 0.0)):
        proof = kept / kept.sum()
        gap = max(float(values.max() - proof @ values), 0.0) + limits.gap(proof @ gradients, w)
        if gap < best[0]:
            best = gap, proof
    return best


def is_wide(rows: int, domains: int, interior: bool) -> bool:
    """Whether a problem is solved this way from the start, not only after a step was abandoned. `interior`: under a KL term, with which no share is 0."""
    return domains > MANY_DOMAINS and (rows < domains or interior) and _work(rows, domains) <= _WORK


def _work(rows: int, domains: int) -> float:
    """Return the multiplications for the matrix of one step."""
    return float(rows) * domains * min(rows, domains)


def _no_term(domains: int) -> Kl:
    return Kl(0.0, np.ones(domains))


def _near(
    forms: Forms,
    limits: Limits,
    kl: Kl,
    w: Vector,
    weight: Vector | None,
    gap: Callable[[Vector, Vector], float],
    tol: float,
) -> Inner:
    """Return the result of the interior point method, with shares set to their bounds as far as the gap allows."""
    gradients = forms.at(forms.forms(w), w)[1]
    unit = float(np.abs(gradients).max(axis=0) @ w) or 1.0
    halves = Halves.of(forms.wear, limits)
    scaled, parts, start = halves.forms(forms).scaled(unit), halves.limits(limits), halves.split(w)
    term = Kl(kl.weight / unit, kl.prior) if kl.weight > 0.0 else _no_term(start.size)
    beyond = halves.domains if kl.weight > 0.0 and halves.domains.size else None

    def shares(x: Vector) -> Vector:
        return _settled(limits, halves.join(x)) if halves.domains.size else x

    def inside(x: Vector, proof: Vector) -> float:
        x = _settled(parts, x)
        # A gap says nothing of shares that are not a mixture.
        return gap(shares(x), proof) / unit if abs(_missing(parts, x)) <= _FEASIBLE else math.inf

    # On cores that other processes use too, a second BLAS thread slows small systems down several times.
    threads = single_blas() if _work(*scaled.rows.shape) <= _ONE_THREAD else nullcontext()

    def run(among: Limits, start: Vector, proof: Vector | None) -> Inner:
        found = minimise_inside(
            scaled, among, term, start, gap=inside, tol=_AHEAD * tol / unit, weight=proof, beyond=beyond
        )
        return found._replace(w=_settled(parts, found.w))

    with threads:
        best = run(parts, start, weight)
        best = best if kl.weight > 0.0 else _on_bounds(parts, best, run, inside, _AHEAD * tol / unit)
    return best._replace(w=shares(best.w))


def _on_bounds(
    limits: Limits,
    best: Inner,
    run: Callable[[Limits, Vector, Vector | None], Inner],
    gap: Callable[[Vector, Vector], float],
    tol: float,
) -> Inner:
    """Set shares to the bounds that seem active, as long as the gap stays within `tol` or does not grow."""
    least, active = gap(best.w, best.weight), best.active
    for _ in range(_SETTLINGS):
        if not active.any() or active.all():
            break
        at = np.where(active < 0, limits.low, np.where(active > 0, limits.high, best.w))
        held = replace(limits, low=np.where(active != 0, at, limits.low), high=np.where(active != 0, at, limits.high))
        found = run(held, at, best.weight)
        here = gap(found.w, found.weight)
        # If all domains of a group are held at 0, no share is left for its lower limit.
        if not here <= max(least, tol) or _outside(limits, found.w) > _FEASIBLE:
            break
        best, least = found, here
        if not found.active[active == 0].any():
            break
        active = np.where(active != 0, active, found.active)
    return best


def _outside(limits: Limits, w: Vector) -> float:
    """Return by how much w violates a group limit."""
    if limits.groups is None:
        return 0.0
    rows, low, high = limits.groups
    return float(np.maximum(low - rows @ w, rows @ w - high).max(initial=0.0))


def _settled(limits: Limits, w: Vector) -> Vector:
    """Set shares next to a bound to it. Without group limits, also make the shares sum to the total."""
    w = limits.clip(w)
    if limits.groups is None:
        if abs(_missing(limits, w)) > _FEASIBLE:
            w = simplex.project(w, limits.low, limits.high, limits.total)
        k = int(np.minimum(w - limits.low, limits.high - w).argmax())  # the share with most room
        w[k] = min(max(w[k] + _missing(limits, w), limits.low[k]), limits.high[k])
    return w


def _missing(limits: Limits, w: Vector) -> float:
    """Return what w lacks of the total. This difference, not the sum, is rounded: a sum that is off by one rounding error moves all shares when they are normalised."""
    return -math.fsum((*w.tolist(), -limits.total))
