"""Map mixtures and features to the inputs of a Gaussian process and of its trend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from mixfast._engine.backend import laws as loops
from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast.mixture import sum_to_one

# Added to shares under the square root, where the slope would be infinite at a share of 0. It is a tenth of 0.001, the resolution of
# shares in published swarms, so an absent domain still differs from one with the smallest share.
_ROOT = 1e-4


def squares(x: Matrix) -> Vector:
    """Return the squared lengths (M,) of rows."""
    return np.asarray(np.einsum("md,md->m", x, x))


def correlations(a: Matrix, b: Matrix) -> Matrix:
    """Return Matern-5/2 correlations (M, R) of points (M, D) with others (R, D), both divided by the length scales."""
    out = a @ b.T
    loops.matern(out, squares(a), squares(b), out)
    return np.asarray(out)


@dataclass(frozen=True, eq=False)
class Inputs:
    """The mean and scale of inputs (M, K + F); the first K are shares."""

    shares: int
    centre: Vector
    spread: Vector

    @classmethod
    def of(cls, x: Matrix) -> Self:
        """Describe the inputs of runs. The shares are the first columns that sum to 1 in every row, or all columns if there are none."""
        whole = np.flatnonzero(sum_to_one(np.cumsum(x, axis=1)).all(axis=0))
        shares = int(whole[0]) + 1 if len(whole) else x.shape[1]
        extra = x[:, shares:]
        spread = extra.std(axis=0)
        centre = np.concatenate([x[:, :shares].mean(axis=0), extra.mean(axis=0)])
        return cls(shares, centre, np.concatenate([np.ones(shares), np.where(spread > 0.0, spread, 1.0)]))

    def features(self, x: Matrix) -> Matrix:
        """Return square roots of shares, which have Hellinger's distances, and standardised features."""
        return np.ascontiguousarray(np.hstack([self._roots(x), self.trend(x)[:, self.shares :]]))

    def trend(self, x: Matrix) -> Matrix:
        """Return centred shares and standardised features."""
        return np.ascontiguousarray((x - self.centre) / self.spread)

    def slopes(self, x: Matrix) -> tuple[Matrix, Vector]:
        """Return derivatives of `features` (M, K + F) and of `trend` (K + F,), each column by its own input."""
        out = np.tile(1.0 / self.spread, (len(x), 1))
        out[:, : self.shares] = 0.5 / self._roots(x)
        return out, 1.0 / self.spread

    def _roots(self, x: Matrix) -> Matrix:
        return np.sqrt(np.maximum(x[:, : self.shares], 0.0) + _ROOT)
