"""Hyper-parameters of one Gaussian process by L-BFGS on the log marginal likelihood and its exact gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
# A likelihood that no line search steps over, where the covariance is not positive definite.
_REFUSED = 1e25


# Weak normal priors on logarithms, as (centre, precision). Length scales are around e^2 (a root share moves by at most 1, so
# a domain does not matter until the runs say so) within a factor of e; noise is around 2 % of the variance within a factor
# of 4; the floor is half the range of the values below the least, within a factor of e. Without them some metric of a swarm
# with hardly more runs than domains is explained without noise, and its error bars are too small.
_LENGTH, _NOISE, _DEPTH_PRECISION = (2.0, 1.0), (-4.0, 0.5), 1.0

# Bounds on the logarithms of amplitude, length scales, noise and slope, for targets of variance 1.
_AMPLITUDE_BOUNDS, _LENGTH_BOUNDS, _NOISE_BOUNDS, _SLOPE_BOUNDS = (-8.0, 11.5), (-4.0, 11.5), (-14.0, 2.0), (-12.0, 8.0)
# The floor lies below the least value by at least this part of the range.
_CLOSEST = 0.05

_ITERATIONS, _TOLERANCE = 200, 1e-7
# With half as many runs again or more, hyper-parameters are searched on a random part of so many, then improved on all.
_PART = 128
_ALL_NOISE = math.log(0.3)
_NORMAL_90, _TRUSTED_HALF = 1.6449, 100
# Where hyper-parameters are fewer than so many a run, they cannot make error bars 3 % too small.
_NOT_WORTH_COUNTING = 0.05


@dataclass(frozen=True)
class Rule:
    """How a metric is fitted: see `GaussianProcess`; the seed is one of the metric's own."""

    mean: str
    log: bool
    restarts: int
    prior: float
    seed: tuple[int, int]


@dataclass(frozen=True)
class One:
    """The fitted process of one metric; y = constant + scale * target, or floor + exp of that where `logged`."""

    theta: Vector  # (D + 4,): logarithms of a, l_1..l_D, n, b, psi; NaN for those that are not there
    weights: Vector
    constant: float
    scale: float
    floor: float
    logged: bool
    widen: float
    likelihood: float


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

        from mixfast.laws import _gaussian_loops

        self.loops, self.lapack = _gaussian_loops, lapack
        self.z, self.y, self.prior, self.scale = z, y, prior, scale
        runs = len(z)
        self.trend = x is not None
        self.linear = x @ x.T if x is not None else np.zeros((runs, runs))
        self.floor = floor
        self.least = float(y.min()) if least is None else least
        self.depth = math.log(0.5 * (float(y.max()) - self.least)) if floor else 0.0
        self.k, self.h, self.gram = np.empty((runs, runs)), np.empty((runs, runs)), np.empty((runs, runs))
        self.evaluations = 0

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
        self.loops.covariance(
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
        """The value, with the priors', and the gradient."""
        self.evaluations += 1
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
        on_linear = self.loops.weigh(inverse, alpha, self.linear, self.h)
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
        dims = self.z.shape[1]
        parts = [(slice(1, 1 + dims), *_LENGTH), (slice(1 + dims, 2 + dims), *_NOISE)]
        if self.floor:
            parts.append((slice(self.size - 1, self.size), self.depth, _DEPTH_PRECISION))
        for where, centre, precision in parts:
            off = theta[where] - centre
            value += 0.5 * self.prior * precision * float(off @ off)
            gradient[where] += self.prior * precision * off
        return value, gradient


def maximise(
    likelihood: Likelihood, start: Vector, bounds: list[tuple[float, float]], *, iterations: int, tolerance: float
) -> tuple[Vector, float]:
    """Best hyper-parameters from a start, and minus their log posterior."""
    from scipy.optimize import minimize

    options: dict[str, Any] = {"maxiter": iterations, "ftol": tolerance, "gtol": 1e-4, "maxcor": 20}
    lower, upper = np.array(bounds).T
    found = minimize(
        likelihood, np.clip(start, lower, upper), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    return np.asarray(found.x, dtype=np.float64), float(found.fun)


def fit(z: Matrix, t: Matrix, y: Vector, rule: Rule) -> One:
    """Fit one metric: features z (R, D) of the process, t (R, D) of the trend, values y (R,), all finite."""
    dims = z.shape[1]
    theta = np.full(dims + 4, np.nan)
    least, reach = float(y.min()), float(np.ptp(y))
    # A spread of roundings is none: their variance could not be divided by.
    if reach <= 1e-12 * float(np.abs(y).max()):
        return One(theta, np.zeros(len(y)), float(np.median(y)), 0.0, 0.0, False, 1.0, 0.0)
    logged = rule.log and least > 0.0
    floored = logged and rule.mean == "log_linear"
    shift = 0.0
    if floored:
        depth = min(0.5 * reach, 0.9 * least)
        scale = float(np.log(y - least + depth).std())
    else:
        y = np.log(y) if logged else y
        shift, scale = float(y.mean()), float(y.std())
        y = (y - shift) / scale

    start = [0.0, *([1.0] * dims), -4.0]
    bounds = [_AMPLITUDE_BOUNDS, *([_LENGTH_BOUNDS] * dims), _NOISE_BOUNDS]
    trend = t if rule.mean != "constant" else None
    if trend is not None:
        start.append(0.0)
        bounds.append(_SLOPE_BOUNDS)
    if floored:
        start.append(math.log(depth))
        bounds.append((math.log(min(_CLOSEST * reach, 0.5 * least)), math.log(least)))
    factor_of_y = scale if floored else 1.0
    model = Likelihood(z, trend, y, floor=floored, prior=rule.prior, scale=factor_of_y)
    rng = np.random.default_rng(rule.seed)
    first = np.array(start)
    if len(y) >= 1.5 * _PART:
        part = np.sort(rng.choice(len(y), _PART, replace=False))
        # The floor of the part lies below all values, not only below its own.
        search = Likelihood(
            z[part], None if trend is None else trend[part], y[part],
            floor=floored, prior=rule.prior, scale=factor_of_y, least=model.least,
        )  # fmt: skip
        first = maximise(search, first, bounds, iterations=_ITERATIONS, tolerance=10.0 * _TOLERANCE)[0]
    best, value = maximise(model, first, bounds, iterations=_ITERATIONS, tolerance=_TOLERANCE)
    others = [
        np.concatenate([start[:1], rng.normal(1.0, 1.0, size=dims), start[1 + dims :]]) for _ in range(rule.restarts)
    ]
    if best[1 + dims] > _ALL_NOISE:
        # "All is noise" is often a local optimum, above all of a part of the runs.
        others += [np.array(start), np.concatenate([start[:1], np.zeros(dims), start[1 + dims :]])]
    for other in others:
        other, other_value = maximise(model, other, bounds, iterations=_ITERATIONS, tolerance=_TOLERANCE)
        if other_value < value:
            best, value = other, other_value

    theta[: model.size - model.floor] = best[: model.size - model.floor]
    theta[-1] = best[-1] if floored else np.nan
    weights, constant, left_out = model.weights(best)
    likelihood = -value
    if not floored:  # that of y itself, not of what was made of it
        likelihood -= len(y) * math.log(scale) + (float((y * scale + shift).sum()) if logged else 0.0)
    widen = _from_left_out(left_out) * _for_fitting(model, best)
    floor = model.least - math.exp(best[-1]) if floored else 0.0
    return One(theta, weights, constant * scale + shift, scale, floor, logged, widen, likelihood)


def _from_left_out(residuals: Vector) -> float:
    """Factor of error bars that puts 90 % of left-out runs, given over their standard deviations, within 1.645 of 0.

    Runs have heavier tails than a normal distribution: their variance would make the usual intervals too wide. The
    quantile of few runs is itself uncertain, by a tenth at 100, and is trusted accordingly.
    """
    quantile = float(np.quantile(np.abs(residuals), 0.9)) / _NORMAL_90
    trust = len(residuals) / (len(residuals) + _TRUSTED_HALF)
    return float(np.clip(1.0 + trust * (quantile - 1.0), 0.7, 1.5))


def _for_fitting(model: Likelihood, theta: Vector) -> float:
    """How much wider error bars are for R - p runs than for R, p counting hyper-parameters that the runs have set.

    One that only its prior holds counts as 0: p sums curvature of the likelihood over curvature of the posterior.
    """
    runs = len(model.z)
    if model.size < _NOT_WORTH_COUNTING * runs:
        return 1.0
    held = np.zeros(model.size)  # by priors, as a part of all that holds them
    held[1 : model.z.shape[1] + 1], held[model.z.shape[1] + 1] = _LENGTH[1], _NOISE[1]
    if model.floor:
        held[-1] = _DEPTH_PRECISION
    held *= model.prior
    step, base = 1e-3, model(theta)[1]
    for at in np.flatnonzero(held):
        along = np.zeros(model.size)
        along[at] = step
        curvature = float(model(theta + along)[1][at] - base[at]) / step
        held[at] = min(held[at] / max(curvature, 1e-12), 1.0)
    return math.sqrt(runs / max(runs - float((1.0 - held).sum()), 0.5 * runs))


def factor(z: Matrix, t: Matrix, theta: Vector) -> Matrix:
    """Upper Cholesky factor, in column order, of the covariance of runs under the hyper-parameters of a `One`."""
    dims = z.shape[1]
    trend = None if math.isnan(theta[dims + 2]) else t
    model = Likelihood(z, trend, np.zeros(len(z)), floor=False, prior=0.0)
    return np.asfortranarray(np.triu(model.factored(theta)[0]))
