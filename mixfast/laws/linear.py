"""Ridge regression of metrics on mixtures and features; leave-one-out error in closed form chooses the penalty."""

from __future__ import annotations

import copy
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast.laws._coefficients import Coefficients, by_missing, check_penalty, covariances
from mixfast.laws._protocol import Note
from mixfast.laws._ridge import PENALTIES, Ridge

__all__ = ["Linear"]

# Lower bound of 1 - leverage: see `Ridge`.
_LEAST_LEFT = 1e-6


class Linear(Coefficients):
    """Fit ``f(x) = intercept + coef . x`` to each metric, by ridge regression.

    Minimises ``sum_r (y_r - f(x_r))^2 + alpha * sum_k (scale_k coef_k)^2``, where scale_k is the standard deviation of column
    k over the runs, or 1 if not `standardise`.

    Parameters
    ----------
    alpha : float or "loo", optional
        The penalty. Default "loo": for each metric, the one of 25 values from 1e-4 to 1e2 with the smallest mean squared
        leave-one-out error. 0 is ordinary least squares, with minimum norm if the solution is not unique.
    standardise : bool, optional
        Whether columns are divided by their standard deviation. Default True, because mixtures and features have
        different units. False is scikit-learn's ``Ridge(alpha)``.

    Attributes
    ----------
    intercept : ndarray (J,); coef : ndarray (J, P)
        Coefficients for the columns of x in their original units.
    alphas, loo, noise : ndarray (J,)
        Penalty of each metric, its root mean squared leave-one-out error, and the standard deviation of the residuals.
    notes : tuple of str
        Unusual cases: constant metrics or columns, metrics with a single run.

    Raises
    ------
    ValueError
        In `fit` and the constructor, for a metric without any value and for invalid parameters.

    Notes
    -----
    One singular value decomposition serves all metrics that have the same runs, and all values of alpha. Deterministic.

    References
    ----------
    Liu et al. 2024, "RegMix", arXiv:2407.01492; Golub, Heath and Wahba 1979 for the leave-one-out error.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0, 1.0], [0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])
    >>> law = Linear(alpha=0.0).fit(x, 3.0 + x @ np.array([[1.0], [-1.0]]))
    >>> law.predict(np.array([[0.75, 0.25]])).round(6).tolist()
    [[3.5]]
    """

    name = "linear"
    _settings = ("alpha", "standardise")
    _arrays = ("intercept", "coef", "alphas", "loo", "noise", "centre", "covariance", "runs")
    uses_features = True

    standardise: bool
    intercept: Vector
    coef: Matrix
    alphas: Vector
    loo: Vector
    noise: Vector
    centre: Matrix  # (J, P)
    covariance: NDArray[np.float64]  # (J, P, P), of coef
    runs: Vector

    def __init__(self, *, alpha: float | str = "loo", standardise: bool = True) -> None:
        check_penalty("alpha", alpha, "loo", "leave-one-out error")
        self.alpha: float | str = alpha
        self.standardise = bool(standardise)

    def fit(self, x: Matrix, y: Matrix) -> Self:
        """Return a copy fitted to runs: inputs (R, P) and metrics (R, J), NaN where a run has no value."""
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        metrics, width = y.shape[1], x.shape[1]
        law = copy.copy(self)
        law.intercept, law.alphas, law.loo = np.empty(metrics), np.empty(metrics), np.empty(metrics)
        law.noise, law.runs = np.empty(metrics), np.empty(metrics)
        law.coef, law.centre = np.empty((metrics, width)), np.empty((metrics, width))
        law.covariance = covariances(metrics, width)
        notes: list[Note] = []
        for rows, columns in by_missing(y):
            law._fit_group(x[rows], y[np.ix_(rows, columns)], columns)
        still = np.flatnonzero(np.ptp(x, axis=0) == 0.0)
        if len(still):
            notes.append(
                Note(
                    "columns {columns} of the inputs are constant; their coefficients are 0",
                    inputs={"columns": still.tolist()},
                )
            )
        through = (law.noise <= 1e-12 * np.abs(law.intercept)) & (law.runs <= width + 1)
        notes += [
            Note(
                f"{{metric}} has {int(law.runs[j])} runs for {width + 1} coefficients; its law passes through all of them",
                metric=j,
            )
            for j in np.flatnonzero(through).tolist()
        ]
        law.notes = tuple(notes)
        return law

    def _fit_group(self, x: Matrix, y: Matrix, columns: NDArray[np.intp]) -> None:
        """Fit the metrics in these columns; all of these runs have them."""
        runs, width = x.shape
        level = y.mean(axis=0)
        ridge = Ridge.of(x, standardise=self.standardise, least_left=_LEAST_LEFT)
        alphas = PENALTIES if isinstance(self.alpha, str) else np.array([float(self.alpha)])
        errors = ridge.errors(y, alphas)
        picked = errors.argmin(axis=0)
        for index in np.unique(picked):
            alpha, some = float(alphas[index]), picked == index
            into, kept = columns[some], ridge.kept(alpha)
            residual = y[:, some] - level[some] - ridge.u @ (kept[:, None] * (ridge.u.T @ (y[:, some] - level[some])))
            free = max(runs - 1.0 - float(kept.sum()), 1.0)
            noise = np.sqrt((residual**2).sum(axis=0) / free)
            self.coef[into] = ridge.coefficients(y[:, some], alpha).T
            self.intercept[into] = level[some] - self.coef[into] @ ridge.centre
            self.centre[into], self.runs[into], self.alphas[into] = ridge.centre, runs, alpha
            self.noise[into], self.loo[into] = noise, np.sqrt(errors[index, some])
            shape = (ridge.v / (ridge.s**2 + alpha)) @ ridge.v.T
            if alpha > 0.0:  # directions that the runs do not determine keep the variance that the penalty implies
                unknown = ridge.v @ -ridge.v.T
                unknown[np.diag_indices(width)] += 1.0
                unknown /= alpha
                shape += unknown
            # In place, one metric at a time: with thousands of domains every copy takes gigabytes.
            shape /= ridge.scale[:, None]
            shape /= ridge.scale
            for j, variance in zip(into.tolist(), (noise**2).tolist(), strict=True):
                np.multiply(shape, variance, out=self.covariance[j])

    def predict(self, x: Matrix) -> Matrix:
        """Return the metrics (M, J) at inputs (M, P)."""
        return self.intercept + np.asarray(x, dtype=np.float64) @ self.coef.T

    def slopes(self, x: Matrix) -> tuple[Matrix, NDArray[np.float64]]:
        """Return values (M, J) and gradients (M, J, P) with respect to all columns of the inputs."""
        return self.predict(x), np.broadcast_to(self.coef, (len(x), *self.coef.shape)).copy()

    def _tangent(self, x: Matrix, j: int) -> tuple[Matrix, Matrix]:
        # The level at the runs' mean is a separate coefficient; its error is independent of the others.
        jacobian = np.column_stack([np.ones(len(x)), x - self.centre[j]])
        covariance = np.zeros((jacobian.shape[1], jacobian.shape[1]))
        covariance[0, 0], covariance[1:, 1:] = self.noise[j] ** 2 / self.runs[j], self.covariance[j]
        return jacobian, covariance
