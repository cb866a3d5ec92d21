"""Choose mixtures that cover a region: one by one from a pool, each as far as possible from those before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.progress import long_work, now
from mixfast.designs import _candidates
from mixfast.region import Region

# Candidates for each run. More candidates cover the corners slightly better, at a proportional cost.
_POOL = 20

# Most multiplications of the choice, about a second. Swarms of thousands of runs get a smaller pool, or all samples of it, because a large
# number of samples covers the region without a choice.
_WORK = 1 << 30

# Dirichlet strengths around the prior, from sparse mixtures to mixtures near the prior; one more part of the pool is uniform. RegMix's
# strengths end at 5. There, domains with a small prior share are nearly always 0, so their effect is hardly measured.
_STRENGTHS = (1.0, 4.0, 16.0, 64.0)

# RegMix's temper: domains with a small prior share are sampled more often than their share.
_TEMPER = 0.5


@long_work("choosing mixtures")
def cover(region: Region, runs: int, *, seed: int, existing: Matrix | None = None) -> Matrix:
    """Return ``runs`` mixtures (runs, K) of the region, far from each other and from the ``existing`` ones (R, K).

    Greedy maximin in Hellinger distance, ``|sqrt(v) - sqrt(w)|``. In this distance 0 and 0.01 are about as far apart as 0.3 and 0.42,
    so the swarm also shows the effect of small domains. Without existing mixtures, the first one is the mixture
    nearest to the prior. The greedy choice is within a factor 2 of the widest spacing that the pool allows (Gonzalez 1985).
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
    """Return positions of ``runs`` points, each the farthest from the existing ones and those before it; without existing ones, start with row 0."""
    roots = np.sqrt(np.maximum(points, 0.0))
    nearest = np.full(len(points), np.inf)
    for known in [] if existing is None else np.sqrt(existing):
        np.minimum(nearest, 2.0 - 2.0 * (roots @ known), out=nearest)
    chosen = np.empty(runs, dtype=np.int64)
    for place in range(runs):
        # Before the first point every distance is infinite, and argmax returns row 0.
        row = int(nearest.argmax())
        chosen[place] = row
        np.minimum(nearest, 2.0 - 2.0 * (roots @ roots[row]), out=nearest)
        nearest[row] = -1.0
        now("run {} of {}", place + 1, runs)
    return chosen


def pool(region: Region, count: int, seed: int) -> Matrix:
    """Sample mixtures (count, K) of the region, some uniform and some around the prior, from sparse to dense."""
    # One part for each strength, and a uniform part that takes the remainder.
    seeds = np.random.SeedSequence(seed).generate_state(len(_STRENGTHS) + 1).tolist()
    part = count // (len(_STRENGTHS) + 1)
    tempered = region.prior**_TEMPER
    parts = [_candidates.sample(region, count - part * len(_STRENGTHS), seed=seeds[-1])]
    parts += [
        _candidates.sample(region, part, centre=tempered, strength=strength, seed=own)
        for strength, own in zip(_STRENGTHS, seeds[:-1], strict=True)
    ]
    points = np.concatenate(parts)
    # Shuffled, so that samples that are used without a choice are in random order, too.
    return points[np.random.default_rng(seed).permutation(count)]
