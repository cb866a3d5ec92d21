"""backend="reference": the same loop over an oracle in plain float64 numpy."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from mixfast import reference
from mixfast._engine.backend.arrays import Columns, Vector
from mixfast._engine.objectives.base import RowObjective, Sums
from mixfast._engine.optimise.trace import Minimum
from mixfast._engine.optimise.working_set import minimise
from mixfast.errors import BackendError
from mixfast.solver._problem import Problem


class _Rows(RowObjective):
    """Cross-entropy over all rows by `reference.row_pass`; never samples."""

    def __init__(self, problem: Problem) -> None:
        values = problem.table.loglik.astype(np.float64)
        values = values if problem.usable is None else values[:, problem.usable]
        weight, scale = problem._row_weights()
        self.rows, self.columns = values.shape
        self.scale, self.shift = scale, True
        self.offset = values.max(axis=1)
        self.prob = np.exp(values - self.offset[:, None])
        self.weight = np.full(self.rows, scale) if weight is None else weight

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        prob = self.prob if columns is None else self.prob[:, columns]
        value, gradient, curvature = reference.row_pass(prob, self.offset, self.weight, w)
        return float(value), gradient, np.ascontiguousarray(curvature) if hessian else None


def solve_reference(problem: Problem) -> tuple[Minimum, Vector, float]:
    """Minimum, group weights and seconds."""
    began = perf_counter()
    if problem.worst and problem.table.n_groups > 1:
        raise BackendError(
            'backend="reference" solves weighted objectives; for "worst" use mixfast.reference.solve_cvxpy'
        )
    objective = (
        problem.objective
        if problem.table.kind == "mse"
        else problem.regularised(problem.worn(_Rows(problem), problem.usable))
    )
    minimum = minimise(objective, problem.limits, problem.first, tol=problem.tol, max_iter=problem.max_iter)
    return minimum, problem.group_weight, perf_counter() - began
