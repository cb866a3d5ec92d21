"""``python -m benchmarks.loader``: does mixing slow a torch DataLoader that serves 1 KB samples from memory?

Contenders: one fixed source, as torch reads it by itself (shuffled, by a RandomSampler or in an IterableDataset), and as
many samples in 24 domains, mixed by a stream. They run in turn in one process, in an order drawn anew each round; a ratio
is taken within a round, and the median of the ratios counts. Beside it stands the floor: the same samples of the same 24
sources in the same order, out of a list made before, so that nothing is mixed. What that costs more than one source are
misses of the processor's cache, on 24 objects in place of one.

What is compared is processor time, of the workers too: other work on the machine moves it little. The time on the clock
is printed beside it; it is the same on an idle machine without workers.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

TARGET = 1.05
SAMPLES, BYTES = 100_000, 1024


class Rows:
    """A map-style source: rows of a tensor in memory."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:
        return self.rows[i]


def contenders(domains: int, batch_size: int, workers: int) -> dict[str, Callable[[], Any]]:
    """Makers of loaders, by name."""
    import torch.utils.data

    from mixfast import Mixture, MixtureSampler, loaders

    def tensor(size: int) -> Any:
        return torch.randint(256, (size, BYTES), dtype=torch.uint8)

    draw = np.random.default_rng(0)
    names = [f"domain {k}" for k in range(domains)]
    sizes = 1 + (draw.dirichlet(np.full(domains, 2.0)) * SAMPLES).astype(int)
    sources = {name: Rows(tensor(size)) for name, size in zip(names, sizes.tolist(), strict=True)}
    weights = draw.dirichlet(np.full(domains, 2.0))
    stream = MixtureSampler(Mixture(names, weights / weights.sum()), loaders.sizes(sources), seed=0)
    one = Rows(tensor(SAMPLES))

    class OneIterable(torch.utils.data.IterableDataset):  # type: ignore[misc]
        def __iter__(self) -> Iterator[Any]:
            for i in torch.randperm(SAMPLES).tolist():
                yield one[i]

    ready = stream.positions(0, SAMPLES)
    pairs = list(zip(ready.domain.tolist(), ready.index.tolist(), strict=True))
    each = [sources[name] for name in names]

    class Ready:
        def __getitem__(self, at: tuple[int, int]) -> Any:
            domain, index = at
            return each[domain][index]

        def __getitems__(self, batch: list[tuple[int, int]]) -> list[Any]:
            return [each[domain][index] for domain, index in batch]

    class ReadyIterable(torch.utils.data.IterableDataset):  # type: ignore[misc]
        def __iter__(self) -> Iterator[Any]:
            for domain, index in pairs:
                yield each[domain][index]

    options: dict[str, Any] = {"batch_size": batch_size, "num_workers": workers}
    loader = torch.utils.data.DataLoader
    return {
        "one source": lambda: loader(one, shuffle=True, **options),
        "StreamSampler": lambda: loader(
            loaders.Sources(stream, sources), sampler=loaders.StreamSampler(stream), **options
        ),
        "ready sources": lambda: loader(Ready(), sampler=pairs, **options),
        "ready iterable sources": lambda: loader(ReadyIterable(), **options),
        "one iterable source": lambda: loader(OneIterable(), **options),
        "StreamDataset": lambda: loader(loaders.StreamDataset(stream, sources, batch_size=batch_size), **options),
    }


def measure(
    domains: int, batch_size: int, workers: int, rounds: int, samples: int
) -> dict[str, list[tuple[float, float]]]:
    """Microseconds a sample of each contender in each round: of processors, and on the clock."""
    makers = contenders(domains, batch_size, workers)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in makers}
    draw = random.Random(0)
    for lap in range(rounds + 1):
        for name in draw.sample(list(makers), len(makers)):
            loader = makers[name]()
            used, clock = _processors(), time.perf_counter()
            batches = iter(loader)
            for _ in range(samples // batch_size):
                next(batches)
            del batches  # its workers end, and their time is counted
            spent = _processors() - used, time.perf_counter() - clock
            if lap:
                found[name].append((1e6 * spent[0] / samples, 1e6 * spent[1] / samples))
    return found


def _processors() -> float:
    """Seconds of processors that this process and those it has waited for have used."""
    each = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in each)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader")
    parser.add_argument("--domains", type=int, default=24)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--samples", type=int, default=SAMPLES, help="of each contender in each round")
    options = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    worst = 0.0
    print(
        f"{options.domains} domains, samples of {BYTES} bytes, {os.cpu_count()} processors, torch {torch.__version__}"
    )
    for workers, batch_size in itertools.product(options.workers, options.batch_size):
        found = measure(options.domains, batch_size, workers, options.rounds, options.samples)
        for ours, theirs, floor in (
            ("StreamSampler", "one source", "ready sources"),
            ("StreamDataset", "one iterable source", "ready iterable sources"),
        ):
            ratio, clock, least = (
                statistics.median(a[j] / b[j] for a, b in zip(found[name], found[theirs], strict=True))
                for name, j in ((ours, 0), (ours, 1), (floor, 0))
            )
            worst = max(worst, ratio)
            a, b = (statistics.median(spent[0] for spent in found[name]) for name in (ours, theirs))
            print(
                f"{workers} workers, batches of {batch_size}: {ours} {a:.2f} us a sample, {theirs} {b:.2f}; "
                f"ratio {ratio:.3f} (on the clock {clock:.3f}; floor {least:.3f})"
            )
    print(f"largest ratio {worst:.3f}, target {TARGET}: {'met' if worst <= TARGET else 'missed'}")
    return int(worst > TARGET)


if __name__ == "__main__":
    sys.exit(main())
