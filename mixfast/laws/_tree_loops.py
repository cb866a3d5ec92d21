"""Inner loops of boosted trees, compiled by Numba: leaves as bit sets, and the sum of many trees at many mixtures.

A tree of at most 64 leaves is evaluated without branches: every node with a false test removes the leaves to its left, and the
first remaining leaf is the one that is reached (QuickScorer; Lucchese et al., SIGIR 2015). Each node is evaluated for
a block of mixtures at once, which the compiler turns into vector instructions. Features are first replaced by the number of
thresholds of the forest below them; this loses nothing, because trees only compare features with thresholds.
Private: `_trees` imports this module only when needed, because it loads Numba.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from mixfast._engine.backend.compiled import compiled

# Codes of 17 features, leaf sets and sums for this many mixtures fit into a first-level cache of 32 KB.
BLOCK = 256


@intrinsic
def _first_bit(typing_context, bits):  # type: ignore[no-untyped-def]
    """Return the position of the lowest set bit of an unsigned integer, which must not be 0: one machine instruction."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], context.get_constant(types.boolean, True))

    return bits(bits), generate


@compiled()
def leaf_sets(split_start, left, right, masks, order):  # type: ignore[no-untyped-def]
    """Fill `masks` with the leaves that remain after a node's test is false, and `order` with each tree's leaves from left to right.

    Children below 0 are leaves, ``-1 - child``. Children that are nodes come after their parents.
    """
    one = masks.dtype.type(1)
    count = np.zeros(64, np.int64)
    first = np.zeros(64, np.int64)
    for tree in range(split_start.size - 1):
        base = split_start[tree]
        nodes = split_start[tree + 1] - base
        leaf_base = base + tree
        if nodes == 0:
            order[leaf_base] = 0
            continue
        for node in range(nodes - 1, -1, -1):
            a, b = left[base + node], right[base + node]
            count[node] = (1 if a < 0 else count[a]) + (1 if b < 0 else count[b])
        first[0] = 0
        for node in range(nodes):
            a, b = left[base + node], right[base + node]
            here = 1 if a < 0 else count[a]
            struck = ((one << masks.dtype.type(here)) - one) << masks.dtype.type(first[node])
            masks[base + node] = ~struck
            if a < 0:
                order[leaf_base + first[node]] = -1 - a
            else:
                first[a] = first[node]
            if b < 0:
                order[leaf_base + first[node] + here] = -1 - b
            else:
                first[b] = first[node] + here


@compiled()
def _codes_of(x, begin, count, grid, grid_start, codes):  # type: ignore[no-untyped-def]
    """Fill codes[feature, i] with the number of the feature's thresholds below x[begin + i, feature]."""
    for f in range(grid_start.size - 1):
        low, size = grid_start[f], grid_start[f + 1] - grid_start[f]
        for i in range(count):
            value = x[begin + i, f]
            at, step = 0, size
            while step > 0:
                half = step >> 1
                if grid[low + at + half] < value:
                    at += half + 1
                    step -= half + 1
                else:
                    step = half
            codes[f, i] = at


@compiled()
def evaluate(x, begin, end, grid, grid_start, feature, code, mask, node_start, leaf, leaf_start, metric_start, out):  # type: ignore[no-untyped-def]
    """Fill out[begin:end, metric] with the sums of each metric's trees, added in the order of the trees.

    `node_start` counts pairs of nodes: trees with an odd number of nodes get one more node, whose test is always true.
    """
    width = max(grid_start.size - 1, 1)
    codes = np.zeros((width, BLOCK), np.int32)
    alive = np.empty(BLOCK, mask.dtype)
    total = np.empty(BLOCK, np.float64)
    every = ~mask.dtype.type(0)
    for at in range(begin, end, BLOCK):
        count = min(BLOCK, end - at)
        _codes_of(x, at, count, grid, grid_start, codes)
        for metric in range(metric_start.size - 1):
            total[:] = 0.0
            for tree in range(metric_start[metric], metric_start[metric + 1]):
                alive[:] = every
                for node in range(node_start[tree], node_start[tree + 1], 2):
                    row_a, row_b = codes[feature[node]], codes[feature[node + 1]]
                    code_a, code_b = code[node], code[node + 1]
                    mask_a, mask_b = mask[node], mask[node + 1]
                    # Always the whole block, even beyond its last mixture: the compiler can unroll a constant number of steps.
                    for i in range(BLOCK):
                        kept_a = mask_a if row_a[i] > code_a else every
                        kept_b = mask_b if row_b[i] > code_b else every
                        alive[i] &= kept_a & kept_b
                leaves = leaf_start[tree]
                for i in range(BLOCK):
                    total[i] += leaf[leaves + np.int64(_first_bit(alive[i]))]
            for i in range(count):
                out[at + i, metric] = total[i]
