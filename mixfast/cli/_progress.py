"""The line on stderr that says what a command is doing."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from mixfast.cli._console import overwrite, tell

# Work that takes less time than this is not announced.
QUIET_SECONDS = 1.0
# Work that takes longer is announced once where stderr is no terminal.
LOG_SECONDS = 30.0


class ProgressLine:
    """A line on a terminal that is overwritten in place."""

    def __init__(self) -> None:
        self._shown = False

    def show(self, text: str) -> None:
        """Overwrite the line."""
        overwrite(f"mixfast: {text}")
        self._shown = True

    def clear(self) -> None:
        """Leave the line empty."""
        if self._shown:
            overwrite("")


@contextmanager
def progress(what: str) -> Iterator[Callable[[str], None]]:
    """Show what is going on and for how long: on a terminal after a second, and in a log by one line after half a minute.

    The function that comes with it takes what is going on at the moment, which stands behind ``what``.
    """
    stage = ""

    def now(text: str) -> None:
        nonlocal stage
        stage = f" {text}"

    terminal = sys.stderr.isatty()
    done = threading.Event()

    def show() -> None:
        if not terminal:
            if not done.wait(LOG_SECONDS):
                tell(f"{what}{stage}, for {LOG_SECONDS:.0f} s so far")
            return
        began, line = perf_counter(), ProgressLine()
        wait = QUIET_SECONDS
        while not done.wait(wait):
            line.show(f"{what}{stage}, {perf_counter() - began:.0f} s")
            wait = 0.5
        line.clear()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield now
    finally:
        done.set()
        thread.join()
