"""Functions of forms that are not linear in the shares: the exponents of laws in epochs, for the interior point method."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.epoch_exponents import EpochExponents
from mixfast._engine.objectives.forms import Exponential, Forms


@dataclass(frozen=True, eq=False)
class EpochForms(Forms):
    """`Forms` with ``z = shift + rows @ w + epochs(w)`` and ``f(z) = exp(z)``."""

    epochs: EpochExponents = field(kw_only=True)

    @classmethod
    def exponentials(
        cls, rows: Matrix, shift: Vector, weight: Matrix, offset: Vector, linear: Matrix, epochs: EpochExponents
    ) -> EpochForms:
        """Make ``offset_p + linear_p.w + sum_i weight_pi exp(z_i)``."""
        return cls(rows, shift, Exponential(), weight, offset, linear, epochs=epochs)

    def with_fixed(self, moving: NDArray[np.bool_], w: Vector) -> Self:
        if moving.all():
            return self
        return replace(super().with_fixed(moving, w), epochs=self.epochs.with_fixed(moving, w))

    def forms(self, w: Vector) -> Vector:
        return self.linear_forms(w) + self.epochs.values(w[None])[0]

    def slopes(self, w: Vector) -> Matrix:
        out: Matrix = self.rows + self.epochs.at(w).slope
        return out

    def bent(self, w: Vector, z: Vector, weight: Vector, gradients: Matrix) -> Vector | float:
        out: Vector = ((weight @ self.weight) * self.curve.at(z)[1]) @ self.epochs.at(w).bend
        return out

    @property
    def power(self) -> Vector | float:
        return self.epochs.power

    def at(self, z: Vector, w: Vector) -> tuple[Vector, Matrix]:
        value, slope = self.curve.at(z)
        gradients: Matrix = (self.weight * slope) @ self.slopes(w) + self.linear
        return self.offset + self.linear @ w + self.weight @ value, gradients
