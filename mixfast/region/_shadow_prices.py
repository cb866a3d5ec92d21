"""Shadow prices: what relaxing a binding limit would save, as numbers and as sentences."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Vector
from mixfast._engine.geometry.prices import Multipliers, prices
from mixfast.region._reach import limits_over
from mixfast.region._region import Region

# Shares within this of a limit are at it.
_AT_LIMIT = 1e-6


@dataclass(frozen=True)
class ShadowPrice:
    """Describe what one binding limit costs.

    Attributes
    ----------
    name : str
        The domain, or the name of the group limit.
    limit : str
        "cap", "floor", "at least" or "at most" (the last two for groups).
    value : float
        The share that the limit allows.
    price : float
        How much the objective falls for each unit of share by which the limit is relaxed, at least 0; in nats for `solve` of
        log-likelihoods, else in the unit of the objective. Divide by 100 for a percentage point.
    text : str
        The same in a sentence.
    """

    name: str
    limit: str
    value: float
    price: float
    text: str


def limit_prices(region: Region, gradient: Vector, usable: NDArray[np.bool_]) -> Multipliers:
    """Compute the multipliers of a region's limits; those of bounds are per unit in which the user gave them.

    `gradient` (K,) is of the objective at the optimum; `usable` (K,) says which domains may have a share.
    """
    found = prices(gradient, limits_over(region), usable)
    groups = region.group_limits
    if groups is None:
        return found
    # The factors are powers of two. A price beyond float64 belongs to a limit in a tiny unit; infinity stands for it.
    with np.errstate(over="ignore"):
        unit = np.abs(groups.rows).max(axis=1) / region.bound_scale
        return found._replace(bound_lower=found.bound_lower * unit, bound_upper=found.bound_upper * unit)


def shadow_prices(
    region: Region, w: Vector, prices: Multipliers, *, least: float, unit: str, held: Collection[str] = ()
) -> tuple[ShadowPrice, ...]:
    """List the binding limits, the most expensive first.

    Parameters
    ----------
    region : Region
    w : (K,)
        Shares at the optimum.
    prices : Multipliers
        Multipliers of the region's limits at the optimum.
    least : float
        Multipliers up to this are rounding or within the gap, and are left out.
    unit : str
        Unit of the objective, for the sentences.
    held : collection of str
        Domains with limits that the user did not choose; they are left out.
    """
    # Name, kind, the limit, how far the share is from it, and its price. A cap of 1 or a floor of 0 is no limit.
    limits: list[tuple[str, str, float, float, float]] = []
    for k, name in enumerate(region.domains):
        cap, floor = float(region.cap[k]), float(region.floor[k])
        if cap < 1.0 and name not in held:
            limits.append((name, "cap", cap, cap - float(w[k]), float(prices.cap[k])))
        if floor > 0.0 and name not in held:
            limits.append((name, "floor", floor, float(w[k]) - floor, float(prices.floor[k])))
    binding = [
        ShadowPrice(name, limit, value, price, _sentence(region, name, limit, value, price, unit))
        for name, limit, value, slack, price in limits
        if price > least and slack <= _AT_LIMIT
    ]
    for b, (bound, row) in enumerate(zip(region.bounds, region.bound_rows, strict=True)):
        inside, lower, upper = float(row @ w), float(region.bound_lower[b]), float(region.bound_upper[b])
        for limit, value, slack, price in (
            ("at least", lower, inside - lower, float(prices.bound_lower[b])),
            ("at most", upper, upper - inside, float(prices.bound_upper[b])),
        ):
            # As a share of the domain with the largest coefficient.
            scale = float(region.bound_scale[b])
            if price > least / scale and slack <= _AT_LIMIT * scale:
                sentence = _sentence(region, bound.name, limit, value, price, unit)
                binding.append(ShadowPrice(bound.name, limit, value, price, sentence))
    return tuple(sorted(binding, key=lambda one: -one.price))


def _sentence(region: Region, name: str, limit: str, value: float, price: float, unit: str) -> str:
    point = f"{price / 100:.3g} {unit} per percentage point"
    if limit == "cap":
        # Only if token counts set the cap: under a tighter cap, more epochs change nothing.
        per_epoch = price * (region.epoch_share(name) or 0.0)
        if per_epoch > 0.0:
            return f"{name} is at its cap of {value:.3%}: one more epoch of it is worth at most {per_epoch:.3g} {unit} ({point})"
        return f"{name} is at its cap of {value:.3%}: raising it saves {point}"
    if limit == "floor":
        return f"{name} is at its floor of {value:.3%}: lowering it saves {point}"
    change = "lowering" if limit == "at least" else "raising"
    return f"{name} is at its limit of {limit} {value:.3%}: {change} it saves {point}"
