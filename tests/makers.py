"""Test data for several rooms: log-likelihoods of tokens, losses of runs, and checked solutions."""

from itertools import pairwise

import numpy as np
from certificate import check

from mixfast import ExpertTable, solve

# Effect of a share of each domain on the two losses of a known log-linear law.
SLOPES = {
    "web": (-1.0, 0.3), "code": (0.2, -1.5), "books": (-0.3, -0.2), "maths": (0.1, -1.2), "c": (0.2, -1.7), "java": (0.3, -1.1),
}  # fmt: skip


def tokens(n=400, k=6, *, seed=0, dtype="f8", spread=1.5, lift=1.5, level=-3.0, shares=None):
    """Return log-likelihoods of tokens sampled from a mixture of the experts; several shares are above 0 at the optimum."""
    rng = np.random.default_rng([seed, n, k])
    source = rng.choice(k, size=n, p=rng.dirichlet(np.full(k, 0.7)) if shares is None else shares)
    loglik = spread * rng.normal(size=(n, k)) + level
    loglik[np.arange(n), source] += lift
    return np.minimum(loglik, -0.01).astype(dtype)


def losses(domains, ratios, *, noise=0.0, seed=0):
    """Return two losses of runs with these mixtures: ``2 + exp(w . slope)`` plus noise."""
    values = 2.0 + np.exp(np.asarray(ratios) @ np.array([SLOPES[name] for name in domains]))
    return values + noise * np.random.default_rng([seed, len(values)]).standard_normal(values.shape)


def solved(table, region=None, **options):
    """Return a solution that is optimal and has passed the full check of the optimality conditions."""
    solution = solve(table, region, **options)
    told = {key: options[key] for key in ("kl", "objective", "wear") if key in options}
    check(table, region, solution, **told, tol=max(1e-7, 2 * options.get("tol", 0.0)))
    assert solution.status == "optimal"
    assert solution.gap <= options.get("tol", 1e-8) * max(1.0, table.row_weight.sum())
    return solution


def parts(folder, cuts, loglik, **facts):
    """Write rows as parts that end at these rows, every second one with its domains in reverse order; return both tables of them."""
    domains = [f"domain_{k}" for k in range(loglik.shape[1])]
    folder.mkdir(exist_ok=True)
    for number, (first, last) in enumerate(pairwise((0, *cuts))):
        step = -1 if number % 2 else 1
        own = {name: array if name == "group_names" else array[first:last] for name, array in facts.items()}
        values = np.ascontiguousarray(loglik[first:last, ::step])
        np.savez(folder / f"part-{number}.npz", loglik=values, domains=np.array(domains[::step]), **own)
    return ExpertTable.load(folder), ExpertTable.from_loglik(loglik, domains=domains, **facts)
