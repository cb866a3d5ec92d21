"""The only file that imports the compiled core and `mixfast.kernels`."""

from __future__ import annotations

import os
from typing import Any

import mixfast._core as core

__all__ = ["core", "gpu_kernels", "thread_count"]


def gpu_kernels() -> Any:
    """The GPU kernels; importing them takes seconds, so they come when first asked for."""
    import mixfast.kernels

    return mixfast.kernels


def thread_count(threads: int | None) -> int:
    """Threads to use: `threads`, else MIXFAST_NUM_THREADS, else the CPUs this process may run on (16 at most)."""
    if threads is None:
        wish = os.environ.get("MIXFAST_NUM_THREADS", "")
        threads = int(wish) if wish.isdigit() and int(wish) > 0 else min(len(os.sched_getaffinity(0)), 16)
    if threads < 1:
        raise ValueError(f"threads is {threads}, expected a count of at least 1")
    return threads
