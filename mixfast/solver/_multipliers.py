"""Multipliers of a region's limits at the minimum of a problem: the gradient over all domains, then the prices."""

from __future__ import annotations

import math

import numpy as np

from mixfast._engine.backend import device
from mixfast._engine.backend.arrays import Vector
from mixfast._engine.geometry.prices import Multipliers
from mixfast._engine.objectives import log_sum_exp
from mixfast._engine.objectives.base import Sum
from mixfast._engine.objectives.squared_error import SquaredError
from mixfast.region import limit_prices
from mixfast.solver._minimise import Found
from mixfast.solver._problem import Problem


def multipliers(problem: Problem, found: Found) -> Multipliers:
    """Find non-negative multipliers of the limits that make the gradient of the Lagrangian constant over the domains.

    Costs one sweep of the rows if some domains are excluded, and one in float64 if the solve was in float32.
    """
    minimum = found.minimum
    gradient = here = minimum.gradient
    if not problem.weights.worst and (exact := problem.objective.precise()) is not problem.objective:
        gradient = here = exact.sums(minimum.w)[1]
    if problem.usable is not None:
        gradient = np.full(problem.table.n_domains, -math.inf)
        if problem.kl == 0.0:
            gradient = _everywhere(problem, problem.reach.spread(minimum.w), found.group_weight)
        gradient[problem.usable] = here
    usable = problem.reach.spread(np.ones(minimum.w.size)) > 0.0
    return limit_prices(problem.where, gradient, usable)


def _everywhere(problem: Problem, w: Vector, group_weight: Vector) -> Vector:
    """Gradient of the loss over all domains of the table, including excluded ones."""
    table, rows = problem.table, problem.rows
    weight, scale = rows.row_weights(group_weight)
    if table.kind == "mse":
        return SquaredError.from_table(table, Sum(weight, scale)).sums(w)[1]
    value, gradient, _ = rows.cross_entropy(Sum(weight, scale, wide=True)).sums(w)
    if math.isfinite(value):
        return gradient
    # In some row, an excluded expert is so much better than the others that exp overflows.
    table = table.to("cpu")
    c = np.full(table.n_rows, scale) if weight is None else device.host(weight)
    if rows.wear is None:
        return log_sum_exp.gradient(table.loglik, c, w)
    share, slope, _ = rows.wear.worth(w)
    return log_sum_exp.gradient(table.loglik, c, share) * slope
