"""Asking and serving: rank 0 sends a function to all ranks and gets their answers."""

from __future__ import annotations

import pickle
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

from mixfast.errors import RankError
from mixfast.ranks._protocol import OneRank, Ranks
from mixfast.ranks._wire import ASK, END, exchange, packed, packed_error, receive_question, send_question, unpacked


class Team:
    """Ask all ranks from rank 0, within `mixfast.ranks.run`.

    `Team.of(ranks)` returns the team of a `Ranks`. A process without ranks is a team too, and then everything is an ordinary call.

    Attributes
    ----------
    ranks : Ranks
        The means of communication.
    rank, size : int
        Number of this process, and of all.
    alone : bool
        Whether this process is the only rank.
    state : dict
        What this rank keeps between questions; the first argument of every function that `each` calls. ``"rank"`` and ``"size"`` are the
        number of this process, and of all.
    leading : bool
        Whether questions can be asked: this is rank 0 and the other ranks serve, or the process is alone.
    steps, bytes_sent : int
        Questions so far, and the bytes that rank 0 has sent and every rank has answered in them.
    """

    _made: ClassVar[weakref.WeakValueDictionary[int, Team]] = weakref.WeakValueDictionary()

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.rank, self.size = ranks.rank, ranks.size
        self.alone = self.size == 1
        self.state: dict[Any, Any] = {"rank": self.rank, "size": self.size}
        self.leading = self.alone
        self.steps = self.bytes_sent = 0
        self._last_key = 0
        self._forgotten: deque[int] = deque()

    @classmethod
    def of(cls, ranks: Ranks | Team | None) -> Team:
        """Return the team of ranks: always the same one for the same object; without ranks, a team of this process alone."""
        if isinstance(ranks, Team):
            return ranks
        if ranks is None:
            return cls(OneRank())
        # A team keeps its ranks alive, so their address is not reused while the team exists.
        found = cls._made.get(id(ranks))
        if found is None:
            cls._made[id(ranks)] = found = cls(ranks)
        return found

    def key(self, owner: object) -> int:
        """Return a new key for the states of all ranks; when ``owner`` is gone, the next question removes its entries."""
        self._last_key += 1
        weakref.finalize(owner, self._forgotten.append, self._last_key)
        return self._last_key

    def each(self, function: Callable[..., Any], *args: Any, expect: int = 0) -> list[Any]:
        """Call ``function(state, *args)`` on every rank and return the answers in order of rank.

        Parameters
        ----------
        function : callable
            A function of a module (it is sent by name). Its first argument is the state of the rank.
        *args
            Arguments that can be pickled.
        expect : int, default 0
            Bytes of the largest answer. Answers up to this size cross in one exchange, larger ones in two. A float64 array (S,) has
            8 S bytes.

        Returns
        -------
        list
            The answers. float64 arrays (S,) that come from other ranks are read-only.

        Raises
        ------
        RankError
            If the other ranks do not serve now, or one has ended.
        MixfastError
            The error of the first rank that raised one, with its number before the message.
        """
        if self.alone:
            self._forget(self._take_forgotten())
            return [function(self.state, *args)]
        if not self.leading:
            raise RankError(self._why_not())
        forgotten = self._take_forgotten()
        question = pickle.dumps((function, args, forgotten), pickle.HIGHEST_PROTOCOL)
        sent = send_question(self.ranks.broadcast, ASK, question, expect)
        self._forget(forgotten)
        answers, answered = exchange(self.ranks.all_gather, *self._answer(function, args), expect)
        self.steps += 1
        self.bytes_sent += sent + answered
        return [unpacked(kind, payload, rank) for rank, (kind, payload) in enumerate(answers)]

    def lead(self, work: Callable[[], Any]) -> Any:
        """Call ``work()`` on rank 0 while the others serve; return its result, or raise its error, on every rank."""
        if self.rank:
            return self._serve()
        self.leading = True
        try:
            answer = work()
        except BaseException as error:
            self._end(*packed_error(error))
            raise
        else:
            self._end(*packed(answer))
            return answer
        finally:
            self.leading = False

    def _end(self, kind: int, payload: bytes) -> None:
        send_question(self.ranks.broadcast, END, payload, kind)

    def _serve(self) -> Any:
        while True:
            kind, payload, expect = receive_question(self.ranks.broadcast)
            if kind == END:
                return unpacked(expect, payload)
            function, args, forgotten = pickle.loads(payload)
            self._forget(forgotten)
            exchange(self.ranks.all_gather, *self._answer(function, args), expect)

    def _answer(self, function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[int, bytes]:
        try:
            return packed(function(self.state, *args))
        except Exception as error:
            return packed_error(error)

    def _take_forgotten(self) -> list[int]:
        return [self._forgotten.popleft() for _ in range(len(self._forgotten))]

    def _forget(self, keys: list[int]) -> None:
        for key in keys:
            self.state.pop(key, None)

    def _why_not(self) -> str:
        if self.rank:
            return (
                f"rank {self.rank} needs rows of other ranks, but only rank 0 can ask: call the function on every rank"
            )
        return (
            "rank 0 needs rows of the other ranks, but they do not serve now: call solve, losses and the like on every rank, or put "
            "the work into a function for mixfast.ranks.run(work, ranks)"
        )
