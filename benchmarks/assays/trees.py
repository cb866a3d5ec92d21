"""Boosted trees of XGBoost on fingerprints.

Three shortcuts change no result. Fingerprints are given as sparse rows, so XGBoost splits on "present" against "absent", which are the only two values of a bit.
Bits that are present, or absent, in so few rows that no split on them can have the smallest curvature that XGBoost asks of a child are left out.
And rows of several assays with the same molecule are one row: its label is the weighted share of positives, its weight the sum of the weights. The gradient
``sum_i v_i (p - y_i)`` and the curvature ``sum_i v_i p (1 - p)`` of the log-loss are the same, and the trees depend on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RATE = 0.1
# The settings of the paper for models that are trained on a mixture.
ROUNDS, DEPTH = 100, 6
# XGBoost's default for min_child_weight. The curvature of a row is at most a quarter of its weight.
_LEAST = 1.0


@dataclass(frozen=True)
class Trees:
    """A fitted model."""

    booster: Any
    bits: NDArray[np.intp]  # that it was fitted to

    def predict(self, X: Any, rounds: int = 0) -> Array:
        """Return the probability of the second class, (n,), with the first so many trees; 0 stands for all."""
        return self.booster.inplace_predict(X[:, self.bits], iteration_range=(0, rounds)).astype(np.float64)


def fit(X: Any, y: Array, weight: Array | None = None, *, rounds: int = ROUNDS, depth: int = DEPTH) -> Trees:
    """Fit trees to sparse rows with labels from 0 to 1."""
    import xgboost

    given = np.ones(len(y)) if weight is None else weight
    present = X.T @ given
    bits = np.flatnonzero(0.25 * np.minimum(present, given.sum() - present) >= _LEAST * (1.0 - 1e-4))
    rows = xgboost.QuantileDMatrix(X[:, bits], y, weight=weight, max_bin=2, nthread=1)
    settings = {
        "objective": "binary:logistic", "tree_method": "hist", "max_bin": 2, "eta": RATE, "max_depth": depth, "nthread": 1,
        "min_child_weight": _LEAST,
    }  # fmt: skip
    booster = xgboost.Booster(settings, [rows])
    for step in range(rounds):
        booster.update(rows, step)
    return Trees(booster, bits)


def collapse(values: NDArray[np.float32], weight: Array) -> tuple[NDArray[np.intp], Array, Array]:
    """Return the molecules (n,) with any weight, their labels and their weights.

    values : (M, K) labels 0 or 1; anything where the weight is 0
    weight : (M, K) weight of each measurement, 0 for those that are left out
    """
    total = weight.sum(axis=1)
    positive = np.where(weight > 0.0, values, 0.0)
    rows = np.flatnonzero(total > 0.0)
    share = (weight[rows] * positive[rows]).sum(axis=1) / total[rows]
    return rows, np.clip(share, 0.0, 1.0), total[rows]
