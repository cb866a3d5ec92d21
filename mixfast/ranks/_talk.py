"""Collective operations that end when they cannot succeed: if a rank is lost, on a signal, or if the other ranks do not come.

All operations are made in a background thread; the calling thread waits for its events. Once an operation has been given up, the ranks
are not in step any more. Then the connections of the watch carry the last word of rank 0, and nothing can be asked again.
"""

from __future__ import annotations

import pickle
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NoReturn, TypeVar, cast

from mixfast.errors import RankError
from mixfast.ranks._hand import Done, Events, Hand
from mixfast.ranks._protocol import LeaderLost, Ranks
from mixfast.ranks._wire import packed_error

if TYPE_CHECKING:
    from mixfast.ranks._watch import Watch

_T = TypeVar("_T")
_SIGNALS = (SystemExit, KeyboardInterrupt)

# Seconds that ranks wait for one another to call the same function: the default of torch.distributed for gloo.
PATIENCE = 1800.0
# Seconds in which the cause of a broken operation becomes known: rank 0 hears of a rank that ended, and tells the others.
_CAUSE = 25.0
# Seconds between the end of a rank and the signal that the launcher sends to the others because of it, or between the same Ctrl-C on
# two ranks.
_MOMENT = 0.3
# Seconds that rank 0 waits until its result has reached the others after one of them has ended.
_GOODBYE = 20.0
# Bytes of the name of a function that all ranks call.
_NAME = 64


class LastWord(Exception):
    """Rank 0 has ended the work outside of a collective operation; with the outcome of the work."""

    def __init__(self, kind: int, payload: bytes) -> None:
        super().__init__("rank 0 has ended the work")
        self.outcome = kind, payload


class Talk:
    """The operations of one rank, and its watch over the others."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._events: Events = SimpleQueue()
        self._hand = Hand(self._events)
        self._watch: Watch | None = None
        self._failed: BaseException | None = None
        self._closed = False

    def assemble(self, name: str) -> None:
        """Wait until all ranks have called the function of this name."""
        self.check()

        def meet() -> list[bytes]:
            called = self._ranks.all_gather(name.encode()[:_NAME].ljust(_NAME))
            if self._watch is None:
                # Imported here, with the modules for connections: a process alone has none.
                from mixfast.ranks._watch import Watch

                self._watch = Watch(self._ranks, self._events)
            return called

        called = [each.rstrip().decode(errors="replace") for each in self.do(meet, name)]
        for rank, other in enumerate(called):
            if other != called[0]:
                raise RankError(
                    f"rank {rank} called {other} and rank 0 {called[0]}: all ranks must call the same functions in the same order"
                )

    def check(self) -> None:
        """Raise an error if the ranks cannot work together any more."""
        if self._closed:
            raise RankError("the ranks have parted: load the table again, within from_environment() or run()")
        if self._failed is not None:
            raise RankError(
                f"the ranks stopped working together after an earlier error, so nothing can be asked: {self._failed}"
            )
        if self._reason() is not None:
            self._give_up(self._settled())

    def do(self, call: Callable[[], _T], called: str = "") -> _T:
        """Make a call in the background and return its result; with the name of a function, others must come within `PATIENCE`."""
        self._hand.start(call)
        try:
            return cast(_T, self._wait(called))
        except _SIGNALS as error:
            self._give_up(self.behind(error) or error)
        except Exception as error:
            self._give_up(error)

    def behind(self, error: BaseException) -> Exception | None:
        """Return what made the launcher send the signal that raised an error; None if it was sent for its own sake."""
        if not isinstance(error, _SIGNALS):
            return None
        if self._failed is not None:
            return self._failed if isinstance(self._failed, Exception) else None
        until = time.monotonic() + _MOMENT
        while (reason := self._reason(signals=False)) is None and time.monotonic() < until:
            time.sleep(_MOMENT / 20)
        return reason

    def finish(self, send: Callable[[], object], kind: int, payload: bytes) -> None:
        """Send the outcome of the work from rank 0 to the others, which end with it."""
        if self._failed is not None:
            return
        if self._reason() is not None:
            self._break(RankError("a rank has ended"), kind, payload)
            return
        self._hand.start(send)
        try:
            done = self._next_done(PATIENCE, _GOODBYE)
        except _SIGNALS as error:
            self._give_up(error)
        if done is None or done.error is not None:
            self._break(RankError("the outcome of the work did not reach all ranks"), kind, payload)

    @property
    def failed(self) -> bool:
        """Whether an operation has been given up."""
        return self._failed is not None

    def close(self) -> None:
        """End the watch and the background thread."""
        if self._watch is not None:
            self._watch.close()
        self._hand.dismiss()
        self._closed = True

    def _wait(self, called: str) -> object:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                event = self._events.get(timeout=max(until - time.monotonic(), 0.0) if called else None)
            except Empty:
                raise RankError(
                    f"rank {self._ranks.rank} called {called}, and not all other ranks have called it within "
                    f"{PATIENCE / 60:g} minutes: all ranks must call the same functions in the same order"
                ) from None
            if isinstance(event, Done):
                if event.error is None:
                    return event.answer
                raise self._cause(event.error) from event.error
            if self._reason() is not None:
                # The other rank may have done its part of the operation before it ended, as rank 0 does that sends the outcome.
                done = self._next_done(_MOMENT)
                if done is not None and done.error is None:
                    return done.answer
                raise self._settled()

    def _next_done(self, patience: float, after_alarm: float | None = None) -> Done | None:
        """Wait for the end of the call; other events are looked at later. An alarm may shorten the wait."""
        until = time.monotonic() + patience
        while True:
            try:
                event = self._events.get(timeout=max(until - time.monotonic(), 0.0))
            except Empty:
                return None
            if isinstance(event, Done):
                return event
            if after_alarm is not None:
                until = min(until, time.monotonic() + after_alarm)

    def _reason(self, signals: bool = True) -> Exception | None:
        """Return why the ranks cannot go on, as far as the watch knows; ``signals=False`` leaves out ranks that a signal has ended."""
        if self._watch is None:
            return None
        if self._watch.last_word is not None:
            return LastWord(*pickle.loads(self._watch.last_word))
        for rank, (why, by_signal) in list(self._watch.gone.items()):
            if signals or not by_signal:
                kind = LeaderLost if rank == 0 else RankError
                return kind(f"{self._watch.describe(rank)} {why}{'' if by_signal else _ADVICE}")
        return None

    def _settled(self) -> Exception:
        """Return why the ranks cannot go on, after a moment in which a signal to another rank may reach this one, too."""
        if self._reason(signals=False) is None:
            time.sleep(_MOMENT)
        return self._reason(signals=False) or self._reason() or RankError("another rank has ended")

    def _cause(self, error: BaseException) -> Exception:
        """Return why an operation has failed."""
        until = time.monotonic() + _CAUSE
        while self._watch is not None and self._reason() is None:
            try:
                self._events.get(timeout=max(until - time.monotonic(), 0.0))
            except Empty:
                break
        if self._reason() is not None:
            return self._settled()
        said = f"{type(error).__name__}: {error}".partition("\n")[0]
        return RankError(f"rank {self._ranks.rank} could not exchange data with the other ranks ({said})")

    def _give_up(self, error: BaseException) -> NoReturn:
        # A signal that the launcher sends now has the same cause.
        with suppress(*_SIGNALS):
            self._break(error, *packed_error(error))
        raise error

    def _break(self, error: BaseException, kind: int, payload: bytes) -> None:
        """Leave the common work, tell the others, and give up the operation that waits."""
        if self._failed is not None:
            return
        self._failed = error
        if self._watch is not None:
            if self._ranks.rank == 0:
                self._watch.tell(pickle.dumps((kind, payload)))
            elif isinstance(error, _SIGNALS):
                self._watch.tell(_told_by(error).encode())
        abandon = getattr(self._ranks, "abandon", None)
        if abandon is not None:
            abandon()
            self._next_done(2 * _MOMENT)


_ADVICE = (
    " before the work was done: it was killed or it crashed. Look at what it printed, and whether its machine ran out of memory; then "
    "start all ranks again"
)


def _told_by(error: BaseException) -> str:
    code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 0
    if code > 128:
        return f"was ended by {signal.Signals(code - 128).name}"
    return "was interrupted" if isinstance(error, KeyboardInterrupt) else f"left with exit status {code}"
