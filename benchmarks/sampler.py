"""Blend streams: samples a second beside Megatron's loop and other loaders' ways, start-up, random access and resuming.

``python -m benchmarks.sampler [--quick] [--count]``; figures go to results/sampler.csv. One thread. Megatron's published
greedy rule is compiled here with ``cc -O3``. Rounds of all contenders follow one another, so that a ratio is of one run
on one machine; medians over the rounds. ``--count`` counts 10^9 samples in a row and holds them against their shares.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DOMAINS = (8, 64, 512, 2419)
# Times faster than Megatron's loop, by number of domains.
TARGETS = {8: 1.5, 64: 4.0, 512: 30.0, 2419: 150.0}
SAMPLES = 1 << 19

# Error diffusion, as `build_blending_indices` of Megatron-LM's helpers.cpp: the domain that lacks most comes next.
MEGATRON = """
#include <stdint.h>
void blend(int16_t *dataset, int64_t *sample, const double *weight, int32_t n, int64_t size, int64_t *count) {
    for (int32_t i = 0; i < n; i++) count[i] = 0;
    for (int64_t k = 0; k < size; k++) {
        const double t = k > 1 ? (double)k : 1.0;
        double most = weight[0] * t - (double)count[0];
        int64_t best = 0;
        for (int64_t i = 1; i < n; i++) {
            const double lacks = weight[i] * t - (double)count[i];
            if (lacks > most) most = lacks, best = i;
        }
        dataset[k] = (int16_t)best;
        sample[k] = count[best]++;
    }
}
"""


def megatron(weights: NDArray[np.float64]) -> tuple[Callable[[], None], int]:
    """The greedy loop, compiled, and how many samples a call makes: enough to time, whatever the number of domains."""
    folder = Path(tempfile.mkdtemp())
    (folder / "blend.c").write_text(MEGATRON)
    command = [os.environ.get("CC", "cc"), "-O3", "-shared", "-fPIC", "-o", str(folder / "blend.so"), "blend.c"]
    subprocess.run(command, cwd=folder, check=True)
    blend = ctypes.CDLL(str(folder / "blend.so")).blend
    size = max(20_000, 20_000_000 // len(weights))
    arrays = [np.empty(size, dtype=np.int16), np.empty(size, dtype=np.int64), weights, np.empty(len(weights), np.int64)]
    dataset, sample, weight, count = (ctypes.c_void_p(array.ctypes.data) for array in arrays)

    def call(keep: list[NDArray[np.int64]] = arrays) -> None:
        blend(dataset, sample, weight, ctypes.c_int32(len(weights)), ctypes.c_int64(size), count)

    return call, size


def numpy_choice(weights: NDArray[np.float64]) -> tuple[Callable[[], object], int]:
    """Draws in blocks of 1000, as Hugging Face datasets does."""
    rng = np.random.default_rng(0)
    return lambda: [rng.choice(len(weights), size=1000, p=weights) for _ in range(100)], 100_000


def torch_multinomial(weights: NDArray[np.float64]) -> tuple[Callable[[], object], int]:
    """Draws all at once, with replacement, as torchdata's sampler does in blocks."""
    import torch

    torch.set_num_threads(1)
    tensor = torch.tensor(weights)
    return lambda: torch.multinomial(tensor, 100_000, replacement=True), 100_000


def grain(weights: NDArray[np.float64]) -> tuple[Callable[[], None], int]:
    """Grain's closed form for one index, in Python integers."""
    share = [int(p * 100 / weights.min()) for p in weights]
    size = max(20, 20_000 // len(weights))

    def call() -> None:
        for k in range(10**6, 10**6 + size):
            remaining, a, b = sum(share), k, k + 1
            for q in share:
                a2, b2 = a * (remaining - q) // remaining, b * (remaining - q) // remaining
                if a - a2 != b - b2:
                    break
                remaining, a, b = remaining - q, a2, b2

    return call, size


def seconds(call: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def main() -> int:
    """Measure, print and append."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 15")
    parser.add_argument("--count", action="store_true", help="count 10^9 samples in a row, which takes half a minute")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    rounds = 3 if options.quick else 15
    from benchmarks import contenders, runners
    from benchmarks.__main__ import RESULTS, _write

    records: list[runners.Record] = []
    verdicts: list[runners.Verdict] = []
    for domains in DOMAINS:
        measure(domains, rounds, records, verdicts)
    if options.count:
        count(records, verdicts)
    facts = vars(runners.machine())
    shared = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **{key: facts[key] for key in ("commit", "machine", "cores", "pools")},
        "threads": 1, "quick": int(options.quick), "checked": 0, "versions": contenders.versions(),
    }  # fmt: skip
    rows = [{**shared, **vars(record), "passed": ""} for record in records]
    for verdict in verdicts:
        print(f"{'PASS' if verdict.passed else 'FAIL'} {verdict.problem}: {verdict.target}: {verdict.figure}")
        rows.append({**shared, "problem": verdict.problem, "quantity": f"target: {verdict.target}",
                     "note": verdict.figure, "passed": int(bool(verdict.passed))})  # fmt: skip
    _write(RESULTS / "sampler.csv", rows)
    return 0


def measure(domains: int, rounds: int, records: list, verdicts: list) -> None:  # type: ignore[type-arg]
    """All figures of one number of domains."""
    from benchmarks.runners import Record, Verdict
    from mixfast import Mixture
    from mixfast.sampler import MixtureSampler, Positions

    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(domains))
    mixture = Mixture([f"domain {k}" for k in range(domains)], weights)
    weights = mixture.weights
    sizes = rng.integers(1000, 10**7, domains)
    plain, shuffled = (MixtureSampler(mixture, sizes, seed=0, shuffle=shuffle) for shuffle in (False, True))
    far = 10**15
    out = Positions(*np.zeros((3, SAMPLES), dtype=np.int64))  # as Megatron's loop, into memory that is there
    contenders: dict[str, tuple[Callable[[], object], int]] = {
        "mixfast": (lambda: plain.positions(0, SAMPLES, out=out), SAMPLES),
        "mixfast, shuffled": (lambda: shuffled.positions(0, SAMPLES, out=out), SAMPLES),
        "mixfast at 1e15, shuffled": (lambda: shuffled.positions(far, far + SAMPLES, out=out), SAMPLES),
        "mixfast, new arrays, shuffled": (lambda: shuffled.positions(0, SAMPLES), SAMPLES),
        "mixfast, rank 0 of 64, shuffled": (lambda: shuffled.positions(far, far + 64 * 20_000, 64), 20_000),
        "Megatron's loop, C -O3": megatron(weights),
        "numpy choice, blocks of 1000": numpy_choice(weights),
        "torch.multinomial": torch_multinomial(weights),
        "grain's formula, Python": grain(weights),
        "mixfast, one at a time": (lambda: [shuffled[far + 977 * j] for j in range(2000)], 2000),
        "mixfast, start-up": (lambda: MixtureSampler(mixture, sizes, seed=0), 1),
        "mixfast, state": (lambda: [shuffled.state(far + j) for j in range(1000)], 1000),
        "mixfast, first 1000 at 0": (lambda: shuffled.positions(0, 1000), 1),
        "mixfast, first 1000 at 1e15": (lambda: shuffled.positions(far, far + 1000), 1),
    }
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, (call, size) in contenders.items():
            took = seconds(call) / size
            if turn:  # the first warms up
                taken[name].append(took)
    middle = {name: float(np.median(values)) for name, values in taken.items()}
    problem = f"blend-{domains}"
    for name, value in middle.items():
        whole = "start-up" in name or "first" in name
        print(f"{problem:11s} {name:34s} {value * 1e6:9.1f} us" if whole else
              f"{problem:11s} {name:34s} {value * 1e9:9.2f} ns a sample", flush=True)  # fmt: skip
        quantity = "a call" if whole else "a sample"
        records.append(Record(problem, 0, domains, name, quantity, value, "s", repeats=rounds))

    def ratio(one: str, other: str) -> float:
        """Median over the rounds of the ratio within each."""
        return float(np.median(np.array(taken[one]) / np.array(taken[other])))

    def verdict(target: str, figure: float, passed: bool, unit: str = "") -> None:
        verdicts.append(Verdict(problem, target, f"{figure:.3g}{unit}", passed))

    for name, least in (
        ("Megatron's loop, C -O3", TARGETS[domains]),
        ("numpy choice, blocks of 1000", 1.0),
        ("torch.multinomial", 1.0),
        ("grain's formula, Python", 1.0),
    ):
        times = ratio(name, "mixfast")
        verdict(f"at least {least:g} times as fast as {name}", times, times >= least)
    cost = ratio("mixfast, shuffled", "mixfast")
    verdict("shuffled at most 3 times as slow", cost, cost <= 3.0)
    alone = middle["mixfast, one at a time"] * 1e6
    verdict("one at a time below 5 us", alone, alone < 5.0, " us")
    start = middle["mixfast, start-up"] * 1e3
    verdict("start-up below 1 ms", start, start < 1.0, " ms")
    resumed = ratio("mixfast, first 1000 at 1e15", "mixfast, first 1000 at 0")
    verdict("resuming at 1e15 at most 1.25 times the start at 0", resumed, resumed <= 1.25)


def count(records: list, verdicts: list) -> None:  # type: ignore[type-arg]
    """10^9 samples in a row: each index of each domain comes in its turn, and shares are kept at the end of each block."""
    from benchmarks.runners import Record, Verdict
    from mixfast import Mixture
    from mixfast.sampler import MixtureSampler

    domains, total, block = 64, 10**9, 1 << 20
    mixture = Mixture([f"domain {k}" for k in range(domains)], np.random.default_rng(1).dirichlet(np.ones(domains)))
    sampler = MixtureSampler(mixture, seed=0)
    had, worst, begin = np.zeros(domains, dtype=np.int64), 0.0, time.perf_counter()
    in_turn = True
    for start in range(0, total, block):
        stop = min(start + block, total)
        found = sampler.positions(start, stop)
        new = np.bincount(found.domain, minlength=domains)
        # Indices of a domain in order are had, had + 1, ...: a stable sort by domain makes them one range each.
        order = np.argsort(found.domain.astype(np.int16), kind="stable")
        expected = np.arange(stop - start) - np.repeat(np.cumsum(new) - new - had, new)
        in_turn &= bool((found.index[order] == expected).all())
        had += new
        worst = max(worst, float(np.abs(had - mixture.weights * stop).max()))
    took = time.perf_counter() - begin
    good = in_turn and worst < 1.5 and int(had.sum()) == total
    records.append(Record("count-1e9", 0, domains, "mixfast", "largest deviation", worst, "samples"))
    records.append(Record("count-1e9", 0, domains, "mixfast", "counted", took, "s"))
    verdicts.append(Verdict("count-1e9", "each sample once, in turn, within 1.5", f"{worst:.3f} samples", good))


if __name__ == "__main__":
    sys.exit(main())
