"""Positions, what a stream gives, and Stream, what can be asked of every stream: a mixture's or another loader's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from mixfast.sampler._numbers import Integers


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
    def state(self, position: int) -> dict[str, Any]: ...
    def check_state(self, state: Mapping[str, Any]) -> int: ...
