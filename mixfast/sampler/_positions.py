"""Positions, what a stream gives; Stream, what can be asked of every stream; MixtureCursor, a place in one that moves on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from mixfast.errors import SamplerError
from mixfast.sampler._numbers import LONGEST, Integers, rank_and_world_size, whole_number

# What is kept to go on at a place: strings, integers and states within, for JSON.
State: TypeAlias = Mapping[str, Any]


class Positions(NamedTuple):
    """Samples of a stream: number of the domain, index within the domain, and epoch, three int64 arrays of one length."""

    domain: Integers
    index: Integers  # type: ignore[assignment]  # hides the method tuple.index
    epoch: Integers


class Stream(Protocol):
    """A `MixtureSampler`, or a stream of `mixfast.loaders` that follows another loader."""

    domains: tuple[str, ...]
    sizes: Integers
    length: int | None

    def positions(self, start: int, stop: int, step: int = 1) -> Positions: ...
    def state(self, position: int) -> State: ...
    def check_state(self, state: State) -> int: ...


def end_of(length: int | None) -> int:
    """Return how many samples can be asked of a stream of some length; 2^60 if it has no end."""
    return LONGEST if length is None else length


def saved_position(state: State, length: int | None) -> int:
    """Return the position in the state of a stream of some length; `SamplerError` if it lies behind the end."""
    position = whole_number("the state's position", state.get("position"), 0)
    if length is not None and position > length:
        raise SamplerError(f"the state is at sample {position}, behind the end of this stream at {length}")
    return position


class MixtureCursor:
    """A place in a sampler's stream that moves on, and is saved and restored as a few integers.

    Parameters
    ----------
    sampler : MixtureSampler
    position : int
        The next global sample.

    Examples
    --------
    >>> from mixfast import Mixture, MixtureSampler
    >>> sampler = MixtureSampler(Mixture(["web", "code"], [0.75, 0.25]), seed=0)
    >>> cursor = sampler.cursor()
    >>> cursor.take(8, rank=1, world_size=2).index
    array([1, 2, 4, 5])
    >>> saved = cursor.state_dict()
    >>> again = sampler.cursor()
    >>> again.load_state_dict(saved)
    >>> again.position
    8
    """

    def __init__(self, sampler: Stream, position: int = 0) -> None:
        self.sampler = sampler
        self.position = whole_number("position", position, 0)

    def take(self, count: int, *, rank: int = 0, world_size: int = 1) -> Positions:
        """Return a rank's part of the next ``count`` global samples, and move behind them.

        Rank r of W gets the r-th of them and every W-th after it, so that all ranks together get each once. At the end
        of the stream there may be fewer, or none.
        """
        count = whole_number("count", count, 0)
        rank, world_size = rank_and_world_size(rank, world_size)
        stop = max(self.position, min(self.position + count, end_of(self.sampler.length)))
        found = self.sampler.positions(self.position + rank, stop, world_size)
        self.position = stop
        return found

    def state_dict(self) -> State:
        """Return the sampler's state at this place."""
        return self.sampler.state(self.position)

    def load_state_dict(self, state: State) -> None:
        """Move to the place of a state; `SamplerError` unless the stream up to there is this sampler's."""
        self.position = self.sampler.check_state(state)

    def __repr__(self) -> str:
        return f"MixtureCursor(position {self.position} of {self.sampler!r})"
