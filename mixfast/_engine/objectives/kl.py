"""The KL term that pulls shares towards a prior, and an objective with this term added."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.objectives.base import Objective, Sums
from mixfast._engine.objectives.forms import Forms
from mixfast._engine.objectives.guide import Guide

# The smallest share in the second derivative kl / w: it keeps the derivative finite at a share of 0.
_TINY = 1e-300


class Kl(NamedTuple):
    """``weight * sum_k w_k log(w_k / prior_k)``; weight 0 means no term.

    Shares of 0 add 0 to the value; the slope at 0 is -inf.
    """

    weight: float
    prior: Vector  # (K,)

    def restrict(self, columns: Columns | None) -> Kl:
        """Return the term over some of the domains; the other domains have share 0."""
        return self if columns is None else Kl(self.weight, self.prior[columns])

    def values(self, mixtures: Matrix) -> Vector:
        """Return values (M,) at mixtures (M, K)."""
        if self.weight == 0.0:
            return np.zeros(mixtures.shape[0])
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(mixtures > 0.0, mixtures * (np.log(mixtures) - np.log(self.prior)), 0.0)
        return self.weight * terms.sum(axis=1)

    def at(self, w: Vector) -> tuple[float, Vector]:
        """Return value and gradient (K,) at shares w (K,)."""
        if self.weight == 0.0:
            return 0.0, np.zeros(w.size)
        # At a share of 0 the slope is -inf. With a prior of 0 as well it is NaN; such a domain is not in use.
        with np.errstate(divide="ignore", invalid="ignore"):
            log = np.log(w) - np.log(self.prior)
        return self.weight * float(w @ np.where(w > 0.0, log, 0.0)), self.weight * (log + 1.0)

    def slope(self, w: Matrix) -> Matrix:
        """Return gradients with the shape of shares w (..., K), all above 0."""
        return self.weight * (np.log(w) - np.log(self.prior) + 1.0) if self.weight > 0.0 else np.zeros_like(w)

    def curve(self, w: Vector) -> Vector:
        """Return the diagonal (K,) of the Hessian."""
        return self.weight / np.maximum(w, _TINY)


class Regularised(Objective):
    """``base(w)`` plus a KL term: strictly convex, with all shares above 0 at the optimum."""

    def __init__(self, base: Objective, kl: Kl) -> None:
        self.base, self.kl = base, kl
        self.rows, self.columns, self.total = base.rows, base.columns, base.total
        self.nbytes, self.curved = base.nbytes, base.curved

    def sample(self, count: int) -> Regularised:
        return Regularised(self.base.sample(count), self.kl)

    def influential(self, w: Vector, count: int) -> tuple[Sums, Objective] | None:
        found = self.base.influential(w, count)
        if found is None:
            return None
        (value, gradient, _), sample = found
        term, slope = self.kl.at(w)
        return (value + term, gradient + slope, None), Regularised(sample, self.kl)

    def sums_over(self, w: Vector, curved: Columns | None) -> Sums:
        value, gradient, curvature = self.base.sums_over(w, curved)
        term, slope = self.kl.at(w)
        return value + term, gradient + slope, curvature

    def skimmed(self, count: int) -> Regularised | None:
        base = self.base.skimmed(count)
        return None if base is None else Regularised(base, self.kl)

    @property
    def guide(self) -> RegularisedGuide | None:
        guide: Guide | None = self.base.guide
        return None if guide is None else RegularisedGuide(guide, self.kl)

    def precise(self) -> Regularised:
        base = self.base.precise()
        return self if base is self.base else Regularised(base, self.kl)

    def rounding(self, curvature: float) -> float:
        return self.base.rounding(curvature)

    def magnitude(self, w: Vector) -> float:
        return self.base.magnitude(w)

    def packs(self, count: int) -> bool:
        return self.base.packs(count)

    def forms(self) -> Forms | None:
        return self.base.forms()

    def separable(self, w: Vector, columns: Columns | None, here: Vector | None = None) -> tuple[Vector, Vector]:
        slope, curve = self.base.separable(w, columns, here)
        return self.kl.restrict(columns).at(w)[1] + slope, self.kl.curve(w) + curve

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        value, gradient, curvature = self.base.sums(w, columns, hessian=hessian, coarse=coarse)
        term, slope = self.kl.restrict(columns).at(w)
        return value + term, gradient + slope, curvature

    def losses(self, mixtures: Matrix) -> Vector:
        return self.base.losses(mixtures) + self.kl.values(mixtures)


class RegularisedGuide(Regularised):
    """A guide to the minimum of an objective with a KL term, which is added exactly."""

    base: Guide

    @property
    def at(self) -> Vector | None:
        """Where the guide matches all rows."""
        return self.base.at

    def correct(self, w: Vector, found: Sums, curved: Columns | None = None, *, bend: bool = False) -> Matrix | None:
        """Like `Guide.correct`, with the KL term in the sums."""
        term, slope = self.kl.at(w)
        return self.base.correct(w, (found[0] - term, found[1] - slope, found[2]), curved, bend=bend)


def guide_from(sample: Objective, total: float) -> Guide | RegularisedGuide:
    """Make a guide of a sample of the rows; a KL term is not part of what is corrected. `total` is the sum of the weights of all rows."""
    if isinstance(sample, Regularised):
        return RegularisedGuide(Guide(sample.base, total), sample.kl)
    return Guide(sample, total)
