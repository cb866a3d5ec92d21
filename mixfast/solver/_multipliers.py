"""Multipliers of a region's limits at a solution: the dual of the linear programme whose value is the Frank-Wolfe gap."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mixfast._engine.backend import device
from mixfast._engine.backend.arrays import Vector
from mixfast._engine.geometry.prices import Multipliers, prices
from mixfast._engine.objectives.squared_error import SquaredError
from mixfast._engine.optimise.trace import Minimum
from mixfast.region import limits_over

if TYPE_CHECKING:
    from mixfast.solver._problem import Problem


def multipliers(problem: Problem, minimum: Minimum, group_weight: Vector) -> Multipliers:
    """Non-negative multipliers that make the gradient level.

    One sweep of the rows where some domains are excluded, and one in float64 where the solve was in float32.
    """
    gradient = here = minimum.gradient
    if not problem.worst and (exact := problem.objective.precise()) is not problem.objective:
        gradient = here = exact.sums(minimum.w)[1]
    if problem.usable is not None:
        gradient = np.full(problem.table.n_domains, -math.inf)
        if problem.kl == 0.0:
            gradient = _everywhere(problem, problem.spread(minimum.w), group_weight)
        gradient[problem.usable] = here
    usable = problem.spread(np.ones(minimum.w.size)) > 0.0
    return prices(gradient, limits_over(problem.where), usable)


def _everywhere(problem: Problem, w: Vector, group_weight: Vector) -> Vector:
    """Gradient of the loss over all domains of the table, those that may have no share included."""
    from mixfast import reference

    table = problem.table
    weight, scale = replace(problem, group_weight=group_weight)._row_weights()
    if table.kind == "mse":
        return SquaredError.from_table(table, weight, scale).sums(w)[1]
    value, gradient, _ = problem.cross_entropy(weight, scale, wide=True).sums(w)
    if math.isfinite(value):
        return gradient
    # A row whose best expert is excluded and further ahead than exp reaches.
    table = table.to("cpu")
    own = scale if weight is None else device.host(weight)
    if problem.wear is None:
        return reference.gradient(table.loglik, own, w)
    share, slope, _ = problem.wear.worth(w)
    return reference.gradient(table.loglik, own, share) * slope
