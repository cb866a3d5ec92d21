"""backend="reference": the same loop, with sums over rows in plain float64 numpy."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from mixfast import reference
from mixfast._engine.backend.arrays import Columns, Vector
from mixfast._engine.objectives.base import RowObjective, Sums
from mixfast._engine.objectives.worn import Worn
from mixfast._engine.optimise.working_set import minimise
from mixfast.errors import BackendError
from mixfast.solver._minimise import Found
from mixfast.solver._problem import Problem


class _ReferenceRows(RowObjective):
    """Cross-entropy over all rows by `reference.row_pass`; never samples."""

    def __init__(self, problem: Problem) -> None:
        values = problem.table.loglik.astype(np.float64)
        problem.table.check_unchanged()
        values = values if problem.usable is None else values[:, problem.usable]
        weight, scale = problem.rows.row_weights(problem.weights.share)
        self.rows, self.columns = values.shape
        self.scale, self.shift = scale, True
        self.offset = values.max(axis=1)
        self.prob = np.exp(values - self.offset[:, None])
        self.weight = np.full(self.rows, scale) if weight is None else weight
        self.total = problem.total_weight()

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        prob = self.prob if columns is None else self.prob[:, columns]
        value, gradient, curvature = reference.row_pass(prob, self.offset, self.weight, w)
        return float(value), gradient, np.ascontiguousarray(curvature) if hessian else None


def minimise_by_reference(problem: Problem) -> Found:
    """Minimise a weighted sum in plain numpy."""
    began = perf_counter()
    if problem.minimax:
        raise BackendError(
            'backend="reference" solves weighted objectives; for "worst" use mixfast.reference.solve_cvxpy'
        )
    objective = problem.objective
    if problem.table.kind == "ce":
        rows: RowObjective = _ReferenceRows(problem)
        wear = problem.rows.wear
        objective = problem.regularised(rows if wear is None else Worn(rows, wear.restrict(problem.usable)))
    minimum = minimise(objective, problem.limits, problem.first, tol=problem.tol, max_iter=problem.max_iter)
    return Found(minimum, problem.weights.share, perf_counter() - began, "reference (numpy)")
