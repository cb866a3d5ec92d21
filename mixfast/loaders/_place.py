"""Place: where a rank begins in a stream, and how that is saved and restored; what the adapters for torch share.

A rank's sample m is global sample ``position + rank + m world_size``: the ranks' batches of one step are, together, the
next samples of the stream, whatever their number.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import chain
from typing import Any, Self, TypeVar, cast

import torch.distributed

from mixfast._text.names import shown
from mixfast.errors import MixfastWarning, SamplerError
from mixfast.loaders._loader_state import begin_of
from mixfast.loaders._trainers import check_trainer, division_of
from mixfast.sampler import State, Stream, end_of, rank_and_world_size, whole_number

Pair = tuple[int, int]
T = TypeVar("T")

# Samples found at once. A call costs as much as some hundred samples, and many more would not fit the processor's cache.
BLOCK = 2048


class Place:
    """Where a rank begins in a stream. What is saved is the same for all ranks, whatever their number."""

    def __init__(self, stream: Stream, rank: int | None, world_size: int | None) -> None:
        if (rank is None) != (world_size is None):
            raise SamplerError(
                f"give both rank and world_size, or neither; got rank {shown(rank)}, world_size {shown(world_size)}"
            )
        self.stream: Stream = stream
        self.position: int = 0
        self._given = None if rank is None else rank_and_world_size(rank, world_size)
        self._last_known = _process() or (0, 1)

    @property
    def rank(self) -> int:
        """This process among those that train together."""
        return self.ranks()[0]

    @property
    def world_size(self) -> int:
        """How many processes train together."""
        return self.ranks()[1]

    def ranks(self) -> tuple[int, int]:
        """Return rank and world size as given, else those of `torch.distributed`, else 0 of 1.

        They are found anew each time: loaders are often made before the trainer starts its processes.
        """
        return self._given or _process() or self._last_known

    def set_epoch(self, epoch: int) -> None:
        """Warn if a trainer begins a second pass, which reads the same samples again. Nothing else depends on the epoch.

        Trainers call this on all processes before a pass begins.
        """
        if division_of(self) is not None:
            self.check_trainer()
        if epoch > 0:
            warnings.warn(
                f"the trainer begins another pass, which reads the stream again from sample {self.position}. That is right for "
                "validation only: train for one epoch, and give the stream the length of the run; max_epochs limits the passes "
                "over a domain",
                MixfastWarning,
                stacklevel=2,
            )

    def check_trainer(self) -> None:
        """Refuse to be read by a trainer that would lose samples or change their order."""
        check_trainer(self, self._given is not None, getattr(self, "batch_size", None))

    def __getstate__(self) -> dict[str, Any]:
        # Workers that are spawned know no process group; they are told what this process knows.
        return {**self.__dict__, "_last_known": self.ranks()}

    def samples(self, position: int | None = None) -> int:
        """Return how many samples each rank has from a position on: up to ``world_size - 1`` at the end are left over."""
        return (end_of(self.stream.length) - (self.position if position is None else position)) // self.world_size

    def __len__(self) -> int:
        if self.stream.length is None:
            raise TypeError("this stream has no end; give it a length")
        return self.samples()

    def state_dict(self) -> State:
        """Return the state of the place where this begins: what was last loaded, or sample 0."""
        return self.stream.state(self.position)

    def state_after(self, samples: int) -> State:
        """Return the state for when this rank, like all others, has had so many samples since this began.

        A plain `DataLoader` fetches ahead, so only the training loop knows how many: steps times batch size.
        """
        samples = whole_number("samples", samples, 0)
        if samples > self.samples():
            raise SamplerError(f"{samples} samples were had, and there are {self.samples()} for each rank")
        return self.stream.state(self.position + samples * self.world_size)

    def load_state_dict(self, state: State) -> None:
        """Begin where a state was saved, with any number of ranks and workers and any batch size.

        ``state`` is what `state_dict` or `state_after` gave, or the whole state of a torchdata ``StatefulDataLoader``. Domains
        are matched by name: if the state has them in another order, the saved stream goes on, under the numbers that they
        have here.

        Raises
        ------
        SamplerError
            If the state is that of another stream, a field of it is missing, unknown, altered or of the wrong kind, or its
            parts are not of one step.
        """
        self.stream, self.position = begin_of(state, self.stream)


def _process() -> tuple[int, int] | None:
    """Return the rank and the world size of `torch.distributed`; None if it is not initialised."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return None


class Pass(chain[T]):
    """A pass over a stream, item by item, that knows the iterator of its blocks.

    A chain hands out items as fast as a list does; a ``__next__`` in Python would cost as much as finding the sample.
    """

    blocks: Any

    @classmethod
    def of(cls, blocks: Iterator[Iterator[T]]) -> Self:
        found = cast("Self", cls.from_iterable(blocks))
        found.blocks = blocks
        return found


def pairs_of(domains: list[int], indices: list[int]) -> tuple[Iterator[Pair], Iterator[int]]:
    """Return pairs, and an iterator that knows how many of them are left.

    Pairs are made when they are asked for: a block of them, alive at once, would set off the garbage collector.
    """
    left = iter(indices)
    return zip(domains, left, strict=True), left
