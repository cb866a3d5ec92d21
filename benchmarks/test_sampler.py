"""MixtureSampler: nanoseconds per sample (domain, index and epoch), compared with other loaders; start-up and random access."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmarks import limits
from benchmarks.peers import Contender
from benchmarks.suite import Wrong, contenders
from mixfast import Mixture
from mixfast.sampler import MixtureSampler, Positions

SAMPLES = 1 << 17
FAR = 10**15
DOMAINS = [8, 64, 512, pytest.param(2419, marks=pytest.mark.large)]


class Case(NamedTuple):
    """The weights; for ours also the samplers and preallocated memory, which Megatron's loop has as well."""

    weights: np.ndarray
    mixture: Mixture
    sizes: np.ndarray
    plain: MixtureSampler
    shuffled: MixtureSampler
    out: Positions


@lru_cache(maxsize=1)
def case_of(domains: int) -> Case:
    """Dirichlet weights, sizes over four orders of magnitude."""
    rng = np.random.default_rng(0)
    mixture = Mixture([f"domain {k}" for k in range(domains)], rng.dirichlet(np.ones(domains)))
    sizes = rng.integers(1000, 10**7, domains)
    plain, shuffled = (MixtureSampler(mixture, sizes, seed=0, shuffle=shuffle) for shuffle in (False, True))
    out = Positions(*np.zeros((3, SAMPLES), dtype=np.int64))
    return Case(mixture.weights, mixture, sizes, plain, shuffled, out)


OURS = (
    Contender("mixfast", lambda it: it.plain.positions(0, SAMPLES, out=it.out).domain),
    Contender("mixfast, shuffled", lambda it: it.shuffled.positions(0, SAMPLES, out=it.out).domain),
    Contender("mixfast, shuffled, at 1e15", lambda it: it.shuffled.positions(FAR, FAR + SAMPLES, out=it.out).domain),
    Contender("mixfast, shuffled, new arrays", lambda it: it.shuffled.positions(0, SAMPLES).domain),
    Contender("mixfast, shuffled, rank 0 of 64", lambda it: it.shuffled.positions(FAR, FAR + 64 * SAMPLES, 64).domain),
)


@pytest.mark.parametrize("domains", DOMAINS)
@contenders("draws", *OURS)
def test_blend(measure: Any, domains: int, contender: Contender) -> None:
    """A block of samples; a peer makes as many as fit into some milliseconds. The limit is writing 24 bytes per sample."""
    case = case_of(domains)
    count = len(contender.run(contender.prepare(case))) if contender.reason() is None else 1

    def check(found: np.ndarray) -> dict[str, Any]:
        shares = np.bincount(np.asarray(found), minlength=domains) / len(found)
        # Allowed error: a few standard deviations for independent draws; two samples for a block that begins anywhere.
        allowed = 6.0 * np.sqrt(case.weights / len(found)) + 2.0 / len(found)
        if "rank" not in contender.name and (np.abs(shares - case.weights) > allowed).any():
            raise Wrong(f"shares are off by {np.abs(shares - case.weights).max():.1e}")
        return {}

    measure(
        contender, case, group=f"blend {domains} domains", check=check, problem=f"blend-{domains}", domains=domains,
        per=count, unit="sample", limits=lambda: {"24 bytes written": limits.write(SAMPLES)},
    )  # fmt: skip


@pytest.mark.parametrize("what", ["start-up", "one at a time", "state", "first 1000 at 0", "first 1000 at 1e15"])
@pytest.mark.parametrize("domains", DOMAINS)
def test_access(measure: Any, domains: int, what: str) -> None:
    """Making a sampler, single samples far out, states, and the first block after resuming."""
    case = case_of(domains)
    run, per = {
        "start-up": (lambda it: MixtureSampler(it.mixture, it.sizes, seed=0), 1),
        "one at a time": (lambda it: [it.shuffled[FAR + 977 * j] for j in range(1000)], 1000),
        "state": (lambda it: [it.shuffled.state(FAR + j) for j in range(1000)], 1000),
        "first 1000 at 0": (lambda it: it.shuffled.positions(0, 1000), 1),
        "first 1000 at 1e15": (lambda it: it.shuffled.positions(FAR, FAR + 1000), 1),
    }[what]
    unit = {"unit": "sample"} if per > 1 else {}
    measure(
        Contender("mixfast", run), case, group=f"{what}, {domains} domains", problem=f"blend-{domains}", domains=domains,
        per=per, quantity=what, **unit,
    )  # fmt: skip


@pytest.mark.large
def test_count(measure: Any) -> None:
    """A hundred million consecutive samples: the indices of each domain are in order, and the shares are exact at the end of each block."""
    domains, total, block = 64, 10**8, 1 << 20
    mixture = Mixture([f"domain {k}" for k in range(domains)], np.random.default_rng(1).dirichlet(np.ones(domains)))
    sampler = MixtureSampler(mixture, seed=0)

    def count(_: None) -> tuple[bool, float]:
        had, worst, in_turn = np.zeros(domains, dtype=np.int64), 0.0, True
        for start in range(0, total, block):
            stop = min(start + block, total)
            found = sampler.positions(start, stop)
            new = np.bincount(found.domain, minlength=domains)
            # The indices of a domain are consecutive: after a stable sort by domain, each domain is one range.
            order = np.argsort(found.domain.astype(np.int16), kind="stable")
            expected = np.arange(stop - start) - np.repeat(np.cumsum(new) - new - had, new)
            in_turn &= bool((found.index[order] == expected).all())
            had += new
            worst = max(worst, float(np.abs(had - mixture.weights * stop).max()))
        return in_turn and int(had.sum()) == total, worst

    def check(found: tuple[bool, float]) -> dict[str, Any]:
        in_turn, worst = found
        if not in_turn or worst >= 1.5:
            raise Wrong(f"in turn: {in_turn}, largest deviation {worst:.3f} samples")
        return {"note": f"largest deviation {worst:.3f} samples"}

    measure(Contender("mixfast", count), None, group="count", check=check, domains=domains, per=total, unit="sample")
