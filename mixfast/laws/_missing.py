"""Metrics that some runs lack: those that the same runs have are fitted together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix


def by_missing(y: Matrix) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.intp]]]:
    """Yield the metrics that the same runs have: those runs (R,) bool, and the metrics' indices.

    Raises
    ------
    ValueError
        Where no run has a value of a metric.
    """
    patterns, which = np.unique(~np.isnan(y), axis=1, return_inverse=True)
    for index, rows in enumerate(patterns.T):
        columns = np.flatnonzero(which.ravel() == index)
        if not rows.any():
            raise ValueError(f"metrics {columns.tolist()} have no value in any of the {len(y)} runs; leave them out")
        yield rows, columns
