"""A signal ends every long call of the compiled core, and the next call works: see csrc/shared/interrupt.h."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from mixfast import Mixture, MixtureSampler
from mixfast._engine.backend import laws, simplex, stream
from mixfast._engine.backend.rows import Rows, resample, scan

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs an unused signal")

# For calls that would take many times as long; the machine may be busy.
_SECONDS = 20.0


class Alarm(Exception):
    """Raised by the signal handler."""


@pytest.fixture
def alarm():
    def raise_it(number, frame):
        raise Alarm

    old = signal.signal(signal.SIGUSR1, raise_it)
    yield
    signal.signal(signal.SIGUSR1, old)


def forever(call: Callable[[], object]) -> None:
    while True:
        call()


def interrupted(call: Callable[[], object], wait: float = 0.2) -> float:
    """Repeat a call until a signal that arrives during it has ended it; return how long that took, in seconds."""
    sent = [0.0]

    def send() -> None:
        time.sleep(wait)
        sent[0] = time.perf_counter()
        os.kill(os.getpid(), signal.SIGUSR1)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(Alarm):
        forever(call)
    took = time.perf_counter() - sent[0]
    sender.join()
    return took


def wide_problem(k: int, m: int = 1) -> tuple[np.ndarray, ...]:
    """Return the Newton step of a problem with few rows, many domains and a cap, m times."""
    rng = np.random.default_rng(0)
    p = rng.exponential(1, (10, k))
    v = p / p.mean(axis=1, keepdims=True)
    each = np.ones((m, 1))
    hessian, gradient, w = v.T @ v / 10, each * -v.mean(axis=0), np.full((m, k), 1.0 / k)
    return hessian, gradient, w, np.zeros((m, k)), np.full((m, k), 3.0 / k), np.zeros((m, k), dtype=np.int8)


def newton_step() -> Callable[[], object]:
    hessian, *vectors = wide_problem(3000)
    return lambda: simplex.qp(hessian, *(np.ascontiguousarray(vector[0]) for vector in vectors))


def newton_steps() -> Callable[[], object]:
    hessian, *vectors = wide_problem(40, 200_000)
    return lambda: simplex.qp_many(hessian[None], np.zeros(200_000, dtype=np.int64), *vectors)


def secant() -> Callable[[], object]:
    hessian, moved = np.eye(2000)[None], np.random.default_rng(0).random((400, 2000))
    return lambda: simplex.bfgs_many(hessian, np.zeros(400, dtype=np.int64), moved, moved)


def descent() -> Callable[[], object]:
    rng = np.random.default_rng(0)
    z, y = rng.dirichlet(np.ones(600), 1500), rng.random(1500) + 2.0
    return lambda: laws.descend(z, y, 0.01, np.eye(600) * 1e-9, -10.0, 1.0, np.zeros(600), 1_000_000, 0.0)


def ascent() -> Callable[[], object]:
    rng = np.random.default_rng(0)
    ones, zeros, w, log = np.ones(1500), np.zeros(1500), np.empty(1500), np.empty(1500)
    proposal = (rng.random((1500, 1500)), zeros - 9.0, zeros, zeros - 7.0, zeros, ones, 1e-3)
    return lambda: laws.ascend(*proposal, zeros - 9.0, np.inf, w, log, 0, 1000, 30, 1e-4, 1e-13, 0.0)


def covariances() -> Callable[[], object]:
    x = np.random.default_rng(0).random((4000, 4))
    gram, k, h = x @ x.T, np.empty((4000, 4000)), np.empty((4000, 4000))
    norms = np.ascontiguousarray(np.diag(gram))
    return lambda: (
        laws.covariance(gram, norms, gram, 1.0, 1.0, 0.1, k, h),
        laws.matern(gram, norms, norms, k),
        laws.matern_slope(gram, norms, norms, norms, k, h),
    )


def likelihood() -> Callable[[], object]:
    x = np.random.default_rng(0).random((3000, 4))
    linear, (target, alpha, diagonal) = x @ x.T, np.ones((3, 3000))
    memory = np.zeros(laws.likelihood_memory(3000, 4))
    return lambda: laws.likelihood(x, linear, target, 1.0, 1.0, 0.1, memory, alpha, diagonal, np.ones(4))


def table(n: int, k: int) -> Rows:
    block = np.random.default_rng(0).normal(size=(1000, k)).astype(np.float32) - 6
    return Rows(np.tile(block, (n // 1000, 1)), None, 1.0 / n, False, False)


def sums(threads: int) -> Callable[[], object]:
    rows, w = table(100_000, 256), np.full(256, 1 / 256)
    return lambda: rows.sums(w, True, 1, threads)


def wide_hessian() -> Callable[[], object]:
    rows, w = table(1000, 4000), np.full(4000, 1 / 4000)
    return lambda: rows.sums(w, True, 1, 2)


def losses(threads: int) -> Callable[[], object]:
    rows, mixtures = table(100_000, 32), np.full((20_000, 32), 1 / 32)
    return lambda: rows.losses(mixtures, 1, threads)


def gradients(shared: bool) -> Callable[[], object]:
    rows, mixtures = table(100_000, 64), np.full((1 if shared else 2000, 64), 1 / 64)
    bins, counts = np.arange(100_000, dtype=np.int32) // 20, np.ones((2000, 5000), dtype=np.float32)
    return lambda: rows.gradients(mixtures, bins, counts, 2)


def packing() -> Callable[[], object]:
    rows = table(500_000, 64)
    return lambda: (rows.pack(None, None, 1.0, True, 1), scan(rows, 1))


def resamples() -> Callable[[], object]:
    bits = np.random.default_rng(0).integers(0, 2**32, (50, 500_000), dtype=np.uint32)
    counts = np.empty((50, 500_000), dtype=np.float32)
    return lambda: resample(bits, counts)


def stage(domains: int) -> stream.Stage:
    shares = stream.blend_shares(np.arange(domains, 0, -1, dtype=np.int64))
    return stream.Stage(0, 0, np.arange(domains, dtype=np.int32), shares)


def filling(step: int) -> Callable[[], object]:
    tree, sizes = stage(100), stream.domain_table(np.full(100, 1000, dtype=np.int64), 0)
    out = np.empty((3, 20_000_000), dtype=np.int64)
    return lambda: tree.fill(sizes, True, 0, step, *out)


def trees() -> Callable[[], object]:
    leaf, count = np.arange(200_000) % 1000, np.full(200_000, 10**9)
    return lambda: (stage(200_000).counts(10**12), stage(1000).when(leaf, count))


CALLS = {
    "qp": newton_step,
    "qp_many": newton_steps,
    "bfgs_many": secant,
    "descend": descent,
    "ascend": ascent,
    "covariance": covariances,
    "likelihood": likelihood,
    "sums": lambda: sums(1),
    "sums in threads": lambda: sums(2),
    "sums of many columns": wide_hessian,
    "losses": lambda: losses(1),
    "losses in threads": lambda: losses(3),
    "gradients": lambda: gradients(False),
    "gradients at one mixture": lambda: gradients(True),
    "pack and scan": packing,
    "resample": resamples,
    "a run of samples": lambda: filling(1),
    "samples apart": lambda: filling(5),
    "trees": trees,
}


@pytest.mark.parametrize("name", CALLS)
def test_a_signal_ends_the_call(name, alarm):
    assert interrupted(CALLS[name]()) < _SECONDS


def test_what_was_interrupted_can_be_done_again(alarm):
    rows, w = table(100_000, 64), np.full(64, 1 / 64)
    before = rows.sums(w, True, 1, 2)
    # Tests that ran before in this process may have left threads of other packages.
    threads = threading.active_count()
    for _ in range(5):
        interrupted(lambda: rows.sums(w, True, 1, 2), 0.05)
        after = rows.sums(w, True, 1, 2)
        assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))
    assert threading.active_count() == threads


def test_a_signal_that_is_handled_changes_nothing():
    rows, w = table(200_000, 128), np.full(128, 1 / 128)
    expected, handled = rows.sums(w, True, 1, 2), []
    old = signal.signal(signal.SIGUSR1, lambda *_: handled.append(rows.sums(w, True, 1, 1)[0]))
    try:
        sender = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        sender.start()
        while not handled:  # the handler calls the core while the core is running
            found = rows.sums(w, True, 1, 2)
        sender.join()
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert handled == [expected[0]]
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


def test_a_sampler_that_was_interrupted_is_whole(alarm):
    mixture = Mixture([f"d{k}" for k in range(50)], np.full(50, 0.02))
    sampler = MixtureSampler(mixture, {f"d{k}": 1000 + k for k in range(50)}, seed=3)
    state = sampler.state(12345)
    interrupted(lambda: sampler.positions(0, 20_000_000), 0.1)
    assert sampler.state(12345) == state
    fresh = MixtureSampler(mixture, {f"d{k}": 1000 + k for k in range(50)}, seed=3)
    for found, expected in zip(sampler.positions(777, 50_000), fresh.positions(777, 50_000), strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""), reason="a child may find the sanitizer's allocator locked"
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_that_is_forked_while_threads_sweep_can_sweep():
    rows, w = table(50_000, 64), np.full(64, 1 / 64)
    expected, stop = rows.sums(w, True, 1, 2)[0], threading.Event()

    def sweep() -> None:
        while not stop.is_set():
            rows.sums(w, True, 1, 2)

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                os._exit(0 if rows.sums(w, True, 1, 2)[0] == expected else 1)
            for _ in range(3000):
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    break
                time.sleep(0.01)
            else:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                pytest.fail("the child hangs")
            assert status == 0
    finally:
        stop.set()
        sweeper.join()


def test_calls_of_several_threads_are_interrupted_apart(alarm):
    """Only the main thread receives signals; calls in other threads continue and give the same results."""
    rows, w = table(50_000, 64), np.full(64, 1 / 64)
    expected, found = rows.sums(w, True, 1, 2)[0], []
    other = threading.Thread(target=lambda: found.extend(rows.sums(w, True, 1, 2)[0] for _ in range(20)))
    other.start()
    interrupted(lambda: rows.sums(w, True, 1, 2), 0.1)
    other.join()
    assert found == [expected] * 20
