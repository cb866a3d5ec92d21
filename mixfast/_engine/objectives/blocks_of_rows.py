"""Cross-entropy over the blocks of a table of several parts, which the ranks of a team sweep together.

The functions `sums_of_block`, `group_sums_of_block` and `losses_of_block` run on every rank; what they return is added in the order of the
blocks. All decisions that depend on values (whether row maxima are subtracted, for example) are made for each block alone, so a sum has the
same bits for every number of ranks and threads.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from mixfast._engine.backend import device as devices
from mixfast._engine.backend import thread_count
from mixfast._engine.backend.arrays import Bins, Columns, Counts, Matrix, Vector
from mixfast._engine.backend.rows import Rows
from mixfast._engine.objectives import log_sum_exp
from mixfast._engine.objectives.base import RowObjective, Sum, Sums, needs_shift
from mixfast._engine.objectives.guide import Guide, guide_of
from mixfast._engine.objectives.rows import expert_losses
from mixfast._engine.objectives.rows_cpu import products_before_log, relative_rounding
from mixfast.errors import InfeasibleError
from mixfast.tables import Block, ExpertTable, ShardedTable

# Points whose group losses are remembered.
_POINTS = 4
# Rows from which the sum of the weights is estimated before the first sweep.
_TOTAL_ROWS = 8192


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


class GroupLossesAt:
    """Losses of all groups at the points of the last sweeps."""

    def __init__(self) -> None:
        self._found: OrderedDict[bytes, Vector] = OrderedDict()

    def add(self, w: Vector, values: Vector) -> None:
        """Remember the losses (G,) at w (C,)."""
        self._found[np.ascontiguousarray(w).tobytes()] = values
        if len(self._found) > _POINTS:
            self._found.popitem(last=False)

    def find(self, mixtures: Matrix) -> Matrix | None:
        """Return the losses (G, M) at mixtures (M, C) if all are known."""
        known = [self._found.get(np.ascontiguousarray(w).tobytes()) for w in mixtures]
        return None if any(one is None for one in known) else np.array(known).T


def same_columns(a: Columns | None, b: Columns | None) -> bool:
    """Whether two choices of domains are equal."""
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


class Blocks(RowObjective):
    """``L(w) = sum_g omega_g sum_{i in g} c_i * -log(sum_k w_k exp(l_ik))`` over a table of several parts.

    Parameters
    ----------
    table : ShardedTable
    weight : (G,) float64
        Weights of the groups.
    usable : (C,) int32 or None
    wide : bool
        Probabilities in float64.
    threads : int or None
    kept, packed, cuda : bool
        As in `Spec`.
    """

    def __init__(
        self,
        table: ShardedTable,
        weight: Vector,
        usable: Columns | None,
        *,
        wide: bool,
        threads: int | None,
        kept: bool = False,
        packed: bool = False,
        cuda: bool = False,
    ) -> None:
        # float32 errors of the kernels do not average out over the rows, and float64 is fast enough on a GPU.
        wide, packed = wide or cuda, packed and not cuda
        self.table, self.spec = table, Spec(weight, usable, wide, threads, kept, packed, cuda)
        self.rows, self.columns = table.n_rows, table.n_domains if usable is None else usable.size
        self.nbytes = table.nbytes
        self._total: float | None = None
        # Not those of the table: what an earlier solve has seen must not change the answer.
        self._extremes: tuple[float, float, float] | None = None
        self._points = GroupLossesAt()
        self._near: Blocks | None = None  # the sample that guides the search
        if table.uniform_weight is not None:
            per_group = table.uniform_weight * table.group_rows * (table.n_rows / table.group_rows.sum())
            self._total = float(weight @ per_group)
        elif not (table.has_weight or table.has_length):
            self._total = float(weight.sum())

    @property
    def total(self) -> float:  # type: ignore[override]
        """Sum of the weights; those of a sample until all rows have been seen."""
        if self._total is None:
            near = self if self.table.sampled else self.sample(_TOTAL_ROWS)
            near.sums(np.full(self.columns, 1.0 / self.columns))
            if near._total is None:
                near._total = 1.0
            return near._total
        return self._total

    @property
    def scale(self) -> float:  # type: ignore[override]
        """A typical row weight."""
        return self.total / self.rows

    @property
    def shift(self) -> bool:  # type: ignore[override]
        """Whether row maxima are subtracted in some block, as far as the sums of this objective, or of its sample, have shown."""
        known = self._extremes
        if known is None and self._near is not None:
            known = self._near._extremes
        return known is None or needs_shift(known, self.columns, self.spec.usable, self.spec.wide)

    def _over(self, table: ShardedTable, **changes: bool) -> Blocks:
        spec = self.spec
        made = {"wide": spec.wide, "kept": spec.kept, "packed": spec.packed, "cuda": spec.cuda} | changes
        return Blocks(table, self.spec.weight, self.spec.usable, threads=self.spec.threads, **made)

    def sample(self, count: int) -> Blocks:
        return self._over(self.table.sample(count), kept=True, packed=True)

    def spread(self, count: int) -> Blocks:
        self._near = self._over(self.table.sample(count), wide=True, kept=True)
        return self._near

    def skimmed(self, count: int) -> Blocks:
        return self._over(self.table.sample(count, kept=False), kept=False, packed=False)

    @cached_property
    def guide(self) -> Guide | None:
        return guide_of(self)

    def precise(self) -> Blocks:
        if self.spec.wide:
            return self
        out = self._over(self.table, wide=True)
        out._points, out._near, out.guide = self._points, self._near, self.guide
        return out

    def rounding(self, curvature: float) -> float:
        return 0.0 if self.spec.wide else relative_rounding(self.shift) * math.sqrt(self.scale * curvature)

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        groups, size = self.spec.weight.size, w.size
        length = 2 * groups + size + (size * size if hessian else 0)
        out = self.table.reduce(sums_of_block, self.spec, w, columns, hessian, coarse, size=length)
        if columns is None and (self.spec.weight > 0.0).all():
            self._points.add(w, out[:groups].copy())
        self._total = float(self.spec.weight @ out[groups : 2 * groups])
        self._extremes = self.table.extremes
        curvature = out[2 * groups + size :].reshape(size, size) if hessian else None
        return float(self.spec.weight @ out[:groups]), out[2 * groups : 2 * groups + size], curvature

    def gradients(self, mixtures: Matrix, bins: BlockBins, counts: Counts, columns: Columns | None = None) -> Matrix:
        """Return gradients as `RowObjective.gradients` does; `bins` finds the bin of each row of a block."""
        found = self.table.reduce(
            gradients_of_block, self.spec, mixtures, bins, counts, columns, size=len(counts) * mixtures.shape[1]
        )
        return found.reshape(len(counts), mixtures.shape[1])

    def exact_gradient(self, w: Vector) -> Vector:
        """Return the gradient (C,) at w by log-sum-exp, which no difference between experts can make overflow; slow."""
        return self.table.reduce(exact_gradient_of_block, self.spec, w, size=w.size)

    def group_losses(self, mixtures: Matrix) -> Matrix:
        """Return the losses (G, M) of mixtures (M, C) on all groups; without a sweep if the last sweeps were at these mixtures."""
        known = self.known_group_losses(mixtures, self.spec.usable)
        if known is not None:
            return known
        return self._losses(self.spec._replace(weight=np.ones(self.spec.weight.size)), mixtures)

    def known_group_losses(self, mixtures: Matrix, usable: Columns | None) -> Matrix | None:
        """Return the losses (G, M) of mixtures (M, C) of the usable domains if the last sweeps were at these; None otherwise."""
        return self._points.find(mixtures) if same_columns(usable, self.spec.usable) else None

    def losses(self, mixtures: Matrix) -> Vector:
        out: Vector = self.spec.weight @ self._losses(self.spec, mixtures)
        return out

    def _losses(self, spec: Spec, mixtures: Matrix) -> Matrix:
        mixtures = np.ascontiguousarray(mixtures)
        size = spec.weight.size * len(mixtures)
        out = self.table.reduce(losses_of_block, spec, mixtures, size=size)
        return out.reshape(spec.weight.size, len(mixtures))


class Recounted(RowObjective):
    """A sum over blocks in which the rows of bin b count ``counts[b]`` times, (B,); every sum sweeps all rows."""

    def __init__(self, base: Blocks, bins: BlockBins, counts: Vector) -> None:
        self.base, self.bins, self.counts = base, bins, counts
        self.rows, self.columns, self.total = base.rows, base.columns, base.total
        self.scale, self.shift = base.scale, base.shift

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        size = 1 + w.size + (w.size**2 if hessian else 0)
        out = self.base.table.reduce(
            recounted_sums_of_block, self.base.spec, self.bins, self.counts, w, columns, hessian, size=size
        )
        curvature = out[1 + w.size :].reshape(w.size, w.size) if hessian else None
        return float(out[0]), out[1 : 1 + w.size], curvature
