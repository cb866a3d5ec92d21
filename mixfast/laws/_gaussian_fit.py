"""Search the hyper-parameters of one Gaussian process, by L-BFGS on the log marginal likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast.laws._gaussian_likelihood import DEPTH_PRECISION, LENGTH, NOISE, Likelihood
from mixfast.laws._gaussian_process import Process

# Bounds on the logarithms of amplitude, length scales, noise and slope, for targets of variance 1.
_AMPLITUDE_BOUNDS, _LENGTH_BOUNDS, _NOISE_BOUNDS, _SLOPE_BOUNDS = (-8.0, 11.5), (-4.0, 11.5), (-14.0, 2.0), (-12.0, 8.0)
# The floor lies below the smallest value by at least this fraction of the range.
_CLOSEST = 0.05

# A search stops after this many iterations, or when the likelihood changes by less than this fraction.
_ITERATIONS, _TOLERANCE = 200, 1e-7
# Start of a search, as logarithms: amplitude, length scales, noise and slope.
_START_AMPLITUDE, _START_LENGTH, _START_NOISE, _START_SLOPE = 0.0, 1.0, -4.0, 0.0
# With 1.5 times as many runs or more, the hyper-parameters are first searched on a random subset of this size.
_PART = 128
# A noise variance above this fraction of the total variance suggests a local optimum.
_ALL_NOISE = math.log(0.3)
# A search that starts where another ended: maximum steps, longest step (in logarithms), smallest curvature that is trusted, and
# the gain at which it stops (nats): a smaller gain in the likelihood does not change predictions.
_POLISH_STEPS, _LONGEST, _LEAST_CURVATURE, _POLISH_GAIN = 30, 1.0, 0.05, 1e-3
# 90 % of a normal distribution lies within this many standard deviations; with this many left-out runs, their own quantile has weight 1/2.
_NORMAL_90, _TRUSTED_HALF = 1.6449, 100
# Range of the factor by which left-out runs may widen or narrow the error bars.
_NARROWEST, _WIDEST = 0.7, 1.5
# With fewer hyper-parameters per run than this, fitting them makes error bars less than 3 % too small.
_FEW_FOR_EACH_RUN = 0.05


@dataclass(frozen=True)
class Rule:
    """How a metric is fitted, see `GaussianProcess`; each metric has its own seed."""

    mean: str
    log: bool
    restarts: int
    prior: float
    seed: tuple[int, int]


def maximise(
    likelihood: Callable[[Vector], tuple[float, Vector]],
    start: Vector,
    bounds: list[tuple[float, float]],
    *,
    iterations: int = _ITERATIONS,
    tolerance: float = _TOLERANCE,
    slope: float = 1e-4,
) -> tuple[Vector, float]:
    """Return the best hyper-parameters found from a start, and minus their log posterior."""
    from scipy.optimize import minimize

    lower, upper = np.array(bounds).T
    found = minimize(
        likelihood, np.clip(start, lower, upper), jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": iterations, "ftol": tolerance, "gtol": slope, "maxcor": 20},
    )  # fmt: skip
    return np.asarray(found.x, dtype=np.float64), float(found.fun)


@dataclass(frozen=True, eq=False)
class _Target:
    """The transform of a metric y that is modelled as Gaussian: ``log(y - floor)`` with a fitted floor, or standardised y or log(y)."""

    values: Vector  # y if the floor is fitted, otherwise the standardised target
    shift: float
    scale: float
    logged: bool
    floored: bool
    depth: float = math.nan  # distance of the floor below the smallest value, at the start
    depths: tuple[float, float] = (math.nan, math.nan)  # bounds on its logarithm

    @classmethod
    def of(cls, y: Vector, rule: Rule) -> _Target:
        """Choose the transform from the rule and from whether all values are positive."""
        least, reach = float(y.min()), float(np.ptp(y))
        logged = rule.log and least > 0.0
        if logged and rule.mean == "log_linear":
            depth = min(0.5 * reach, 0.9 * least)
            depths = math.log(min(_CLOSEST * reach, 0.5 * least)), math.log(least)
            return cls(y, 0.0, float(np.log(y - least + depth).std()), True, True, depth, depths)
        y = np.log(y) if logged else y
        shift, scale = float(y.mean()), float(y.std())
        return cls((y - shift) / scale, shift, scale, logged, False)

    def likelihood(
        self, z: Matrix, trend: Matrix | None, prior: float, rows: NDArray[np.int64] | slice = slice(None)
    ) -> Likelihood:
        """Return the likelihood of some runs, by default of all. The floor stays below all values, not only below those of the subset."""
        return Likelihood(
            z[rows], None if trend is None else trend[rows], self.values[rows],
            floor=self.floored, prior=prior, scale=self.scale if self.floored else 1.0, least=float(self.values.min()),
        )  # fmt: skip

    def log_likelihood(self, value: float) -> float:
        """Convert minus the log likelihood of the transformed values to the log likelihood of y itself."""
        if self.floored:
            return -value
        jacobian = float((self.values * self.scale + self.shift).sum()) if self.logged else 0.0
        return -value - (len(self.values) * math.log(self.scale) + jacobian)


def fit(z: Matrix, t: Matrix, y: Vector, rule: Rule) -> Process:
    """Fit one metric to features z (R, D) of the process, t (R, D) of the trend and values y (R,), all finite.

    1. Choose the transform of the metric.
    2. Maximise the posterior over the hyper-parameters.
    3. Compute the weights of the runs, and scale the error bars to match left-out runs.
    """
    # A spread as small as rounding errors is treated as zero, because targets cannot be divided by it.
    if float(np.ptp(y)) <= 1e-12 * float(np.abs(y).max()):
        return Process.still(z, t, float(np.median(y)))
    target = _Target.of(y, rule)
    trend = t if rule.mean != "constant" else None
    model = target.likelihood(z, trend, rule.prior)
    best, value = _search(model, target, z, trend, rule)
    curvature = None if model.size < _FEW_FOR_EACH_RUN * len(z) else _curvature(model, best)
    return _process(model, target, best, value, z, t, curvature, curvature)


def refit(z: Matrix, t: Matrix, y: Vector, rule: Rule, whole: Process, whole_y: Vector) -> Process:
    """Fit one metric to some of the runs of the process ``whole``, which was fitted to the values ``whole_y``.

    The search starts at the hyper-parameters of ``whole``, with their curvature, so it needs only a few likelihoods.
    """
    target = None if whole.is_still or not np.ptp(y) > 0.0 else _Target.of(y, rule)
    trend = t if rule.mean != "constant" else None
    old = None if target is None else _Target.of(whole_y, rule)
    if target is None or old is None or old.floored != target.floored or old.logged != target.logged:
        return fit(z, t, y, rule)
    model, start = target.likelihood(z, trend, rule.prior), whole.theta[~np.isnan(whole.theta)]
    curvature = whole.curvature
    if curvature is None:
        before = old.likelihood(whole.z, whole.t if trend is not None else None, rule.prior)
        curvature = _curvature(before, start)
        object.__setattr__(whole, "curvature", curvature)  # for the next fold
    lower, upper = np.array(_starts_and_bounds(target, z.shape[1], trend is not None)[1]).T
    best, value = _polish(model, np.clip(start, lower, upper), curvature, lower, upper)
    if best[1 + z.shape[1]] > _ALL_NOISE:
        return fit(z, t, y, rule)
    counted = None if model.size < _FEW_FOR_EACH_RUN * len(z) else curvature
    return _process(model, target, best, value, z, t, counted, None)


def _process(
    model: Likelihood,
    target: _Target,
    best: Vector,
    value: float,
    z: Matrix,
    t: Matrix,
    counted: Matrix | None,
    curvature: Matrix | None,
) -> Process:
    """Build the process from hyper-parameters; ``counted`` is the curvature that gives how many of them the runs have determined."""
    theta = np.full(z.shape[1] + 4, np.nan)
    theta[: model.size - model.floor] = best[: model.size - model.floor]
    theta[-1] = best[-1] if target.floored else np.nan
    weights, constant, left_out = model.weights(best)
    return Process(
        z,
        t,
        theta,
        weights,
        constant=constant * target.scale + target.shift,
        scale=target.scale,
        floor=model.least - math.exp(best[-1]) if target.floored else 0.0,
        logged=target.logged,
        widen=_from_left_out(left_out) * (1.0 if counted is None else _for_fitting(model, counted)),
        likelihood=target.log_likelihood(value),
        curvature=curvature,
    )


def _starts_and_bounds(target: _Target, dims: int, trend: bool) -> tuple[list[float], list[tuple[float, float]]]:
    """Return the start of a search over hyper-parameters, and their bounds."""
    start = [_START_AMPLITUDE, *([_START_LENGTH] * dims), _START_NOISE]
    bounds = [_AMPLITUDE_BOUNDS, *([_LENGTH_BOUNDS] * dims), _NOISE_BOUNDS]
    if trend:
        start.append(_START_SLOPE)
        bounds.append(_SLOPE_BOUNDS)
    if target.floored:
        start.append(math.log(target.depth))
        bounds.append(target.depths)
    return start, bounds


def _polish(model: Likelihood, start: Vector, curvature: Matrix, lower: Vector, upper: Vector) -> tuple[Vector, float]:
    """Maximise the posterior by BFGS, from a start with about this curvature; return hyper-parameters and minus their log posterior."""
    # If a direction has less curvature than the priors, or a negative one, limit its step to what the priors alone would allow.
    values, vectors = np.linalg.eigh(curvature)
    inverse = (vectors / np.maximum(np.abs(values), _LEAST_CURVATURE)) @ vectors.T
    theta = start
    value, gradient = model(theta)
    for _ in range(_POLISH_STEPS):
        free = ~(((theta <= lower) & (gradient > 0.0)) | ((theta >= upper) & (gradient < 0.0)))
        step = np.where(free, -inverse @ np.where(free, gradient, 0.0), 0.0)
        step *= min(1.0, _LONGEST / max(float(np.abs(step).max()), 1e-300))
        promised = -float(gradient @ step)
        if promised < _POLISH_GAIN:
            break
        size = 1.0
        while True:
            trial = np.clip(theta + size * step, lower, upper)
            new, slope = model(trial)
            if new <= value - 1e-4 * size * promised or size < 1e-3:
                break
            size *= 0.25
        if not new < value:
            break
        moved, change = trial - theta, slope - gradient
        along = float(moved @ change)
        if along > 1e-10:
            told = inverse @ change
            inverse = (
                inverse
                + np.outer(moved, moved) * ((along + float(change @ told)) / along**2)
                - (np.outer(told, moved) + np.outer(moved, told)) / along
            )
        theta, value, gradient = trial, new, slope
    return theta, value


def _search(model: Likelihood, target: _Target, z: Matrix, trend: Matrix | None, rule: Rule) -> tuple[Vector, float]:
    """Return the best hyper-parameters found, and minus their log posterior.

    1. With many runs, search on a random subset first.
    2. Search on all runs, starting at the end of that search.
    3. Search again from random length scales, as often as the rule says, and twice more if the result explains everything as noise.
    """
    dims = z.shape[1]
    start, bounds = _starts_and_bounds(target, dims, trend is not None)
    rng = np.random.default_rng(rule.seed)
    first = np.array(start)
    if len(z) >= 1.5 * _PART:
        part = np.sort(rng.choice(len(z), _PART, replace=False))
        few = target.likelihood(z, trend, rule.prior, part)
        first = maximise(few, first, bounds, tolerance=10.0 * _TOLERANCE)[0]
    best, value = maximise(model, first, bounds)
    others = [
        np.concatenate([start[:1], rng.normal(_START_LENGTH, 1.0, size=dims), start[1 + dims :]])
        for _ in range(rule.restarts)
    ]
    if best[1 + dims] > _ALL_NOISE:
        # "Everything is noise" is often a local optimum, especially after a search on a subset of the runs.
        others += [np.array(start), np.concatenate([start[:1], np.zeros(dims), start[1 + dims :]])]
    for other in others:
        other, other_value = maximise(model, other, bounds)
        if other_value < value:
            best, value = other, other_value
    return best, value


def _from_left_out(residuals: Vector) -> float:
    """Return the factor of error bars for which 90 % of left-out residuals, divided by their standard deviations, lie within 1.645 of 0.

    Residuals have heavier tails than a normal distribution, so their variance would make central intervals too wide. The quantile
    of few runs is itself uncertain (by a tenth for 100 runs), so it is weighted by the number of runs.
    """
    quantile = float(np.quantile(np.abs(residuals), 0.9)) / _NORMAL_90
    trust = len(residuals) / (len(residuals) + _TRUSTED_HALF)
    return float(np.clip(1.0 + trust * (quantile - 1.0), _NARROWEST, _WIDEST))


def _curvature(model: Likelihood, theta: Vector) -> Matrix:
    """Return second derivatives of minus the log posterior by the hyper-parameters, from differences of its gradient."""
    step, base = 1e-3, model(theta)[1]
    out = np.array([(model(theta + step * along)[1] - base) / step for along in np.eye(model.size)])
    return 0.5 * (out + out.T)


def _for_fitting(model: Likelihood, curvature: Matrix) -> float:
    """Return how much wider error bars must be because p hyper-parameters were fitted: they are for R - p runs, not for R.

    A hyper-parameter that only its prior determines counts as 0: p sums the ratios of likelihood curvature to posterior curvature.
    """
    runs = len(model.z)
    held = np.zeros(model.size)  # fraction of the curvature that comes from the prior
    held[1 : model.z.shape[1] + 1], held[model.z.shape[1] + 1] = LENGTH[1], NOISE[1]
    if model.floor:
        held[-1] = DEPTH_PRECISION
    held *= model.prior
    known = held > 0.0
    held[known] = np.minimum(held[known] / np.maximum(np.diagonal(curvature)[known], 1e-12), 1.0)
    return math.sqrt(runs / max(runs - float((1.0 - held).sum()), 0.5 * runs))
