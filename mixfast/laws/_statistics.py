"""Measures of agreement between predicted and measured metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector

# With fewer values a rank correlation says nothing.
_FEWEST = 3


def rmse(y: Matrix, predicted: Matrix) -> Vector:
    """Root mean square errors (J,) over the runs that have both; inf where none has."""
    error = y - predicted
    seen = np.isfinite(error)
    total = np.where(seen, error, 0.0)
    count = seen.sum(axis=0)
    return np.where(count > 0, np.sqrt((total**2).sum(axis=0) / np.maximum(count, 1)), np.inf)


def spearman(a: Vector, b: Vector) -> float:
    """Spearman's rank correlation with averaged ties; NaN for fewer than 3 values or where one side is constant."""
    if a.size < _FEWEST:
        return float("nan")
    x, y = _ranks(a), _ranks(b)
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0.0 else float("nan")


def _ranks(values: Vector) -> Vector:
    """Ranks from 0 on; equal values share the mean of their ranks."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - 0.5 * (count + 1))[place.reshape(-1)]


def mean_known(values: Sequence[float]) -> float:
    """Mean of the values that are not NaN; NaN where none is."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
