"""`Limits`: a region restricted to some domains, as the loops use it: bounds, group limits, and operations over them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import simplex
from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.geometry import lp
from mixfast._engine.geometry.unfinished import MANY_DOMAINS, UnfinishedStep

# Which bounds were active in the last step over the same limits: -1 lower, 1 upper, 0 none. The next step starts from it.
Active = NDArray[np.int8]

# A share closer to its bound than this is set to the bound; after a step, than this fraction of the larger of the share and what it was.
ROUNDING = 4e-16
# Largest accepted error of a sum or group; how often it is corrected; a group this close to a limit must not be moved by it.
_SETTLED, _SETTLINGS, _NEAR = 2e-16, 3, 1e-9
# Smallest share allowed while a KL term keeps shares positive, and the smallest fraction of a share that one step may leave.
_LEAST, _LEFT = 1e-100, 0.01


class GroupLimits(NamedTuple):
    """``low <= rows @ w <= high``, (B, K) and (B,); the largest coefficient of a row is at least 1 and below 2."""

    rows: Matrix
    low: Vector
    high: Vector


@dataclass(frozen=True, eq=False)
class Limits:
    """Bounds (K,) on shares that sum to `total`, and optional limits on groups of domains.

    `interior`: which shares must stay above 0 during the search, because the objective's slope is infinite at 0 (KL, or a gain that begins
    steeply): all, none, or those marked in (K,).
    """

    low: Vector
    high: Vector
    groups: GroupLimits | None = None
    interior: bool | NDArray[np.bool_] = False
    total: float = 1.0

    @property
    def steep(self) -> bool:
        """Whether any share must stay above 0."""
        return self.interior if isinstance(self.interior, bool) else bool(self.interior.any())

    @cached_property
    def middle(self) -> Vector:
        """The point at which all shares are the same part of the way from floor to cap (read-only). Group limits are left out."""
        room = self.high - self.low
        w: Vector = self.low + room * ((self.total - np.add.reduce(self.low)) / max(np.add.reduce(room), 1e-300))
        w.setflags(write=False)
        return w

    def restrict(self, columns: Columns | None) -> Limits:
        """Return the limits over some of the domains; the other domains have share 0."""
        if columns is None:
            return self
        groups = self.groups and self.groups._replace(rows=np.ascontiguousarray(self.groups.rows[:, columns]))
        interior = self.interior if isinstance(self.interior, bool) else self.interior[columns]
        return Limits(self.low[columns], self.high[columns], groups, interior, self.total)

    def above(self, floor: Vector) -> Limits:
        """Return the limits with floors raised to `floor`."""
        return Limits(np.maximum(self.low, floor), self.high, self.groups, self.interior, self.total)

    def above_zero(self, steep: NDArray[np.bool_]) -> Limits:
        """Return the limits in which the shares marked in (K,) must stay above 0, as well as those that already must."""
        if self.interior is True or not steep.any():
            return self
        return replace(self, interior=steep | self.interior)

    def linear_min(self, gradient: Vector) -> Vector:
        """Return a vertex that minimises <gradient, s>."""
        if self.groups is None:
            return simplex.linear_min(gradient, self.low, self.high)
        return lp.minimise(gradient, self.low, self.high, *self.groups, self.total, equations=self._equations)

    def gap(self, gradient: Vector, w: Vector) -> float:
        """Return the Frank-Wolfe gap. Limits that w violates by rounding are moved to w, because the violation could dominate a small gap.

        The gap is infinite if the gradient is not finite.
        """
        if self.groups is None:
            try:
                return max(float(gradient @ (w - simplex.linear_min(gradient, self.low, self.high))), 0.0)
            except ValueError:  # a slope overflows float64
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
        """The group limits as equations of a linear program. Cached: limits moved by rounding have the same equations."""
        if self.groups is None:
            return None
        return lp.Equations.of(self.groups.rows, lp.units_of(self.high, *self.groups))

    def active(self, w: Vector) -> Active:
        """Return which bounds w is at."""
        return np.where(w <= self.low, -1, np.where(w >= self.high, 1, 0)).astype(np.int8)

    def newton(self, hessian: Matrix, gradient: Vector, w: Vector, active: Active, *, whole: bool = False) -> Vector:
        """Return the step d that minimises g.d + d'Hd/2 within the limits. The search starts at `active` and updates it in place.

        If H is singular among many domains, the search may be abandoned. It then returns a partial step or, with `whole`, raises
        `UnfinishedStep`.
        """
        low = self.lowest(w)
        if self.groups is not None:
            from mixfast._engine.geometry import qp  # imported here because few regions have groups

            return qp.newton(hessian, gradient, w, low=low, high=self.high, groups=self.groups, whole=whole)
        step, _, rounds = simplex.qp(hessian, gradient, w, low, self.high, active)
        if whole and rounds < 0 and w.size > MANY_DOMAINS:
            raise UnfinishedStep
        return step

    def lowest(self, w: Vector) -> Vector:
        """Return lower bounds of a step from w: those of the region, or a hundredth of w if shares must stay above 0."""
        if not self.steep:
            return self.low
        least = np.maximum(_LEFT * w, _LEAST)
        return np.maximum(self.low, least if self.interior is True else np.where(self.interior, least, 0.0))

    def clip(self, w: Vector, before: Vector | None = None) -> Vector:
        """Set shares that are outside or next to a bound by rounding to the bound. With groups, also restore group limits and the sum.

        If w is a step from `before` (K,), rounding is relative to its shares: a share that was 1e-18 may become 1e-19.
        """
        if self.interior is True:
            w = np.minimum(np.maximum(w, self.low), self.high)
        else:
            rounding = ROUNDING if before is None else ROUNDING * np.maximum(w, before)
            below = w - self.low <= (np.where(self.interior, 0.0, rounding) if self.steep else rounding)
            w = np.where(below, self.low, w)
            w = np.where(self.high - w <= rounding, self.high, w)
        return w if self.groups is None else self._settled(w, self.groups)

    def _settled(self, w: Vector, groups: GroupLimits) -> Vector:
        """Correct rounding errors of the sum, and of groups beyond their limits, by changing shares inside their bounds.

        Larger shares change more, and no share changes its sign.
        """
        for _ in range(_SETTLINGS):
            inside = groups.rows @ w
            short = self.total - math.fsum(w)
            if abs(short) <= _SETTLED and max((groups.low - inside).max(), (inside - groups.high).max()) <= _SETTLED:
                break
            missing = np.maximum(groups.low - inside, 0.0) - np.maximum(inside - groups.high, 0.0)
            # A group next to a limit must not change.
            near = np.minimum(inside - groups.low, groups.high - inside) <= _NEAR
            equations = np.vstack([np.ones(w.size), groups.rows[near]])
            root = np.sqrt(np.where((w > self.low) & (w < self.high), w, 0.0))
            change = root * np.linalg.lstsq(equations * root, np.append(short, missing[near]), rcond=None)[0]
            w = np.minimum(np.maximum(w + change, np.maximum(self.low, 0.5 * w)), self.high)
        return w
