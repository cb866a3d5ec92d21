"""Real processes: under torchrun, and started by hand so that each exit status can be seen."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rank_processes import ended, environment, started

pytest.importorskip("torch")
HERE = Path(__file__).resolve().parent
# A process that ends must be noticed within this time (item 4 of the design); the tests are on busy machines.
WITHIN = 30.0

pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("table") / "table"
    out.mkdir()
    random = np.random.default_rng(5)
    for i, rows in enumerate((3000, 1100, 5000)):
        loglik = (random.normal(-3, 1, (rows, 3)) + np.array([0.1, 0.3, 0.0])).astype(np.float32)
        np.savez(out / f"part-{i}.npz", loglik=loglik, domains=["web", "code", "books"])
    return out


def test_every_number_of_ranks_gives_the_same_bits(folder):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "8"),
            *(HERE / "all_ranks.py", folder),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[:3000]
    numbers, refused = done.stdout.splitlines()
    found = json.loads(numbers)
    assert list(found) == ["1", "2", "3", "8"]
    assert all(values == found["1"] for values in found.values())
    assert "they do not serve now" in refused


def test_a_command_is_that_of_rank_0(folder, tmp_path):
    alone = subprocess.run(
        [sys.executable, "-m", "mixfast", "solve", folder, "--out", tmp_path / "one.yaml"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    ranks = ended(started(3, "-m", "mixfast", "solve", str(folder), "--out", str(tmp_path / "three.yaml")))
    assert [status for status, _, _ in ranks] == [0, 0, 0], ranks
    assert [out for _, out, _ in ranks[1:]] == ["", ""]
    assert [err for _, _, err in ranks[1:]] == ["", ""]
    assert (tmp_path / "three.yaml").read_bytes() == (tmp_path / "one.yaml").read_bytes()
    table = ranks[0][1].partition("time")[0]
    assert table
    assert table == alone.stdout.partition("time")[0]


def test_refused_input_is_refused_once_with_one_status(folder, tmp_path):
    # The folder of the output is missing, which only rank 0 notices.
    ranks = ended(
        started(2, "-m", "mixfast", "solve", str(folder), "--out", str(tmp_path / "missing" / "mixture.yaml"))
    )
    assert [status for status, _, _ in ranks] == [2, 2]
    assert ranks[0][2].count("\n") == 1
    assert "missing" in ranks[0][2]
    assert ranks[1][1:] == ("", "")


@pytest.mark.parametrize("victim", [0, 2])
def test_a_rank_that_is_killed_is_named_and_ends_all_others(victim, tmp_path):
    ready = tmp_path / "ready"
    processes = started(4, str(HERE / "busy_rank.py"), str(ready))
    until = time.monotonic() + 120
    while not ready.exists():
        assert time.monotonic() < until
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)
    processes[victim].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    ranks = ended(processes)
    assert time.monotonic() - killed < WITHIN
    assert [status for status, _, _ in ranks] == [-9 if rank == victim else 2 for rank in range(4)], ranks
    messages = [line for _, _, err in ranks for line in err.splitlines() if line.startswith("mixfast: error")]
    assert len(messages) == 1
    assert f"rank {victim} (process {processes[victim].pid} on " in messages[0]


def test_an_interrupted_rank_0_ends_the_others_with_its_status(tmp_path):
    ready = tmp_path / "ready"
    processes = started(2, str(HERE / "busy_rank.py"), str(ready))
    until = time.monotonic() + 120
    while not ready.exists():
        assert time.monotonic() < until
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)
    processes[0].send_signal(signal.SIGTERM)
    ranks = ended(processes, WITHIN)
    assert [status for status, _, _ in ranks] == [143, 143]
    assert [err for _, _, err in ranks] == ["", ""]
