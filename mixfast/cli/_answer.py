"""What the command solve found, and how its reports write intervals."""

from __future__ import annotations

from dataclasses import dataclass

from mixfast.region import Region
from mixfast.solver import Bootstrap, Solution
from mixfast.tables import ExpertTable

# A table of more lines than this hides what it shows; domains without a share go first.
MOST_LINES = 40


@dataclass(frozen=True)
class Answer:
    """A solve and what was measured around it."""

    table: ExpertTable
    region: Region | None
    objective: dict[str, float] | str | None
    kl: float
    eps: float
    solution: Solution
    intervals: Bootstrap | None
    ranges: dict[str, tuple[float, float]] | None
    budget: int | None
    saved: bool = False

    @property
    def limited(self) -> bool:
        """Whether the region has any limit, beside a prior."""
        where = self.region
        return where is not None and bool((where.cap < 1.0).any() or (where.floor > 0.0).any() or where.bounds)


def span(ends: tuple[float, float]) -> str:
    low, high = ends
    return f"{100 * max(low, 0.0):.1f} - {100 * high:.1f}%"
