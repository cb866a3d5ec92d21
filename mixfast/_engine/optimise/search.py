"""Search for good mixtures under laws that are not convex. There is no proof: the result is the best point that was found.

1. Score candidates at many distances from the prior and from the centre of the region.
2. If the law has gradients, descend from the best distinct candidates.
3. Score random steps of decreasing size from the best points so far.
4. If the law has gradients, descend again. If not, average the best points, because a piecewise constant law has many equally good ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.optimise.candidates import candidates, inside, perturbed
from mixfast._engine.optimise.descent import descend
from mixfast._engine.optimise.trace import Step, Trace
from mixfast.region import Reach

# Candidates of the first round, points that are refined, and (rounds, number) of random steps.
_CANDIDATES, _STARTS, _ROUNDS, _PER_ROUND = 4096, 16, 8, 512
# Points for the final descent, and how many of the best points are averaged for a law without gradients.
_LAST, _AVERAGED = 2, 64
# Two starts closer than this in total variation are treated as one.
_APART = 0.02

Score = Callable[[Matrix], Vector]
Slope = Callable[[Matrix], Matrix]


@dataclass(frozen=True, eq=False)
class Found:
    """The best mixture, its score, and every mixture that was scored."""

    w: Vector  # (K,)
    value: float
    seen: Matrix  # (N, K)
    scores: Vector  # (N,)
    trace: list[Step]


class _Seen:
    """All mixtures scored so far."""

    def __init__(self, domains: int) -> None:
        self.trace, self.domains = Trace(), domains
        self.points, self.scores = np.zeros((0, domains)), np.zeros(0)

    def add(self, points: Matrix, scores: Vector) -> None:
        self.points, self.scores = np.concatenate([self.points, points]), np.concatenate([self.scores, scores])

    def note(self, count: int, value: float) -> None:
        self.trace.add(count, self.domains, value, np.nan)


def search(reach: Reach, score: Score, slope: Slope | None, starts: Matrix, *, seed: int) -> Found:
    """Minimise `score` (M, K) -> (M,) over the region; `starts` (S, K) are scored in addition to the candidates."""
    region, rng = reach.region, np.random.default_rng(seed)
    seen = _Seen(region.n_domains)
    # 1.
    points = np.concatenate([inside(region, starts), candidates(reach, rng, _CANDIDATES)])
    seen.add(points, score(points))
    seen.note(len(points), float(seen.scores.min()))
    # 2.
    if slope is not None:
        best = _distinct(seen, _STARTS, _APART)
        points, values = descend(region, score, slope, seen.points[best], seen.scores[best])
        seen.add(points, values)
        seen.note(len(points), float(values.min()))
    # 3.
    for index in range(_ROUNDS):
        size = 0.5**index
        best = _distinct(seen, _STARTS, _APART * size)
        tries = perturbed(reach, seen.points[best], rng, _PER_ROUND, size=size)
        seen.add(tries, score(tries))
        seen.note(len(tries), float(seen.scores.min()))
    # 4.
    if slope is not None:
        last = np.argsort(seen.scores, kind="stable")[:_LAST]
        seen.add(*descend(region, score, slope, seen.points[last], seen.scores[last]))
    order = np.argsort(seen.scores, kind="stable")
    w, least = seen.points[order[0]], float(seen.scores[order[0]])
    if slope is None:
        mean = inside(region, seen.points[order[:_AVERAGED]].mean(axis=0)[None, :])
        level = float(score(mean)[0])
        if level <= seen.scores[order[min(_AVERAGED, order.size) - 1]]:
            w, least = mean[0], level
    seen.note(1, least)
    return Found(w, least, seen.points, seen.scores, seen.trace.steps)


def maximise(reach: Reach, score: Score, slope: Slope | None, *, seed: int) -> Vector:
    """Return the mixture (K,) with the largest score found; a vertex for each usable domain is also a start."""
    vertices = []
    for k in range(reach.region.n_domains) if reach.usable is None else reach.usable.tolist():
        cost = np.zeros(reach.region.n_domains)
        cost[k] = -1.0
        vertices.append(reach.region.linear_min(cost))

    def down(points: Matrix) -> Vector:
        return -score(points)

    uphill: Slope | None = None
    if slope is not None:
        known: Slope = slope

        def uphill(points: Matrix) -> Matrix:
            return -known(points)

    return search(reach, down, uphill, np.array(vertices), seed=seed).w


def _distinct(seen: _Seen, count: int, apart: float) -> list[int]:
    """Return positions of the best points that differ from one another."""
    points, values = seen.points, seen.scores
    chosen: list[int] = []
    for m in np.argsort(values, kind="stable")[: 40 * count].tolist():
        if not chosen or 0.5 * np.abs(points[chosen] - points[m]).sum(axis=1).min() > apart:
            chosen.append(m)
            if len(chosen) == count:
                break
    return chosen
