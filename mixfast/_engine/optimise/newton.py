"""The loop: Newton steps over a region, on the domains that matter, from a sample of the rows to all of them.

1. Solve on a sample of the rows that stays in cache.
2. On all rows take Newton steps. A sweep brings value, gradient, and a Hessian from as many of the rows as are worth their time,
   scaled to the diagonal that all rows have; near the optimum the last Hessian is carried along by secant updates (BFGS).
3. Restrict both to the domains that have a share or want one; sweep all domains only to look for others and to certify.

The Frank-Wolfe gap ``<g, w> - min_{s in region} <g, s> >= L(w) - L*`` over all domains and all rows ends it. Steps are accepted by the
slope along them: L is convex, so a slope that has not changed sign means that L went down, at any precision.

References: Kim, Carbonetto, Stephens, Anitescu, "A fast algorithm for maximum likelihood estimation of mixture proportions using
sequential quadratic programming" (J. Comput. Graph. Stat. 29, 2020); Jaggi, "Revisiting Frank-Wolfe" (ICML 2013) for the gap;
Nocedal and Wright, "Numerical Optimization", procedure 18.2 for damped BFGS.
"""

from __future__ import annotations

import math
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mixfast._engine.backend import simplex
from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.base import Objective
from mixfast._engine.optimise.trace import Minimum, Step

if TYPE_CHECKING:
    pass

# A slope of this share of the value is none.
_LEVEL = 1e-15
# A value that is larger by this share of itself is larger, at any precision of the probabilities.
_RISE, _COARSE_RISE = 1e-8, 1e-6
# Gaps below this share of the rows' total weight may be rounding noise of float32 probabilities.
_NOISE = 1e-6


class _Detail(NamedTuple):
    """What a sweep is asked for."""

    hessian: int  # as in Objective.sums
    coarse: bool


def _detail(objective: Objective, domains: int, gap: float, *, known: bool) -> _Detail:
    """What the sweep after a step from a point with this gap (a share of the total weight) should bring; `known`: the Hessian at hand can be carried along.

    Far away a rough gradient and the Hessian of some rows do; then comes the best Hessian that costs about a sweep; at the end its
    step lands within the tolerance, and no other is needed.
    """
    close = gap <= _FAR or domains > _ALL_DOMAINS
    share, least = (16, 1024) if close and objective.packs(domains) else (4, 256 if close else 64)
    most = min(max(domains // share, 1), max(objective.rows // max(least * domains, 16384), 1))
    step = 1 << (most.bit_length() - 1)
    if known and gap <= (_NEAR if step == 1 else _SOON):
        return _Detail(0, False)
    return _Detail(step, gap > _FAR)


# A gap above this share of the rows' total weight is far from the optimum: there are rows that no domain in play explains well.
_ROUGH, _KEEP = 0.05, 0.1
# Steps of expectation maximisation before the first Newton step.
_EM_STEPS = 3
# Gaps, as shares of the rows' total weight, that decide what the next sweep brings: see `_detail`.
_FAR, _SOON, _NEAR = 1e-2, 1e-4, 3e-5
# Gaps that rough sums cannot tell from none.
_ROUNDED = 1e-5
# Newton steps in K dimensions for one step under a KL term.
_PROXIMAL_STEPS = 40
# How often a search that found no way down begins again with everything exact.
_RESCUES = 2
# Up to this many domains every sweep is over all of them; beyond, over a working set.
_ALL_DOMAINS = 96
# Up to this many domains a Hessian over all of them is affordable where it must be.
_DENSE_DOMAINS = 1000


def _em(objective: Objective, limits: Limits, w: Vector, columns: Columns | None = None) -> Vector:
    """w after a few steps of expectation maximisation, w_k <- w_k * g_k / <g, w>, kept within the limits.

    Where one expert explains a row far better than the others, Newton's model of -log only ever doubles what the row is given, while
    these steps find the right order of magnitude at once. They are no good at the last digits.
    """
    if limits.groups is not None:
        return w
    least = np.where(w > 0.0, 1e-12, 0.0)
    for _ in range(_EM_STEPS):
        pull = -w * objective.sums(w, columns)[1]
        total = float(pull.sum())
        if not (0.0 < total < math.inf and pull.min() >= 0.0):
            break
        moved = simplex.project(np.maximum(pull / total, least), limits.low, limits.high)
        # The projection may take the whole of a small share, which rows (or the KL term) cannot do without.
        w = moved + 0.01 * (w - moved)
    return w


def _newton(
    objective: Objective,
    limits: Limits,
    columns: Columns | None,
    start: Vector,
    here: tuple[float, Vector] | None,
    tol: float,
    max_iter: int,
    trace: list[Step],
    began: float,
) -> Minimum:
    """Newton's method over the domains `columns`, everything else at zero; `here` is value and gradient at the start if known.

    The Hessian comes with the gradient, from as many rows as is worth it; the last is carried along by secant updates.
    """
    inside = limits.restrict(columns)
    w = start if columns is None else start[columns]
    unit = objective.total  # gaps are small or large beside it
    exact = False  # once things went wrong: everything from all rows
    slow = 0  # steps in a row that left more than half of the gap

    def sweep(w: Vector, gap: float, known: bool) -> tuple[float, Vector, Matrix | None, float]:
        """Value, gradient, Hessian if it came with them, and gap at w, after a step from a point with that gap."""
        detail = _detail(objective, w.size, gap / unit, known=known)
        if exact:
            detail = _Detail(1, False)
        elif slow > 1 and detail.hessian:
            detail = _Detail(1, detail.coarse)
        found = objective.sums(w, columns, hessian=detail.hessian, coarse=detail.coarse)
        new = inside.gap(found[1], w) if math.isfinite(found[1].dot(w)) else math.inf
        if detail.coarse and not _ROUNDED * unit <= new < math.inf:
            # Closer than rough sums can tell, or beyond what float holds.
            found = *objective.sums(w, columns)[:2], found[2]
            new = inside.gap(found[1], w) if math.isfinite(found[1].dot(w)) else math.inf
        return *found, new

    hessian: Matrix | None = None
    if here is None:
        value, gradient, hessian, gap = sweep(w, math.inf, False)
        trace.append(Step(objective.rows, w.size, value, gap, perf_counter() - began))
    else:
        value, gradient = here
        gap = inside.gap(gradient, w)
    steps = 0
    noise, rescued, before = 0.0, 0, math.inf
    trusted = False  # the Hessian is good enough to be carried along
    while gap + noise > tol and steps < max_iter:
        if slow and gap > max(_ROUGH * unit, 0.7 * before):
            slow, settled = 0, _em(objective, inside, w, columns)
            lower = sweep(settled, gap, False)
            # Under caps and floors these steps may lead uphill.
            if lower[0] < value:
                w, (value, gradient, hessian, gap) = settled, lower
                trace.append(Step(objective.rows, w.size, value, gap, perf_counter() - began))
        if hessian is None:
            hessian = sweep(w, gap, False)[2]
        if hessian is None:
            raise RuntimeError("a Newton step was asked for without a Hessian")
        # Far from the optimum no share may shrink more than tenfold in a step: a row may depend on it.
        allowed = inside.above(_KEEP * w) if gap > _ROUGH * unit else inside
        if inside.interior:
            allowed = inside.above((_KEEP if gap > _ROUGH * unit else _KEEP**2 if gap > _SOON * unit else 0.0) * w)
            direction = _proximal_step(objective, allowed, columns, hessian, gradient, w, 1e-4 * gap)
        else:
            direction = allowed.newton(hessian, gradient, w)
        # Shares sum to 1 but for rounding, of which a large common part of the gradient must not make a slope.
        level = float(gradient @ w)
        slope = float((gradient - level) @ direction)
        # A slope that is not negative is rounding. One more step is worth it as long as the gap falls: under a KL term the
        # last of it lies in shares that are all but 0.
        last = not slope < 0.0
        if last:
            slope = -_LEVEL * max(1.0, abs(value))
        length, stuck = 1.0, False
        for _ in range(40):
            w_new = inside.clip(w + length * direction)
            value_new, gradient_new, hessian_new, gap_new = sweep(w_new, gap, trusted)
            slope_new = float((gradient_new - level) @ direction)
            if math.isfinite(value_new) and math.isfinite(slope_new):
                # Past the least value by little, and not to a larger one: else two points may take turns for ever.
                rise = _RISE if gap <= _FAR * unit else _COARSE_RISE
                if slope_new <= -0.5 * slope and (slope_new <= 0.0 or value_new <= value + rise * abs(value)):
                    break
                # Secant step towards the zero of the slope.
                length *= min(max(slope / (slope - slope_new), 0.1), 0.7)
            else:
                length *= 0.25
        else:
            stuck = True
        if stuck or (last and not gap_new < gap):
            if rescued == _RESCUES:
                break
            # Above the tolerance and no way down: once more from here, in float64 and with the Hessian of all rows.
            objective, exact, rescued = objective.precise(), True, rescued + 1
            value, gradient, hessian, gap = sweep(w, gap, False)
            noise = 0.0
            continue
        if hessian_new is not None:
            hessian = hessian_new
        else:
            change = gradient_new - gradient
            if inside.interior:
                change -= objective.separable(w_new, columns)[0] - objective.separable(w, columns)[0]
            _secant_update(hessian, w_new - w, change)
        stalled = _NOISE * unit > gap_new > 0.5 * gap
        trusted = gap_new < 0.5 * gap
        slow = 0 if trusted else slow + 1
        before = gap
        w, value, gradient, gap = w_new, value_new, gradient_new, gap_new
        steps += 1
        noise = _noise(objective, hessian, w)
        if noise and (stalled or (noise > 0.5 * tol and gap < 5.0 * noise)):
            # float32's rounding is in the way: from here on in float64, starting with the gradient here.
            objective, noise = objective.precise(), 0.0
            value, gradient, _ = objective.sums(w, columns)
            gap = inside.gap(gradient, w)
        trace.append(Step(objective.rows, w.size, value, gap, perf_counter() - began))
    return Minimum(w, value, gradient, gap, trace, hessian, steps)


def _proximal_step(
    objective: Objective,
    limits: Limits,
    columns: Columns | None,
    hessian: Matrix,
    gradient: Vector,
    w: Vector,
    tol: float,
) -> Vector:
    """The step that minimises the rows' quadratic model plus the separable part as it is, by Newton's method in K dimensions.

    A quadratic model of w log w lets a share fall a hundredfold at best, where a KL term may want it at e^-30.
    """
    slope = objective.separable(w, columns)[0]
    v = w
    for _ in range(_PROXIMAL_STEPS):
        term, curve = objective.separable(v, columns)
        model = gradient + hessian @ (v - w) + (term - slope)
        if limits.gap(model, v) <= tol:
            break
        # A step's rounding may be more than a share.
        v = np.maximum(limits.clip(v + limits.newton(hessian + np.diag(curve), model, v)), limits.lowest(v))
    return v - w


def _noise(objective: Objective, hessian: Matrix, w: Vector) -> float:
    """What rounding may make of the gap: three standard deviations of the gradient where there are shares."""
    if objective.rounding(1.0) == 0.0:
        return 0.0
    return 3.0 * objective.rounding(float(np.diagonal(hessian)[w > 0.0].max()))


def _secant_update(hessian: Matrix, moved: Vector, change: Vector) -> None:
    """Damped BFGS: afterwards the Hessian maps `moved` to the observed `change` of the gradient (in place)."""
    image = hessian @ moved
    modelled, observed = float(moved @ image), float(moved @ change)
    if not modelled > 0.0:
        return
    if observed < 0.2 * modelled:
        blend = 0.8 * modelled / (modelled - observed)
        change = blend * change + (1.0 - blend) * image
        observed = 0.2 * modelled
    hessian += np.outer(change, change / observed) - np.outer(image, image / modelled)
