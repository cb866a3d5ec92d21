"""What the machine itself can do, beside every time: the same data, the least work anybody could do with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np


def median_seconds(call: Callable[[], object], *, budget: float = 1.0, least: int = 3, most: int = 15) -> list[float]:
    """Seconds of repeated calls, one warm-up dropped: at least `least`, then until `budget` seconds are spent."""
    call()
    seconds: list[float] = []
    while len(seconds) < least or (sum(seconds) < budget and len(seconds) < most):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return seconds


def stream(table: np.ndarray, threads: int) -> float:
    """S: seconds to read the table once as float32, a numpy sum in each thread."""
    flat = np.ascontiguousarray(table, dtype=np.float32).reshape(-1)
    return _in_parts(lambda part: part.sum(), [flat], threads)


def exponential(table: np.ndarray, threads: int) -> float:
    """X: seconds of numpy's float32 exp over the table, into memory already touched."""
    flat = np.ascontiguousarray(table, dtype=np.float32).reshape(-1)
    return _in_parts(lambda part, out: np.exp(part, out=out), [flat, np.zeros_like(flat)], threads)


def _in_parts(call: Callable[..., object], arrays: list[np.ndarray], threads: int) -> float:
    parts = [
        [array[i * array.size // threads : (i + 1) * array.size // threads] for array in arrays] for i in range(threads)
    ]
    if threads == 1:
        return float(np.median(median_seconds(lambda: call(*parts[0]))))
    with ThreadPoolExecutor(threads) as pool:
        return float(np.median(median_seconds(lambda: list(pool.map(lambda part: call(*part), parts)))))
