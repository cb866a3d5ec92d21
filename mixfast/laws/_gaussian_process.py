"""The fitted Gaussian process of one metric: predictions, gradients and error bars."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import laws as loops
from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast.laws._gaussian_inputs import correlations, squares
from mixfast.laws._gaussian_joint import Latent, certain, joint
from mixfast.laws._gaussian_likelihood import factor
from mixfast.laws._joint import Joint

# Number of candidates in one block: their covariances with a few hundred runs fit in the cache.
_CHUNK = 512


@dataclass(frozen=True, eq=False)
class Process:
    """A metric ``constant + scale * t``, or ``floor + exp(constant + scale * t)`` if `logged`, for a Gaussian target t given its R runs.

    z (R, D) are the runs' features for the process, t (R, D) those for the trend. Candidates have the same two kinds, (M, D).
    """

    z: Matrix
    t: Matrix
    theta: Vector  # (D + 4,): logarithms of a, l_1..l_D, n, b, psi; NaN for missing ones
    weights: Vector
    constant: float
    scale: float
    floor: float
    logged: bool
    widen: float  # factor that multiplies the error bars
    likelihood: float
    curvature: Matrix | None = None  # of minus the log posterior, if known; not saved in files

    @classmethod
    def still(cls, z: Matrix, t: Matrix, value: float) -> Process:
        """Make the process of a metric that is the same in every run."""
        nothing = np.full(z.shape[1] + 4, np.nan)
        return cls(z, t, nothing, np.zeros(len(z)), value, 0.0, 0.0, False, 1.0, 0.0)

    @property
    def is_still(self) -> bool:
        """Whether the metric is the same in every run."""
        return self.scale == 0.0

    @cached_property
    def amplitude(self) -> float:
        """Variance of the process (without trend and noise)."""
        return math.exp(self.theta[0])

    @cached_property
    def noise(self) -> float:
        """Variance of the noise."""
        return math.exp(self.theta[1 + self.z.shape[1]])

    @cached_property
    def slope(self) -> float:
        """Variance of the trend's coefficients, 0 without a trend."""
        log = self.theta[2 + self.z.shape[1]]
        return 0.0 if math.isnan(log) else math.exp(log)

    @cached_property
    def upper(self) -> Matrix:
        """Upper Cholesky factor of the runs' covariance."""
        return factor(self.z, self.t, self.theta)

    @cached_property
    def _inverse_lengths(self) -> Vector:
        return np.exp(-self.theta[1 : 1 + self.z.shape[1]])

    @cached_property
    def _middle(self) -> Vector:
        # Distances are computed from inner products; cancellation is smallest if the runs' mean is subtracted first.
        return self.z.mean(axis=0)

    @cached_property
    def _trend_weights(self) -> Vector:
        return self.slope * (self.t.T @ self.weights)

    def _scaled(self, z: Matrix) -> Matrix:
        """Subtract the runs' mean from features and divide by the length scales."""
        return (z - self._middle) * self._inverse_lengths

    def metric(self, target: Vector) -> Vector:
        """Return the metric for values of ``constant + scale * t``."""
        return self.floor + np.exp(target) if self.logged else target

    def _stretch(self, value: Vector) -> Vector:
        """Return derivatives (M,) of the metric by t, at these values of the metric."""
        return (value - self.floor if self.logged else np.ones_like(value)) * self.scale

    def predict(self, z: Matrix, t: Matrix) -> Vector:
        """Return medians (M,) of the metric."""
        out = np.full(len(z), self.constant)
        if self.is_still:
            return out
        weights = self.amplitude * self.weights
        zs, scaled = self._scaled(self.z), self._scaled(z)
        norms, across = squares(zs), np.ascontiguousarray(zs.T)
        k = np.empty((min(_CHUNK, len(z)), len(zs)))
        for part in _chunks(len(z)):
            one = scaled[part]
            gram = np.dot(one, across, out=k[: len(one)])
            loops.matern(gram, squares(one), norms, gram)
            out[part] += self.scale * (gram @ weights)
        if self.slope:
            out += self.scale * (t @ self._trend_weights)
        return self.metric(out)

    def slopes(self, z: Matrix, t: Matrix) -> tuple[Vector, Matrix, Matrix]:
        """Return medians (M,), and their gradients (M, D) by the features of the process and by those of the trend."""
        value = np.full(len(z), self.constant)
        if self.is_still:
            return value, np.zeros_like(z), np.zeros_like(z)
        zs, scaled = self._scaled(self.z), self._scaled(z)
        k, h = np.empty((len(z), len(zs))), np.empty((len(z), len(zs)))
        weights = self.amplitude * self.weights
        loops.matern_slope(scaled @ zs.T, squares(scaled), squares(zs), weights, k, h)
        gradient = (h @ zs - h.sum(axis=1)[:, None] * scaled) * self._inverse_lengths
        value += self.scale * (k @ weights)
        if self.slope:
            value += self.scale * (t @ self._trend_weights)
        value = self.metric(value)
        stretch = self._stretch(value)[:, None]
        return value, gradient * stretch, self._trend_weights * stretch

    def sd(self, z: Matrix, t: Matrix) -> Vector:
        """Return standard deviations (M,) of a new run's target, including noise, before `widen` is applied."""
        out = np.zeros(len(z))
        if not self.is_still:
            for part in _chunks(len(z)):
                latent = self.latent(z[part], t[part])
                out[part] = np.sqrt(latent.variance() + latent.noise)
        return out

    def in_metric(self, sd: Vector, value: Vector) -> Vector:
        """Convert standard deviations of the target to those of the metric at these values, multiplied by `widen`."""
        return sd * self.widen * self._stretch(value)

    def joint(self, z: Matrix, t: Matrix) -> Joint:
        """Return the joint posterior of the metric at all candidates."""
        value = self.predict(z, t)
        if self.is_still:
            return certain(value)
        return joint(self.latent(z, t), value, self.scale * self.widen, self.floor if self.logged else None)

    def latent(self, z: Matrix, t: Matrix) -> Latent:
        """Return the standardised target at candidates, given the runs."""
        from scipy.linalg import blas

        zs, scaled = self._scaled(self.z), self._scaled(z)
        ones = blas.dtrsm(1.0, self.upper, np.ones((len(zs), 1)), trans_a=1)[:, 0]
        k = correlations(scaled, zs)
        k *= self.amplitude
        if self.slope:
            k += self.slope * (t @ self.t.T)
        told = blas.dtrsm(1.0, self.upper, k.T, trans_a=1)
        # The constant is estimated too, so add its uncertainty.
        left = (1.0 - ones @ told) / math.sqrt(float(ones @ ones))
        return Latent(scaled, t, self.amplitude, self.slope, self.noise, told, left)

    def left_out(self, places: NDArray[np.int64], y: Vector) -> tuple[Vector, Vector]:
        """Return medians and standard deviations that these runs, with metric y, would have if they had been left out together.

        Rasmussen and Williams, equations 5.10 to 5.12, for groups of runs. The hyper-parameters stay as they are.
        """
        from scipy.linalg import lapack

        if self.is_still:
            return np.full(len(y), self.constant), np.zeros(len(y))
        inverse, _ = lapack.dpotri(self.upper)
        inverse = np.triu(inverse) + np.triu(inverse, 1).T
        cover = np.linalg.inv(inverse[np.ix_(places, places)])
        target = np.log(y - self.floor) if self.logged else y
        value = self.metric(target - self.scale * (cover @ self.weights[places]))
        return value, self.in_metric(np.sqrt(np.diagonal(cover)), value)


def _chunks(count: int) -> Iterator[slice]:
    """Yield blocks of candidates."""
    return (slice(first, first + _CHUNK) for first in range(0, count, _CHUNK))
