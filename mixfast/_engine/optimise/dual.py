"""The exact proposal: ``sum_j omega_j exp(a_j.w) + b.w + kl * KL(w || prior)`` over a region, in as many unknowns as metrics.

With a KL term and limits on single domains the optimal shares for given slopes are known in closed form,
``w_k = clip(c * prior_k * exp(-g_k / kl))`` with one number c for all domains. What is left is the value z_j of each of the J exponents:
``z = log omega + A w(A' e^z + b)``, solved by Newton's method on the concave dual, J unknowns whatever the number of domains. Everything
else (no KL term, limits on groups of domains, a dual that does not settle) goes through the loop that all solvers share. Either way the
Frank-Wolfe gap at the final shares is what certifies them.

Reference: Chen et al., "Olmix" (arXiv 2602.12237), which states the problem and hands it to a general conic solver.
"""

from __future__ import annotations

import math
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.base import Objective
from mixfast._engine.objectives.exponentials import Exponentials
from mixfast._engine.objectives.kl import Regularised
from mixfast._engine.optimise.trace import Minimum, Step
from mixfast._engine.optimise.working_set import minimise
from mixfast.region import Reach

# Steps of the dual Newton method, halvings of a step, and passes for the one number that makes shares sum to 1.
_STEPS, _HALVINGS, _PASSES = 60, 30, 100
# A sufficient rise of the dual, and the part of its value that is rounding.
_ARMIJO, _ROUNDING = 1e-4, 1e-13
# Exponents known to this are worth the certificate's sweep.
_CLOSE = 1e-4
# How often the unit of the gap may turn out smaller than it looked at the start.
_UNITS = 4
# More metrics than this, and than domains, cost more in the dual than in the domains.
_MANY_METRICS = 400
# The rounding of a sum of shares, and of limits that leave no choice.
_SUM, _LIMITS = 1e-15, 1e-9
_TINY = 1e-300
# How far past the level at which a share comes free the search goes, so that rounding does not hold it back.
_NUDGE = 1e-6


class _Dual(NamedTuple):
    """What exponents z stand for."""

    y: Vector  # e^z, (J,)
    w: Vector  # the shares best for the slopes A' y + b, (K,)
    free: NDArray[np.bool_]  # between their limits
    there: Vector  # the exponents at those shares, (J,)
    level: float  # that makes the shares sum to 1
    log: Vector  # log of the free shares, those that float64 takes for 0 included
    value: float  # of the dual: no mixture has a smaller objective


def solve_exact(
    objective: Exponentials, reach: Reach, *, kl: float, start: Vector | None, tol: float, max_iter: int = 200
) -> Minimum:
    """Minimise to a Frank-Wolfe gap of `tol`, in the units of the metrics; the minimum is over the usable domains.

    `start` (K,) is a mixture of the region, None for the prior. Where the objective's value is above 1, so is the gap's unit.
    """
    here = reach.region.prior if start is None else start
    unit = max(1.0, abs(float(objective.losses(here[None, :])[0])))
    for _ in range(_UNITS):
        found = _solve(objective, reach, kl, start, tol * unit, max_iter)
        actual = max(1.0, abs(found.value))
        if found.gap <= tol * actual or found.gap > tol * unit:
            break
        unit, start = actual, reach.spread(found.w)
    return found


def _solve(
    objective: Exponentials, reach: Reach, kl: float, start: Vector | None, tol: float, max_iter: int
) -> Minimum:
    region, inside = reach.region, objective.restrict(reach.usable)
    prior, low, high = reach.prior, reach.limits.low, reach.limits.high
    metrics, domains = inside.a.shape
    dual = kl > 0.0 and not region.bounds and metrics <= max(_MANY_METRICS, domains)
    best: Minimum | None = None
    # Newton's method in the smaller of the two spaces goes first.
    if dual and domains >= metrics:
        near = start
        if near is None:
            near = region.prior if ((prior <= high) & (prior >= low)).all() else region.project(region.prior)
        best = _dual(inside, kl, prior, low, high, reach.restrict(near), tol)
        if best.gap <= tol:
            return best
    near = reach.restrict(reach.inner_point(region.prior if start is None else start))
    if best is not None:
        near = 0.99 * best.w + 0.01 * near
    loss: Objective = Regularised(inside, kl, prior) if kl > 0.0 else inside
    found = minimise(loss, reach.limits, np.ascontiguousarray(near), tol=tol, max_iter=max_iter)
    if found.gap > tol and dual and best is None:
        best = _dual(inside, kl, prior, low, high, found.w, tol)
    return found if best is None or found.gap <= best.gap else best


def _shares(t: Vector, low: Vector, high: Vector, level: float) -> tuple[Vector, NDArray[np.bool_], float] | None:
    """Shares ``clip(exp(t + level), low, high)`` that sum to 1, which of them are free, and the level, by Newton from `level`.

    In exp(level) their sum is piecewise linear and increasing. None where it does not settle.
    """
    below, above = -math.inf, math.inf
    for _ in range(_PASSES):
        # Shares are at most 1: nothing above matters, and nothing must overflow.
        x = np.exp(np.minimum(t + level, 1.0))
        w = np.minimum(np.maximum(x, low), high)
        free = x == w
        excess = float(w.sum()) - 1.0
        room = float(x @ free)
        if abs(excess) <= _SUM:
            return w, free, level
        if excess > 0.0:
            above = level
        else:
            below = level
        if room > max(excess, _TINY):
            new = level + math.log1p(-excess / room)
        elif excess > 0.0:
            # The nearest limit below, at which another share comes free.
            new = float((np.log(np.maximum(high, _TINY)) - t)[x > high].max(initial=-math.inf)) - _NUDGE
        else:
            new = float((np.log(np.maximum(low, _TINY)) - t)[w < high].min(initial=math.inf)) + _NUDGE
        if not below < new < above:
            if not (math.isfinite(below) and math.isfinite(above)):
                # All shares at their caps and still too little, or at their floors and too much, is the rounding of the limits.
                return (w, free, level) if abs(excess) <= _LIMITS else None
            new = 0.5 * (below + above)
        if new in (level, below, above):
            # A level of thousands has digits enough for shares only up to its rounding.
            if room > _TINY:
                w = np.where(free, np.minimum(np.maximum(w * (1.0 - excess / room), low), high), w)
            return w, free, level
        level = new
    return None


def _first_level(t: Vector, high: Vector) -> float:
    """The level at which ``min(exp(t + level), high)`` sums to 1, but for what is lost to float64's range."""
    top = float(t.max())
    e = np.exp(t - top)
    # In the order in which shares reach their caps; all before i are capped once share i is.
    order = np.argsort(high / np.maximum(e, _TINY))
    e, high = e[order], high[order]
    capped = np.cumsum(high) - high
    rest = np.cumsum(e[::-1])[::-1]
    full = capped + high / np.maximum(e, _TINY) * rest >= 1.0
    i = int(full.argmax()) if full[-1] else full.size - 1
    return math.log(max((1.0 - float(capped[i])) / max(float(rest[i]), _TINY), _TINY)) - top


def _dual(
    objective: Exponentials, kl: float, prior: Vector, low: Vector, high: Vector, start: Vector, tol: float
) -> Minimum:
    """Newton's method on the exponents z (J,); its best shares with their gap, whatever that is."""
    began = perf_counter()
    a, s, linear = objective.a, objective.log_weight, objective.linear
    log_prior = np.log(prior)
    limits = Limits(low, high, interior=True)
    trace: list[Step] = []
    z = s + a @ start
    size = z.size

    def at(z: Vector, level: float) -> _Dual | None:
        y = np.exp(z)
        t = log_prior - (y @ a + linear) / kl
        if math.isinf(level):
            level = _first_level(t, high)
        found = _shares(t, low, high, level)
        if found is None:
            return None
        w, free, level = found
        there = s + a @ w
        cost = kl * float(w @ (np.log(np.maximum(w, _TINY)) - log_prior)) + float(linear @ w)
        return _Dual(y, w, free, there, level, t + level, float(y @ (1.0 - z + there)) + cost)

    best = Minimum(start, math.inf, linear, math.inf, trace)
    with np.errstate(over="ignore", invalid="ignore"):
        here = at(z, math.inf)
        for step in range(_STEPS):
            if here is None or not math.isfinite(here.value):
                return best
            y, w, free = here.y, here.w, here.free
            rest = here.there - z
            if float(np.abs(rest).max(initial=0.0)) <= _CLOSE:
                found = _certify(objective, limits, kl, log_prior, w, here.log)
                trace.append(Step(size, w.size, found[0], found[2], perf_counter() - began))
                if found[2] < best.gap:
                    best = Minimum(w, found[0], found[1], found[2], trace, None, step)
                if found[2] <= tol:
                    return best
            # Where shares are free they answer a change of the pull by -C / kl, C = diag(w) - w w' / sum(w).
            loose = w * free
            half, root = np.sqrt(loose), np.sqrt(y)
            block = a * half
            block *= (root / math.sqrt(kl))[:, None]
            matrix = block @ block.T
            total = float(loose.sum())
            if total > 0.0:
                mean = block @ half
                matrix -= mean[:, None] * (mean / total)
            matrix.flat[:: size + 1] += 1.0
            dy = root * np.linalg.solve(matrix, root * rest)
            slope = float(rest @ dy)
            if not slope > 0.0:
                break
            move, length = dy / y, 1.0
            rounding = _ROUNDING * max(1.0, abs(here.value))
            for _ in range(_HALVINGS):
                new = at(z + length * move, here.level)
                if new is not None and new.value >= here.value + _ARMIJO * length * slope - rounding:
                    break
                length *= 0.5
            else:
                break
            z, here = z + length * move, new
    return best


def _certify(
    objective: Exponentials, limits: Limits, kl: float, log_prior: Vector, w: Vector, log: Vector
) -> tuple[float, Vector, float]:
    """Value, gradient and Frank-Wolfe gap at shares w.

    Where a share is too small for float64, `log` has its logarithm. That the objective's slope at 0 is infinite matters only to
    shares below that, where there is less to gain than float64 can hold.
    """
    value, gradient, _ = objective.sums(w)
    log = np.where(w > 0.0, np.log(np.maximum(w, _TINY)), log) - log_prior
    gradient = gradient + kl * (log + 1.0)
    return value + kl * float(w @ log), gradient, limits.gap(gradient, w)
