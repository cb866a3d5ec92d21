"""Features of ensembles at the level of tokens in numpy: float32 in blocks, as one would write it; groups of equal size."""

import numpy as np

name, job = "numpy float32, blocks", "features"


def reason():
    """It needs numpy only."""


def run(case):
    """Losses (M, G)."""
    loglik, mixtures, group = case.table.loglik, case.mixtures, case.group
    out = np.zeros((mixtures.shape[0], loglik.shape[0] // group))
    shares = mixtures.T.astype(np.float32)
    for start in range(0, loglik.shape[0], 20_000):
        block = np.exp(loglik[start : start + 20_000]) @ shares
        np.log(block, out=block)
        index = np.arange(start, start + block.shape[0]) // group
        for g in np.unique(index):
            out[:, g] -= block[index == g].sum(axis=0, dtype=np.float64) / group
    return out
