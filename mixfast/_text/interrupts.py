"""What a signal must not stop half way: several files that belong together are put into place, or temporary files are removed.

The command holds its signals while `uninterrupted` work goes on, and removes what `unfinished` names before it ends. In a Python program
the signals are the program's own: there Ctrl-C raises wherever it comes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

unfinished: set[str] = set()
"""Paths of temporary files that may exist."""
_held: list[int] = []
_going_on = 0


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let signals that the command handles wait until the block is over; it must be short."""
    global _going_on
    _going_on += 1
    try:
        yield
    finally:
        _going_on -= 1
        if not _going_on and _held:
            signal.raise_signal(_held.pop())


def is_held(number: int) -> bool:
    """Whether a signal has to wait, and will be raised again."""
    if _going_on:
        _held[:] = [number]
    return bool(_going_on)


def remove_unfinished() -> None:
    """Remove the temporary files that nobody else will."""
    for path in tuple(unfinished):
        with suppress(OSError):
            os.unlink(path)
