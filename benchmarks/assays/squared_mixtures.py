"""The compared mixtures in squared error: each takes predictions (n, K) for the target's training rows and their values (n,), and returns shares (K,)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import mixfast
from benchmarks.assays.mixtures import names
from mixfast import ExpertTable, Region

Array = NDArray[np.float64]

# A source is kept if the lower end of its 90 % bootstrap interval is above this share.
_KEPT = 1e-3
# Weights of a KL term, in squared units of the target, and the folds that choose one.
KL = (0.01, 0.03, 0.1)
_FOLDS = 3
# Share of the target's own expert in the prior of `towards_last`.
_OWN = 0.9


def table_of(predicted: Array, y: Array) -> ExpertTable:
    return ExpertTable.from_predictions(predicted, y, domains=names(predicted.shape[1]))


def best_single(predicted: Array, y: Array) -> Array:
    """Return the expert with the lowest squared error."""
    return np.eye(predicted.shape[1])[int(((predicted - y[:, None]) ** 2).mean(axis=0).argmin())]


def paper_loop(predicted: Array, y: Array) -> Array:
    """Return the mixture of MixMin's loop. Its code has no squared error; this is its 100 steps of exponentiated gradient on half of the mean one."""
    return mixfast.solve(table_of(predicted, y), method="eg-paper", threads=1).mixture.weights


def exact(predicted: Array, y: Array) -> Array:
    """Return the optimum."""
    return mixfast.solve(table_of(predicted, y), threads=1).mixture.weights


def without_doubtful(predicted: Array, y: Array, seed: int) -> Array:
    """Return the optimum over the sources whose share is above 0 in nearly all bootstrap samples, or the best single source if there are none.

    The samples are solved over the sources that have a share.
    """
    known = np.flatnonzero(exact(predicted, y) > 0.0)
    solution = mixfast.solve(table_of(predicted[:, known], y), threads=1)
    low = np.array([low for low, _ in solution.bootstrap(seed=seed).intervals.values()])
    keep = known[low > _KEPT]
    if not keep.size:
        return best_single(predicted, y)
    out = np.zeros(predicted.shape[1])
    out[keep] = exact(predicted[:, keep], y)
    return out


def with_kl(predicted: Array, y: Array) -> Array:
    """Return the optimum with a KL term to equal shares; its weight has the lowest squared error in 3 folds."""
    return _pulled(predicted, y, Region(names(predicted.shape[1])))


def towards_last(predicted: Array, y: Array) -> Array:
    """Return the optimum with a KL term to a prior that gives 0.9 to the last expert, the target's own; its weight is found as in `with_kl`."""
    known = names(predicted.shape[1])
    others = (1.0 - _OWN) / (len(known) - 1)
    prior = dict.fromkeys(known, others) | {known[-1]: _OWN}
    return _pulled(predicted, y, Region(known, prior=prior))


def _pulled(predicted: Array, y: Array, region: Region) -> Array:
    fold = np.arange(len(y)) % _FOLDS

    def error(kl: float) -> float:
        out = 0.0
        for one in range(_FOLDS):
            held = fold == one
            solution = mixfast.solve(table_of(predicted[~held], y[~held]), region, kl=kl, threads=1)
            out += float(((predicted[held] @ solution.mixture.weights - y[held]) ** 2).sum())
        return out

    return mixfast.solve(table_of(predicted, y), region, kl=min(KL, key=error), threads=1).mixture.weights
