"""Repeated tokens are worth less than new ones: the same objective over effective shares.

A domain whose tokens fill a share u of the run is read w / u times. Its first epoch counts whole; what comes after wears out,

    g(w) = w                                      up to w = u
    g(w) = u + u R (1 - exp(-(w / u - 1) / R))    beyond

so that g(w) of the run is worth as much as new tokens. g is concave and rising, and the objective, which is convex and falling in every
share, stays convex: gap and prices mean what they mean without wear.

Reference: Muennighoff et al. 2023, "Scaling Data-Constrained Language Models" (arXiv:2305.16264), equation 5.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Bins, Columns, Counts, Matrix, Vector
from mixfast._engine.objectives.base import RowObjective, Sums

MEASURED = 15.4
"""Repeats after which a token is worth 1/e of a new one, as Muennighoff et al. measured it on web text."""


class Worth(NamedTuple):
    """Effective shares, and their first and second derivatives."""

    share: Vector
    slope: Vector
    curve: Vector


class Wear(NamedTuple):
    """Shares of the run that one epoch of each domain fills (K,), and the repeats after which a token is worth 1/e of a new one."""

    epoch: Vector
    repeats: float

    def restrict(self, columns: Columns | None) -> Wear:
        return self if columns is None else Wear(self.epoch[columns], self.repeats)

    def worth(self, w: NDArray[np.float64]) -> Worth:
        """What shares (..., K) are worth. A domain without tokens cannot have a share, and is let be."""
        u = np.where(self.epoch > 0.0, self.epoch, 1.0)
        passed = -np.maximum(w / u - 1.0, 0.0) / self.repeats
        faded, beyond = np.exp(passed), w > u
        share = np.where(beyond, u * (1.0 - self.repeats * np.expm1(passed)), w)
        return Worth(share, np.where(beyond, faded, 1.0), np.where(beyond, -faded / (self.repeats * u), 0.0))


class Worn(RowObjective):
    """``base(g(w))``."""

    def __init__(self, base: RowObjective, wear: Wear) -> None:
        self.base, self.wear = base, wear
        self.rows, self.columns, self.total = base.rows, base.columns, base.total
        self.scale, self.shift = base.scale, base.shift

    def sample(self, count: int) -> Worn:
        return Worn(self.base.sample(count), self.wear)  # type: ignore[arg-type]

    def precise(self) -> Worn:
        base = self.base.precise()
        return self if base is self.base else Worn(base, self.wear)  # type: ignore[arg-type]

    def rounding(self, curvature: float) -> float:
        return self.base.rounding(curvature)

    def packs(self, count: int) -> bool:
        return self.base.packs(count)

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        share, slope, curve = self.wear.restrict(columns).worth(w)
        value, gradient, curvature = self.base.sums(share, columns, hessian=hessian, coarse=coarse)
        if curvature is not None:
            curvature *= np.outer(slope, slope)
            curvature[np.diag_indices_from(curvature)] += gradient * curve
        return value, gradient * slope, curvature

    def losses(self, mixtures: Matrix) -> Vector:
        return self.base.losses(self.wear.worth(mixtures).share)

    def gradients(self, mixtures: Matrix, bins: Bins, counts: Counts, columns: Columns | None = None) -> Matrix:
        share, slope, _ = self.wear.restrict(columns).worth(mixtures)
        return self.base.gradients(share, bins, counts, columns) * slope
