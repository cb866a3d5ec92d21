"""What a law leaves open of one metric at many mixtures jointly, and how runs made at some of them would reduce it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector

Places = NDArray[np.int64]


class Joint:
    """Covariances of a metric at M mixtures, without noise, in the metric's unit.

    Attributes
    ----------
    variance : ndarray (M,)
        Given the runs the law was fitted to, and those told to `choose`.
    noise : ndarray (M,)
        Further variance of a new run at each mixture.

    Notes
    -----
    The settings of the law stay as they are. After `choose` the covariances are those of the law with that run added; they do not depend
    on the run's result. No M x M matrix is made: each run costs one column and M numbers.
    """

    def __init__(
        self,
        variance: Vector,
        noise: Vector,
        columns: Callable[[Places], Matrix],
        draw: Callable[[int, np.random.Generator], Matrix],
    ) -> None:
        self.variance, self.noise = np.maximum(variance, 0.0), noise
        self._columns, self._draw = columns, draw
        self._steps: list[Vector] = []

    def column(self, row: int) -> Vector:
        """Covariances (M,) with the mixture of this position."""
        out = np.array(self._columns(np.array([row]))[:, 0])
        for step in self._steps:
            out -= step[row] * step
        return out

    def choose(self, row: int) -> None:
        """Add a run at the mixture of this position, which reduces every covariance."""
        step = self.column(row)
        scale = max(float(step[row]), 0.0) + float(self.noise[row])
        # A run whose result is certain adds no information.
        step = step / np.sqrt(scale) if scale > 0.0 else np.zeros_like(step)
        self._steps.append(step)
        np.maximum(self.variance - step**2, 0.0, out=self.variance)

    def draw(self, count: int, rng: np.random.Generator) -> Matrix:
        """Draw the metric at all M mixtures jointly, ``count`` times: (count, M), without noise, given the fitted runs alone."""
        return self._draw(count, rng)


def correlated(covariance: Matrix, count: int, rng: np.random.Generator) -> Matrix:
    """Draws (count, M) of mean 0 of many variables: by a pivoted Cholesky factor, which may be singular."""
    from scipy.linalg import lapack

    factor, pivots, rank, _ = lapack.dpstrf(covariance, lower=1)
    lower = np.tril(factor)[:, :rank]
    out = np.empty((count, len(covariance)))
    out[:, pivots - 1] = rng.standard_normal((count, rank)) @ lower.T
    return out
