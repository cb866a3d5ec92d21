"""Multipliers of a region's limits at a solution: the dual of the linear programme whose value is the Frank-Wolfe gap."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import device
from mixfast._engine.objectives.base import SquaredError, Vector
from mixfast._engine.optimise.newton import Minimum

if TYPE_CHECKING:
    from mixfast.region import Region
    from mixfast.solver._problem import Problem

# Reduced costs below this, of costs of 1, are rounding.
_LEVEL = 1e-12


class Multipliers(NamedTuple):
    """Multipliers of the limits of a region, all >= 0 and in nats per unit of share.

    At the optimum ``gradient + cap - floor + bound_rows' (bound_upper - bound_lower)`` is the same for every domain; a domain without
    a floor has the floor 0. The products of multipliers and slacks add up to the gap of the solution. A price that is infinite (of a
    share of 0 under a KL term, or of an expert that alone explains a row) is left out: 0.
    """

    cap: Vector
    floor: Vector
    bound_lower: Vector
    bound_upper: Vector


def multipliers(problem: Problem, minimum: Minimum, group_weight: Vector) -> Multipliers:
    """Non-negative multipliers that make the gradient level.

    One sweep of the rows where some domains are excluded, and one in float64 where the solve was in float32.
    """
    region = problem.region
    size = problem.table.n_domains
    low, high = (np.zeros(size), np.ones(size)) if region is None else (region.floor, region.cap)
    gradient = here = minimum.gradient
    if not problem.worst and (exact := problem.objective.precise()) is not problem.objective:
        gradient = here = exact.sums(minimum.w)[1]
    if problem.usable is not None:
        gradient = np.full(size, -math.inf)
        if problem.kl == 0.0:
            gradient = _everywhere(problem, problem.spread(minimum.w), group_weight)
        gradient[problem.usable] = here
    known = np.isfinite(gradient)
    # What is not finite belongs to domains that must stay at 0: any cost will do.
    cost = np.where(known, gradient, 0.0)
    high = np.where(known, high, low)
    if region is not None and region.bounds:
        held = known & (high > low) & (problem.spread(np.ones(minimum.w.size)) == 0.0)
        over, price = _under_bounds(cost, low, high, region, held)
    else:
        price = np.zeros(0)
        over = _level(cost, low, high) - cost
    over = np.where(known, over, 0.0)
    # A limit that is not there has no price: what rounding leaves of one goes.
    lower, upper = np.maximum(price, 0.0), np.maximum(-price, 0.0)
    if price.size and region is not None:
        lower[np.isneginf(region.bound_lower)] = 0.0
        upper[np.isposinf(region.bound_upper)] = 0.0
    return Multipliers(np.maximum(over, 0.0), np.maximum(-over, 0.0), lower, upper)


def _under_bounds(
    cost: Vector, low: Vector, high: Vector, region: Region, held: NDArray[np.bool_]
) -> tuple[Vector, Vector]:
    """How far each domain is below the level, (K,), and the prices of the group limits; these keep the domains `held` at 0."""
    from mixfast._engine.geometry import lp

    rows, limits = region.bound_rows, (region.bound_rows, region.bound_lower, region.bound_upper)
    # Without the held ones first: an expert that alone explains a row may cost so much that all other prices drown.
    level, price = lp.prices(cost, low, np.where(held, low, high), *limits)
    over = level + price @ rows - cost
    steep = float(over[held].max(initial=0.0))
    if steep > 0.0:
        # Every mixture is best for a cost of the held ones alone, so its prices change no share.
        alone = np.where(held, -over / steep, 0.0)
        rise, more = lp.prices(alone, low, high, *limits)
        change = rise + more @ rows - alone
        change[np.abs(change) < _LEVEL] = 0.0
        over = np.where(held, 0.0, over) + steep * change
        price = price + steep * more
    return over, price


def _level(gradient: Vector, low: Vector, high: Vector) -> float:
    """The gradient of the domain at which a greedy fill from the cheapest up ends, or between the two where one is just full."""
    from mixfast._engine.backend import core

    s = core.linear_min(gradient, low, high)
    below, above = gradient[s > low].max(initial=-math.inf), gradient[s < high].min(initial=math.inf)
    if math.isinf(below) and math.isinf(above):
        return float(gradient @ s)
    return float(below if math.isinf(above) else above if math.isinf(below) else 0.5 * (below + above))


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
