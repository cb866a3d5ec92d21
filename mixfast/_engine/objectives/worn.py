"""An objective over effective shares, for repeated tokens that wear out: see `wear.py`."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from mixfast._engine.backend.arrays import Bins, Columns, Counts, Matrix, Vector
from mixfast._engine.objectives.base import RowObjective, Sums
from mixfast._engine.objectives.forms import Forms
from mixfast._engine.objectives.guide import Guide, guide_of
from mixfast._engine.objectives.wear import Wear


class Worn(RowObjective):
    """``base(g(w))``."""

    def __init__(self, base: RowObjective, wear: Wear) -> None:
        self.base, self.wear = base, wear
        self.rows, self.columns, self.total = base.rows, base.columns, base.total
        self.scale, self.shift, self.nbytes = base.scale, base.shift, base.nbytes

    def sample(self, count: int) -> Worn:
        return Worn(self.base.sample(count), self.wear)  # type: ignore[arg-type]

    def spread(self, count: int) -> Worn:
        return Worn(self.base.spread(count), self.wear)

    def skimmed(self, count: int) -> Worn | None:
        base = self.base.skimmed(count)
        return None if base is None else Worn(base, self.wear)  # type: ignore[arg-type]

    @cached_property
    def guide(self) -> Guide | None:
        return None if self.base.guide is None else guide_of(self)

    def precise(self) -> Worn:
        base = self.base.precise()
        return self if base is self.base else Worn(base, self.wear)  # type: ignore[arg-type]

    def rounding(self, curvature: float) -> float:
        return self.base.rounding(curvature)

    def packs(self, count: int) -> bool:
        return self.base.packs(count)

    def forms(self) -> Forms | None:
        rows = self.base.forms()
        return None if rows is None else replace(rows, wear=self.wear.faded)

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
