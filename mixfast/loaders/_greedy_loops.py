"""The loop of Megatron-LM's blending indices, compiled by Numba. Imported inside functions only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.compiled import compiled


@compiled()
def greedy(
    weights: NDArray[np.float64], limits: NDArray[np.int64], domain: NDArray[np.int16], index: NDArray[np.int64]
) -> None:
    """Fill domain (N,) and index (N,): each sample goes to the domain with the largest deficit, the first one if several tie.

    A domain that has reached its limit (K,) is skipped. Fused multiply-add is not used: it would round differently.
    """
    had = np.zeros(len(weights), dtype=np.int64)
    for i in range(len(domain)):
        t = max(float(i), 1.0)
        best, most = -1, -np.inf
        for k in range(len(weights)):
            lack = weights[k] * t - float(had[k])
            if lack > most and had[k] < limits[k]:
                best, most = k, lack
        domain[i] = best
        index[i] = had[best]
        had[best] += 1
