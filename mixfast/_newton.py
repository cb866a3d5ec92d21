"""The loop: Newton steps over a region, on the domains that matter, from small samples of the rows to all of them.

1. Solve on a sample of the rows that stays in cache, with exact Hessians.
2. On all rows take Newton steps with the sample's Hessian, corrected after each step by what the exact gradients show (BFGS).
3. Restrict both to the domains that have a share or want one; sweep all domains only to look for others and to certify.

The Frank-Wolfe gap ``<g, w> - min_{s in region} <g, s> >= L(w) - L*`` over all domains and all rows ends it. Steps are accepted by the
slope along them: L is convex, so a slope that has not changed sign means that L went down, at any precision.

References: Kim, Carbonetto, Stephens, Anitescu, "A fast algorithm for maximum likelihood estimation of mixture proportions using
sequential quadratic programming" (J. Comput. Graph. Stat. 29, 2020); Jaggi, "Revisiting Frank-Wolfe" (ICML 2013) for the gap;
Nocedal and Wright, "Numerical Optimization", procedure 18.2 for damped BFGS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._backend import core
from mixfast._objective import Columns, Matrix, Objective, Vector
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixfast.region import Region

# Rows of the samples on the way to all rows: one for the rough shape, one for the Hessian.
_COARSE_ROWS, _FINE_ROWS, _FINE_SHARE = 2048, 65536, 16
# Up to this many domains a level starts with all of them.
_ALL_DOMAINS = 96
# Domains added to the working set in one round.
_NEW_DOMAINS = 48


class Step(NamedTuple):
    """One line of a trace."""

    level: int  # rows looked at
    domains: int
    value: float
    gap: float
    seconds: float


@dataclass
class Limits:
    """A region over some of its domains: bounds, and general rows where there are any."""

    low: Vector
    high: Vector
    rows: Matrix | None = None
    rows_low: Vector | None = None
    rows_high: Vector | None = None
    active: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, dtype=np.int8))

    @classmethod
    def of(cls, region: Region) -> Limits:
        if not region.bounds:
            return cls(region.floor, region.cap)
        return cls(region.floor, region.cap, region.bound_rows, region.bound_lower, region.bound_upper)

    def restrict(self, columns: Columns | None) -> Limits:
        if columns is None:
            return self
        rows = None if self.rows is None else np.ascontiguousarray(self.rows[:, columns])
        return Limits(self.low[columns], self.high[columns], rows, self.rows_low, self.rows_high)

    def linear_min(self, gradient: Vector) -> Vector:
        """A vertex that minimises <gradient, s>."""
        if self.rows is None:
            return core.linear_min(gradient, self.low, self.high)
        from mixfast import _lp

        return _lp.minimise(gradient, self.low, self.high, self.rows, self.rows_low, self.rows_high)

    def gap(self, gradient: Vector, w: Vector) -> float:
        """Frank-Wolfe gap; not below 0 by more than rounding."""
        return max(float(gradient @ (w - self.linear_min(gradient))), 0.0)

    def newton(self, hessian: Matrix, gradient: Vector, w: Vector) -> Vector:
        """The step d that minimises g.d + d'Hd/2 within the limits."""
        if self.rows is None:
            if self.active.size != w.size:
                self.active = np.where(w <= self.low, -1, np.where(w >= self.high, 1, 0)).astype(np.int8)
            step, _, _ = core.qp(hessian, gradient, w, self.low, self.high, self.active)
            return step
        from mixfast import _qp

        return _qp.newton(hessian, gradient, w, self.low, self.high, self.rows, self.rows_low, self.rows_high)

    def clip(self, w: Vector) -> Vector:
        """w without the rounding that left it outside its bounds."""
        return np.minimum(np.maximum(w, self.low), self.high)


@dataclass
class Minimum:
    """Where a minimisation stands."""

    w: Vector
    value: float
    gradient: Vector
    gap: float
    trace: list[Step]
    hessian: Matrix | None = None
    steps: int = 0


def minimise(objective: Objective, limits: Limits, w: Vector, *, tol: float, max_iter: int = 200) -> Minimum:
    """Minimise over the limits to a Frank-Wolfe gap of `tol`, starting from samples of the rows where there are many."""
    began = perf_counter()
    trace: list[Step] = []
    curvature: Objective | None = None
    if objective.rows > 4 * _COARSE_ROWS:
        fine = min(_FINE_ROWS, objective.rows // _FINE_SHARE)
        levels = [_COARSE_ROWS, fine] if fine > 4 * _COARSE_ROWS else [fine]
        for rows in levels:
            curvature = objective.sample(rows)
            # A sample's optimum is off by about (domains / rows) nats; solving it closer than that buys nothing.
            w = _working_set(curvature, None, limits, w, 1e-2 / rows, 30, trace, began).w
    return _working_set(objective, curvature, limits, w, tol, max_iter, trace, began)


def _working_set(
    objective: Objective,
    curvature: Objective | None,
    limits: Limits,
    w: Vector,
    tol: float,
    max_iter: int,
    trace: list[Step],
    began: float,
) -> Minimum:
    """Minimise over a growing set of domains until a sweep of all of them certifies the gap.

    `curvature` is a sample that supplies Hessians; None: `objective` supplies its own.
    """
    K = objective.columns
    restricted = curvature is not None or K > _ALL_DOMAINS
    out = Minimum(w, math.inf, w, math.inf, trace)
    previous = math.inf
    columns: Columns | None = None
    while True:
        if restricted or out.steps == 0:
            value, gradient, _ = objective.sums(out.w)
            gap = limits.gap(gradient, out.w)
            out = Minimum(out.w, value, gradient, gap, trace, out.hessian, out.steps)
            trace.append(Step(objective.rows, K, value, gap, perf_counter() - began))
        if out.gap <= tol or out.steps >= max_iter or (gap >= 0.9 * previous and out.steps > 30):
            return out
        previous = gap
        columns = _choose(limits, gradient, out.w, columns) if restricted else None
        # Leave room below tol for what the other domains still add to the gap.
        inner = _newton(objective, curvature, limits, columns, out.w, 0.5 * tol if restricted else tol, max_iter - out.steps, trace, began)
        out = Minimum(out.w, inner.value, inner.gradient, inner.gap, trace, inner.hessian, out.steps + max(inner.steps, 1))
        if columns is None:
            out.w = inner.w
        else:
            out.w = np.zeros(K)
            out.w[columns] = inner.w
        if not restricted and (inner.steps == 0 or out.gap <= tol):
            return out


def _choose(limits: Limits, gradient: Vector, w: Vector, before: Columns | None) -> Columns | None:
    """Domains that have a share, and those that most want one."""
    if w.size <= 16 and before is None:
        return None
    has = w > 0.0
    # At a solution the gradient is level over the domains between their bounds; those below it want a larger share.
    level = float(gradient[has & (w < limits.high)].max(initial=-math.inf))
    room = np.flatnonzero(~has & (limits.high > 0.0))
    price = gradient[room] if limits.rows is None else gradient[room] - 0.0
    wanting = room[price < level] if np.isfinite(level) else room
    if wanting.size > _NEW_DOMAINS:
        wanting = wanting[np.argpartition(gradient[wanting], _NEW_DOMAINS)[:_NEW_DOMAINS]]
    chosen = has.copy()
    chosen[wanting] = True
    if limits.rows is not None and not chosen.all():
        chosen |= limits.linear_min(gradient) > 0.0
    return None if chosen.all() else np.flatnonzero(chosen).astype(np.int32)


def _newton(
    objective: Objective,
    curvature: Objective | None,
    limits: Limits,
    columns: Columns | None,
    start: Vector,
    tol: float,
    max_iter: int,
    trace: list[Step],
    began: float,
) -> Minimum:
    """Newton's method over the domains `columns`, everything else at zero."""
    inside = limits.restrict(columns)
    w = start if columns is None else start[columns]
    exact = curvature is None
    value, gradient, hessian = objective.sums(w, columns, hessian=exact)
    if curvature is not None:
        hessian = curvature.sums(w, columns, hessian=True)[2]
    gap = inside.gap(gradient, w)
    steps = 0
    while gap > tol and steps < max_iter:
        direction = inside.newton(hessian, gradient, w)
        slope = float(gradient @ direction)
        if not slope < 0.0:
            break
        length = 1.0
        for _ in range(40):
            w_new = inside.clip(w + length * direction)
            value_new, gradient_new, hessian_new = objective.sums(w_new, columns, hessian=exact)
            slope_new = float(gradient_new @ direction)
            if math.isfinite(value_new) and math.isfinite(slope_new):
                if slope_new <= -0.5 * slope:
                    break
                # Secant step towards the zero of the slope.
                length *= min(max(slope / (slope - slope_new), 0.1), 0.7)
            else:
                length *= 0.25
        else:
            break
        gap_new = inside.gap(gradient_new, w_new)
        if exact:
            hessian = hessian_new
        else:
            _secant_update(hessian, w_new - w, gradient_new - gradient)
        w, value, gradient, gap = w_new, value_new, gradient_new, gap_new
        steps += 1
        trace.append(Step(objective.rows, w.size, value, gap, perf_counter() - began))
    return Minimum(w, value, gradient, gap, trace, hessian, steps)


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
