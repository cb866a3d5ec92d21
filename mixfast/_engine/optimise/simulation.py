"""Olmix's simulation: rounds of random mixtures, each round sampled around the best of the previous rounds.

Reference: the simulation proposer of Olmix's code, which is based on RegMix's (arXiv 2407.01492).
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.optimise.regmix import draw_shares, inside
from mixfast._engine.optimise.search import Found, Score
from mixfast._engine.optimise.trace import Trace
from mixfast.errors import InfeasibleError
from mixfast.region import Region

_ROUNDS, _DRAWS = 10, 100_000
# Concentrations are log-uniform between these; each round multiplies both by twice its number.
_LEAST, _MOST, _GROWTH = 1.0, 100.0, 2.0
# Samples with a score this close to the best of their round are averaged; in the unit of the objective.
_CLOSE = 1e-3
_SMALLEST = 1e-5  # shares below this become 0


def simulate_rounds(region: Region, score: Score, *, seed: int) -> Found:
    """Return the mean of the best mixtures of the last of ten rounds of 100 000 samples.

    Each round samples from Dirichlet distributions around a centre. The centre is the prior at first, and moves half-way to the mean of the
    best samples after each round. Samples outside the region are rejected.

    Raises
    ------
    InfeasibleError
        If no sample of any round is inside the region.
    """
    trace = Trace()
    generator = np.random.RandomState(seed)
    centre, best = region.prior.copy(), None
    seen: tuple[Matrix, Vector] | None = None
    for number in range(1, _ROUNDS + 1):
        grown = np.log(_GROWTH * number)
        strength = np.exp(generator.uniform(np.log(_LEAST) + grown, np.log(_MOST) + grown, _DRAWS))
        draws = draw_shares(region, partial(_dirichlet, generator, strength), centre)
        draws = draws[inside(region, draws)]
        if not len(draws):
            continue
        scores = score(draws)
        close = scores - scores.min() < _CLOSE if np.isfinite(scores.min()) else np.zeros(len(scores), dtype=bool)
        if not close.any():
            continue
        best, seen = draws[close].mean(axis=0), (draws, scores)
        best[(best < _SMALLEST) & (region.floor < _SMALLEST)] = 0.0
        best /= best.sum()
        centre = (best + centre) / 2.0
        trace.add(len(draws), centre.size, float(scores.min()), np.nan)
    if best is None or seen is None:
        raise InfeasibleError(
            f"none of {_ROUNDS * _DRAWS:,} mixtures sampled around the prior is inside the region: widen its limits, or use method='search' "
            "(or 'auto')"
        )
    w = region.project(best)
    return Found(w, float(score(w[None, :])[0]), *seen, trace.steps)


def _dirichlet(generator: np.random.RandomState, strength: Vector, alpha: Vector) -> Matrix:
    """Sample from Dirichlet(strength * alpha), one mixture for each strength."""
    gammas: NDArray[np.float64] = generator.standard_gamma(strength[:, None] * alpha)
    total = gammas.sum(axis=1, keepdims=True)
    # With tiny parameters, all gamma variates of a row may be 0.
    return np.divide(gammas, total, out=np.tile(alpha / alpha.sum(), (len(gammas), 1)), where=total > 0.0)
