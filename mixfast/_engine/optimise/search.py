"""Search for good mixtures under laws that are not convex: candidates inside the region, then local steps from the best of them.

Three kinds of steps are tried from each point and the best is kept if it is better: along the projected gradient, by exponentiated
gradient, and towards the vertex that the gradient prefers; laws without gradients get random steps of shrinking size. Nothing here
proves anything: what comes out was merely not beaten. `regmix` is the simulation of that paper as published.

References: Liu et al., "RegMix" (arXiv 2407.01492), section 3 and its notebook; Beck and Teboulle, "Mirror descent" (2003).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mixfast._engine.backend import simplex
from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.optimise.trace import Step
from mixfast.errors import InfeasibleError
from mixfast.region import Region

# Candidates of the first round, points that are refined, rounds of random steps with how many each, steps along gradients.
_CANDIDATES, _STARTS, _ROUNDS, _PER_ROUND, _STEPS = 4096, 16, 8, 512, 60
# Dirichlet strengths of the candidates, relative to one count for each domain: from nearly single domains to nearly the centre.
_STRENGTHS = (0.05, 20.0)
# How many of the best a law without gradients averages: its best point is arbitrary within a flat cell.
_AVERAGED = 64
# Two starts closer than this in total variation are one.
_APART = 0.02
# RegMix's simulation.
_DRAWS, _BEST = 100_000, 128
# So often as many are drawn, at most, until that many are inside the region.
_BATCHES = 50
# Step sizes end here.
_LEAST_STEP = 1e-9

Score = Callable[[Matrix], Vector]
Slope = Callable[[Matrix], Matrix]


@dataclass(frozen=True, eq=False)
class Found:
    """The best mixture, its score, and every mixture that was looked at with its score."""

    w: Vector  # (K,)
    value: float
    seen: Matrix  # (N, K)
    scores: Vector  # (N,)
    trace: list[Step]


def candidates(region: Region, usable: Columns | None, rng: np.random.Generator, count: int) -> Matrix:
    """Mixtures (count, K) of the region at many distances from the prior and from the middle, none rejected."""
    k = region.n_domains
    reach = np.arange(k) if usable is None else usable
    out = np.zeros((count, k))
    strengths = np.exp(rng.uniform(math.log(_STRENGTHS[0]), math.log(_STRENGTHS[1]), size=count)) * reach.size
    prior = np.maximum(region.prior[reach], 1e-3 / reach.size)
    middle = np.full(reach.size, 1.0 / reach.size)
    for row, strength, near in zip(out, strengths, rng.random(count) < 0.5, strict=True):
        centre = prior / prior.sum() if near else middle
        draw = rng.standard_gamma(np.maximum(strength * centre, 1e-3))
        row[reach] = draw / draw.sum() if draw.sum() > 0.0 else centre
    return _inside(region, out)


def _inside(region: Region, points: Matrix) -> Matrix:
    """The points, those outside the region replaced by points of it near them."""
    out = np.ascontiguousarray(points)
    wrong = ((out > region.cap) | (out < region.floor)).any(axis=1) | (np.abs(out.sum(axis=1) - 1.0) > 1e-12)
    for m in np.flatnonzero(wrong):
        out[m] = simplex.project(out[m], region.floor, region.cap)
    if not region.bounds:
        return out
    # From the single limits to those on groups: towards the middle of the region, as far as needed, which is
    # quicker than to the nearest point.
    middle = _middle(region)
    here, there = out @ region.bound_rows.T, region.bound_rows @ middle
    with np.errstate(divide="ignore", invalid="ignore"):
        over = np.where(here > region.bound_upper, (here - region.bound_upper) / (here - there), 0.0)
        under = np.where(here < region.bound_lower, (region.bound_lower - here) / (there - here), 0.0)
    part = np.minimum(np.maximum(over, under).max(axis=1), 1.0)[:, None]
    return out + part * (middle - out)


def _middle(region: Region) -> Vector:
    """A point inside as many limits as can be."""
    rng = np.random.default_rng(0)
    k = region.n_domains
    return np.mean([region.linear_min(rng.normal(size=k)) for _ in range(4 * min(k, 64))], axis=0)


def search(
    region: Region,
    usable: Columns | None,
    score: Score,
    slope: Slope | None,
    seed: int,
    starts: Matrix,
    clock: Callable[[], float],
) -> Found:
    """Minimise `score` (M, K) -> (M,) over the region; `starts` (S, K) are looked at besides the candidates."""
    rng = np.random.default_rng(seed)
    closed = np.ones(region.n_domains, dtype=bool)
    closed[slice(None) if usable is None else usable] = False
    points = np.concatenate([_inside(region, starts), candidates(region, usable, rng, _CANDIDATES)])
    seen, scores = [points], [score(points)]
    trace: list[Step] = []

    def note(found: float, count: int) -> None:
        trace.append(Step(count, region.n_domains, found, np.nan, clock()))

    note(float(scores[0].min()), len(points))
    if slope is not None:
        best = _distinct(points, scores[0], _STARTS)
        points, values = points[best], scores[0][best]
        points, values = _descend(region, score, slope, points, values)
        seen.append(points)
        scores.append(values)
        note(float(values.min()), len(points))
    for index in range(_ROUNDS):
        everything, value = np.concatenate(seen), np.concatenate(scores)
        best = _distinct(everything, value, _STARTS, apart=_APART * 0.5**index)
        tries = _perturbed(region, everything[best], closed, rng, 0.5**index)
        seen.append(tries)
        scores.append(score(tries))
        note(float(min(value.min(), scores[-1].min())), len(tries))
    if slope is not None:
        everything, value = np.concatenate(seen), np.concatenate(scores)
        best = np.argsort(value, kind="stable")[:2].tolist()
        points, values = _descend(region, score, slope, everything[best], value[best])
        seen.append(points)
        scores.append(values)
    everything, value = np.concatenate(seen), np.concatenate(scores)
    order = np.argsort(value, kind="stable")
    w, least = everything[order[0]], float(value[order[0]])
    if slope is None:
        mean = _inside(region, everything[order[:_AVERAGED]].mean(axis=0)[None, :])
        level = float(score(mean)[0])
        if level <= value[order[min(_AVERAGED, order.size) - 1]]:
            w, least = mean[0], level
    note(least, 1)
    return Found(w, least, everything, value, trace)


def _distinct(points: Matrix, values: Vector, count: int, apart: float = _APART) -> list[int]:
    """Positions of the best points that differ from one another."""
    chosen: list[int] = []
    for m in np.argsort(values, kind="stable")[: 40 * count].tolist():
        if not chosen or 0.5 * np.abs(points[chosen] - points[m]).sum(axis=1).min() > apart:
            chosen.append(m)
            if len(chosen) == count:
                break
    return chosen


def _perturbed(region: Region, points: Matrix, closed: np.ndarray, rng: np.random.Generator, size: float) -> Matrix:
    """Random steps from the points: every share scaled, or a part of the mixture handed to one domain."""
    k = region.n_domains
    out = points[rng.integers(len(points), size=_PER_ROUND)]
    half = _PER_ROUND // 2
    out[:half] = (out[:half] + 1e-4 / k) * np.exp(size * rng.normal(size=(half, k)))
    to = rng.choice(np.flatnonzero(~closed), size=_PER_ROUND - half)
    part = size * rng.uniform(-0.5, 0.5, size=to.size)
    rest = out[half:]
    rest *= (1.0 - np.maximum(part, 0.0))[:, None]
    rest[np.arange(to.size), to] += np.maximum(part, 0.0)
    rest[np.arange(to.size), to] *= 1.0 + np.minimum(2.0 * part, 0.0)
    out[:, closed] = 0.0
    return _inside(region, out / np.maximum(out.sum(axis=1, keepdims=True), 1e-300))


def _descend(region: Region, score: Score, slope: Slope, points: Matrix, values: Vector) -> tuple[Matrix, Vector]:
    """Local minima reached from the points, each step the best of three kinds of which each has its own size."""
    points, values = points.copy(), values.copy()
    sizes = np.full((3, len(points)), 0.1)
    for _ in range(_STEPS):
        gradient = np.nan_to_num(slope(points), nan=0.0, posinf=1e6, neginf=-1e6)
        gradient -= (gradient * points).sum(axis=1, keepdims=True)
        tries = np.empty((3, *points.shape))
        for m, (w, g) in enumerate(zip(points, gradient, strict=True)):
            g = g / max(float(np.abs(g).max()), 1e-300)
            tries[0, m] = region.project(w - sizes[0, m] * g)
            pushed = w * np.exp(-10.0 * sizes[1, m] * g)
            tries[1, m] = region.project(pushed / max(float(pushed.sum()), 1e-300))
            tries[2, m] = w + min(sizes[2, m], 1.0) * (region.linear_min(g) - w)
        found = score(tries.reshape(-1, points.shape[1])).reshape(3, -1)
        better = found < values
        sizes *= np.where(better, 1.6, 0.3)
        kind = found.argmin(axis=0)
        rows = np.flatnonzero(better.any(axis=0))
        points[rows], values[rows] = tries[kind[rows], rows], found[kind[rows], rows]
        if (sizes < _LEAST_STEP).all():
            break
        sizes = np.maximum(sizes, 0.1 * _LEAST_STEP)
    return points, values


def regmix(region: Region, score: Score, seed: int, clock: Callable[[], float]) -> Found:
    """RegMix's simulation: the mean of the best 128 of 100 000 mixtures drawn from Dirichlet(prior) with numpy's old generator.

    Limits of the region, which the paper does not have, reject what breaks them, and as many are drawn as it takes (within reason) to
    have 100 000 that are allowed. Domains whose share is fixed have it in every draw: the others of a Dirichlet vector, given some, are
    distributed as a smaller Dirichlet vector over what these leave.
    """
    alpha = region.prior
    fixed = region.floor >= region.cap
    # A domain of prior 0 never has a share.
    has = (alpha > 0.0) & ~fixed
    left = 1.0 - region.floor[fixed].sum() if fixed.any() else 1.0
    generator = np.random.RandomState(seed)
    kept: list[Matrix] = []
    for _ in range(_BATCHES):
        draws = np.where(fixed, region.floor, 0.0) * np.ones((_DRAWS, 1))
        if has.any():
            draws[:, has] = left * generator.dirichlet(alpha[has], _DRAWS)
        keep = ((draws <= region.cap) & (draws >= region.floor)).all(axis=1)
        if region.bounds:
            activity = draws @ region.bound_rows.T
            keep &= ((activity >= region.bound_lower) & (activity <= region.bound_upper)).all(axis=1)
        kept.append(draws[keep])
        if sum(map(len, kept)) >= _DRAWS:
            break
    draws = np.concatenate(kept)[:_DRAWS]
    if not len(draws):
        raise InfeasibleError(
            f"none of {_BATCHES * _DRAWS:,} mixtures drawn around the prior is inside the region, whose limits RegMix's simulation does not "
            "know: use method='search' (or 'auto')"
        )
    scores = score(draws)
    best = np.argsort(scores, kind="stable")[:_BEST]
    w = draws[best].mean(axis=0)
    value = float(score(w[None, :])[0])
    return Found(w, value, draws, scores, [Step(len(draws), alpha.size, value, np.nan, clock())])


def most(region: Region, usable: Columns | None, score: Score, slope: Slope | None, seed: int) -> Vector:
    """The mixture (K,) with the largest score that was found: candidates, a vertex for each domain, and uphill steps."""
    vertices = []
    for k in range(region.n_domains) if usable is None else usable.tolist():
        cost = np.zeros(region.n_domains)
        cost[k] = -1.0
        vertices.append(region.linear_min(cost))

    def down(points: Matrix) -> Vector:
        return -score(points)

    uphill: Slope | None = None
    if slope is not None:
        known: Slope = slope

        def uphill(points: Matrix) -> Matrix:
            return -known(points)

    return search(region, usable, down, uphill, seed, np.array(vertices), lambda: 0.0).w
