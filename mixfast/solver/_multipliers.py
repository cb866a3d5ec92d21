"""Multipliers of a region's limits at the minimum of a problem: the gradient over all domains, then the prices."""

from __future__ import annotations

import math

import numpy as np

from mixfast._engine.geometry.prices import Multipliers
from mixfast.region import limit_prices
from mixfast.solver._minimise import Found
from mixfast.solver._problem import Problem


def multipliers(problem: Problem, found: Found) -> Multipliers:
    """Find non-negative multipliers of the limits that make the gradient of the Lagrangian constant over the domains.

    Costs one sweep of the rows if some domains are excluded, and one in float64 if the solve was in float32, except for very many rows.
    """
    minimum = found.minimum
    gradient = here = minimum.gradient
    # With a guide, rounding errors were kept below the tolerance.
    if not problem.weights.worst and problem.objective.guide is None:
        exact = problem.objective.precise()
        if exact is not problem.objective:
            gradient = here = exact.sums(minimum.w)[1]
    if problem.usable is not None:
        gradient = np.full(problem.table.n_domains, -math.inf)
        if problem.kl == 0.0:
            gradient = problem.rows.gradient_everywhere(problem.reach.spread(minimum.w), found.group_weight)
        gradient[problem.usable] = here
    usable = problem.reach.spread(np.ones(minimum.w.size)) > 0.0
    return limit_prices(problem.where, gradient, usable)
