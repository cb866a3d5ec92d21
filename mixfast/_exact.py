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

import numpy as np
from numpy.typing import NDArray

from mixfast._multipliers import Multipliers, _level, _under_bounds
from mixfast._newton import Limits, Minimum, Step, minimise
from mixfast._objective import Columns, Matrix, Objective, Regularised, Sums, Vector
from mixfast.errors import InfeasibleError, listing
from mixfast.region import Region

# Steps of the dual Newton method, halvings of a step, and passes for the one number that makes shares sum to 1.
_STEPS, _HALVINGS, _PASSES = 60, 30, 100
# A sufficient rise of the dual, and the part of its value that is rounding.
_ARMIJO, _ROUNDING = 1e-4, 1e-13
# Exponents known to this are worth the certificate's sweep.
_CLOSE = 1e-3
# More metrics than this, and than domains, cost more in the dual than in the domains.
_MANY_METRICS = 400


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

    `start` (K,) is a mixture of the region, None for the prior.
    """
    inside = objective.restrict(usable)
    prior = region.prior if usable is None else region.prior[usable]
    first: Vector | None = None
    if kl > 0.0 and not region.bounds and inside.a.shape[0] <= max(_MANY_METRICS, inside.columns):
        low, high = (region.floor, region.cap) if usable is None else (region.floor[usable], region.cap[usable])
        near = start
        if near is None:
            near = region.prior if ((prior <= high) & (prior >= low)).all() else region.project(region.prior)
        found = _dual(inside, kl, prior, low, high, near if usable is None else near[usable], tol)
        if found.gap <= tol:
            return found
        first = np.zeros(region.n_domains)
        first[slice(None) if usable is None else usable] = found.w
    near = inner_point(region, usable, region.prior if start is None else start)
    if first is not None:
        near = 0.99 * first + 0.01 * near
    limits = limits_of(region, usable, kl)
    loss: Objective = Regularised(inside, kl, prior) if kl > 0.0 else inside
    return minimise(
        loss, limits, np.ascontiguousarray(near if usable is None else near[usable]), tol=tol, max_iter=max_iter
    )


def _shares(et: Vector, low: Vector, high: Vector, scale: float) -> tuple[Vector, Vector, float] | None:
    """Shares ``clip(scale * et, low, high)`` that sum to 1, where they are free, and the scale, by Newton from `scale`.

    The sum is piecewise linear and increasing in the scale. None where no float64 scale will do.
    """
    below, above = 0.0, math.inf
    for _ in range(_PASSES):
        x = scale * et
        clipped = np.minimum(np.maximum(x, low), high)
        free = x == clipped
        room = et @ free
        excess = float(clipped.sum()) - 1.0
        if abs(excess) <= 4e-16 * low.size**0.5:
            return clipped, free, scale
        if excess > 0.0:
            above = scale
        else:
            below = scale
        if not room > 0.0:
            # Every share is at a limit: the next breakpoint on the side that is wanted.
            if excess > 0.0:
                edge = low if low.any() else high
                scale = float((np.maximum(edge, high * (x > high))[et > 0.0] / et[et > 0.0]).max()) * (1.0 - 1e-12)
                scale = min(scale, 0.5 * (below + above)) if math.isfinite(above) else scale
            else:
                scale = 2.0 * scale
            if not (math.isfinite(scale) and scale > 0.0):
                return None
            continue
        new = scale - excess / room
        if not below < new < above:
            if new in (below, above):
                return clipped, free, scale
            new = 0.5 * (below + above) if math.isfinite(above) else 2.0 * scale
        if new == scale:
            return clipped, free, scale
        scale = new
        if not math.isfinite(scale):
            return None
    return None


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
    identity = np.eye(z.size)

    def at(z: Vector, scale: float) -> tuple[Vector, Vector, Vector, Vector, float, float] | None:
        """e^z, the shares best for it, where they are free, the exponents there, the scale, and the dual's value."""
        y = np.exp(z)
        pull = y @ a + linear
        t = log_prior - pull / kl
        et = np.exp(t - t.max())
        found = _shares(et, low, high, scale if scale > 0.0 else 1.0 / float(et.sum()))
        if found is None:
            return None
        w, free, scale = found
        there = s + a @ w
        # kl * w log(w / prior), a share of 0 costing nothing.
        with np.errstate(divide="ignore", invalid="ignore"):
            cost = kl * float(np.where(w > 0.0, w * (np.log(w) - log_prior), 0.0).sum())
        return y, w, free, there, scale, float(y @ (1.0 - z + there)) + float(linear @ w) + cost

    best = Minimum(start, math.inf, linear, math.inf, trace)
    with np.errstate(over="ignore", invalid="ignore"):
        here = at(z, 0.0)
        for step in range(_STEPS):
            if here is None or not math.isfinite(here[-1]):
                return best
            y, w, free, there, scale, value = here
            rest = there - z
            if float(np.abs(rest).max(initial=0.0)) <= _CLOSE:
                found = _certify(objective, limits, kl, log_prior, w)
                trace.append(Step(z.size, w.size, found[0], found[2], perf_counter() - began))
                if found[2] < best.gap:
                    best = Minimum(w, found[0], found[1], found[2], trace, None, step)
                if found[2] <= tol:
                    return best
            # Where shares are free they answer a change of the pull by -C / kl, C = diag(w) - w w' / sum(w).
            root = np.sqrt(y)
            spread = (a * np.where(free, w, 0.0)) if not free.all() else a * w
            mean = spread.sum(axis=1)
            total = float(w @ free)
            matrix = spread @ a.T
            if total > 0.0:
                matrix -= np.outer(mean, mean / total)
            matrix *= np.outer(root, root / kl)
            matrix += identity
            dy = root * np.linalg.solve(matrix, root * rest)
            slope = float(rest @ dy)
            # One more step is worth it as long as the dual's slope can be told from rounding.
            if not slope > 0.0:
                break
            move, length = dy / y, 1.0
            for _ in range(_HALVINGS):
                new = at(z + length * move, scale)
                if new is not None and new[-1] >= value + _ARMIJO * length * slope - _ROUNDING * max(1.0, abs(value)):
                    break
                length *= 0.5
            else:
                break
            z, here = z + length * move, new
    return best


def _certify(
    objective: Exponentials, limits: Limits, kl: float, log_prior: Vector, w: Vector
) -> tuple[float, Vector, float]:
    """Value, gradient and Frank-Wolfe gap at shares w; infinite where a share is 0, which the KL term does not want."""
    value, gradient, _ = objective.sums(w)
    if not w.all():
        return value, gradient, math.inf
    log = np.log(w) - log_prior
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
