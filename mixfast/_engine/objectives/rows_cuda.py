"""The cross-entropy objective on a GPU: the kernels sweep over a table in GPU memory, or over one that is streamed from the host.

It has the same methods as `rows_cpu.CrossEntropy`. Only results of the size of a mixture or of its
Hessian leave the device, once in each sweep.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import device as _device
from mixfast._engine.backend import gpu_kernels
from mixfast._engine.backend.arrays import Bins, Columns, Counts, Matrix, Vector
from mixfast._engine.backend.blocks import Stream, Whole
from mixfast._engine.objectives.base import RowObjective, Sum, Sums, needs_shift, sample_rows, works_wide
from mixfast._engine.objectives.forms import ELEMENTS, Forms
from mixfast.tables import ExpertTable

# As on the CPU, but four rows are added in float32 before float64; larger if l - max is rounded before exp.
_FLOAT_ERROR, _SHIFTED_ERROR = 2e-7, 1e-6
# The error that does not average out over the rows, relative to the gradient: the polynomial for exp in the kernels is off by 1e-8.
# Because of it, the last sweeps before a gap of 1e-8 use float64, which is fast enough on a GPU.
_FLOAT_BIAS = 5e-9
# Below these values, in nats, exp is not a normal number.
_FLOAT_LOWEST, _DOUBLE_LOWEST = -87.0, -700.0
# Elements of the largest temporary array of torch operations.
_ELEMENTS = 1 << 25


class DeviceCrossEntropy(RowObjective):
    """``L(w) = sum_i c_i * -log(sum_k w_k exp(l_ik))`` over a table on a device, or streamed to it.

    The table's values are a tensor on the device, or an array in host memory.
    """

    def __init__(self, table: ExpertTable, which: Sum, *, device: Any) -> None:
        weight, scale, usable, wide, window = which
        values = table.loglik if window is None else table.loglik[window]
        self.rows, self.columns = values.shape[0], values.shape[1] if usable is None else usable.size
        self.device, self.weight, self.scale = device, weight, scale
        self.total = which.total(self.rows)
        self._usable, self._extremes = usable, table.extremes
        self._sampled = False
        self._chosen: tuple[bytes, Any] | None = None
        self._binned: tuple[Bins, Any] | None = None
        self._values = values
        self._table = table if table.is_watched else None
        self._feed = Whole(values, weight) if _device.is_tensor(values) else Stream(values, weight, device)
        if wide is None:
            wide = works_wide(self.rows, self.columns, _device.dtype_of(values))
        self._set_precision(wide)

    def _set_precision(self, wide: bool) -> None:
        low, high, _ = self._extremes
        self.wide = wide
        self.shift = needs_shift(self._extremes, self.columns, self._usable, wide)
        self._bounded = low - (high if self.shift else 0.0) > (_DOUBLE_LOWEST if wide else _FLOAT_LOWEST)

    def _like(self) -> DeviceCrossEntropy:
        out = object.__new__(DeviceCrossEntropy)
        out.__dict__.update(self.__dict__)
        return out

    def sample(self, count: int) -> DeviceCrossEntropy:
        """Return the objective on `count` rows: one from each stretch of n / count rows, at a fixed pseudo-random place."""
        import torch

        index, stretch = sample_rows(self.rows, count)
        out = self._like()
        near = self._values if _device.is_tensor(self._values) else None
        where = torch.from_numpy(index).to(self.device) if near is not None else index
        out._values = near[where] if near is not None else torch.from_numpy(self._values[index]).to(self.device)
        if self.weight is not None:
            weight = self.weight[where] * stretch
            out.weight = weight if near is not None else torch.from_numpy(weight).to(self.device)
        out.rows, out.scale, out._sampled, out._binned = count, self.scale * stretch, True, None
        out._feed, out._table = Whole(out._values, out.weight), None
        self._check()
        return out

    def _blocks(self) -> Iterator[tuple[Any, Any]]:
        """Yield the blocks of rows with their weights; raise `TableError` at the end if the file that they are streamed from has changed."""
        yield from self._feed.blocks()
        self._check()

    def _check(self) -> None:
        if self._table is not None:
            self._table.check_unchanged()

    def precise(self) -> DeviceCrossEntropy:
        """Return the same rows with probabilities in float64: at most three times slower on a chip with full float64 rate."""
        if self.wide or self._sampled:
            return self
        out = self._like()
        out._set_precision(True)
        return out

    def packs(self, count: int) -> bool:
        return False

    def rounding(self, curvature: float) -> float:
        if self.wide:
            return 0.0
        error = _SHIFTED_ERROR if self.shift else _FLOAT_ERROR
        return error * math.sqrt(self.scale * curvature) + _FLOAT_BIAS * self.total

    def _columns(self, columns: Columns | None) -> Any:
        """Return the columns in use as an int32 tensor, None for all; the last tensor is cached."""
        if columns is None or columns.size == self.columns:
            columns = self._usable
        elif self._usable is not None:
            columns = self._usable[columns]
        if columns is None:
            return None
        key = columns.tobytes()
        if self._chosen is None or self._chosen[0] != key:
            self._chosen = key, _device.send(columns.astype(np.int32), self.device)
        return self._chosen[1]

    def _near(self, array: NDArray[Any]) -> Any:
        return _device.send(array.astype(np.float64), self.device)

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        import torch

        mixture, chosen, size = self._near(w), self._columns(columns), w.size
        total: Any = 0.0
        for values, weight in self._blocks():
            value, gradient, curvature = gpu_kernels().row_pass(
                values,
                self.scale if weight is None else weight,
                mixture,
                hessian=hessian,
                columns=chosen,
                shift=self.shift,
                bounded=self._bounded,
                wide=self.wide,
            )
            parts = [value[None], gradient] + ([] if curvature is None else [curvature.reshape(-1)])
            total = total + torch.cat(parts)
        out = total.cpu().numpy()
        return float(out[0]), out[1 : 1 + size].copy(), out[1 + size :].reshape(size, size).copy() if hessian else None

    def forms(self) -> Forms | None:
        """Return the forms in host memory, where systems of few rows are solved."""
        if self.rows * self.columns > ELEMENTS:
            return None
        values: Any = self._values
        near = _device.host(values.double() if _device.is_tensor(values) else values)
        near = near if self._usable is None else near[:, self._usable]
        weight = np.full(self.rows, self.scale) if self.weight is None else _device.host(self.weight).astype(np.float64)
        return Forms.of_loglik(near, weight)

    def losses(self, mixtures: Matrix) -> Vector:
        near, chosen = self._near(mixtures), self._columns(None)
        total: Any = 0.0
        for values, weight in self._blocks():
            c = self.scale if weight is None else weight
            total = total + gpu_kernels().mixture_nll(
                values,
                c,
                [0, values.shape[0]],
                near,
                columns=chosen,
                shift=self.shift,
                bounded=self._bounded,
                wide=self.wide,
            )
        out: Vector = total.cpu().numpy()[:, 0].copy()
        lost = np.flatnonzero(~np.isfinite(out))
        if lost.size:
            # If every expert of the mixture is below the best by more than the range of exp on a row, use log-sum-exp for it.
            out[lost] = self._exact_losses(mixtures[lost])
        return out

    def _exact_losses(self, mixtures: Matrix) -> Vector:
        import torch

        logs, chosen = self._near(mixtures).log(), self._columns(None)
        total = torch.zeros(mixtures.shape[0], dtype=torch.float64, device=self.device)
        step = max(_ELEMENTS // self.columns, 1)
        for values, weight in self._blocks():
            for start in range(0, values.shape[0], step):
                block = values[start : start + step].double()
                block = block if chosen is None else block.index_select(1, chosen)
                c = None if weight is None else weight[start : start + step]
                for m in range(mixtures.shape[0]):
                    log = torch.logsumexp(block + logs[m], dim=1)
                    total[m] -= self.scale * log.sum() if c is None else torch.where(c > 0.0, c * log, 0.0).sum()
        out: Vector = total.cpu().numpy()
        return out

    def gradients(self, mixtures: Matrix, bins: Bins, counts: Counts, columns: Columns | None = None) -> Matrix:
        """Return gradients (M, C), as on the CPU, by two matrix products for each block of rows; in float32 unless the table is `wide`."""
        import torch

        dtype = torch.float64 if self.wide else torch.float32
        chosen, unit = self._columns(columns), self._unit(bins)
        shares = self._near(mixtures).to(dtype)
        near = _device.send(counts, self.device).to(dtype)
        total = torch.zeros((near.shape[0], mixtures.shape[1]), dtype=torch.float64, device=self.device)
        step = max(_ELEMENTS // max(total.shape), 1)
        first = 0
        with gpu_kernels().full_float32():
            for values, weight in self._blocks():
                for start in range(0, values.shape[0], step):
                    block = values[start : start + step].to(dtype)
                    block = block if chosen is None else block.index_select(1, chosen)
                    prob = torch.exp(block - block.amax(dim=1, keepdim=True) if self.shift else block)
                    held = near[:, unit[first + start : first + start + block.shape[0]]]
                    # One mixture for all objectives: the slopes are one column, multiplied by the counts of the objectives.
                    slope = 1.0 / (prob @ shares.T)
                    if weight is None:
                        slope *= self.scale
                    else:
                        c = weight[start : start + step, None].to(dtype)
                        slope = torch.where(c > 0.0, c * slope, 0.0)
                    total -= ((held * slope.T) @ prob).double()
                first += values.shape[0]
        out: Matrix = total.cpu().numpy()
        return out

    def _unit(self, bins: Bins) -> Any:
        """Return the bins on the device; those of the last call are cached."""
        import torch

        if self._binned is None or self._binned[0] is not bins:
            self._binned = bins, torch.from_numpy(bins).to(self.device)
        return self._binned[1]
