"""What the command solve found, and how its reports write intervals."""

from __future__ import annotations

from dataclasses import dataclass

from mixfast.solver import Bootstrap, Solution

# Reports show at most this many lines of a table; domains without a share are left out first.
MOST_LINES = 40


@dataclass(frozen=True)
class Answer:
    """A solve, what was measured around it, and whether the mixture was written to a file."""

    solution: Solution
    intervals: Bootstrap | None
    ranges: dict[str, tuple[float, float]] | None
    eps: float
    budget: int | None
    saved: bool = False

    @property
    def limited(self) -> bool:
        """Whether the region has any limit, beside a prior."""
        return self.solution.region is not None and self.solution.region.limited


def span(ends: tuple[float, float]) -> str:
    low, high = ends
    return f"{100 * max(low, 0.0):.1f} - {100 * high:.1f}%"
