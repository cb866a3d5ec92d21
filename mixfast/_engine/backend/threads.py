"""The number of threads of the compiled core, and background threads for calls that do not react to signals."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TypeVar

__all__ = ["available_cpus", "each", "thread_count"]

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

# More threads are rarely faster: sweeps over rows are limited by memory bandwidth, which a few cores saturate.
_MOST_THREADS = 16


def available_cpus() -> int:
    """Return the number of CPUs that this process may use; if the system cannot tell (macOS), that of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count(threads: int | None) -> int:
    """Return `threads`; if None, MIXFAST_NUM_THREADS; if that is not set, the CPUs that this process may use (16 at most).

    Processes that torchrun starts on one machine (LOCAL_WORLD_SIZE) share its CPUs.
    """
    if threads is None:
        requested = os.environ.get("MIXFAST_NUM_THREADS", "")
        if requested.isdigit() and int(requested) > 0:
            return int(requested)
        sharing = os.environ.get("LOCAL_WORLD_SIZE", "")
        ranks = int(sharing) if sharing.isdigit() and int(sharing) > 0 else 1
        return min(max(available_cpus() // ranks, 1), _MOST_THREADS)
    if threads < 1:
        raise ValueError(f"threads is {threads}, expected a count of at least 1")
    return threads


def each(work: Callable[[_Item], _Answer], items: Iterable[_Item], *, threads: int | None = None) -> list[_Answer]:
    """Apply `work` to each item in background threads. Return the results in order, or raise the first error.

    The calling thread only waits, so it reacts to Ctrl-C at once, even while Numba, BLAS or LightGBM run for minutes
    without checking for signals. Items that are being processed are then abandoned: their threads finish them, or end with the
    process, and start no others. The work must not leave partial results that other code can see.
    """
    items = list(items)
    answers: dict[int, _Answer] = {}
    errors: dict[int, BaseException] = {}
    todo, lock = iter(range(len(items))), Lock()
    ended: SimpleQueue[None] = SimpleQueue()
    abandoned = False

    def run() -> None:
        while not (abandoned or errors):
            with lock:
                i = next(todo, None)
            if i is None:
                break
            try:
                answers[i] = work(items[i])
            except BaseException as error:
                errors[i] = error
        ended.put(None)

    workers = [
        Thread(target=run, name="mixfast work", daemon=True) for _ in range(min(thread_count(threads), len(items)))
    ]
    try:
        for worker in workers:
            worker.start()
        for _ in workers:
            ended.get()
    except BaseException:
        abandoned = True
        raise
    # Items are started in order, so those before the first error are finished.
    if errors:
        raise errors[min(errors)]
    for worker in workers:
        worker.join()
    return [answers[i] for i in range(len(items))]
