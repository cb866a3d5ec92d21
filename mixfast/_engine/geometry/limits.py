"""A region over some of its domains, as the loops need it: bounds, group limits, and what can be asked of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import simplex
from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.geometry import lp
from mixfast._engine.geometry.unfinished import MANY_DOMAINS, UnfinishedStep

# Which bounds hold at the last step over the same limits: -1 the lower, 1 the upper, 0 none; a start for the next.
Active = NDArray[np.int8]

# A share this close to its bound is at it.
_ROUNDING = 4e-16
# What a sum or a group may be off, how often it is given back, and how close a group is to a limit that it must not lose by that.
_SETTLED, _SETTLINGS, _NEAR = 2e-16, 3, 1e-9
# Smallest share allowed while a KL term keeps shares positive, and the least part of a share that one step may leave.
_LEAST, _LEFT = 1e-100, 0.01


class GroupLimits(NamedTuple):
    """``low <= rows @ w <= high``, (B, K) and (B,); the largest coefficient of a row is at least 1 and below 2."""

    rows: Matrix
    low: Vector
    high: Vector


@dataclass(frozen=True, eq=False)
class Limits:
    """Bounds (K,) on shares that sum to `total`, and limits on groups of domains where there are any.

    `interior`: shares must not reach 0 on the way, because the objective's slope is infinite there (KL).
    """

    low: Vector
    high: Vector
    groups: GroupLimits | None = None
    interior: bool = False
    total: float = 1.0

    def restrict(self, columns: Columns | None) -> Limits:
        """The same over some of the domains, the others having no share."""
        if columns is None:
            return self
        groups = self.groups and self.groups._replace(rows=np.ascontiguousarray(self.groups.rows[:, columns]))
        return Limits(self.low[columns], self.high[columns], groups, self.interior, self.total)

    def above(self, floor: Vector) -> Limits:
        """The same limits with floors raised to `floor`."""
        return Limits(np.maximum(self.low, floor), self.high, self.groups, self.interior, self.total)

    def linear_min(self, gradient: Vector) -> Vector:
        """A vertex that minimises <gradient, s>."""
        if self.groups is None:
            return simplex.linear_min(gradient, self.low, self.high)
        return lp.minimise(gradient, self.low, self.high, *self.groups, self.total, equations=self._equations)

    def gap(self, gradient: Vector, w: Vector) -> float:
        """Frank-Wolfe gap over the limits, moved to where w is beyond them by rounding: that may be worth a lot of the rest.

        Infinite where the gradient is not finite.
        """
        if self.groups is None:
            try:
                return max(float(gradient @ (w - simplex.linear_min(gradient, self.low, self.high))), 0.0)
            except ValueError:  # a slope beyond what float64 holds
                return math.inf
        if not np.isfinite(gradient).all():
            return math.inf
        rows, low, high = self.groups
        inside = rows @ w
        low, high = np.minimum(low, inside), np.maximum(high, inside)
        box = np.minimum(self.low, w), np.maximum(self.high, w)
        return lp.duality_gap(gradient, w, *box, rows, low, high, equations=self._equations)

    @cached_property
    def _equations(self) -> lp.Equations | None:
        """The group limits as equations of linear programs: found once, for limits that rounding moves have the same."""
        if self.groups is None:
            return None
        return lp.Equations.of(self.groups.rows, lp.units_of(self.high, *self.groups))

    def active(self, w: Vector) -> Active:
        """Which bounds w is at."""
        return np.where(w <= self.low, -1, np.where(w >= self.high, 1, 0)).astype(np.int8)

    def newton(self, hessian: Matrix, gradient: Vector, w: Vector, active: Active, *, whole: bool = False) -> Vector:
        """The step d that minimises g.d + d'Hd/2 within the limits, `active` being where to begin and, in place, where it ended.

        Where H is singular among many domains the search for it may be given up; the step is then a part of it, or with `whole` raises
        `UnfinishedStep`.
        """
        low = self.lowest(w)
        if self.groups is not None:
            from mixfast._engine.geometry import qp  # few regions have groups: not worth the time of every import

            return qp.newton(hessian, gradient, w, low=low, high=self.high, groups=self.groups, whole=whole)
        step, _, rounds = simplex.qp(hessian, gradient, w, low, self.high, active)
        if whole and rounds < 0 and w.size > MANY_DOMAINS:
            raise UnfinishedStep
        return step

    def lowest(self, w: Vector) -> Vector:
        """Lower bounds of a step from w: the region's, or a hundredth of w where shares must not reach 0."""
        return np.maximum(self.low, np.maximum(_LEFT * w, _LEAST)) if self.interior else self.low

    def clip(self, w: Vector) -> Vector:
        """w with the shares that rounding left outside a bound, or next to it, put on it; with groups, also their limits and the sum."""
        if self.interior:
            w = np.minimum(np.maximum(w, self.low), self.high)
        else:
            w = np.where(w - self.low <= _ROUNDING, self.low, w)
            w = np.where(self.high - w <= _ROUNDING, self.high, w)
        return w if self.groups is None else self._settled(w, self.groups)

    def _settled(self, w: Vector, groups: GroupLimits) -> Vector:
        """w with what rounding made of its sum, and of groups beyond their limits, given back to the shares inside their bounds.

        Each share changes by so many parts of itself, so that none changes its sign.
        """
        for _ in range(_SETTLINGS):
            inside = groups.rows @ w
            short = self.total - math.fsum(w)
            if abs(short) <= _SETTLED and max((groups.low - inside).max(), (inside - groups.high).max()) <= _SETTLED:
                break
            missing = np.maximum(groups.low - inside, 0.0) - np.maximum(inside - groups.high, 0.0)
            # A group next to a limit stays where it is.
            near = np.minimum(inside - groups.low, groups.high - inside) <= _NEAR
            equations = np.vstack([np.ones(w.size), groups.rows[near]])
            root = np.sqrt(np.where((w > self.low) & (w < self.high), w, 0.0))
            change = root * np.linalg.lstsq(equations * root, np.append(short, missing[near]), rcond=None)[0]
            w = np.minimum(np.maximum(w + change, np.maximum(self.low, 0.5 * w)), self.high)
        return w
