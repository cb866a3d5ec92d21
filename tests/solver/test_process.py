"""A process around a solve: interrupts, fork, threads, pickle, a mapped file, and memory use."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from makers import tokens

import mixfast
from mixfast import ExpertTable, Mixture, Region, solve

ROOT = str(Path(mixfast.__file__).parent.parent)
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def run(code, cwd, timeout=120, **environment):
    settings = {**os.environ, "PYTHONPATH": ROOT, **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], env=settings, cwd=cwd, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def table_of(n=20000, k=12):
    return ExpertTable.from_loglik(tokens(n, k, dtype="f4"))


LONG = """
import sys, time
import numpy as np
from mixfast import ExpertTable, solve
block = np.random.default_rng(0).normal(size=(1 << 16, 256)).astype("f4") - 6
table = ExpertTable.from_loglik(np.tile(block, (16, 1)))
print("ready", flush=True)
try:
    while True:
        solve(table, tol=1e-12)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.process
@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("wait", [0.05, 0.4, 1.1])
def test_ctrl_c_ends_a_long_solve(wait, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", LONG],
        env={**os.environ, "PYTHONPATH": ROOT},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("interrupted\n", None)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def test_solves_in_eight_threads_are_the_same():
    table = table_of()
    region = Region(table.domains, cap=0.3)
    alone = solve(table, region)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: solve(table, region, threads=1 + i % 3), range(24)))
    for answer in answers:
        assert np.array_equal(answer.mixture.weights, alone.mixture.weights)
        assert answer.value == alone.value


def test_the_gil_is_released():
    table = table_of(400000, 64)
    count, stop = [0], threading.Event()

    def tick():
        while not stop.is_set():
            count[0] += 1
            time.sleep(0.001)

    ticker = threading.Thread(target=tick)
    ticker.start()
    before = count[0]
    steps = len(solve(table, threads=1, max_iter=20).trace)
    ticks = count[0] - before
    stop.set()
    ticker.join()
    # If the GIL were held, it would tick at most once between two calls of the core, and a step makes one or two.
    assert ticks > 3 * steps


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_can_solve():
    table = table_of(200000, 16)
    wanted = solve(table, threads=2).mixture.weights
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def child():
        send.send(solve(table, threads=2).mixture.weights)

    process = context.Process(target=child)
    process.start()
    try:
        assert receive.poll(60), "the child hangs"
        assert np.array_equal(receive.recv(), wanted)
        process.join(20)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()


def test_pickled_nouns_are_the_same():
    table = table_of(50, 4)
    region = Region(table.domains, cap=0.5, bounds={"pair": (table.domains[:2], 0.1, 0.6)})
    solution = solve(table, region, kl=0.1)
    for noun in (table, region, solution.mixture, solution):
        back = pickle.loads(pickle.dumps(noun))
        assert type(back) is type(noun)
    again = solve(pickle.loads(pickle.dumps(table)), pickle.loads(pickle.dumps(region)), kl=0.1)
    assert np.array_equal(again.mixture.weights, solution.mixture.weights)
    back = pickle.loads(pickle.dumps(solution))
    assert back.mixture == solution.mixture
    assert back.shadow_prices == solution.shadow_prices
    assert isinstance(back.mixture, Mixture)


def test_a_memory_mapped_file_is_solved_in_place(tmp_path):
    table = table_of()
    np.save(tmp_path / "table.npy", table.loglik)
    mapped = ExpertTable.load(tmp_path / "table.npy")
    base = mapped.loglik
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    assert np.array_equal(solve(mapped).mixture.weights, solve(table).mixture.weights)


MEMORY = """
import numpy as np
from mixfast import ExpertTable, Region, solve

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024

loglik = np.empty((1000000, 32), dtype=np.float32)
rng = np.random.default_rng(0)
for start in range(0, 1000000, 50000):
    loglik[start:start + 50000] = rng.normal(size=(50000, 32)) - 6
loglik[np.arange(1000000), rng.integers(0, 16, 1000000)] += 2
before = peak()
table = ExpertTable.from_loglik(loglik)
solution = solve(table, Region(table.domains, cap=0.2), threads=2)
print(peak() - before, loglik.nbytes, solution.status)
"""


@pytest.mark.process
@LINUX
@pytest.mark.slow
def test_memory_beside_the_table(tmp_path):
    grown, size, status = run(MEMORY, tmp_path).split()
    assert status == "optimal"
    assert int(grown) <= 0.1 * int(size) + 50e6


@pytest.mark.process
def test_importing_takes_numpy_and_the_core_only(tmp_path):
    code = "import sys, mixfast; print(*[m for m in ('scipy', 'cvxpy', 'torch', 'pandas', 'yaml') if m in sys.modules])"
    assert run(code, tmp_path).strip() == ""
