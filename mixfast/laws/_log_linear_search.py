"""Search the log-linear law of one metric. The problem is not convex, so the search uses several starts and restarts on random halves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.backend.laws import descend
from mixfast.swarm import mixture_of

# Start values of the constant: this many spreads of the metric below its smallest value, from an almost linear law (far below)
# to one with strong curvature. One more start lies above the smallest value, because Huber's loss may have its optimum there.
_DEPTHS = (0.01, 0.05, 0.2, 0.7, 2.0)
# Every start first descends on losses with larger delta, which have fewer local minima. In units of the spread.
_BLUNT = (1.0, 0.3, 0.1, 0.05)
_BLUNT_STEPS, _BLUNT_TOL = 4, 1e-3
STEPS, _TOL = 500, 1e-10
# Two starts with relative loss differences below this are treated as the same local minimum.
_SAME = 1e-5
# From the best minimum, fit a random half of the runs, then all runs again; this escapes shallow minima.
_KICKS, _KICK_STEPS = 6, 6
# In units of delta: from a nearly constant law to no penalty.
_PENALTIES = (*(10.0**k for k in range(-1, -9, -1)), 0.0)
_FOLDS = 10
# Folds only compare penalties, so fewer steps suffice: each fit starts from the minimum for the previous penalty.
_FOLD_STEPS, _FOLD_TOL = 50, 1e-6
# exp of a larger number is infinite.
_HIGHEST = 700.0
# Shares that differ by less than this are treated as equal.
STILL = 1e-12


@dataclass(frozen=True)
class Basis:
    """Coordinates in which the runs' mixtures are orthonormal: ``z . b`` equals ``x . a`` for every run."""

    z: Matrix  # (R, r)
    to_a: Matrix  # (K, r)
    unseen: Matrix  # (K, K) projector on the coefficients that the runs do not determine
    bend: Matrix  # (r, r): b' bend b is the sum of squares of a around its mean

    @classmethod
    def of(cls, x: Matrix) -> Basis:
        """Decompose the mixtures (R, K) of runs."""
        runs, domains = x.shape
        u, s, vt = np.linalg.svd(x, full_matrices=False)
        keep = s > s[0] * max(x.shape) * 10.0 * np.finfo(float).eps
        u, s, v = u[:, keep], s[keep], vt[keep].T
        z = np.ascontiguousarray(u * np.sqrt(runs))
        unseen = np.eye(domains) - v @ v.T
        # In directions that the runs do not determine, a domain acts like the average run. Then replacing such a run by the domain
        # does not change the prediction.
        to_a = v * (np.sqrt(runs) / s) + np.outer(unseen.sum(axis=1), z.mean(axis=0))
        centred = to_a - to_a.mean(axis=0)
        return cls(z, to_a, unseen, centred.T @ centred)


@dataclass(frozen=True)
class Point:
    """A point of the search: the law ``y = c + exp(z . b)`` and its loss."""

    loss: float
    c: float
    b: Vector
    converged: bool = True


class Search:
    """Minimise ``sum_r huber_delta(y_r - c - exp(z_r . b)) + R * penalty / 2 * b' bend b`` for one metric."""

    def __init__(self, basis: Basis, y: Vector, delta: float) -> None:
        self.basis, self.y, self.delta = basis, y, delta
        self.low = float(y.min())
        # If half of the values or more equal the minimum, so does the median; then a tenth of the range is used.
        self.spread = max(float(np.median(y)) - self.low, 0.1 * float(np.ptp(y)))
        # Keeps the constant positive; negligible relative to the values.
        self.floor = 1e-9 * float(np.abs(y).max())
        self.project = basis.z.T / len(y)

    def best(self, penalty: float, seed: int) -> Point:
        """Return the best minimum found.

        1. Start from ordinary least squares of ``log(y - c)``, for several constants c.
        2. Descend from each start on losses of decreasing delta, and keep one point of each local minimum.
        3. Descend from these points on the loss itself; keep the lowest.
        4. From the best point, descend on random halves of the runs and then on all of them, which escapes shallow minima.
        """
        quad = self._quad(penalty, len(self.y))
        valleys: list[Point] = []
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
            _, c, _ = descend(*part, best.c, b, _KICK_STEPS, _BLUNT_TOL)
            found = self._sharp(Point(np.inf, c, b), quad)
            if found.loss < best.loss * (1.0 - _TOL):
                best = found
        return best

    def chosen(self, seed: int) -> float:
        """Return the penalty with the smallest cross-validated Huber loss; the larger one of equals."""
        runs = len(self.y)
        mixture = mixture_of(self.basis.z)
        order = np.random.default_rng(seed).permutation(int(mixture.max()) + 1)
        fold = order[mixture] % min(_FOLDS, len(order))
        lost = np.zeros(len(_PENALTIES))
        highest = float(self.y.max()) + 0.5 * float(np.ptp(self.y))
        start = self._blunt(self._constants()[2], self._quad(_PENALTIES[0] * self.delta, runs))
        for out in range(int(fold.max()) + 1):
            train, left = np.flatnonzero(fold != out), np.flatnonzero(fold == out)
            z, y = self.basis.z[train], self.y[train]
            c, b = start.c, start.b.copy()
            for index, penalty in enumerate(_PENALTIES):
                quad = self._quad(penalty * self.delta, len(train))
                _, c, _ = descend(z, y, self.delta, quad, self.floor, c, b, _FOLD_STEPS, _FOLD_TOL)
                # With few runs, a law may predict most runs well and one extremely badly: limit the error that counts.
                guess = np.minimum(c + np.exp(np.minimum(self.basis.z[left] @ b, _HIGHEST)), highest)
                lost[index] += huber(np.abs(self.y[left] - guess), self.delta).sum()
        return float(_PENALTIES[int(lost.argmin())]) * self.delta

    def _constants(self) -> list[float]:
        """Return the constants to start from."""
        depths = [max(self.low - depth * self.spread, self.floor) for depth in _DEPTHS]
        return list(dict.fromkeys([*depths, max(float(np.quantile(self.y, 0.1)), self.floor)]))

    def _quad(self, penalty: float, runs: int) -> Matrix:
        """Return the matrix of the penalty on b for this number of runs."""
        return runs * penalty * self.basis.bend

    def _blunt(self, c: float, quad: Matrix) -> Point:
        """Descend from the constant c on losses of decreasing delta."""
        b = self.project @ np.log(np.maximum(self.y - c, 0.01 * self.spread))
        loss = np.inf
        for blunt in _BLUNT:
            part = self.basis.z, self.y, max(self.delta, blunt * self.spread), quad, self.floor
            loss, c, _ = descend(*part, c, b, _BLUNT_STEPS, _BLUNT_TOL)
        return Point(loss, c, b)

    def _sharp(self, point: Point, quad: Matrix) -> Point:
        """Descend on the loss itself."""
        b = point.b.copy()
        loss, c, steps = descend(self.basis.z, self.y, self.delta, quad, self.floor, point.c, b, STEPS, _TOL)
        return Point(loss, c, b, steps < STEPS)


def huber(size: Vector, delta: float) -> Vector:
    """Return Huber's loss of residuals of these sizes: quadratic up to delta, linear above."""
    return np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))


def identified(x: Matrix) -> NDArray[np.bool_]:
    """Return the domains (K,) whose coefficients the mixtures (R, K) determine. Domains with a constant share are left out."""
    out = np.ptp(x, axis=0) > STILL
    if out.any():
        out[out] = np.diag(Basis.of(x[:, out]).unseen) < 1e-8
    return np.asarray(out)
