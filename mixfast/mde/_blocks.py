"""Ensemble features of a sharded table: losses, slopes and samples at one level, with the rows of one block in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import thread_count
from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.base import Sum
from mixfast._engine.objectives.rows import TableRows
from mixfast.errors import TableError
from mixfast.mde._pieces import Pieces, Sums
from mixfast.mde._rows import (
    GroupRows,
    LevelRows,
    checked_level,
    impossible,
    plain_rows,
    sampled_units,
    scaled_rows,
    unequal_weights,
)
from mixfast.tables import Block, ShardedTable, windows

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Recipe:
    """How a block makes the rows of a level from its own rows.

    Attributes
    ----------
    name : str
    threads : int or None
        CPU threads of a rank; None for the default of each.
    pieces : Pieces or None
        What rows are summed to; None if a row of the level is a row of the table.
    constant : (G,) float64 or None
        Weight of every row of the level in a group; None for the weights of the table.
    per_token : bool
        Whether weights are divided by the tokens of a row.
    """

    name: str
    threads: int | None
    pieces: Pieces | None = None
    constant: Vector | None = None
    per_token: bool = False

    def weights(self, group: int, own: Vector, tokens: Vector) -> Vector | float:
        """Return the weights c of rows of the level, from the table's own weights of these rows and their tokens."""
        weight = own if self.constant is None else float(self.constant[group])
        return weight / tokens if self.per_token else weight


@dataclass(frozen=True, eq=False)
class LevelOfBlocks:
    """All rows of a sharded table at one level; `split` are the pieces of each group that lie in several blocks."""

    table: ShardedTable
    recipe: Recipe
    split: dict[int, GroupRows]

    def losses(self, mixtures: Matrix) -> Matrix:
        """Losses (M, G) of mixtures (M, K)."""
        shape = self.table.n_groups, mixtures.shape[0]
        out = self.table.reduce(_losses, self.recipe, mixtures, size=shape[0] * shape[1]).reshape(shape)
        for group, rows in self.split.items():
            out[group] += rows.losses(mixtures)
        return np.ascontiguousarray(out.T)

    def slopes(self, mixtures: Matrix) -> tuple[Matrix, NDArray[np.float64]]:
        """Losses (M, G) and their gradients (M, G, K)."""
        m, k = mixtures.shape
        shape = m, self.table.n_groups, 1 + k
        out = self.table.reduce(_slopes, self.recipe, mixtures, size=int(np.prod(shape))).reshape(shape)
        for group, rows in self.split.items():
            out[:, group] += np.column_stack(rows.slopes(mixtures))
        return np.ascontiguousarray(out[:, :, 0]), np.ascontiguousarray(out[:, :, 1:])

    def errors(self, mixtures: Matrix, values: Matrix) -> Matrix:
        """Return zeros (M, G): all rows are used."""
        return np.zeros(values.shape)


def level_of_blocks(
    table: ShardedTable, name: str, rows: int | None, seed: int, threads: int | None
) -> LevelOfBlocks | LevelRows:
    """Return the rows of a sharded table at a level; a sample of about `rows` tokens is in memory."""
    recipe = _recipe(table, name, threads)
    sample = None if rows is None else _sample(table, recipe, rows, seed)
    return LevelOfBlocks(table, recipe, _split_pieces(table, recipe)) if sample is None else sample


def _recipe(table: ShardedTable, name: str, threads: int | None) -> Recipe:
    size = checked_level(table, name)
    if name == "token" or (name == "sequence" and table.has_length):
        return Recipe(name, threads)
    if table.has_length:
        return Recipe(name, threads, constant=1.0 / table.reduce(_tokens, size=table.n_groups))
    pieces = Pieces.of(table, name, size)
    if name == "sequence":
        return Recipe(name, threads, pieces, 1.0 / pieces.counts, per_token=True)
    return Recipe(name, threads, pieces, None if table.has_weight else 1.0 / table.group_rows)


def _tokens(block: Block) -> Vector:
    """Return the sum of the lengths of each group in a block, (G,)."""
    return _of_groups(block, block.rows.vectors["length"].astype(np.float64))


def _of_groups(block: Block, rows: Vector) -> Vector:
    out = np.zeros(block.n_groups)
    for group, window in windows(block):
        out[group] = rows[window].sum()
    return out


def _group_rows(block: Block, recipe: Recipe) -> Iterator[tuple[int, GroupRows]]:
    """Yield the groups with rows of the level in a block, and these rows."""
    whole = TableRows.of(block.table, threads=thread_count(recipe.threads))
    for group, window in windows(block):
        if recipe.pieces is None:
            weight, scale = whole.window_weights(window)
            if recipe.constant is not None:
                weight, scale = None, float(recipe.constant[group])
            if scale == 0.0:
                continue
            objective = whole.cross_entropy(Sum(weight, scale, block.columns, window=window))
            yield group, GroupRows(objective, block.table.loglik[window], weight, scale, None, 1.0, block.columns)
            continue
        sums = recipe.pieces.sums(block, group, window)
        sums = sums.some(recipe.pieces.whole(block, group, sums.numbers.size))
        if sums.numbers.size:
            yield group, _summed(sums, recipe, group)


def _summed(sums: Sums, recipe: Recipe, group: int) -> GroupRows:
    """Return pieces of a group with their weights; refuse unequal weights in a piece, and pieces without probability."""
    c = _weights(sums, recipe, group)
    dead = np.isneginf(sums.loglik.max(axis=1)) & (c > 0.0)
    if dead.any():
        raise TableError(impossible(recipe.name, np.unique(sums.ids[dead]).tolist()))
    return plain_rows(sums.loglik, c, sums.tokens, 1.0, thread_count(recipe.threads))


def _weights(sums: Sums, recipe: Recipe, group: int) -> Vector:
    mixed = sums.least < sums.most
    if recipe.constant is None and mixed.any():
        raise TableError(unequal_weights(recipe.name, np.unique(sums.ids[mixed]).tolist()))
    return np.full(sums.numbers.size, recipe.weights(group, sums.least, sums.tokens))


def _losses(block: Block, recipe: Recipe, mixtures: Matrix) -> Vector:
    """Return the losses of the mixtures on the rows of each group in a block, (G M,)."""
    out = np.zeros((block.n_groups, mixtures.shape[0]))
    for group, rows in _group_rows(block, recipe):
        out[group] = rows.losses(mixtures)
    return out.reshape(-1)


def _slopes(block: Block, recipe: Recipe, mixtures: Matrix) -> Vector:
    """Return loss and gradient of the mixtures on the rows of each group in a block, (M G (1 + K),)."""
    out = np.zeros((mixtures.shape[0], block.n_groups, 1 + mixtures.shape[1]))
    for group, rows in _group_rows(block, recipe):
        out[:, group] = np.column_stack(rows.slopes(mixtures))
    return out.reshape(-1)


def _split_pieces(table: ShardedTable, recipe: Recipe) -> dict[int, GroupRows]:
    """Return the rows of each group that are sums over several blocks."""
    if recipe.pieces is None or not recipe.pieces.cut_off.any():
        return {}
    found: dict[int, list[Sums]] = {}
    for answer in table.collect(_ends_of, recipe.pieces):
        for group, sums in answer.items():
            found.setdefault(group, []).append(sums)
    return {group: _summed(Sums.joined(parts), recipe, group) for group, parts in found.items()}


def _ends_of(block: Block, pieces: Pieces) -> dict[int, Sums]:
    """Return the sums of the pieces of each group that a block shares with others: at most its first and its last."""
    out = {}
    for group, window in windows(block):
        if pieces.cut_off[block.index, group] or pieces.open[block.index, group]:
            split = ~pieces.whole(block, group, pieces.cut(block, group, window)[0].size)
            out[group] = pieces.sums(block, group, window, np.flatnonzero(split))
    return out


def _sample(table: ShardedTable, recipe: Recipe, rows: int, seed: int) -> LevelRows | None:
    """Return a sample of the rows of a level, in memory: the rows that a table in memory would sample; None if it has all rows."""
    counts = table.group_rows if recipe.pieces is None else recipe.pieces.counts
    alive = np.array(table.collect(_alive_begun, recipe.pieces))
    usable, before = alive.sum(axis=0), np.cumsum(alive, axis=0) - alive
    sizes = table.reduce(_tokens, size=table.n_groups) if table.has_length else table.group_rows.astype(np.float64)
    picked = sampled_units(counts, sizes, usable, rows, seed)
    if all(some is None for some in picked):
        return None
    chosen = [np.arange(count) if some is None else some for some, count in zip(picked, usable.tolist(), strict=True)]
    found = table.collect(_picked, recipe, before, chosen)
    amounts = _amounts(table, recipe)
    groups = []
    for g, some in enumerate(picked):
        sums = Sums.joined([answer[g] for answer in found if g in answer])
        share = 1.0 if some is None else some.size / int(counts[g])
        tokens = None if recipe.name == "token" else sums.tokens
        c = _weights(sums, recipe, g)
        groups.append(scaled_rows(sums.loglik, c, tokens, float(amounts[g]), share, thread_count(recipe.threads)))
    return LevelRows(groups)


def _amounts(table: ShardedTable, recipe: Recipe) -> Vector:
    """Return the sum of the weights of all tokens of each group, (G,)."""
    own = recipe.constant is None and (table.has_weight or table.has_length)
    return table.reduce(_weight_sums, size=table.n_groups) if own else np.ones(table.n_groups)


def _weight_sums(block: Block) -> Vector:
    """Return the sum of the weights of each group in a block, times the lengths if it has them, (G,)."""
    weight, length = block.rows.weights, block.rows.vectors.get("length")
    return _of_groups(block, weight if length is None else weight * length)


def _alive_begun(block: Block, pieces: Pieces | None) -> Integers:
    """Return how many rows, or pieces that begin in the block, have a weight above 0 in each group, (G,)."""
    out = np.zeros(block.n_groups, dtype=np.int64)
    for group, window in windows(block):
        alive, begun_earlier = _alive(block, pieces, group, window)
        out[group] = alive.size - begun_earlier
    return out


def _alive(block: Block, pieces: Pieces | None, group: int, window: slice) -> tuple[Integers, bool]:
    """Return which rows or pieces of a group in a block have a weight above 0, and whether the first of them began in an earlier block."""
    weight = block.rows.weights[window]
    if pieces is None:
        return np.flatnonzero(weight > 0.0), False
    begins, _ = pieces.cut(block, group, window)
    alive = np.flatnonzero(weight[begins] > 0.0)
    return alive, bool(pieces.cut_off[block.index, group] and alive.size and alive[0] == 0)


def _picked(block: Block, recipe: Recipe, before: Integers, chosen: list[Integers]) -> dict[int, Sums]:
    """Return the rows or pieces of a block that a sample contains, by group; those without weight are not numbered."""
    out = {}
    for group, window in windows(block):
        alive, begun_earlier = _alive(block, recipe.pieces, group, window)
        first = int(before[block.index, group]) - begun_earlier
        low, high = np.searchsorted(chosen[group], [first, first + alive.size])
        numbers = chosen[group][low:high]
        if numbers.size:
            which = alive[numbers - first]
            if recipe.pieces is None:
                out[group] = _single(block, window.start + which, numbers)
            else:
                out[group] = recipe.pieces.sums(block, group, window, which)._replace(numbers=numbers)
    return out


def _single(block: Block, rows: Integers, numbers: Integers) -> Sums:
    """Return rows of a block as pieces of one row each."""
    weight, length = block.rows.weights[rows], block.rows.vectors.get("length")
    tokens = np.ones(rows.size) if length is None else length[rows].astype(np.float64)
    return Sums(numbers, numbers, block.loglik(rows), tokens, weight, weight)
