"""Joint uncertainty of one metric at many mixtures, and how new runs at some of them would reduce it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector

Places = NDArray[np.int64]


class Joint:
    """Covariances of a metric at M mixtures, without noise, in the squared unit of the metric.

    Attributes
    ----------
    variance : ndarray (M,)
        Variance given the runs that the law was fitted to, and the runs added by `choose`.
    noise : ndarray (M,)
        Additional variance of a new run's result at each mixture.
    limit : float or None
        The value that the law approaches and never crosses, if the logarithm of its distance from this value is (nearly) linear in
        the coefficients.
        Errors are then normal on the scale of this logarithm. None: they are normal on the scale of the metric.

    Notes
    -----
    The settings of the law stay fixed. After `choose`, the covariances are those of the law with that run added; they do not depend
    on the run's result. No M x M matrix is stored: each run costs one column and M numbers.
    """

    variance: Vector
    noise: Vector
    limit: float | None

    def __init__(
        self,
        variance: Vector,
        noise: Vector,
        columns: Callable[[Places], Matrix],
        draw: Callable[[int, np.random.Generator], Matrix],
        limit: float | None = None,
    ) -> None:
        self.variance, self.noise, self.limit = np.maximum(variance, 0.0), noise, limit
        self._columns, self._draw = columns, draw
        self._steps: list[Vector] = []

    def column(self, row: int) -> Vector:
        """Return covariances (M,) with the mixture at this position."""
        out = np.array(self._columns(np.array([row]))[:, 0])
        for step in self._steps:
            out -= step[row] * step
        return out

    def choose(self, row: int) -> None:
        """Add a run at the mixture at this position, which reduces the covariances."""
        step = self.column(row)
        scale = max(float(step[row]), 0.0) + float(self.noise[row])
        # A run with a certain result adds no information.
        step = step / np.sqrt(scale) if scale > 0.0 else np.zeros_like(step)
        self._steps.append(step)
        np.maximum(self.variance - step**2, 0.0, out=self.variance)

    def draw(self, count: int, rng: np.random.Generator) -> Matrix:
        """Sample the metric jointly at all M mixtures, ``count`` times: (count, M), without noise, given only the fitted runs."""
        return self._draw(count, rng)


def correlated(covariance: Matrix, count: int, rng: np.random.Generator) -> Matrix:
    """Sample (count, M) correlated normal variables with mean 0. The covariance may be singular (pivoted Cholesky)."""
    from scipy.linalg import lapack

    factor, pivots, rank, _ = lapack.dpstrf(covariance, lower=1)
    lower = np.tril(factor)[:, :rank]
    out = np.empty((count, len(covariance)))
    out[:, pivots - 1] = rng.standard_normal((count, rank)) @ lower.T
    return out
