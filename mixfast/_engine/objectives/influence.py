"""A sample of the rows that holds those with much influence on the optimum, and stands for all others.

Under shares w, row i pulls domain k by ``v_ik = p_ik / (p_i . w)``. Few rows have a large v: those that a domain of a small share, or of
none, explains far better than the mixture does. They decide the Hessian, so that a sample in which every row has the same chance misses
most of it: on tables of tokens its optimum is hardly nearer to that of all rows if it has 50 times as many rows. A row's chance is
therefore proportional to ``max_k v_ik``, and its weight in the sample is divided by that chance.

References: Clarkson, "Coresets, sparse greedy approximation, and the Frank-Wolfe algorithm" (2010), for samples that stand for all rows;
Cohen and Peng, "L_p row sampling by Lewis weights" (STOC 2015), for chances by leverage, of which ``max_k v_ik`` is an upper estimate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Vector


def by_influence(influence: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], Vector]:
    """Return ascending indices of at most `count` rows, and by how much to multiply the weight of each.

    `influence` (n,) is at least 0. The sample is systematic: row i holds the interval of its influence on a line, and the rows at evenly
    spaced points of the line are taken. A row that is longer than the distance of the points is always among them.
    """
    line = np.cumsum(influence, dtype=np.float64)
    apart = line[-1] / count
    at = (np.arange(count) + 0.5) * apart
    index = np.minimum(np.searchsorted(line, at, side="right"), influence.size - 1)
    index = index[np.append(True, index[1:] > index[:-1])]
    return index, np.maximum(apart / influence[index], 1.0)
