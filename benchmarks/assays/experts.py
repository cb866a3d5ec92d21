"""One expert for each assay: the settings with the best average precision in 5-fold cross-validation, and the predictions for all molecules."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.assays import trees
from benchmarks.assays.splits import FOLDS, TRAIN, Split

GRID_ROUNDS, GRID_DEPTH = (10, 50, 100), (4, 6, 8)


class Expert(NamedTuple):
    """Probabilities of being active, for all M molecules."""

    whole: NDArray[np.float32]  # by the model of all training rows
    apart: NDArray[
        np.float32
    ]  # of molecules that the expert was trained on, by the model without their fold; of others, as `whole`
    rounds: int
    depth: int


def expert(X: Any, values: NDArray[np.float32], split: Split, assay: int) -> Expert:
    """Fit the expert of one assay."""
    train = split.part[:, assay] == TRAIN
    y = values[:, assay].astype(np.float64)
    rounds, depth, models = _chosen(X, y, train, split.fold[:, assay])
    whole = trees.fit(X[train], y[train], rounds=rounds, depth=depth).predict(X)
    apart = whole.copy()
    for fold, model in enumerate(models):
        own = train & (split.fold[:, assay] == fold)
        apart[own] = model.predict(X[own], rounds)
    return Expert(whole.astype(np.float32), apart.astype(np.float32), rounds, depth)


def _chosen(
    X: Any, y: NDArray[np.float64], train: NDArray[np.bool_], fold: NDArray[np.int8]
) -> tuple[int, int, list[Any]]:
    """Return rounds and depth with the best mean average precision of the folds, and their models of each fold."""
    from sklearn.metrics import average_precision_score

    best, chosen = -1.0, (0, 0, list[Any]())
    for depth in GRID_DEPTH:
        models, score = [], np.zeros(len(GRID_ROUNDS))
        for left_out in range(FOLDS):
            inner, outer = train & (fold != left_out), train & (fold == left_out)
            # The first 10 and 50 trees of 100 are the models of 10 and 50 trees.
            models.append(trees.fit(X[inner], y[inner], rounds=max(GRID_ROUNDS), depth=depth))
            if y[outer].any():
                found = [models[-1].predict(X[outer], rounds) for rounds in GRID_ROUNDS]
                score += [average_precision_score(y[outer], each) for each in found]
        if score.max() > best:
            best, chosen = score.max(), (GRID_ROUNDS[int(score.argmax())], depth, models)
    return chosen
