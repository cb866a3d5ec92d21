"""RegMix's simulation as published: the mean of the best of many mixtures that are drawn around the prior.

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
# So often as many are drawn, at most, until that many are inside the region.
_BATCHES = 50


def simulate(region: Region, score: Score, *, seed: int) -> Found:
    """Return the mean of the best 128 of 100 000 mixtures drawn from Dirichlet(prior) with numpy's old generator.

    Limits of the region, which the paper does not have, reject what breaks them, and as many are drawn as it takes (within reason) to
    have 100 000 that are allowed. Domains whose share is fixed have it in every draw: the others of a Dirichlet vector, given some, are
    distributed as a smaller Dirichlet vector over what these leave.
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
            f"none of {_BATCHES * _DRAWS:,} mixtures drawn around the prior is inside the region, whose limits RegMix's simulation does not "
            "know: use method='search' (or 'auto')"
        )
    scores = score(draws)
    best = np.argsort(scores, kind="stable")[:_BEST]
    w = draws[best].mean(axis=0)
    value = float(score(w[None, :])[0])
    trace.add(len(draws), region.n_domains, value, np.nan)
    return Found(w, value, draws, scores, trace.steps)


def draw_shares(region: Region, draw: Callable[[Vector], Matrix], alpha: Vector) -> Matrix:
    """Return mixtures (M, K) that ``draw`` makes of the parameters of a Dirichlet distribution, with fixed shares as the region fixes them.

    The domains whose share is fixed have it in every draw: the others of a Dirichlet vector, given some, are distributed as a smaller
    Dirichlet vector over what these leave.
    """
    fixed = region.floor >= region.cap
    # A domain of prior 0 never has a share.
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
