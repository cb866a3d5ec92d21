"""Add the answers of blocks in one fixed binary tree, so that a sum has the same bits for every number of ranks.

The leaves of the tree are the blocks of a table, in their order. Node i of level l is the sum of nodes 2i and 2i + 1 of the level below;
a node without a right child equals its left child. A rank adds the whole nodes inside its range of blocks; rank 0 adds these.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mixfast._engine.backend.arrays import Vector


class Node(NamedTuple):
    """A node of the tree: its level (0 for blocks), its place in this level, and its sum."""

    level: int
    place: int
    total: Vector


class Tree:
    """Sums of neighbouring blocks, as large as the blocks so far allow. Blocks may come in any order.

    Parameters
    ----------
    leaves : int
        Number of blocks of the whole table.
    """

    def __init__(self, leaves: int) -> None:
        self._leaves = leaves
        self._top = (leaves - 1).bit_length()
        self._found: dict[tuple[int, int], Vector] = {}

    @property
    def nodes(self) -> list[Node]:
        """The nodes so far, in the order of their blocks."""
        found = sorted(self._found.items(), key=lambda item: item[0][1] << item[0][0])
        return [Node(level, place, total) for (level, place), total in found]

    def add(self, level: int, place: int, total: Vector) -> None:
        """Add a node. Its array may be changed."""
        while level < self._top:
            if place % 2 or place + 1 <= (self._leaves - 1) >> level:
                other = self._found.pop((level, place ^ 1), None)
                if other is None:
                    break
                total += other  # a + b has the same bits as b + a
            level, place = level + 1, place >> 1
        self._found[level, place] = total

    def add_all(self, nodes: Iterable[Node]) -> None:
        """Add several nodes."""
        for node in nodes:
            self.add(*node)


def node_places(first: int, last: int, leaves: int) -> list[tuple[int, int]]:
    """Return level and place of the nodes that `Tree` holds after the blocks of a range."""
    found: list[tuple[int, int]] = []
    top = (leaves - 1).bit_length()
    at = first
    while at < last:
        level = 0
        # The largest node that begins here and does not end beyond the range; nodes at the end of the table may be incomplete.
        while level < top and at % (2 << level) == 0 and (at + (2 << level) <= last or last == leaves):
            level += 1
        found.append((level, at >> level))
        at += 1 << level
    return found
