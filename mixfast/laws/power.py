"""Laws that add up one power of each domain's share: those of AutoScale and of BiMix."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.optional import needed
from mixfast.errors import BackendError
from mixfast.laws._coefficients import Coefficients
from mixfast.laws._protocol import Note

__all__ = ["AutoScale", "BiMix"]

# Enough for both laws on 512 runs of 17 domains; a start that has not converged by then is far worse than another.
_STEPS = 1000
# Keeps numbers that a fit pushes towards 0 (an exponent, a factor) above it: exp of this is 1e-13.
_LOWEST = -30.0
# Smaller effects on the runs are treated as zero; the square of the inverse of this is still finite.
_LEAST_EFFECT = 1e-30


def _bounded(u: Vector, high: Vector) -> tuple[Vector, Vector]:
    """Numbers from 0 to `high` for free ones, and the derivatives: exponentials, or logistic where `high` is finite."""
    finite = np.isfinite(high)
    grown = np.exp(np.clip(u, _LOWEST, 30.0))
    top = np.where(finite, high, 1.0)
    theta = np.where(finite, top * grown / (1.0 + grown), grown)
    return theta, np.where(finite, theta / (1.0 + grown), theta)


def _free(theta: Vector, high: Vector) -> Vector:
    """The inverse of `_bounded`."""
    finite = np.isfinite(high)
    rest = np.where(finite, high - theta, 1.0)
    return np.log(theta / rest)


def _covariance(jacobian: Matrix, noise: float) -> Matrix:
    """``noise^2 (J'J)^-1``, in units of each number's own effect: their scales are many decades apart, and some have none at all."""
    size = np.linalg.norm(jacobian, axis=0)
    acts = size > _LEAST_EFFECT
    unit = jacobian / np.where(acts, size, np.inf)
    gram = unit.T @ unit + 1e-8 * np.eye(len(size))
    back = np.where(acts, 1.0 / np.maximum(size, _LEAST_EFFECT), 0.0)
    return noise**2 * np.linalg.inv(gram) * np.outer(back, back)


class _Power(Coefficients):
    """What the two laws share: least squares within bounds from several starts, Gauss-Newton standard deviations."""

    theta: Matrix  # (J, P)
    objective: Vector
    noise: Vector
    covariance: NDArray[np.float64]  # (J, P, P)
    _arrays = ("theta", "objective", "noise", "covariance")

    def _starts(self, domains: int, y: Vector) -> list[Vector]:
        """Numbers theta to start from."""
        raise NotImplementedError

    def _highest(self, domains: int, y: Vector) -> Vector:
        """The largest theta; the smallest is 0."""
        raise NotImplementedError

    def _values(self, theta: Vector, x: Matrix) -> Vector:
        """The metric (M,) at mixtures (M, K)."""
        raise NotImplementedError

    def _jacobian(self, theta: Vector, x: Matrix) -> Matrix:
        """Derivatives (M, P) with respect to theta."""
        raise NotImplementedError

    def _slopes(self, theta: Vector, x: Matrix) -> Matrix:
        """Derivatives (M, K) with respect to the shares."""
        raise NotImplementedError

    def fit(self, x: Matrix, y: Matrix) -> Self:
        """Return a copy fitted to runs: mixtures (R, K) and positive metrics (R, J), NaN where a run has none.

        Raises
        ------
        BackendError
            Where scipy is not installed.
        ValueError
            For a metric without any value, or with one that is not positive.
        """
        with needed("a power law", "SciPy", "mixfast[laws]", BackendError):
            from scipy.optimize import least_squares
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        law = copy.copy(self)
        metrics, width = y.shape[1], len(self._highest(x.shape[1], np.ones(1)))
        law.theta, law.covariance = np.empty((metrics, width)), np.empty((metrics, width, width))
        law.objective, law.noise = np.empty(metrics), np.empty(metrics)
        notes: list[Note] = []
        for j in range(metrics):
            rows = ~np.isnan(y[:, j])
            values = y[rows, j]
            if not len(values) or not values.min() > 0.0:
                found = f"goes down to {values.min():g}" if len(values) else f"has no value in any of the {len(y)} runs"
                raise ValueError(f"metric {j} {found}; this law is for positive metrics such as losses: leave it out")
            law._fit_metric(j, x[rows], values, least_squares, notes)
        law.notes = tuple(notes)
        return law

    def _fit_metric(self, j: int, x: Matrix, y: Vector, least_squares: Callable[..., Any], notes: list[Note]) -> None:
        """Fit metric j to the runs that have it: the best of several starts."""
        high = self._highest(x.shape[1], y)
        results = [
            least_squares(
                lambda u: self._values(_bounded(u, high)[0], x) - y,
                _free(start, high),
                jac=lambda u: self._jacobian(_bounded(u, high)[0], x) * _bounded(u, high)[1],
                # MINPACK is several times faster, but wants as many runs as numbers.
                method="lm" if len(y) >= len(high) else "trf",
                max_nfev=_STEPS,
            )
            for start in self._starts(x.shape[1], y)
        ]
        best = min(results, key=lambda result: result.cost)
        if len(y) <= len(high):
            few = f"{{metric}} has {len(y)} runs for {len(high)} numbers; they are not determined"
            notes.append(Note(few, metric=j))
        if not best.status:
            late = f"{{metric}} had not converged after {_STEPS} steps; its law is the best point found"
            notes.append(Note(late, metric=j))
        theta = _bounded(best.x, high)[0]
        noise = float(np.sqrt(2.0 * best.cost / max(len(y) - len(high), 1)))
        self.theta[j], self.objective[j], self.noise[j] = theta, 2.0 * best.cost, noise
        self.covariance[j] = _covariance(self._jacobian(theta, x), noise)

    def predict(self, x: Matrix) -> Matrix:
        """Return the metrics (M, J) at mixtures (M, K)."""
        x = np.asarray(x, dtype=np.float64)
        return np.stack([self._values(theta, x) for theta in self.theta], axis=1)

    def slopes(self, x: Matrix) -> tuple[Matrix, NDArray[np.float64]]:
        """Return values (M, J) and gradients (M, J, K) with respect to the mixtures, as if they were free of their sum."""
        x = np.asarray(x, dtype=np.float64)
        return self.predict(x), np.stack([self._slopes(theta, x) for theta in self.theta], axis=1)

    def _tangent(self, x: Matrix, j: int) -> tuple[Matrix, Matrix]:
        return self._jacobian(self.theta[j], x), self.covariance[j]


class AutoScale(_Power):
    """Fit ``f(w) = level + sum_k (tokens * (alpha_k + w_k))^-gamma_k`` to each metric, by least squares.

    Each domain's share adds to what all other data are worth for it, alpha_k.

    Parameters
    ----------
    tokens : float, optional
        Length of the runs, in any unit. Default 1: alpha and shares count runs. Olmix gives the number of tokens instead,
        which holds the terms down: on RegMix's runs (1e9 tokens) the law is then far worse.

    Attributes
    ----------
    level : ndarray (J,); alpha, gamma : ndarray (J, K)
    objective : ndarray (J,)
        Sum of squared residuals.
    notes : tuple of str
        What was unusual: too few runs, no convergence.

    Notes
    -----
    Convex in w. Bounds as in Olmix: ``alpha, gamma > 0``, level from 0 to the smallest value. Three starts:
    Olmix's, and two with exponents that meet the metric's mean.

    References
    ----------
    Kang et al. 2024, "AutoScale", arXiv:2407.20177; the form is Olmix's (arXiv:2602.12237).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).dirichlet(np.ones(2), 30)
    >>> y = 1.0 + (0.2 + x[:, :1]) ** -0.5 + (0.5 + x[:, 1:]) ** -0.2
    >>> bool(np.abs(AutoScale().fit(x, y).predict(x) - y).max() < 1e-4)
    True
    """

    name = "autoscale"
    _settings = ("tokens",)
    uses_features = False

    def __init__(self, *, tokens: float = 1.0) -> None:
        if not 0.0 < tokens < np.inf:
            raise ValueError(f"tokens is {tokens!r}; give the length of the runs, a positive number")
        self.tokens = float(tokens)

    @property
    def level(self) -> Vector:
        """The constant of each metric, (J,)."""
        return self.theta[:, 0]

    @property
    def alpha(self) -> Matrix:
        """The worth of all other data for each domain, as a share of tokens, (J, K)."""
        return self.theta[:, 1 : 1 + self.theta.shape[1] // 2]

    @property
    def gamma(self) -> Matrix:
        """The exponents, (J, K)."""
        return self.theta[:, 1 + self.theta.shape[1] // 2 :]

    def _starts(self, domains: int, y: Vector) -> list[Vector]:
        level = 0.1 * float(y.min())
        each = (float(y.mean()) - level) / domains
        starts = [(1.0 / domains, 0.5)]
        # Far from the metric's mean, Olmix's start may never reach it; and a small alpha is needed for a metric that its
        # own domain's first per cent already improves.
        for alpha in (1.0 / domains, 1e-3):
            base = self.tokens * (alpha + 1.0 / domains)
            exponent = -np.log(each) / np.log(base) if base != 1.0 else 0.0
            starts.append((alpha, float(exponent) if exponent > 0.0 else 0.02))
        return [np.concatenate([[level], np.full(domains, alpha), np.full(domains, gamma)]) for alpha, gamma in starts]

    def _highest(self, domains: int, y: Vector) -> Vector:
        high = np.full(2 * domains + 1, np.inf)
        high[0] = y.min()
        return high

    def _parts(self, theta: Vector, x: Matrix) -> tuple[Vector, Matrix, Matrix]:
        domains = x.shape[1]
        gamma, base = theta[1 + domains :], theta[1 : 1 + domains] + x
        # No loss has such powers; the limit keeps trial points finite.
        return gamma, base, np.exp(np.minimum(-gamma * np.log(self.tokens * base), 300.0))

    def _values(self, theta: Vector, x: Matrix) -> Vector:
        return theta[0] + self._parts(theta, x)[2].sum(axis=1)

    def _jacobian(self, theta: Vector, x: Matrix) -> Matrix:
        gamma, base, power = self._parts(theta, x)
        return np.column_stack([np.ones(len(x)), -gamma / base * power, -np.log(self.tokens * base) * power])

    def _slopes(self, theta: Vector, x: Matrix) -> Matrix:
        gamma, base, power = self._parts(theta, x)
        return -gamma / base * power


class BiMix(_Power):
    """Fit ``f(w) = sum_k factor_k * clip(w_k, floor, 1)^-alpha_k`` to each metric, by least squares.

    Parameters
    ----------
    floor : float, optional
        Least share; the law is infinite at 0. Default 1e-12, as published. A larger one suits runs that leave domains
        out: with 1e-12 such a run fixes the exponent near 0.

    Attributes
    ----------
    factor, alpha : ndarray (J, K)
    objective : ndarray (J,)
        Sum of squared residuals.
    notes : tuple of str
        What was unusual: too few runs, no convergence.

    Notes
    -----
    Convex in w above the floor. Both numbers are at least 0. Three starts: Olmix's exponent 1, and flatter ones.

    References
    ----------
    Ge et al. 2024, "BiMix", arXiv:2405.14908, at one length of training; the form is Olmix's (arXiv:2602.12237).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).dirichlet(np.ones(2), 30)
    >>> y = 1.5 * x[:, :1] ** -0.1 + 0.5 * x[:, 1:] ** -0.3
    >>> BiMix().fit(x, y).alpha.round(4).tolist()
    [[0.1, 0.3]]
    """

    name = "bimix"
    _settings = ("floor",)
    uses_features = False

    def __init__(self, *, floor: float = 1e-12) -> None:
        if not 0.0 < floor < 1.0:
            raise ValueError(f"floor is {floor!r}; give a share above 0 and below 1")
        self.floor = float(floor)

    @property
    def factor(self) -> Matrix:
        """The factors, (J, K)."""
        return self.theta[:, : self.theta.shape[1] // 2]

    @property
    def alpha(self) -> Matrix:
        """The exponents, (J, K)."""
        return self.theta[:, self.theta.shape[1] // 2 :]

    def _starts(self, domains: int, y: Vector) -> list[Vector]:
        factor = np.full(domains, float(y.mean()) / domains)
        return [np.concatenate([factor, np.full(domains, alpha)]) for alpha in (1.0, 0.1, 0.01)]

    def _highest(self, domains: int, y: Vector) -> Vector:
        return np.full(2 * domains, np.inf)

    def _parts(self, theta: Vector, x: Matrix) -> tuple[Vector, Matrix, Matrix, Matrix]:
        domains = x.shape[1]
        share = np.clip(x, self.floor, 1.0)
        log = np.log(share)
        return theta[:domains], share, log, np.exp(np.minimum(-theta[domains:] * log, 300.0))

    def _values(self, theta: Vector, x: Matrix) -> Vector:
        factor, _, _, power = self._parts(theta, x)
        return power @ factor

    def _jacobian(self, theta: Vector, x: Matrix) -> Matrix:
        factor, _, log, power = self._parts(theta, x)
        return np.column_stack([power, -log * factor * power])

    def _slopes(self, theta: Vector, x: Matrix) -> Matrix:
        factor, share, _, power = self._parts(theta, x)
        inside = (x > self.floor) & (x <= 1.0)
        return np.where(inside, -factor * theta[x.shape[1] :] / share * power, 0.0)
