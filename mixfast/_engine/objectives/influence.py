"""A sample of the rows that holds those with much influence on the optimum, and stands for all others.

Under shares w, row i pulls domain k by ``v_ik = p_ik / (p_i . w)``. Few rows have a large v: those that a domain of a small share, or of
none, explains far better than the mixture does. They decide the Hessian, and a sample in which every row has the same chance misses
most of them. A row's chance is therefore proportional to ``max_k v_ik``, and its weight in the sample is divided by that chance.

References: Clarkson, "Coresets, sparse greedy approximation, and the Frank-Wolfe algorithm" (2010), for samples that stand for all rows;
Cohen and Peng, "L_p row sampling by Lewis weights" (STOC 2015), for chances by leverage, of which ``max_k v_ik`` is an upper estimate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import rows
from mixfast._engine.backend.arrays import Vector


def by_influence(
    influence: NDArray[np.float32], weight: Vector | None, count: int
) -> tuple[NDArray[np.int64], Vector] | None:
    """Return ascending indices of about `count` rows, and by how much to multiply the weight of each; None if the influence has no bound.

    `influence` (n,) is that of a row of weight 1, and is overwritten; `weight` (n,), of about 1 on average, or None for equal weights. The sample is systematic: row i
    holds the interval of its influence on a line, and the rows at evenly spaced points of the line are taken. A row that is longer than the
    distance of the points is always among them.
    """
    if weight is not None:
        with np.errstate(over="ignore", under="ignore"):
            influence *= weight
    return rows.by_influence(influence, count)
