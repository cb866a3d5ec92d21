"""The command `mixfast`, also as `python -m mixfast`: handling of signals, streams and unexpected errors around the commands.

Until the commands are loaded, a signal ends the process at once. After that, Ctrl-C (SIGINT), a request to end (SIGTERM) or a closed
terminal (SIGHUP) raises an exception, so that files are left in order, and the process ends with the status 128 + number of the
signal. An unexpected error is reported in one line, and its traceback is written to a file; with ``MIXFAST_TRACEBACK=1`` it is printed.
"""

from __future__ import annotations

# Only modules that load fast: until `main` runs, Ctrl-C prints a traceback.
import atexit
import gc
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
# Objects made before the garbage collector runs. With Python's 700 it runs 80 times in a short command, mostly while modules are loaded, and frees
# nothing.
_OBJECTS = 10_000
# The exit status of a bug in mixfast: EX_SOFTWARE of sysexits.h.
_SURPRISED = 70


def main() -> int:
    """Run the command line of the process and return its exit status."""
    _handle(_leave)
    # Registered first, so it runs last, just before the interpreter shuts down.
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
    """Load the commands and run one; report a bug in mixfast in one line and return its status."""
    # The commands print their own warnings; this is for warnings before and after them.
    warnings.showwarning = _warn
    gc.set_threshold(_OBJECTS)
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
    """Install a handler for all signals that are not ignored; a background job ignores some."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, how)  # type: ignore[arg-type]


def _raise(number: int, frame: FrameType | None) -> None:
    """Raise, so that the work ends in order; a second signal ends the process at once."""
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
    # The module may be only partly loaded.
    getattr(interrupts, "remove_unfinished", lambda: None)()
    exit_at_once(128 + number)


def _unraisable(given: sys.UnraisableHookArgs) -> None:
    """End the process on an interruption that Python would ignore; other errors in finalisers do not concern users."""
    if isinstance(given.exc_value, KeyboardInterrupt):
        _leave(signal.SIGINT)
    if isinstance(given.exc_value, SystemExit):
        _leave(signal.SIGTERM)
    if os.environ.get("MIXFAST_TRACEBACK"):
        sys.__unraisablehook__(given)


def _end_undisturbed() -> None:
    """Ignore further signals: the work is done, and they must not change the exit status."""
    # Ignored rather than blocked: other threads would receive blocked signals, and Python removes its handlers before it exits.
    _handle(signal.SIG_IGN)


def _say(line: str) -> None:
    """Print a line on stderr, if stderr can be written."""
    try:
        if sys.stderr is not None:
            print(line, file=sys.stderr)
    except OSError:
        pass


def _warn(message: Warning | str, *where: object, **more: object) -> None:
    """Print a warning without its place in the code."""
    _say(f"mixfast: warning: {' '.join(str(message).split())}")


def _in_thread(given: threading.ExceptHookArgs) -> None:
    """Report an error in a thread like any other error."""
    from mixfast._text.surprise import told

    if given.exc_value is not None:
        _say(told(given.exc_value))


def _open_closed() -> None:
    """Open the null device for closed standard streams; otherwise a file that is opened later would get their descriptor and output."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _flush() -> None:
    """Flush the standard streams; drop output that cannot be written, which Python would complain about at exit."""
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


if __name__ == "__main__":
    sys.exit(main())
