"""What a command prints on stderr during long work: a bar on a terminal, a line in a log."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mixfast._text.progress import Bar, Work, bar_class, wanted, working
from mixfast.cli._console import detail, manner, overwrite, tell

# Seconds of work before it is shown on a terminal.
QUIET_SECONDS = 1.0
# Seconds of work before one line is printed if stderr is not a terminal.
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


class _Line(ProgressLine):
    """The line that replaces a bar if tqdm is not installed."""

    def follow(self, work: Work) -> None:
        """Say how far the work is."""
        part = work.counted
        done = "" if part.total is None else f", {part.done} of {part.total}"
        self.show(f"{work.text}{done}, {work.seconds:.0f} s")


@contextmanager
def progress(what: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done and for how long: on a terminal after a second, in a log with one line after half a minute.

    The yielded function takes a text on the current step, which is shown after ``what``. With ``--quiet`` nothing is shown; with
    ``--verbose`` the seconds are printed at the end.
    """
    done = threading.Event()
    with working(what) as work:
        # This thread draws, so that time is seen to pass during one long step.
        work.never_draw()
        thread = None
        if not manner().quiet:
            thread = threading.Thread(target=_follow, args=(work, done), daemon=True)
            thread.start()
        try:
            yield work.now
        finally:
            done.set()
            if thread is not None:
                thread.join()
            detail(f"{what}: {work.seconds:.2f} s")


def _follow(work: Work, done: threading.Event) -> None:
    """Show how far the work is until it is done."""
    if not sys.stderr.isatty():
        if not done.wait(LOG_SECONDS):
            tell(f"{work.text}, for {LOG_SECONDS:.0f} s so far")
        return
    if done.wait(QUIET_SECONDS) or not wanted():
        return
    make = bar_class(notebook=False)
    line, bar = _Line(), None if make is None else Bar(make)
    while True:
        if bar is None:
            line.follow(work)
        else:
            bar.show(work)
        if done.wait(0.5):
            break
    line.clear()
    if bar is not None:
        bar.close()
