"""The joint posterior of one Gaussian process at many mixtures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast.laws._gaussian_inputs import correlations, squares
from mixfast.laws._joint import Joint, correlated


@dataclass(frozen=True, eq=False)
class Latent:
    """The prior at M mixtures and the information from R runs, for the target that determines the metric.

    ``cov(m, m') = amplitude matern(m, m') + slope t_m.t_m' - told_m.told_m' + open_m open_m'``.
    """

    scaled: Matrix  # (M, D), features by length scales
    trend: Matrix  # (M, D)
    amplitude: float
    slope: float
    noise: float
    told: Matrix  # (R, M): L^-1 K(runs, mixtures)
    open: Vector  # (M,): standard deviation that the uncertain constant adds at each mixture

    def variance(self) -> Vector:
        """Return variances (M,), without noise."""
        own = self.amplitude + self.slope * squares(self.trend)
        return np.maximum(own - np.einsum("rm,rm->m", self.told, self.told) + self.open**2, 0.0)

    def columns(self, rows: NDArray[np.int64]) -> Matrix:
        """Return covariances (M, rows)."""
        out = self.amplitude * correlations(self.scaled, self.scaled[rows])
        out += self.slope * (self.trend @ self.trend[rows].T)
        out -= self.told.T @ self.told[:, rows]
        out += np.outer(self.open, self.open[rows])
        return out


def joint(latent: Latent, value: Vector, scale: float, floor: float | None) -> Joint:
    """Return the joint posterior of a metric with medians ``value`` (M,): t, or ``floor + exp(t)``, for a target t in units of ``scale``.

    The covariances linearise the metric at the medians; the samples use the metric itself.
    """
    # The derivative of floor + exp(t) by t is exp(t).
    stretch = np.full(len(value), scale) if floor is None else scale * (value - floor)

    def draw(count: int, rng: np.random.Generator) -> Matrix:
        apart = scale * correlated(latent.columns(np.arange(len(value))), count, rng)
        return value + apart if floor is None else floor + (value - floor) * np.exp(apart)

    return Joint(
        stretch**2 * latent.variance(),
        stretch**2 * latent.noise,
        lambda rows: stretch[:, None] * stretch[rows] * latent.columns(rows),
        draw,
    )


def certain(value: Vector) -> Joint:
    """Return the posterior of a metric that is the same in every run."""
    still = np.zeros(len(value))
    return Joint(
        still, still, lambda rows: np.zeros((len(value), len(rows))), lambda count, _: np.tile(value, (count, 1))
    )
