"""Designs: the mixtures of a swarm, and the runs to train next."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmarks import runs
from benchmarks.peers import Contender
from benchmarks.suite import contenders
from mixfast import Region, Swarm, designs, fit


def region_of(domains: int) -> Region:
    """Token counts over three orders of magnitude, at most four epochs."""
    rng = np.random.default_rng(0)
    tokens = (1e12 * np.exp(rng.normal(0.0, 1.5, domains)) / domains).astype(np.int64)
    available = {f"domain {k}": int(count) for k, count in enumerate(tokens)}
    return Region.from_tokens(available, int(tokens.sum()))


@pytest.mark.parametrize(("method", "domains"), [("cover", 24), ("cover", 64), ("regmix", 24), ("olmix", 24)])
def test_design(measure: Any, domains: int, method: str) -> None:
    """A swarm of five runs a domain by each method; the samplers that reject find none within the caps of 64 domains."""
    region, count = region_of(domains), 5 * domains
    measure(
        Contender("mixfast", lambda it: designs.design(it, count, seed=0, method=method)), region,
        group=f"design {method}, {domains} domains, {count} runs", rows=count, domains=domains, quantity="design",
    )  # fmt: skip


class Search(NamedTuple):
    """Runs that were tried, and all there are to choose from."""

    tried: Swarm
    everything: Swarm
    q: int


def _next(way: str, law: str) -> Any:
    def run(case: Search) -> list[int]:
        region = Region(case.tried.domains)
        fitted = fit(case.tried, law, folds=0)
        found = designs.next_runs(case.tried, fitted, region, case.q, way=way, among=case.everything)
        return [int(run) for run in found.design.runs]

    return run


@contenders(
    "next_runs",
    Contender("mixfast improvement gp", _next("improvement", "gp")),
    Contender("mixfast information log-linear", _next("information", "log_linear")),
)
def test_next_runs(measure: Any, contender: Contender) -> None:
    """Eight runs to train next, of 512, after 32: the fit of the law included."""
    name, x, y = runs.runs()
    everything = runs.as_swarm(x, y[:, :1])
    case = Search(everything.subset(np.arange(32)), everything, 8)
    measure(contender, case, group=f"next runs, {name}", rows=len(x), domains=x.shape[1], quantity="choice of 8")
