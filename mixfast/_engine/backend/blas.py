"""Threads of the linear algebra of numpy and scipy: one, where matrices are small and a second waits more than it works."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any


@cache
def _controller(_scipy: bool) -> Any:
    # Without it BLAS keeps its threads: slower on a busy machine, and nothing else.
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()


def forget_libraries() -> None:
    """Look anew for the BLAS libraries of this process, for a package was imported that may bring one."""
    _controller.cache_clear()


def single_blas() -> AbstractContextManager[object]:
    """A context in which BLAS uses one thread.

    SciPy has a BLAS of its own, which can be limited only once it is loaded: enter the context again after the first import.
    """
    controller = _controller("scipy.linalg" in sys.modules)
    return nullcontext() if controller is None else controller.limit(limits=1, user_api="blas")
