"""Multipliers of a region's limits: the dual of the linear program whose value is the Frank-Wolfe gap."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Vector
from mixfast._engine.geometry import lp
from mixfast._engine.geometry.limits import GroupLimits, Limits

# Prices are computed for costs scaled to 1; smaller prices are rounding errors.
_LEVEL = 1e-12


class Multipliers(NamedTuple):
    """Multipliers of the limits of a region, all >= 0 and in units of the objective per unit of share.

    At the optimum ``gradient + cap - floor + bound_rows' (bound_upper - bound_lower)`` is the same for every domain; a domain without
    a floor has the floor 0. The products of multipliers and slacks add up to the gap of the solution. Infinite prices (of a
    share of 0 under a KL term, or of an expert that alone explains a row) are replaced by 0.
    """

    cap: Vector
    floor: Vector
    bound_lower: Vector
    bound_upper: Vector


def prices(gradient: Vector, limits: Limits, usable: NDArray[np.bool_]) -> Multipliers:
    """Compute the multipliers of limits over all K domains at an optimum.

    Parameters
    ----------
    gradient : (K,)
        Gradient of the objective at the optimum; -inf or nan where it is undefined.
    limits : Limits
        Limits over all domains.
    usable : (K,) bool
        Domains that may have a share.
    """
    known = np.isfinite(gradient)
    # Entries that are not finite belong to domains that must stay at 0, so any cost can be used for them.
    cost = np.where(known, gradient, 0.0)
    low, high = limits.low, np.where(known, limits.high, limits.low)
    if limits.groups is None:
        price = np.zeros(0)
        over = lp.greedy_level(cost, low, high) - cost
    else:
        over, price = _under_groups(cost, low, high, limits.groups, known & (high > low) & ~usable)
    over = np.where(known, over, 0.0)
    lower, upper = np.maximum(price, 0.0), np.maximum(-price, 0.0)
    if limits.groups is not None:
        # A limit that does not exist has no price: remove rounding errors.
        lower[np.isneginf(limits.groups.low)] = 0.0
        upper[np.isposinf(limits.groups.high)] = 0.0
    return Multipliers(np.maximum(over, 0.0), np.maximum(-over, 0.0), lower, upper)


def _under_groups(
    cost: Vector, low: Vector, high: Vector, groups: GroupLimits, held: NDArray[np.bool_]
) -> tuple[Vector, Vector]:
    """Return how far each domain is below the level, (K,), and the prices of the group limits that keep the domains `held` at 0."""
    # Compute prices without the held domains first: an expert that alone explains a row may be so expensive that other prices lose precision.
    level, price = lp.prices(cost, low, np.where(held, low, high), *groups)
    over = level + price @ groups.rows - cost
    steep = float(over[held].max(initial=0.0))
    if steep > 0.0:
        # For a cost of the held domains alone every mixture is optimal, so these prices change no share.
        alone = np.where(held, -over / steep, 0.0)
        rise, more = lp.prices(alone, low, high, *groups)
        change = rise + more @ groups.rows - alone
        change[np.abs(change) < _LEVEL] = 0.0
        over = np.where(held, 0.0, over) + steep * change
        price = price + steep * more
    return over, price
