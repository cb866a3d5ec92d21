"""The smooth objectives over shares w (K,): cross-entropy of the experts' mixture, squared error, and KL to a prior.

Each offers `sums(w, columns, hessian)` and gives float64 value, gradient and Hessian over the columns asked for. The mixture must
have no mass outside them. `sample(rows)` is the same objective on some of the rows, packed so that it stays in cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import core
from mixfast._engine.backend import device as _device
from mixfast.tables import ExpertTable

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Columns = NDArray[np.int32]
Sums = tuple[float, Vector, Matrix | None]

# exp(l) for l in this range leaves room for products and quotients of several of them in the type's exponent range, so the
# row maximum need not be subtracted: one pass less over every panel.
_FLOAT_RANGE, _DOUBLE_RANGE = 60.0, 200.0
# Relative error of a row's p_k / (p.w) in float32, root mean square with a margin; more where l - max is rounded before exp.
_FLOAT_ERROR, _SHIFTED_ERROR = 1e-7, 1e-6
# With more columns the solver works on few of them at a time, and a row's best among those may be far below its best.
_FEW_COLUMNS = 96
# A table whose probabilities take no more than this (bytes) is exponentiated once, and then stays in cache or close to it.
_PACKED_BYTES = 32 << 20
# Tables this small (elements) are worked on in float64 whatever their type: too few rows to average out float32's rounding.
_WIDE_ELEMENTS = 1 << 17


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

    def packs(self, count: int) -> bool:
        """Whether sums over `count` of the columns are quick: made from a copy in or near the cache."""
        return True

    def separable(self, w: Vector, columns: Columns | None) -> tuple[Vector, Vector]:
        """Gradient (C,) and diagonal Hessian (C,) of the part of the objective that needs no rows."""
        return np.zeros(w.size), np.zeros(w.size)


class RowObjective(Objective):
    """An objective that is a sum over rows, which can be counted anew: what the bootstrap needs beside what the loop does."""

    scale: float
    # Whether each row's maximum is subtracted before exp: experts are further apart than exp reaches.
    shift: bool

    def gradients(
        self,
        mixtures: Matrix,
        bins: NDArray[np.int32],
        multiplicity: NDArray[np.float32],
        columns: Columns | None = None,
    ) -> Matrix:
        """Gradients (M, C) at mixtures (M, C) of the columns, rows of bin b counting multiplicity (M, B) times in objective m.

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


class CrossEntropy(RowObjective):
    """``L(w) = sum_i c_i * -log(sum_k w_k exp(l_ik))`` over all columns of a table.

    Parameters
    ----------
    table : ExpertTable of kind "ce"
    weight : (n,) float64 or None
        c_i; None when all equal `scale`.
    scale : float
        The common c_i, or a typical one.
    usable : (C,) int32 or None
        The domains that may have a share (None: all); the objective is over them alone, and so is the row maximum, so that a row
        whose winner is excluded keeps its digits.
    threads : int
    wide : bool or None
        Probabilities in float64 (True) or float32 (False); None: float32 for large tables of float16 and float32. A probability
        that float32 drops next to its row's largest, e^-87, changes nothing: at an optimum p_i.w >= c_i / sum(c) times it.
    """

    def __init__(
        self,
        table: ExpertTable,
        weight: Vector | None,
        scale: float,
        *,
        threads: int,
        usable: Columns | None = None,
        wide: bool | None = None,
        window: slice | None = None,
    ) -> None:
        values = table.loglik if window is None else table.loglik[window]
        self.rows, self.columns = values.shape[0], values.shape[1] if usable is None else usable.size
        self._usable = usable
        self.threads = threads
        low, high, _ = table.extremes
        if wide is None:
            wide = works_wide(self.rows, self.columns, values.dtype)
        self.shift = needs_shift(table.extremes, self.columns, usable, wide)
        self.wide = wide
        self.weight, self.scale = weight, scale
        self.total = scale * self.rows if weight is None else float(weight.sum())
        self.bounded = low > (-700.0 if wide else -87.0)
        self._source = core.Rows(values, weight, scale, self.shift, wide, usable, self.bounded)
        self._sampled: NDArray[np.int64] | None = None
        fits = self.rows * self.columns * (8 if wide else 4) <= _PACKED_BYTES
        self._packed = self._source.pack(None, weight, scale, wide, threads) if fits else None
        self._part: tuple[bytes, core.Rows] | None = None
        # Row probabilities that may be multiplied before one logarithm without leaving the type's range.
        extent = max(-low, high)
        self._products = 1 if self.shift else 4 if 4 * extent < (700.0 if wide else 85.0) else 2 if extent < 40.0 else 1

    def sample(self, count: int) -> CrossEntropy:
        """The objective on `count` rows: one of each stretch of n / count rows, at a fixed pseudo-random place."""
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

    def precise(self) -> CrossEntropy:
        """The same rows with float64 probabilities, computed anew in each sweep: about three times slower than float32."""
        if self.wide or self._sampled is not None:
            return self
        out = object.__new__(CrossEntropy)
        out.__dict__.update(self.__dict__, wide=True, _packed=None, _part=None)
        out._source = core.Rows(
            self._source.loglik, self.weight, self.scale, self.shift, True, self._usable, self.bounded
        )
        return out

    def packs(self, count: int) -> bool:
        """Whether a view of `count` columns is a packed copy: it is where that takes little beside the table."""
        table = self._source.loglik
        size = self.rows * count * (8 if self.wide else 4)
        return self._packed is not None or size <= min(max(table.nbytes // 10, _PACKED_BYTES), table.nbytes // 4)

    def rounding(self, curvature: float) -> float:
        # Each row's p / s is off by about 1e-7 of itself, independently: sum c^2 v^2 is about scale * (sum c v^2).
        return (
            0.0 if self.wide else (_SHIFTED_ERROR if self.shift else _FLOAT_ERROR) * math.sqrt(self.scale * curvature)
        )

    def _view(self, columns: Columns | None) -> core.Rows:
        """The rows restricted to the columns; packed where this objective is in cache. The last view is kept."""
        if columns is None or columns.size == self.columns:
            return self._packed or self._source
        key = columns.tobytes()
        if self._part is None or self._part[0] != key:
            part = self._source.with_columns(columns if self._usable is None else self._usable[columns])
            if self.packs(columns.size):
                self._part = None  # the old copy goes before the new one comes
                part = part.pack(self._sampled, self.weight, self.scale, self.wide, self.threads)
            self._part = (key, part)
        return self._part[1]

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        return self._view(columns).sums(w, True, hessian, self.threads, coarse)

    def losses(self, mixtures: Matrix) -> Vector:
        mixtures = np.ascontiguousarray(mixtures)
        out = (self._packed or self._source).mixture_nll(mixtures, self._products, self.threads)
        lost = np.flatnonzero(~np.isfinite(out))
        if (
            lost.size
        ):  # a row on which every expert of the mixture is e^-87 (e^-708) below the best: once more by log-sum-exp
            out[lost] = self._exact_losses(mixtures[lost])
        return out

    def _exact_losses(self, mixtures: Matrix) -> Vector:
        from mixfast import reference

        values = self._source.loglik if self._sampled is None else self._source.loglik[self._sampled]
        weight = np.full(self.rows, self.scale) if self.weight is None else self.weight
        out = np.zeros(mixtures.shape[0])
        step = max(1, (1 << 20) // self.columns)
        for start in range(0, self.rows, step):
            block = values[start : start + step].astype(np.float64)
            block = block if self._usable is None else block[:, self._usable]
            for m, mixture in enumerate(mixtures):
                out[m] += reference.ensemble_loss(block, weight[start : start + step], mixture)
        return out

    def gradients(
        self,
        mixtures: Matrix,
        bins: NDArray[np.int32],
        multiplicity: NDArray[np.float32],
        columns: Columns | None = None,
    ) -> Matrix:
        return self._view(columns).gradients(np.ascontiguousarray(mixtures), bins, multiplicity, self.threads)


def row_objective(
    table: ExpertTable,
    weight: Any,
    scale: float,
    *,
    threads: int,
    device: Any = None,
    usable: Columns | None = None,
    wide: bool | None = None,
    window: slice | None = None,
) -> RowObjective:
    """The cross-entropy of the rows (of a window), on the device where the table lives, or on `device` (a torch device)."""
    if device is None and _device.is_tensor(table.values):
        device = table.values.device
    if device is None:
        return CrossEntropy(table, weight, scale, threads=threads, usable=usable, wide=wide, window=window)
    from mixfast._engine.objectives.rows_cuda import DeviceCrossEntropy

    return DeviceCrossEntropy(table, weight, scale, device=device, usable=usable, wide=wide, window=window)


class SquaredError(Objective):
    """``L(w) = 1/2 sum_i c_i (p_i.w - y_i)^2``, as ``1/2 w'Gw - b.w + a``: one Gram matrix, then K-dimensional work only."""

    def __init__(self, gram: Matrix, moment: Vector, constant: float, rows: int) -> None:
        self.gram, self.moment, self.constant = gram, moment, constant
        self.rows, self.columns = rows, moment.size

    @classmethod
    def from_table(
        cls,
        table: ExpertTable,
        weight: Vector | None,
        scale: float,
        *,
        usable: Columns | None = None,
        window: slice | None = None,
    ) -> SquaredError:
        """Sum c p p', c p y and c y^2 over blocks of rows, in float64."""
        window = window or slice(0, table.n_rows)
        prediction, target = table.prediction[window], table.target[window]
        columns = table.n_domains if usable is None else usable.size
        gram, moment, constant = np.zeros((columns, columns)), np.zeros(columns), 0.0
        step = max(1, (4 << 20) // columns)
        for start in range(0, prediction.shape[0], step):
            p = prediction[start : start + step].astype(np.float64)
            p = p if usable is None else p[:, usable]
            y = target[start : start + step]
            c = np.full(y.size, scale) if weight is None else weight[start : start + step]
            scaled = p * c[:, None]
            gram += scaled.T @ p
            moment += scaled.T @ y
            constant += 0.5 * float(c @ (y * y))
        return cls(gram, moment, constant, prediction.shape[0])

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        gram, moment = self.gram, self.moment
        if columns is not None:
            gram, moment = gram[np.ix_(columns, columns)], moment[columns]
        image = gram @ w
        return float(0.5 * (w @ image) - moment @ w) + self.constant, image - moment, gram.copy() if hessian else None

    def losses(self, mixtures: Matrix) -> Vector:
        return 0.5 * np.einsum("mk,mk->m", mixtures @ self.gram, mixtures) - mixtures @ self.moment + self.constant


class Regularised(Objective):
    """``base(w) + kl * sum_k w_k log(w_k / prior_k)``: pulls the shares towards the prior; strictly convex, optimum without zeros."""

    def __init__(self, base: Objective, kl: float, prior: Vector) -> None:
        self.base, self.kl, self.prior = base, kl, prior
        self.rows, self.columns, self.total = base.rows, base.columns, base.total

    def sample(self, count: int) -> Regularised:
        return Regularised(self.base.sample(count), self.kl, self.prior)

    def precise(self) -> Regularised:
        base = self.base.precise()
        return self if base is self.base else Regularised(base, self.kl, self.prior)

    def rounding(self, curvature: float) -> float:
        return self.base.rounding(curvature)

    def packs(self, count: int) -> bool:
        return self.base.packs(count)

    def separable(self, w: Vector, columns: Columns | None) -> tuple[Vector, Vector]:
        prior = self.prior if columns is None else self.prior[columns]
        return self.term(self.kl, prior, w)[1], self.kl / np.maximum(w, 1e-300)

    @staticmethod
    def term(kl: float, prior: Vector, w: Vector) -> tuple[float, Vector]:
        """Value and gradient (K,) of ``kl * sum_k w_k log(w_k / prior_k)``; the gradient is -inf where a share is 0."""
        with np.errstate(divide="ignore"):
            log = np.log(w / prior)
        return kl * float(w @ np.where(w > 0.0, log, 0.0)), kl * (log + 1.0)

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        value, gradient, curvature = self.base.sums(w, columns, hessian=hessian, coarse=coarse)
        term, slope = self.term(self.kl, self.prior if columns is None else self.prior[columns], w)
        return value + term, gradient + slope, curvature

    def losses(self, mixtures: Matrix) -> Vector:
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(mixtures > 0.0, mixtures * np.log(mixtures / self.prior), 0.0)
        return self.base.losses(mixtures) + self.kl * terms.sum(axis=1)
