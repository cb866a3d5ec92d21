"""Ridge regression of many columns at once; leave-one-out error in closed form chooses the penalty."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector

# From negligible to dominant penalties for standardised inputs. Four values a decade are enough, because the leave-one-out error is
# flat around its minimum.
PENALTIES = np.logspace(-4.0, 2.0, 25)
# A column is treated as constant if its deviation is below this fraction of its largest entry.
_STILL = 1e-12


def standardised(x: Matrix) -> tuple[Matrix, Vector, Vector]:
    """Return inputs (R, P) with mean 0 and deviation 1, their means and deviations. Constant columns become 0, with deviation inf."""
    centre, scale = x.mean(axis=0), _known(x.std(axis=0), x)
    return (x - centre) / scale, centre, scale


def _known(scale: Vector, x: Matrix) -> Vector:
    """Set the scale of columns to inf if they are constant up to rounding, so that rounding errors are not magnified."""
    return np.where(scale > _STILL * np.maximum(np.abs(x).max(axis=0), 1e-300), scale, np.inf)


@dataclass(frozen=True, eq=False)
class Ridge:
    """Ridge regressions with an intercept on inputs (R, P). One singular value decomposition serves every column and penalty.

    They minimise ``sum_r (y_r - c - x_r . b)^2 + penalty * sum_k (scale_k b_k)^2``.

    Attributes
    ----------
    centre, scale : (P,)
        Means of the inputs, and divisors of their columns; inf for a constant column, whose coefficient is 0.
    u, s, v : (R, r), (r,), (P, r)
        Singular value decomposition of the centred and scaled inputs, without directions that are only rounding errors.
    least_left : float
        Lower bound of 1 - leverage. A run with leverage 1 fixes the fit alone, so its leave-one-out error is undefined.
    """

    centre: Vector
    scale: Vector
    u: Matrix
    s: Vector
    v: Matrix
    least_left: float

    @classmethod
    def of(cls, x: Matrix, *, standardise: bool = True, least_left: float = 1e-9) -> Self:
        """Decompose inputs (R, P), divided by their standard deviations if `standardise`."""
        centre = x.mean(axis=0)
        scale = _known(x.std(axis=0) if standardise else np.ones(x.shape[1]), x)
        u, s, vt = np.linalg.svd((x - centre) / scale, full_matrices=False)
        keep = s > max(x.shape) * np.finfo(float).eps * max(float(s[0]) if len(s) else 0.0, 1e-300)
        return cls(centre, scale, u[:, keep], s[keep], vt[keep].T, least_left)

    def kept(self, penalty: float) -> Vector:
        """Return the factor by which the penalty shrinks the fit in each direction, (r,)."""
        return self.s**2 / (self.s**2 + penalty)

    def left_out(self, y: Matrix, penalties: Vector = PENALTIES) -> Iterator[Matrix]:
        """Yield leave-one-out errors (R, J) of columns y (R, J) for each penalty, from leverages."""
        centred = y - y.mean(axis=0)
        moment, squares = self.u.T @ centred, self.u**2
        for penalty in penalties.tolist():
            kept = self.kept(penalty)
            left = np.maximum(1.0 - 1.0 / len(y) - squares @ kept, self.least_left)
            yield (centred - self.u @ (kept[:, None] * moment)) / left[:, None]

    def errors(self, y: Matrix, penalties: Vector = PENALTIES) -> Matrix:
        """Return mean squared leave-one-out errors of columns y (R, J) for each penalty: (penalties, J)."""
        return np.array([(error**2).mean(axis=0) for error in self.left_out(y, penalties)])

    def best(self, y: Matrix) -> NDArray[np.float64]:
        """Return the penalty (J,) with the smallest leave-one-out error for each column of y (R, J)."""
        return PENALTIES[self.errors(y).argmin(axis=0)]

    def coefficients(self, y: Matrix, penalty: float | Vector) -> Matrix:
        """Return coefficients (P, J) of columns y (R, J); `penalty` is one number or one for each column."""
        factor = self.s[:, None] / (self.s[:, None] ** 2 + penalty)
        return (self.v @ (factor * (self.u.T @ (y - y.mean(axis=0))))) / self.scale[:, None]

    def predict(self, y: Matrix, at: Matrix) -> Matrix:
        """Return predictions (M, J) at inputs (M, P); each column of y (R, J) uses its best penalty."""
        return (at - self.centre) @ self.coefficients(y, self.best(y)) + y.mean(axis=0)
