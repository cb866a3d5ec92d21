"""What the loops ask of an objective over shares w (K,), and what its implementations share.

Each offers `sums(w, columns, hessian)` and gives float64 value, gradient and Hessian over the columns asked for. The mixture must
have no mass outside them. `sample(rows)` is the same objective on some of the rows, packed so that it stays in cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Bins, Columns, Counts, Matrix, Vector
from mixfast._engine.objectives.forms import Forms

Sums = tuple[float, Vector, Matrix | None]

# Rows of the sample on which a search begins: few enough to stay in cache.
SAMPLE_ROWS = 8192

# exp(l) for l in this range leaves room for products and quotients of several of them in the type's exponent range, so the
# row maximum need not be subtracted: one pass less over every panel.
_FLOAT_RANGE, _DOUBLE_RANGE = 60.0, 200.0
# With more columns the solver works on few of them at a time, and a row's best among those may be far below its best.
_FEW_COLUMNS = 96
# Tables this small (elements) are worked on in float64 whatever their type: too few rows to average out float32's rounding.
_WIDE_ELEMENTS = 1 << 17


class Sum(NamedTuple):
    """Which sum over the rows of a table an objective is.

    Attributes
    ----------
    weight : (n,) float64 or None
        c_i; None when all equal `scale`. A tensor where the table's values are one.
    scale : float
        The common c_i, or a typical one.
    usable : (C,) int32 or None
        The domains that may have a share (None: all); the objective is over them alone, and so is the row maximum, so that a row
        whose winner is excluded keeps its digits.
    wide : bool or None
        Probabilities in float64 (True) or float32 (False); None: float32 for large tables of float16 and float32. A probability
        that float32 drops next to its row's largest, e^-87, changes nothing: at an optimum p_i.w >= c_i / sum(c) times it.
    window : slice or None
        The rows (None: all); `weight` is theirs.
    """

    weight: Any
    scale: float
    usable: Columns | None = None
    wide: bool | None = None
    window: slice | None = None

    def total(self, rows: int) -> float:
        """Sum of the weights of so many rows."""
        return self.scale * rows if self.weight is None else float(self.weight.sum())


class Objective:
    """What the solver loop needs of an objective with `rows` rows and `columns` domains.

    The defaults are those of an objective that has no rows to save: it is its own sample, and exact.
    """

    rows: int
    columns: int
    # Sum of the row weights: the unit in which a gap is small or large.
    total: float = 1.0

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        """Value, gradient (C,) and Hessian (C, C) or None at shares w (C,) of the columns (None: all).

        `hessian`: 0 for none, 1 for that of all rows, a power of two for an estimate from one row in so many. What `separable`
        has is not in it. `coarse`: errors up to about 1e-6 of the gradient are welcome if that is quicker.
        """
        raise NotImplementedError

    def losses(self, mixtures: Matrix) -> Vector:
        """Values (M,) at candidate mixtures (M, K)."""
        return np.array([self.sums(w)[0] for w in mixtures])

    def sample(self, count: int) -> Objective:
        """The objective on about `count` of the rows, spread evenly, kept in cache."""
        return self

    def precise(self) -> Objective:
        """The same objective with probabilities in float64."""
        return self

    def rounding(self, curvature: float) -> float:
        """What rounding may add to a gradient where the Hessian's diagonal reaches `curvature`; 0 in float64."""
        return 0.0

    def magnitude(self, w: Vector) -> float:
        """What cancels in the gradient at w: float64's rounding of it is in the gap. 0 for sums in which nothing does."""
        return 0.0

    def packs(self, count: int) -> bool:
        """Whether sums over `count` of the columns are quick: made from a copy in or near the cache."""
        return True

    def forms(self) -> Forms | None:
        """What the rows make of the shares, as functions of linear forms; None where it is none, or too large to be copied."""
        return None

    def separable(self, w: Vector, columns: Columns | None) -> tuple[Vector, Vector]:
        """Gradient (C,) and diagonal Hessian (C,) of the part of the objective that needs no rows."""
        return np.zeros(w.size), np.zeros(w.size)


class RowObjective(Objective):
    """A sum over rows, which can be counted anew: what the bootstrap needs beside what the loop does."""

    scale: float
    # Whether each row's maximum is subtracted before exp: experts are further apart than exp reaches.
    shift: bool

    def gradients(self, mixtures: Matrix, bins: Bins, counts: Counts, columns: Columns | None = None) -> Matrix:
        """Gradients (M, C) at mixtures (M, C) of the columns, rows of bin b counting `counts` (M, B) times in objective m.

        One mixture (1, C) stands for all objectives.
        """
        raise NotImplementedError


def works_wide(rows: int, columns: int, dtype: Any) -> bool:
    """Whether a table of this size and type is worked on in float64 from the start."""
    return rows * columns <= _WIDE_ELEMENTS or dtype == np.float64


def needs_shift(extremes: tuple[float, float, float], columns: int, usable: Columns | None, wide: bool) -> bool:
    """Whether a row's maximum must be subtracted before exp: where its values, or those of some rows' best, are out of range."""
    low, high, lowest_top = extremes
    limit = _DOUBLE_RANGE if wide else _FLOAT_RANGE
    rows_fit = usable is None and columns <= _FEW_COLUMNS
    return high > limit or (lowest_top if rows_fit else low) < -limit


def sample_rows(rows: int, count: int) -> tuple[NDArray[np.int64], float]:
    """One row of each stretch of rows / count, at a fixed pseudo-random place: ascending indices, and the length of a stretch."""
    stretch = rows / count
    index = ((np.arange(count) + np.random.default_rng(0).random(count)) * stretch).astype(np.int64)
    return np.minimum(index, rows - 1), stretch
