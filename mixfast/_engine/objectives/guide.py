"""A sample of the rows, corrected to match all rows at one point: a model of the objective that the search minimises between sweeps.

The sample's optimum differs from that of all rows by sampling noise. One sweep of all rows at a point shows by how much the sample's value,
slope and curvature are off there; with these differences added, the model's error near the point is of third order, and small even there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.objectives.base import Objective, Sums

# Elements and rows of the sample at most; in float16 they take 32 MB.
_ELEMENTS, _ROWS = 1 << 24, 1 << 20
# Tables with fewer rows and elements are solved without a guide, because their sweeps cost little more than those of the sample.
_LARGE_ROWS, _LARGE_ELEMENTS = 10_000_000, 1 << 27
# A guide among more domains would need a Hessian over all of them.
_MOST_DOMAINS = 96
# Near-duplicate domains make a Hessian singular: this fraction of its diagonal is added before it is inverted.
_RIDGE, _TINY = 1e-6, 1e-300


def guide_rows(rows: int, columns: int) -> int:
    """Return the number of rows of the guide's sample; 0 if a table of this size does not need a guide."""
    count = min(_ROWS, _ELEMENTS // columns)
    large = rows >= _LARGE_ROWS or rows * columns >= _LARGE_ELEMENTS
    return count if large and columns <= _MOST_DOMAINS and rows >= 4 * count else 0


class Guide(Objective):
    """``sample(w) + slope.(w - at) + (w - at)' curve (w - at) / 2`` plus a constant; just the sample before the first correction.

    Parameters
    ----------
    sample : Objective
        The objective on some of the rows, with probabilities in float64.
    total : float
        Sum of the weights of all rows.
    """

    def __init__(self, sample: Objective, total: float) -> None:
        self.base = sample
        self.rows, self.columns, self.total = sample.rows, sample.columns, total
        self.at: Vector | None = None
        self._value = 0.0
        self._slope = np.zeros(sample.columns)
        self._curve = np.zeros((sample.columns, sample.columns))

    def correct(self, w: Vector, found: Sums, curved: Columns | None = None, *, bend: bool = False) -> Matrix | None:
        """Match value, slope and, if given, the Hessian of all rows at w (K,); without a Hessian, the last correction of it stays.

        `curved` are the domains that the Hessian is computed over, which include all with a share; None: all. Returns the Hessian of the
        corrected guide at w if `bend` asks for it.
        """
        value, gradient, hessian = found
        mine, slope, curvature = self.base.sums(w, hessian=0 if hessian is None and not bend else 1)
        self.at, self._value, self._slope = w.copy(), value - mine, gradient - slope
        if hessian is not None and curvature is not None:
            self._curve = (hessian if curved is None else _extended(hessian, curvature, curved)) - curvature
        return curvature + self._curve if bend and curvature is not None else None

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        value, gradient, curvature = self.base.sums(w, columns, hessian=1 if hessian else 0)
        if self.at is None:
            return value, gradient, curvature
        moved = (w if columns is None else _spread(w, columns, self.columns)) - self.at
        bend = self._curve @ moved
        value += self._value + float((self._slope + 0.5 * bend) @ moved)
        change, curve = self._slope + bend, self._curve
        if columns is not None:
            change, curve = change[columns], curve[np.ix_(columns, columns)]
        return value, gradient + change, None if curvature is None else curvature + curve

    def losses(self, mixtures: Matrix) -> Vector:
        found = self.base.losses(mixtures)
        if self.at is None:
            return found
        moved = mixtures - self.at
        return found + self._value + moved @ self._slope + 0.5 * np.einsum("mi,ij,mj->m", moved, self._curve, moved)


def _spread(part: Vector, columns: Columns, size: int) -> Vector:
    w = np.zeros(size)
    w[columns] = part
    return w


def _extended(hessian: Matrix, sampled: Matrix, over: Columns) -> Matrix:
    """Return a Hessian of all domains, from that of all rows over some of the domains, and that of the sample.

    The sample says how the other domains depend on these, and what is left of them: near-duplicates of a domain stay near-duplicates, and
    the Hessian has no negative curvature.
    """
    others = np.setdiff1d(np.arange(len(sampled)), over)
    inner, outer = hessian[np.ix_(over, over)], sampled[np.ix_(over, others)]
    own = sampled[np.ix_(over, over)]
    depends = np.linalg.solve(own + np.diag(_RIDGE * np.diagonal(own) + _TINY), outer)
    out = np.empty_like(sampled)
    out[np.ix_(over, over)] = inner
    out[np.ix_(over, others)] = inner @ depends
    out[np.ix_(others, over)] = out[np.ix_(over, others)].T
    out[np.ix_(others, others)] = sampled[np.ix_(others, others)] + depends.T @ (inner - own) @ depends
    return out


def guide_of(objective: Any) -> Guide | None:
    """Make the guide of an objective over rows; None if it has too few rows to need one."""
    count = guide_rows(objective.rows, objective.columns)
    return Guide(objective.spread(count), objective.total) if count else None
