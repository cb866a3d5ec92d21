"""Limit the BLAS of numpy and scipy to one thread: for small matrices, a second thread mostly waits."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any


@cache
def _controller(_scipy: bool) -> Any:
    # Without threadpoolctl, BLAS keeps its threads. This is slower on a busy machine but changes no result.
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()


def forget_libraries() -> None:
    """Search for the BLAS libraries of this process again, after importing a package that may have loaded one."""
    _controller.cache_clear()


def single_blas() -> AbstractContextManager[object]:
    """Return a context in which BLAS uses one thread.

    SciPy has its own BLAS, which can be limited only after it is loaded: enter the context again after the first import of SciPy.
    """
    controller = _controller("scipy.linalg" in sys.modules)
    return nullcontext() if controller is None else controller.limit(limits=1, user_api="blas")
