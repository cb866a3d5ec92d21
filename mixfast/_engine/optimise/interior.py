"""Interior point method for functions of few linear forms of many shares: its systems have as many unknowns as rows.

``min_w max_p phi_p(w) + kl * KL(w || prior)`` over limits; phi_p are sums of functions of n rows (`Forms`). With far fewer rows than
domains, the Hessian is singular, active-set methods do not finish, and a Newton step among all domains costs K^3. Here every limit has a
slack and a multiplier, and their products are reduced to 0 together. One step

1. factors the Hessian plus the terms of the bounds, in the smaller of its two forms (`woodbury.py`);
2. adds rows for the sum, the group limits and the pieces of the maximum: a small system;
3. solves twice: without centring first, then with the centring and curvature correction that the first solution suggests.

It ends near the optimum and inside the limits. Callers compute the gap there.

References: Mehrotra, "On the implementation of a primal-dual interior point method" (SIAM J. Optim. 2, 1992); Wright, "Primal-Dual
Interior-Point Methods" (SIAM, 1997); Friedlander, Orban, "A primal-dual regularized interior-point method for convex quadratic programs"
(Math. Prog. Comp. 4, 2012) for the proximal term.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Vector
from mixfast._engine.geometry.limits import GroupLimits, Limits
from mixfast._engine.objectives.forms import Forms
from mixfast._engine.objectives.kl import Kl
from mixfast._engine.optimise.woodbury import Diagonal, System

# Maximum number of steps, fraction of the way to the nearest bound that a step takes, and the length of a step that makes no progress.
_STEPS, _REACH, _STUCK = 80, 0.995, 1e-9
# Limits closer than this leave no interior: a share between them stays fixed, a group becomes an equation.
_THIN = 1e-9
# Curvature added to shares far from bounds: otherwise n rows among fewer than n shares would be dominated by rounding errors. It changes
# the steps, not the optimum, and it grows if a solve leaves a residual above the second number times its right-hand side.
_PROXIMAL, _LEFT = 1e-8, 1e-4
_MOST_PROXIMAL = 1e-2
# Products this small may not decrease further, whatever the tolerance: further steps diverge.
_NEAR = 1e-10
# The method stops if for this many steps the gap has not fallen below this fraction of the best gap.
_PATIENCE, _FALLS = 6, 0.9
# If slopes are infinite at share 0, shares below this fraction of an even one move in logarithms; the range of such a move in one step.
_SMALL, _LOGARITHMS = 1e-2, (-300.0, 3.0)
_TINY = 1e-100


class Inner(NamedTuple):
    """The end of the method: shares (C,), multipliers of the pieces (P,), and limits (C,) that seem active: -1 lower, 1 upper."""

    w: Vector
    weight: Vector
    active: NDArray[np.int8]


def minimise_inside(
    forms: Forms,
    limits: Limits,
    kl: Kl,
    start: Vector,
    *,
    gap: Callable[[Vector, Vector], float],
    tol: float,
    weight: Vector | None = None,
    beyond: NDArray[np.intp] | None = None,
) -> Inner:
    """Follow the central path from near `start` until ``gap(w, weight)`` is at most `tol`, or no step makes progress.

    Parameters
    ----------
    forms : Forms
        P functions, in units in which their values and slopes are about 1.
    limits, kl, start
        Over the same C domains.
    gap : callable
        Certified gap of w (C,) with multipliers (P,) of the pieces; called when the products of slacks and multipliers are small.
    tol : float
    weight : (P,), optional
        Multipliers of the pieces to start from.
    beyond : (H,), optional
        Under a KL term on sums of unknowns: the shares to which the last H unknowns are added. All of these can move.
    """
    low, high = limits.low, np.minimum(limits.high, limits.total)
    moving = high - low > _THIN
    if not moving.any():
        return Inner(start, np.full(forms.offset.size, 1.0 / forms.offset.size), np.zeros(start.size, dtype=np.int8))
    full = start.copy()

    def whole(part: Vector) -> Vector:
        full[moving] = part
        return full

    search = _Search(
        forms.with_fixed(moving, start), _among(limits, moving, start), kl.restrict(np.flatnonzero(moving[: kl.prior.size]).astype(np.int32)),
        start[moving], weight, None if beyond is None else (np.cumsum(moving) - 1)[beyond],
    )  # fmt: skip
    best, proof, active, least = search.w, search.weight, search.active, np.inf
    idle, near = 0, max(tol, _NEAR)
    for step in range(_STEPS):
        advanced = step == 0 or search.advance()
        if search.products <= near or not advanced or step == _STEPS - 1:
            here = gap(whole(search.w), search.weight)
            idle = 0 if here < _FALLS * least else idle + 1
            if here < least:
                best, proof, active, least = search.w, search.weight, search.active, here
            if least <= tol or idle == _PATIENCE:
                break
            if idle and not search.released:
                # Bounds at 0 are as close as they get.
                search.release()
                idle = 0
        if not advanced:
            break
    which = np.zeros(start.size, dtype=np.int8)
    which[moving] = active
    return Inner(whole(best).copy(), proof, which)


def _among(limits: Limits, moving: NDArray[np.bool_], w: Vector) -> Limits:
    """Return the limits of the moving shares, with the other shares fixed to those of w."""
    if moving.all():
        return limits
    still = np.where(moving, 0.0, w)
    inside = limits.restrict(np.flatnonzero(moving).astype(np.int32))
    groups = limits.groups
    if groups is not None:
        taken = groups.rows @ still
        groups = GroupLimits(groups.rows[:, moving], groups.low - taken, groups.high - taken)
    return replace(inside, groups=groups, total=limits.total - float(still.sum()))


class _Search:
    """One run over shares that can all move.

    The unknowns are:

    - ``u = (w, v)``, where v are the activities of the groups;
    - the multipliers of all one-sided limits of u;
    - if there are several pieces, their multipliers; the slack of a piece is its distance below the maximum;
    - the multipliers of the sum (`level`) and of ``A w = v``.
    """

    def __init__(
        self,
        forms: Forms,
        limits: Limits,
        kl: Kl,
        start: Vector,
        weight: Vector | None,
        beyond: NDArray[np.intp] | None,
    ) -> None:
        self.forms, self.kl, self.total = forms, kl, limits.total
        self.first = np.zeros(0, dtype=np.intp) if beyond is None else beyond
        k, pieces = start.size, forms.offset.size
        self.several = pieces > 1
        rows = np.zeros((0, k)) if limits.groups is None else limits.groups.rows
        self.size = np.maximum(np.abs(rows).max(axis=1, initial=0.0), _TINY)
        self.a = rows / self.size[:, None]
        group_low, group_high = (np.zeros(0), np.zeros(0)) if limits.groups is None else limits.groups[1:]
        group_low, group_high = group_low / self.size, group_high / self.size
        self.k, self.m, self.pieces = k, rows.shape[0], pieces
        low = np.concatenate([limits.low, group_low])
        high = np.concatenate([limits.high, group_high])
        self.equation = np.concatenate([np.zeros(k, dtype=bool), group_high - group_low <= _THIN])
        below = np.flatnonzero(np.isfinite(low) & ~self.equation)
        # A cap at or above the total has no effect.
        limited = np.concatenate([limits.high < self.total, np.isfinite(group_high)])
        above = np.flatnonzero(limited & ~self.equation)
        self.which = np.concatenate([below, above])
        self.sign = np.concatenate([np.ones(below.size), -np.ones(above.size)])
        self.limit = np.concatenate([low[below], high[above]])

        high = np.minimum(high, np.concatenate([np.full(k, self.total), high[k:]]))
        margin = 0.1 * np.minimum(high - low, np.concatenate([np.full(k, self.total / k), np.full(self.m, 0.1)]))
        w = np.minimum(np.maximum(start, low[:k] + margin[:k]), high[:k] - margin[:k])
        inside = np.minimum(np.maximum(self.a @ w, (low + margin)[k:]), (high - margin)[k:])
        # Infinite limits have no midpoint.
        with np.errstate(invalid="ignore"):
            held = np.where(self.equation[k:], 0.5 * (low + high)[k:], inside)
        self.u = np.concatenate([w, held])
        self.z = forms.forms(w)
        self.y = forms.curve.dual(self.z)
        self.values, self.gradients = forms.at(self.z, w)
        self.rows = forms.slopes(w)
        self.weight = np.full(pieces, 1.0 / pieces)
        self.top = float(self.values.max())
        own = np.zeros(0)
        if self.several:
            if weight is not None:
                self.weight = (weight + 0.1 / pieces) / 1.1
            self.top += 0.1 * (float(np.ptp(self.values)) + 0.1)
            own = self.weight
        self.slack = np.concatenate(
            [self.sign * (self.u[self.which] - self.limit), (self.top - self.values)[: own.size]]
        )
        self.multiplier = np.concatenate([np.ones(self.which.size), own])
        self.level, self.price = 0.0, np.zeros(self.m)
        self.proximal = _PROXIMAL
        # Unknowns that are parts of a share have bounds of their own, which remain.
        self.steep = np.full(k, limits.steep) if isinstance(limits.interior, bool) else limits.interior
        self.power = np.broadcast_to(forms.power, (k,))
        self.released = not self.steep.any() or self.first.size > 0

    @property
    def w(self) -> Vector:
        return self.u[: self.k]

    @property
    def products(self) -> float:
        return float(self.slack @ self.multiplier)

    @property
    def active(self) -> NDArray[np.int8]:
        """Bounds of shares with a slack smaller than the multiplier."""
        out = np.zeros(self.k, dtype=np.int8)
        holds = (self.slack < self.multiplier)[: self.which.size] & (self.which < self.k)
        out[self.which[holds]] = -self.sign[holds].astype(np.int8)
        return out

    def release(self) -> None:
        """Remove the bounds at 0 of shares whose slope is infinite there; from here on, the slope alone keeps them above 0.

        Called near the optimum, because its optimal shares may be tiny.
        """
        n = self.which.size
        kept = np.ones(self.slack.size, dtype=bool)
        kept[:n] = (self.sign < 0.0) | (self.which >= self.k) | (self.limit > 0.0)
        kept[:n] |= ~self.steep[np.minimum(self.which, self.k - 1)]
        self.slack, self.multiplier = self.slack[kept], self.multiplier[kept]
        self.which, self.sign, self.limit = self.which[kept[:n]], self.sign[kept[:n]], self.limit[kept[:n]]
        self.released = True

    def advance(self) -> bool:
        """Take one step; return False if it makes no progress."""
        with np.errstate(all="ignore"):
            try:
                step = self._step()
            except np.linalg.LinAlgError:
                return False
            return step is not None and self._take(*step)

    def _step(self) -> tuple[Vector, ...] | None:
        k, m, n = self.k, self.m, self.which.size
        w, s, z = self.w, self.slack, self.multiplier
        slope, curve = self._term()
        pull = np.bincount(self.which, self.sign * z[:n], k + m)
        dual = (
            np.concatenate(
                [
                    self.weight @ self.gradients + slope + self.level + self.price @ self.a,
                    np.where(self.equation[k:], 0.0, -self.price),
                ]
            )
            - pull
        )
        stiff = np.bincount(self.which, z[:n] / s[:n], k + m)
        give = np.where(self.equation[k:], 0.0, 1.0 / np.where(self.equation[k:], 1.0, stiff[k:]))
        # 1. and 2.
        border = [np.ones((1, k)), self.a] + ([self.gradients] if self.several else [])
        c = np.concatenate(border)
        diagonal = stiff[:k] + self.forms.bent(w, self.z, self.weight, self.gradients)
        diagonal += curve
        coupling = self.kl.curve(self._shares())[self.first] if self.first.size else np.zeros(0)
        curvature = (self.weight @ self.forms.weight) * self.forms.curve.chord(self.z, self.y)
        if not (np.isfinite(diagonal).all() and np.isfinite(curvature).all()):
            return None
        while True:
            system = System(self.rows, curvature, Diagonal(np.maximum(diagonal, self.proximal), self.first, coupling))
            answer, left = system.solve(np.ascontiguousarray(c.T))
            if left <= _LEFT or self.proximal >= _MOST_PROXIMAL:
                break
            self.proximal *= 10.0
        size = c.shape[0]
        schur = np.zeros((size + self.several, size + self.several))
        schur[:size, :size] = c @ answer
        corner = np.concatenate([np.zeros(1), give, (s / z)[n:]])
        schur.flat[: size * schur.shape[1] : schur.shape[1] + 1] += corner
        if self.several:
            schur[1 + m : size, size] = schur[size, 1 + m : size] = 1.0

        # 3.
        mean = self.products / max(s.size, 1)
        centre = ds = dz = np.zeros(s.size)
        for corrects in (False, True):
            if corrects:
                ahead = float((s + _reach(s, ds) * ds) @ (z + _reach(z, dz) * dz)) / max(s.size, 1)
                centre = mean * min(max(ahead / mean, 0.0), 1.0) ** 3 - ds * dz if mean > 0.0 else centre
            towards: Vector = self.sign * (centre / s - z)[:n]
            right = np.bincount(self.which, towards, k + m).astype(np.float64) - dual
            straight = system.solve(right[:k, None])[0][:, 0]
            rest = [[self.total - float(w.sum())], self.u[k:] - self.a @ w + give * right[k:]]
            if self.several:
                rest.append(self.top - self.values - (centre / z)[n:])
            need = c @ straight - np.concatenate(rest)
            if self.several:
                need = np.append(need, 1.0 - float(self.weight.sum()))
            change = np.linalg.solve(schur, need)
            dw = straight - answer @ change[:size]
            du = np.concatenate([dw, give * (right[k:] + change[1 : 1 + m])])
            dweight, dtop = change[1 + m : size], -float(change[-1]) if self.several else 0.0
            ds = self.sign * du[self.which]
            dz = (centre[:n] - z[:n] * ds) / s[:n] - z[:n]
            if self.several:
                ds = np.append(ds, (centre[n:] - s[n:] * dweight) / z[n:] - s[n:])
                dz = np.append(dz, dweight)
        return du, ds, dz, change[: 1 + m], np.array([dtop])

    def _shares(self) -> Vector:
        """Return the shares that the KL term applies to."""
        w = self.w
        if self.first.size:
            w = w[: -self.first.size].copy()
            w[self.first] += self.w[-self.first.size :]
        return w

    def _term(self) -> tuple[Vector | float, Vector | float]:
        """Return the slope of the KL term and the diagonal part of its curvature."""
        if self.kl.weight == 0.0:
            return 0.0, 0.0
        w = self._shares()
        slope, curve = self.kl.at(w)[1], self.kl.curve(w)
        if self.first.size:
            slope = np.concatenate([slope, slope[self.first]])
            curve[self.first] = 0.0
            curve = np.concatenate([curve, np.zeros(self.first.size)])
        return slope, curve

    def _take(self, du: Vector, ds: Vector, dz: Vector, change: Vector, dtop: Vector) -> bool:
        dforms = self.rows @ du[: self.k]
        dy, most = self.forms.curve.moved(self.z, self.y, dforms)
        longest = min(_reach(self.slack, ds, 2.0), _reach(self.multiplier, dz, 2.0))
        small = np.zeros(0, dtype=np.intp)
        if self.released and not self.first.size and self.steep.any():
            tiny = self.steep & (self.w < _SMALL * self.total / self.k)
            small = np.flatnonzero(tiny)
            large = self.steep & ~tiny
            longest = min(longest, _reach(self.w[large], du[: self.k][large], 2.0))
        length = min(1.0, most, _REACH * longest)
        there = self.u + length * du
        if small.size:
            # The optimal share may be e^-30 of the current one, so small shares move in logarithms.
            by = _in_logarithms(du[small] / self.u[small], self.power[small])
            there[small] = np.maximum(self.u[small] * np.exp(np.clip(by, *_LOGARITHMS)), _TINY)
        if not (np.isfinite(there).all() and np.isfinite(dz).all() and np.isfinite(dy).all() and length > _STUCK):
            return False
        self.u, self.y = there, self.y + length * dy
        self.slack, self.multiplier = self.slack + length * ds, self.multiplier + length * dz
        n = self.which.size
        # Compute slacks from the unknowns, unless rounding makes them 0 or negative.
        true = self.sign * (self.u[self.which] - self.limit)
        self.slack[:n] = np.where(true > 0.0, true, self.slack[:n])
        self.level, self.price = self.level + length * float(change[0]), self.price + length * change[1:]
        if self.several:
            self.weight, self.top = self.multiplier[n:], self.top + length * float(dtop[0])
        self.z = self.forms.forms(self.w)
        self.values, self.gradients = self.forms.at(self.z, self.w)
        self.rows = self.forms.slopes(self.w)
        return bool(np.isfinite(self.values).all() and np.isfinite(self.gradients).all())


def _reach(value: Vector, change: Vector, most: float = 1.0) -> float:
    """Return the longest step, up to `most`, that keeps value + step * change >= 0."""
    shrinks = change < 0.0
    return min(most, float((value[shrinks] / -change[shrinks]).min(initial=np.inf)))


def _in_logarithms(change: Vector, power: Vector) -> Vector:
    """Return the change of log w that solves the equation of which `change`, relative to w, is a Newton step, if the slope grows as ``w^-power``."""
    with np.errstate(divide="ignore"):
        room = np.maximum(1.0 - power * change, _TINY)
        return np.where(power > 0.0, -np.log(room) / np.where(power > 0.0, power, 1.0), change)
