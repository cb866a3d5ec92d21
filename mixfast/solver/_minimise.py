"""From a checked problem to a solution: which minimiser, what its result is called, and the warning where it fell short."""

from __future__ import annotations

import warnings
from time import perf_counter

import numpy as np

from mixfast._engine.backend import device
from mixfast._engine.backend.arrays import Vector
from mixfast._engine.backend.rows import isa
from mixfast._engine.optimise.trace import Minimum
from mixfast._engine.optimise.working_set import minimise
from mixfast.errors import NotConvergedWarning
from mixfast.mixture import Mixture
from mixfast.solver._problem import Problem
from mixfast.solver._solution import Solution


def solve_problem(problem: Problem) -> Solution:
    began = perf_counter()
    if problem.worst and problem.table.n_groups > 1:
        from mixfast._engine.optimise.minimax import minimise_worst

        minimum, group_weight = minimise_worst(problem)
    else:
        tol = problem.tol
        minimum = minimise(problem.objective, problem.limits, problem.first, tol=tol, max_iter=problem.max_iter)
        group_weight = problem.group_weight
    return wrap(
        problem,
        minimum,
        group_weight,
        perf_counter() - began,
        _backend_name(problem),
    )


def _backend_name(problem: Problem) -> str:
    if problem.device is None:
        return f"cpu ({isa()}, {problem.threads} threads)"
    streamed = "" if device.is_tensor(problem.table.values) else ", streamed"
    return f"cuda ({device.name(problem.device)}{streamed})"


def wrap(problem: Problem, minimum: Minimum, group_weight: Vector, seconds: float, backend: str) -> Solution:
    """The solution over all domains, its status, and the multipliers of its limits."""
    status = "optimal"
    if not minimum.gap <= problem.tol * max(1.0, problem.total_weight()):
        status = "user_limit" if minimum.steps >= problem.max_iter else "optimal_inaccurate"
        warnings.warn(
            f"the solve ended ({status}) with a gap of {minimum.gap:.3g} nats, above the tolerance of {problem.tol:.3g}: "
            "the mixture is the best point found and its loss is within the gap of the optimum",
            NotConvergedWarning,
            stacklevel=4,
        )
    w = problem.spread(minimum.w)
    mixture = Mixture(problem.table.domains, w)
    loss = minimum.value
    if problem.kl > 0.0:
        has = w > 0.0
        loss -= problem.kl * float(w[has] @ np.log(w[has] / problem.prior[has]))
    return Solution(
        mixture,
        status,
        minimum.value,
        minimum.gap,
        loss,
        tuple(minimum.trace),
        seconds,
        backend,
        problem,
        group_weight,
        minimum,
    )
