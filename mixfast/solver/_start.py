"""The mixture that a solve starts from: a point of the region in which every usable domain has a positive share."""

from __future__ import annotations

import numpy as np

from mixfast._engine.backend import simplex
from mixfast._engine.backend.arrays import Vector
from mixfast.region import Reach

# exp of differences up to this (nats) cannot underflow in float32.
_SAFE_RANGE = 80.0
# A start that is further outside the region than this share is not used.
_INSIDE = 1e-12


def starting_point(reach: Reach, start: Vector | None, *, spread: float) -> Vector:
    """Return shares (C,) of the usable domains: `start` (K,) projected onto the region, or the middle of the limits.

    `spread` is the difference between the largest and the smallest log-likelihood of the table, nats. If exp could underflow, every usable
    domain starts with a positive share.
    """
    w = _middle(reach) if start is None else _given(reach, start, spread)
    if reach.limits.groups is None:
        return w
    w = reach.limits.clip(w)
    return w if reach.region.violation(reach.spread(w)) <= _INSIDE else _between_vertices(reach)


def _between_vertices(reach: Reach) -> Vector:
    """Return the mean of vertices that maximise and minimise each share: for limits that span many orders of magnitude."""
    costs = np.eye(reach.limits.low.size)
    vertices = [reach.limits.linear_min(sign * cost) for cost in costs for sign in (-1.0, 1.0)]
    return reach.limits.clip(np.mean(vertices, axis=0))


def _given(reach: Reach, start: Vector, spread: float) -> Vector:
    limits, w = reach.limits, reach.restrict(start)
    if not reach.region.contains(start, 1e-9):
        w = reach.restrict(reach.region.project(start))
    elif abs(w.sum() - 1.0) > 1e-12:
        w = simplex.project(np.ascontiguousarray(w), limits.low, limits.high)
    if w.min() <= 0.0 and (limits.steep or spread > _SAFE_RANGE):
        # With a share of 0 in a domain, some row may have probability 0.
        w = 0.99 * w + 0.01 * _middle(reach)
    return np.ascontiguousarray(w)


def _middle(reach: Reach) -> Vector:
    limits = reach.limits
    if limits.groups is None:
        return limits.middle
    w = limits.middle
    # Excluded domains are fixed at their floor, so that the shares of the others have the right sum.
    region = reach.region
    closed = np.where(reach.spread(np.ones(w.size)) > 0.0, region.cap, region.floor)
    w = reach.restrict(region.replace(cap=closed).project(reach.spread(w)))
    missing = np.flatnonzero((w <= 0.0) & (limits.high > 0.0))
    if missing.size:
        vertices = np.zeros(w.size)
        for k in missing:
            cost = np.zeros(w.size)
            cost[k] = -1.0
            vertices += limits.linear_min(cost)
        w = 0.9 * w + 0.1 * vertices / missing.size
    return w
