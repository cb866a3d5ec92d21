"""Work that a signal must not stop halfway: putting related files into place, and removing temporary files.

The command delays signals during `uninterrupted` work, and removes the files in `unfinished` before it ends. In other Python
programs, mixfast does not change the signal handlers: Ctrl-C raises immediately.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

unfinished: set[str] = set()
"""Paths of temporary files and folders that may exist."""
_held: list[int] = []
_going_on = 0


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay signals that the command handles until the block ends; the block must be short."""
    global _going_on
    _going_on += 1
    try:
        yield
    finally:
        _going_on -= 1
        if not _going_on and _held:
            signal.raise_signal(_held.pop())


def is_held(number: int) -> bool:
    """Whether a signal is delayed; it will be raised again later."""
    if _going_on:
        _held[:] = [number]
    return bool(_going_on)


def remove_unfinished() -> None:
    """Remove the temporary files and folders that are still listed."""
    for path in tuple(unfinished):
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
            continue
        with suppress(OSError):
            os.unlink(path)
