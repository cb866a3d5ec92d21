"""Several convex functions of the shares, of which the largest is to be made small: losses of groups, or metrics of laws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.base import SAMPLE_ROWS, Objective
from mixfast._engine.objectives.exponentials import Convex
from mixfast._engine.objectives.forms import ELEMENTS, Exponential, Forms

# Groups are sampled where the sample is at most this part of the largest.
_WORTH_SAMPLING = 4


class Values(NamedTuple):
    """P functions at one point: values (P,), gradients (P, K), and what makes the Hessians of weighted sums of them."""

    values: Vector
    gradients: Matrix
    curves: Matrix

    @property
    def finite(self) -> bool:
        """Whether float64 holds all of them."""
        return bool(np.isfinite(self.gradients).all() and np.isfinite(self.curves).all())


class Pieces(Protocol):
    """P convex functions over the usable domains."""

    # Whether a row may depend on one share alone, so that far from the optimum shares must not fall fast.
    fragile: bool

    @property
    def rows(self) -> int:
        """What one evaluation takes: rows, or functions where there are none."""
        ...

    @property
    def total(self) -> float:
        """What tolerances are relative to where it is above 1, as the status of a solution is: the mean of the sums of row weights."""
        ...

    def at(self, w: Vector, *, curved: bool = True) -> Values:
        """Evaluate all functions at w (K,); without what makes Hessians unless `curved`."""
        ...

    def hessian(self, multipliers: Vector, found: Values) -> Matrix:
        """Hessian (K, K) of the sum with these multipliers (P,), where `found` was evaluated."""
        ...

    def sample(self) -> Self:
        """The functions on some of the rows; themselves where that saves nothing."""
        ...

    def forms(self) -> Forms | None:
        """The functions as those of linear forms; None where they are none, or too large to be copied."""
        ...


class GroupLosses:
    """The losses of groups of rows."""

    fragile = True

    def __init__(self, groups: list[Objective]) -> None:
        self.groups = groups
        self.rows = sum(group.rows for group in groups)
        self.total = float(np.mean([group.total for group in groups]))

    def at(self, w: Vector, *, curved: bool = True) -> Values:
        parts = [group.sums(w, hessian=int(curved)) for group in self.groups]
        values, gradients = (np.array([part[i] for part in parts]) for i in range(2))
        return Values(values, gradients, np.array([part[2] for part in parts]) if curved else np.zeros(0))

    def hessian(self, multipliers: Vector, found: Values) -> Matrix:
        out: Matrix = np.tensordot(multipliers, found.curves, axes=1)
        return out

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


@dataclass(frozen=True, eq=False)
class WeightedMetrics:
    """P functions ``offset_p + sum_j weight_pj f_j`` of convex metrics f."""

    form: Convex
    weight: Matrix  # (P, J), >= 0
    offset: Vector  # (P,)
    fragile = False
    total = 1.0

    @classmethod
    def each(cls, form: Convex, used: list[int]) -> WeightedMetrics:
        """Each of some of the metrics alone."""
        return cls(form, np.eye(form.on.size)[used], np.zeros(len(used)))

    @property
    def rows(self) -> int:
        """How many functions there are."""
        return self.offset.size

    def at(self, w: Vector, *, curved: bool = True) -> Values:
        form = self.form
        e = form.exponentials(w)
        metrics = form.constant + form.linear @ w + e
        return Values(
            self.offset + self.weight @ metrics, self.weight @ (form.a * e[:, None] + form.linear), e[:, None]
        )

    def hessian(self, multipliers: Vector, found: Values) -> Matrix:
        form = self.form
        return (form.a.T * ((multipliers @ self.weight) * found.curves[:, 0])) @ form.a

    def forms(self) -> Forms | None:
        form = self.form
        if form.a.size > ELEMENTS:
            return None
        weight = self.weight * form.on
        return Forms(
            form.a,
            np.zeros(form.on.size),
            Exponential(),
            weight,
            self.offset + self.weight @ form.constant,
            self.weight @ form.linear,
        )

    def sample(self) -> WeightedMetrics:
        return self
