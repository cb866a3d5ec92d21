"""Exponents of laws in epochs: convex functions of the shares that are sums of one function of each share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.objectives.epoch_terms import gain, harm

# Fewer epochs than this are treated as this many: the second derivative of any gain, times its square, is finite there.
_LEAST = 1e-80
# Elements of one block of several mixtures.
_BLOCK = 1 << 16


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
    def used(self) -> NDArray[np.bool_]:
        """Which rows (J,) depend on epochs."""
        return np.asarray((np.hstack([self.gain, self.harm]) > 0.0).any(axis=1))

    @property
    def steep(self) -> NDArray[np.bool_]:
        """Which domains (K,) have an infinite slope at share 0 in some row."""
        grows = (self.gain > 0.0) & (self.p < 1.0)[:, None]
        return np.asarray((grows & (self.rate > 0.0)).any(axis=0))

    @property
    def power(self) -> Vector:
        """Smallest ``1 - p`` (K,) of the rows in which a domain has an infinite slope at 0; 0 if there are none.

        There, every such slope grows at least as fast as ``w^-power``.
        """
        powers = np.where((self.gain > 0.0) & (self.p < 1.0)[:, None], 1.0 - self.p[:, None], np.inf)
        least: Vector = powers.min(axis=0, initial=np.inf)
        return np.where(np.isfinite(least), least, 0.0)

    def at(self, w: Vector) -> Bent:
        """Evaluate at shares w (K,); at shares of 0, slopes are those at a share that float64 can just tell from it."""
        epochs = np.maximum(self.rate * w, _LEAST)
        value, slope, bend = gain(epochs, self.rho[:, None], self.p[:, None])
        scaled = -self.gain * self.rate
        value, slope, bend = -np.einsum("jk,jk->j", self.gain, value), slope * scaled, bend * (scaled * self.rate)
        if (rows := self._harmful).size:
            scaled = self.harm[rows] * self.rate
            more = harm(epochs, self.tau[rows, None])
            value[rows] += np.einsum("jk,jk->j", self.harm[rows], more[0])
            slope[rows] += scaled * more[1]
            bend[rows] += scaled * self.rate * more[2]
        return Bent(self.shift + value, slope, bend)

    def values(self, mixtures: Matrix) -> Matrix:
        """Return exponents (M, J) at mixtures (M, K)."""
        out, rows = np.empty((mixtures.shape[0], self.rho.size)), self._harmful
        step = max(_BLOCK // max(self.gain.size, 1), 1)
        for start in range(0, len(mixtures), step):
            epochs = np.maximum(mixtures[start : start + step] * self.rate, _LEAST)[:, None, :]
            part = out[start : start + step]
            part[:] = self.shift - np.einsum(
                "jk,mjk->mj", self.gain, gain(epochs, self.rho[:, None], self.p[:, None])[0]
            )
            if rows.size:
                part[:, rows] += np.einsum("jk,mjk->mj", self.harm[rows], harm(epochs, self.tau[rows, None])[0])
        return out

    def restrict(self, columns: Columns | None) -> EpochExponents:
        """Return the exponents over some of the domains; the other domains have share 0."""
        if columns is None:
            return self
        moving = np.zeros(self.rate.size, dtype=bool)
        moving[columns] = True
        return self.with_fixed(moving, np.zeros(self.rate.size), columns)

    def with_fixed(self, moving: NDArray[np.bool_], w: Vector, columns: Columns | None = None) -> EpochExponents:
        """Return the exponents as functions of the shares `moving`, with the other shares fixed to those of w (K,); `columns` are the moving ones."""
        # Harm is above 0 even at 0 epochs.
        still = replace(self, gain=np.where(moving, 0.0, self.gain), harm=np.where(moving, 0.0, self.harm))
        at = np.flatnonzero(moving) if columns is None else columns
        return replace(
            self, gain=self.gain[:, at], harm=self.harm[:, at], rate=self.rate[at], shift=still.values(w[None])[0]
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

    @cached_property
    def _harmful(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.harm.any(axis=1))
