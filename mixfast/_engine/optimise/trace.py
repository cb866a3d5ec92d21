"""What a loop reports: a line for each step, and where it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

from mixfast._engine.backend.arrays import Matrix, Vector


class Step(NamedTuple):
    """One line of a trace."""

    rows: int  # evaluated
    domains: int
    value: float
    gap: float
    seconds: float  # since the loop began


@dataclass
class Trace:
    """The steps of a loop so far, timed from when the trace was made."""

    steps: list[Step] = field(default_factory=list)
    began: float = field(default_factory=perf_counter)

    def add(self, rows: int, domains: int, value: float, gap: float) -> None:
        """Note a step that has just ended."""
        self.steps.append(Step(rows, domains, value, gap, perf_counter() - self.began))


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
