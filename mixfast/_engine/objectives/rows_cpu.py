"""Cross-entropy of the experts' mixture over rows in CPU memory."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Bins, Columns, Counts, Matrix, Vector
from mixfast._engine.backend.rows import Rows
from mixfast._engine.objectives import log_sum_exp
from mixfast._engine.objectives.base import RowObjective, Sum, Sums, needs_shift, sample_rows, sample_runs, works_wide
from mixfast._engine.objectives.forms import ELEMENTS, Forms
from mixfast._engine.objectives.guide import Guide, guide_of
from mixfast.tables import ExpertTable

# Relative rounding error of a row's p_k / (p.w) in float32 (root mean square, with a margin); larger if l - max is rounded before exp.
_FLOAT_ERROR, _SHIFTED_ERROR = 1e-7, 1e-6
# Tables with probabilities of at most this size (bytes) are exponentiated once; the result stays in or near the cache.
_PACKED_BYTES = 32 << 20


def products_before_log(extremes: tuple[float, float, float], wide: bool) -> int:
    """Return how many row probabilities can be multiplied before one logarithm without overflow or underflow."""
    extent = max(-extremes[0], extremes[1])
    return 4 if 4 * extent < (700.0 if wide else 85.0) else 2 if extent < 40.0 else 1


def relative_rounding(shift: bool) -> float:
    """Return the relative rounding error of a row's p_k / (p.w) in float32."""
    return _SHIFTED_ERROR if shift else _FLOAT_ERROR


class CrossEntropy(RowObjective):
    """``L(w) = sum_i c_i * -log(sum_k w_k exp(l_ik))`` over a table of log-likelihoods."""

    def __init__(self, table: ExpertTable, which: Sum, *, threads: int) -> None:
        weight, scale, usable, wide, window = which
        values = table.loglik if window is None else table.loglik[window]
        self.rows, self.columns = values.shape[0], values.shape[1] if usable is None else usable.size
        self._usable, self.nbytes = usable, values.nbytes
        self.threads = threads
        low = table.extremes[0]
        if wide is None:
            wide = works_wide(self.rows, self.columns, values.dtype)
        self.shift = needs_shift(table.extremes, self.columns, usable, wide)
        self.wide = wide
        self.weight, self.scale = weight, scale
        self.total = which.total(self.rows)
        self.bounded = low > (-700.0 if wide else -87.0)
        self._source = Rows(values, weight, scale, self.shift, wide, usable, self.bounded)
        self._sampled: NDArray[np.int64] | None = None
        fits = self.rows * self.columns * (8 if wide else 4) <= _PACKED_BYTES
        self._packed = self._source.pack(None, weight, scale, wide, threads) if fits else None
        self._part: tuple[bytes, Rows] | None = None
        self._products = 1 if self.shift else products_before_log(table.extremes, wide)

    def sample(self, count: int) -> CrossEntropy:
        """Return the objective on `count` rows: one from each stretch of n / count rows, at a fixed pseudo-random place."""
        index, stretch = sample_rows(self.rows, count)
        out = object.__new__(CrossEntropy)
        out.rows, out.columns, out.threads = count, self.columns, self.threads
        out.shift, out.wide, out.bounded, out._products = self.shift, self.wide, self.bounded, self._products
        out.weight = None if self.weight is None else np.ascontiguousarray(self.weight[index]) * stretch
        out.scale = self.scale * stretch
        out.total = self.total
        out._source, out._usable, out._sampled, out._part = self._source, self._usable, index, None
        out._packed = self._source.pack(index, out.weight, out.scale, self.wide, self.threads)
        return out

    def spread(self, count: int) -> CrossEntropy:
        values = self._source.loglik
        index, stretch = sample_runs(self.rows, count, values.strides[0])
        out = object.__new__(CrossEntropy)
        out.__dict__.update(
            self.__dict__, rows=index.size, wide=True, bounded=False, _packed=None, _part=None, _sampled=None
        )
        out.weight = None if self.weight is None else np.ascontiguousarray(self.weight[index]) * stretch
        out.scale = self.scale * stretch
        out._source = Rows(values[index], out.weight, out.scale, self.shift, True, self._usable, False)
        return out

    @cached_property
    def guide(self) -> Guide | None:
        return guide_of(self)

    def precise(self) -> CrossEntropy:
        """Return the same rows with float64 probabilities, computed in each sweep: about three times slower than float32."""
        if self.wide or self._sampled is not None:
            return self
        out = object.__new__(CrossEntropy)
        out.__dict__.update(self.__dict__, wide=True, _packed=None, _part=None)
        out._source = Rows(self._source.loglik, self.weight, self.scale, self.shift, True, self._usable, self.bounded)
        return out

    def packs(self, count: int) -> bool:
        """Whether a view of `count` columns is a packed copy: it is if the copy is small relative to the table."""
        table = self._source.loglik
        size = self.rows * count * (8 if self.wide else 4)
        return self._packed is not None or size <= min(max(table.nbytes // 10, _PACKED_BYTES), table.nbytes // 4)

    def rounding(self, curvature: float) -> float:
        # Each row's p / s has an independent relative error of about 1e-7, and sum c^2 v^2 is about scale * (sum c v^2).
        return 0.0 if self.wide else relative_rounding(self.shift) * math.sqrt(self.scale * curvature)

    def _view(self, columns: Columns | None) -> Rows:
        """Return the rows restricted to the columns; packed if this objective is in cache. The last view is cached."""
        if columns is None or columns.size == self.columns:
            return self._packed or self._source
        key = columns.tobytes()
        if self._part is None or self._part[0] != key:
            part = self._source.with_columns(columns if self._usable is None else self._usable[columns])
            if self.packs(columns.size):
                self._part = None  # free the old copy before making the new one
                part = part.pack(self._sampled, self.weight, self.scale, self.wide, self.threads)
            self._part = (key, part)
        return self._part[1]

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        return self._view(columns).sums(w, True, hessian, self.threads, coarse)

    def losses(self, mixtures: Matrix) -> Vector:
        mixtures = np.ascontiguousarray(mixtures)
        out = (self._packed or self._source).losses(mixtures, self._products, self.threads)
        lost = np.flatnonzero(~np.isfinite(out))
        if lost.size:  # rows on which every expert of the mixture is e^-87 (e^-708) below the best use log-sum-exp
            out[lost] = self._exact_losses(mixtures[lost])
        return out

    def forms(self) -> Forms | None:
        return Forms.of_loglik(*self._loglik()) if self.rows * self.columns <= ELEMENTS else None

    def _exact_losses(self, mixtures: Matrix) -> Vector:
        return log_sum_exp.losses(*self._loglik(), mixtures)

    def _loglik(self) -> tuple[NDArray[np.floating], Vector]:
        """Return the log-likelihoods (n, C) and the row weights (n,)."""
        values = self._source.loglik if self._sampled is None else self._source.loglik[self._sampled]
        values = values if self._usable is None else values[:, self._usable]
        return values, np.full(self.rows, self.scale) if self.weight is None else self.weight

    def gradients(self, mixtures: Matrix, bins: Bins, counts: Counts, columns: Columns | None = None) -> Matrix:
        return self._view(columns).gradients(np.ascontiguousarray(mixtures), bins, counts, self.threads)
