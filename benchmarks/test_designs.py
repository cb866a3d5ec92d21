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
    """Return a region: token counts over three orders of magnitude, at most four epochs."""
    rng = np.random.default_rng(0)
    tokens = (1e12 * np.exp(rng.normal(0.0, 1.5, domains)) / domains).astype(np.int64)
    available = {f"domain {k}": int(count) for k, count in enumerate(tokens)}
    return Region.from_tokens(available, int(tokens.sum()))


@pytest.mark.parametrize(("method", "domains"), [("cover", 24), ("cover", 64), ("regmix", 24), ("olmix", 24)])
def test_design(measure: Any, domains: int, method: str) -> None:
    """A swarm of five runs per domain, by each method; samplers that reject draws find none within the caps of 64 domains."""
    region, count = region_of(domains), 5 * domains
    measure(
        Contender("mixfast", lambda it: designs.design(it, count, seed=0, method=method)), region,
        group=f"design {method}, {domains} domains, {count} runs", rows=count, domains=domains, quantity="design",
    )  # fmt: skip


class Search(NamedTuple):
    """The runs tried so far, and all candidates."""

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
    """The choice of eight next runs out of 512, after 32 runs, including the fit of the law."""
    name, x, y = runs.runs()
    everything = runs.as_swarm(x, y[:, :1])
    case = Search(everything.subset(np.arange(32)), everything, 8)
    measure(contender, case, group=f"next runs, {name}", rows=len(x), domains=x.shape[1], quantity="choice of 8")
