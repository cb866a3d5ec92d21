"""Positions, what a stream gives, and Stream, what can be asked of every stream: a mixture's or another loader's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from mixfast.errors import SamplerError
from mixfast.sampler._numbers import LONGEST, Integers, whole_number

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
