"""Data that several rooms test with: log-likelihoods of tokens, losses of runs, and solutions that have been checked."""

import numpy as np
from certificate import check

from mixfast import solve

# What a share of each domain does to the two losses of a planted log-linear law.
SLOPES = {
    "web": (-1.0, 0.3), "code": (0.2, -1.5), "books": (-0.3, -0.2), "maths": (0.1, -1.2), "c": (0.2, -1.7), "java": (0.3, -1.1),
}  # fmt: skip


def tokens(n=400, k=6, *, seed=0, dtype="f8", spread=1.5, lift=1.5, level=-3.0, shares=None):
    """Log-likelihoods of tokens that a mixture of the experts has drawn: the optimum has several shares."""
    rng = np.random.default_rng([seed, n, k])
    source = rng.choice(k, size=n, p=rng.dirichlet(np.full(k, 0.7)) if shares is None else shares)
    loglik = spread * rng.normal(size=(n, k)) + level
    loglik[np.arange(n), source] += lift
    return np.minimum(loglik, -0.01).astype(dtype)


def losses(domains, ratios, *, noise=0.0, seed=0):
    """Two losses of runs with these mixtures: ``2 + exp(w . slope)``, and noise."""
    values = 2.0 + np.exp(np.asarray(ratios) @ np.array([SLOPES[name] for name in domains]))
    return values + noise * np.random.default_rng([seed, len(values)]).standard_normal(values.shape)


def solved(table, region=None, **options):
    """A solution that is optimal and has passed the full check of the conditions of optimality."""
    solution = solve(table, region, **options)
    told = {key: options[key] for key in ("kl", "objective", "wear") if key in options}
    check(table, region, solution, **told, tol=max(1e-7, 2 * options.get("tol", 0.0)))
    assert solution.status == "optimal"
    assert solution.gap <= options.get("tol", 1e-8) * max(1.0, table.row_weight.sum())
    return solution
