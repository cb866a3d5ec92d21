"""How many threads the compiled core may use."""

from __future__ import annotations

import os

__all__ = ["available_cpus", "thread_count"]

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
