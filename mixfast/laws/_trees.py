"""Forest: LightGBM's trees as flat arrays, evaluated at many mixtures without LightGBM."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from types import ModuleType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from mixfast._engine import backend
from mixfast._text.optional import needed
from mixfast.errors import BackendError
from mixfast.laws._protocol import State

MOST_LEAVES = 64
"""Maximum leaves of one tree: the bits of the largest machine integer."""

_Number = TypeVar("_Number", bound=np.generic)

# Types of the arrays; all others are int64.
_DTYPES = {
    **dict.fromkeys(("grid", "leaf"), ("float64",)),
    **dict.fromkeys(("feature", "code"), ("int32",)),
    "mask": ("uint64", "uint32"),
}
# A thousand trees take a few microseconds for a mixture: a thread is worth its start from this many mixtures on.
_ROWS_A_THREAD = 512


@dataclass(frozen=True)
class Forest:
    """Boosted trees of J metrics: `predict` sums the leaves that are reached in each metric's trees.

    Each feature has one grid of thresholds, `grid[grid_start[f]:grid_start[f + 1]]`, ascending. A node tests whether
    feature `feature` is above threshold number `code`; if so, the leaves outside `mask` are removed. The lowest
    remaining leaf is reached. Nodes and leaves of tree t start at `node_start[t]` and `leaf_start[t]`,
    trees of metric j at `metric_start[j]`. Trees with an odd number of nodes get one more node, which removes nothing.
    """

    grid: NDArray[np.float64]
    grid_start: NDArray[np.int64]
    feature: NDArray[np.int32]
    code: NDArray[np.int32]
    mask: NDArray[np.unsignedinteger[Any]]
    node_start: NDArray[np.int64]
    leaf: NDArray[np.float64]
    leaf_start: NDArray[np.int64]
    metric_start: NDArray[np.int64]

    @classmethod
    def of(cls, models: Sequence[str], features: int, units: Sequence[float]) -> Self:
        """Read models written by ``Booster.model_to_string``: one for each metric, in its unit, over the same features."""
        models_splits = [_splits_of(model, unit) for model, unit in zip(models, units, strict=True)]

        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(splits, name) for splits in models_splits])

        counts = joined("count")
        most = int(counts.max(initial=0)) + 1
        if most > MOST_LEAVES:
            raise ValueError(f"a tree has {most} leaves, expected at most {MOST_LEAVES}; fit with fewer leaves")
        split_start = _starts(counts)
        split_feature, threshold = joined("feature"), joined("threshold")
        grids = [np.unique(threshold[split_feature == f]) for f in range(features)]
        code = np.empty(threshold.size, dtype=np.int32)
        for f, grid in enumerate(grids):
            mine = split_feature == f
            code[mine] = np.searchsorted(grid, threshold[mine])
        mask: NDArray[np.unsignedinteger[Any]] = np.empty(threshold.size, dtype=np.uint32 if most <= 32 else np.uint64)
        order = np.empty(threshold.size + counts.size, dtype=np.int64)
        _loops().leaf_sets(split_start, joined("left"), joined("right"), mask, order)
        leaf_start = split_start + np.arange(split_start.size)
        # The new position of each node after one node was added to trees with an odd number of nodes.
        node_start = _starts(counts + counts % 2)
        place = np.arange(threshold.size) + np.repeat(node_start[:-1] - split_start[:-1], counts)
        padded = int(node_start[-1])
        return cls(
            grid=np.concatenate(grids),
            grid_start=_starts(grid.size for grid in grids),
            feature=_spread(split_feature.astype(np.int32), place, padded, 0),
            code=_spread(code, place, padded, np.iinfo(np.int32).max),
            mask=_spread(mask, place, padded, 0),
            node_start=node_start,
            leaf=joined("leaf")[order + np.repeat(leaf_start[:-1], np.diff(leaf_start))],
            leaf_start=leaf_start,
            metric_start=_starts(splits.count.size for splits in models_splits),
        )

    def predict(self, x: NDArray[np.float64], *, threads: int | None = None) -> NDArray[np.float64]:
        """Return sums (M, J) at inputs (M, F), bitwise equal to LightGBM's for any number of threads."""
        # Make the array writeable: Numba would compile everything again for read-only arrays.
        x = np.require(x, dtype=np.float64, requirements=["C", "W"])
        out = np.empty((x.shape[0], self.metric_start.size - 1), dtype=np.float64)
        arrays = [getattr(self, field.name) for field in fields(self)]
        workers = max(1, min(backend.thread_count(threads), x.shape[0] // _ROWS_A_THREAD))
        evaluate = _loops().evaluate
        cuts = [x.shape[0] * part // workers for part in range(workers + 1)]

        def part(ends: tuple[int, int]) -> None:
            evaluate(x, *ends, *arrays, out)

        if workers == 1:
            part((0, x.shape[0]))
        else:
            backend.each(part, pairwise(cuts), threads=workers)
        return out

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Build the forest from its arrays. Raise ValueError for arrays that `predict`, which checks no index, could not process."""
        forest = cls(**{field.name: np.array(state[field.name]) for field in fields(cls)})
        forest._check()
        return forest

    def _check(self) -> None:
        """Refuse arrays that do not describe trees."""
        for field in fields(self):
            array, kinds = getattr(self, field.name), _DTYPES.get(field.name, ("int64",))
            if array.ndim != 1 or array.dtype.name not in kinds:
                raise ValueError(
                    f"{field.name} of the trees is {array.dtype} {array.shape}, expected {kinds[0]}, one axis"
                )
        nodes, trees, features = self.feature.size, self.leaf_start.size - 1, self.grid_start.size - 1
        if self.code.size != nodes or self.mask.size != nodes or self.node_start.size != trees + 1:
            raise ValueError("the nodes of the trees differ in number from array to array")
        for name, end in (
            ("grid_start", self.grid.size),
            ("node_start", nodes),
            ("leaf_start", self.leaf.size),
            ("metric_start", trees),
        ):
            start = getattr(self, name)
            if not start.size or start[0] != 0 or start[-1] != end or (np.diff(start) < 0).any():
                raise ValueError(f"{name} of the trees has the wrong length, ends, or order")
        leaves = np.diff(self.leaf_start)
        if (np.diff(self.node_start) % 2).any() or (leaves < 1).any() or (leaves > self.mask.itemsize * 8).any():
            raise ValueError("a tree has an odd number of nodes, no leaf, or too many leaves")
        if nodes and not (self.feature.min() >= 0 and self.feature.max() < features):
            raise ValueError("a node of the trees tests a feature that does not exist")
        # The last leaf lies to the left of no node, so a valid mask never removes it, and every input reaches a leaf of its tree.
        last = self.mask.dtype.type(1) << np.repeat(leaves - 1, np.diff(self.node_start)).astype(self.mask.dtype)
        fails = self.code < np.diff(self.grid_start)[self.feature]  # added nodes never remove leaves
        if (fails & (self.mask & last == 0)).any():
            raise ValueError("a node of the trees removes the last leaf")

    def state(self) -> State:
        """Return the arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class _Splits:
    """The trees of one model, stored one after the other; children below 0 are leaves, ``-1 - child``."""

    count: NDArray[np.int64]  # splits of each tree; its leaves are one more
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    leaf: NDArray[np.float64]


def _splits_of(model: str, unit: float) -> _Splits:
    """Parse LightGBM's text format (version 4): for each tree a block `Tree=i` of lines `key=value`. Multiply leaves by ``unit``."""
    head, *blocks = model.split("\nTree=")
    if "\nversion=v4" not in head:
        raise ValueError("the model text is not in LightGBM's format v4; install lightgbm>=4.3,<5")
    # Other sections follow after the last tree and an empty line.
    trees = [
        dict(line.split("=", 1) for line in block.split("\n\n", 1)[0].split("\n")[1:] if "=" in line)
        for block in blocks
    ]
    if any(tree.get("num_cat", "0") != "0" or tree.get("is_linear", "0") != "0" for tree in trees):
        raise ValueError(
            "the model has categorical splits or linear leaves; expected numeric splits and constant leaves"
        )

    def numbers(key: str) -> NDArray[np.float64]:
        # Parse all trees at once: one numpy call costs as much as parsing a few hundred numbers.
        return np.fromstring(" ".join(tree.get(key, "") for tree in trees), dtype=np.float64, sep=" ")

    return _Splits(
        count=np.array([int(tree["num_leaves"]) - 1 for tree in trees], dtype=np.int64),
        feature=numbers("split_feature").astype(np.int64),
        threshold=numbers("threshold"),
        left=numbers("left_child").astype(np.int64),
        right=numbers("right_child").astype(np.int64),
        leaf=unit * numbers("leaf_value"),
    )


def _starts(sizes: Iterable[int] | NDArray[np.generic]) -> NDArray[np.int64]:
    """Return where consecutive parts of these sizes begin, and where the last ends."""
    return np.concatenate([[0], np.cumsum(np.fromiter(sizes, dtype=np.int64))]).astype(np.int64)


def _spread(values: NDArray[_Number], place: NDArray[np.int64], size: int, fill: int) -> NDArray[_Number]:
    out = np.full(size, fill, dtype=values.dtype)
    out[place] = values
    return out


def _loops() -> ModuleType:
    """Return the compiled loops, or raise an error that says how to install Numba."""
    with needed("evaluating boosted trees", "Numba", "mixfast[laws]", BackendError):
        from mixfast.laws import _tree_loops
    return _tree_loops
