"""GaussianProcess: a smooth surface through the runs with its own error bars, for each metric."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import thread_count
from mixfast.errors import BackendError
from mixfast.laws._protocol import Matrix, State, Vector

if TYPE_CHECKING:
    from mixfast.laws._gaussian_fit import Rule
    from mixfast.laws._gaussian_joint import Latent
    from mixfast.laws._joint import Joint

__all__ = ["GaussianProcess"]

Mean = Literal["log_linear", "linear", "constant"]

# Added to shares under the root, whose slope at a share of 0 would be infinite. A tenth of the 0.001 in which published
# swarms count shares, so that a domain that is absent still differs from one that is hardly there.
_ROOT = 1e-4

_CHUNK = 512  # candidates at a time: their covariances with some hundred runs stay in cache
_LEAST_RUNS = 3
_MANY = 20_000  # candidates from which on metrics are shared out among threads
_SUM_TO_ONE = 0.01


class GaussianProcess:
    """Predict metrics by Gaussian processes over the square roots of the shares.

    A target t of each metric is a constant, plus ``x.b`` with ``b ~ N(0, s^2)``, plus a process of covariance
    ``a matern52(|(z - z') / l|)`` with one length scale for each domain, plus noise. ``z = sqrt(w + 1e-4)``, whose
    distances are Hellinger's; x are the centred shares; features behind the shares are standardised and stand in both.
    All hyper-parameters are the most likely ones under weak priors (those of one metric do not depend on the others,
    unless `tasks` says so).

    Parameters
    ----------
    mean : {"log_linear", "linear", "constant"}, default "log_linear"
        What is expected far from the runs. "log_linear": ``c + exp(b0 + x.b)`` with a floor ``c >= 0`` of its own for each
        metric: ``t = log(y - c)``. "linear": ``b0 + x.b`` for t = log(y), or y. "constant": no trend.
    log : bool, default True
        Whether metrics whose values are all positive are modelled in logarithms. Where they are not, "log_linear"
        is "linear".
    tasks : int, default 0
        0: every metric by itself. Otherwise the rank of what the metrics share (intrinsic coregionalisation): one
        set of length scales for all, covariance of metrics ``W W' + diag``, on the runs that have every metric. For
        noisy metrics that move together; losses that each follow a domain of their own (RegMix's) are better apart.
    restarts : int, default 0
        Further searches, from random length scales; the most likely result is kept.
    prior : float, default 1.0
        Factor of the priors' precision; 0 is maximum likelihood.
    seed : int, default 0
        Of restarts and of the part of the runs that is searched first.

    Raises
    ------
    ValueError
        By settings out of range; by `fit` where a metric has fewer than 3 runs, or shapes do not agree.
    BackendError
        By `fit` and `predict` without Numba and SciPy.

    Notes
    -----
    A likelihood with its gradient costs ``R^3`` multiply-adds, whatever the number of domains; a prediction R exponentials
    for each metric. Above 256 runs a random part is searched first. Everything is deterministic.

    References
    ----------
    Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, chapters 2, 4 and 5. Bonilla, Chai and Williams,
    Multi-task Gaussian Process Prediction, 2008.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> w = rng.dirichlet(np.ones(3), size=40)
    >>> law = GaussianProcess().fit(w, 2 + np.exp(-3 * w[:, :1]))
    >>> law.predict(np.array([[0.5, 0.25, 0.25]])).round(2).tolist()
    [[2.22]]
    """

    name = "gp"
    uses_features = True

    shares: int
    _x: Matrix
    _y: Matrix
    _z: Matrix
    _t: Matrix
    _theta: Matrix
    _alpha: Matrix
    _constant: Vector
    _scale: Vector
    _floor: Vector
    _logged: NDArray[np.bool_]
    _widen: Vector
    _likelihood: Vector
    _centre: Vector
    _spread: Vector
    _between: Matrix
    _noise: Vector
    _factors: dict[int, Matrix]

    def __init__(
        self,
        *,
        mean: Mean = "log_linear",
        log: bool = True,
        tasks: int = 0,
        restarts: int = 0,
        prior: float = 1.0,
        seed: int = 0,
    ) -> None:
        if mean not in ("log_linear", "linear", "constant"):
            raise ValueError(f"mean must be 'log_linear', 'linear' or 'constant', got {mean!r}")
        if tasks < 0 or restarts < 0:
            raise ValueError(f"tasks and restarts must not be negative, got tasks={tasks}, restarts={restarts}")
        if not (prior >= 0.0 and math.isfinite(prior)):
            raise ValueError(f"prior must be a finite number from 0 on, got {prior!r}")
        self.mean: Mean = mean
        self.log, self.tasks, self.restarts, self.prior, self.seed = bool(log), tasks, restarts, float(prior), seed

    # ------------------------------------------------------------------------------------------------ fit

    def fit(self, x: Matrix, y: Matrix) -> Self:
        """Fit one process to each metric.

        Parameters
        ----------
        x : ndarray (R, K) or (R, K + F)
            Mixtures, and features behind them. The shares are the first columns that sum to 1 in every row.
        y : ndarray (R, J)
            Metrics, NaN where a run has none.

        Returns
        -------
        GaussianProcess
            The fitted law; this one is left as it was.
        """
        _require()
        from mixfast.laws import _gaussian_fit

        x, y = np.ascontiguousarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
            raise ValueError(
                f"inputs (R, K) and metrics (R, J) must have as many runs, got shapes {x.shape} and {y.shape}"
            )
        counts = np.isfinite(y).sum(axis=0)
        if counts.min(initial=_LEAST_RUNS) < _LEAST_RUNS:
            worst = int(np.argmin(counts))
            raise ValueError(
                f"metric column {worst} has {counts[worst]} runs; a Gaussian process needs {_LEAST_RUNS} or more: "
                "leave the metric out, or add runs"
            )
        law = copy.copy(self)
        law._x, law._y = x, y
        law.shares = _share_columns(x)
        extra = x[:, law.shares :]
        spread = extra.std(axis=0)
        law._centre = np.concatenate([x[:, : law.shares].mean(axis=0), extra.mean(axis=0)])
        law._spread = np.concatenate([np.ones(law.shares), np.where(spread > 0.0, spread, 1.0)])
        law._z, law._t = law._features(x), law._trend(x)
        metrics, dims = y.shape[1], x.shape[1]
        law._theta = np.full((metrics, dims + 4), np.nan)
        law._alpha = np.zeros((metrics, len(x)))
        law._constant, law._scale, law._floor = np.zeros(metrics), np.ones(metrics), np.zeros(metrics)
        law._logged, law._widen, law._likelihood = np.zeros(metrics, bool), np.ones(metrics), np.zeros(metrics)
        law._factors = {}
        for metric in range(metrics):
            rows = np.isfinite(y[:, metric])
            one = _gaussian_fit.fit(law._z[rows], law._t[rows], y[rows, metric], law._rule(metric))
            law._theta[metric], law._alpha[metric, rows] = one.theta, one.weights
            law._constant[metric], law._scale[metric], law._floor[metric] = one.constant, one.scale, one.floor
            law._logged[metric], law._widen[metric], law._likelihood[metric] = one.logged, one.widen, one.likelihood
        law._between, law._noise = np.zeros((0, 0)), np.zeros(0)
        if self.tasks:
            law._fit_together()
        return law

    def _fit_together(self) -> None:
        """Replace the processes of the metrics by one of all of them, on the runs that have every metric."""
        from mixfast.laws import _gaussian_tasks

        which, rows = np.flatnonzero(self._scale > 0.0), self._complete()
        if rows.sum() < _LEAST_RUNS:
            raise ValueError(
                f"{rows.sum()} runs have every metric, and tasks={self.tasks} needs {_LEAST_RUNS} or more of them: "
                "leave out the metrics that are missing most, or set tasks=0"
            )
        y = self._y[rows][:, which]
        excess = np.where(self._logged[which], y - self._floor[which], 1.0)
        targets = np.where(self._logged[which], np.log(excess), y)
        middle, spread = targets.mean(axis=0), targets.std(axis=0)
        if not spread.all():
            raise ValueError(
                f"metric columns {which[spread == 0.0].tolist()} are constant on the {rows.sum()} runs that have every "
                "metric: leave them out, or set tasks=0"
            )
        targets = (targets - middle) / spread
        dims = self._z.shape[1]
        z, t = self._z[rows], self._t[rows] if self.mean != "constant" else None
        apart = self._theta[which, 1 : 1 + dims].mean(axis=0)
        found = _gaussian_tasks.fit(z, t, targets, self.tasks, apart, prior=self.prior)
        self._between, self._noise = found.between, found.noise
        self._theta[which] = np.nan
        self._theta[which, 0] = 0.0
        self._theta[which, 1 : 1 + dims] = found.lengths
        self._theta[which, 1 + dims] = np.log(found.noise)
        if t is not None:
            self._theta[which, 2 + dims] = math.log(found.slope)
        self._alpha[:] = 0.0
        self._alpha[np.ix_(which, np.flatnonzero(rows))] = _gaussian_tasks.weights(z, t, targets, found)
        self._constant[which], self._scale[which], self._widen[which] = middle, spread, 1.0
        # Of all together, shared out evenly; a likelihood of one metric among many does not exist.
        self._likelihood[which] = -found.value / len(which)

    def _complete(self) -> NDArray[np.bool_]:
        """Runs that have every metric that is not constant."""
        return np.asarray(np.isfinite(self._y[:, self._scale > 0.0]).all(axis=1))

    def _variance_together(self, z: Matrix, trend: Matrix) -> Matrix:
        """Predictive variances (M, metrics that are not constant) of standardised targets."""
        from mixfast.laws import _gaussian_loops, _gaussian_tasks

        first, rows = int(np.flatnonzero(self._scale > 0.0)[0]), self._complete()
        _, _, _, _, slope = self._scaled(first, z)
        inverse = np.exp(-self._theta[first, 1 : 1 + z.shape[1]])
        middle = self._z[rows].mean(axis=0)
        zs, scaled, t = (self._z[rows] - middle) * inverse, (z - middle) * inverse, self._t[rows]
        norms = np.einsum("rd,rd->r", zs, zs)
        k, k_new = np.empty((len(zs), len(zs))), np.empty((len(z), len(zs)))
        _gaussian_loops.matern(zs @ zs.T, norms, norms, k)
        _gaussian_loops.matern(scaled @ zs.T, np.einsum("md,md->m", scaled, scaled), norms, k_new)
        own = 1.0 + slope * np.einsum("mf,mf->m", trend, trend)
        return _gaussian_tasks.variance(
            k_new + slope * (trend @ t.T), own, k + slope * (t @ t.T), self._between, self._noise
        )

    def _rule(self, metric: int) -> Rule:
        from mixfast.laws._gaussian_fit import Rule

        return Rule(self.mean, self.log, self.restarts, self.prior, (self.seed, metric))

    # ------------------------------------------------------------------------------------------------ use

    def predict(self, x: Matrix) -> Matrix:
        """Metrics (M, J) at inputs (M, K [+ F]): the medians of their predictive distributions.

        Cost: R exponentials for each candidate and metric, about 3 ns each.
        """
        return self._means(x, np.float64)

    def screen(self, x: Matrix) -> Matrix:
        """`predict` with distances and exponentials in float32: twice as fast, to choose among very many candidates.

        Good to about a twentieth of the error bars (1e-3 of a loss on swarms of hundreds of runs): compare the best once
        more with `predict`.
        """
        return self._means(x, np.float32)

    def _means(self, x: Matrix, dtype: type) -> Matrix:
        z, trend = self._inputs(x)
        from mixfast.laws import _gaussian_loops

        kernel = _gaussian_loops.matern_single if dtype is np.float32 else _gaussian_loops.matern
        out = np.empty((len(z), len(self._scale)))

        def fill(metric: int) -> None:
            column = out[:, metric]
            column[:] = self._constant[metric]
            if self._scale[metric] == 0.0:
                return
            rows, zs, scaled, amplitude, slope = self._scaled(metric, z)
            weights = (amplitude * self._alpha[metric, rows]).astype(dtype)
            zs, scaled = zs.astype(dtype), scaled.astype(dtype)
            norms, across = np.einsum("rd,rd->r", zs, zs), np.ascontiguousarray(zs.T)
            k: NDArray[Any] = np.empty((min(_CHUNK, len(z)), len(zs)), dtype)
            for first in range(0, len(z), _CHUNK):
                one = scaled[first : first + _CHUNK]
                part = np.dot(one, across, out=k[: len(one)])
                kernel(part, np.einsum("md,md->m", one, one), norms, part)
                column[first : first + _CHUNK] += self._scale[metric] * (part @ weights)
            if slope:
                column += self._scale[metric] * (trend @ self._slope_weights(metric, rows, slope))

        threads = min(thread_count(None), out.shape[1]) if len(z) > _MANY else 1
        if threads == 1:
            for metric in range(out.shape[1]):
                fill(metric)
        else:
            with ThreadPoolExecutor(threads) as crew:
                list(crew.map(fill, range(out.shape[1])))
        return self._from_target(out)

    def slopes(self, x: Matrix) -> tuple[Matrix, NDArray[np.float64]]:
        """Values (M, J) and gradients (M, J, K [+ F]) with respect to all inputs, shares as if free of their sum."""
        z, trend = self._inputs(x)
        from mixfast.laws import _gaussian_loops

        value = np.empty((len(z), len(self._scale)))
        gradient = np.zeros((len(z), len(self._scale), z.shape[1]))
        for metric in range(value.shape[1]):
            value[:, metric] = self._constant[metric]
            if self._scale[metric] == 0.0:
                continue
            rows, zs, scaled, amplitude, slope = self._scaled(metric, z)
            weights = amplitude * self._alpha[metric, rows]
            k, h = np.empty((len(z), len(zs))), np.empty((len(z), len(zs)))
            _gaussian_loops.matern_slope(
                scaled @ zs.T, np.einsum("md,md->m", scaled, scaled), np.einsum("rd,rd->r", zs, zs), weights, k, h
            )
            one = h @ zs - h.sum(axis=1)[:, None] * scaled
            gradient[:, metric] = one * np.exp(-self._theta[metric, 1 : 1 + z.shape[1]]) * self._stretch(x)
            value[:, metric] += self._scale[metric] * (k @ weights)
            if slope:
                linear = self._slope_weights(metric, rows, slope)
                gradient[:, metric] += linear / self._spread
                value[:, metric] += self._scale[metric] * (trend @ linear)
        value = self._from_target(value)
        chain = np.where(self._logged, value - self._floor, 1.0) * self._scale
        return value, gradient * chain[:, :, None]

    def sd(self, x: Matrix) -> Matrix:
        """Predictive standard deviations (M, J) of a new run's metrics, noise included; M R^2 multiply-adds a metric."""
        z, trend = self._inputs(x)
        out = np.zeros((len(z), len(self._scale)))
        if len(self._noise):
            out[:, self._scale > 0.0] = np.sqrt(np.maximum(self._variance_together(z, trend), self._noise))
        for metric, column in enumerate(out.T):
            if self._scale[metric] == 0.0 or len(self._noise):
                continue
            for first in range(0, len(z), _CHUNK):
                latent = self._latent(metric, z[first : first + _CHUNK], trend[first : first + _CHUNK])
                column[first : first + _CHUNK] = np.sqrt(latent.variance() + latent.noise)
        out *= self._scale * self._widen
        return out * np.where(self._logged, self.predict(x) - self._floor, 1.0)

    def joint(self, x: Matrix, metrics: Sequence[int]) -> list[Joint] | None:
        """What is open of each of these metrics at inputs (M, K [+ F]) jointly; None where metrics were fitted together.

        M R^2 multiply-adds and M R numbers for each metric, then M R multiply-adds for each run chosen among the inputs; a
        draw takes the M x M covariance and its factor.
        """
        if len(self._noise):
            return None
        z, trend = self._inputs(x)
        from mixfast.laws import _gaussian_joint

        values, out = self.predict(x), []
        for metric in metrics:
            if self._scale[metric] == 0.0:
                out.append(_gaussian_joint.certain(values[:, metric]))
                continue
            scale = float(self._scale[metric] * self._widen[metric])
            floor = float(self._floor[metric]) if self._logged[metric] else None
            out.append(_gaussian_joint.joint(self._latent(metric, z, trend), values[:, metric], scale, floor))
        return out

    def _latent(self, metric: int, z: Matrix, trend: Matrix) -> Latent:
        """The standardised target of a metric at candidates (M, D), given its runs."""
        from scipy.linalg import blas

        from mixfast.laws import _gaussian_loops
        from mixfast.laws._gaussian_joint import Latent

        rows, zs, scaled, amplitude, slope = self._scaled(metric, z)
        upper = self._factor(metric)
        ones = blas.dtrsm(1.0, upper, np.ones((len(zs), 1)), trans_a=1)[:, 0]
        k = np.empty((len(z), len(zs)))
        _gaussian_loops.matern(scaled @ zs.T, np.einsum("md,md->m", scaled, scaled), np.einsum("rd,rd->r", zs, zs), k)
        k *= amplitude
        if slope:
            k += slope * (trend @ self._t[rows].T)
        told = blas.dtrsm(1.0, upper, k.T, trans_a=1)
        # The constant is estimated too: what the runs do not say of it is added.
        left = (1.0 - ones @ told) / math.sqrt(float(ones @ ones))
        noise = math.exp(self._theta[metric, 1 + z.shape[1]])
        return Latent(scaled, trend, amplitude, slope, noise, told, left)

    def left_out(self, runs: NDArray[np.int64]) -> tuple[Matrix, Matrix]:
        """What this law, hyper-parameters as they are, would have predicted of some of its own runs without them.

        Medians and standard deviations (M, J) of the runs with these indices, left out together; NaN where a run has no value of a
        metric. Rasmussen and Williams, equations 5.10 to 5.12, for groups of runs.
        """
        self._fitted()
        from scipy.linalg import lapack

        target, spread = np.full((len(runs), len(self._scale)), np.nan), np.full((len(runs), len(self._scale)), np.nan)
        for metric in range(len(self._scale)):
            rows = np.isfinite(self._y[:, metric])
            out = rows[runs]
            if self._scale[metric] == 0.0:
                target[out, metric], spread[out, metric] = self._constant[metric], 0.0
                continue
            inverse, _ = lapack.dpotri(self._factor(metric))
            inverse = np.triu(inverse) + np.triu(inverse, 1).T
            place = (np.cumsum(rows) - 1)[runs[out]]
            cover = np.linalg.inv(inverse[np.ix_(place, place)])
            values = self._y[runs[out], metric]
            seen = np.log(values - self._floor[metric]) if self._logged[metric] else values
            target[out, metric] = seen - self._scale[metric] * (cover @ self._alpha[metric, rows][place])
            spread[out, metric] = self._scale[metric] * self._widen[metric] * np.sqrt(np.diagonal(cover))
        value = self._from_target(target)
        return value, spread * np.where(self._logged, value - self._floor, 1.0)

    # ---------------------------------------------------------------------------------------------- state

    _ARRAYS = (
        "_x", "_y", "_theta", "_alpha", "_constant", "_scale", "_floor", "_logged", "_widen", "_likelihood",
        "_centre", "_spread", "_between", "_noise",
    )  # fmt: skip
    _SETTINGS = ("mean", "log", "tasks", "restarts", "prior", "seed")

    def state(self) -> State:
        """Settings, runs, hyper-parameters and weights; factors are computed again when `sd` needs them."""
        self._fitted()
        settings: State = {name: getattr(self, name) for name in self._SETTINGS}
        arrays = {name.lstrip("_"): np.array(getattr(self, name)) for name in self._ARRAYS}
        return {"settings_version": 1, **settings, "shares": self.shares, **arrays}

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The law that `state` was taken from; its predictions are the same to the last bit."""
        law = cls(**{name: state[name] for name in cls._SETTINGS})
        for name in cls._ARRAYS:
            setattr(law, name, np.array(state[name.lstrip("_")]))
        law.shares = int(state["shares"])
        law._z, law._t, law._factors = law._features(law._x), law._trend(law._x), {}
        return law

    @property
    def log_likelihood(self) -> Vector:
        """Log marginal likelihood (J,) of each metric in its own unit (0 for a constant one), priors included."""
        self._fitted()
        return self._likelihood.copy()

    @property
    def hyper_parameters(self) -> Matrix:
        """Logarithms (J, K + F + 4) of a, the length scales, noise, s^2 and the floor's depth; NaN where there is none."""
        self._fitted()
        return self._theta.copy()

    @property
    def length_scales(self) -> Matrix:
        """Length scales (J, K + F): of root shares, and of standardised features; large where a column hardly matters."""
        self._fitted()
        return np.exp(self._theta[:, 1 : 1 + self._x.shape[1]])

    # -------------------------------------------------------------------------------------------- private

    def _fitted(self) -> None:
        if not hasattr(self, "_alpha"):
            raise ValueError("this GaussianProcess is not fitted; use the law that fit(x, y) returns")

    def _inputs(self, x: Matrix) -> tuple[Matrix, Matrix]:
        """Features and trend of inputs, after a look at their shape."""
        self._fitted()
        _require()
        if x.ndim != 2 or x.shape[1] != self._x.shape[1]:
            raise ValueError(f"inputs must be (M, {self._x.shape[1]}) as those of the runs, got shape {x.shape}")
        return self._features(x), self._trend(x)

    def _features(self, x: Matrix) -> Matrix:
        """Root shares, and standardised features."""
        shares = np.sqrt(np.maximum(x[:, : self.shares], 0.0) + _ROOT)
        return np.ascontiguousarray(np.hstack([shares, self._trend(x)[:, self.shares :]]))

    def _trend(self, x: Matrix) -> Matrix:
        """Centred shares, and standardised features."""
        return np.ascontiguousarray((x - self._centre) / self._spread)

    def _stretch(self, x: Matrix) -> Matrix:
        """Derivatives (M, K + F) of `_features`."""
        out = np.tile(1.0 / self._spread, (len(x), 1))
        out[:, : self.shares] = 0.5 / np.sqrt(np.maximum(x[:, : self.shares], 0.0) + _ROOT)
        return out

    def _scaled(self, metric: int, z: Matrix) -> tuple[NDArray[np.bool_], Matrix, Matrix, float, float]:
        """Which runs have the metric, their features and those of candidates by length scales; amplitude and slope."""
        dims, theta = z.shape[1], self._theta[metric]
        rows = np.isfinite(self._y[:, metric])
        inverse = np.exp(-theta[1 : 1 + dims])
        # Inner products cancel in distances; around the runs' mean they lose least.
        middle = self._z[rows].mean(axis=0)
        slope = 0.0 if math.isnan(theta[dims + 2]) else math.exp(theta[dims + 2])
        return rows, (self._z[rows] - middle) * inverse, (z - middle) * inverse, math.exp(theta[0]), slope

    def _slope_weights(self, metric: int, rows: NDArray[np.bool_], slope: float) -> Vector:
        return slope * (self._t[rows].T @ self._alpha[metric, rows])

    def _factor(self, metric: int) -> Matrix:
        """Cholesky factor of the metric's runs, computed when first needed."""
        if metric not in self._factors:
            from mixfast.laws._gaussian_fit import factor

            rows = np.isfinite(self._y[:, metric])
            self._factors[metric] = factor(self._z[rows], self._t[rows], self._theta[metric])
        return self._factors[metric]

    def _from_target(self, target: Matrix) -> Matrix:
        """Metrics from predicted targets: floor + exp(t), or t."""
        return np.where(self._logged, self._floor + np.exp(np.where(self._logged, target, 0.0)), target)


def _share_columns(x: Matrix) -> int:
    """How many leading columns are shares: as many as it takes to sum to 1 in every row; all, where that never is."""
    total = np.cumsum(x, axis=1)
    whole = np.flatnonzero((np.abs(total - 1.0) <= _SUM_TO_ONE).all(axis=0))
    return int(whole[0]) + 1 if len(whole) else x.shape[1]


def _require() -> None:
    """Refuse with a message that helps where Numba or SciPy is missing."""
    try:
        import numba  # noqa: F401
        import scipy.linalg  # noqa: F401
    except ImportError as problem:
        raise BackendError(
            f"a Gaussian process needs {problem.name}, which is not installed: pip install mixfast[laws]"
        ) from problem
