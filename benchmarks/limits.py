"""Measure the limits of the machine: the least work that any program must do with the same data."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.facts import threads


def median_seconds(call: Callable[[], object], *, budget: float = 0.3, least: int = 3, most: int = 15) -> float:
    """Median of repeated calls, one warm-up dropped: at least `least`, then until `budget` seconds are spent."""
    call()
    seconds: list[float] = []
    while len(seconds) < least or (sum(seconds) < budget and len(seconds) < most):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


def stream(table: np.ndarray) -> float:
    """Return the seconds to read the table once as float32, with one numpy sum in each thread."""
    flat = np.ascontiguousarray(table, dtype=np.float32).reshape(-1)
    return _in_parts(lambda part: part.sum(), flat)


def read_and_sum(paths: Sequence[Path]) -> float:
    """Return the seconds in which numpy loads the log-likelihoods of npz files and sums them, one file at a time in each thread."""

    def one(path: Path) -> float:
        with np.load(path) as file:
            return float(file["loglik"].sum(dtype=np.float32))

    with ThreadPoolExecutor(threads()) as pool:
        return median_seconds(lambda: list(pool.map(one, paths)), budget=0.0, least=1)


def sweep(loglik: np.ndarray) -> float:
    """Return the seconds of our own sweep of a table in memory: value and gradient, without Hessian."""
    from mixfast import ExpertTable
    from mixfast._engine.objectives.rows import TableRows

    table = ExpertTable.from_loglik(loglik)
    objective = TableRows.of(table, threads=threads()).weighted(np.ones(1), None)
    even = np.full(table.n_domains, 1.0 / table.n_domains)
    return median_seconds(lambda: objective.sums(even))


def exponential(table: np.ndarray) -> float:
    """Seconds of numpy's float32 exp over the table, into memory that is already mapped."""
    flat = np.ascontiguousarray(table, dtype=np.float32).reshape(-1)
    return _in_parts(lambda part, out: np.exp(part, out=out), flat, np.zeros_like(flat))


def product(rows: int, inner: int, columns: int) -> float:
    """Seconds of one float32 matrix product of this shape that stores its result in memory that is already mapped."""
    a, b = np.ones((rows, inner), dtype=np.float32), np.ones((inner, columns), dtype=np.float32)
    out = np.zeros((rows, columns), dtype=np.float32)
    return median_seconds(lambda: np.matmul(a, b, out=out), least=1)


def write(count: int) -> float:
    """Seconds to fill three int64 arrays of this length, as a stream of samples writes them."""
    arrays = np.zeros((3, count), dtype=np.int64)
    return median_seconds(lambda: arrays.fill(1))


def peak_megabytes(call: Callable[[], object]) -> float | None:
    """Return the resident memory that a call adds at its peak, MB; None if the system cannot reset the peak."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _resident("VmRSS")
        call()
        return (_resident("VmHWM") - before) / 1e3
    except OSError:
        return None


def available_gigabytes() -> float:
    """Return the free memory for a peer that stores its results; infinite if the system does not report it."""
    path = Path("/proc/meminfo")
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return next((int(line.split()[1]) * 1e-6 for line in lines if line.startswith("MemAvailable")), np.inf)


def _resident(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(key))


def _in_parts(call: Callable[..., object], *arrays: np.ndarray) -> float:
    count = threads()
    parts = [[array[i * array.size // count : (i + 1) * array.size // count] for array in arrays] for i in range(count)]
    if count == 1:
        return median_seconds(lambda: call(*parts[0]))
    with ThreadPoolExecutor(count) as pool:
        return median_seconds(lambda: list(pool.map(lambda part: call(*part), parts)))
