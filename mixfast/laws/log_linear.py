"""The log-linear law of Data Mixing Laws and Olmix: each metric is a constant plus the exponential of a linear form."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mixfast.errors import BackendError
from mixfast.laws._joint import Joint, of_coefficients
from mixfast.laws._protocol import Matrix, State, Vector

__all__ = ["LogLinear"]

# Starts of the constant, in units of the metric's spread below its smallest value: from an almost linear law (far below)
# to one with all its curvature. One more start lies above the smallest value, where Huber's loss may well want it.
_DEPTHS = (0.01, 0.05, 0.2, 0.7, 2.0)
# Every start first descends on blunter losses, whose local minima are fewer; in units of the spread.
_BLUNT = (1.0, 0.3, 0.1, 0.05)
_BLUNT_STEPS, _BLUNT_TOL = 4, 1e-3
_STEPS, _TOL = 500, 1e-10
# Two starts with the same blunt loss to this accuracy are in the same valley.
_SAME = 1e-5
# From the best minimum, fit a random half of the runs and return to all of them: leaves shallow minima.
_KICKS = 6
# In units of delta: from a law that hardly bends to none at all.
_PENALTIES = (*(10.0**k for k in range(-1, -9, -1)), 0.0)
_FOLDS = 10
# For fits with fewer runs than numbers to find, also in units of delta.
_LEAST_PENALTY = 1e-2
# The largest exponent: a runaway coefficient far from the runs is huge, not infinite, and its square is not either.
_HIGHEST = 300.0
# Shares that differ by less are one.
_STILL = 1e-12
_STATE = ("gamma", "a", "objective", "runs", "penalties", "noise", "covariance", "identified")

Descend = Callable[..., tuple[float, float, int]]


@dataclass(frozen=True)
class _Basis:
    """Coordinates in which the runs' mixtures are orthonormal: b is to z what the coefficients a are to the mixtures."""

    z: Matrix  # (R, r)
    to_a: Matrix  # (K, r)
    unseen: Matrix  # (K, K) projector on the coefficients that no run tells anything about
    bend: Matrix  # (r, r): b' bend b is the sum of squares of a around its mean

    @classmethod
    def of(cls, x: Matrix) -> _Basis:
        runs, domains = x.shape
        u, s, vt = np.linalg.svd(x, full_matrices=False)
        keep = s > s[0] * max(x.shape) * 10.0 * np.finfo(float).eps
        u, s, v = u[:, keep], s[keep], vt[keep].T
        z = np.ascontiguousarray(u * np.sqrt(runs))
        unseen = np.eye(domains) - v @ v.T
        # Where the runs say nothing, a domain is taken for the average run: only then does giving it a share in place
        # of such a run change nothing.
        to_a = v * (np.sqrt(runs) / s) + np.outer(unseen.sum(axis=1), z.mean(axis=0))
        centred = to_a - to_a.mean(axis=0)
        return cls(z, to_a, unseen, centred.T @ centred)


@dataclass(frozen=True)
class _Point:
    loss: float
    c: float
    b: Vector
    converged: bool = True


class LogLinear:
    """Fit ``f(w) = exp(gamma) + exp(a . w)`` to each metric, by Huber's loss.

    Minimises ``sum_r huber_delta(y_r - f(w_r)) + R * penalty / 2 * sum_k (a_k - mean(a))^2`` over gamma and a. The law
    is convex in w, so that its best mixture can be found with a certificate.

    Parameters
    ----------
    delta : float, optional
        Where Huber's loss turns from squares to absolute values, in units of the metrics. Default 0.02, Olmix's choice.
    penalty : float or "cv", optional
        Weight of the squares of the coefficients around their mean. Default 0, as published. "cv" chooses one for each
        metric by ten-fold cross-validation: with few runs for the number of domains, the law over-fits without.
    seed : int, optional
        Of the random halves of runs that a search leaves shallow minima by, and of the folds.

    Attributes
    ----------
    gamma : ndarray (J,); a : ndarray (J, K)
        The coefficients. Where rows sum to 1, a factor before the second exponential is a constant added to ``a``.
    objective, mean_objective : ndarray (J,)
        Huber's loss summed over the runs, and its mean; without the penalty.
    penalties : ndarray (J,)
        The penalty of each metric.
    noise : ndarray (J,)
        Standard deviation of what the law leaves unexplained.
    identified : ndarray (K,), bool
        False for domains whose coefficient the runs do not determine (never sampled, or always in fixed proportion to
        others). What is not determined is set so that the domain acts like the average run.
    notes : tuple of str
        What was unusual: constant metrics, too few runs, domains that are not identified.

    Raises
    ------
    BackendError
        By `fit`, where Numba is not installed.
    ValueError
        By `fit` and the constructor, for a metric without any value and for impossible parameters.

    Notes
    -----
    The problem is not convex. The search starts from ordinary least squares of ``log(y - c)`` for several constants c,
    descends through blunter losses, and from the best minimum fits random halves of the runs and returns. Each descent
    is a damped Newton method. The result depends on the data, the parameters and the seed alone, and that of a metric
    not on the other metrics. Time grows as ``J R K^2``; the first fit on a machine also compiles.

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
    uses_features = False

    gamma: Vector
    a: Matrix
    objective: Vector
    runs: Vector
    penalties: Vector
    noise: Vector
    covariance: NDArray[np.float64]  # (J, K + 1, K + 1), of exp(gamma) and a
    identified: NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    def __init__(self, *, delta: float = 0.02, penalty: float | str = 0.0, seed: int = 0) -> None:
        if not 0.0 < delta < np.inf:
            raise ValueError(f"delta is {delta!r}; Huber's loss needs a positive number, in units of the metrics")
        if isinstance(penalty, str):
            if penalty != "cv":
                raise ValueError(f'penalty is {penalty!r}; give a number, or "cv" to choose it by cross-validation')
        elif not 0.0 <= penalty < np.inf:
            raise ValueError(f"penalty is {penalty!r}; it must not be negative")
        self.delta, self.penalty, self.seed = float(delta), penalty, int(seed)

    def fit(self, x: Matrix, y: Matrix) -> Self:
        """Return the law fitted to runs.

        Parameters
        ----------
        x : ndarray (R, K)
            Mixtures.
        y : ndarray (R, J)
            Metrics, NaN where a run has none; each metric is fitted to the runs that have it.

        Returns
        -------
        LogLinear
            A fitted copy.
        """
        descend = _descend()
        x, y = np.ascontiguousarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        metrics, domains = y.shape[1], x.shape[1]
        law = copy.copy(self)
        law.gamma, law.objective, law.noise = np.empty(metrics), np.empty(metrics), np.empty(metrics)
        law.runs, law.penalties = np.empty(metrics), np.empty(metrics)
        law.a, law.covariance = np.empty((metrics, domains)), np.empty((metrics, domains + 1, domains + 1))
        law.identified = np.ones(domains, dtype=bool)
        notes: list[str] = []
        for rows, columns in by_missing(y):
            if not rows.any():
                raise ValueError(
                    f"metrics {columns.tolist()} have no value in any of the {len(y)} runs; leave them out"
                )
            basis = _Basis.of(x[rows])
            law.identified &= _identified(x[rows])
            for j in columns:
                law._fit_metric(int(j), basis, np.ascontiguousarray(y[rows, j]), descend, notes)
        if not law.identified.all():
            lost = np.flatnonzero(~law.identified)
            never = [int(k) for k in lost if not x[:, k].any()]
            same = [int(k) for k in lost if k not in never and np.ptp(x[:, k]) <= _STILL]
            rest = [int(k) for k in lost if k not in never and k not in same]
            why = (("never sampled", never), ("the same share in all runs", same), ("varied only together", rest))
            notes.append(
                f"the runs do not identify the coefficients of domains {lost.tolist()} "
                f"({'; '.join(f'{what}: {which}' for what, which in why if which)}); what is open is set as for the average run"
            )
        law.notes = tuple(notes)
        return law

    def _fit_metric(self, j: int, basis: _Basis, y: Vector, descend: Descend, notes: list[str]) -> None:
        runs, width = basis.z.shape
        span = float(np.ptp(y))
        self.runs[j] = runs
        fixed = float(self.penalty) if not isinstance(self.penalty, str) else None
        if span <= 1e-12 * float(np.abs(y).max()):
            # Any split of the level between the two terms will do; the even one keeps both in range.
            half = max(0.5 * float(y[0]), 1e-300)
            point, penalty = _Point(0.0, half, _flat(basis, half)), fixed or 0.0
            notes.append(f"metric {j} has the same value in all {runs} runs; its law is constant")
        else:
            search = _Search(basis, y, self.delta, descend)
            penalty = search.chosen(self.seed) if fixed is None else fixed
            if runs < width + 2 and penalty == 0.0:
                penalty = _LEAST_PENALTY * self.delta
                notes.append(
                    f"metric {j} has {runs} runs for {width + 1} numbers; it was fitted with penalty {penalty:g}"
                )
            point = search.best(penalty, self.seed)
            if not point.converged:
                notes.append(f"metric {j} had not converged after {_STEPS} steps; its law is the best point found")
            if y.min() <= 0.0:
                notes.append(f"metric {j} has values down to {y.min():g}, but this law has positive values only")
        self.penalties[j] = penalty
        self.gamma[j] = np.log(point.c)
        self.a[j] = basis.to_a @ point.b
        if (steep := float(np.ptp(self.a[j]))) > 2.0 * _HIGHEST:
            notes.append(
                f"metric {j} has coefficients that ran away (they differ by {steep:.2g}): too few runs, or no log-linear relation; "
                "trust the law near the runs only, or fit it with its penalty chosen by cross-validation"
            )
        self._spread(j, basis, y, point, penalty)

    def _spread(self, j: int, basis: _Basis, y: Vector, point: _Point, penalty: float) -> None:
        """Objective, noise and covariance of metric j.

        Huber's covariance of an M-estimator, with the curvature averaged over the runs: the exact one may be singular,
        for only runs within delta of the law bend its loss.
        """
        runs, width = basis.z.shape
        m = np.exp(basis.z @ point.b)
        residual = y - point.c - m
        size = np.abs(residual)
        inside = size <= self.delta
        psi = np.clip(residual, -self.delta, self.delta)
        self.objective[j] = float(np.where(inside, 0.5 * size**2, self.delta * (size - 0.5 * self.delta)).sum())
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
        # What no run tells is as uncertain as the coefficients are different.
        full[1:, 1:] += self.a[j].var() * basis.unseen
        self.covariance[j] = full

    @property
    def mean_objective(self) -> Vector:
        """Mean Huber loss of each metric over its runs, (J,)."""
        return self.objective / self.runs

    def predict(self, x: Matrix) -> Matrix:
        """Return the metrics (M, J) at mixtures (M, K)."""
        return np.exp(self.gamma) + self._excess(x)

    def slopes(self, x: Matrix) -> tuple[Matrix, NDArray[np.float64]]:
        """Return values (M, J) and gradients (M, J, K) with respect to the mixtures, as if they were free of their sum."""
        excess = self._excess(x)
        return np.exp(self.gamma) + excess, excess[:, :, None] * self.a[None]

    def sd(self, x: Matrix) -> Matrix:
        """Return the standard deviation (M, J) of a new run's metrics: of the coefficients, by their covariance, and noise."""
        x = np.asarray(x, dtype=np.float64)
        excess = self._excess(x)
        result = np.empty_like(excess)
        for j, covariance in enumerate(self.covariance):
            row = np.column_stack([np.ones(len(x)), excess[:, j, None] * x])
            # Where the coefficients are exact, rounding may leave a variance a little below 0.
            variance = np.maximum(np.einsum("mk,kl,ml->m", row, covariance, row), 0.0)
            result[:, j] = np.sqrt(variance + self.noise[j] ** 2)
        return result

    def joint(self, x: Matrix, metrics: Sequence[int]) -> list[Joint]:
        """Return what is open of each of these metrics at mixtures (M, K) jointly.

        Covariances are those of the coefficients by the delta method; a draw evaluates the law at coefficients drawn.
        """
        x = np.asarray(x, dtype=np.float64)
        return [self._joint(x, j) for j in metrics]

    def _joint(self, x: Matrix, j: int) -> Joint:
        excess = np.exp(np.minimum(x @ self.a[j], _HIGHEST))
        gradient = np.column_stack([np.ones(len(x)), excess[:, None] * x])
        return of_coefficients(
            gradient, self.covariance[j], float(self.noise[j]),
            lambda moved: np.exp(self.gamma[j]) + moved[:, :1] + np.exp(np.minimum((self.a[j] + moved[:, 1:]) @ x.T, _HIGHEST)),
        )  # fmt: skip

    def _excess(self, x: Matrix) -> Matrix:
        return np.exp(np.minimum(np.asarray(x, dtype=np.float64) @ self.a.T, _HIGHEST))

    def state(self) -> State:
        """Return what the fitted law is made of."""
        parts: dict[str, Any] = {key: getattr(self, key) for key in _STATE}
        return {"delta": self.delta, "penalty": self.penalty, "seed": self.seed, **parts, "notes": list(self.notes)}

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Return the law that `state` was taken from."""
        law = cls(delta=state["delta"], penalty=state["penalty"], seed=state["seed"])
        for key in _STATE:
            setattr(law, key, np.asarray(state[key]))
        law.notes = tuple(state["notes"])
        return law


class _Search:
    """The search of one metric's minimum."""

    def __init__(self, basis: _Basis, y: Vector, delta: float, descend: Descend) -> None:
        self.basis, self.y, self.delta, self.descend = basis, y, delta, descend
        self.low = float(y.min())
        # Half of a metric's values may lie at its floor.
        self.spread = max(float(np.median(y)) - self.low, 0.1 * float(np.ptp(y)))
        # The constant is positive; this is nothing beside any value.
        self.floor = 1e-9 * float(np.abs(y).max())
        self.project = basis.z.T / len(y)

    def best(self, penalty: float, seed: int) -> _Point:
        """Return the best minimum found."""
        quad = self._quad(penalty, len(self.y))
        valleys: list[_Point] = []
        for c in self._constants():
            point = self._blunt(c, quad)
            if not any(abs(point.loss - other.loss) <= _SAME * other.loss for other in valleys):
                valleys.append(point)
        best = min((self._sharp(point, quad) for point in valleys), key=lambda point: point.loss)
        runs, width = self.basis.z.shape
        half = max(runs // 2, width + 2)
        if half >= runs:
            return best
        rng = np.random.default_rng(seed)
        blunt = max(self.delta, _BLUNT[-1] * self.spread)
        for _ in range(_KICKS):
            some = np.sort(rng.permutation(runs)[:half])
            b = best.b.copy()
            part = self.basis.z[some], self.y[some], blunt, quad * (half / runs), self.floor
            _, c, _ = self.descend(*part, best.c, b, 6, _BLUNT_TOL)
            found = self._sharp(_Point(np.inf, c, b), quad)
            if found.loss < best.loss * (1.0 - _TOL):
                best = found
        return best

    def chosen(self, seed: int) -> float:
        """Return the penalty of least Huber loss on runs left out; of equals, the larger."""
        runs = len(self.y)
        fold = np.random.default_rng(seed).permutation(runs) % min(_FOLDS, runs)
        lost = np.zeros(len(_PENALTIES))
        highest = float(self.y.max()) + 0.5 * float(np.ptp(self.y))
        start = self._blunt(self._constants()[2], self._quad(_PENALTIES[0] * self.delta, runs))
        for out in range(int(fold.max()) + 1):
            train, left = np.flatnonzero(fold != out), np.flatnonzero(fold == out)
            z, y = self.basis.z[train], self.y[train]
            c, b = start.c, start.b.copy()
            for index, penalty in enumerate(_PENALTIES):
                quad = self._quad(penalty * self.delta, len(train))
                _, c, _ = self.descend(z, y, self.delta, quad, self.floor, c, b, 50, 1e-6)
                # With few runs a law may be right for most and astronomic for one: no further off than this counts.
                guess = np.minimum(c + np.exp(np.minimum(self.basis.z[left] @ b, 700.0)), highest)
                away = np.abs(self.y[left] - guess)
                lost[index] += np.where(away <= self.delta, 0.5 * away**2, self.delta * (away - 0.5 * self.delta)).sum()
        return float(_PENALTIES[int(lost.argmin())]) * self.delta

    def _constants(self) -> list[float]:
        depths = [max(self.low - depth * self.spread, self.floor) for depth in _DEPTHS]
        return list(dict.fromkeys([*depths, max(float(np.quantile(self.y, 0.1)), self.floor)]))

    def _quad(self, penalty: float, runs: int) -> Matrix:
        return runs * penalty * self.basis.bend

    def _blunt(self, c: float, quad: Matrix) -> _Point:
        """Descend from the constant c through blunter losses."""
        b = self.project @ np.log(np.maximum(self.y - c, 0.01 * self.spread))
        loss = np.inf
        for blunt in _BLUNT:
            part = self.basis.z, self.y, max(self.delta, blunt * self.spread), quad, self.floor
            loss, c, _ = self.descend(*part, c, b, _BLUNT_STEPS, _BLUNT_TOL)
        return _Point(loss, c, b)

    def _sharp(self, point: _Point, quad: Matrix) -> _Point:
        b = point.b.copy()
        loss, c, steps = self.descend(self.basis.z, self.y, self.delta, quad, self.floor, point.c, b, _STEPS, _TOL)
        return _Point(loss, c, b, steps < _STEPS)


def _identified(x: Matrix) -> NDArray[np.bool_]:
    """Domains (K,) whose coefficients mixtures (R, K) determine, once those with one share in all are left aside."""
    out = np.ptp(x, axis=0) > _STILL
    if out.any():
        out[out] = np.diag(_Basis.of(x[:, out]).unseen) < 1e-8
    return np.asarray(out)


def _flat(basis: _Basis, level: float) -> Vector:
    """Coefficients for which the exponential is `level` at every run, as nearly as they can."""
    return basis.z.T @ np.full(len(basis.z), np.log(level)) / len(basis.z)


def by_missing(y: Matrix) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.intp]]]:
    """Yield the metrics that the same runs have: those runs (R,) bool, and the metrics' indices."""
    patterns, which = np.unique(~np.isnan(y), axis=1, return_inverse=True)
    for index, rows in enumerate(patterns.T):
        yield rows, np.flatnonzero(which.ravel() == index)


def _descend() -> Descend:
    try:
        from mixfast.laws._log_linear_loops import descend
    except ImportError as problem:
        raise BackendError(
            "the log-linear law is fitted by compiled loops, and Numba is not installed; pip install mixfast[laws]"
        ) from problem
    return descend
