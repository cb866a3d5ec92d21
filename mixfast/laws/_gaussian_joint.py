"""The posterior of one Gaussian process at many mixtures jointly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast.laws._gaussian_inputs import correlations, squares
from mixfast.laws._joint import Joint, correlated


@dataclass(frozen=True, eq=False)
class Latent:
    """Prior at M mixtures and the information of R runs, for the target that the metric is a function of.

    ``cov(m, m') = amplitude matern(m, m') + slope t_m.t_m' - told_m.told_m' + open_m open_m'``.
    """

    scaled: Matrix  # (M, D), features by length scales
    trend: Matrix  # (M, D)
    amplitude: float
    slope: float
    noise: float
    told: Matrix  # (R, M): L^-1 K(runs, mixtures)
    open: Vector  # (M,): what the runs leave open of the constant, in standard deviations

    def variance(self) -> Vector:
        """Variances (M,), noise not included."""
        own = self.amplitude + self.slope * squares(self.trend)
        return np.maximum(own - np.einsum("rm,rm->m", self.told, self.told) + self.open**2, 0.0)

    def columns(self, rows: NDArray[np.int64]) -> Matrix:
        """Covariances (M, rows)."""
        out = self.amplitude * correlations(self.scaled, self.scaled[rows])
        out += self.slope * (self.trend @ self.trend[rows].T)
        out -= self.told.T @ self.told[:, rows]
        out += np.outer(self.open, self.open[rows])
        return out


def joint(latent: Latent, value: Vector, scale: float, floor: float | None) -> Joint:
    """The posterior of a metric of medians ``value`` (M,): ``floor + exp(t)``, or t itself, of a target t in units of ``scale``.

    Covariances are those of the metric's tangent at the medians, draws those of the metric itself.
    """
    # By its target, floor + exp(t) has the slope exp(t).
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
    """A metric that was the same in every run."""
    still = np.zeros(len(value))
    return Joint(
        still, still, lambda rows: np.zeros((len(value), len(rows))), lambda count, _: np.tile(value, (count, 1))
    )
