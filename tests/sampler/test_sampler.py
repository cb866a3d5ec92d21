"""The stream of samples: accuracy of its shares, agreement of all ways to read it, and the order within domains."""

import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import combinations_with_replacement, permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import assert_one_stream, counted, mixture_of

import mixfast
from mixfast import Mixture
from mixfast.errors import ExhaustedError, SamplerError
from mixfast.sampler import MixtureSampler, MixtureSchedule, Positions

Q = 1 << 62


# Shares.


@pytest.mark.parametrize("domains", [1, 2, 3, 4, 5, 6])
def test_every_prefix_of_every_small_mixture_is_within_1_5_samples(domains):
    for weights in combinations_with_replacement(range(1, 15 if domains < 4 else 6), domains):
        total = sum(weights)
        sampler = MixtureSampler(mixture_of(weights), seed=0)
        found = sampler.positions(0, 2 * total)
        count = counted(found.domain, domains)
        off = count * total - np.arange(1, 2 * total + 1)[:, None] * np.array(weights)
        assert 2 * np.abs(off).max() < 3 * total, weights
        np.testing.assert_array_equal(found.index, count[np.arange(2 * total), found.domain] - 1)


def test_the_order_of_the_domains_keeps_the_bound():
    for weights in permutations([1, 2, 3, 5, 8, 13]):
        found = MixtureSampler(mixture_of(weights), seed=0).positions(0, 64)
        off = counted(found.domain, 6) * 32 - np.arange(1, 65)[:, None] * np.array(weights)
        assert np.abs(off).max() < 48


def test_shares_like_a_staircase_which_are_worst_for_trees():
    golden = ((1 + 5**0.5) / 2) ** np.arange(25)
    for weights in (golden, 2.0 ** np.arange(25), 3.0 ** np.arange(20), np.r_[golden, 1e-7], np.r_[1.0, golden[:8]]):
        sampler = MixtureSampler(mixture_of(weights), seed=0)
        found = sampler.positions(0, 200_000)
        off = counted(found.domain, len(weights)) - np.arange(1, 200_001)[:, None] * (weights / weights.sum())
        assert np.abs(off).max() < 1.5


shares = st.lists(st.one_of(st.floats(1e-12, 1.0), st.sampled_from([1e-12, 1e-6, 0.5, 1.0])), min_size=1, max_size=40)


@given(shares, st.integers(0, 2**50), st.integers(0, 2**32))
@settings(max_examples=150)
def test_anywhere_in_a_long_stream(weights, start, seed):
    mixture = mixture_of(weights)
    sampler = MixtureSampler(mixture, np.arange(1, len(weights) + 1) * 97, seed=seed)
    found = sampler.positions(start, start + 300)
    exact = [Fraction(share) for share in mixture.weights.tolist()]
    count = sampler.counts(start).tolist()
    assert sum(count) == start
    for j, k in enumerate(found.domain.tolist()):
        if j % 50 == 0:
            assert all(
                abs(n - (start + j) * p / sum(exact)) < Fraction(3, 2) for n, p in zip(count, exact, strict=True)
            )
        assert found.epoch[j] == count[k] // (97 * (k + 1))
        count[k] += 1
    assert_one_stream(sampler, found, start, [start, start + 123])


def test_the_last_samples_that_can_be_counted():
    sampler = MixtureSampler(mixture_of([0.7, 0.2, 0.1, 1e-9]), [10**15, 3, 2**60, 5], seed=3)
    last = 1 << 60
    found = sampler.positions(last - 2000, last)
    assert_one_stream(sampler, found, last - 2000, [last - 2000, last - 1])
    count = sampler.counts(last).tolist()
    share = sampler.schedule.shares(sampler.schedule.changes[0]).tolist()
    assert sum(share) == Q
    assert all(abs(n * Q - last * q) < 1.5 * Q for n, q in zip(count, share, strict=True))
    with pytest.raises(ExhaustedError, match="beyond the last"):
        sampler[last]
    with pytest.raises(ExhaustedError):
        sampler.positions(last - 1, last + 1)


def test_a_hundred_thousand_domains():
    rng = np.random.default_rng(0)
    mixture = mixture_of(rng.dirichlet(np.full(100_000, 0.3)) + 1e-9)
    sampler = MixtureSampler(mixture, seed=0)
    start = 10**12
    found = sampler.positions(start, start + 1_000_000)
    before, after = sampler.counts(start), sampler.counts(start + 1_000_000)
    assert np.abs(before - mixture.weights * start).max() < 1.5
    np.testing.assert_array_equal(after - before, np.bincount(found.domain, minlength=100_000))
    assert all(sampler[start + j][:2] == (found.domain[j], found.index[j]) for j in range(0, 1_000_000, 9973))


def test_domains_without_a_share_never_come():
    found = MixtureSampler(Mixture(["a", "b", "c"], [0.5, 0.0, 0.5]), [4, 0, 4], seed=0).positions(0, 1000)
    assert set(found.domain.tolist()) == {0, 2}


def test_what_comes_back():
    sampler = MixtureSampler(mixture_of([3, 1]), [10, 10], seed=0)
    found = sampler.positions(5, 5)
    assert [column.dtype for column in found] == [np.dtype(np.int64)] * 3
    assert found._fields == ("domain", "index", "epoch")
    assert len(found.domain) == 0
    assert [type(x) for x in sampler[7]] == [int] * 3
    assert mixfast.MixtureSampler is MixtureSampler
    bounded = MixtureSampler(mixture_of([3, 1]), [10, 10], seed=0, length=5000)
    assert len(bounded) == 5000
    assert [x[0] for x in bounded] == bounded.positions(0, 5000).domain.tolist()
    with pytest.raises(TypeError, match="no end"):
        len(sampler)


def test_memory_is_used_again():
    sampler = MixtureSampler(mixture_of([3, 1]), [10, 10], seed=0)
    out = Positions(*np.full((3, 40), -1))
    for step in (1, 2, 50):
        whole = sampler.positions(7, 7 + 40 * step, step)
        assert sampler.positions(7, 7 + 40 * step, step, out=out).index is out.index
        for mine, other in zip(out, whole, strict=True):
            np.testing.assert_array_equal(mine, other)
    for wrong in (np.full((3, 39), 0), np.full((3, 40), 0.0), np.full((3, 80), 0)[:, ::2]):
        with pytest.raises(SamplerError, match=r"out\.domain must be a contiguous int64 array of 40 elements"):
            sampler.positions(0, 40, out=Positions(*wrong))


# The order within a domain.


@pytest.mark.parametrize("size", [*range(1, 70), 255, 256, 257, 1000, 4097, 65_537])
def test_each_epoch_reads_each_sample_once(size):
    sampler = MixtureSampler(Mixture(["a"], [1.0]), [size], seed=11)
    found = sampler.positions(0, 3 * size)
    np.testing.assert_array_equal(found.epoch, np.arange(3 * size) // size)
    orders = found.index.reshape(3, size)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(size), (3, 1)))
    if size > 16:
        assert (orders[0] != orders[1]).any()
        assert (orders[0] != np.arange(size)).any()
    assert [sampler[i][1] for i in range(0, 3 * size, 61)] == found.index[::61].tolist()


def test_orders_look_random():
    size, draws = 100, 4000
    orders = np.array(
        [MixtureSampler(Mixture(["a"], [1.0]), [size], seed=s).positions(0, size).index for s in range(draws)]
    )
    # The place of a sample, and the place of its neighbour relative to it: chi-square with 99 degrees of freedom is 99 +- 14.
    for values in (orders[:, 0], orders[:, 57], (orders[:, 1] - orders[:, 0]) % size):
        seen = np.bincount(values, minlength=size)
        expected = np.full(size, draws / size)
        if seen[0] == 0:  # neighbours never get the same place
            seen, expected = seen[1:], np.full(size - 1, draws / (size - 1))
        assert ((seen - expected) ** 2 / expected).sum() < 170
    # Inversions of a random order: n(n-1)/4, standard deviation 170.
    inversions = [(o[:, None] > o[None, :])[np.triu_indices(size, 1)].sum() for o in orders[:400]]
    assert abs(np.mean(inversions) - size * (size - 1) / 4) < 5 * 170 / 20
    assert 130 < np.std(inversions) < 210


def test_orders_of_domains_and_epochs_are_not_related():
    size = 20_000
    sampler = MixtureSampler(mixture_of([1, 1]), [size, size], seed=5)
    found = sampler.positions(0, 4 * size)
    one, two = (found.index[found.domain == k].reshape(2, size) for k in (0, 1))
    for left, right in ((one[0], one[1]), (one[0], two[0]), (one[1], two[1])):
        assert abs(np.corrcoef(left, right)[0, 1]) < 5 / size**0.5
        assert (left == right).sum() < 12  # one on average


def test_the_seed_moves_the_order_within_domains_only():
    first, second = (MixtureSampler(mixture_of([2, 1]), [50, 60], seed=s).positions(0, 500) for s in (1, 2))
    np.testing.assert_array_equal(first.domain, second.domain)
    np.testing.assert_array_equal(first.epoch, second.epoch)
    assert (first.index != second.index).any()
    plain = MixtureSampler(mixture_of([2, 1]), [50, 60], seed=1, shuffle=False).positions(0, 500)
    np.testing.assert_array_equal(plain.domain, first.domain)
    for k, size in enumerate((50, 60)):
        mine = plain.index[plain.domain == k]
        np.testing.assert_array_equal(mine, np.arange(len(mine)) % size)


# Processes.


def _in_a_child(sampler):
    return sampler.positions(10**9, 10**9 + 1000).index.sum(), sampler[123]


@pytest.mark.process
def test_pickle_fork_and_threads_give_the_same_stream():
    schedule = MixtureSchedule(mixture_of([5, 3, 1])).ramp(mixture_of([1, 3, 5]), start=50, stop=5000)
    sampler = MixtureSampler(schedule, [100, 200, 300], seed=9)
    expected = _in_a_child(sampler)
    assert _in_a_child(pickle.loads(pickle.dumps(sampler))) == expected
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_in_a_child, (sampler,)).get(60) == expected
    with ThreadPoolExecutor(4) as crew:
        assert set(crew.map(_in_a_child, [sampler] * 16)) == {expected}


HASHED = """
import hashlib, sys
import numpy as np
from mixfast import Mixture
from mixfast._engine.backend.rows import isa
from mixfast.sampler import MixtureSampler
found = hashlib.sha256()
for domains in (1, 2, 3, 9, 40, 333, 2419):
    weights = np.arange(1, domains + 1) ** 2.0
    mixture = Mixture([f"d{k}" for k in range(domains)], weights / weights.sum())
    sampler = MixtureSampler(mixture, np.arange(domains) + 50, seed=3)
    for start, count in ((0, 5000), (10**12, 100_000), (10**12 + 7, 17), (10**15, 4096), (5, 16), (21, 33)):
        found.update(b"".join(column.tobytes() for column in sampler.positions(start, start + count)))
print(isa(), found.hexdigest())
"""


@pytest.mark.process
def test_every_instruction_set_gives_the_same_stream(tmp_path):
    root = str(Path(mixfast.__file__).parent.parent)
    said = {}
    for isa in ("baseline", "avx2", "avx512"):
        environment = {**os.environ, "MIXFAST_ISA": isa, "PYTHONPATH": root}
        process = subprocess.run(
            [sys.executable, "-c", HASHED], env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path
        )
        assert process.returncode == 0, process.stderr
        said[isa] = process.stdout.split()
    assert said["baseline"][0] == "baseline"
    assert len({stream for _, stream in said.values()}) == 1


def test_ranks_of_any_world_share_the_stream_out():
    sampler = MixtureSampler(mixture_of([5, 3, 1]), [100, 200, 300], seed=9)
    whole = sampler.positions(0, 960)
    for world in (1, 2, 3, 16):
        cursors = [sampler.cursor() for _ in range(world)]
        got = np.empty(960, dtype=np.int64)
        for batch in range(10):
            for rank, cursor in enumerate(cursors):
                part = cursor.take(96, rank=rank, world_size=world)
                got[batch * 96 : (batch + 1) * 96][rank::world] = part.index
        np.testing.assert_array_equal(got, whole.index)
    cursor = MixtureSampler(mixture_of([1]), [7], seed=0, length=10).cursor()
    assert [len(cursor.take(6).index) for _ in range(3)] == [6, 4, 0]
    with pytest.raises(SamplerError, match="rank 2 of 2"):
        cursor.take(4, rank=2, world_size=2)
