"""A background thread that communicates and computes, so that the calling thread only waits and reacts to signals and lost ranks."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple


class Done(NamedTuple):
    """A call of the background thread has ended."""

    answer: object
    error: BaseException | None


class Alarm(NamedTuple):
    """The watch has noticed something: another rank has ended, or rank 0 has sent its last word."""


Events = SimpleQueue[Done | Alarm]
_Call = tuple[Context, Callable[[], object]]


class Hand:
    """Make calls one after the other in a thread of its own; each ends with an event."""

    def __init__(self, events: Events) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        # The thread knows the queues only, so that it does not keep the owner of this object alive.
        Thread(target=_make, args=(self._calls, events), name="mixfast ranks", daemon=True).start()

    def start(self, call: Callable[[], object]) -> None:
        """Make a call, with the context variables of the calling thread."""
        self._calls.put((copy_context(), call))

    def dismiss(self) -> None:
        """End the thread after the calls that wait."""
        self._calls.put(None)


def _make(calls: SimpleQueue[_Call | None], events: Events) -> None:
    while (given := calls.get()) is not None:
        context, call = given
        try:
            event = Done(context.run(call), None)
        except BaseException as error:
            event = Done(None, error)
        # While the thread waits, it must not keep tables alive.
        del context, call, given
        events.put(event)
        del event
