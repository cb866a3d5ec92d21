"""Turn mixtures in any accepted form into shares in the order of a fit's domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.names import listing
from mixfast.laws._protocol import Runs, Shares
from mixfast.mixture import SUM_TOLERANCE, sum_to_one
from mixfast.swarm import align_names

Mixtures = ArrayLike | Mapping[str, float] | Runs | Shares


def aligned(what: str, names: Sequence[str], values: Matrix, domains: Sequence[str]) -> Matrix:
    """Reorder the columns of values (R, K), which are named by `names`, to the order of `domains`."""
    if tuple(names) == tuple(domains):
        return values
    return np.ascontiguousarray(values[:, align_names(names, domains, what, "the fit")])


def shares_in(ratios: Mixtures, domains: Sequence[str]) -> Matrix:
    """Check mixtures in any accepted form and return them (M, K) in the order of `domains`."""
    # Arrays first: searches pass arrays, and checking protocols costs more than evaluating a small law.
    if isinstance(ratios, np.ndarray):
        pass
    elif isinstance(ratios, Runs):
        ratios = aligned("the swarm", ratios.domains, ratios.ratios, domains)
    elif isinstance(ratios, Shares):
        ratios = aligned("the mixture", ratios.domains, np.atleast_2d(ratios.weights), domains)
    elif isinstance(ratios, Mapping):
        one = np.array([list(ratios.values())], dtype=np.float64)
        ratios = aligned("the mixture", tuple(ratios), one, domains)
    w = np.ascontiguousarray(np.atleast_2d(np.asarray(ratios, dtype=np.float64)))
    if w.ndim != 2 or w.shape[1] != len(domains):
        raise ValueError(f"mixtures must be (M, {len(domains)}), one column for each domain; got {np.shape(ratios)}")
    if not np.isfinite(w).all() or (w.size and w.min() < -1e-12):
        raise ValueError("shares must be finite and not negative")
    wrong = np.flatnonzero(~sum_to_one(w.sum(axis=1)))
    if wrong.size:
        raise ValueError(
            f"shares must sum to 1 within {SUM_TOLERANCE}; rows {listing(wrong)} sum to {listing(w.sum(axis=1)[wrong].round(4))}"
        )
    return w
