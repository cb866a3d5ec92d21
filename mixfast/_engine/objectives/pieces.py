"""Several convex functions of the shares whose maximum is minimised: losses of groups, or metrics of laws."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol, Self

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.base import SAMPLE_ROWS, Objective, RowObjective
from mixfast._engine.objectives.epoch_forms import EpochForms
from mixfast._engine.objectives.exponentials import Convex
from mixfast._engine.objectives.forms import ELEMENTS, Exponential, Forms
from mixfast._engine.objectives.guide import guide_rows

# Groups are sampled if the sample has at most this fraction of the rows of the largest group.
_WORTH_SAMPLING = 4


class Values(NamedTuple):
    """P functions at one point: values (P,), gradients (P, K), and data for Hessians of weighted sums."""

    values: Vector
    gradients: Matrix
    curves: Matrix

    @property
    def finite(self) -> bool:
        """Whether all values are finite in float64."""
        return bool(np.isfinite(self.gradients).all() and np.isfinite(self.curves).all())


class Pieces(Protocol):
    """P convex functions over the usable domains."""

    # Whether a row may depend on one share alone; if so, shares must not fall fast far from the optimum.
    fragile: bool

    @property
    def rows(self) -> int:
        """The cost of one evaluation: the number of rows, or of functions if there are none."""
        ...

    @property
    def total(self) -> float:
        """Scale of tolerances if it is above 1, as for the status of a solution: the mean over functions of the sum of row weights."""
        ...

    def at(self, w: Vector, *, curved: bool = True) -> Values:
        """Evaluate all functions at w (K,); if not `curved`, without the data for Hessians."""
        ...

    def hessian(self, multipliers: Vector, found: Values) -> Matrix:
        """Return the Hessian (K, K) of the sum with these multipliers (P,), at the point of `found`."""
        ...

    def sample(self) -> Self:
        """Return the functions on some of the rows; the object itself if that saves nothing."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that one evaluation reads; 0 if there are no rows."""
        ...

    @property
    def guide(self) -> GroupGuide | None:
        """A guide to the minimum if there are so many rows that sweeps should be few, else None; always the same object."""
        ...

    def forms(self) -> Forms | None:
        """Return the functions as functions of linear forms; None if they have no such form, or if the copy would be too large."""
        ...


class Losses:
    """What the losses of groups have in common, wherever their rows are."""

    fragile = True

    def hessian(self, multipliers: Vector, found: Values) -> Matrix:
        out: Matrix = np.tensordot(multipliers, found.curves, axes=1)
        return out

    def forms(self) -> Forms | None:
        return None


class GroupLosses(Losses):
    """The losses of groups of rows."""

    def __init__(self, groups: list[Objective]) -> None:
        self.groups = groups
        self.rows, self.nbytes = sum(group.rows for group in groups), sum(group.nbytes for group in groups)
        self.total = float(np.mean([group.total for group in groups]))

    @cached_property
    def guide(self) -> GroupGuide | None:
        columns = self.groups[0].columns
        count = guide_rows(self.rows, columns)
        if not count or not all(isinstance(group, RowObjective) for group in self.groups):
            return None
        # Small groups are evaluated whole.
        parts = [
            g.spread(share)
            if isinstance(g, RowObjective) and g.rows >= _WORTH_SAMPLING * (share := count // len(self.groups))
            else g
            for g in self.groups
        ]
        return GroupGuide(GroupLosses(parts), self.total)

    def at(self, w: Vector, *, curved: bool = True) -> Values:
        parts = [group.sums(w, hessian=int(curved)) for group in self.groups]
        values, gradients = (np.array([part[i] for part in parts]) for i in range(2))
        return Values(values, gradients, np.array([part[2] for part in parts]) if curved else np.zeros(0))

    def forms(self) -> Forms | None:
        if self.rows * self.groups[0].columns > ELEMENTS:
            return None
        parts = [part for group in self.groups if (part := group.forms()) is not None]
        return Forms.together(parts) if len(parts) == len(self.groups) else None

    def sample(self) -> GroupLosses:
        large = [group.rows >= _WORTH_SAMPLING * SAMPLE_ROWS for group in self.groups]
        if not any(large):
            return self
        return GroupLosses([g.sample(SAMPLE_ROWS) if big else g for g, big in zip(self.groups, large, strict=True)])


class GroupGuide(Losses):
    """Losses of groups on a sample of the rows, corrected to match those of all rows at one point: see `Guide`."""

    nbytes = 0
    guide: GroupGuide | None = None

    def __init__(self, sample: Pieces, total: float) -> None:
        self.base: Pieces = sample
        self.total: float = total
        self.rows: int = sample.rows
        self.matched: Vector | None = None
        self._off: Values | None = None

    def correct(self, w: Vector, found: Values) -> None:
        """Match values, gradients and, if they are given, the Hessians of all rows at w (K,)."""
        mine = self.base.at(w, curved=found.curves.size > 0)
        curves = found.curves - mine.curves if found.curves.size or self._off is None else self._off.curves
        self.matched, self._off = w.copy(), Values(found.values - mine.values, found.gradients - mine.gradients, curves)

    def at(self, w: Vector, *, curved: bool = True) -> Values:
        found = self.base.at(w, curved=curved)
        if self.matched is None or self._off is None:
            return found
        moved, off = w - self.matched, self._off
        bend = off.curves @ moved if off.curves.size else np.zeros_like(off.gradients)
        values = found.values + off.values + (off.gradients + 0.5 * bend) @ moved
        curves = found.curves + off.curves if curved and off.curves.size else found.curves
        return Values(values, found.gradients + off.gradients + bend, curves)

    def sample(self) -> GroupGuide:
        return self


@dataclass(frozen=True, eq=False)
class WeightedMetrics:
    """P functions ``offset_p + sum_j weight_pj f_j`` of convex metrics f."""

    form: Convex
    weight: Matrix  # (P, J), >= 0
    offset: Vector  # (P,)
    fragile = False
    total = 1.0
    nbytes = 0
    guide = None

    @classmethod
    def each(cls, form: Convex, used: list[int]) -> WeightedMetrics:
        """Use each of these metrics as one function."""
        return cls(form, np.eye(form.on.size)[used], np.zeros(len(used)))

    @property
    def rows(self) -> int:
        """The number of functions."""
        return self.offset.size

    def at(self, w: Vector, *, curved: bool = True) -> Values:
        form = self.form
        exponents, a, curves = form.a @ w, form.a, np.zeros((form.on.size, 0))
        if form.epochs is not None:
            bent = form.epochs.at(w)
            exponents, a, curves = exponents + bent.value, a + bent.slope, np.hstack([a + bent.slope, bent.bend])
        e = form.on * np.exp(exponents)
        metrics = form.constant + form.linear @ w + e
        values, gradients = self.offset + self.weight @ metrics, self.weight @ (a * e[:, None] + form.linear)
        return Values(values, gradients, np.hstack([e[:, None], curves]))

    def hessian(self, multipliers: Vector, found: Values) -> Matrix:
        k = self.form.a.shape[1]
        # Exponentials at the point; if exponents are not linear, their slopes and second derivatives.
        e, slope, bend = np.split(found.curves, [1, 1 + k] if self.form.epochs is not None else [1, 1], axis=1)
        weight = (multipliers @ self.weight) * e[:, 0]
        a = slope if bend.size else self.form.a
        out: Matrix = (a.T * weight) @ a
        if bend.size:
            out[np.diag_indices(k)] += weight @ bend
        return out

    def forms(self) -> Forms | None:
        form = self.form
        if form.a.size > ELEMENTS:
            return None
        weight, shift = self.weight * form.on, np.zeros(form.on.size)
        offset, linear = self.offset + self.weight @ form.constant, self.weight @ form.linear
        if form.epochs is not None:
            return EpochForms.exponentials(form.a, shift, weight, offset, linear, form.epochs)
        return Forms(form.a, shift, Exponential(), weight, offset, linear)

    def sample(self) -> WeightedMetrics:
        return self
