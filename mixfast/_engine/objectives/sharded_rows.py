"""The rows of a table of several parts, prepared for sweeps by all ranks: the sibling of `TableRows`."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from mixfast._engine.backend import thread_count
from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.objectives.base import Objective, RowObjective, works_wide
from mixfast._engine.objectives.block_sums import Spec, expert_losses_of_block, group_sums_of_block
from mixfast._engine.objectives.blocks_of_rows import Blocks, GroupLossesAt, Recounted, same_columns
from mixfast._engine.objectives.guide import guide_rows
from mixfast._engine.objectives.pieces import GroupGuide, Losses, Values
from mixfast._engine.objectives.rows import TableRows
from mixfast._engine.objectives.wear import Wear
from mixfast._engine.objectives.worn import Worn
from mixfast.tables import ShardedTable

# Rows of the first sample, for each group.
_SAMPLED_GROUP = 8192


class ShardedRows(TableRows):
    """The blocks of a table of several parts, and the objectives that are sums over them.

    Parameters
    ----------
    table : ShardedTable
    threads : int or None
        Number of CPU threads of a rank; None for the default of each rank.
    wear : Wear or None
        How repeated tokens wear out, over all domains.
    cuda : bool
        Whether each rank sums its blocks on its GPU.
    """

    table: Any

    def __init__(
        self, table: ShardedTable, *, threads: int | None, wear: Wear | None = None, cuda: bool = False
    ) -> None:
        super().__init__(table, threads=thread_count(threads), wear=wear)  # type: ignore[arg-type]
        self._given_threads, self.cuda = threads, cuda

    @property
    def given_threads(self) -> int | None:
        """The number of threads as given: None for the default of each rank."""
        return self._given_threads

    def __reduce__(self) -> Any:
        return _again, (self.table, self.given_threads, self.wear, self.cuda)

    def weighted(self, group_weight: Vector, usable: Columns | None, *, wide: bool | None = None) -> Objective:
        """Return the weighted sum of the groups' losses over the usable domains (None: all); probabilities in float64 if `wide`."""
        columns = self.table.n_domains if usable is None else usable.size
        wide = works_wide(self.table.n_rows, columns, self.table.dtype) if wide is None else wide
        key = ("sum", group_weight.tobytes(), None if usable is None else usable.tobytes(), wide)
        if key not in self._kept:
            self._kept[key] = self._worn(self._blocks(group_weight, usable, wide), usable)
        return self._kept[key]

    def groups(self, usable: Columns | None) -> list[Objective]:
        """Return the loss of each group alone, in float64; every sum of one of them sweeps its rows."""
        return [self._worn(self._blocks(own, usable, True), usable) for own in np.eye(self.table.n_groups)]

    def pieces(self, usable: Columns | None) -> BlockGroups:
        """Return the losses of all groups, each sum of which takes one sweep."""
        wear = None if self.wear is None else self.wear.restrict(usable)
        spec = Spec(np.ones(self.table.n_groups), usable, True, self.given_threads, cuda=self.cuda)
        key = ("pieces", None if usable is None else usable.tobytes())
        if key not in self._kept:
            self._kept[key] = BlockGroups(self.table, spec, wear)
        return self._kept[key]

    def losses(self, mixtures: Matrix, group_weight: Vector | None, usable: Columns | None = None) -> Vector:
        """Return weighted losses (M,) of mixtures (M, C) of the usable domains; the largest group loss if `group_weight` is None."""
        if group_weight is None:
            return self.group_losses(mixtures, usable).max(axis=0)
        return self.weighted(group_weight, usable).losses(mixtures)

    def group_losses(self, mixtures: Matrix, usable: Columns | None = None) -> Matrix:
        """Return the losses (G, M) of mixtures (M, C) on each group; without a sweep at mixtures that were just evaluated."""
        if self.wear is not None:
            mixtures = self.wear.restrict(usable).worth(mixtures).share
        for kept in self._kept.values():
            blocks: Any = kept.base if isinstance(kept, Worn) else kept
            known = blocks.known_group_losses(mixtures, usable)
            if known is not None:
                return known
        return self._blocks(np.ones(self.table.n_groups), usable, True).group_losses(mixtures)

    def recounted(
        self, group_weight: Vector, bins: Any, counts: Vector, usable: Columns | None, *, wide: bool | None
    ) -> Objective:
        """Return the weighted sum in which the rows of bin b count ``counts[b]`` times; `bins` finds the bin of each row of a block."""
        columns = self.table.n_domains if usable is None else usable.size
        wide = works_wide(self.table.n_rows, columns, self.table.dtype) if wide is None else wide
        return self._worn(Recounted(self._blocks(group_weight, usable, wide), bins, counts), usable)

    def expert_losses(self) -> Matrix:
        """Return the losses (G, K) of each single expert on each group, by sums of columns."""
        table = self.table
        size = table.n_groups * table.n_domains
        out = table.reduce(expert_losses_of_block, size=size)
        return out.reshape(table.n_groups, table.n_domains)

    def total_weight(self, group_weight: Vector) -> float:
        """Return the sum of all row weights, which is the scale of the gradient."""
        return self.weighted(group_weight, None).total

    def row_weights(self, group_weight: Vector) -> tuple[Any, float]:
        raise NotImplementedError("the rows of a table of several parts are never all in memory")

    def gradient_everywhere(self, w: Vector, group_weight: Vector) -> Vector:
        """Return the gradient (K,) over all domains of the table at w (K,), in float64."""
        blocks = self._blocks(group_weight, None, True)
        value, gradient, _ = self._worn(blocks, None).sums(w)
        if math.isfinite(value):
            return gradient
        # In some row, an excluded expert is so much better than the others that exp overflows.
        share, slope = (w, 1.0) if self.wear is None else self.wear.worth(w)[:2]
        return blocks.exact_gradient(share) * slope

    def _blocks(self, group_weight: Vector, usable: Columns | None, wide: bool) -> Blocks:
        return Blocks(self.table, group_weight, usable, wide=wide, threads=self.given_threads, cuda=self.cuda)

    def _worn(self, rows: RowObjective, usable: Columns | None) -> RowObjective:
        return rows if self.wear is None else Worn(rows, self.wear.restrict(usable))


class BlockGroups(Losses):
    """The losses of the groups of a table of several parts, as `GroupLosses`; one sweep evaluates all of them."""

    def __init__(self, table: ShardedTable, spec: Spec, wear: Wear | None) -> None:
        self.table, self.spec, self.wear = table, spec, wear
        self._points, self.nbytes = GroupLossesAt(), table.nbytes
        self.rows, self.columns = table.n_rows, table.n_domains if spec.usable is None else spec.usable.size
        even = Blocks(
            table, spec.weight / spec.weight.size, spec.usable, wide=True, threads=spec.threads, kept=spec.kept
        )
        self.total = even.total

    @cached_property
    def guide(self) -> GroupGuide | None:
        count = guide_rows(self.rows, self.columns)
        return GroupGuide(self.spread(count), self.total) if count else None

    def at(self, w: Vector, *, curved: bool = True) -> Values:
        groups, size = self.spec.weight.size, w.size
        worth = None if self.wear is None else self.wear.worth(w)
        share = w if worth is None else worth.share
        length = 1 + size + (size * size if curved else 0)
        out = self.table.reduce(group_sums_of_block, self.spec, share, int(curved), size=groups * length)
        parts = out.reshape(groups, length)
        self._points.add(share, parts[:, 0].copy())
        values, gradients = parts[:, 0].copy(), parts[:, 1 : 1 + size].copy()
        curves = parts[:, 1 + size :].reshape(groups, size, size).copy() if curved else np.zeros(0)
        if worth is not None:
            if curved:
                curves *= np.outer(worth.slope, worth.slope)
                curves[:, np.arange(size), np.arange(size)] += gradients * worth.curve
            gradients *= worth.slope
        return Values(values, gradients, curves)

    def known_group_losses(self, mixtures: Matrix, usable: Columns | None) -> Matrix | None:
        """Return the losses (G, M) of effective shares (M, C) if the last sweeps were at these; None otherwise."""
        return self._points.find(mixtures) if same_columns(usable, self.spec.usable) else None

    def sample(self) -> BlockGroups:
        return self.spread(_SAMPLED_GROUP * self.spec.weight.size)

    def spread(self, count: int) -> BlockGroups:
        """Return the losses on about `count` rows."""
        if self.table.sampled or self.table.n_rows < 4 * count:
            return self
        return BlockGroups(self.table.sample(count), self.spec._replace(kept=True), self.wear)


def _again(table: ShardedTable, threads: int | None, wear: Wear | None, cuda: bool) -> ShardedRows:
    return ShardedRows(table, threads=threads, wear=wear, cuda=cuda)
