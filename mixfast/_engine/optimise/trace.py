"""What a loop returns: one line for each step, and the final point."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.progress import now


class Step(NamedTuple):
    """One line of a trace."""

    rows: int  # evaluated
    domains: int
    value: float
    gap: float
    seconds: float  # since the loop began


@dataclass
class Trace:
    """The steps of a loop so far; times are relative to the creation of the trace."""

    steps: list[Step] = field(default_factory=list)
    began: float = field(default_factory=perf_counter)
    sweeps: int = 0  # of all rows, by the loop for very many rows

    def add(self, rows: int, domains: int, value: float, gap: float) -> None:
        """Add a step that has just ended."""
        self.steps.append(Step(rows, domains, value, gap, perf_counter() - self.began))
        now("step {}, gap {:.1e}", len(self.steps), gap)

    def sweep(self, rows: int, domains: int, value: float, gap: float, *, nbytes: int, seconds: float) -> None:
        """Add a sweep of all rows that read so many bytes in so many seconds."""
        self.steps.append(Step(rows, domains, value, gap, perf_counter() - self.began))
        self.sweeps += 1
        speed = nbytes / max(seconds, 1e-9) / 1e9
        now("sweep {}, {:,} rows, {:.3g} GB/s, gap {:.1e}", self.sweeps, rows, speed, gap)


@dataclass
class Minimum:
    """The result of a minimisation so far."""

    w: Vector
    value: float
    gradient: Vector
    gap: float
    trace: list[Step]
    hessian: Matrix | None = None
    steps: int = 0
