"""``python -m benchmarks.loader``: does mixing slow a torch DataLoader that serves 1 KB samples from memory?

Contenders over the same tensor of samples, in one process, in turn: one fixed source read as torch reads it by itself
(shuffled by a RandomSampler), and the same samples cut into domains, mixed by a stream. A round times each for about half a
second, in an order drawn anew; the ratio of a round is taken within it, and the median of the ratios counts.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

TARGET = 1.05
SAMPLES, BYTES = 200_000, 1024


class Rows:
    """A map-style source: rows of a tensor in memory."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:
        return self.rows[i]


def contenders(domains: int, batch_size: int, workers: int) -> dict[str, Callable[[], Iterator[Any]]]:
    """Loaders by name; each call starts a pass that does not end while it is timed."""
    import torch.utils.data

    from mixfast import Mixture, MixtureSampler, loaders

    rows = torch.zeros((SAMPLES, BYTES), dtype=torch.uint8)
    share = np.random.default_rng(0).dirichlet(np.full(domains, 2.0))
    names = [f"domain {k}" for k in range(domains)]
    size = np.maximum((share * SAMPLES).astype(int), 1)
    ends = np.minimum(np.cumsum(size), SAMPLES)
    sources = {n: Rows(rows[e - s : e]) for n, s, e in zip(names, size.tolist(), ends.tolist(), strict=True)}
    weights = np.random.default_rng(1).dirichlet(np.full(domains, 2.0))
    stream = MixtureSampler(Mixture(names, weights / weights.sum()), loaders.sizes(sources), seed=0)

    one = Rows(rows)

    class OneIterable(torch.utils.data.IterableDataset):  # type: ignore[misc]
        def __iter__(self) -> Iterator[Any]:
            order = torch.randperm(SAMPLES).tolist()
            return (one[i] for i in itertools.cycle(order))

    options: dict[str, Any] = {"batch_size": batch_size, "num_workers": workers}
    random_order = torch.utils.data.RandomSampler(one, num_samples=10**7)
    loader = torch.utils.data.DataLoader
    return {
        "one source": lambda: iter(loader(one, sampler=random_order, **options)),
        "StreamSampler": lambda: iter(
            loader(loaders.Sources(stream, sources), sampler=loaders.StreamSampler(stream), **options)
        ),
        "one iterable source": lambda: iter(loader(OneIterable(), **options)),
        "StreamDataset": lambda: iter(loader(loaders.StreamDataset(stream, sources, batch_size=batch_size), **options)),
    }


def measure(domains: int, batch_size: int, workers: int, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Microseconds a sample of each contender in each round."""
    found: dict[str, list[float]] = {}
    running = {name: make() for name, make in contenders(domains, batch_size, workers).items()}
    for batches in running.values():
        for _ in range(50):
            next(batches)
    draw = random.Random(0)
    for _ in range(rounds):
        for name in draw.sample(list(running), len(running)):
            batches, done, start = running[name], 0, time.perf_counter()
            while (spent := time.perf_counter() - start) < seconds:
                for _ in range(20):
                    next(batches)
                done += 20
            found.setdefault(name, []).append(1e6 * spent / (done * batch_size))
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader")
    parser.add_argument("--domains", type=int, default=24)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.3)
    options = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    worst = 0.0
    print(
        f"{options.domains} domains, samples of {BYTES} bytes, {os.cpu_count()} processors, torch {torch.__version__}"
    )
    for workers, batch_size in itertools.product(options.workers, options.batch_size):
        found = measure(options.domains, batch_size, workers, options.rounds, options.seconds)
        for ours, theirs in (("StreamSampler", "one source"), ("StreamDataset", "one iterable source")):
            ratios = [a / b for a, b in zip(found[ours], found[theirs], strict=True)]
            ratio = statistics.median(ratios)
            worst = max(worst, ratio)
            print(
                f"{workers} workers, batches of {batch_size}: {ours} {statistics.median(found[ours]):.2f} us a sample, "
                f"{theirs} {statistics.median(found[theirs]):.2f}; ratio {ratio:.3f} ({min(ratios):.2f} to {max(ratios):.2f})"
            )
    print(f"largest ratio {worst:.3f}, target {TARGET}: {'met' if worst <= TARGET else 'missed'}")
    return int(worst > TARGET)


if __name__ == "__main__":
    sys.exit(main())
