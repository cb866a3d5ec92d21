"""The command `mixfast`, also as `python -m mixfast`: what must hold before the package is loaded and after its work is done.

Until the commands are loaded, a signal ends the process at once. Then Ctrl-C, a request to end (SIGTERM) or a terminal that is
closed (SIGHUP) raises, so that files are put in order, and the process ends with the status 128 + number of the signal. What is raised
and not expected becomes one line, and its traceback a file; with ``MIXFAST_TRACEBACK=1`` it is shown instead.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from os import _exit as exit_at_once
from types import FrameType

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
# The exit status of a mistake of mixfast itself: the EX_SOFTWARE of sysexits.h.
_SURPRISED = 70


def main() -> int:
    """Run the command line of the process and return its exit status."""
    _handle(_leave)
    _open_closed()
    try:
        status = _work()
        _handle(_leave)
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    _flush()
    if status > 128:
        _leave(status - 128)
    return status


def _work() -> int:
    """Load the commands and run one; a mistake of mixfast itself becomes one line and a status."""
    try:
        from mixfast.cli import main as command

        sys.unraisablehook = _unraisable
        _handle(_raise)
        return command()
    except Exception as problem:
        from mixfast._text.surprise import told

        line = told(problem)
        if sys.stderr is not None:
            with suppress(OSError):
                print(line, file=sys.stderr)
        return _SURPRISED


def _handle(how: object) -> None:
    """Let a function handle the signals that are not ignored, as those of a background job are."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, how)  # type: ignore[arg-type]


def _raise(number: int, frame: FrameType | None) -> None:
    """Let the work end in order; whoever asks again does not want to wait for it."""
    _handle(_leave)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _leave(number: int, frame: FrameType | None = None) -> None:
    """End the process without waiting for its threads."""
    exit_at_once(128 + number)


def _unraisable(given: sys.UnraisableHookArgs) -> None:
    """Follow an interruption that Python was about to pass over; other troubles of objects that are deleted are of no interest to users."""
    if isinstance(given.exc_value, KeyboardInterrupt):
        _leave(signal.SIGINT)
    if isinstance(given.exc_value, SystemExit):
        _leave(signal.SIGTERM)
    if os.environ.get("MIXFAST_TRACEBACK"):
        sys.__unraisablehook__(given)


def _open_closed() -> None:
    """Open the null device where a standard stream is closed, lest a file that is opened later takes its place and its output."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _flush() -> None:
    """Hand on what was printed; what cannot be is dropped, for Python would complain of it at its end."""
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


if __name__ == "__main__":
    sys.exit(main())
