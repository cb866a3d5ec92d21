"""Exponents of laws in epochs: convex functions of the shares that are sums of one function of each share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.objectives.epoch_terms import gain, harm


class Bent(NamedTuple):
    """Exponents (J,), and their first and second derivatives (J, K) with respect to each share."""

    value: Vector
    slope: Matrix
    bend: Matrix


@dataclass(frozen=True, eq=False)
class EpochExponents:
    """``shift_j + sum_k harm_jk H(E_k; tau_j) - gain_jk F(E_k; rho_j, p_j)`` at ``E = rate * w``, with F and H of `epoch_terms`.

    J rows, K domains. Both terms are convex in w. A row without epochs has gain and harm 0.
    """

    gain: Matrix  # (J, K), >= 0
    harm: Matrix  # (J, K), >= 0
    rho: Vector  # (J,)
    p: Vector  # (J,)
    tau: Vector  # (J,)
    rate: Vector  # (K,), epochs for each unit of share
    shift: Vector  # (J,)

    @classmethod
    def none(cls, rows: int, rate: Vector) -> EpochExponents:
        """Return exponents that are 0."""
        shape = (rows, rate.size)
        return cls(np.zeros(shape), np.zeros(shape), np.ones(rows), np.ones(rows), np.zeros(rows), rate, np.zeros(rows))

    def put(self, rows: list[int], **terms: NDArray[np.float64]) -> None:
        """Set rows of gain, harm, rho, p or tau, in place."""
        for name, values in terms.items():
            getattr(self, name)[rows] = values

    @property
    def steep(self) -> NDArray[np.bool_]:
        """Which domains (K,) have an infinite slope at share 0 in some row."""
        out: NDArray[np.bool_] = ((self.gain > 0.0) & (self.p < 1.0)[:, None]).any(axis=0) & (self.rate > 0.0)
        return out

    def at(self, w: Vector) -> Bent:
        """Evaluate at shares w (K,). Domains without gain have no infinite slope at 0."""
        epochs = self.rate * w
        value, slope, bend = gain(epochs, self.rho[:, None], self.p[:, None])
        used = self.gain > 0.0
        value = np.where(used, -self.gain * value, 0.0)
        slope = np.where(used, -self.gain * slope, 0.0)
        bend = np.where(used, -self.gain * bend, 0.0)
        if self._harmful.size:
            rows = self._harmful
            more = harm(epochs, self.tau[rows, None])
            for out, term in zip((value, slope, bend), more, strict=True):
                out[rows] += self.harm[rows] * term
        return Bent(self.shift + value.sum(axis=1), slope * self.rate, bend * self.rate**2)

    def values(self, mixtures: Matrix) -> Matrix:
        """Return exponents (M, J) at mixtures (M, K)."""
        epochs = mixtures * self.rate
        out = np.empty((mixtures.shape[0], self.rho.size))
        for j, (rho, p, tau) in enumerate(zip(self.rho, self.p, self.tau, strict=True)):
            out[:, j] = self.shift[j] - (gain(epochs, rho, p)[0] @ self.gain[j])
            if self.harm[j].any():
                out[:, j] += harm(epochs, tau)[0] @ self.harm[j]
        return out

    def restrict(self, columns: Columns | None) -> EpochExponents:
        """Return the exponents over some of the domains; the other domains have share 0."""
        if columns is None:
            return self
        other = np.ones(self.rate.size, dtype=bool)
        other[columns] = False
        # Harm is above 0 even at 0 epochs.
        shift = self.shift.copy()
        for j in self._harmful:
            shift[j] += harm(np.zeros(1), self.tau[j])[0][0] * self.harm[j, other].sum()
        return replace(
            self, gain=self.gain[:, columns], harm=self.harm[:, columns], rate=self.rate[columns], shift=shift
        )

    def some(self, rows: NDArray[np.intp]) -> EpochExponents:
        """Return these rows."""
        return EpochExponents(
            self.gain[rows],
            self.harm[rows],
            self.rho[rows],
            self.p[rows],
            self.tau[rows],
            self.rate,
            self.shift[rows],
        )

    @property
    def _harmful(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.harm.any(axis=1))
