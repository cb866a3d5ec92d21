"""The log marginal likelihood of one Gaussian process and its exact gradient."""

from __future__ import annotations

import math

import numpy as np

from mixfast._engine.backend import laws as loops
from mixfast._engine.backend.arrays import Matrix, Vector

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
# Returned if the covariance is not positive definite; large enough that no line search accepts it.
_REFUSED = 1e25
_NOT_DEFINITE = "the covariance of the runs is not positive definite; check the metrics for implausible values"

# Weak normal priors on logarithms, as (centre, precision). Length scales: e^2 within a factor of e. (The square root of a share changes
# by at most 1, so a domain has little effect unless the runs show one.) Noise: 2 % of the variance within a factor of 4. Floor: half the
# range of the values below the smallest, within a factor of e. Without priors, in a swarm with only a few more runs than domains, some
# metric is fitted with zero noise, and its error bars are too small.
LENGTH, NOISE, DEPTH_PRECISION = (2.0, 1.0), (-4.0, 0.5), 1.0


class Likelihood:
    """Minus the log marginal likelihood of targets at features, and its gradient.

    The covariance is ``a * matern52(z / l) + b * x x' + n * I``. The constant mean is estimated by generalised least squares.
    The target is y itself or ``log(y - c) / scale`` with ``c = least - exp(psi)``. Hyper-parameters are
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
        self.z, self.y = np.ascontiguousarray(z), np.ascontiguousarray(y)
        self.prior, self.scale = prior, scale
        runs = len(z)
        self.trend = x is not None
        self.linear = x @ x.T if x is not None else np.zeros((runs, runs))
        self.floor = floor
        self.least = float(y.min()) if least is None else least
        self.depth = math.log(0.5 * (float(y.max()) - self.least)) if floor else 0.0
        self.memory = np.zeros(loops.likelihood_memory(*z.shape))
        self.alpha, self.diagonal, self.on_length = np.empty(runs), np.empty(runs), np.empty(z.shape[1])

    @property
    def size(self) -> int:
        """The number of hyper-parameters."""
        return 2 + self.z.shape[1] + self.trend + self.floor

    def target(self, theta: Vector) -> Vector:
        """Return the Gaussian target: y, or the scaled logarithm of y minus the floor."""
        if not self.floor:
            return self.y
        return np.log(self.y - (self.least - math.exp(theta[-1]))) / self.scale

    def parts(self, theta: Vector, target: Vector) -> tuple[float, float, float, float, float] | None:
        """Return what `_engine.backend.laws.likelihood` returns; it also fills `alpha`, `diagonal` and `on_length`."""
        dims = self.z.shape[1]
        return loops.likelihood(
            self.z * np.exp(-theta[1 : 1 + dims]), self.linear, target, math.exp(theta[0]), self._slope(theta),
            math.exp(theta[1 + dims]), self.memory, self.alpha, self.diagonal, self.on_length,
        )  # fmt: skip

    def weights(self, theta: Vector) -> tuple[Vector, float, Vector]:
        """Return weights of the runs, the constant mean, and leave-one-out residuals divided by their standard deviations."""
        found = self.parts(theta, self.target(theta))
        if found is None:
            raise ValueError(_NOT_DEFINITE)
        return self.alpha.copy(), found[2], self.alpha / np.sqrt(self.diagonal)

    def __call__(self, theta: Vector) -> tuple[float, Vector]:
        """Return the value, including the priors, and the gradient. If the covariance is not positive definite, the value is too large to accept.

        With ``A = alpha alpha' - K^-1``, the derivative by a hyper-parameter is ``-1/2 tr(A dK)``.
        """
        dims, runs = self.z.shape[1], len(self.z)
        found = self.parts(theta, self.target(theta))
        if found is None:
            return _REFUSED, np.zeros(self.size)
        fit, half_log_det, _, trace, on_linear = found
        value = 0.5 * fit + half_log_det + runs * _HALF_LOG_2PI
        noise, slope = math.exp(theta[1 + dims]), self._slope(theta)
        gradient = np.empty(self.size)
        # tr(AK) = fit - R. The Matern part is the rest after subtracting the other parts.
        gradient[0] = -0.5 * (fit - runs - slope * on_linear - noise * trace)
        gradient[1 : 1 + dims] = -self.on_length
        gradient[1 + dims] = -0.5 * noise * trace
        if self.trend:
            gradient[2 + dims] = -0.5 * slope * on_linear
        if self.floor:
            below = math.exp(theta[-1])
            excess = self.y - self.least + below
            value += float(np.log(excess).sum()) + runs * math.log(self.scale)
            gradient[-1] = below * (float(self.alpha @ (1.0 / excess)) / self.scale + float((1.0 / excess).sum()))
        return self._with_prior(theta, value, gradient)

    def _slope(self, theta: Vector) -> float:
        return math.exp(theta[2 + self.z.shape[1]]) if self.trend else 0.0

    def _with_prior(self, theta: Vector, value: float, gradient: Vector) -> tuple[float, Vector]:
        """Add the priors to a value and, in place, to its gradient."""
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
    """Return the upper Cholesky factor, in column order, of the covariance of runs under the hyper-parameters of a `Process`."""
    from scipy.linalg import lapack

    dims, runs = z.shape[1], len(z)
    zs = z * np.exp(-theta[1 : 1 + dims])
    gram, k, h = zs @ zs.T, np.empty((runs, runs)), np.empty((runs, runs))
    slope = 0.0 if math.isnan(theta[dims + 2]) else math.exp(theta[dims + 2])
    loops.covariance(
        gram, np.diagonal(gram).copy(), t @ t.T, math.exp(theta[0]), slope, math.exp(theta[1 + dims]), k, h
    )
    upper, info = lapack.dpotrf(k.T, lower=0, clean=1, overwrite_a=1)
    if info != 0:
        raise ValueError(_NOT_DEFINITE)
    return np.asfortranarray(upper)
