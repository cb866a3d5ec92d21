"""Random problems with far more domains than rows: every answer is feasible, certified, and found within a time limit.

They have 2 to 60 rows and 100 to 1500 domains under caps, floors and limits on groups, with KL terms, "worst", weights over 24 decades, squared
errors and wear. A few run by default; ``MIXFAST_WIDE=300`` runs that many. A failure names the seed, and ``problem(seed)`` makes the problem
again. Numpy warnings are errors here.
"""

import os
import warnings
from typing import Any

import numpy as np
import pytest
from nasty import Problem

from mixfast import ExpertTable, Region, solve
from mixfast.errors import MixfastWarning

COUNT = int(os.environ.get("MIXFAST_WIDE", "12"))


def problem(seed: int, most: int = 1500) -> Problem:
    """Return the problem of a seed, with at most this many domains."""
    rng = np.random.default_rng([seed, 1611])
    n, k = int(rng.integers(2, 61)), int(rng.integers(100, most + 1))
    domains = [f"d{i}" for i in range(k)]
    objective = "worst" if rng.random() < 0.3 else None
    kl = float(10.0 ** rng.uniform(-8, 1)) if rng.random() < 0.35 else 0.0
    table = _table(rng, n, k, domains)
    # A mixture that satisfies all limits.
    inside = rng.dirichlet(np.full(k, float(rng.choice([0.1, 1.0, 10.0]))))
    options: dict[str, Any] = {}
    worn = table.kind == "ce" and rng.random() < 0.15
    if rng.random() < 0.6 and not worn:
        options["cap"] = np.minimum(np.maximum(float(rng.choice([1.5, 4.0, 20.0])) / k, 1.1 * inside), 1.0)
    if rng.random() < 0.3:
        options["floor"] = inside * rng.uniform(0.0, 0.9, size=k) * (rng.random(k) < 0.5)
    if rng.random() < 0.3:
        options["bounds"] = _bounds(rng, k, domains, inside)
    if kl and rng.random() < 0.5:
        options["prior"] = rng.dirichlet(np.ones(k))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixfastWarning)
        if not worn:
            return Problem(table, Region(domains, **options) if options else None, kl, objective, None)
        tokens = dict(zip(domains, rng.integers(10**6, 10**9, k).tolist(), strict=True))
        # Limits around a mixture that the token counts allow: each domain by its tokens.
        options.pop("bounds", None)
        options.pop("floor", None)
        run = int(sum(tokens.values()) * rng.uniform(0.5, 3))
        region = Region.from_tokens(tokens, run, max_epochs=1000, **options)
        return Problem(table, region, kl, objective, float(10.0 ** rng.uniform(0, 2)))


def _table(rng: np.random.Generator, n: int, k: int, domains: list[str]) -> ExpertTable:
    options: dict[str, Any] = {"domains": domains}
    groups = int(rng.integers(1, min(n, 5) + 1))
    if groups > 1:
        options["group"] = np.concatenate([np.arange(groups), rng.integers(0, groups, n - groups)])
    if rng.random() < 0.4:
        decades = float(rng.choice([1.0, 6.0, 12.0]))
        options["weight"] = 10.0 ** rng.uniform(-decades, decades, size=n)
    if rng.random() < 0.15:
        options.pop("weight", None)
        return ExpertTable.from_predictions(rng.normal(size=(n, k)), rng.normal(size=n) + 1.0, **options)
    style = rng.integers(0, 4)
    if style == 0:
        loglik = -rng.exponential(3.0, size=(n, k))
    elif style == 1:
        loglik = rng.normal(size=(n, k)) * float(rng.choice([1e-3, 0.3, 3.0])) - 4.0
    elif style == 2:
        loglik = -rng.uniform(0, 2000, size=(n, 1)) - rng.exponential(float(rng.choice([10, 100])), size=(n, k))
    else:
        # Some experts are copies of other experts, and some rows are copies of other rows.
        loglik = -rng.exponential(3.0, size=(n, k))[rng.integers(0, n, n)][:, rng.integers(0, k, k)]
    return ExpertTable.from_loglik(loglik.astype(np.float32 if rng.random() < 0.5 else np.float64), **options)


def _bounds(rng: np.random.Generator, k: int, domains: list[str], inside: np.ndarray) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for b in range(int(rng.integers(1, 5))):
        members = np.flatnonzero(rng.random(k) < float(rng.choice([0.05, 0.5])))
        if not members.size:
            continue
        level = float(inside[members].sum())
        width = float(rng.choice([0.0, 1e-9, 0.1, 0.5])) * level
        out[f"b{b}"] = ([domains[i] for i in members], max(level - width, 0.0), level + width)
    return out


def verify(seed: int, most: int = 1500) -> str | None:
    """Return what is wrong with the answer to a seed's problem, or None."""
    case = problem(seed, most)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", MixfastWarning)
        solution = solve(case.table, case.region, kl=case.kl, objective=case.objective, wear=case.wear, threads=1)
    if solution.status == "user_limit":
        return f"seed {seed}: the steps ran out at a gap of {solution.gap:.3g}"
    return case.judged(f"seed {seed}", solution)


# Rational numbers are slow: the tests use fewer domains than problems run by hand.
@pytest.mark.filterwarnings("ignore::mixfast.errors.MixfastWarning")
@pytest.mark.parametrize("seed", range(COUNT))
def test_every_wide_answer_is_feasible_and_its_gap_bounds_the_truth(seed):
    assert (wrong := verify(seed, 1500 if COUNT > 100 else 300)) is None, wrong
