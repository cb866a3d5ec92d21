"""The log-linear law of Data Mixing Laws and Olmix: each metric is a constant plus the exponential of a linear form."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import each
from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.names import shown
from mixfast.laws._coefficients import Coefficients, by_missing, check_penalty, covariances
from mixfast.laws._log_linear_search import (
    STEPS,
    STILL,
    Basis,
    Point,
    Search,
    huber,
    identified,
)
from mixfast.laws._protocol import Note
from mixfast.laws._range import not_negative
from mixfast.mixture import sum_to_one

__all__ = ["LogLinear"]

# Penalty for fits with fewer runs than coefficients, also in units of delta.
_LEAST_PENALTY = 1e-2
# Olmix's delta, and the range of metric medians for which it is used unchanged.
_DELTA, _LOSSES = 0.02, (0.1, 20.0)
# The largest exponent. With a runaway coefficient, predictions far from the runs are huge, but they and their squares stay finite.
_HIGHEST = 300.0


class LogLinear(Coefficients):
    """Fit ``f(w) = exp(gamma) + exp(a . w)`` to each metric, by Huber's loss.

    Minimises ``sum_r huber_delta(y_r - f(w_r)) + R * penalty / 2 * sum_k (a_k - mean(a))^2`` over gamma and a. The law
    is convex in w, so its best mixture can be found with a certificate.

    Parameters
    ----------
    delta : float, optional
        The residual at which Huber's loss changes from squared to absolute errors, in units of the metric. Default 0.02, Olmix's choice for
        losses. For metrics with a median above 20 or below 0.1, it is scaled by median / 20 or median / 0.1, so that a perplexity
        or a small rate is fitted like a loss.
    penalty : float or "cv", optional
        Weight of the squared deviations of the coefficients from their mean. Default 0, as published. "cv" chooses one for each
        metric by ten-fold cross-validation: without a penalty, the law over-fits if there are few runs for the number of domains.
    seed : int, optional
        Seed of the folds, and of the random halves of the runs that the search uses to escape shallow minima.

    Attributes
    ----------
    gamma : ndarray (J,); a : ndarray (J, K)
        The coefficients. For rows that sum to 1, a factor before the second exponential equals a constant added to ``a``.
    objective, mean_objective : ndarray (J,)
        Huber's loss summed over the runs, and its mean, both without the penalty.
    penalties : ndarray (J,)
        The penalty of each metric.
    noise : ndarray (J,)
        Standard deviation of the residuals.
    identified : ndarray (K,), bool
        False for domains with coefficients that the runs do not determine (never sampled, or always in fixed proportion to
        others). These coefficients are set so that the domain acts like the average run.
    notes : tuple of str
        Unusual cases: constant metrics, too few runs, domains that are not identified.

    Raises
    ------
    ValueError
        In `fit` and the constructor, for a metric without any value or with a negative one, and for invalid parameters.

    Notes
    -----
    The problem is not convex. The search starts from ordinary least squares of ``log(y - c)`` for several constants c and
    descends on losses of decreasing delta. From the best minimum, it fits random halves of the runs and then all runs again. Each descent
    is a damped Newton method. The result depends only on the data, the parameters and the seed; the result of one metric does
    not depend on the other metrics. Time grows as ``J R K^2``.

    References
    ----------
    Ye et al. 2024, "Data Mixing Laws", arXiv:2403.16952; Olmix 2026, arXiv:2602.12237.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).dirichlet(np.ones(3), 40)
    >>> y = np.exp(0.5) + np.exp(x @ np.array([[-2.0], [0.3], [0.5]]))
    >>> law = LogLinear().fit(x, y)
    >>> law.gamma.round(4).tolist(), law.a.round(4).tolist()
    ([0.5], [[-2.0, 0.3, 0.5]])
    """

    name = "log_linear"
    _settings = ("delta", "penalty", "seed")
    _arrays = ("gamma", "a", "objective", "runs", "penalties", "noise", "covariance", "identified")
    uses_features = False

    delta: float | None
    seed: int
    gamma: Vector
    a: Matrix
    objective: Vector
    runs: Vector
    penalties: Vector
    noise: Vector
    covariance: NDArray[np.float64]  # (J, K + 1, K + 1), of exp(gamma) and a
    identified: NDArray[np.bool_]

    def __init__(self, *, delta: float | None = None, penalty: float | str = 0.0, seed: int = 0) -> None:
        if delta is not None and not 0.0 < delta < np.inf:
            raise ValueError(f"delta is {shown(delta)}; Huber's loss needs a positive number, in units of the metrics")
        check_penalty("penalty", penalty, "cv", "cross-validation")
        self.delta, self.seed = None if delta is None else float(delta), int(seed)
        self.penalty: float | str = penalty

    def fit(self, x: Matrix, y: Matrix) -> Self:
        """Return a copy fitted to runs: mixtures (R, K) and metrics (R, J), NaN where a run has no value."""
        x, y = np.ascontiguousarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        y = not_negative(y)
        metrics, domains = y.shape[1], x.shape[1]
        law = copy.copy(self)
        law.gamma, law.objective, law.noise = np.empty(metrics), np.empty(metrics), np.empty(metrics)
        law.runs, law.penalties = np.empty(metrics), np.empty(metrics)
        law.a, law.covariance = np.empty((metrics, domains)), covariances(metrics, domains + 1)
        law.identified = np.ones(domains, dtype=bool)
        notes: list[Note] = []
        for rows, columns in by_missing(y):
            basis = Basis.of(x[rows])
            law.identified &= identified(x[rows])

            def one(j: int, rows: NDArray[np.bool_] = rows, basis: Basis = basis) -> list[Note]:
                own = np.ascontiguousarray(y[rows, j])
                unit = law._unit(x[rows], own)
                told = law._fit_metric(j, basis, own / unit if unit != 1.0 else own)
                law._rescale(j, unit)
                return told

            notes += chain.from_iterable(each(one, columns.tolist()))
        if not law.identified.all():
            notes.append(_unidentified(np.flatnonzero(~law.identified).tolist(), x))
        law.notes = tuple(notes)
        return law

    def _unit(self, x: Matrix, y: Vector) -> float:
        """Return the divisor of a metric before it is fitted: 1 if its size is that of a loss, or if delta is given."""
        level = float(np.median(np.abs(y)))
        # A factor of the law can only be absorbed into the coefficients if shares sum to 1.
        if self.delta is not None or not level > 0.0 or not sum_to_one(x.sum(axis=1)).all():
            return 1.0
        return max(level / _LOSSES[1], 1.0) * min(level / _LOSSES[0], 1.0)

    def _rescale(self, j: int, unit: float) -> None:
        """Convert the law of metric j, which was fitted in this unit, back to the metric's own unit."""
        self.gamma[j] += np.log(unit)
        self.a[j] += np.log(unit)
        self.objective[j] *= unit**2
        self.noise[j] *= unit
        self.covariance[j, 0] *= unit
        self.covariance[j, :, 0] *= unit

    def _fit_metric(self, j: int, basis: Basis, y: Vector) -> list[Note]:
        """Fit metric j to the runs that have it: choose the penalty, search, and compute residuals. Return notes on unusual cases."""
        notes = []
        runs, width = basis.z.shape
        span = float(np.ptp(y))
        self.runs[j] = runs
        fixed = float(self.penalty) if not isinstance(self.penalty, str) else None
        if span <= 1e-12 * float(np.abs(y).max()):
            # The level can be split between the two terms in any way; an even split keeps both in range.
            half = max(0.5 * float(y[0]), 1e-300)
            point, penalty = Point(0.0, half, _flat(basis, half)), fixed or 0.0
            notes.append(Note(f"{{metric}} has the same value in all {runs} runs; its law is constant", metric=j))
        else:
            search = Search(basis, y, self._delta)
            penalty = search.chosen(self.seed) if fixed is None else fixed
            if runs < width + 2 and penalty == 0.0:
                penalty = _LEAST_PENALTY * self._delta
                few = f"{{metric}} has {runs} runs for {width + 1} coefficients; it was fitted with penalty {penalty:g}"
                notes.append(Note(few, metric=j))
            point = search.best(penalty, self.seed)
            if not point.converged:
                late = f"{{metric}} had not converged after {STEPS} steps; its law is the best point found"
                notes.append(Note(late, metric=j))
            if y.min() <= 0.0:
                notes.append(Note("{metric} is 0 in some runs, but this law is positive everywhere", metric=j))
        self.penalties[j] = penalty
        self.gamma[j] = np.log(point.c)
        self.a[j] = basis.to_a @ point.b
        if (steep := float(np.ptp(self.a[j]))) > 2.0 * _HIGHEST:
            far = (
                f"{{metric}} has diverging coefficients (they differ by {steep:.2g}): too few runs, or no log-linear relation; "
                "trust the law only near the runs, or choose its penalty by cross-validation"
            )
            notes.append(Note(far, metric=j))
        self._spread(j, basis, y, point, penalty)
        return notes

    def _spread(self, j: int, basis: Basis, y: Vector, point: Point, penalty: float) -> None:
        """Compute objective, noise and covariance of metric j.

        The covariance is Huber's for an M-estimator, with the curvature averaged over the runs: the exact one may be singular,
        because only runs within delta of the law have curvature.
        """
        runs, width = basis.z.shape
        m = np.exp(basis.z @ point.b)
        residual = y - point.c - m
        inside = np.abs(residual) <= self._delta
        psi = np.clip(residual, -self._delta, self._delta)
        self.objective[j] = float(huber(np.abs(residual), self._delta).sum())
        free = max(runs - width - 1, 1)
        self.noise[j] = np.sqrt((residual**2).sum() / free)
        jacobian = np.column_stack([np.ones(runs), m[:, None] * basis.z])
        bent = max(float(inside.mean()), 1.0 / runs)
        gram = jacobian.T @ jacobian
        gram[1:, 1:] += runs * penalty / bent * basis.bend
        gram[np.diag_indices_from(gram)] += 1e-10 * np.trace(gram) / len(gram)
        covariance = np.linalg.inv(gram) * float((psi**2).sum()) / free / bent**2
        map_ = np.zeros((len(basis.to_a) + 1, width + 1))
        map_[0, 0], map_[1:, 1:] = 1.0, basis.to_a
        full = map_ @ covariance @ map_.T
        # The variance of undetermined directions is the variance between the coefficients.
        full[1:, 1:] += self.a[j].var() * basis.unseen
        self.covariance[j] = full

    @property
    def _delta(self) -> float:
        return _DELTA if self.delta is None else self.delta

    @property
    def mean_objective(self) -> Vector:
        """The mean Huber loss of each metric over its runs, (J,)."""
        return self.objective / self.runs

    def predict(self, x: Matrix) -> Matrix:
        """Return the metrics (M, J) at mixtures (M, K)."""
        return np.exp(self.gamma) + self._excess(x)

    def slopes(self, x: Matrix) -> tuple[Matrix, NDArray[np.float64]]:
        """Return values (M, J) and gradients (M, J, K) with respect to the shares, ignoring that they must sum to 1."""
        excess = self._excess(x)
        return np.exp(self.gamma) + excess, excess[:, :, None] * self.a[None]

    def _tangent(self, x: Matrix, j: int) -> tuple[Matrix, Matrix]:
        excess = np.exp(np.minimum(x @ self.a[j], _HIGHEST))
        return np.column_stack([np.ones(len(x)), excess[:, None] * x]), self.covariance[j]

    def _moved(self, x: Matrix, j: int, value: Vector, jacobian: Matrix, by: Matrix) -> Matrix:
        return np.exp(self.gamma[j]) + by[:, :1] + np.exp(np.minimum((self.a[j] + by[:, 1:]) @ x.T, _HIGHEST))

    def _excess(self, x: Matrix) -> Matrix:
        """Return the exponentials (M, J) at mixtures (M, K)."""
        return np.exp(np.minimum(np.asarray(x, dtype=np.float64) @ self.a.T, _HIGHEST))


def _flat(basis: Basis, level: float) -> Vector:
    """Return coefficients for which the exponential is as close to `level` as possible at every run."""
    return basis.z.T @ np.full(len(basis.z), np.log(level)) / len(basis.z)


def _unidentified(lost: list[int], x: Matrix) -> Note:
    """Write a note on domains with coefficients that the runs do not identify, and why."""
    never = [k for k in lost if not x[:, k].any()]
    same = [k for k in lost if k not in never and np.ptp(x[:, k]) <= STILL]
    rest = [k for k in lost if k not in never and k not in same]
    why = {"never sampled": never, "the same share in all runs": same, "varied only together": rest}
    known = {what.replace(" ", "_"): which for what, which in why.items() if which}
    told = "; ".join(f"{what}: {{{what.replace(' ', '_')}}}" for what, which in why.items() if which)
    return Note(
        f"the runs do not identify the coefficients of domains {{lost}} ({told}); they are set as for the average run",
        inputs={"lost": lost, **known},
    )
