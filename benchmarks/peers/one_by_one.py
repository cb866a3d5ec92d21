"""Replicates without `solver.bootstrap`: each resampled table is solved separately, starting at the solution; a few are timed and scaled up."""

import time

import numpy as np

from benchmarks.facts import threads
from benchmarks.peers import reported

name, job, timer = "resampled tables, one by one", "bootstrap", reported

REPLICATES, MEASURED = 200, 5


def reason():
    """It needs mixfast only."""


def run(case):
    """Shares (5, K); the reported seconds are scaled to 200."""
    from mixfast import ExpertTable, solve

    table, solution = case
    rng = np.random.default_rng(0)
    shares, seconds = [], []
    for _ in range(MEASURED):
        counts = rng.multinomial(table.n_rows, np.full(table.n_rows, 1.0 / table.n_rows))
        # A weight of 0 would give 0 / 0 for rows without probability.
        weight = np.maximum(table.row_weight * counts, 1e-12 * table.row_weight.max())
        again = ExpertTable.from_loglik(table.loglik, weight=weight, domains=table.domains)
        began = time.perf_counter()
        shares.append(solve(again, start=solution.mixture, threads=threads()).mixture.weights)
        seconds.append(time.perf_counter() - began)
    reported.add(REPLICATES * float(np.median(seconds)))
    return np.array(shares)
