"""What every rank computes for one block of a table of several parts: losses, gradients and Hessians of cross-entropy.

The functions that end in `_of_block` run on every rank; what they return is added in the order of the blocks. All decisions that depend on
values (whether row maxima are subtracted, for example) are made for each block alone, so a sum has the same bits for every number of ranks
and threads.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from mixfast._engine.backend import device as devices
from mixfast._engine.backend import thread_count
from mixfast._engine.backend.arrays import Bins, Columns, Counts, Matrix, Vector
from mixfast._engine.backend.rows import Rows
from mixfast._engine.objectives import log_sum_exp
from mixfast._engine.objectives.base import Sum, Sums, needs_shift
from mixfast._engine.objectives.rows import expert_losses
from mixfast._engine.objectives.rows_cpu import products_before_log
from mixfast.errors import InfeasibleError
from mixfast.tables import Block, ExpertTable


class Spec(NamedTuple):
    """What one objective does with every block; rank 0 sends it to the others.

    Attributes
    ----------
    weight : (G,) float64
        Weight of each group in the sum; rows of groups with weight 0 are skipped.
    usable : (C,) int32 or None
        The domains that may have a share (None: all).
    wide : bool
        Probabilities in float64.
    threads : int or None
        Threads of a rank; None for the default of each rank.
    kept : bool
        Whether the rows are a sample, whose blocks stay prepared in memory.
    packed : bool
        Whether probabilities of a sample are computed once.
    cuda : bool
        Whether each rank copies its blocks to its GPU, ``LOCAL_RANK`` of those it sees, and sums them there.
    """

    weight: Vector
    usable: Columns | None
    wide: bool
    threads: int | None
    kept: bool = False
    packed: bool = False
    cuda: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        """What distinguishes the prepared rows of one objective from those of another."""
        usable = None if self.usable is None else self.usable.tobytes()
        return usable, self.wide, self.packed, self.cuda, (self.weight > 0.0).tobytes()


class OnDevice:
    """The rows of one group in a block, with the methods of `Rows`, summed by the GPU of this rank."""

    def __init__(self, table: ExpertTable, which: Sum) -> None:
        from mixfast._engine.objectives.rows_cuda import DeviceCrossEntropy

        self._rows = DeviceCrossEntropy(table, which, device=devices.device_of_rank())

    def sums(self, w: Vector, value: bool, hessian: int, threads: int, coarse: bool = False) -> Sums:
        """Return value, gradient and Hessian; `value` and `threads` have no effect."""
        return self._rows.sums(w, hessian=hessian, coarse=coarse)

    def losses(self, mixtures: Matrix, products: int, threads: int) -> Vector:
        """Return the losses (M,) of mixtures (M, C)."""
        return self._rows.losses(mixtures)

    def gradients(self, mixtures: Matrix, bins: Bins, counts: Counts, threads: int) -> Matrix:
        """Return the gradients (M, C) of mixtures (M, C) in which rows of bin b count `counts` (M, B) times."""
        return self._rows.gradients(mixtures, bins, counts)


class Window(NamedTuple):
    """The rows of one group in a block, prepared for sweeps."""

    group: int
    rows: Rows | OnDevice
    total: float  # sum of the row weights
    products: int  # row probabilities that can be multiplied before one logarithm


def sums_of_block(block: Block, spec: Spec, w: Vector, columns: Columns | None, hessian: int, coarse: bool) -> Vector:
    """Return the losses (G,) and row weights (G,) of the groups, the weighted gradient (C,) and, if asked for, the Hessian (C * C,)."""
    groups, size = spec.weight.size, w.size
    out = np.zeros(2 * groups + size + (size * size if hessian else 0))
    threads = thread_count(spec.threads)
    slopes, curves = out[2 * groups : 2 * groups + size], out[2 * groups + size :]
    for g, rows, total, _ in _windows(block, spec, columns):
        value, gradient, curvature = rows.sums(w, True, hessian, threads, coarse)
        out[g], out[groups + g] = value, total
        slopes += spec.weight[g] * gradient
        if curvature is not None:
            curves += spec.weight[g] * curvature.ravel()
    if not np.isfinite(out[:groups]).all():
        _refuse_dead(block, spec)
    return out


def group_sums_of_block(block: Block, spec: Spec, w: Vector, hessian: int) -> Vector:
    """Return the loss, the gradient (C,) and, if asked for, the Hessian (C * C,) of each group, one group after the other."""
    size = 1 + w.size + (w.size**2 if hessian else 0)
    out = np.zeros((spec.weight.size, size))
    threads = thread_count(spec.threads)
    for g, rows, _, _ in _windows(block, spec, None):
        value, gradient, curvature = rows.sums(w, True, hessian, threads)
        out[g, 0], out[g, 1 : 1 + w.size] = value, gradient
        if curvature is not None:
            out[g, 1 + w.size :] = curvature.ravel()
    if not np.isfinite(out[:, 0]).all():
        _refuse_dead(block, spec)
    return out.ravel()


def losses_of_block(block: Block, spec: Spec, mixtures: Matrix) -> Vector:
    """Return the losses (G * M,) of mixtures (M, C) on the groups."""
    out = np.zeros((spec.weight.size, len(mixtures)))
    threads = thread_count(spec.threads)
    for g, rows, _, products in _windows(block, spec, None):
        found = rows.losses(mixtures, products, threads)
        lost = np.flatnonzero(~np.isfinite(found))
        if lost.size:
            _refuse_dead(block, spec)
            found[lost] = log_sum_exp.losses(*_group_rows(block, spec, g), mixtures[lost])
        out[g] = found
    return out.ravel()


def gradients_of_block(
    block: Block, spec: Spec, mixtures: Matrix, bins: BlockBins, counts: Counts, columns: Columns | None
) -> Vector:
    """Return the weighted gradients (M * C,) of objectives that count the rows of each bin differently."""
    own, out = bins.bins(block), np.zeros((len(counts), mixtures.shape[1]))
    for g, rows, _, _ in _windows(block, spec, columns):
        window = slice(int(block.table.group_offsets[g]), int(block.table.group_offsets[g + 1]))
        out += spec.weight[g] * rows.gradients(mixtures, own[window], counts, thread_count(spec.threads))
    return out.ravel()


def recounted_sums_of_block(
    block: Block, spec: Spec, bins: BlockBins, counts: Vector, w: Vector, columns: Columns | None, hessian: int
) -> Vector:
    """Return value, gradient (C,) and, if asked for, Hessian (C * C,) of the sum in which the rows of each bin count differently."""
    out = np.zeros(1 + w.size + (w.size**2 if hessian else 0))
    multiplicity = counts[bins.bins(block)]
    for g, rows, _, _ in _prepared(block, spec, columns, multiplicity):
        value, gradient, curvature = rows.sums(w, True, hessian, thread_count(spec.threads))
        out[0] += spec.weight[g] * value
        out[1 : 1 + w.size] += spec.weight[g] * gradient
        if curvature is not None:
            out[1 + w.size :] += spec.weight[g] * curvature.ravel()
    return out


def exact_gradient_of_block(block: Block, spec: Spec, w: Vector) -> Vector:
    """Return the weighted gradient (C,) by log-sum-exp."""
    out = np.zeros(w.size)
    for g in np.flatnonzero(spec.weight > 0.0).tolist():
        values, c = _group_rows(block, spec, g)
        if len(values):
            out += spec.weight[g] * log_sum_exp.gradient(values, c, w)
    return out


def expert_losses_of_block(block: Block) -> Vector:
    """Return the losses (G * K,) of each single expert on the groups."""
    table = block.table
    out = expert_losses(table)
    return (out if block.columns is None else out[:, block.columns]).ravel()


def _windows(block: Block, spec: Spec, columns: Columns | None) -> list[Window]:
    """Return the rows of each group that has a weight and rows in this block."""
    if not spec.kept:
        return _prepared(block, spec, columns)
    key = (*spec.key, None if columns is None else columns.tobytes())
    found: list[Window] | None = block.memory.get(key)
    if found is None:
        found = block.memory[key] = _prepared(block, spec, columns)
    return found


def _prepared(block: Block, spec: Spec, columns: Columns | None, multiplicity: Vector | None = None) -> list[Window]:
    """Return the rows of each group with a weight, counted `multiplicity` (r,) times."""
    table, used = block.table, spec.usable
    if columns is not None:
        used = columns if used is None else used[columns]
    places = used if block.columns is None else block.columns if used is None else block.columns[used]
    size = table.n_domains if places is None else places.size
    extremes = table.extremes
    shift = needs_shift(extremes, size, places, spec.wide)
    bounded = extremes[0] > (-700.0 if spec.wide else -87.0)
    products = 1 if shift else products_before_log(extremes, spec.wide)
    out = []
    for g in np.flatnonzero(spec.weight > 0.0).tolist():
        window = slice(int(table.group_offsets[g]), int(table.group_offsets[g + 1]))
        count = window.stop - window.start
        if not count:
            continue
        weight, scale = None, table.uniform_weight
        if scale is None:
            weight = table.weights_near(window)
            scale = float(weight.mean())
        if multiplicity is not None:
            weight = multiplicity[window] * (scale if weight is None else weight)
            scale = float(weight.mean())
        if scale == 0.0:  # no row counts here, and the sums divide by the mean weight
            continue
        if spec.cuda:
            which = Sum(weight, scale, places, spec.wide, window)
            out.append(Window(g, OnDevice(table, which), scale * count, products))
            continue
        rows = Rows(table.loglik[window], weight, scale, shift, spec.wide, places, bounded)
        if spec.packed:
            rows = rows.pack(None, weight, scale, spec.wide, thread_count(spec.threads))
        out.append(Window(g, rows, scale * count, products))
    return out


def _group_rows(block: Block, spec: Spec, g: int) -> tuple[Matrix, Vector]:
    """Return log-likelihoods (n, C) and weights (n,) of the rows of a group in a block."""
    table = block.table
    window = slice(int(table.group_offsets[g]), int(table.group_offsets[g + 1]))
    values = table.loglik[window]
    order = block.columns
    if spec.usable is not None:
        order = spec.usable if order is None else order[spec.usable]
    weight = table.uniform_weight
    c = table.weights_near(window) if weight is None else np.full(len(values), weight)
    return values if order is None else values[:, order], c


def _refuse_dead(block: Block, spec: Spec) -> None:
    """Raise if some row has probability 0 under every domain that may have a share."""
    if spec.usable is None:
        return  # refused when the block was first read
    used = spec.usable if block.columns is None else block.columns[spec.usable]
    dead = np.flatnonzero(np.isneginf(block.table.loglik[:, used].max(axis=1)))
    if dead.size:
        raise InfeasibleError(
            str(
                block.error(
                    int(dead[0]),
                    "probability 0 under every domain that may have a share; allow a domain that explains the row, or leave it out",
                )
            )
        )


class BlockBins(Protocol):
    """The bins that the rows of a table of several parts belong to."""

    def bins(self, block: Block) -> Bins:
        """Return the bin of each row of a block, (r,) int32."""
        ...
