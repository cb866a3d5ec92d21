"""Some of the rows of a table, chosen at random with preference for rows on which the experts differ.

References
----------
Duffield, Lund and Thorup, "Priority sampling for estimation of arbitrary subset sums", JACM 54 (2007): rows of size s have the priority
s / u for a uniform u; those with the largest priorities are kept, in one pass, and count for the larger of their size and the threshold.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast.tables._blocks import Block
from mixfast.tables._sequences import windows
from mixfast.tables._sharded import ShardedTable
from mixfast.tables._table import ExpertTable

# Elements of one block of rows, and of the rows of a folder that are looked at.
_BLOCK, _POOL = 1 << 22, 1 << 25
# Added to the spread of a row's values, so that rows on which all experts agree may be chosen too.
_BASE = 1e-2
# Rows with probabilities of 0 that are kept whatever their weight, as a fraction of the rows of a group.
_HOLES = 0.1


class ChosenRows(NamedTuple):
    """Rows of one group: log-likelihoods (r, K), and the weights (r,) with which their sums estimate those of all rows."""

    loglik: NDArray[Any]
    weight: NDArray[np.float64]


class _Candidates(NamedTuple):
    loglik: NDArray[Any]
    weight: NDArray[np.float64]
    size: NDArray[np.float64]
    priority: NDArray[np.float64]
    must: NDArray[np.bool_]


def choose_rows(table: ExpertTable | ShardedTable, counts: NDArray[np.int64], *, seed: int = 0) -> list[ChosenRows]:
    """Choose at most ``counts[g]`` of the rows of each group g whose weight is not 0; all of them if there are no more.

    Parameters
    ----------
    table : ExpertTable or ShardedTable
        Of log-likelihoods. Of a large folder, a part of the rows is looked at.
    counts : (G,) int64
        Largest number of rows of each group.
    seed : int

    Returns
    -------
    list of G ChosenRows
        Sums with their weights are those of all rows on average.

    Notes
    -----
    For each domain that gives rows the probability 0, one such row is kept, so that a mixture of this domain alone has an infinite loss as well.
    """
    kept: list[_Candidates | None] = [None] * table.n_groups
    for group, block in _blocks(table, counts, seed):
        known = kept[group]
        # One more than is returned, whose priority is the threshold.
        kept[group] = block if known is None else _largest(_joined(known, block), int(counts[group]) + 1)
    return [_chosen(one, int(count), table.n_domains) for one, count in zip(kept, counts, strict=True)]


def _blocks(
    table: ExpertTable | ShardedTable, counts: NDArray[np.int64], seed: int
) -> Iterator[tuple[int, _Candidates]]:
    if isinstance(table, ShardedTable):
        pool = table.sample(_POOL // table.n_domains, kept=False)
        for found in pool.collect(_of_block, counts, seed):
            yield from found
        return
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // table.n_domains)
    for group, (first, last) in enumerate(pairwise(table.group_offsets.tolist())):
        for start in range(first, last, step):
            window = slice(start, min(start + step, last))
            near = table.weights_near(window)
            weight = np.full(window.stop - window.start, near) if np.ndim(near) == 0 else near
            yield group, _candidates(table.values[window], weight, int(counts[group]) + 1, rng)


def _of_block(block: Block, counts: NDArray[np.int64], seed: int) -> list[tuple[int, _Candidates]]:
    rng = np.random.default_rng((seed, block.index))
    values, weight = block.loglik(), block.rows.weights
    return [(g, _candidates(values[w], weight[w], int(counts[g]) + 1, rng)) for g, w in windows(block)]


def _candidates(values: NDArray[Any], weight: NDArray[np.float64], count: int, rng: np.random.Generator) -> _Candidates:
    """Return the rows of a block with the largest priorities, after those that are kept for their probabilities of 0."""
    depth = np.asarray(values, dtype=np.float64)
    depth = depth.max(axis=1, keepdims=True) - depth
    holes = ~np.isfinite(depth)
    spread = np.where(holes, 0.0, depth)
    spread = np.where(holes, spread.max(axis=1, keepdims=True) + 1.0, spread)
    size = weight * (spread.std(axis=1) + _BASE)
    priority = size / (1.0 - rng.random(size.size))
    must = _holed(holes & (weight > 0.0)[:, None], count)
    return _largest(_Candidates(values, weight, size, priority, must), count)


def _joined(one: _Candidates, other: _Candidates) -> _Candidates:
    rows = _Candidates(*map(np.concatenate, zip(one, other, strict=True)))
    holes = ~np.isfinite(rows.loglik) & rows.must[:, None]
    return rows._replace(must=_holed(holes, rows.weight.size // 2))


def _holed(holes: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Return which rows are kept for their probabilities of 0: one for each domain, and some of each set of domains, large sets first."""
    out = np.zeros(len(holes), dtype=bool)
    rows = np.flatnonzero(holes.any(axis=1))
    if not rows.size:
        return out
    patterns = np.packbits(holes[rows], axis=1)
    _, first = np.unique(patterns, axis=0, return_index=True)
    found = rows[first]
    order = np.argsort(-holes[found].sum(axis=1), kind="stable")
    single = [int(rows[np.argmax(column)]) for column in holes[rows].T if column.any()]
    out[single[: count // 2]] = True
    out[found[order][: int(_HOLES * count)]] = True
    return out


def _largest(rows: _Candidates, count: int) -> _Candidates:
    places = np.flatnonzero(rows.weight > 0.0)
    if places.size > count:
        priority = np.where(rows.must, np.inf, rows.priority)[places]
        order = np.argpartition(-priority, count - 1)[:count]
        places = np.sort(places[order])
    return _Candidates(*(np.ascontiguousarray(one[places]) for one in rows))


def _chosen(rows: _Candidates | None, count: int, width: int) -> ChosenRows:
    if rows is None:
        return ChosenRows(np.zeros((0, width)), np.zeros(0))
    if rows.weight.size <= count:
        return ChosenRows(rows.loglik, rows.weight)
    last = int(np.argmin(np.where(rows.must, np.inf, rows.priority)))
    others = np.arange(rows.weight.size) != last
    # A row that is kept for its probabilities of 0 counts for itself.
    stretch = np.where(rows.must, 1.0, np.maximum(rows.priority[last] / rows.size, 1.0))
    return ChosenRows(rows.loglik[others], (rows.weight * stretch)[others])
