"""Compare Hessians of samples of the rows of a large table: by influence, and even.

A solve of a large table corrects a sample by the gradient of all rows, but takes most curvatures from the sample. The study measures how wrong
the sample's curvatures are in the worst direction of the shares in use, at the optimum w of 8192 rows that are chosen evenly. The influence
of a row is `max_k p_ik / (p_i . w)`.
"""

from __future__ import annotations

import numpy as np

from benchmarks import problems
from mixfast import ExpertTable, solve

_FIRST, _PARTS = 8192, (32, 8)
# Domains with a smaller share do not count as in use.
_IN_USE = 1e-6


def run(problem: str = "1e6x64", seed: int = 0) -> None:
    """Print the largest relative error of a curvature, of both kinds of samples."""
    case, rng = problems.build(problem), np.random.default_rng(seed)
    rows = case.shape[0]
    w = solve(ExpertTable.from_loglik(case.loglik[rng.choice(rows, _FIRST, replace=False)])).mixture.weights
    sums = case.prob @ w
    influence = case.prob.max(axis=1) / sums
    pulls = case.prob[:, w > _IN_USE] / sums[:, None]
    root = np.linalg.cholesky(pulls.T @ pulls / rows)
    print(f"{problem}, {rows:,} rows; relative error of the worst curvature among {pulls.shape[1]} domains in use")
    for part in _PARTS:
        errors = []
        for chance in (np.full(rows, 1.0 / part), np.minimum(1.0, rows / part * influence / influence.sum())):
            some = rng.random(rows) < chance
            sampled = (pulls[some] / chance[some, None]).T @ pulls[some] / rows
            inner = np.linalg.solve(root, np.linalg.solve(root, sampled).T)
            errors.append(np.abs(np.linalg.eigvalsh(inner) - 1.0).max())
        print(f"one row in {part:2d}: {errors[0]:.2f} even, {errors[1]:.2f} by influence")
