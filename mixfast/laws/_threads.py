"""One BLAS thread while laws are fitted: their matrices are small, and a second thread then waits more than it works."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any


@cache
def _controller(with_scipy: bool) -> Any:
    if with_scipy:
        import scipy.linalg  # noqa: F401
    # Comes with scikit-learn. Without it BLAS keeps its threads: slower on a busy machine, and last bits may differ between runs.
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()


def single_blas(*, with_scipy: bool = False) -> AbstractContextManager[object]:
    """A context in which BLAS uses one thread; SciPy has a BLAS of its own, which is known to be limited only ``with_scipy``."""
    controller = _controller(with_scipy)
    return nullcontext() if controller is None else controller.limit(limits=1, user_api="blas")
