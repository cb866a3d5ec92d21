"""The rows behind ensemble features: an ExpertTable at token, block or sequence level, in full or sampled, with error bars.

One sum stands for all levels: ``sum_i c_i * -log(sum_k w_k exp(l_ik))``. At token level a row is a token. By the chain rule the
loss of a sequence whose tokens are mixed with weights that follow the experts' posterior, ``w_k|<t = w_k exp(sum_{s<t} l_sk) / ...``,
is the loss of one row of summed log-likelihoods. So the posterior is never computed token by token: the tokens of each sequence are
summed once, which also leaves fewer rows.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import device
from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.objectives import log_sum_exp
from mixfast._engine.objectives.base import RowObjective, Sum
from mixfast._engine.objectives.rows import TableRows
from mixfast._text.names import listing, shown
from mixfast.errors import TableError
from mixfast.tables import ExpertTable, ShardedTable, given

# Elements of one block in numpy, so that it fits into the cache.
_BLOCK = 1 << 17
# Smallest number of sampled units of a group; with fewer, the standard error is not reliable.
_FEWEST = 8


@dataclass(frozen=True, eq=False)
class Level:
    """A table at one level: its rows, and the number of tokens in each (None: one)."""

    name: str
    table: ExpertTable
    tokens: Vector | None = None


@dataclass(frozen=True, eq=False)
class GroupRows:
    """The rows of one group at one level: n rows, weights c (None: all equal `scale`), and their fraction of the group's rows."""

    objective: RowObjective
    # An array, or a tensor on the device of the table, as are the weights.
    loglik: Any
    weight: Any
    scale: float
    tokens: Vector | None
    share: float
    # The columns that the objective uses, in its order; None for all.
    columns: Columns | None = None

    @property
    def c(self) -> Vector:
        """Weight of each row, (n,)."""
        return np.full(self.loglik.shape[0], self.scale) if self.weight is None else device.host(self.weight)

    def losses(self, mixtures: Matrix) -> Vector:
        """Losses (M,) of mixtures (M, K)."""
        return self.objective.losses(mixtures)

    def slopes(self, mixtures: Matrix) -> tuple[Vector, Matrix]:
        """Losses (M,) and their gradients (M, K)."""
        values, gradients = np.empty(mixtures.shape[0]), np.empty(mixtures.shape)
        for m, mixture in enumerate(mixtures):
            with np.errstate(all="ignore"):
                values[m], gradients[m], _ = self.objective.sums(np.ascontiguousarray(mixture))
            if not (np.isfinite(values[m]) and np.isfinite(gradients[m]).all()):
                # The probability of some row underflows in the sweep: compute again by log-sum-exp.
                loglik = device.host(self.loglik)
                loglik = loglik if self.columns is None else loglik[:, self.columns]
                values[m] = log_sum_exp.loss(loglik, self.c, mixture)
                gradients[m] = log_sum_exp.gradient(loglik, self.c, mixture)
        return values, gradients

    def errors(self, mixtures: Matrix, values: Vector) -> Vector:
        """Return standard errors (M,) of sampled losses `values` as estimates of those of all rows; 0 if all rows are used.

        A loss is a ratio, sum c l / sum c t with t tokens, so its error comes from the spread of c (l - loss t). A sample without
        replacement that contains a fraction f of the rows is as accurate as one with replacement that is 1 / (1 - f) times as
        large. Computed in float32, which is accurate enough for an error.
        """
        if self.share >= 1.0:
            return np.zeros(mixtures.shape[0])
        n, c = self.loglik.shape[0], self.c
        tokens = np.ones(n) if self.tokens is None else self.tokens
        mean = values / float(c @ tokens)
        scatter = np.zeros(mixtures.shape[0])
        step = max(1, _BLOCK // mixtures.shape[0])
        for start in range(0, n, step):
            part = slice(start, start + step)
            apart = _row_losses(device.host(self.loglik[part]), mixtures)
            apart -= np.outer(tokens[part].astype(np.float32), mean.astype(np.float32))
            np.square(apart, out=apart)
            scatter += ((n * c[part]) ** 2).astype(np.float32) @ apart
        return np.sqrt(scatter * (1.0 - self.share) / n / max(n - 1, 1))


@dataclass(frozen=True, eq=False)
class LevelRows:
    """The rows of every group at one level, in memory."""

    groups: list[GroupRows]

    def losses(self, mixtures: Matrix) -> Matrix:
        """Losses (M, G) of mixtures (M, K)."""
        return np.stack([group.losses(mixtures) for group in self.groups], axis=1)

    def slopes(self, mixtures: Matrix) -> tuple[Matrix, NDArray[np.float64]]:
        """Losses (M, G) and their gradients (M, G, K)."""
        found = [group.slopes(mixtures) for group in self.groups]
        return np.stack([value for value, _ in found], axis=1), np.stack([slope for _, slope in found], axis=1)

    def errors(self, mixtures: Matrix, values: Matrix) -> Matrix:
        """Return standard errors (M, G) of the losses `values` (M, G) of sampled rows; 0 if all rows are used."""
        return np.stack([group.errors(mixtures, values[:, g]) for g, group in enumerate(self.groups)], axis=1)


def level_of(table: ExpertTable, name: str) -> Level:
    """Return the table at a level: "token", "sequence", "posterior" or "block:<tokens>"."""
    block = checked_level(table, name)
    if name == "token":
        return Level(name, table)
    if table.length is not None:
        if name == "sequence":
            return Level(name, table, table.length.astype(np.float64))
        tokens = table.length.astype(np.float64)
        weight = 1.0 / np.repeat(np.add.reduceat(tokens, table.group_offsets[:-1]), np.diff(table.group_offsets))
        return Level(name, _like(table, table.loglik, weight, table.group), tokens)
    return _summed(table, name, block)


def checked_level(table: ExpertTable | ShardedTable, name: str) -> int | None:
    """Raise unless a table has what a level needs. Return the tokens of a block, None for other levels."""
    block, known = _block_size(name), given(table)
    weighted = "weight" in known
    if table.kind != "ce":
        raise TableError(
            f"ensemble features need a table of log-likelihoods; this table holds predictions ({shown(table)})"
        )
    if name == "token":
        if "length" in known:
            raise TableError(
                'level "token" needs rows that are tokens, but the rows of this table have lengths, so they are sequences: '
                'use levels=("sequence",) or ("posterior",), or give the token-level table'
            )
    elif "length" in known:
        if block is not None or (name == "posterior" and weighted):
            raise TableError(
                f'level "{name}" needs token rows without weights of their own; this table holds whole sequences'
                + (" with weights" if weighted else "")
            )
    elif "sequence" not in known:
        raise TableError(
            f'level "{name}" needs to know the sequence of each row: give sequence= to ExpertTable.from_loglik (tokens), '
            "or length= where rows are whole sequences"
        )
    elif name == "sequence" and weighted:
        raise TableError(
            'level "sequence" counts every sequence alike, but this table has weights of its own: use "posterior", '
            "which keeps them, or leave the weights out"
        )
    return block


def _block_size(name: str) -> int | None:
    """Return the number of tokens of a block; None for the other levels."""
    if name in ("token", "sequence", "posterior"):
        return None
    head, _, size = name.partition(":")
    if head == "block" and size.isdigit() and int(size) > 0:
        return int(size)
    raise ValueError(
        f'level is {shown(name)}, expected "token", "sequence", "posterior" or "block:<tokens>", such as "block:32"'
    )


def _summed(table: ExpertTable, name: str, block: int | None) -> Level:
    """Return a level whose rows are sums over the tokens of each sequence or block, in the order of the table."""
    table = table.to("cpu")  # once; the sums have far fewer rows
    group = np.repeat(np.arange(table.n_groups), np.diff(table.group_offsets))
    sequence = np.asarray(table.sequence)
    values, c = table.loglik, None if table.weight is None else table.row_weight
    fresh = _starts(group, sequence)
    if np.unique(np.stack([group[fresh], sequence[fresh].astype(np.int64)]), axis=1).shape[1] < fresh.size:
        order = np.lexsort((sequence, group))  # stable: tokens keep their order
        values, group, sequence = values[order], group[order], sequence[order]
        c = None if c is None else c[order]
        fresh = _starts(group, sequence)
    if block is not None:
        position = np.arange(group.size) - np.repeat(fresh, np.diff(np.append(fresh, group.size)))
        fresh = np.flatnonzero(position % block == 0)
    tokens = np.diff(np.append(fresh, group.size)).astype(np.float64)
    summed = np.add.reduceat(values, fresh, axis=0, dtype=np.float64)
    of_row = group[fresh]
    if name == "sequence":
        weight = 1.0 / (np.bincount(of_row)[of_row] * tokens)
    elif c is None:
        weight = 1.0 / np.diff(table.group_offsets)[of_row]
    else:
        weight = c[fresh]
        mixed = np.flatnonzero(np.maximum.reduceat(c, fresh) > np.minimum.reduceat(c, fresh))
        if mixed.size:
            raise TableError(unequal_weights(name, np.unique(sequence[fresh[mixed]]).tolist()))
    dead = np.flatnonzero(np.isneginf(summed.max(axis=1)) & (weight > 0.0))
    if dead.size:
        raise TableError(impossible(name, np.unique(sequence[fresh[dead]]).tolist()))
    return Level(name, _like(table, summed, weight, None if table.group is None else of_row), tokens)


def unequal_weights(name: str, sequences: list[int]) -> str:
    """Return the message about sequences whose rows have different weights."""
    return f'level "{name}" needs equal weights of the rows of a sequence; the weights differ in sequences {listing(sequences)}'


def impossible(name: str, sequences: list[int]) -> str:
    """Return the message about sequences with probability 0."""
    return (
        f'level "{name}": no expert gives a probability above 0 to all tokens of these sequences, so their loss is infinite: '
        f"{listing(sequences)}; leave them out, or use the token level"
    )


def _starts(group: NDArray[Any], sequence: NDArray[Any]) -> NDArray[np.int64]:
    """Return the rows at which a stretch of rows with the same group and sequence begins."""
    change = (group[1:] != group[:-1]) | (sequence[1:] != sequence[:-1])
    return np.concatenate(([0], np.flatnonzero(change) + 1))


def _like(table: ExpertTable, loglik: NDArray[Any], weight: Vector, group: NDArray[Any] | None) -> ExpertTable:
    """Return a table of other rows with the names of this one."""
    names = None if group is None else dict(enumerate(table.group_names))
    return unwarned(loglik, domains=table.domains, weight=weight, group=group, group_names=names)


def unwarned(loglik: NDArray[Any], **facts: Any) -> ExpertTable:
    """Build a table from the rows of another one, which was checked, with warnings, when it was built."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ExpertTable.from_loglik(loglik, **facts)


def rows_of(level: Level, picked: list[NDArray[np.int64] | None], threads: int) -> LevelRows:
    """Return the rows of every group of a level; `picked` are the rows of each group to use, None for all."""
    whole = TableRows.of(level.table, threads=threads)
    out = []
    for g, chosen in enumerate(picked):
        window = slice(*(int(end) for end in level.table.group_offsets[g : g + 2]))
        weight, scale = whole.window_weights(window)
        tokens = None if level.tokens is None else level.tokens[window]
        if chosen is None:
            objective = whole.cross_entropy(Sum(weight, scale, window=window))
            out.append(GroupRows(objective, level.table.loglik[window], weight, scale, tokens, 1.0))
            continue
        size = window.stop - window.start
        every = np.full(size, scale) if weight is None else device.host(weight)
        amount = float((every if tokens is None else every * tokens).sum())
        loglik = level.table.loglik[window.start + chosen]
        kept = None if tokens is None else tokens[chosen]
        out.append(scaled_rows(loglik, every[chosen], kept, amount, chosen.size / size, threads))
    return LevelRows(out)


def scaled_rows(
    loglik: NDArray[Any], c: Vector, tokens: Vector | None, amount: float, share: float, threads: int
) -> GroupRows:
    """Return some rows of a group; their weights c are scaled so that the weights of their tokens sum to `amount`, that of the group."""
    return plain_rows(loglik, c * (amount / float((c if tokens is None else c * tokens).sum())), tokens, share, threads)


def plain_rows(loglik: NDArray[Any], c: Vector, tokens: Vector | None, share: float, threads: int) -> GroupRows:
    """Return rows of a group, with these weights c."""
    part = unwarned(loglik)  # its weights and names are not used
    rest = None if c.min() == c.max() else c
    near = device.weights(rest, part.values.device) if device.is_tensor(part.values) else rest
    objective = TableRows.of(part, threads=threads).cross_entropy(Sum(near, float(c.mean())))
    return GroupRows(objective, part.loglik, rest, float(c.mean()), tokens, share)


def sample(level: Level, rows: int | None, seed: int) -> list[NDArray[np.int64] | None]:
    """Return the rows to use of each group of a level in memory, None for all; see `sampled_units`."""
    table, offsets = level.table, level.table.group_offsets
    if rows is None:
        return [None] * table.n_groups
    tokens = np.ones(table.n_rows) if level.tokens is None else level.tokens
    sizes = np.add.reduceat(tokens, offsets[:-1])
    alive = None
    if table.uniform_weight is None:
        weight = table.row_weight
        alive = [np.flatnonzero(weight[first:last] > 0.0) for first, last in pairwise(offsets.tolist())]
    counts = np.diff(offsets)
    usable = counts if alive is None else np.array([which.size for which in alive])
    found = sampled_units(counts, sizes, usable, rows, seed)
    return [chosen if chosen is None or alive is None else alive[g][chosen] for g, chosen in enumerate(found)]


def sampled_units(
    counts: NDArray[np.int64], sizes: Vector, usable: NDArray[np.int64], rows: int, seed: int
) -> list[NDArray[np.int64] | None]:
    """Sample about `rows` tokens in all, divided evenly among the groups that have enough of them.

    They are divided evenly because each group is a feature that needs the same precision.

    Parameters
    ----------
    counts, sizes, usable : (G,)
        Units of each group, their tokens, and the number of units with a weight above 0.

    Returns
    -------
    list of (m,) int64 or None
        Ascending numbers of the sampled units among the usable ones of each group; None for all.
    """
    if rows < 1:
        raise ValueError(f"rows is {rows}, expected how many rows of the table to use, at least 1")
    generator, left = np.random.default_rng(seed), float(rows)
    out: list[NDArray[np.int64] | None] = [None] * counts.size
    for rank, g in enumerate(np.argsort(sizes, kind="stable")):
        fair = left / (counts.size - rank)
        units = min(int(counts[g]), max(_FEWEST, round(fair * counts[g] / sizes[g])))
        left = max(0.0, left - units * sizes[g] / counts[g])
        if units < usable[g]:
            out[g] = np.sort(generator.choice(int(usable[g]), size=units, replace=False))
    return out


def _row_losses(loglik: NDArray[Any], mixtures: Matrix) -> NDArray[np.float32]:
    """Return -log(sum_k w_k exp(l_ik)), (n, M), in float32 precision."""
    loglik = loglik.astype(np.result_type(loglik, np.float32), copy=False)
    top = loglik.max(axis=1, keepdims=True)
    out = np.exp(loglik - top).astype(np.float32, copy=False) @ mixtures.T.astype(np.float32)
    lost = np.flatnonzero((out == 0.0).any(axis=0))
    with np.errstate(divide="ignore"):
        np.log(out, out=out)
    np.subtract(-top, out, out=out, casting="same_kind")
    for m in lost:
        out[:, m] = -log_sum_exp.log_mixed(loglik, mixtures[m])
    return out
