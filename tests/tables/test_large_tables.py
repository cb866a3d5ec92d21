"""Random problems with so many rows that sweeps are coarse at first and Hessians use some of the rows."""

import os

import numpy as np
import pytest
from certificate import check

from mixfast import ExpertTable, Region, solve
from mixfast.errors import InfeasibleError

# MIXFAST_LARGE=500 runs that many, each about a quarter of a second.
COUNT = int(os.environ.get("MIXFAST_LARGE", "12"))


def problem(seed):
    """Return a table of 33 000 to 90 000 rows from a sparse mixture of Gaussian experts, a region, and options of `solve`."""
    rng = np.random.default_rng(seed)
    rows, domains = int(rng.choice([33_000, 50_000, 90_000])), int(rng.choice([3, 5, 8, 16, 24, 40, 64, 120]))
    latent = int(rng.integers(1, 6))
    mean = float(rng.choice([0.3, 1.0, 3.0])) * rng.standard_normal((domains, latent))
    truth = rng.permutation(domains)[: max(2, domains // 3)]
    x = mean[rng.choice(truth, rows, p=rng.dirichlet(np.ones(truth.size)))] + rng.standard_normal((rows, latent))
    loglik = x @ mean.T - 0.5 * (mean**2).sum(axis=1) - 0.5 * (x**2).sum(axis=1)[:, None]
    given = {}
    if rng.random() < 0.3:
        given["weight"] = rng.exponential(size=rows) / rows * float(rng.choice([1e-3, 1.0, 100.0]))
    elif rng.random() < 0.3:
        given["length"] = rng.integers(1, 300, rows)
    table = ExpertTable.from_loglik(loglik.astype(rng.choice(["f4", "f4", "f2", "f8"])), **given)
    limits = {}
    if rng.random() < 0.5:
        limits["cap"] = np.minimum(1.0, rng.uniform(1.2, 4.0, domains) / domains)
    if rng.random() < 0.3:
        limits["floor"] = rng.uniform(0.0, 0.3, domains) / domains
    if rng.random() < 0.3:
        limits["bounds"] = {"half": (list(table.domains[: domains // 2]), 0.1, 0.7)}
    limits["prior"] = rng.dirichlet(np.ones(domains))
    try:
        region = Region(table.domains, **limits)
    except InfeasibleError:
        region = None
    return table, region, float(rng.choice([0.0, 0.0, 0.001, 0.05]))


@pytest.mark.parametrize("seed", range(COUNT))
def test_every_answer_is_certified(seed):
    table, region, kl = problem(seed)
    solution = solve(table, region, kl=kl)
    assert solution.status == "optimal"
    check(table, region, solution, kl=kl)
