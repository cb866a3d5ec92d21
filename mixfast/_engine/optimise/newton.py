"""Newton's method over a region, on given domains, with Hessians from as many rows as are worth their cost.

Each step:

1. applies expectation maximisation to w if steps have been short far from the optimum;
2. takes the current Hessian or computes a new one: from some of the rows far from the optimum, the best that costs about one sweep closer
   to it, and near the optimum the last one with secant updates (BFGS);
3. finds the direction that minimises the quadratic model within the limits; under a KL term, the model of the rows plus the exact term. Far
   from the optimum, or if the whole step overshoots so far that some row has lost its experts, each share keeps a tenth of itself;
4. shortens the step until the slope along it has at most slightly changed its sign. L is convex, so L has decreased, at any precision. If
   no descent is found, the search starts again with everything exact;
5. takes the step, updates the Hessian, and changes to float64 if float32 rounding errors prevent progress.

The search ends when the Frank-Wolfe gap ``<g, w> - min_{s in region} <g, s> >= L(w) - L*`` is small enough.

References: Kim, Carbonetto, Stephens, Anitescu, "A fast algorithm for maximum likelihood estimation of mixture proportions using
sequential quadratic programming" (J. Comput. Graph. Stat. 29, 2020); Jaggi, "Revisiting Frank-Wolfe" (ICML 2013) for the gap;
Nocedal and Wright, "Numerical Optimization", procedure 18.2 for damped BFGS.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.geometry.limits import Active, Limits
from mixfast._engine.geometry.unfinished import MANY_DOMAINS
from mixfast._engine.objectives.base import Objective, Sums
from mixfast._engine.optimise.expectation import settle
from mixfast._engine.optimise.trace import Minimum, Trace

# Gaps are relative to the rows' total weight. Above the first number, some rows are not explained well by any domain in use. The step is then
# guarded: no share may shrink below the second number times itself, because a row may depend on it. The quadratic model does not see rows
# of tiny weight, so a step is also guarded if a whole one ends where the slope is more than the third number times the one before it.
ROUGH, KEEP, OVERSHOT = 0.05, 0.1, 9.0
# Part of a mixture of all domains that a search takes if its start leaves some row without its experts.
_RECOVERED = 0.01
# Gaps that decide what the next sweep computes: see `_asked`.
FAR, SOON, NEAR = 1e-2, 1e-4, 3e-5
# With so many domains, the Hessian of packed rows takes ten times as long as their gradient.
MANY = 48
# Up to this many domains every sweep uses all of them; with more, a working set.
ALL_DOMAINS = MANY_DOMAINS
# Gaps that coarse sums cannot distinguish from 0, and gaps that may be float32 rounding errors.
ROUNDED, NOISE = 1e-5, 1e-6
# Standard deviations of the gradient's rounding error that count as noise; a gap below this multiple of the noise is doubtful.
_DEVIATIONS, _DOUBTFUL = 3.0, 5.0
# Slopes below this fraction of the value are treated as zero.
LEVEL = 1e-15
# A value that is larger by this fraction counts as larger (fine and coarse precision).
RISE, COARSE_RISE = 1e-8, 1e-6
# Maximum trial lengths of a step, and the slope at which one is accepted, relative to the initial slope.
TRIALS, ACCEPTED = 40, 0.5
# A step that leaves more than this fraction of the gap is short; a gap below this fraction of the previous one is not stalled.
SHORT, STALLED = 0.5, 0.7
# How often a search that found no descent starts again with everything exact.
RESCUES = 2
# Maximum number of consecutive steps without progress beyond rounding. Progress is a lower value, or a gap below this fraction of the best.
IDLE, FALLS, ADVANCES = 30, 1e-15, 0.9
# Most solves end within this many steps, so progress is only checked after them.
EARLY = 20
# Maximum Newton steps in K dimensions for one step under a KL term, and their tolerance as a fraction of the gap.
_PROXIMAL_STEPS, _PROXIMAL_TOL = 40, 1e-4


# Tuples are much faster to create than frozen dataclasses: a small solve creates a dozen of each.
class Point(NamedTuple):
    """Shares over the domains in use, the results of a sweep at them, and the gap over these domains."""

    w: Vector
    value: float
    gradient: Vector
    gap: float
    hessian: Matrix | None = None


def _asked(objective: Objective, domains: int, gap: float, *, known: bool) -> tuple[int, bool]:
    """Return the Hessian (as in `Objective.sums`) and coarseness to compute after a step from a point with this gap.

    Far from the optimum, a coarse gradient and the Hessian of some rows suffice. Closer, use the best Hessian that costs about a sweep. At the
    end, its step lands within the tolerance and no other Hessian is needed, if the current one can be updated (`known`).
    """
    close = gap <= FAR or domains > ALL_DOMAINS
    share, least = (16, 1024) if close else (4, 64)
    most = min(max(domains // share, 1), max(objective.rows // max(least * domains, 16384), 1))
    step = 1 << (most.bit_length() - 1)
    if known and (_dear(objective, domains) or gap <= (NEAR if step == 1 else SOON)):
        return 0, gap > FAR
    return step, gap > FAR


def _dear(objective: Objective, domains: int) -> bool:
    """Whether a Hessian costs so much more than a gradient that secant updates are tried at any gap."""
    return domains >= MANY and objective.packs(domains)


class Newton:
    """One run of Newton's method over the domains `columns` (None: all); all other shares are 0.

    Parameters
    ----------
    objective : Objective
    limits : Limits
        Limits over these domains.
    columns : (C,) int32 or None
        The domains that may move; None for all.
    tol : float
        Target gap over these domains.
    trace : Trace
        Gets one line for each step.
    whole : bool
        Raise `UnfinishedStep` if a step is not found within its work limit; otherwise take a partial step.
    """

    def __init__(
        self,
        objective: Objective,
        limits: Limits,
        columns: Columns | None,
        *,
        tol: float,
        trace: Trace,
        whole: bool = False,
    ) -> None:
        self.objective, self.limits, self.columns = objective, limits, columns
        self.tol, self.trace, self.whole = tol, trace, whole
        self.unit = objective.total  # scale of the gap
        self.exact = False  # compute everything from all rows, after a failure
        self.trusted = False  # whether the Hessian is good enough to be updated
        self.dear = _dear(objective, limits.low.size)
        self.stale = False  # whether the Hessian must be computed before the next step
        self.slow = 0  # consecutive steps that left more than half of the gap
        self.rescued = 0
        self.noise = 0.0  # how much of the gap may be rounding error
        self.active: Active | None = None  # active bounds of the last step over the unchanged limits

    def minimise(self, w: Vector, here: Sums | None, max_iter: int, dense: Vector | None = None) -> Minimum:
        """Minimise from shares w (C,) of the columns; `here` is the result of a sweep at w, if known.

        `dense` (C,) has a share of every domain: if w leaves some row without its experts, the search begins between both.
        """
        at = self._sweep(w, math.inf, known=False) if here is None else self._known(w, here)
        if here is None:
            self.trace.add(self.objective.rows, at.w.size, at.value, at.gap)
        if dense is not None and not at.gap <= self.unit:
            at = self._recovered(at, dense)
        steps, before = 0, math.inf
        best, idle = at, 0
        while at.gap + self.noise > self.tol and steps < max_iter:
            if idle == IDLE:
                if self.rescued == RESCUES:
                    break
                at, idle = self._rescue(at), 0
            # 1.
            if self.slow and at.gap > max(ROUGH * self.unit, min(STALLED * before, self.unit)):
                at = self._settled(at)
            # 2.
            if at.hessian is None or self.stale:
                self.stale = False
                at = at._replace(hessian=self._sweep(at.w, at.gap, known=False).hessian)
            # 3. and 4.
            there = self._stepped(at)
            if there is None:
                if self.rescued == RESCUES:
                    break
                at = self._rescue(at)
                continue
            # 5.
            before, steps = at.gap, steps + 1
            at = self._taken(at, there)
            self.trace.add(self.objective.rows, at.w.size, at.value, at.gap + self.noise)
            if steps > EARLY:
                idle = 0 if advances(at.value, at.gap, best.value, best.gap) else idle + 1
                best = at if idle == 0 else best
        return Minimum(at.w, at.value, at.gradient, at.gap + self.noise, self.trace.steps, at.hessian, steps)

    def _recovered(self, at: Point, dense: Vector) -> Point:
        """Return the point after expectation maximisation from a mixture with a little of every domain, if it is better."""
        w = settle(self.objective, self.limits, at.w + _RECOVERED * (dense - at.w), self.columns)
        there = self._sweep(w, math.inf, known=False)
        if not (there.value < at.value or there.gap < at.gap):
            return at
        self.trace.add(self.objective.rows, w.size, there.value, there.gap)
        return there

    def _known(self, w: Vector, here: Sums) -> Point:
        value, gradient, hessian = here
        return Point(w, value, gradient, self.limits.gap(gradient, w), hessian)

    def _sweep(self, w: Vector, gap: float, *, known: bool) -> Point:
        """Sweep at w, after a step from a point with that gap, computing what `_asked` says."""
        step, coarse = (
            (1, False)
            if self.exact or self.objective.curved
            else _asked(self.objective, w.size, gap / self.unit, known=known)
        )
        if self.slow > 1 and step:
            step = 1
        value, gradient, hessian = self.objective.sums(w, self.columns, hessian=step, coarse=coarse)
        new = self._gap(gradient, w)
        if coarse and not ROUNDED * self.unit <= new < math.inf:
            # The gap is too small for coarse sums, or values overflow.
            value, gradient, _ = self.objective.sums(w, self.columns)
            new = self._gap(gradient, w)
        return Point(w, value, gradient, new, hessian)

    def _gap(self, gradient: Vector, w: Vector) -> float:
        return self.limits.gap(gradient, w) if math.isfinite(gradient.dot(w)) else math.inf

    def _settled(self, at: Point) -> Point:
        """Return the point after expectation maximisation if it is lower: the least share that a domain keeps may raise the value."""
        self.slow = 0
        lower = self._sweep(settle(self.objective, self.limits, at.w, self.columns), at.gap, known=False)
        if not lower.value < at.value:
            return at
        self.trace.add(self.objective.rows, lower.w.size, lower.value, lower.gap)
        return lower

    def _stepped(self, at: Point) -> Point | None:
        """Return the point after a step; None if there is no descent. A whole step that overshoots is taken again, guarded."""
        if not at.gap > ROUGH * self.unit:
            there, overshot = self._shortened(at, self._direction(at, guarded=False), guarded=False)
            if not overshot:
                return there
        return self._shortened(at, self._direction(at, guarded=True), guarded=True)[0]

    def _direction(self, at: Point, *, guarded: bool) -> Vector:
        """Return the step that minimises the quadratic model within the limits; if `guarded`, shares keep a part of themselves."""
        if at.hessian is None:
            raise RuntimeError("a Newton step was asked for without a Hessian")
        if self.limits.steep or self.objective.curved:
            kept = KEEP if guarded else KEEP**2 if at.gap > SOON * self.unit else 0.0
            return self._proximal(at, at.hessian, self.limits.above(kept * at.w))
        if guarded:
            allowed = self.limits.above(KEEP * at.w)
            return allowed.newton(at.hessian, at.gradient, at.w, allowed.active(at.w), whole=self.whole)
        if self.active is None:
            self.active = self.limits.active(at.w)
        return self.limits.newton(at.hessian, at.gradient, at.w, self.active, whole=self.whole)

    def _proximal(self, at: Point, hessian: Matrix, allowed: Limits) -> Vector:
        """Return the step that minimises the rows' quadratic model plus the exact separable part, by Newton's method in K dimensions.

        A quadratic model of w log w lets a share fall at most a hundredfold, but a KL term may require e^-30 of it.
        """
        slope = self.objective.separable(at.w, self.columns, at.w)[0]
        v, active = at.w, None
        for _ in range(_PROXIMAL_STEPS):
            term, curve = self.objective.separable(v, self.columns, at.w)
            model = at.gradient + hessian @ (v - at.w) + (term - slope)
            if allowed.gap(model, v) <= _PROXIMAL_TOL * at.gap:
                break
            active = allowed.active(v) if active is None else active
            step = allowed.newton(hessian + np.diag(curve), model, v, active, whole=self.whole)
            # The rounding error of a step may be larger than a share.
            v = np.maximum(allowed.clip(v + step, v), allowed.lowest(v))
        return v - at.w

    def _shortened(self, at: Point, direction: Vector, *, guarded: bool) -> tuple[Point | None, bool]:
        """Return the point along `direction` where the slope has reached zero, or almost (None if there is none), and whether the step must be guarded.

        It must if the whole step leaves some row almost without probability.
        """
        # Shares sum to 1 up to rounding; without this, a large part common to all gradients would look like a slope.
        level = float(at.gradient @ at.w)
        slope = float((at.gradient - level) @ direction)
        # A slope that is not negative is a rounding error. One more step is worthwhile if the gap falls: under a KL term, the
        # last part of the gap is in shares that are almost 0.
        last = not slope < 0.0
        if last:
            slope = -LEVEL * max(1.0, abs(at.value))
        rise = RISE if at.gap <= FAR * self.unit else COARSE_RISE
        length = 1.0
        for _ in range(TRIALS):
            w = self.limits.clip(at.w + length * direction, at.w)
            there = self._sweep(w, at.gap, known=self.trusted or self.dear)
            slope_there = float((there.gradient - level) @ direction)
            if not (guarded or (slope_there <= -OVERSHOT * slope and there.gap <= self.unit)):
                return None, True
            guarded = True  # only the whole step is tested
            if not (math.isfinite(there.value) and math.isfinite(slope_there)):
                length *= 0.25
                continue
            # Allow a step slightly past the minimum, but not to a larger value: otherwise two points may alternate forever.
            lower = slope_there <= 0.0 or there.value <= at.value + rise * abs(at.value)
            if slope_there <= -ACCEPTED * slope and lower:
                return None if last and not there.gap < at.gap else there, False
            # Secant step towards the zero of the slope.
            length *= min(max(slope / (slope - slope_there), 0.1), 0.7)
        return None, False

    def _rescue(self, at: Point) -> Point:
        """Return the same point in float64 with the Hessian of all rows. Called if no descent was found above the tolerance."""
        self.objective, self.exact, self.rescued = self.objective.precise(), True, self.rescued + 1
        self.noise = 0.0
        return self._sweep(at.w, at.gap, known=False)

    def _taken(self, at: Point, there: Point) -> Point:
        """Return the new point with its Hessian; change to float64 if float32 rounding errors prevent progress."""
        hessian = there.hessian
        updated = hessian is None
        if hessian is None and at.hessian is not None:
            hessian = at.hessian
            change = there.gradient - at.gradient
            if self.limits.steep or self.objective.curved:
                # Relative to the new point, where the next step begins.
                change -= (
                    self.objective.separable(there.w, self.columns, there.w)[0]
                    - self.objective.separable(at.w, self.columns, there.w)[0]
                )
            update_by_secant(hessian, there.w - at.w, change)
            there = there._replace(hessian=hessian)
        self.trusted = there.gap < SHORT * at.gap
        # A secant update of a Hessian that led nowhere is not worth another step.
        self.stale = self.dear and not self.trusted and updated
        self.slow = 0 if self.trusted else self.slow + 1
        self.noise = rounding_of_gap(self.objective, hessian, there.w)
        stalled = NOISE * self.unit > there.gap > SHORT * at.gap
        if self.noise and (stalled or (self.noise > 0.5 * self.tol and there.gap < _DOUBTFUL * self.noise)):
            self.objective, self.noise = self.objective.precise(), 0.0
            value, gradient, _ = self.objective.sums(there.w, self.columns)
            return Point(there.w, value, gradient, self.limits.gap(gradient, there.w), hessian)
        return there


def advances(value: float, gap: float, best_value: float, best_gap: float) -> bool:
    """Whether a step improved on the best point before by more than rounding."""
    if not math.isfinite(best_value):
        return True
    return gap < ADVANCES * best_gap or value < best_value - FALLS * max(1.0, abs(best_value))


def rounding_of_gap(objective: Objective, hessian: Matrix | None, w: Vector) -> float:
    """Return how much of the gap may be rounding error: three standard deviations of the gradient over domains with a share."""
    if hessian is None or objective.rounding(1.0) == 0.0:
        return 0.0
    return _DEVIATIONS * objective.rounding(float(np.diagonal(hessian)[w > 0.0].max()))


def update_by_secant(hessian: Matrix, moved: Vector, change: Vector) -> None:
    """Update the Hessian in place by damped BFGS, so that it maps `moved` to the observed `change` of the gradient."""
    image = hessian @ moved
    modelled, observed = float(moved @ image), float(moved @ change)
    if not modelled > 0.0:
        return
    if observed < 0.2 * modelled:
        blend = 0.8 * modelled / (modelled - observed)
        change = blend * change + (1.0 - blend) * image
        observed = 0.2 * modelled
    hessian += np.outer(change, change / observed) - np.outer(image, image / modelled)
