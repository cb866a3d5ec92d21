"""The command `mixfast`, also as `python -m mixfast`: what must hold before the package is loaded and after its work is done.

Until the commands are loaded, a signal ends the process at once. Then Ctrl-C, a request to end (SIGTERM) or a terminal that is
closed (SIGHUP) raises, so that files are put in order, and the process ends with the status 128 + number of the signal. What is raised
and not expected becomes one line, and its traceback a file; with ``MIXFAST_TRACEBACK=1`` it is shown instead.
"""

from __future__ import annotations

# Nothing that takes time to load: until `main` runs, Ctrl-C ends in a traceback of Python.
import atexit
import os
import signal
import sys
import warnings
from os import _exit as exit_at_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from types import FrameType

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
# The exit status of a mistake of mixfast itself: the EX_SOFTWARE of sysexits.h.
_SURPRISED = 70


def main() -> int:
    """Run the command line of the process and return its exit status."""
    _handle(_leave)
    # What is registered first is done last: only the interpreter is taken apart then.
    atexit.register(_end_undisturbed)
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
    # The commands have words of their own for warnings; these are of what is loaded before them, and of the end.
    warnings.showwarning = _warn
    try:
        import threading

        from mixfast.cli import main as command

        sys.unraisablehook, threading.excepthook = _unraisable, _in_thread
        _handle(_raise)
        return command()
    except Exception as problem:
        from mixfast._text.surprise import told

        _say(told(problem))
        return _SURPRISED


def _handle(how: object) -> None:
    """Let a function handle the signals that are not ignored, as those of a background job are."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, how)  # type: ignore[arg-type]


def _raise(number: int, frame: FrameType | None) -> None:
    """Let the work end in order; whoever asks again does not want to wait for it."""
    from mixfast._text.interrupts import is_held

    if is_held(number):
        return
    _handle(_leave)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _leave(number: int, frame: FrameType | None = None) -> None:
    """End the process without waiting for its threads, and without temporary files."""
    interrupts = sys.modules.get("mixfast._text.interrupts")
    # It may be half loaded.
    getattr(interrupts, "remove_unfinished", lambda: None)()
    exit_at_once(128 + number)


def _unraisable(given: sys.UnraisableHookArgs) -> None:
    """Follow an interruption that Python was about to pass over; other troubles of objects that are deleted are of no interest to users."""
    if isinstance(given.exc_value, KeyboardInterrupt):
        _leave(signal.SIGINT)
    if isinstance(given.exc_value, SystemExit):
        _leave(signal.SIGTERM)
    if os.environ.get("MIXFAST_TRACEBACK"):
        sys.__unraisablehook__(given)


def _end_undisturbed() -> None:
    """Let the status stand: the work is done, and its files are written."""
    # Ignored, not blocked: other threads would take what this one blocks, and Python takes its own handlers away before it ends.
    _handle(signal.SIG_IGN)


def _say(line: str) -> None:
    """Print a line on stderr, if there is one that takes it."""
    try:
        if sys.stderr is not None:
            print(line, file=sys.stderr)
    except OSError:
        pass


def _warn(message: Warning | str, *where: object, **more: object) -> None:
    """Say what a package warns of, without its place in the code."""
    _say(f"mixfast: warning: {' '.join(str(message).split())}")


def _in_thread(given: threading.ExceptHookArgs) -> None:
    """Say what was raised in a thread as what is raised elsewhere."""
    from mixfast._text.surprise import told

    if given.exc_value is not None:
        _say(told(given.exc_value))


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
