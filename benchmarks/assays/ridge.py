"""Ridge regression on fingerprints: one expert for each ChEMBL target, and one model on the pooled rows of a mixture.

Both have an intercept without penalty. An expert's penalty comes from leave-one-out errors. The pooled model depends on its rows only through weighted sums over
molecules, `Moments`, so that many mixtures are cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bits = NDArray[np.uint8]

ALPHAS = np.logspace(-0.5, 3.5, 9)
# Rows of a pool have a mean weight of 1, and a pool has about 40 times the rows of an expert.
POOL_ALPHAS = (10.0, 100.0, 1000.0, 10000.0)


@dataclass(frozen=True)
class Fitted:
    """Ridge with the penalty of the lowest leave-one-out error; `apart` (n,) is what it predicts for each of its rows without that row."""

    model: Linear
    alpha: float
    apart: Array

    @classmethod
    def to(cls, bits: Bits, y: Array) -> Fitted:
        x = bits.astype(np.float64)
        mean, level = x.mean(axis=0), float(y.mean())
        x -= mean
        rest = y - level
        # The smaller of both matrices of inner products.
        if len(x) <= x.shape[1]:
            size, left = np.linalg.eigh(x @ x.T)
        else:
            size, right = np.linalg.eigh(x.T @ x)
            left = x @ right / np.sqrt(np.maximum(size, 1e-300))
        keep = size > 1e-9 * size[-1]
        size, left = size[keep], left[:, keep]
        turned, squares = left.T @ rest, left**2

        def apart(alpha: float) -> Array:
            shrunk = size / (size + alpha)
            error: Array = (rest - left @ (shrunk * turned)) / (1.0 - 1.0 / len(y) - squares @ shrunk)
            return y - error

        alpha = min(ALPHAS, key=lambda one: float(((apart(one) - y) ** 2).sum()))
        slope = x.T @ (left @ (turned / (size + alpha)))
        return cls(Linear(slope[:, None], np.array([level - mean @ slope])), float(alpha), apart(alpha))


@dataclass(frozen=True)
class Expert:
    """A fitted model, its penalty, and the moments of its rows."""

    model: Linear
    alpha: float
    moments: Moments

    @property
    def mean(self) -> float:
        """Mean of the values that it was fitted to."""
        return float(self.moments.z[0] / self.moments.one)


class Experts:
    """One expert for each ChEMBL target of A, without the molecules that it must not see. Those that would not differ are fitted once."""

    def __init__(self, bits: Bits, values: NDArray[np.floating[Any]]) -> None:
        self.bits, self.values = bits, values.astype(np.float64)
        self.measured = ~np.isnan(values)
        self._whole: dict[int, Expert] = {}

    def whole(self, source: int) -> Expert:
        """Return the expert of all molecules of a source."""
        if source not in self._whole:
            rows = np.flatnonzero(self.measured[:, source])
            fitted = Fitted.to(self.bits[rows], self.values[rows, source])
            self._whole[source] = Expert(fitted.model, fitted.alpha, self._moments(rows, source))
        return self._whole[source]

    def without(self, source: int, molecules: NDArray[np.intp]) -> Expert:
        """Return the expert without some molecules; its penalty is that of the expert of all molecules."""
        whole = self.whole(source)
        seen = molecules[self.measured[molecules, source]]
        if not seen.size:
            return whole
        rest = whole.moments + self._moments(seen, source).times(-1.0)
        (model,) = rest.ridge([whole.alpha])
        return Expert(model, whole.alpha, rest)

    def _moments(self, rows: NDArray[np.intp], source: int) -> Moments:
        return Moments.of(self.bits[rows], np.ones(rows.size), self.values[rows, source][:, None])


@dataclass(frozen=True)
class Moments:
    """Weighted sums over rows x with D targets z: of x x', x, x z', 1 and z."""

    xx: Array  # (p, p)
    x: Array  # (p,)
    xz: Array  # (p, D)
    one: float
    z: Array  # (D,)

    @classmethod
    def of(cls, bits: Bits, weight: Array, sums: Array) -> Moments:
        """Return the moments of molecules (n, p): the total weight of their rows (n,), and the weighted sums of their targets (n, D)."""
        # Entries are sums of at most some 10 000 weights, so single precision is off by much less than the smallest penalty.
        x = bits.astype(np.float32)
        xx = (x * weight[:, None].astype(np.float32)).T @ x
        xz = x.T @ np.column_stack([weight, sums]).astype(np.float32)
        return cls(
            xx.astype(np.float64),
            xz[:, 0].astype(np.float64),
            xz[:, 1:].astype(np.float64),
            float(weight.sum()),
            sums.sum(axis=0),
        )

    def __add__(self, other: Moments) -> Moments:
        return Moments(*(getattr(self, name) + getattr(other, name) for name in ("xx", "x", "xz", "one", "z")))

    def times(self, factor: float) -> Moments:
        return Moments(*(factor * getattr(self, name) for name in ("xx", "x", "xz", "one", "z")))

    def ridge(self, alphas: Iterable[float] = POOL_ALPHAS) -> list[Linear]:
        """Return weighted ridge with an intercept, for each penalty."""
        return [model for model, _ in self.with_leverage(alphas)]

    def with_leverage(self, alphas: Iterable[float] = POOL_ALPHAS) -> list[tuple[Linear, Callable[[Bits], Array]]]:
        """Return the models of `ridge`, and for each the function that gives the leverage (n,) of molecules: without one row of weight v, the
        error of this row is ``error / (1 - v leverage)``.
        """
        from scipy.linalg import cho_factor, cho_solve

        mean, level = self.x / self.one, self.z / self.one
        xx = self.xx - self.one * np.outer(mean, mean)
        xz = self.xz - self.one * np.outer(mean, level)
        found = []

        def leverage(factor: Any) -> Callable[[Bits], Array]:
            def of(bits: Bits) -> Array:
                x = bits - mean
                out: Array = 1.0 / self.one + (x.T * cho_solve(factor, x.T, check_finite=False)).sum(axis=0)
                return out

            return of

        for alpha in alphas:
            shifted = xx.copy()
            shifted.flat[:: len(xx) + 1] += alpha
            factor = cho_factor(shifted, overwrite_a=True, check_finite=False)
            slope = cho_solve(factor, xz, check_finite=False)
            found.append((Linear(slope, level - mean @ slope), leverage(factor)))
        return found


@dataclass(frozen=True)
class Linear:
    """A linear model of D targets."""

    slope: Array  # (p, D)
    intercept: Array  # (D,)

    def predict(self, bits: Bits) -> Array:
        """Return the predictions (n, D)."""
        predicted: Array = bits.astype(np.float64) @ self.slope + self.intercept
        return predicted


class Pool:
    """The pooled rows of several sources, with two targets: the values, and their deviations from the mean of their source."""

    def __init__(self, experts: Sequence[Expert]) -> None:
        parts = [expert.moments for expert in experts]
        self.count = np.array([part.one for part in parts])
        self.rows = float(self.count.sum())
        self._xx = np.stack([part.xx.astype(np.float32).ravel() for part in parts])
        self._x = np.stack([part.x for part in parts])
        self._xz = np.stack(
            [
                np.column_stack([part.xz[:, 0], part.xz[:, 0] - expert.mean * part.x])
                for part, expert in zip(parts, experts, strict=True)
            ]
        )
        self._z = np.stack([np.array([part.z[0], 0.0]) for part in parts])

    def moments(self, shares: Array) -> Moments:
        """Return the moments for the row weights of a mixture, `Mixture.row_weights`: rows of source k have w_k / n_k, scaled to a mean of 1."""
        weight = shares / self.count * self.rows
        has = np.flatnonzero(weight)
        own = weight[has]
        xx = (own.astype(np.float32) @ self._xx[has]).astype(np.float64)
        width = self._x.shape[1]
        return Moments(
            xx.reshape(width, width),
            own @ self._x[has],
            np.tensordot(own, self._xz[has], 1),
            float(own @ self.count[has]),
            own @ self._z[has],
        )
