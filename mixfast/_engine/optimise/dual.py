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
from dataclasses import replace
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.objectives.base import Columns, Matrix, Objective, Regularised, Sums, Vector
from mixfast._engine.optimise.newton import Limits, Minimum, Step, minimise
from mixfast.errors import InfeasibleError, listing
from mixfast.region import Region
from mixfast.solver._multipliers import Multipliers, _level, _under_bounds

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


class Exponentials(Objective):
    """``sum_j exp(log_weight_j + a_j.w) + linear.w + constant``, convex; J rows of K slopes.

    Parameters
    ----------
    a : (J, K) float64
    log_weight : (J,) float64
    linear : (K,) float64
    constant : float
    """

    def __init__(self, a: Matrix, log_weight: Vector, linear: Vector, constant: float) -> None:
        self.a, self.log_weight, self.linear, self.constant = np.ascontiguousarray(a), log_weight, linear, constant
        self.rows, self.columns = max(a.shape[0], 1), a.shape[1]

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        a, linear = (self.a, self.linear) if columns is None else (self.a[:, columns], self.linear[columns])
        e = np.exp(self.log_weight + a @ w)
        value = float(e.sum() + linear @ w) + self.constant
        return value, e @ a + linear, (a.T * e) @ a if hessian else None

    def losses(self, mixtures: Matrix) -> Vector:
        with np.errstate(over="ignore"):  # a steep law is infinite where nobody would go
            e = np.exp(mixtures @ self.a.T + self.log_weight)
        return e.sum(axis=1) + mixtures @ self.linear + self.constant

    def restrict(self, columns: Columns | None) -> Exponentials:
        """The same over some of the domains, the others having no share."""
        if columns is None:
            return self
        return Exponentials(self.a[:, columns], self.log_weight, self.linear[columns], self.constant)


def confine(region: Region, kl: float) -> tuple[Region, Columns | None]:
    """The region with the domains that the KL term forbids at 0, and the domains that may have a share (None: all)."""
    reach = region.reachable
    if kl > 0.0 and not region.prior.all():
        lost = reach & (region.prior <= 0.0)
        held = [region.domains[k] for k in np.flatnonzero(lost & (region.floor > 0.0))]
        if held:
            raise InfeasibleError(
                f"with kl > 0 a domain of prior 0 cannot have a share, but {listing(held)} must have one: "
                "give it a prior, or remove its floor"
            )
        if lost.any():
            names = [region.domains[k] for k in np.flatnonzero(lost)]
            try:
                region = region.replace(cap=np.where(lost, 0.0, region.cap))
            except InfeasibleError as error:
                raise InfeasibleError(
                    f"with kl > 0 a domain of prior 0 cannot have a share, and without {listing(names)} the region is empty: {error}"
                ) from None
            reach = region.reachable
    return region, None if reach.all() else np.flatnonzero(reach).astype(np.int32)


def limits_of(region: Region, usable: Columns | None, kl: float) -> Limits:
    """The region over its usable domains, as the shared loop takes it."""
    return replace(Limits.of(region).restrict(usable), interior=kl > 0.0)


def inner_point(region: Region, usable: Columns | None, near: Vector) -> Vector:
    """A mixture (K,) of the region close to `near`, in which every usable domain has a share."""
    w = region.project(near)
    reach = np.ones(w.size, dtype=bool)
    if usable is not None:
        reach[:] = False
        reach[usable] = True
    missing = np.flatnonzero(reach & (w <= 0.0))
    if missing.size:
        centre = region.project(np.where(reach, 1.0 / np.count_nonzero(reach), 0.0))
        points = [centre]
        for k in missing[centre[missing] <= 0.0]:
            cost = np.zeros(w.size)
            cost[k] = -1.0
            points.append(region.linear_min(cost))
        w = 0.9 * w + 0.1 * np.mean(points, axis=0)
    return w


def solve_exact(
    objective: Exponentials,
    region: Region,
    usable: Columns | None,
    *,
    kl: float,
    start: Vector | None,
    tol: float,
    max_iter: int = 200,
) -> Minimum:
    """Minimise to a Frank-Wolfe gap of `tol`, in the units of the metrics; the minimum is over the usable domains.

    `start` (K,) is a mixture of the region, None for the prior. Where the objective's value is above 1, so is the gap's unit.
    """
    here = region.prior if start is None else start
    unit = max(1.0, abs(float(objective.losses(here[None, :])[0])))
    for _ in range(_UNITS):
        found = _solve(objective, region, usable, kl, start, tol * unit, max_iter)
        actual = max(1.0, abs(found.value))
        if found.gap <= tol * actual or found.gap > tol * unit:
            break
        unit, start = actual, np.zeros(region.n_domains)
        start[slice(None) if usable is None else usable] = found.w
    return found


def _solve(
    objective: Exponentials,
    region: Region,
    usable: Columns | None,
    kl: float,
    start: Vector | None,
    tol: float,
    max_iter: int,
) -> Minimum:
    inside = objective.restrict(usable)
    chosen = slice(None) if usable is None else usable
    prior, low, high = region.prior[chosen], region.floor[chosen], region.cap[chosen]
    metrics, domains = inside.a.shape
    dual = kl > 0.0 and not region.bounds and metrics <= max(_MANY_METRICS, domains)
    best: Minimum | None = None
    # Newton's method in the smaller of the two spaces goes first.
    if dual and domains >= metrics:
        near = start
        if near is None:
            near = region.prior if ((prior <= high) & (prior >= low)).all() else region.project(region.prior)
        best = _dual(inside, kl, prior, low, high, near[chosen], tol)
        if best.gap <= tol:
            return best
    near = inner_point(region, usable, region.prior if start is None else start)[chosen]
    if best is not None:
        near = 0.99 * best.w + 0.01 * near
    loss: Objective = Regularised(inside, kl, prior) if kl > 0.0 else inside
    found = minimise(loss, limits_of(region, usable, kl), np.ascontiguousarray(near), tol=tol, max_iter=max_iter)
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


def prices(region: Region, usable: Columns | None, gradient: Vector) -> Multipliers:
    """Multipliers of the region's limits at an optimum with this gradient (K,), -inf or nan where there is none."""
    low, high = region.floor, region.cap
    known = np.isfinite(gradient)
    cost = np.where(known, gradient, 0.0)
    high = np.where(known, high, low)
    if region.bounds:
        may: NDArray[np.bool_] = np.ones(low.size, dtype=bool)
        if usable is not None:
            may[:] = False
            may[usable] = True
        over, price = _under_bounds(cost, low, high, region, known & (high > low) & ~may)
    else:
        price = np.zeros(0)
        over = _level(cost, low, high) - cost
    over = np.where(known, over, 0.0)
    lower, upper = np.maximum(price, 0.0), np.maximum(-price, 0.0)
    if price.size:
        lower[np.isneginf(region.bound_lower)] = 0.0
        upper[np.isposinf(region.bound_upper)] = 0.0
    return Multipliers(np.maximum(over, 0.0), np.maximum(-over, 0.0), lower, upper)
