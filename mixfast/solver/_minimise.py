"""Choose the loop for a checked problem, run it, and record the time and the backend."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from time import perf_counter
from typing import NamedTuple

import numpy as np

from mixfast._engine.backend import device as devices
from mixfast._engine.backend import thread_count
from mixfast._engine.backend.arrays import Vector
from mixfast._engine.backend.rows import isa
from mixfast._engine.objectives.kl import Kl
from mixfast._engine.objectives.sharded_rows import ShardedRows
from mixfast._engine.optimise.trace import Minimum
from mixfast._engine.optimise.working_set import minimise
from mixfast._text.names import counted
from mixfast.mixture import Mixture
from mixfast.solver._problem import Problem

# Largest error of the sum of shares that leaves the loss as it is.
_ROUNDED = 1e-12


class Found(NamedTuple):
    """A minimum over the usable domains, the weights (G,) of the groups in its certificate, the seconds it took, and the backend."""

    minimum: Minimum
    group_weight: Vector
    seconds: float
    backend: str


def minimise_problem(problem: Problem) -> Found:
    """Minimise the weighted sum of the group losses, or the largest of them, on the device that holds the rows."""
    began = perf_counter()
    group_weight = problem.weights.share
    if problem.minimax:
        from mixfast._engine.optimise.minimax import minimise_largest

        minimum, group_weight = minimise_largest(
            problem.pieces,
            problem.limits,
            Kl(problem.kl, problem.reach.prior),
            problem.first,
            weight=group_weight,
            tol=problem.tol,
            max_iter=problem.max_iter,
        )
        minimum = _as_written(problem, minimum, group_weight)
    else:
        minimum = minimise(
            problem.objective,
            problem.limits,
            problem.first,
            tol=problem.tol,
            max_iter=problem.max_iter,
            given=problem.given,
        )
        minimum = _as_written(problem, minimum, None)
    return Found(minimum, group_weight, perf_counter() - began, backend_name(problem))


def _as_written(problem: Problem, minimum: Minimum, group_weight: Vector | None) -> Minimum:
    """Evaluate the minimum again at the shares that its `Mixture` holds, whose sum is exactly 1.

    Under group limits, the rounding of a share or of the sum of the shares may change the objective by more than the tolerance. Without them,
    the sum of the shares may be off by more than rounding only if the curvatures span many orders of magnitude.
    """
    error = abs(math.fsum(minimum.w.tolist()) - 1.0)
    if error == 0.0 or (error <= _ROUNDED and problem.limits.groups is None and problem.table.kind == "ce"):
        return minimum
    w = problem.reach.restrict(Mixture(problem.table.domains, problem.reach.spread(minimum.w)).weights)
    if np.array_equal(w, minimum.w):
        return minimum
    if group_weight is None:
        value, gradient, _ = problem.objective.precise().sums(w)
        spread = 0.0
    else:
        found = problem.pieces.at(w, curved=False)
        cost, slope = Kl(problem.kl, problem.reach.prior).at(w)
        value, gradient = float(found.values.max()) + cost, group_weight @ found.gradients + slope
        spread = max(float(found.values.max() - group_weight @ found.values), 0.0)
    gap = spread + problem.limits.gap(gradient, w)
    return replace(minimum, w=w, value=value, gradient=gradient, gap=gap)


def backend_name(problem: Problem) -> str:
    rows = problem.rows
    if isinstance(rows, ShardedRows):
        team = rows.table.team
        threads = thread_count(rows.given_threads)
        ranks = "" if team.alone else f"{team.size} ranks, "
        each = "" if team.alone else " each"
        return f"cuda ({ranks}streamed)" if rows.cuda else f"cpu ({isa()}, {ranks}{counted(threads, 'thread')}{each})"
    if rows.device is None:
        return _cpu(rows.threads)
    streamed = "" if devices.is_tensor(rows.table.values) else ", streamed"
    return f"cuda ({devices.name(rows.device)}{streamed})"


@lru_cache
def _cpu(threads: int) -> str:
    return f"cpu ({isa()}, {counted(threads, 'thread')})"
