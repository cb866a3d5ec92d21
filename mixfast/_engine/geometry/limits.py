"""A region over some of its domains, as the loops need it: bounds, group limits, and what can be asked of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import simplex
from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.geometry import lp

# Which bounds hold at the last step over the same limits: -1 the lower, 1 the upper, 0 none; a start for the next.
Active = NDArray[np.int8]

# A share this close to its bound is at it.
_ROUNDING = 4e-16
# Smallest share allowed while a KL term keeps shares positive, and the least part of a share that one step may leave.
_LEAST, _LEFT = 1e-100, 0.01


class GroupLimits(NamedTuple):
    """``low <= rows @ w <= high``, (B, K) and (B,)."""

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

    def active(self, w: Vector) -> Active:
        """Which bounds w is at."""
        return np.where(w <= self.low, -1, np.where(w >= self.high, 1, 0)).astype(np.int8)

    def newton(self, hessian: Matrix, gradient: Vector, w: Vector, active: Active) -> Vector:
        """The step d that minimises g.d + d'Hd/2 within the limits, `active` being where to begin and, in place, where it ended."""
        low = self.lowest(w)
        if self.groups is not None:
            from mixfast._engine.geometry import qp  # few regions have groups: not worth the time of every import

            return qp.newton(hessian, gradient, w, low=low, high=self.high, groups=self.groups)
        step, _, _ = simplex.qp(hessian, gradient, w, low, self.high, active)
        return step

    def lowest(self, w: Vector) -> Vector:
        """Lower bounds of a step from w: the region's, or a hundredth of w where shares must not reach 0."""
        return np.maximum(self.low, np.maximum(_LEFT * w, _LEAST)) if self.interior else self.low

    def clip(self, w: Vector) -> Vector:
        """w with the shares that rounding left outside a bound, or next to it, put on it."""
        if self.interior:
            return np.minimum(np.maximum(w, self.low), self.high)
        w = np.where(w - self.low <= _ROUNDING, self.low, w)
        return np.where(self.high - w <= _ROUNDING, self.high, w)
