"""The result of the command solve."""

from __future__ import annotations

from typing import NamedTuple

from mixfast.solver import Bootstrap, Solution, is_limited


class Answer(NamedTuple):
    """A solution with its intervals and ranges, and whether the mixture was written to a file."""

    solution: Solution
    intervals: Bootstrap | None
    ranges: dict[str, tuple[float, float]] | None
    eps: float
    budget: int | None
    saved: bool = False

    @property
    def limited(self) -> bool:
        """Whether the region has any limit besides a prior."""
        return is_limited(self.solution)
