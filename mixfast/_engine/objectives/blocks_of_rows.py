"""Cross-entropy over the blocks of a table of several parts, which the ranks of a team sweep together.

Rank 0 asks for the sums of all blocks; `block_sums.py` has what every rank computes for one block.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property

import numpy as np

from mixfast._engine.backend.arrays import Columns, Counts, Matrix, Vector
from mixfast._engine.objectives.base import RowObjective, Sums, needs_shift
from mixfast._engine.objectives.block_sums import (
    BlockBins,
    Spec,
    exact_gradient_of_block,
    gradients_of_block,
    losses_of_block,
    recounted_sums_of_block,
    sums_of_block,
)
from mixfast._engine.objectives.guide import Guide, guide_of
from mixfast._engine.objectives.rows_cpu import float_rounding
from mixfast.tables import ShardedTable

# Points whose group losses are remembered.
_POINTS = 4
# Rows from which the sum of the weights is estimated before the first sweep.
_TOTAL_ROWS = 8192


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
        if self.spec.wide:
            return 0.0
        return float_rounding(curvature, shift=self.shift, scale=self.scale, total=self.total)

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        groups, size = self.spec.weight.size, w.size
        length = 2 * groups + size + (size * size if hessian else 0)
        out = self.table.reduce(sums_of_block, self.spec, w, columns, hessian, coarse, size=length)
        if columns is None and (self.spec.weight > 0.0).all():
            self._points.add(w, out[:groups].copy())
        # The scale of gaps: a sample may have only rows of weight 0.
        self._total = float(self.spec.weight @ out[groups : 2 * groups]) or 1.0
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
