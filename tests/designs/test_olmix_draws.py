"""Olmix's sampler against swarms sampled by Olmix's own code: means, spread, zeros and quantiles of every share.

``olmix_draws.json`` holds, for each configuration, statistics of swarms of Olmix's ``mk_mixtures`` (allenai/olmix at 9586977981e01b60,
Python 3.11, numpy 2.4), averaged over 40 seeds, with the standard error of each average.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mixfast.designs import Design, design, extend
from mixfast.readers import olmix_generate

RECORDED = json.loads((Path(__file__).parent / "olmix_draws.json").read_text(encoding="utf-8"))

# Runs of the pickle that the configuration "existing" refers to.
EXISTING = [
    [1, 0, 0, 0, 0],
    [0, 1, 0, 0, 0],
    [0, 0, 1, 0, 0],
    [0, 0, 0, 1, 0],
    [0.75, 0.25, 0, 0, 0],
    [0.5, 0.25, 0.25, 0, 0],
]

SWARMS = 40
# Two averages of equal distributions differ by more than this in 1 of 2 million comparisons.
SIGMAS = 5.0
# Half a unit of the last recorded digit.
ROUNDED = 5e-5


def statistics(rows):
    """Return mean, standard deviation, frequency of 0 and three quantiles of each share; total zeros, and the variation of their number."""
    parts = [rows.mean(axis=0), rows.std(axis=0), (rows == 0).mean(axis=0), *np.quantile(rows, [0.1, 0.5, 0.9], axis=0)]
    return np.concatenate([*parts, [(rows == 0).mean(), (rows > 0).sum(axis=1).std()]])


def drawn(given, seed):
    """Sample one swarm of a configuration."""
    if given.existing is None:
        return design(given.region, given.runs, seed=seed, method=given.sampler)
    known = Design(np.array(EXISTING), ("web", "code", "books", "maths", "wiki"), tuple("abcdef"), "given", 18)
    return extend(known, given.region, given.runs, seed=seed, method=given.sampler)


@pytest.mark.parametrize("name", RECORDED)
def test_draws_have_the_distribution_of_olmix_own(name, tmp_path):
    recorded = RECORDED[name]
    path = tmp_path / "generate.json"
    path.write_text(json.dumps(recorded["config"]), encoding="utf-8")
    given = olmix_generate(path)
    assert given.runs == 64
    order = [given.region.domains.index(domain) for domain in recorded["domains"]]
    ours = np.array([statistics(drawn(given, seed).ratios[:, order]) for seed in range(SWARMS)])
    error = np.hypot(ours.std(axis=0, ddof=1) / np.sqrt(SWARMS), recorded["error"])
    apart = np.abs(ours.mean(axis=0) - recorded["mean"])
    assert (apart <= SIGMAS * error + ROUNDED).all(), np.round(apart / (error + ROUNDED / SIGMAS), 1).tolist()
