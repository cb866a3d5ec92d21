"""The KL term that pulls shares towards a prior."""

from __future__ import annotations

import numpy as np

from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.objectives.base import Objective, Sums


class Regularised(Objective):
    """``base(w) + kl * sum_k w_k log(w_k / prior_k)``: pulls the shares towards the prior; strictly convex, optimum without zeros."""

    def __init__(self, base: Objective, kl: float, prior: Vector) -> None:
        self.base, self.kl, self.prior = base, kl, prior
        self.rows, self.columns, self.total = base.rows, base.columns, base.total

    def sample(self, count: int) -> Regularised:
        return Regularised(self.base.sample(count), self.kl, self.prior)

    def precise(self) -> Regularised:
        base = self.base.precise()
        return self if base is self.base else Regularised(base, self.kl, self.prior)

    def rounding(self, curvature: float) -> float:
        return self.base.rounding(curvature)

    def packs(self, count: int) -> bool:
        return self.base.packs(count)

    def separable(self, w: Vector, columns: Columns | None) -> tuple[Vector, Vector]:
        prior = self.prior if columns is None else self.prior[columns]
        return self.term(self.kl, prior, w)[1], self.kl / np.maximum(w, 1e-300)

    @staticmethod
    def term(kl: float, prior: Vector, w: Vector) -> tuple[float, Vector]:
        """Value and gradient (K,) of ``kl * sum_k w_k log(w_k / prior_k)``; the gradient is -inf where a share is 0."""
        with np.errstate(divide="ignore"):
            log = np.log(w / prior)
        return kl * float(w @ np.where(w > 0.0, log, 0.0)), kl * (log + 1.0)

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        value, gradient, curvature = self.base.sums(w, columns, hessian=hessian, coarse=coarse)
        term, slope = self.term(self.kl, self.prior if columns is None else self.prior[columns], w)
        return value + term, gradient + slope, curvature

    def losses(self, mixtures: Matrix) -> Vector:
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(mixtures > 0.0, mixtures * np.log(mixtures / self.prior), 0.0)
        return self.base.losses(mixtures) + self.kl * terms.sum(axis=1)
