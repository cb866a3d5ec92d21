"""The shares of many replicates of a solve, summed up."""

from __future__ import annotations

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector


def central_interval(shares: Matrix, level: float) -> tuple[Vector, Vector]:
    """Return the ends (K,) of the interval that contains the central fraction ``level`` of the replicates (M, K), M >= 1, of each share.

    Between two replicates the ends are interpolated, as by `numpy.quantile`, which loads `numpy.ma`: that takes as long as 200 replicates of
    a small table.

    >>> low, high = central_interval(np.array([[0.1], [0.2], [0.3], [0.4], [0.5]]), 0.5)
    >>> low.tolist(), high.tolist()
    ([0.2], [0.4])
    """
    ordered = np.sort(shares, axis=0)
    last, tail = len(ordered) - 1, 0.5 - 0.5 * level
    below, part = divmod(tail * last, 1.0)
    at, after = int(below), min(int(below) + 1, last)
    low = ordered[at] + part * (ordered[after] - ordered[at])
    high = ordered[last - at] + part * (ordered[last - after] - ordered[last - at])
    return low, high
