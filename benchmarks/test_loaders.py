"""Loaders: microseconds per sample of 1 KB from memory, mixed from 24 domains, compared with other libraries.

The limits are the times of torch's loader for one fixed source, and for the samples of the same 24 sources in an order that is known in advance, without
mixing. The second is slower than the first because of cache misses: 24 objects are read instead of one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmarks import limits
from benchmarks.peers import Contender, lacks
from benchmarks.suite import Wrong, contenders
from mixfast import Mixture, MixtureSampler, loaders

SAMPLES, BYTES, DOMAINS = 20_000, 1024, 24


class Rows:
    """A map-style source: rows of a tensor in memory."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:
        return self.rows[i]


class Case(NamedTuple):
    """Sources by domain, the shares of the mixture, and how the sources are read."""

    sources: dict[str, Rows]
    weights: np.ndarray
    one: Rows
    stream: MixtureSampler
    samples: int
    batch_size: int
    workers: int


@lru_cache(maxsize=1)
def case_of(batch_size: int, workers: int) -> Case:
    """Sizes and shares are drawn."""
    import torch

    torch.set_num_threads(1)

    def tensor(size: int) -> Any:
        return torch.randint(256, (size, BYTES), dtype=torch.uint8)

    draw = np.random.default_rng(0)
    names = [f"domain {k}" for k in range(DOMAINS)]
    sizes = 1 + (draw.dirichlet(np.full(DOMAINS, 2.0)) * SAMPLES).astype(int)
    sources = {name: Rows(tensor(size)) for name, size in zip(names, sizes.tolist(), strict=True)}
    weights = draw.dirichlet(np.full(DOMAINS, 2.0))
    weights /= weights.sum()
    stream = MixtureSampler(Mixture(names, weights), loaders.sizes(sources), seed=0)
    return Case(sources, weights, Rows(tensor(SAMPLES)), stream, SAMPLES, batch_size, workers)


def read(case: Case, data: Any, **more: Any) -> int:
    """Read the samples of the case through torch's loader and return their number."""
    import torch.utils.data

    options = {"batch_size": case.batch_size, "num_workers": case.workers, **more}
    batches, had = iter(torch.utils.data.DataLoader(data, **options)), 0
    for _ in range(case.samples // case.batch_size):
        had += len(next(batches))
    return had


def _sampler(case: Case) -> int:
    return read(case, loaders.Sources(case.stream, case.sources), sampler=loaders.StreamSampler(case.stream))


def _dataset(case: Case) -> int:
    return read(case, loaders.StreamDataset(case.stream, case.sources, batch_size=case.batch_size))


class Ready:
    """The samples of the sources at (domain, index), read in an order that is known in advance."""

    def __init__(self, case: Case) -> None:
        self.each = list(case.sources.values())
        ready = case.stream.positions(0, case.samples)
        self.pairs = list(zip(ready.domain.tolist(), ready.index.tolist(), strict=True))

    def __getitem__(self, at: tuple[int, int]) -> Any:
        domain, index = at
        return self.each[domain][index]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.large)])
@pytest.mark.parametrize("batch_size", [32, 256])
@contenders(
    "loader",
    Contender("mixfast StreamSampler", _sampler, lambda: lacks("torch")),
    Contender("mixfast StreamDataset", _dataset, lambda: lacks("torch")),
)
def test_read(measure: Any, batch_size: int, workers: int, contender: Contender) -> None:
    """Twenty thousand samples, whole batches."""
    if lacks("torch"):
        pytest.skip("not installed: torch")
    case = case_of(batch_size, workers)

    def check(had: int) -> dict[str, Any]:
        if had != case.samples // batch_size * batch_size:
            raise Wrong(f"{had} samples came, expected {case.samples}")
        return {}

    def floors() -> dict[str, float]:
        ready = Ready(case)
        return {
            "one source": limits.median_seconds(lambda: read(case, case.one, shuffle=True)),
            "24 sources, ready order": limits.median_seconds(lambda: read(case, ready, sampler=ready.pairs)),
        }

    measure(
        contender, case, group=f"loader, batches of {batch_size}, {workers} workers", check=check, domains=DOMAINS,
        per=case.samples, unit="sample", limits=floors if "Sampler" in contender.name else None,
    )  # fmt: skip
