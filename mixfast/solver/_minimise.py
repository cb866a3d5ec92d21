"""From a checked problem to its minimum: which loop, over which rows, timed and named."""

from __future__ import annotations

from time import perf_counter
from typing import NamedTuple

from mixfast._engine.backend import device as devices
from mixfast._engine.backend.arrays import Vector
from mixfast._engine.backend.rows import isa
from mixfast._engine.objectives.kl import Kl
from mixfast._engine.optimise.trace import Minimum
from mixfast._engine.optimise.working_set import minimise
from mixfast.solver._problem import Problem


class Found(NamedTuple):
    """A minimum over the usable domains, the weights (G,) of the groups that prove it, and what computed it in how long."""

    minimum: Minimum
    group_weight: Vector
    seconds: float
    backend: str


def minimise_problem(problem: Problem) -> Found:
    """Minimise the weighted sum, or the largest group loss, where the rows are."""
    began = perf_counter()
    group_weight = problem.weights.share
    if problem.minimax:
        from mixfast._engine.objectives.pieces import GroupLosses
        from mixfast._engine.optimise.minimax import minimise_largest

        minimum, group_weight = minimise_largest(
            GroupLosses(problem.groups),
            problem.limits,
            Kl(problem.kl, problem.reach.prior),
            problem.first,
            weight=group_weight,
            tol=problem.tol,
            max_iter=problem.max_iter,
        )
    else:
        minimum = minimise(problem.objective, problem.limits, problem.first, tol=problem.tol, max_iter=problem.max_iter)
    return Found(minimum, group_weight, perf_counter() - began, _backend_name(problem))


def _backend_name(problem: Problem) -> str:
    rows = problem.rows
    if rows.device is None:
        return f"cpu ({isa()}, {rows.threads} threads)"
    streamed = "" if devices.is_tensor(rows.table.values) else ", streamed"
    return f"cuda ({devices.name(rows.device)}{streamed})"
