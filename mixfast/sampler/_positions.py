"""Positions, what a stream gives; Stream, what can be asked of every stream; what a saved state says of its stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from mixfast._text.names import listing
from mixfast.errors import AlignmentError, SamplerError
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
    def reordered(self, domains: Sequence[str]) -> Stream: ...


def end_of(length: int | None) -> int:
    """Return how many samples can be asked of a stream of some length; 2^60 if it has no end."""
    return LONGEST if length is None else length


def saved_position(state: State, length: int | None) -> int:
    """Return the position in the state of a stream of some length; `SamplerError` if it lies behind the end."""
    position = whole_number("the state's position", state.get("position"), 0)
    if length is not None and position > length:
        raise SamplerError(f"the state is at sample {position}, behind the end of this stream at {length}")
    return position


def saved_domains(state: State) -> list[str] | None:
    """Return the domains in the order in which the stream of a state numbers them; None if the state does not say."""
    if not isinstance(state, Mapping) or "domains" not in state:
        return None  # saved by a release that did not write them
    found = state["domains"]
    if not isinstance(found, (list, tuple)) or any(not isinstance(name, str) for name in found):
        raise SamplerError(f"the state's domains must be a list of names, got {found!r:.200}")
    return list(found)


def refuse_other_domains(saved: Sequence[str] | None, here: Sequence[str], position: int) -> None:
    """Refuse a state whose stream numbered its domains in another order, or had other ones."""
    if saved is None or list(saved) == list(here):
        return
    start = f"the state is at sample {position} of another stream: "
    if set(saved) != set(here):
        raise SamplerError(start + AlignmentError.between("the state", saved, "this stream", here).args[0])
    raise SamplerError(
        f"{start}it numbers the domains {listing(saved)}, and this one {listing(here)}. The order decides the samples. "
        "load_state_dict of a cursor or of a data loader goes on with the saved stream, matched by the names of the "
        "domains; stream.reordered(state['domains']) is the saved stream itself"
    )
