"""Sums of exponentials of the shares: the objectives of log-linear laws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.objectives.base import Objective, Sums
from mixfast._engine.objectives.forms import ELEMENTS, Exponential, Forms


class Exponentials(Objective):
    """``sum_j exp(log_weight_j + a_j.w) + linear.w + constant``, convex; J rows of K slopes.

    Parameters
    ----------
    a : (J, K) float64
    log_weight : (J,) float64
    linear : (K,) float64
    constant : float
    """

    a: Matrix
    log_weight: Vector
    linear: Vector
    constant: float
    rows: int
    columns: int

    def __init__(self, a: Matrix, log_weight: Vector, linear: Vector, constant: float) -> None:
        self.a, self.log_weight, self.linear, self.constant = np.ascontiguousarray(a), log_weight, linear, constant
        self.rows, self.columns = max(a.shape[0], 1), a.shape[1]

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        a, linear = (self.a, self.linear) if columns is None else (self.a[:, columns], self.linear[columns])
        e = np.exp(self.log_weight + a @ w)
        value = float(e.sum() + linear @ w) + self.constant
        return value, e @ a + linear, (a.T * e) @ a if hessian else None

    def losses(self, mixtures: Matrix) -> Vector:
        with np.errstate(over="ignore"):  # a steep law is infinite far from its minimum
            e = np.exp(mixtures @ self.a.T + self.log_weight)
        return e.sum(axis=1) + mixtures @ self.linear + self.constant

    def forms(self) -> Forms | None:
        if not 0 < self.a.size <= ELEMENTS:
            return None
        terms = self.a.shape[0]
        return Forms(
            self.a, self.log_weight, Exponential(), np.ones((1, terms)), np.array([self.constant]), self.linear[None]
        )

    def restrict(self, columns: Columns | None) -> Exponentials:
        """Return the same objective over some of the domains; the other domains have share 0."""
        if columns is None:
            return self
        return Exponentials(self.a[:, columns], self.log_weight, self.linear[columns], self.constant)


@dataclass(frozen=True, eq=False)
class Convex:
    """Metrics that are convex in the mixture: ``sign_j f_j(w) = constant_j + linear_j.w + on_j exp(a_j.w)``; 0 for unused metrics."""

    a: Matrix  # (J, K)
    on: Vector  # (J,), 0 or 1
    linear: Matrix  # (J, K)
    constant: Vector  # (J,)

    def exponentials(self, w: Vector) -> Vector:
        """Return ``on_j exp(a_j.w)`` at w (K,), (J,)."""
        out: Vector = self.on * np.exp(self.a @ w)
        return out

    def metrics(self, w: Vector) -> Vector:
        """Return ``sign_j f_j(w)``, (J,)."""
        out: Vector = self.constant + self.linear @ w + self.exponentials(w)
        return out

    def restrict(self, columns: Columns | None) -> Convex:
        """Return the same metrics over some of the domains; the other domains have share 0."""
        return self if columns is None else Convex(self.a[:, columns], self.on, self.linear[:, columns], self.constant)

    def combined(self, weight: Vector) -> Exponentials:
        """Return ``sum_j weight_j f_j`` for weights (J,) >= 0."""
        rows = np.flatnonzero((weight > 0.0) & (self.on > 0.0))
        return Exponentials(self.a[rows], np.log(weight[rows]), weight @ self.linear, float(weight @ self.constant))
