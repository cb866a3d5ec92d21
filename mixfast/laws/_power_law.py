"""What the power laws share: least squares within bounds from several starts, and standard deviations by Gauss and Newton."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import chain
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import each
from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast.laws._coefficients import Coefficients, covariances
from mixfast.laws._power_search import STEPS, Point, Search, loops
from mixfast.laws._protocol import Note
from mixfast.laws._range import not_negative

# Smaller effects on the runs are treated as zero; 1 / this squared is still finite.
_LEAST_EFFECT = 1e-30


def _covariance(jacobian: Matrix, noise: float) -> Matrix:
    """Return ``noise^2 (J'J)^-1``. It scales each parameter by its effect: scales differ by many decades, and some effects are zero."""
    size = np.linalg.norm(jacobian, axis=0)
    acts = size > _LEAST_EFFECT
    unit = jacobian / np.where(acts, size, np.inf)
    gram = unit.T @ unit + 1e-8 * np.eye(len(size))
    back = np.where(acts, 1.0 / np.maximum(size, _LEAST_EFFECT), 0.0)
    inverse = np.linalg.inv(gram)
    # Symmetric only up to rounding, which is large here: what reads one triangle would have other variances.
    return noise**2 * 0.5 * (inverse + inverse.T) * np.outer(back, back)


class PowerLaw(Coefficients):
    """A law of each metric with parameters theta, fitted by least squares. A subclass gives its form, bounds and starts."""

    theta: Matrix  # (J, P)
    unit: Vector  # (J,): the factor of the law of theta
    objective: Vector
    noise: Vector
    covariance: NDArray[np.float64]  # (J, P, P)
    _arrays = ("theta", "unit", "objective", "noise", "covariance")
    _kind: ClassVar[int]

    def _unit(self, y: Vector) -> float:
        """Return the unit in which a metric of these values is fitted."""
        raise NotImplementedError

    def _starts(self, domains: int, y: Vector) -> list[Vector]:
        """Return parameters theta to start from, for values in the law's unit."""
        raise NotImplementedError

    def _box(self, domains: int, y: Vector) -> tuple[Vector, Vector]:
        """Return bounds (P,) of the parameters that a descent moves, for values in the law's unit."""
        raise NotImplementedError

    def _moved_by(self, theta: Vector) -> Vector:
        """Convert theta to the parameters that a descent moves."""
        return theta

    def _theta_of(self, u: Vector) -> Vector:
        """Convert the parameters that a descent moves back to theta."""
        return u

    def _seen(self, x: Matrix) -> Matrix:
        """Convert mixtures (R, K) to the form that the compiled loops expect."""
        return x

    def _in_unit(self, theta: Vector, ratio: float) -> Vector:
        """Convert theta to another unit; ``ratio`` is the old unit in terms of the new one."""
        raise NotImplementedError

    def _shapes(self) -> tuple[Vector, Vector]:
        """Return the grid of shapes to try for single terms, in the form that the compiled loops expect."""
        raise NotImplementedError

    def _flat(self, domains: int, y: Vector) -> list[Vector]:
        """Return starts without terms, as parameters that a descent moves."""
        raise NotImplementedError

    def _anew(self, best: Point, search: Search) -> Point:
        """Start single terms anew to escape local minima of this law; return the best point."""
        return best

    def _again(self, u: Vector, seen: Matrix, y: Vector) -> Vector | None:
        """Return where to descend again after a descent, or None if there is nothing to try."""
        return None

    def _values(self, theta: Vector, x: Matrix) -> Vector:
        """Return the metric (M,) at mixtures (M, K), in the law's unit."""
        raise NotImplementedError

    def _jacobian(self, theta: Vector, x: Matrix) -> Matrix:
        """Return derivatives (M, P) with respect to theta, in the law's unit."""
        raise NotImplementedError

    def _slopes(self, theta: Vector, x: Matrix) -> Matrix:
        """Return derivatives (M, K) with respect to the shares, in the law's unit."""
        raise NotImplementedError

    def fit(self, x: Matrix, y: Matrix) -> Self:
        """Return a copy fitted to runs: mixtures (R, K) and metrics (R, J) that are not negative, NaN where a run has no value.

        Raises
        ------
        BackendError
            If Numba is not installed.
        ValueError
            If a metric has no values, or a negative one.
        """
        return self._fitted_to(x, y, [None] * y.shape[1])

    def refit(self, x: Matrix, y: Matrix, columns: Sequence[int]) -> Self:
        """Fit the law to some of its own runs, metrics (R', len(columns)).

        Take the better of two minima: one searched from the fit to all runs, and one from a start that does not use the other runs.
        """
        return self._fitted_to(x, y, [(float(self.unit[j]), self.theta[j]) for j in columns])

    def _fitted_to(self, x: Matrix, y: Matrix, known: Sequence[tuple[float, Vector] | None]) -> Self:
        """Return a copy fitted to runs; each metric starts from its known unit and parameters as well, or else from many starts."""
        loops()
        x, y = np.ascontiguousarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        y = not_negative(y)
        law = copy.copy(self)
        metrics, width = y.shape[1], len(self._box(x.shape[1], np.ones(1))[0])
        law.theta, law.covariance = np.empty((metrics, width)), covariances(metrics, width)
        law.unit, law.objective, law.noise = np.empty(metrics), np.empty(metrics), np.empty(metrics)

        def one(j: int) -> list[Note]:
            rows = ~np.isnan(y[:, j])
            if not rows.any():
                raise ValueError(f"metric {j} has no value in any of the {len(y)} runs: leave it out")
            return law._fit_metric(j, np.ascontiguousarray(x[rows]), y[rows, j], known[j])

        law.notes = tuple(chain.from_iterable(each(one, range(metrics))))
        return law

    def _fit_metric(self, j: int, x: Matrix, y: Vector, known: tuple[float, Vector] | None) -> list[Note]:
        """Fit metric j to the runs that have it; return notes on unusual cases."""
        notes = []
        unit = self._unit(y)
        start = None if known is None else self._in_unit(known[1], known[0] / unit)
        best = self._search(x, y / unit, start)
        width = len(best.u)
        if len(y) <= width:
            few = f"{{metric}} has {len(y)} runs for {width} parameters; the runs do not determine them"
            notes.append(Note(few, metric=j))
        if best.late:
            late = f"{{metric}} had not converged after {STEPS} steps; its law is the best point found"
            notes.append(Note(late, metric=j))
        theta = self._theta_of(best.u)
        noise = unit * float(np.sqrt(2.0 * best.loss / max(len(y) - width, 1)))
        self.theta[j], self.unit[j], self.objective[j], self.noise[j] = theta, unit, 2.0 * unit**2 * best.loss, noise
        self.covariance[j] = _covariance(unit * self._jacobian(theta, x), noise)
        return notes

    def _search(self, x: Matrix, y: Vector, known: Vector | None) -> Point:
        """Return the best minimum found, for values in the law's unit."""
        domains, seen = x.shape[1], self._seen(x)
        search = Search(
            self._kind, seen, float(getattr(self, "tokens", 1.0)), y, *self._box(domains, y), shapes=self._shapes()
        )
        flat = self._flat(domains, y)
        if known is not None:
            return search.minimum_near(self._moved_by(known), flat[0])
        starts = [self._moved_by(start) for start in self._starts(domains, y)]
        return search.minimum(starts, flat, lambda u: self._again(u, seen, y), lambda point: self._anew(point, search))

    def predict(self, x: Matrix) -> Matrix:
        """Return the metrics (M, J) at mixtures (M, K)."""
        x = np.asarray(x, dtype=np.float64)
        return np.stack([self._values(theta, x) for theta in self.theta], axis=1) * self.unit

    def slopes(self, x: Matrix) -> tuple[Matrix, NDArray[np.float64]]:
        """Return values (M, J) and gradients (M, J, K) with respect to the shares, ignoring that they must sum to 1."""
        x = np.asarray(x, dtype=np.float64)
        slopes = np.stack([self._slopes(theta, x) for theta in self.theta], axis=1)
        return self.predict(x), slopes * self.unit[:, None]

    def _tangent(self, x: Matrix, j: int) -> tuple[Matrix, Matrix]:
        return self.unit[j] * self._jacobian(self.theta[j], x), self.covariance[j]
