"""Loops compiled by Numba, with a cache of machine code that never stands in the way.

Numba's cache is a folder of files. By itself, Numba refuses to compile at all if it finds no folder to write to, as in a container with a
read-only root and no home, and fails in the first call if the disk or a quota is full. Here the cache is, in this order:

1. what Numba chooses: ``NUMBA_CACHE_DIR`` if it is set, ``__pycache__`` beside the source, the user's cache folder;
2. ``mixfast-numba-<user id>`` in the folder for temporary files, if it belongs to the user and nobody else may write to it;
3. none: the loops are compiled in each process, and a warning says so once.

Numba runs what it reads from a cache, so the folder of step 2 is used only if nobody else may change it. Those of step 1 are the choice of the
user or of who installed the package. Import this module only where Numba is
needed.
"""

from __future__ import annotations

import os
import tempfile
import threading
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import config, njit
from numba.core.caching import FunctionCache

from mixfast._text.folders import private_folder
from mixfast._text.visible import visible
from mixfast.errors import MixfastWarning


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function by Numba, without the GIL; ``options`` are those of ``numba.njit``."""

    def compile_later(function: Callable[..., Any]) -> Any:
        dispatcher = njit(nogil=True, **options)(function)
        found = _cache_of(function)
        if found is not None:
            # What `cache=True` does, with a cache that may fail. Numba has no public way to give one.
            vars(dispatcher).update(_cache=found)
        return dispatcher

    return compile_later


class _Cache(FunctionCache):  # type: ignore[misc]
    """A cache in which a file that cannot be read or written is a missing one."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a damaged file raises anything that unpickling can raise
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            try:
                super().save_overload(sig, data)
            except OSError:
                raise
            except Exception:  # the index of the cache is damaged
                self.flush()
                super().save_overload(sig, data)
        except OSError as problem:
            self.disable()
            _warn_without(f"{self.cache_path}: {problem.strerror}")


# Numba takes the folder of a cache from a setting of the whole process. Two threads that both change it could leave it changed.
_setting = threading.Lock()


def _cache_of(function: Callable[..., Any]) -> _Cache | None:
    """Return the cache of a function; None if there is no folder for it."""
    try:
        return _Cache(function)
    except RuntimeError as problem:  # "cannot cache function ...: no locator available for file ..."
        reason = str(problem)
    folder = _fallback()
    if folder is not None:
        with _setting:
            given, config.CACHE_DIR = config.CACHE_DIR, str(folder)
            try:
                return _Cache(function)
            except RuntimeError as problem:
                reason = str(problem)
            finally:
                config.CACHE_DIR = given
    _warn_without(reason)
    return None


@cache
def _fallback() -> Path | None:
    """Return the private folder in the folder for temporary files; None if it cannot be made or is not private."""
    try:
        return private_folder(Path(tempfile.gettempdir()) / f"mixfast-numba-{os.geteuid()}")
    except (AttributeError, OSError):  # no user ids on this system; no folder for temporary files, or not a private one
        return None


_warned: list[str] = []


def _warn_without(reason: str) -> None:
    """Warn once that nothing is cached."""
    if _warned:
        return
    _warned.append(reason)
    warnings.warn(
        f"Numba has no folder for compiled code ({visible(reason)}), so each process compiles its loops again, which takes seconds; "
        "set NUMBA_CACHE_DIR to a folder that you can write to",
        MixfastWarning,
        stacklevel=2,
    )
