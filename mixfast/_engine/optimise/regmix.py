"""RegMix's simulation as published: the mean of the best of many mixtures that are sampled around the prior.

Reference: Liu et al., "RegMix" (arXiv 2407.01492), section 3 and its notebook.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.optimise.search import Found, Score
from mixfast._engine.optimise.trace import Trace
from mixfast.errors import InfeasibleError
from mixfast.region import Region

_DRAWS, _BEST = 100_000, 128
# If the region rejects samples, take at most this many times as many.
_BATCHES = 50


def simulate(region: Region, score: Score, *, seed: int) -> Found:
    """Return the mean of the best 128 of 100 000 mixtures sampled from Dirichlet(prior) with numpy's old generator.

    Samples that violate limits of the region, which the paper does not have, are rejected, and more are sampled (up to a maximum) until
    100 000 are allowed. Domains with a fixed share have it in every sample: given some entries of a Dirichlet vector, the others
    follow a Dirichlet distribution over the remaining share.
    """
    trace = Trace()
    generator = np.random.RandomState(seed)
    kept: list[Matrix] = []
    for _ in range(_BATCHES):
        draws = draw_shares(region, lambda alpha: generator.dirichlet(alpha, _DRAWS), region.prior)
        kept.append(draws[inside(region, draws)])
        if sum(map(len, kept)) >= _DRAWS:
            break
    draws = np.concatenate(kept)[:_DRAWS]
    if not len(draws):
        raise InfeasibleError(
            f"none of {_BATCHES * _DRAWS:,} mixtures sampled around the prior is inside the region; RegMix's simulation does not use "
            "its limits: use method='search' (or 'auto')"
        )
    scores = score(draws)
    best = np.argsort(scores, kind="stable")[:_BEST]
    w = draws[best].mean(axis=0)
    value = float(score(w[None, :])[0])
    trace.add(len(draws), region.n_domains, value, np.nan)
    return Found(w, value, draws, scores, trace.steps)


def draw_shares(region: Region, draw: Callable[[Vector], Matrix], alpha: Vector) -> Matrix:
    """Return mixtures (M, K) that ``draw`` makes from the parameters of a Dirichlet distribution, with the region's fixed shares.

    Domains with a fixed share have it in every sample: given some entries of a Dirichlet vector, the others follow a Dirichlet
    distribution over the remaining share.
    """
    fixed = region.floor >= region.cap
    # A domain with prior 0 never has a share.
    has = (alpha > 0.0) & ~fixed
    if not has.any():
        return np.where(fixed, region.floor, 0.0)[None, :]
    left = 1.0 - region.floor[fixed].sum() if fixed.any() else 1.0
    drawn = left * draw(alpha[has])
    shares = np.tile(np.where(fixed, region.floor, 0.0), (len(drawn), 1))
    shares[:, has] = drawn
    return shares


def inside(region: Region, draws: Matrix) -> NDArray[np.bool_]:
    """Return which mixtures (M, K) are inside the region."""
    keep = ((draws <= region.cap) & (draws >= region.floor)).all(axis=1)
    if region.bounds:
        activity = draws @ region.bound_rows.T
        keep &= ((activity >= region.bound_lower) & (activity <= region.bound_upper)).all(axis=1)
    return np.asarray(keep)
