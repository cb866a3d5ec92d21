"""Progress of long work: a bar after two seconds, drawn by tqdm if it is installed.

A function that may take long wraps its work in `working`, and calls `advance` for each part that is done, or `now` to name what it does.
Nested work shares the bar of the outermost one. No thread is started: the bar is drawn by these calls, once `DELAY` seconds have passed. The command
line draws its bar by a thread of its own (`mixfast.cli`).

No bar is drawn if stderr is neither a terminal nor a notebook, in a process that was forked from the one that began the work, in a rank of
torchrun other than 0, or if ``TQDM_DISABLE=1`` is set.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import wraps
from time import perf_counter
from typing import Any, ParamSpec, TypeVar

from mixfast._text.visible import visible

_P = ParamSpec("_P")
_T = TypeVar("_T")
# Seconds of work before a bar appears, and between two updates of it.
DELAY, _EVERY = 2.0, 0.2


class _Local(threading.local):
    """The work of this thread, outermost first."""

    def __init__(self) -> None:
        self.stack: list[Work] = []


_LOCAL = _Local()


class Work:
    """A context for long work: it holds how much is done, and what is being done.

    Attributes
    ----------
    what : str
        A name of the work, such as "fitting laws".
    stage : str or tuple
        The current step, as text or as a format and its values; empty if none was named.
    done, total : int, int or None
        Parts that are done, and parts in all; None if that is not known.
    """

    __slots__ = ("_bar", "_began", "_due", "_outer", "_process", "_stack", "done", "stage", "total", "unit", "what")

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.stage: str | tuple[Any, ...] = ""
        self.done = 0
        self._bar: Bar | None = None

    def __enter__(self) -> Work:
        self._stack = stack = _LOCAL.stack
        self._outer = stack[0] if stack else self
        if self._outer is self:
            self._began, self._due, self._process = perf_counter(), perf_counter() + DELAY, os.getpid()
        stack.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        # A generator that is closed late may leave in another order.
        if self in self._stack:
            self._stack.remove(self)
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    @property
    def seconds(self) -> float:
        """Seconds since the work began."""
        return perf_counter() - self._outer._began

    @property
    def counted(self) -> Work:
        """The outermost work whose parts are counted; this one if none are."""
        return next((one for one in self._stack.copy() if one.total is not None), self)

    @property
    def text(self) -> str:
        """Return the name of the work and its current step."""
        stage = next((one.stage for one in reversed(self._stack.copy()) if one.stage), "")
        if isinstance(stage, tuple):
            stage = stage[0].format(*stage[1:])
        return f"{self.what} {stage}" if stage else self.what

    def advance(self, parts: int = 1) -> None:
        """Count parts that are done."""
        self.done += parts
        self._outer._draw()

    def now(self, stage: str | tuple[Any, ...]) -> None:
        """Name the current step, as text or as a format and its values, which are only formatted if they are shown."""
        self.stage = stage
        self._outer._draw()

    def never_draw(self) -> None:
        """Leave the drawing to somebody else."""
        self._due = float("inf")

    def _draw(self) -> None:
        time = perf_counter()
        if time < self._due:
            return
        self._due = time + _EVERY
        if self._bar is None:
            if self._process != os.getpid() or not wanted() or (make := bar_class(notebook=True)) is None:
                self._due = float("inf")
                return
            self._bar = Bar(make)
        self._bar.show(self)


def working(what: str, total: int | None = None, unit: str = "it") -> Work:
    """Return long work, to be entered: ``with working("solving resamples", 200) as work: ... work.advance()``."""
    return Work(what, total, unit)


def tracked(items: Iterable[_T], what: str, total: int, unit: str = "it") -> Iterator[_T]:
    """Yield items, each of which is a part of the work while the caller holds it.

    >>> list(tracked("ab", "reading", 2))
    ['a', 'b']
    """
    with working(what, total, unit) as work:
        for item in items:
            yield item
            work.advance()


def now(*stage: Any) -> None:
    """Name the current step of this thread's innermost work, as text or as a format and its values; do nothing without work."""
    if _LOCAL.stack:
        _LOCAL.stack[-1].now(stage)


def advance(parts: int = 1) -> None:
    """Count parts of the innermost work of this thread that are done; nothing if there is no work."""
    if _LOCAL.stack:
        _LOCAL.stack[-1].advance(parts)


def long_work(what: str) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Return a decorator for functions that may take long; inside, `now` says what is done."""

    def decorate(function: Callable[_P, _T]) -> Callable[_P, _T]:
        @wraps(function)
        def wrapped(*given: _P.args, **named: _P.kwargs) -> _T:
            with working(what):
                return function(*given, **named)

        return wrapped

    return decorate


class Bar:
    """A bar of tqdm that follows one piece of work after the other."""

    def __init__(self, make: Any) -> None:
        self._make = make
        self._bar: Any = None
        self._of: Work | None = None

    def show(self, work: Work) -> None:
        """Draw how far the outermost work is."""
        part = work.counted
        # A terminal that went away must not end the work.
        with suppress(OSError):
            if self._bar is None or self._of is not part:
                self.close()
                self._of, self._bar = part, self._open(work, part)
            self._bar.set_description(f"mixfast: {visible(work.text)}", refresh=False)
            self._bar.n = part.done if part.total is None else min(part.done, part.total)
            self._bar.refresh()

    def _open(self, work: Work, part: Work) -> Any:
        # The colon after the description belongs to tqdm.
        form = {} if part.total is not None else {"bar_format": "{desc}{elapsed}"}
        words = {
            "desc": f"mixfast: {visible(work.text)}: ",
            "initial": part.done,
            "total": part.total,
            "unit": part.unit,
        }
        bar = self._make(**words, leave=False, file=sys.stderr, dynamic_ncols=True, **form)
        # The time is counted from the beginning of the work, not from the first display of the bar.
        bar.start_t -= work.seconds
        return bar

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            bar, self._bar = self._bar, None
            with suppress(OSError):
                bar.close()


def wanted() -> bool:
    """Whether somebody may look at a bar on stderr: a person at a terminal or in a notebook, in one process of torchrun."""
    if os.environ.get("TQDM_DISABLE", "0") not in ("", "0") or os.environ.get("RANK", "0") != "0":
        return False
    return in_notebook() or bool(getattr(sys.stderr, "isatty", bool)())


def in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", bool)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def bar_class(*, notebook: bool) -> Any:
    """Return the class of tqdm's bars, without its thread and its lock across processes; None if tqdm is not installed."""
    try:
        with warnings.catch_warnings():
            # Without ipywidgets a notebook has bars of text, which tqdm warns of.
            warnings.simplefilter("ignore")
            if notebook and in_notebook():
                from tqdm.auto import tqdm
            else:
                from tqdm.std import tqdm
    except ImportError:
        return None
    own: Any = type("tqdm", (tqdm,), {"monitor_interval": 0})
    own.set_lock(threading.RLock())
    return own
