"""Shared by the peers of the job `losses`: float32 arrays of a case, and sums over blocks of rows."""

import numpy as np

# Rows of one block: close to the fastest of 128 .. 8192 for each of them (4 MB of results).
ROWS = 1024


def arrays(case):
    """Probabilities (n, K), row weights (n,) and mixtures (K, M), float32, and the constant that the row maxima add."""
    problem = case.problem
    return (
        problem.prob32,
        problem.row_weight.astype(np.float32),
        np.ascontiguousarray(case.mixtures.T.astype(np.float32)),
        case.constant,
    )


def sums(ready, logarithm):
    """Losses (M,): a product, a logarithm in place and a sum for each block."""
    prob, weight, flat, constant = ready
    buffer = np.empty((ROWS, flat.shape[1]), dtype=np.float32)
    total = np.zeros(flat.shape[1])
    for start in range(0, len(prob), ROWS):
        block = prob[start : start + ROWS]
        mixed = np.matmul(block, flat, out=buffer[: len(block)])
        logarithm(mixed)
        total -= weight[start : start + ROWS] @ mixed
    return total - constant
