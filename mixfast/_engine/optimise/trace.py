"""What a loop reports: a line for each step, and where it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from mixfast._engine.backend.arrays import Matrix, Vector

if TYPE_CHECKING:
    pass


class Step(NamedTuple):
    """One line of a trace."""

    rows: int  # rows looked at
    domains: int
    value: float
    gap: float
    seconds: float


@dataclass
class Minimum:
    """Where a minimisation stands."""

    w: Vector
    value: float
    gradient: Vector
    gap: float
    trace: list[Step]
    hessian: Matrix | None = None
    steps: int = 0
