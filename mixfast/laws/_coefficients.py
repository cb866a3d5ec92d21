"""Base class of laws that have a few coefficients for each metric; the covariance of the coefficients gives the error bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.names import shown
from mixfast.laws._joint import Joint
from mixfast.laws._protocol import State
from mixfast.laws._room import require_room


def covariances(metrics: int, width: int) -> NDArray[np.float64]:
    """Return an array for the covariance (J, C, C) of each metric's coefficients; raise `ValueError` at once if it does not fit in memory."""
    require_room("covariances", "coefficients", width, metrics)
    return np.empty((metrics, width, width))


class Coefficients:
    """A law with settings as constructor arguments and with arrays and notes that `fit` sets."""

    _settings: ClassVar[tuple[str, ...]]
    _arrays: ClassVar[tuple[str, ...]]
    noise: Vector  # (J,), standard deviation of the residuals
    notes: tuple[str, ...] = ()

    def predict(self, x: Matrix) -> Matrix:
        """Return the metrics (M, J) at inputs (M, P)."""
        raise NotImplementedError

    def _tangent(self, x: Matrix, j: int) -> tuple[Matrix, Matrix]:
        """Return the derivatives (M, C) of metric j with respect to its coefficients, and the covariance (C, C) of the coefficients."""
        raise NotImplementedError

    def _moved(self, x: Matrix, j: int, value: Vector, jacobian: Matrix, by: Matrix) -> Matrix:
        """Return metric j (count, M) after moving its coefficients by (count, C). Linear in the move, unless a law overrides it."""
        return value + by @ jacobian.T

    def sd(self, x: Matrix) -> Matrix:
        """Return the standard deviation (M, J) of a new run's metrics: uncertainty of the coefficients plus noise."""
        x = np.asarray(x, dtype=np.float64)
        out = np.empty((len(x), len(self.noise)))
        for j, noise in enumerate(self.noise):
            jacobian, covariance = self._tangent(x, j)
            # Rounding can make the variance slightly negative if the coefficients are exact.
            variance = np.maximum(np.einsum("mk,mk->m", jacobian @ covariance, jacobian), 0.0)
            out[:, j] = np.sqrt(variance + noise**2)
        return out

    def joint(self, x: Matrix, metrics: Sequence[int]) -> list[Joint]:
        """Return the joint uncertainty of each of these metrics at inputs (M, P), by the delta method."""
        x = np.asarray(x, dtype=np.float64)
        values = self.predict(x)
        return [self._joint(x, j, values[:, j]) for j in metrics]

    def _joint(self, x: Matrix, j: int, value: Vector) -> Joint:
        jacobian, covariance = self._tangent(x, j)
        told = jacobian @ covariance
        return Joint(
            np.einsum("mp,mp->m", told, jacobian),
            np.full(len(x), self.noise[j] ** 2),
            lambda rows: told @ jacobian[rows].T,
            lambda count, rng: self._moved(x, j, value, jacobian, _normal(covariance, count, rng)),
            self._limit(j),
        )

    def _limit(self, j: int) -> float | None:
        """Return the value that metric j approaches if the logarithm of its distance from it is linear in the coefficients, else None."""
        return None

    def state(self) -> State:
        """Return the settings, arrays and notes of the fitted law."""
        parts = {name: getattr(self, name) for name in (*self._settings, *self._arrays)}
        return {**parts, "notes": list(self.notes)}

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Rebuild the law from what `state` returned."""
        law = cls(**{name: state[name] for name in cls._settings})
        for name in cls._arrays:
            setattr(law, name, np.asarray(state[name]))
        law.notes = tuple(state["notes"])
        return law


def check_penalty(what: str, given: float | str, rule: str, by: str) -> None:
    """Refuse a penalty that is neither a number of at least 0 nor the word for a rule that chooses it."""
    if isinstance(given, str):
        if given != rule:
            raise ValueError(f'{what} is {shown(given)}; give a number, or "{rule}" to choose it by {by}')
    elif not 0.0 <= given < np.inf:
        raise ValueError(f"{what} is {shown(given)}; it must not be negative")


def by_missing(y: Matrix) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.intp]]]:
    """Group the metrics by which runs have them. Yield those runs (R,) bool, and the indices of the metrics.

    Raises
    ------
    ValueError
        If a metric has no value in any run.
    """
    patterns, which = np.unique(~np.isnan(y), axis=1, return_inverse=True)
    for index, rows in enumerate(patterns.T):
        columns = np.flatnonzero(which.ravel() == index)
        if not rows.any():
            raise ValueError(f"metrics {columns.tolist()} have no value in any of the {len(y)} runs; leave them out")
        yield rows, columns


def _normal(covariance: Matrix, count: int, rng: np.random.Generator) -> Matrix:
    """Sample (count, P) normal vectors with mean 0. Directions with a negative variance (a rounding error) stay at 0.

    The covariance is scaled to correlations first. Coefficients of power laws have scales many decades apart, and the rounding
    errors of an eigendecomposition are relative to the largest eigenvalue.
    """
    scale = np.sqrt(np.maximum(covariance.diagonal(), 0.0))
    unit = np.where(scale > 0.0, scale, np.inf)
    values, vectors = np.linalg.eigh(covariance / unit[:, None] / unit)
    return (rng.standard_normal((count, len(values))) * np.sqrt(np.maximum(values, 0.0))) @ vectors.T * scale
