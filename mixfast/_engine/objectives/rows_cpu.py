"""Cross-entropy of the experts' mixture over rows in CPU memory."""

from __future__ import annotations

import math
import os
from functools import cache, cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Bins, Columns, Counts, Matrix, Vector
from mixfast._engine.backend.rows import Rows, isa
from mixfast._engine.objectives import log_sum_exp
from mixfast._engine.objectives.base import (
    FEW_COLUMNS,
    InCache,
    RowObjective,
    Sum,
    Sums,
    needs_shift,
    sample_rows,
    sample_runs,
    works_wide,
)
from mixfast._engine.objectives.forms import ELEMENTS, Forms
from mixfast._engine.objectives.guide import Guide, guide_of
from mixfast._engine.objectives.influence import by_influence
from mixfast.tables import ExpertTable

# Relative rounding error of a row's p_k / (p.w) in float32 (root mean square, with a margin); larger if l - max is rounded before exp.
_FLOAT_ERROR, _SHIFTED_ERROR = 1e-7, 1e-6
# The error that does not average out over the rows, relative to their weight, on processors that do not fuse a product and a sum: there the
# digits of the shares beyond float32 are lost. The last sweeps then use float64.
_UNFUSED_BIAS = 2e-8
# Tables with probabilities of at most this size (bytes) are exponentiated once, in float64 and in float32: the result stays in or near the
# cache. A float32 exponential takes less time than the memory that it would be kept in.
_PACKED_BYTES, _PACKED_FLOATS = 32 << 20, 8 << 20
# That size for tables of many columns.
_SMALL_BYTES = 2 << 20
# Probabilities of at most this size (bytes) are minimised over by the compiled loops.
_CACHE_BYTES = 4 << 20
# Differences (nats) whose exp is in range, and leaves room for squares.
_SAFE_EXTENT, _SAFE_FLOAT = 340.0, 40.0
# Tables of so many columns, and of this many times the rows of the sample, are sampled by influence. With fewer columns, Newton's method over
# all rows takes fewer and cheaper sweeps; with more, the sample's Hessian is too large.
_SAMPLED_COLUMNS, _WORTH_ROWS = (48, 512), 4
# Log-likelihoods up to this size (nats) lose little enough as float32 for a sweep far from the optimum.
_COARSE_RANGE = 1000.0

Found = TypeVar("Found")


def products_before_log(extremes: tuple[float, float, float], wide: bool) -> int:
    """Return how many row probabilities can be multiplied before one logarithm without overflow or underflow."""
    extent = max(-extremes[0], extremes[1])
    return 4 if 4 * extent < (700.0 if wide else 85.0) else 2 if extent < 40.0 else 1


def float_rounding(curvature: float, *, shift: bool, scale: float, total: float) -> float:
    """Return the rounding error in float32 of the slope along a step of this curvature; `scale` is the weight of a row, and `total` of all."""
    # Each row's p / s has an independent relative error of about 1e-7, and sum c^2 v^2 is about scale * (sum c v^2).
    error = (_SHIFTED_ERROR if shift else _FLOAT_ERROR) * math.sqrt(scale * curvature)
    return error if fuses() else error + _UNFUSED_BIAS * total


@cache
def fuses() -> bool:
    """Whether the kernels in use fuse a product and a sum: on Arm always, on x86 if not in the instruction set that all processors have."""
    return isa() != "baseline" or os.uname().machine != "x86_64"


class CrossEntropy(RowObjective):
    """``L(w) = sum_i c_i * -log(sum_k w_k exp(l_ik))`` over a table of log-likelihoods."""

    def __init__(self, table: ExpertTable, which: Sum, *, threads: int) -> None:
        weight, scale, usable, wide, window = which
        values = table.loglik if window is None else table.loglik[window]
        self.rows, self.columns = values.shape[0], values.shape[1] if usable is None else usable.size
        self._usable, self.nbytes = usable, values.nbytes
        # Only sums over rows that are mapped from a file are checked.
        self._table = table if table.is_watched else None
        self.threads = threads
        low = table.extremes[0]
        if wide is None:
            wide = works_wide(self.rows, self.columns, values.dtype)
        self.shift = needs_shift(table.extremes, self.columns, usable, wide)
        self.wide = wide
        self.weight, self.scale = weight, scale
        self.total = which.total(self.rows)
        self._extent = table.extremes[1] - low
        self.bounded = low > (-700.0 if wide else -87.0)
        self._source = Rows(values, weight, scale, self.shift, wide, usable, self.bounded)
        self._coarse, self._coarse_shift = self._source, self.shift
        if wide and values.dtype == np.float64 and max(-low, table.extremes[1]) <= _COARSE_RANGE:
            self._coarse_shift = needs_shift(table.extremes, self.columns, usable, False)
            self._coarse = Rows(values, weight, scale, self._coarse_shift, False, usable, low > -87.0)
        self._sampled: NDArray[np.int64] | None = None
        # Of many columns, few are used after the first sweeps: `_view` copies those.
        bytes_ = self.rows * self.columns * (8 if wide else 4)
        most = _PACKED_BYTES if wide else _PACKED_FLOATS
        fits = bytes_ <= (most if self.columns <= FEW_COLUMNS else _SMALL_BYTES)
        self._packed = self._sure(self._source.pack(None, weight, scale, wide, threads)) if fits else None
        self._parts: tuple[tuple[Columns, Rows], ...] = ()
        self._products = 1 if self.shift else products_before_log(table.extremes, wide)

    def sample(self, count: int) -> CrossEntropy:
        """Return the objective on `count` rows: one from each stretch of n / count rows, at a fixed pseudo-random place."""
        index, stretch = sample_rows(self.rows, count)
        return self._subset(index, stretch)

    def influential(self, w: Vector, count: int) -> tuple[Sums, CrossEntropy] | None:
        few, many = _SAMPLED_COLUMNS
        if self._packed is not None or not few <= self.columns <= many or self.rows < _WORTH_ROWS * count:
            return None
        influence = np.empty(self.rows, dtype=np.float32)
        found = self._sure(self._coarse.sums(w, True, 0, self.threads, True, influence))
        if not math.isfinite(found[0]):  # some row lacks all of its experts
            return None
        sampled = by_influence(influence, None if self.weight is None else self.weight / self.scale, count)
        return None if sampled is None else (found, self._subset(*sampled))

    def sums_over(self, w: Vector, curved: Columns | None) -> Sums:
        hessian = 0 if curved is None else 1
        return self._sure(self._source.sums(w, True, hessian, self.threads, False, None, curved))

    def _subset(self, index: NDArray[np.int64], times: Vector | float) -> CrossEntropy:
        """Return the objective on the rows `index`, in memory, with their weights multiplied."""
        out = object.__new__(CrossEntropy)
        out.__dict__.update(self.__dict__, rows=index.size, _sampled=index, _parts=())
        if self.columns > FEW_COLUMNS and self._coarse is not self._source:
            out._source, out.shift, out.wide = self._coarse, self._coarse_shift, False
        if isinstance(times, float):
            out.weight = None if self.weight is None else np.ascontiguousarray(self.weight[index]) * times
            out.scale = self.scale * times
        else:
            out.weight = times * (self.scale if self.weight is None else self.weight[index])
            out.scale = float(out.weight.mean())
        out._packed = self._sure(out._source.pack(index, out.weight, out.scale, out.wide, self.threads))
        return out

    def spread(self, count: int) -> CrossEntropy:
        values = self._source.loglik
        index, stretch = sample_runs(self.rows, count, values.strides[0])
        out = object.__new__(CrossEntropy)
        out.__dict__.update(
            self.__dict__, rows=index.size, wide=True, bounded=False, _packed=None, _parts=(), _sampled=None
        )
        out.weight = None if self.weight is None else np.ascontiguousarray(self.weight[index]) * stretch
        out.scale = self.scale * stretch
        rows = self._sure(values[index])
        out._source = out._coarse = Rows(rows, out.weight, out.scale, self.shift, True, self._usable, False)
        return out

    @cached_property
    def guide(self) -> Guide | None:
        return guide_of(self)

    def precise(self) -> CrossEntropy:
        """Return the same rows with float64 probabilities, computed in each sweep: about three times slower than float32."""
        if self.wide or self._sampled is not None:
            return self
        out = object.__new__(CrossEntropy)
        out.__dict__.update(self.__dict__, wide=True, _packed=None, _parts=())
        out._source = Rows(self._source.loglik, self.weight, self.scale, self.shift, True, self._usable, self.bounded)
        out._coarse = self._source
        return out

    def packs(self, count: int) -> bool:
        """Whether a view of `count` columns is a packed copy: it is if the copy is small relative to the table."""
        table = self._source.loglik
        size = self.rows * count * (8 if self.wide else 4)
        return self._packed is not None or size <= min(max(table.nbytes // 10, _PACKED_BYTES), table.nbytes // 3)

    def rounding(self, curvature: float) -> float:
        return 0.0 if self.wide else float_rounding(curvature, shift=self.shift, scale=self.scale, total=self.total)

    def _view(self, columns: Columns | None, coarse: bool = False) -> Rows:
        """Return the rows restricted to the columns; packed if this objective is in cache. The last views are cached."""
        if columns is None or columns.size == self.columns:
            return self._packed or (self._coarse if coarse else self._source)
        for known, view in self._parts:
            if known.size == columns.size and np.array_equal(known, columns):
                return view
        part = self._taken(columns)
        if part is None:
            self._parts = ()  # free old copies before making a new one
            part = self._source.with_columns(columns if self._usable is None else self._usable[columns])
            if self.packs(columns.size):
                part = self._sure(part.pack(self._sampled, self.weight, self.scale, self.wide, self.threads))
        # The last entry is the largest view, which others are taken from.
        self._parts = ((columns, part), *self._parts[-1:])
        return part

    def _taken(self, columns: Columns) -> Rows | None:
        """Return the columns of a packed copy that has them all; None if there is none.

        If experts differ by more than the range of exp, the row maxima of more columns may be too large for those in use.
        """
        if self.shift and self._extent > (_SAFE_EXTENT if self.wide else _SAFE_FLOAT):
            return None
        if self._packed is not None:
            return self._packed.take(columns)
        for known, part in self._parts:
            if part.panels is not None and known.size > columns.size:
                place = np.searchsorted(known, columns)
                if place[-1] < known.size and np.array_equal(known[place], columns):
                    return part.take(place.astype(np.int32))
        return None

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        view = self._view(columns, coarse)
        return self._sure(view.sums(w, True, hessian, self.threads, coarse), view)

    def losses(self, mixtures: Matrix) -> Vector:
        mixtures = np.ascontiguousarray(mixtures)
        view = self._packed or self._source
        out = self._sure(view.losses(mixtures, self._products, self.threads), view)
        lost = np.flatnonzero(~np.isfinite(out))
        if lost.size:  # rows on which every expert of the mixture is e^-87 (e^-708) below the best use log-sum-exp
            out[lost] = self._exact_losses(mixtures[lost])
        return out

    def in_cache(self) -> InCache | None:
        fits = self._packed is not None and self.wide and self.rows * self.columns * 8 <= _CACHE_BYTES
        return InCache(self._packed, self.total, self.threads) if fits else None

    def forms(self) -> Forms | None:
        return Forms.of_loglik(*self._loglik()) if self.rows * self.columns <= ELEMENTS else None

    def _exact_losses(self, mixtures: Matrix) -> Vector:
        return log_sum_exp.losses(*self._loglik(), mixtures)

    def _loglik(self) -> tuple[NDArray[np.floating], Vector]:
        """Return the log-likelihoods (n, C) and the row weights (n,)."""
        values = self._source.loglik if self._sampled is None else self._source.loglik[self._sampled]
        values = self._sure(values if self._usable is None else values[:, self._usable])
        return values, np.full(self.rows, self.scale) if self.weight is None else self.weight

    def gradients(self, mixtures: Matrix, bins: Bins, counts: Counts, columns: Columns | None = None) -> Matrix:
        view = self._view(columns)
        return self._sure(view.gradients(np.ascontiguousarray(mixtures), bins, counts, self.threads), view)

    def _sure(self, found: Found, view: Rows | None = None) -> Found:
        """Return what was computed from the rows; raise `TableError` if their file has changed. A packed view is a copy of them."""
        if self._table is not None and (view is None or view.panels is None):
            self._table.check_unchanged()
        return found
