"""How many threads the compiled core may use, and threads of our own for calls that look at no signals."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TypeVar

__all__ = ["available_cpus", "each", "thread_count"]

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

# More threads than this seldom pay: sweeps over rows are bound by memory, which a few cores saturate.
_MOST_THREADS = 16


def available_cpus() -> int:
    """Return the number of CPUs that this process may run on; of the machine where the system cannot tell (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count(threads: int | None) -> int:
    """Return `threads`, by default MIXFAST_NUM_THREADS, by default the CPUs that this process may run on (16 at most)."""
    if threads is None:
        requested = os.environ.get("MIXFAST_NUM_THREADS", "")
        if requested.isdigit() and int(requested) > 0:
            return int(requested)
        return min(available_cpus(), _MOST_THREADS)
    if threads < 1:
        raise ValueError(f"threads is {threads}, expected a count of at least 1")
    return threads


def each(work: Callable[[_Item], _Answer], items: Iterable[_Item], *, threads: int | None = None) -> list[_Answer]:
    """Return what some work makes of each item, in their order, divided among threads; the first error is raised.

    The work never runs in the calling thread, which only waits: so Ctrl-C is seen at once, also while Numba, BLAS or LightGBM
    run for minutes without looking for signals. Items that are being worked on then are abandoned: their threads end with
    them, or with the process, and begin no other. The work must not leave anything half done that others can see.
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
    # Items are begun in their order, so those before the first error are done.
    if errors:
        raise errors[min(errors)]
    for worker in workers:
        worker.join()
    return [answers[i] for i in range(len(items))]
