"""The interface of an objective over shares w (K,), and code shared by its implementations.

Each objective has `sums(w, columns, hessian)`, which returns float64 value, gradient and Hessian over these columns. The mixture must
have no share outside them. `sample(rows)` is the same objective on some of the rows, packed so that it stays in cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Columns, Counts, Matrix, Vector
from mixfast._engine.objectives.forms import Forms

Sums = tuple[float, Vector, Matrix | None]

# Number of rows of the sample with which a search begins: few enough to stay in cache.
SAMPLE_ROWS = 8192

# If log-likelihoods lie in this range, products and quotients of several exp(l) stay in the exponent range of the type, so the
# row maximum need not be subtracted: this saves one pass over every panel.
_FLOAT_RANGE, _DOUBLE_RANGE = 60.0, 200.0
# With more columns the solver uses few of them at a time, and the best of these in a row may be far below the best of the row.
FEW_COLUMNS = 96
# Bytes, and least number, of neighbouring rows in one piece of a large sample: a file is read in pages of 4096 bytes.
_RUN_BYTES, _RUN_ROWS = 8192, 16
# Tables with at most this many elements always use float64: they have too few rows to average out float32 rounding errors.
_WIDE_ELEMENTS = 1 << 17


class Sum(NamedTuple):
    """The weights, columns, precision and rows that define one sum over the rows of a table.

    Attributes
    ----------
    weight : (n,) float64 or None
        c_i; None if all equal `scale`. A tensor if the table's values are one.
    scale : float
        The common c_i, or a typical one.
    usable : (C,) int32 or None
        The domains that may have a share (None: all). The objective and the row maximum use only these, so a row
        keeps its precision if its best domain is excluded.
    wide : bool or None
        Probabilities in float64 (True) or float32 (False); None: float32 for large tables of float16 and float32. Probabilities
        below e^-87 of the row's largest, which float32 drops, have no effect: at an optimum p_i.w >= c_i / sum(c) times the largest.
    window : slice or None
        The rows (None: all); `weight` is theirs.
    """

    weight: Any
    scale: float
    usable: Columns | None = None
    wide: bool | None = None
    window: slice | None = None

    def total(self, rows: int) -> float:
        """Return the sum of the weights for this number of rows."""
        return self.scale * rows if self.weight is None else float(self.weight.sum())


class InCache(NamedTuple):
    """Rows that the compiled loops take: packed in float64, few enough for the cache; with the sum of the weights, and threads."""

    rows: Any
    total: float
    threads: int


class Objective:
    """What the solver loop requires of an objective with `rows` rows and `columns` domains.

    The defaults are for an objective without rows: it is its own sample, and exact.
    """

    rows: int
    columns: int
    # Sum of the row weights; gaps are measured relative to it.
    total: float = 1.0
    # Whether a Hessian is needed at every point, because curvatures change too fast for secant updates.
    curved: bool = False
    # Bytes that a sweep reads; 0 if it reads no rows.
    nbytes: int = 0

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        """Return value, gradient (C,) and Hessian (C, C) or None at shares w (C,) of the columns (None: all).

        `hessian`: 0 for none, 1 for all rows, a power of two p for an estimate from one row in p. The part that `separable`
        returns is not included. `coarse`: errors up to about 1e-6 of the gradient are acceptable if that is faster.
        """
        raise NotImplementedError

    def losses(self, mixtures: Matrix) -> Vector:
        """Return values (M,) at mixtures (M, K)."""
        return np.array([self.sums(w)[0] for w in mixtures])

    def sample(self, count: int) -> Objective:
        """Return the objective on about `count` rows, spread evenly and kept in cache."""
        return self

    @property
    def guide(self) -> Any:
        """A `Guide` to the minimum if the objective has so many rows that sweeps should be few, else None; always the same object."""
        return None

    def influential(self, w: Vector, count: int) -> tuple[Sums, Objective] | None:
        """Return coarse sums at w (K,), and the objective on about `count` rows that influence the optimum near w most, which stand for all.

        None if there are so few rows that a sweep costs little more than one of such a sample, or if the rows cannot be sampled.
        """
        return None

    def sums_over(self, w: Vector, curved: Columns | None) -> Sums:
        """Return `sums` at w (K,), with the Hessian over the domains `curved` (None: no Hessian; its other entries may be 0).

        For an objective that can be sampled by influence: reads the rows themselves, and makes no copy for later sweeps.
        """
        raise NotImplementedError

    def skimmed(self, count: int) -> Objective | None:
        """Return the objective on about `count` rows that every sum reads again; None if that makes no sense for these rows."""
        return None

    def precise(self) -> Objective:
        """Return the same objective with probabilities in float64."""
        return self

    def rounding(self, curvature: float) -> float:
        """Return the rounding error of a gradient if the Hessian's diagonal reaches `curvature`; 0 in float64."""
        return 0.0

    def magnitude(self, w: Vector) -> float:
        """Return the size of terms that cancel in the gradient at w; their float64 rounding limits the gap. 0 if nothing cancels."""
        return 0.0

    def packs(self, count: int) -> bool:
        """Whether sums over `count` of the columns are fast, because they use a copy in or near the cache."""
        return True

    def in_cache(self) -> InCache | None:
        """Return the rows of the objective if it has no other term and they fit into the cache; else None."""
        return None

    def forms(self) -> Forms | None:
        """Return the objective as functions of linear forms of the shares; None if it has no such form, or if the copy would be too large."""
        return None

    def separable(self, w: Vector, columns: Columns | None, here: Vector | None = None) -> tuple[Vector, Vector]:
        """Return gradient (C,) and diagonal Hessian (C,) at w of the part whose curvature the Hessian of `sums` leaves out: a sum of functions of one share.

        For an objective that is separable only near a point, `here` (C,) is that point; None: w.
        """
        return np.zeros(w.size), np.zeros(w.size)


class RowObjective(Objective):
    """A sum over rows with row multiplicities that the bootstrap can change."""

    scale: float
    # Whether each row's maximum is subtracted before exp, because experts differ by more than the range of exp.
    shift: bool

    def spread(self, count: int) -> RowObjective:
        """Return the objective on about `count` rows in float64: runs of neighbouring rows, because reading single rows of a file reads all pages."""
        raise NotImplementedError

    def gradients(self, mixtures: Matrix, bins: Any, counts: Counts, columns: Columns | None = None) -> Matrix:
        """Return gradients (M, C) at mixtures (M, C) of the columns; rows of bin b count `counts` (M, B) times in objective m.

        `bins` (n,) int32 are the bins of the rows; for a table of several parts, an object that finds those of a block. One mixture
        (1, C) is used for all objectives.
        """
        raise NotImplementedError


def works_wide(rows: int, columns: int, dtype: Any) -> bool:
    """Whether a table of this size and type uses float64 from the start."""
    return rows * columns <= _WIDE_ELEMENTS or dtype == np.float64


def needs_shift(extremes: tuple[float, float, float], columns: int, usable: Columns | None, wide: bool) -> bool:
    """Whether row maxima must be subtracted before exp: if values, or the best values of some rows, are out of range."""
    low, high, lowest_top = extremes
    limit = _DOUBLE_RANGE if wide else _FLOAT_RANGE
    rows_fit = usable is None and columns <= FEW_COLUMNS
    return high > limit or (lowest_top if rows_fit else low) < -limit


def sample_runs(rows: int, count: int, row_bytes: int) -> tuple[NDArray[np.int64], float]:
    """Return ascending indices of `count` rows in runs, one run from each of equal stretches, at a fixed pseudo-random place, and n / count."""
    run = max(_RUN_BYTES // row_bytes, _RUN_ROWS)
    runs = -(-count // run)
    stretch = rows / runs
    first = ((np.arange(runs) + np.random.default_rng(0).random(runs)) * stretch).astype(np.int64)
    first = np.minimum(first, np.append(first[1:], rows) - run)
    return (first[:, None] + np.arange(run)).ravel(), rows / (runs * run)


def sample_rows(rows: int, count: int) -> tuple[NDArray[np.int64], float]:
    """Return ascending indices of one row from each stretch of rows / count, at a fixed pseudo-random place, and the stretch length."""
    stretch = rows / count
    index = ((np.arange(count) + np.random.default_rng(0).random(count)) * stretch).astype(np.int64)
    return np.minimum(index, rows - 1), stretch
