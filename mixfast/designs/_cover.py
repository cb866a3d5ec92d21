"""Mixtures that cover a region: chosen one by one from a pool, each as far as possible from those before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix
from mixfast.designs import _candidates
from mixfast.region import Region

# Candidates for each run. More fill the corners a little better, at a cost that grows with them.
_POOL = 20

# Multiplications that the choice may take, about a second. Swarms of thousands of runs get a smaller pool, or the draws as they are: so
# many draws leave no holes to fill.
_WORK = 1 << 30

# Draws about the prior, from mixtures of few domains to mixtures near the prior; one more part is uniform. RegMix's
# strengths end at 5, where domains of small prior are nearly always 0 and hence hardly measured.
_STRENGTHS = (1.0, 4.0, 16.0, 64.0)

# RegMix's temper: domains of small prior share are drawn more often than by their share.
_TEMPER = 0.5


def cover(region: Region, runs: int, *, seed: int, existing: Matrix | None = None) -> Matrix:
    """Return ``runs`` mixtures (runs, K) of the region, away from each other and from those that are ``existing`` (R, K).

    Greedy maximin in Hellinger distance, ``|sqrt(v) - sqrt(w)|``, which tells 0 from 0.01 as well as 0.3 from 0.42:
    a swarm that is even in it shows the effect of small domains too. Without any, the first is the mixture
    nearest to the prior. Greedy is within a factor 2 of the widest spacing a pool allows (Gonzalez 1985).
    """
    budget = min(_POOL * runs, _WORK // max(runs * region.n_domains, 1))
    if budget < 2 * runs:
        return pool(region, runs, seed)
    points = pool(region, budget, seed)
    if existing is None:
        points[0] = _candidates.around(region.prior, 1e12, region.floor, region.cap, 1, seed=seed)[0]
        if region.bounds:
            points[0] = region.project(points[0])
    return points[farthest(points, runs, existing)]


def farthest(points: Matrix, runs: int, existing: Matrix | None) -> NDArray[np.int64]:
    """Positions of ``runs`` of the points, each the farthest from the existing ones and those before; without existing ones, from row 0."""
    roots = np.sqrt(np.maximum(points, 0.0))
    nearest = np.full(len(points), np.inf)
    for known in [] if existing is None else np.sqrt(existing):
        np.minimum(nearest, 2.0 - 2.0 * (roots @ known), out=nearest)
    chosen = np.empty(runs, dtype=np.int64)
    for place in range(runs):
        # Every distance is infinite before the first, and argmax gives row 0.
        row = int(nearest.argmax())
        chosen[place] = row
        np.minimum(nearest, 2.0 - 2.0 * (roots @ roots[row]), out=nearest)
        nearest[row] = -1.0
    return chosen


def pool(region: Region, count: int, seed: int) -> Matrix:
    """Draw mixtures (count, K) of the region, some uniform and some around the prior, of all degrees of sparsity."""
    # One part for each strength and a uniform one, which takes the remainder.
    seeds = np.random.SeedSequence(seed).generate_state(len(_STRENGTHS) + 1).tolist()
    part = count // (len(_STRENGTHS) + 1)
    tempered = region.prior**_TEMPER
    parts = [_candidates.sample(region, count - part * len(_STRENGTHS), seed=seeds[-1])]
    parts += [
        _candidates.sample(region, part, centre=tempered, strength=strength, seed=own)
        for strength, own in zip(_STRENGTHS, seeds[:-1], strict=True)
    ]
    points = np.concatenate(parts)
    # Shuffled, so that draws that are used without a choice are mixed as well.
    return points[np.random.default_rng(seed).permutation(count)]
