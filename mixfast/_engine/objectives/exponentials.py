"""Sums of exponentials of convex exponents: the objectives of log-linear laws and of laws in epochs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.objectives.base import Objective, Sums
from mixfast._engine.objectives.epoch_exponents import EpochExponents
from mixfast._engine.objectives.epoch_forms import EpochForms
from mixfast._engine.objectives.forms import ELEMENTS, Exponential, Forms


class Exponentials(Objective):
    """``sum_j exp(log_weight_j + a_j.w + epochs_j(w)) + linear.w + constant``, convex; J rows of K slopes.

    Parameters
    ----------
    a : (J, K) float64
    log_weight : (J,) float64
    linear : (K,) float64
    constant : float
    epochs : EpochExponents, optional
        None: exponents are linear. Its curvature is the separable part of the objective: the weights of the exponentials are taken at one
        mixture, and the terms of each share are exact.
    """

    a: Matrix
    log_weight: Vector
    linear: Vector
    constant: float
    epochs: EpochExponents | None
    rows: int
    columns: int

    def __init__(
        self, a: Matrix, log_weight: Vector, linear: Vector, constant: float, epochs: EpochExponents | None = None
    ) -> None:
        self.a, self.log_weight, self.linear, self.constant = np.ascontiguousarray(a), log_weight, linear, constant
        self.rows, self.columns = max(a.shape[0], 1), a.shape[1]
        self.epochs = epochs
        self.curved: bool = epochs is not None
        # The last point and its exponentials.
        self._near: tuple[Vector, Vector] | None = None

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        a, linear = (self.a, self.linear) if columns is None else (self.a[:, columns], self.linear[columns])
        exponents = self.log_weight + a @ w
        if self.epochs is not None:
            bent = self.epochs.restrict(columns).at(w)
            exponents, a = exponents + bent.value, a + bent.slope
        e = np.exp(exponents)
        value = float(e.sum() + linear @ w) + self.constant
        return value, e @ a + linear, (a.T * e) @ a if hessian else None

    def separable(self, w: Vector, columns: Columns | None, here: Vector | None = None) -> tuple[Vector, Vector]:
        if self.epochs is None:
            return super().separable(w, columns, here)
        epochs = self.epochs.restrict(columns)
        a = self.a if columns is None else self.a[:, columns]
        bent = epochs.at(w)
        if here is None:
            e = np.exp(self.log_weight + a @ w + bent.value)
        elif self._near is not None and self._near[0] is here:
            e = self._near[1]
        else:
            e = np.exp(self.log_weight + a @ here + epochs.values(here[None])[0])
            self._near = here, e
        return e @ bent.slope, e @ bent.bend

    def losses(self, mixtures: Matrix) -> Vector:
        with np.errstate(over="ignore"):  # a steep law is infinite far from its minimum
            exponents = mixtures @ self.a.T + self.log_weight
            e = np.exp(exponents if self.epochs is None else exponents + self.epochs.values(mixtures))
        return e.sum(axis=1) + mixtures @ self.linear + self.constant

    def forms(self) -> Forms | None:
        if not 0 < self.a.size <= ELEMENTS:
            return None
        weight, offset, linear = np.ones((1, self.a.shape[0])), np.array([self.constant]), self.linear[None]
        if self.epochs is not None:
            return EpochForms.exponentials(self.a, self.log_weight, weight, offset, linear, self.epochs)
        return Forms(self.a, self.log_weight, Exponential(), weight, offset, linear)

    def restrict(self, columns: Columns | None) -> Exponentials:
        """Return the same objective over some of the domains; the other domains have share 0."""
        if columns is None:
            return self
        epochs = self.epochs and self.epochs.restrict(columns)
        return Exponentials(self.a[:, columns], self.log_weight, self.linear[columns], self.constant, epochs)

    def tilted(self, linear: Vector) -> Exponentials:
        """Return the same objective with another linear part (K,)."""
        return Exponentials(self.a, self.log_weight, linear, self.constant, self.epochs)


@dataclass(frozen=True, eq=False)
class Convex:
    """Metrics that are convex in the mixture: ``sign_j f_j(w) = constant_j + linear_j.w + on_j exp(a_j.w + epochs_j(w))``; 0 for unused metrics."""

    a: Matrix  # (J, K)
    on: Vector  # (J,), >= 0; 0 for metrics without an exponential
    linear: Matrix  # (J, K)
    constant: Vector  # (J,)
    epochs: EpochExponents | None = None

    @property
    def steep(self) -> NDArray[np.bool_]:
        """Which domains (K,) have an infinite slope at share 0 in some metric."""
        if self.epochs is None:
            return np.zeros(self.a.shape[1], dtype=bool)
        return self.epochs.some(np.flatnonzero(self.on)).steep

    def exponentials(self, w: Vector) -> Vector:
        """Return ``on_j exp(a_j.w + epochs_j(w))`` at w (K,), (J,)."""
        exponents = self.a @ w
        if self.epochs is not None:
            exponents += self.epochs.values(w[None])[0]
        out: Vector = self.on * np.exp(exponents)
        return out

    def metrics(self, w: Vector) -> Vector:
        """Return ``sign_j f_j(w)``, (J,)."""
        out: Vector = self.constant + self.linear @ w + self.exponentials(w)
        return out

    def restrict(self, columns: Columns | None) -> Convex:
        """Return the same metrics over some of the domains; the other domains have share 0."""
        if columns is None:
            return self
        epochs = self.epochs and self.epochs.restrict(columns)
        return Convex(self.a[:, columns], self.on, self.linear[:, columns], self.constant, epochs)

    def shifted(self, by: Vector) -> Convex:
        """Return the metrics plus numbers (J,)."""
        return replace(self, constant=self.constant + by)

    def scaled(self, by: Vector) -> Convex:
        """Return the metrics times numbers (J,) above 0."""
        return replace(self, on=self.on * by, linear=self.linear * by[:, None], constant=self.constant * by)

    def combined(self, weight: Vector) -> Exponentials:
        """Return ``sum_j weight_j f_j`` for weights (J,) >= 0."""
        rows = np.flatnonzero((weight > 0.0) & (self.on > 0.0))
        epochs = self.epochs and self.epochs.some(rows)
        if epochs is not None and not epochs.used.any():
            epochs = None
        log_weight = np.log(weight[rows] * self.on[rows])
        return Exponentials(self.a[rows], log_weight, weight @ self.linear, float(weight @ self.constant), epochs)
