"""GaussianProcess: a Gaussian process with its own error bars for each metric."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import each
from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.backend.blas import single_blas
from mixfast._text.names import shown
from mixfast._text.optional import needed
from mixfast.errors import BackendError
from mixfast.laws._gaussian_fit import Rule, fit, refit
from mixfast.laws._gaussian_inputs import Inputs
from mixfast.laws._gaussian_process import Process
from mixfast.laws._gaussian_tasks import LEAST_RUNS, Shared, complete, fit_together
from mixfast.laws._joint import Joint
from mixfast.laws._protocol import State
from mixfast.laws._room import require_room

__all__ = ["GaussianProcess"]

Mean = Literal["log_linear", "linear", "constant"]

# Hyper-parameters besides a length for each input.
_OTHERS = 4
# With this many candidates or more, metrics are divided among threads.
_MANY = 20_000

_SETTINGS = ("mean", "log", "tasks", "restarts", "prior", "seed")
# The fields of every process that a file stores besides its hyper-parameters and weights.
_NUMBERS = ("constant", "scale", "floor", "logged", "widen", "likelihood")


class GaussianProcess:
    """Predict metrics by Gaussian processes over the square roots of the shares.

    A target t of each metric is the sum of a constant, ``x.b`` with ``b ~ N(0, s^2)``, a process with covariance
    ``a matern52(|(z - z') / l|)`` and one length scale for each domain, and noise. ``z = sqrt(w + 1e-4)``, which have
    Hellinger's distances; x are the centred shares. Features are standardised and appended to both z and x.
    The hyper-parameters maximise the posterior under weak priors. Those of one metric do not depend on the other metrics,
    unless `tasks` is above 0.

    Parameters
    ----------
    mean : {"log_linear", "linear", "constant"}, default "log_linear"
        The prediction far from the runs. "log_linear": ``c + exp(b0 + x.b)``, with a floor ``c >= 0`` of its own for each
        metric: ``t = log(y - c)``. "linear": ``b0 + x.b`` for t = log(y), or y. "constant": no trend.
    log : bool, default True
        Whether metrics with only positive values are modelled in logarithms. For other metrics, "log_linear"
        means "linear".
    tasks : int, default 0
        0: every metric is modelled by itself. Otherwise the rank of the covariance that metrics share (intrinsic coregionalisation):
        one set of length scales for all metrics, covariance of metrics ``W W' + diag``, fitted to the runs that have every metric. Use it
        for noisy metrics that vary together. Losses that each depend on a different domain (as RegMix's do) are better modelled separately.
    restarts : int, default 0
        Number of additional searches, from random length scales; the most likely result is kept.
    prior : float, default 1.0
        Factor of the precision of the priors; 0 is maximum likelihood.
    seed : int, default 0
        Seed of the restarts, and of the subset of runs that is searched first.

    Raises
    ------
    ValueError
        For settings out of range; in `fit` if a metric has fewer than 3 runs, or if shapes do not agree.
    BackendError
        In `fit` and `predict` without SciPy.

    Notes
    -----
    A likelihood with its gradient costs ``R^3`` multiply-adds, for any number of domains. A prediction costs R exponentials
    for each metric. Above 256 runs, a random subset is searched first. Everything is deterministic.

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
    packages: tuple[str, ...] = ("scipy.linalg", "scipy.optimize")
    uses_features = True

    log: bool
    tasks: int
    restarts: int
    prior: float
    seed: int
    _x: Matrix
    _y: Matrix
    _inputs: Inputs
    _processes: tuple[Process, ...]
    _shared: Shared | None  # set if the metrics were fitted together

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
            raise ValueError(f"mean must be 'log_linear', 'linear' or 'constant', got {shown(mean)}")
        if tasks < 0 or restarts < 0:
            raise ValueError(f"tasks and restarts must be 0 or more, got tasks={tasks}, restarts={restarts}")
        if not (prior >= 0.0 and math.isfinite(prior)):
            raise ValueError(f"prior must be a finite number of at least 0, got {shown(prior)}")
        self.mean: Mean = mean
        self.log, self.tasks, self.restarts, self.prior, self.seed = bool(log), tasks, restarts, float(prior), seed

    def fit(self, x: Matrix, y: Matrix) -> Self:
        """Return a copy fitted to runs: inputs (R, K [+ F]) and metrics (R, J), NaN where a run has no value.

        The shares are the first columns of the inputs that sum to 1 in every row.
        """
        _require()
        x, y = np.ascontiguousarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
            raise ValueError(
                f"inputs (R, K) and metrics (R, J) must have the same number of runs, got shapes {x.shape} and {y.shape}"
            )
        _require_runs(y)
        return self._fitted_to(x, y, fit)

    def refit(self, x: Matrix, y: Matrix, columns: Sequence[int]) -> Self:
        """Fit the law to some of its own runs, metrics (R', len(columns)). Each search starts at the end of the search on all runs."""
        self._check_fitted()
        if self.tasks:
            return self.fit(x, y)
        _require_runs(y)

        def one(z: Matrix, t: Matrix, values: Vector, rule: Rule) -> Process:
            j = columns[rule.seed[1]]
            return refit(z, t, values, rule, self._processes[j], self._y[np.isfinite(self._y[:, j]), j])

        return self._fitted_to(x, y, one)

    def _fitted_to(self, x: Matrix, y: Matrix, fit_one: Callable[[Matrix, Matrix, Vector, Rule], Process]) -> Self:
        """Return a copy fitted to runs; `fit_one` fits each metric."""
        law = copy.copy(self)
        law._x, law._y, law._inputs, law._shared = x, y, Inputs.of(x), None
        z, t = law._inputs.features(x), law._inputs.trend(x)
        require_room("curvatures", "hyper-parameters", z.shape[1] + _OTHERS, y.shape[1])

        def one(metric: int) -> Process:
            rows = np.isfinite(y[:, metric])
            rule = Rule(self.mean, self.log, self.restarts, self.prior, (self.seed, metric))
            return fit_one(z[rows], t[rows], y[rows, metric], rule)

        with single_blas():  # includes SciPy's own BLAS, which `_require` has loaded
            processes = each(one, range(y.shape[1]))
            if self.tasks:
                trend = None if self.mean == "constant" else t
                processes, law._shared = fit_together(processes, y, z, trend, rank=self.tasks, prior=self.prior)
        law._processes = tuple(processes)
        return law

    def predict(self, x: Matrix) -> Matrix:
        """Return the metrics (M, J) at inputs (M, K [+ F]): the medians of their predictive distributions.

        Cost: R exponentials for each candidate and metric, about 3 ns each.
        """
        z, t = self._located(x)
        out = np.empty((len(z), len(self._processes)))

        def fill(metric: int) -> None:
            out[:, metric] = self._processes[metric].predict(z, t)

        if len(z) > _MANY:
            each(fill, range(out.shape[1]))
        else:
            for metric in range(out.shape[1]):
                fill(metric)
        return out

    def slopes(self, x: Matrix) -> tuple[Matrix, NDArray[np.float64]]:
        """Return values (M, J) and gradients (M, J, K [+ F]) by all inputs, ignoring that shares must sum to 1."""
        z, t = self._located(x)
        value = np.empty((len(z), len(self._processes)))
        gradient = np.empty((len(z), len(self._processes), z.shape[1]))
        of_features, of_trend = self._inputs.slopes(x)
        for metric, process in enumerate(self._processes):
            value[:, metric], by_features, by_trend = process.slopes(z, t)
            gradient[:, metric] = by_features * of_features + by_trend * of_trend
        return value, gradient

    def sd(self, x: Matrix) -> Matrix:
        """Return predictive standard deviations (M, J) of a new run's metrics, noise included. Costs M R^2 multiply-adds a metric."""
        z, t = self._located(x)
        out = np.zeros((len(z), len(self._processes)))
        if self._shared is not None:
            varying = [not process.is_still for process in self._processes]
            out[:, varying] = np.sqrt(np.maximum(self._shared.variance(z, t), self._shared.noise))
        for metric, (process, value) in enumerate(zip(self._processes, self.predict(x).T, strict=True)):
            target = out[:, metric] if self._shared is not None else process.sd(z, t)
            out[:, metric] = process.in_metric(target, value)
        return out

    def joint(self, x: Matrix, metrics: Sequence[int]) -> list[Joint] | None:
        """Return the joint posterior of each of these metrics at inputs (M, K [+ F]); None if metrics were fitted together.

        Costs M R^2 multiply-adds and M R numbers for each metric, then M R multiply-adds for each chosen run. Sampling computes the
        M x M covariance and its factor.
        """
        z, t = self._located(x)
        return None if self._shared is not None else [self._processes[metric].joint(z, t) for metric in metrics]

    def fitted_to(self, x: Matrix) -> bool:
        """Whether these inputs (R, K [+ F]) are the law's own runs."""
        return np.array_equal(self._x, x)

    def left_out(self, runs: NDArray[np.int64]) -> tuple[Matrix, Matrix]:
        """Predict some of the law's own runs as if it had been fitted without them; the hyper-parameters stay as they are.

        Return medians and standard deviations (M, J) of the runs with these indices, left out together; NaN where a run has no value of
        the metric.
        """
        self._check_fitted()
        value, sd = np.full((2, len(runs), len(self._processes)), np.nan)
        for metric, process in enumerate(self._processes):
            rows = np.isfinite(self._y[:, metric])
            out = rows[runs]
            places = (np.cumsum(rows) - 1)[runs[out]]
            value[out, metric], sd[out, metric] = process.left_out(places, self._y[runs[out], metric])
        return value, sd

    def state(self) -> State:
        """Return settings, runs, hyper-parameters and weights. `sd` computes the Cholesky factors again when needed."""
        self._check_fitted()
        weights = np.zeros((len(self._processes), len(self._x)))
        for metric, process in enumerate(self._processes):
            weights[metric, np.isfinite(self._y[:, metric])] = process.weights
        numbers = {name: np.array([getattr(one, name) for one in self._processes]) for name in _NUMBERS}
        return {
            "settings_version": 1,
            **{name: getattr(self, name) for name in _SETTINGS},
            "shares": self._inputs.shares,
            "x": np.array(self._x),
            "y": np.array(self._y),
            "theta": self.hyper_parameters,
            "alpha": weights,
            **numbers,
            "centre": np.array(self._inputs.centre),
            "spread": np.array(self._inputs.spread),
            "between": np.zeros((0, 0)) if self._shared is None else np.array(self._shared.between),
            "noise": np.zeros(0) if self._shared is None else np.array(self._shared.noise),
        }

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Rebuild the law from what `state` returned; its predictions are bitwise equal."""
        law = cls(**{name: state[name] for name in _SETTINGS})
        law._x, law._y = np.array(state["x"]), np.array(state["y"])
        law._inputs = Inputs(int(state["shares"]), np.array(state["centre"]), np.array(state["spread"]))
        z, t = law._inputs.features(law._x), law._inputs.trend(law._x)
        processes = []
        for metric, column in enumerate(law._y.T):
            rows = np.isfinite(column)
            numbers = {name: np.asarray(state[name])[metric].item() for name in _NUMBERS}
            theta, weights = np.array(state["theta"][metric]), np.array(state["alpha"][metric])[rows]
            processes.append(Process(z[rows], t[rows], theta, weights, **numbers))
        law._processes, law._shared = tuple(processes), None
        between, noise = np.array(state["between"]), np.array(state["noise"])
        if len(noise):
            rows = complete(processes, law._y)
            one = next(process for process in processes if not process.is_still)
            law._shared = Shared(z[rows], t[rows], one.theta[1 : 1 + z.shape[1]], one.slope, between, noise)
        return law

    @property
    def log_likelihood(self) -> Vector:
        """Log marginal likelihood (J,) of each metric in its own unit, including priors; 0 for a constant metric."""
        self._check_fitted()
        return np.array([process.likelihood for process in self._processes])

    @property
    def hyper_parameters(self) -> Matrix:
        """Logarithms (J, K + F + 4) of a, the length scales, noise, s^2 and the depth of the floor; NaN for missing ones."""
        self._check_fitted()
        return np.array([process.theta for process in self._processes])

    @property
    def length_scales(self) -> Matrix:
        """Length scales (J, K + F) of square roots of shares and of standardised features; large if a column has little effect."""
        return np.exp(self.hyper_parameters[:, 1 : 1 + self._x.shape[1]])

    def _check_fitted(self) -> None:
        if not hasattr(self, "_processes"):
            raise ValueError("this GaussianProcess is not fitted; use the law that fit(x, y) returns")

    def _located(self, x: Matrix) -> tuple[Matrix, Matrix]:
        """Check the shape of inputs; return their features for the process and for the trend."""
        self._check_fitted()
        _require()
        if x.ndim != 2 or x.shape[1] != self._x.shape[1]:
            raise ValueError(f"inputs must be (M, {self._x.shape[1]}) like those of the runs, got shape {x.shape}")
        return self._inputs.features(x), self._inputs.trend(x)


def _require() -> None:
    """Raise BackendError with an installation hint if SciPy is missing."""
    with needed("a Gaussian process", "SciPy", "mixfast[laws]", BackendError):
        import scipy.linalg  # noqa: F401


def _require_runs(y: Matrix) -> None:
    """Refuse metrics (R, J) with too few runs."""
    counts = np.isfinite(y).sum(axis=0)
    if counts.min(initial=LEAST_RUNS) < LEAST_RUNS:
        worst = int(np.argmin(counts))
        raise ValueError(
            f"metric column {worst} has {counts[worst]} runs; a Gaussian process needs {LEAST_RUNS} or more: "
            "leave the metric out, or add runs"
        )
