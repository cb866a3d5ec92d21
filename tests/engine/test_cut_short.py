"""A mapped file that is truncated while the core reads it: an error names the file, and the process continues."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from mixfast import ExpertTable, solve
from mixfast._engine.backend.rows import Rows, scan
from mixfast.errors import NotConvergedWarning, TableError

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="relies on how Linux truncates mapped files"
)


@pytest.fixture
def mapped(tmp_path):
    """Return the rows of a file (40 MB), and the file."""
    path = tmp_path / "table.npy"
    np.save(path, np.tile(np.random.default_rng(0).normal(size=(1000, 100)).astype(np.float32) - 6, (100, 1)))
    return Rows(np.load(path, mmap_mode="r"), None, 1e-5, True, False), path


def sweeps(rows: Rows, threads: int):
    w = np.full(100, 0.01)
    bins, counts = np.zeros(100_000, dtype=np.int32), np.ones((1, 1), dtype=np.float32)
    return {
        "sums": lambda: rows.sums(w, True, 1, threads),
        "losses": lambda: rows.losses(w[None], 1, threads),
        "gradients": lambda: rows.gradients(w[None], bins, counts, threads),
        "pack": lambda: rows.pack(None, None, 1e-5, False, threads),
        "some rows": lambda: rows.pack(np.arange(99_999, 90_000, -1), None, 1e-5, False, threads),
        "scan": lambda: scan(rows, threads),
        "some columns": lambda: rows.with_columns(np.arange(0, 100, 2, dtype=np.int32)).losses(w[None, ::2].copy()),
    }


@pytest.mark.parametrize("threads", [1, 3])
def test_every_sweep_names_the_file(mapped, threads):
    rows, path = mapped
    os.truncate(path, 1 << 20)
    for _ in range(2):
        for sweep in sweeps(rows, threads).values():
            with pytest.raises(TableError, match=r"table\.npy was cut short"):
                sweep()
    in_memory = Rows(np.full((1000, 100), -1.0), None, 1e-3, False, True)
    assert in_memory.sums(np.full(100, 0.01))[0] == pytest.approx(1.0)


def test_while_threads_sweep_it(mapped):
    rows, path = mapped
    found = []

    def sweep():
        try:
            while True:
                rows.sums(np.full(100, 0.01), True, 1, 2)
        except TableError as error:
            found.append(error)

    threads = [threading.Thread(target=sweep) for _ in range(3)]
    for thread in threads:
        thread.start()
    os.truncate(path, 1 << 20)
    for thread in threads:
        thread.join(60)
    assert len(found) == 3


@pytest.mark.parametrize("reread", [True, False])
def test_a_table_in_the_solver(tmp_path, reread):
    path = tmp_path / "table.npy"
    np.save(path, np.tile(np.random.default_rng(0).normal(size=(1000, 100)).astype(np.float32) - 6, (200, 1)))
    table = ExpertTable.load(path)
    if not reread:
        with pytest.warns(NotConvergedWarning):
            solve(table, max_iter=2)
    os.truncate(path, 1 << 20)
    with pytest.raises(TableError, match=r"table\.npy was cut short"):
        solve(table)


OTHERS = """
import os, signal, sys
import numpy as np
from mixfast._engine.backend.rows import Rows
if sys.argv[1] == "python": signal.signal(signal.SIGBUS, lambda *_: print("handled", flush=True))
if sys.argv[1] == "faulthandler": import faulthandler; faulthandler.enable()
np.save("t.npy", np.zeros((100_000, 50)))
rows = Rows(np.load("t.npy", mmap_mode="r"), None, 1.0, False, True)
os.truncate("t.npy", 4096)
try: rows.sums(np.full(50, 0.02))
except Exception as error: print(type(error).__name__, flush=True)
os.kill(os.getpid(), signal.SIGBUS)
print("goes on", flush=True)
"""


@pytest.mark.process
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer handles bus errors itself")
@pytest.mark.parametrize("handler", ["python", "none", "faulthandler"])
def test_other_bus_errors_are_for_others(handler, tmp_path):
    """A bus error that is not a read of the table goes to the previous handler, or ends the process as before."""
    done = subprocess.run(
        [sys.executable, "-c", OTHERS, handler], timeout=60, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    handled = handler == "python"
    assert done.stdout == ("TableError\nhandled\ngoes on\n" if handled else "TableError\n"), done.stderr
    assert done.returncode == (0 if handled else -signal.SIGBUS)
    assert ("Bus error" in done.stderr) == (handler == "faulthandler")
