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
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import core
from mixfast._engine.objectives.base import Columns, Matrix, Objective, Vector

if TYPE_CHECKING:
    from mixfast.region import Region

# A share this close to its bound is at it.
_ROUNDING = 4e-16
# A share that must not be 0 need not be less.
_LEAST = 1e-100
# A slope of this share of the value is none.
_LEVEL = 1e-15
# A value that is larger by this share of itself is larger, at any precision of the probabilities.
_RISE, _COARSE_RISE = 1e-8, 1e-6
# Gaps below this share of the rows' total weight may be rounding noise of float32 probabilities.
_NOISE = 1e-6
# Rows of the sample on which the search begins, and the elements it may have whatever the table.
_SAMPLE_ROWS, _SAMPLE_ELEMENTS = 8192, 4 << 20


def _sample_rows(rows: int, domains: int) -> int:
    """Rows of the sample: few enough to stay in cache, and at most 1/20 of a table of thousands of domains."""
    return min(_SAMPLE_ROWS, max(rows // 20, _SAMPLE_ELEMENTS // domains))


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
# Rounds without progress, close to the optimum, after which the working set is given up on.
_VAIN_ROUNDS = 3
# Domains added to the working set in one round.
_NEW_DOMAINS = 64


class Step(NamedTuple):
    """One line of a trace."""

    rows: int  # rows looked at
    domains: int
    value: float
    gap: float
    seconds: float


class GroupLimits(NamedTuple):
    """``low <= rows @ w <= high``, (B, K) and (B,)."""

    rows: Matrix
    low: Vector
    high: Vector


@dataclass
class Limits:
    """A region over some of its domains: bounds, and limits on groups of domains where there are any.

    `interior`: shares must not reach 0 on the way, because the objective's slope is infinite there (KL).
    """

    low: Vector
    high: Vector
    groups: GroupLimits | None = None
    interior: bool = False
    total: float = 1.0
    active: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, dtype=np.int8))

    @classmethod
    def of(cls, region: Region) -> Limits:
        if not region.bounds:
            return cls(region.floor, region.cap)
        return cls(region.floor, region.cap, GroupLimits(region.bound_rows, region.bound_lower, region.bound_upper))

    def restrict(self, columns: Columns | None) -> Limits:
        if columns is None:
            return self
        groups = self.groups and self.groups._replace(rows=np.ascontiguousarray(self.groups.rows[:, columns]))
        return Limits(self.low[columns], self.high[columns], groups, self.interior)

    def above(self, floor: Vector) -> Limits:
        """The same limits with floors raised to `floor`."""
        return Limits(np.maximum(self.low, floor), self.high, self.groups, self.interior)

    def linear_min(self, gradient: Vector) -> Vector:
        """A vertex that minimises <gradient, s>."""
        if self.groups is None:
            return core.linear_min(gradient, self.low, self.high)
        from mixfast._engine.geometry import lp

        return lp.minimise(gradient, self.low, self.high, *self.groups, self.total)

    def gap(self, gradient: Vector, w: Vector) -> float:
        """Frank-Wolfe gap over the limits, moved to where w is beyond them by rounding: that may be worth a lot of the rest."""
        return max(float(gradient @ (w - self.around(w).linear_min(gradient))), 0.0)

    def around(self, w: Vector) -> Limits:
        """The least enlargement that holds w, where there are limits on groups: single ones are kept to the last bit."""
        if self.groups is None:
            return self
        inside = self.groups.rows @ w
        groups = GroupLimits(
            self.groups.rows, np.minimum(self.groups.low, inside), np.maximum(self.groups.high, inside)
        )
        return Limits(np.minimum(self.low, w), np.maximum(self.high, w), groups, total=math.fsum(w))

    def newton(self, hessian: Matrix, gradient: Vector, w: Vector) -> Vector:
        """The step d that minimises g.d + d'Hd/2 within the limits."""
        low = self.lowest(w)
        if self.groups is None:
            if self.active.size != w.size:
                self.active = np.where(w <= self.low, -1, np.where(w >= self.high, 1, 0)).astype(np.int8)
            step, _, _ = core.qp(hessian, gradient, w, low, self.high, self.active)
            return step
        from mixfast._engine.geometry import qp

        return qp.newton(hessian, gradient, w, low, self.high, *self.groups)

    def lowest(self, w: Vector) -> Vector:
        """Lower bounds of a step from w: the region's, or a hundredth of w where shares must not reach 0."""
        return np.maximum(self.low, np.maximum(0.01 * w, _LEAST)) if self.interior else self.low

    def clip(self, w: Vector) -> Vector:
        """w with the shares that rounding left outside a bound, or next to it, put on it."""
        if self.interior:
            return np.minimum(np.maximum(w, self.low), self.high)
        w = np.where(w - self.low <= _ROUNDING, self.low, w)
        return np.where(self.high - w <= _ROUNDING, self.high, w)


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


# What is beyond floating point on the way is seen and avoided, not warned of.
@np.errstate(invalid="ignore", over="ignore")
def minimise(objective: Objective, limits: Limits, w: Vector, *, tol: float, max_iter: int = 200) -> Minimum:
    """Minimise over the limits to a Frank-Wolfe gap of `tol`, starting from a sample of the rows where there are many."""
    began = perf_counter()
    trace: list[Step] = []
    count = _sample_rows(objective.rows, w.size)
    sample = objective.sample(count) if objective.rows >= 4 * count else objective
    # Where experts are further apart than exp reaches, a row may need a domain that a sparse start leaves out.
    apart = getattr(objective, "shift", False) and w.size <= _DENSE_DOMAINS
    if w.size > _ALL_DOMAINS and np.count_nonzero(w) > _ALL_DOMAINS and not limits.interior and not apart:
        w = _sparse_start(sample, limits, w)
    w = _em(sample, limits, w)
    if sample is not objective:
        # A sample's optimum is off by about (domains / rows) nats; solving it closer than that buys nothing.
        w = _working_set(sample, limits, w, max(1e-1 / count * sample.total, tol), 30, trace, began).w
    return _working_set(objective, limits, w, tol, max_iter, trace, began)


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
        moved = core.project(np.maximum(pull / total, least), limits.low, limits.high)
        # The projection may take the whole of a small share, which rows (or the KL term) cannot do without.
        w = moved + 0.01 * (w - moved)
    return w


def _working_set(
    objective: Objective,
    limits: Limits,
    w: Vector,
    tol: float,
    max_iter: int,
    trace: list[Step],
    began: float,
) -> Minimum:
    """Minimise over a growing set of domains until a sweep of all of them certifies the gap."""
    if objective.columns <= _ALL_DOMAINS:
        return _newton(objective, limits, None, w, None, tol, max_iter, trace, began)
    steps = 0
    previous, target, noise, vain = math.inf, math.inf, 0.0, 0
    inside, columns = limits, None
    while True:
        value, gradient, _ = objective.sums(w)
        gap = limits.gap(gradient, w)
        # A gap of its own on domains that were just solved closer than that is float32's rounding.
        solved = gap if columns is None else inside.gap(gradient[columns], w[columns])
        if gap > tol and solved > 2.0 * target and objective.precise() is not objective:
            objective, noise, previous, target = objective.precise(), 0.0, math.inf, math.inf
            continue
        trace.append(Step(objective.rows, w.size, value, gap, perf_counter() - began))
        if gap <= tol and noise:
            objective, noise = objective.precise(), 0.0
            continue
        # A round may raise the gap, by domains that come in; several without a lower one are the end of what rounding allows.
        vain = vain + 1 if gap >= 0.9 * previous and gap < _NOISE * objective.total else 0
        if gap <= tol or steps >= max_iter or vain == _VAIN_ROUNDS:
            return Minimum(w, value, gradient, gap, trace, None, steps)
        previous = min(gap, previous)
        columns = _choose(limits, gradient, w)
        inside = limits.restrict(columns)
        here: tuple[float, Vector] | None = (value, gradient) if columns is None else (value, gradient[columns])
        if gap > _ROUGH * objective.total and columns is not None:
            # Domains that come in with a share of 0 would have to grow by doubling: give them a little, and let it settle.
            seeded = 0.9 * w[columns] + 0.1 * np.mean([inside.linear_min(g) for g in _pulls(gradient[columns])], axis=0)
            w = w.copy()
            w[columns] = _em(objective, inside, seeded, columns)
            here = None
        # Solve the working set ahead of what the other domains add to the gap, not further; at the end leave them some room.
        target = max(0.02 * gap, 0.5 * tol)
        inner = _newton(objective, limits, columns, w, here, target, max_iter - steps, trace, began)
        steps += max(inner.steps, 1)
        if inner.hessian is not None and _noise(objective, inner.hessian, inner.w) > 0.5 * tol:
            noise = 1.0
        if columns is None:
            w = inner.w
        else:
            w = np.zeros(w.size)
            w[columns] = inner.w


def _sparse_start(sample: Objective, limits: Limits, w: Vector) -> Vector:
    """A point of the region with few shares: the mean of vertices that prefer the domains which pay most at w."""
    vertices = [limits.linear_min(cost) for cost in _pulls(sample.sums(w)[1])]
    return np.mean(vertices, axis=0)


def _pulls(gradient: Vector) -> list[Vector]:
    """Costs whose vertices prefer, each in its turn, the domains that pay most."""
    best = np.argsort(gradient)[:_NEW_DOMAINS]
    out = []
    for first in range(best.size):
        cost = np.zeros(gradient.size)
        cost[np.roll(best, -first)] = np.arange(-best.size, 0)
        out.append(cost)
    return out


def _choose(limits: Limits, gradient: Vector, w: Vector) -> Columns | None:
    """Domains that have a share, and those that most want one."""
    has = w > 0.0
    # At a solution the gradient is level over the domains between their bounds; those below it want a larger share.
    level = float(gradient[has & (w < limits.high)].max(initial=-math.inf))
    room = np.flatnonzero(~has & (limits.high > 0.0))
    wanting = room[gradient[room] < level] if np.isfinite(level) else room
    if wanting.size > _NEW_DOMAINS:
        wanting = wanting[np.argpartition(gradient[wanting], _NEW_DOMAINS)[:_NEW_DOMAINS]]
    chosen = has.copy()
    chosen[wanting] = True
    if limits.groups is not None and not chosen.all():
        chosen |= limits.linear_min(gradient) > 0.0
    return None if chosen.all() else np.flatnonzero(chosen).astype(np.int32)


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
