"""The log marginal likelihood of one Gaussian process and its exact gradient."""

from __future__ import annotations

import math

import numpy as np

from mixfast._engine.backend import laws as loops
from mixfast._engine.backend.arrays import Matrix, Vector

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
# The value where the covariance is not positive definite; no line search accepts it.
_REFUSED = 1e25

# Weak normal priors on logarithms, as (centre, precision). Length scales are around e^2 (a root share moves by at most 1, so
# a domain does not matter until the runs say so) within a factor of e; noise is around 2 % of the variance within a factor
# of 4; the floor is half the range of the values below the least, within a factor of e. Without them some metric of a swarm
# with hardly more runs than domains is explained without noise, and its error bars are too small.
LENGTH, NOISE, DEPTH_PRECISION = (2.0, 1.0), (-4.0, 0.5), 1.0


class Likelihood:
    """Minus the log marginal likelihood of targets at features, with its gradient.

    The covariance is ``a * matern52(z / l) + b * x x' + n * I``, the constant mean is the generalised least-squares one,
    and the target is y itself or ``log(y - c) / scale`` with ``c = least - exp(psi)``. Hyper-parameters are
    logarithms, in the order ``a, l_1..l_D, n[, b][, psi]``. `prior` multiplies the precision of their priors.
    """

    def __init__(
        self,
        z: Matrix,
        x: Matrix | None,
        y: Vector,
        *,
        floor: bool,
        prior: float,
        scale: float = 1.0,
        least: float | None = None,
    ) -> None:
        from scipy.linalg import lapack

        self.lapack = lapack
        self.z, self.y, self.prior, self.scale = z, y, prior, scale
        runs = len(z)
        self.trend = x is not None
        self.linear = x @ x.T if x is not None else np.zeros((runs, runs))
        self.floor = floor
        self.least = float(y.min()) if least is None else least
        self.depth = math.log(0.5 * (float(y.max()) - self.least)) if floor else 0.0
        self.k, self.h, self.gram = np.empty((runs, runs)), np.empty((runs, runs)), np.empty((runs, runs))

    @property
    def size(self) -> int:
        """How many hyper-parameters there are."""
        return 2 + self.z.shape[1] + self.trend + self.floor

    def target(self, theta: Vector) -> Vector:
        """What is Gaussian: y, or the scaled logarithm of its excess over the floor."""
        if not self.floor:
            return self.y
        return np.log(self.y - (self.least - math.exp(theta[-1]))) / self.scale

    def factor(self, theta: Vector) -> tuple[Matrix, float, Matrix] | None:
        """Cholesky factor (upper, column order) of the covariance, half its log determinant, and the scaled features."""
        dims = self.z.shape[1]
        zs = self.z * np.exp(-theta[1 : 1 + dims])
        slope = math.exp(theta[2 + dims]) if self.trend else 0.0
        np.dot(zs, zs.T, out=self.gram)
        loops.covariance(
            self.gram, np.diagonal(self.gram).copy(), self.linear, math.exp(theta[0]), slope, math.exp(theta[1 + dims]),
            self.k, self.h,
        )  # fmt: skip
        upper, info = self.lapack.dpotrf(self.k.T, lower=0, clean=0, overwrite_a=1)
        if info != 0:
            return None
        return upper, float(np.log(np.diagonal(upper)).sum()), zs

    def factored(self, theta: Vector) -> tuple[Matrix, float, Matrix]:
        """`factor`, where it is known to exist: of hyper-parameters whose likelihood was finite."""
        found = self.factor(theta)
        if found is None:
            raise ValueError("the covariance of the runs is not positive definite; are there runs with absurd metrics?")
        return found

    def solve(self, upper: Matrix, target: Vector) -> tuple[Vector, float]:
        """Weights of the runs, and the constant mean."""
        both = self.lapack.dpotrs(upper, np.stack((target, np.ones(len(target))), axis=1), lower=0)[0]
        mean = float(both[:, 0].sum() / both[:, 1].sum())
        return both[:, 0] - mean * both[:, 1], mean

    def weights(self, theta: Vector) -> tuple[Vector, float, Vector]:
        """Weights of the runs, the constant mean, and left-out residuals over their own standard deviations."""
        upper = self.factored(theta)[0]
        alpha, mean = self.solve(upper, self.target(theta))
        inverse = self.lapack.dpotri(upper, lower=0, overwrite_c=1)[0]
        return alpha, mean, alpha / np.sqrt(np.diagonal(inverse))

    def __call__(self, theta: Vector) -> tuple[float, Vector]:
        """The value, with the priors', and the gradient.

        1. Factor the covariance; where it is not positive definite, refuse.
        2. Solve for the weights of the runs and the constant mean, which gives the value.
        3. Invert the covariance, and weigh its derivatives by ``alpha alpha' - K^-1``, which gives the gradient.
        4. Add what the floor does to the target, and the priors.
        """
        dims, runs = self.z.shape[1], len(self.z)
        found = self.factor(theta)
        if found is None:
            return _REFUSED, np.zeros(self.size)
        upper, half_log_det, zs = found
        target = self.target(theta)
        alpha, mean = self.solve(upper, target)
        fit = float(alpha @ (target - mean))
        value = 0.5 * fit + half_log_det + runs * _HALF_LOG_2PI

        inverse = self.lapack.dpotri(upper, lower=0, overwrite_c=1)[0].T
        trace = float(alpha @ alpha - np.trace(inverse))
        on_linear = loops.weigh(inverse, alpha, self.linear, self.h)
        # sum_{i>j} h_ij (z_i - z_j)^2 from row sums, column sums and z' h z; h is lower triangular.
        amplitude, noise = math.exp(theta[0]), math.exp(theta[1 + dims])
        sums = self.h.sum(axis=1) + self.h.sum(axis=0)
        on_length = amplitude * (sums @ (zs * zs) - 2.0 * np.einsum("rd,rd->d", zs, self.h @ zs))

        gradient = np.empty(self.size)
        slope = math.exp(theta[2 + dims]) if self.trend else 0.0
        # tr((aa' - K^-1) K) = fit - R, of which the Matern part is what the others leave.
        gradient[0] = -0.5 * (fit - runs - slope * on_linear - noise * trace)
        gradient[1 : 1 + dims] = -on_length
        gradient[1 + dims] = -0.5 * noise * trace
        if self.trend:
            gradient[2 + dims] = -0.5 * slope * on_linear
        if self.floor:
            below = math.exp(theta[-1])
            excess = self.y - self.least + below
            value += float(np.log(excess).sum()) + runs * math.log(self.scale)
            gradient[-1] = below * (float(alpha @ (1.0 / excess)) / self.scale + float((1.0 / excess).sum()))
        return self._with_prior(theta, value, gradient)

    def _with_prior(self, theta: Vector, value: float, gradient: Vector) -> tuple[float, Vector]:
        """Add the priors' part to a value and, in place, to its gradient."""
        dims = self.z.shape[1]
        parts = [(slice(1, 1 + dims), *LENGTH), (slice(1 + dims, 2 + dims), *NOISE)]
        if self.floor:
            parts.append((slice(self.size - 1, self.size), self.depth, DEPTH_PRECISION))
        for where, centre, precision in parts:
            off = theta[where] - centre
            value += 0.5 * self.prior * precision * float(off @ off)
            gradient[where] += self.prior * precision * off
        return value, gradient


def factor(z: Matrix, t: Matrix, theta: Vector) -> Matrix:
    """Upper Cholesky factor, in column order, of the covariance of runs under the hyper-parameters of a `Process`."""
    dims = z.shape[1]
    trend = None if math.isnan(theta[dims + 2]) else t
    model = Likelihood(z, trend, np.zeros(len(z)), floor=False, prior=0.0)
    return np.asfortranarray(np.triu(model.factored(theta)[0]))
