"""Asking and serving: rank 0 sends a function to all ranks and gets their answers."""

from __future__ import annotations

import pickle
import weakref
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ClassVar

from mixfast.errors import RankError
from mixfast.ranks._protocol import OneRank, Ranks
from mixfast.ranks._talk import LastWord, Talk
from mixfast.ranks._wire import ASK, END, exchange, packed, packed_error, receive_question, send_question, unpacked

# The team that leads or serves in this context; pickled teams become this one on the rank that gets them.
_present: ContextVar[Team | None] = ContextVar("mixfast team", default=None)


class Team:
    """Ask all ranks from rank 0, within `mixfast.ranks.run`.

    `Team.of(ranks)` returns the team of a `Ranks`. A process without ranks is a team too, and then everything is an ordinary call. A
    team that is sent to another rank becomes the team of that rank.

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
        Questions so far, and the bytes in them: those that rank 0 has sent to every other rank, and those that each rank has answered.
    """

    _made: ClassVar[dict[int, Team]] = {}

    def __init__(self, ranks: Ranks) -> None:
        self.ranks: Ranks = ranks
        self.rank: int = ranks.rank
        self.size: int = ranks.size
        self.alone: bool = self.size == 1
        self.state: dict[Any, Any] = {"rank": self.rank, "size": self.size}
        self.leading: bool = self.alone
        self.steps: int = 0
        self.bytes_sent: int = 0
        self._serving = self._answering = False
        self._last_key = 0
        self._forgotten: deque[int] = deque()
        self._talk = None if self.alone else Talk(ranks)

    @classmethod
    def of(cls, ranks: Ranks | Team | None) -> Team:
        """Return the team of ranks, always the same one for the same object.

        Without ranks, the team that leads here, within `run`, or else a team of this process alone.
        """
        if isinstance(ranks, Team):
            return ranks
        if ranks is None:
            here = _present.get()
            return here if here is not None and here.leading else cls(OneRank())
        # Kept until `close`: all ranks must agree whether a team is new. The team keeps its ranks, so their address is not reused.
        found = cls._made.get(id(ranks))
        if found is None:
            cls._made[id(ranks)] = found = cls(ranks)
        return found

    def __reduce__(self) -> tuple[Callable[[], Team], tuple[()]]:
        return (_alone if self.alone else _team_here), ()

    @property
    def failed(self) -> bool:
        """Whether the ranks cannot work together any more, because one has ended or a question was interrupted."""
        return self._talk is not None and self._talk.failed

    @property
    def bytes_a_step(self) -> float:
        """Bytes that cross in an average question, on the busiest connection."""
        return self.bytes_sent / max(self.steps, 1)

    def key(self, owner: object) -> int:
        """Return a new key for the states of all ranks; when ``owner`` is gone, the next question removes its entries."""
        self._last_key += 1
        weakref.finalize(owner, self._forgotten.append, self._last_key).atexit = False
        return self._last_key

    def each(self, function: Callable[..., Any], *args: Any, expect: int = 0) -> list[Any]:
        """Call ``function(state, *args)`` on every rank and return the answers in order of rank.

        Parameters
        ----------
        function : callable
            A function of a module (it is sent by name). Its first argument is the state of the rank. It is called in a background
            thread, so that Ctrl-C and lost ranks interrupt the wait for it; it is then abandoned.
        *args
            Arguments that can be pickled.
        expect : int, default 0
            Bytes of the largest answer. Answers up to this size cross in one exchange, larger ones in two. A float64 array (S,) has
            8 S bytes.

        Returns
        -------
        list
            The answers. float64 arrays (S,) are read-only.

        Raises
        ------
        RankError
            If the other ranks do not serve now, or one has ended.
        MixfastError
            The error of the first rank that raised one, with its number before the message.
        """
        if self._talk is None:
            self._forget(self._take_forgotten())
            self.steps += 1
            return [function(self.state, *args)]
        if not self.leading or self._answering:
            raise RankError(self._why_not())
        self._talk.check()
        forgotten = self._take_forgotten()
        question = pickle.dumps((function, args, forgotten), pickle.HIGHEST_PROTOCOL)

        def ask() -> tuple[list[tuple[int, bytes]], int]:
            sent = send_question(self.ranks.broadcast, ASK, question, expect)
            self._forget(forgotten)
            answers, answered = exchange(self.ranks.all_gather, *self._answer(function, args), expect)
            return answers, sent + answered

        answers, crossed = self._talk.do(ask)
        self.steps += 1
        self.bytes_sent += crossed
        return [unpacked(kind, payload, rank) for rank, (kind, payload) in enumerate(answers)]

    def check(self) -> None:
        """Raise RankError if another rank has ended."""
        if self._talk is not None:
            self._talk.check()

    def lead(self, work: Callable[[], Any], name: str = "run") -> Any:
        """Call ``work()`` on rank 0 while the others serve; return its result, or raise its error, on every rank.

        All ranks call this with the same ``name``, or RankError is raised on all of them.
        """
        if self._talk is None:
            return work()
        if self.leading or self._serving:
            raise RankError(f"rank {self.rank} called {name} while it {'leads' if self.leading else 'serves'} already")
        token = _present.set(self)
        try:
            self._talk.assemble(name)
            return self._serve(self._talk) if self.rank else self._lead(self._talk, work)
        except LastWord as word:
            return unpacked(*word.outcome)
        finally:
            _present.reset(token)

    def close(self) -> None:
        """End the connections and the background thread of this rank; the team cannot be used any more."""
        self.state.clear()
        if self._talk is not None:
            self._talk.close()
        Team._made.pop(id(self.ranks), None)

    def _lead(self, talk: Talk, work: Callable[[], Any]) -> Any:
        self.leading = True
        try:
            answer = work()
            outcome = self._result(answer)
        except BaseException as error:
            self.leading = False
            reason = talk.behind(error)
            self._end(talk, *packed_error(reason or error))
            if reason is not None:
                raise reason from None
            raise
        finally:
            self.leading = False
        self._end(talk, *outcome)
        return answer

    def _result(self, answer: object) -> tuple[int, bytes]:
        try:
            return packed(answer)
        except Exception as problem:
            raise RankError(
                f"the result cannot be sent to the other ranks ({type(problem).__name__}: {problem}): return something that can be "
                "pickled, or None"
            ) from problem

    def _end(self, talk: Talk, kind: int, payload: bytes) -> None:
        talk.finish(lambda: send_question(self.ranks.broadcast, END, payload, kind), kind, payload)

    def _serve(self, talk: Talk) -> Any:
        def serve() -> tuple[int, bytes]:
            while True:
                kind, payload, expect = receive_question(self.ranks.broadcast)
                if kind == END:
                    return expect, payload
                exchange(self.ranks.all_gather, *self._answer_question(payload), expect)
                del payload

        self._serving = True
        try:
            return unpacked(*talk.do(serve))
        finally:
            self._serving = False

    def _answer_question(self, question: bytes) -> tuple[int, bytes]:
        try:
            function, args, forgotten = pickle.loads(question)
        except Exception as error:
            return packed_error(error)
        self._forget(forgotten)
        return self._answer(function, args)

    def _answer(self, function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[int, bytes]:
        self._answering = True
        try:
            return packed(function(self.state, *args))
        except BaseException as error:
            return packed_error(error)
        finally:
            self._answering = False

    def _take_forgotten(self) -> list[int]:
        return [self._forgotten.popleft() for _ in range(len(self._forgotten))]

    def _forget(self, keys: list[int]) -> None:
        for key in keys:
            self.state.pop(key, None)

    def _why_not(self) -> str:
        if self._answering:
            return f"rank {self.rank} cannot ask other ranks while it answers rank 0"
        if self.rank:
            return (
                f"rank {self.rank} needs rows of other ranks, but only rank 0 can ask: call the function on every rank"
            )
        return (
            "rank 0 needs rows of the other ranks, but they do not serve now: call solve, losses and the like on every rank, or put "
            "the work into a function for mixfast.ranks.run(work, ranks)"
        )


def _team_here() -> Team:
    """Return the team of this rank; outside of any, one of this process alone."""
    return _present.get() or _alone()


def _alone() -> Team:
    return Team(OneRank())
