"""Positions: samples that a stream returns. Stream: the interface of every stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from mixfast.sampler._numbers import LONGEST, Integers
from mixfast.sampler._state import State


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
    def reordered(self, domains: Sequence[str]) -> Stream: ...


def end_of(length: int | None) -> int:
    """Return how many samples a stream of this length has; 2^60 if it has no end."""
    return LONGEST if length is None else length
