"""Mixtures inside a region to start a search from, and random steps from good mixtures."""

from __future__ import annotations

import math

import numpy as np

from mixfast._engine.backend import simplex
from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast.region import Reach, Region

# Dirichlet strengths of the candidates, relative to one count for each domain: from almost single domains to almost the centre.
_STRENGTHS = (0.05, 20.0)


def candidates(reach: Reach, rng: np.random.Generator, count: int) -> Matrix:
    """Return mixtures (count, K) inside the region at many distances from the prior and from the centre; none is rejected."""
    region = reach.region
    usable = np.arange(region.n_domains) if reach.usable is None else reach.usable
    out = np.zeros((count, region.n_domains))
    strengths = np.exp(rng.uniform(math.log(_STRENGTHS[0]), math.log(_STRENGTHS[1]), size=count)) * usable.size
    prior = np.maximum(region.prior[usable], 1e-3 / usable.size)
    middle = np.full(usable.size, 1.0 / usable.size)
    for row, strength, near in zip(out, strengths, rng.random(count) < 0.5, strict=True):
        centre = prior / prior.sum() if near else middle
        draw = rng.standard_gamma(np.maximum(strength * centre, 1e-3))
        row[usable] = draw / draw.sum() if draw.sum() > 0.0 else centre
    return inside(region, out)


def perturbed(reach: Reach, points: Matrix, rng: np.random.Generator, count: int, *, size: float) -> Matrix:
    """Take random steps from the points: scale every share, or move part of the mixture to one domain."""
    k = reach.region.n_domains
    open_ = np.arange(k) if reach.usable is None else reach.usable
    out = points[rng.integers(len(points), size=count)]
    half = count // 2
    out[:half] = (out[:half] + 1e-4 / k) * np.exp(size * rng.normal(size=(half, k)))
    to = rng.choice(open_, size=count - half)
    part = size * rng.uniform(-0.5, 0.5, size=to.size)
    rest = out[half:]
    rest *= (1.0 - np.maximum(part, 0.0))[:, None]
    rest[np.arange(to.size), to] += np.maximum(part, 0.0)
    rest[np.arange(to.size), to] *= 1.0 + np.minimum(2.0 * part, 0.0)
    out[:, np.setdiff1d(np.arange(k), open_)] = 0.0
    return inside(reach.region, out / np.maximum(out.sum(axis=1, keepdims=True), 1e-300))


def inside(region: Region, points: Matrix) -> Matrix:
    """Return the points, with those outside the region replaced by nearby points inside."""
    out = np.ascontiguousarray(points)
    wrong = ((out > region.cap) | (out < region.floor)).any(axis=1) | (np.abs(out.sum(axis=1) - 1.0) > 1e-12)
    for m in np.flatnonzero(wrong):
        out[m] = simplex.project(out[m], region.floor, region.cap)
    if not region.bounds:
        return out
    # Here the points satisfy the limits of single domains. For group limits, move them towards the centre of the region as far as needed,
    # which is faster than computing the nearest point.
    middle = _middle(region)
    here, there = out @ region.bound_rows.T, region.bound_rows @ middle
    with np.errstate(divide="ignore", invalid="ignore"):
        over = np.where(here > region.bound_upper, (here - region.bound_upper) / (here - there), 0.0)
        under = np.where(here < region.bound_lower, (region.bound_lower - here) / (there - here), 0.0)
    part = np.minimum(np.maximum(over, under).max(axis=1), 1.0)[:, None]
    return out + part * (middle - out)


def _middle(region: Region) -> Vector:
    """Return a point inside as many limits as possible."""
    rng = np.random.default_rng(0)
    k = region.n_domains
    return np.mean([region.linear_min(rng.normal(size=k)) for _ in range(4 * min(k, 64))], axis=0)
