"""Place: the sample at which a rank begins in a stream, saved and restored; the base of the adapters for torch.

A rank's sample m is global sample ``position + rank + m world_size``: together, the batches of all ranks in one step are the
next samples of the stream, for any number of ranks.
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

# Samples found per call. The batches between two calls displace the sampler from the processor's cache, so a call takes about 0.1 ms whatever its size;
# many more samples would not fit the cache themselves.
BLOCK = 4096


class Place:
    """The sample at which a rank begins in a stream. The saved state is the same for all ranks, for any number of ranks."""

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
        """Number of this process among those that train together."""
        return self.ranks()[0]

    @property
    def world_size(self) -> int:
        """Number of processes that train together."""
        return self.ranks()[1]

    def ranks(self) -> tuple[int, int]:
        """Return rank and world size as given, else those of `torch.distributed`, else 0 of 1.

        They are looked up at each call: loaders are often made before the trainer starts its processes.
        """
        return self._given or _process() or self._last_known

    def set_epoch(self, epoch: int) -> None:
        """Warn if a trainer begins a second pass, which reads the same samples again; nothing else depends on the epoch.

        Trainers call this in all processes before a pass begins.
        """
        if division_of(self) is not None:
            self.check_trainer()
        if epoch > 0:
            warnings.warn(
                f"the trainer begins another pass, which reads the stream again from sample {self.position}. This is right only for "
                "validation: train for one epoch, and give the stream the length of the run; max_epochs limits the passes "
                "over a domain",
                MixfastWarning,
                stacklevel=2,
            )

    def check_trainer(self) -> None:
        """Refuse a trainer that would lose samples or change their order."""
        check_trainer(self, self._given is not None, getattr(self, "batch_size", None))

    def __getstate__(self) -> dict[str, Any]:
        # Spawned workers have no process group; they get the ranks that this process knows.
        return {**self.__dict__, "_last_known": self.ranks()}

    def samples(self, position: int | None = None) -> int:
        """Return how many samples each rank has from a position on; up to ``world_size - 1`` at the end are dropped."""
        return (end_of(self.stream.length) - (self.position if position is None else position)) // self.world_size

    def __len__(self) -> int:
        if self.stream.length is None:
            raise TypeError("this stream has no end; give it a length")
        return self.samples()

    def state_dict(self) -> State:
        """Return the state at the sample where this begins: the state last loaded, or that of sample 0."""
        return self.stream.state(self.position)

    def state_after(self, samples: int) -> State:
        """Return the state after each rank has read this many samples since the pass began.

        A plain `DataLoader` prefetches, so only the training loop knows the number: steps times batch size.
        """
        samples = whole_number("samples", samples, 0)
        if samples > self.samples():
            raise SamplerError(f"samples is {samples}, and each rank has only {self.samples()}")
        return self.stream.state(self.position + samples * self.world_size)

    def load_state_dict(self, state: State) -> None:
        """Resume from a saved state, with any number of ranks and workers and any batch size.

        ``state`` is the result of `state_dict` or `state_after`, or the whole state of a torchdata ``StatefulDataLoader``.
        Domains are matched by name: if the state has them in another order, the saved stream continues, and its domains keep
        the numbers that they have here.

        Raises
        ------
        SamplerError
            If the state is of another stream, if a field is missing, unknown, altered or of the wrong kind, or if its parts
            are from different steps.
        """
        self.stream, self.position = begin_of(state, self.stream)


def _process() -> tuple[int, int] | None:
    """Return the rank and the world size of `torch.distributed`; None if it is not initialised."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return None


class Pass(chain[T]):
    """A pass over a stream, item by item, that keeps the iterator of its blocks.

    A chain yields items as fast as a list; a ``__next__`` in Python would cost as much as finding the sample.
    """

    blocks: Any

    @classmethod
    def of(cls, blocks: Iterator[Iterator[T]]) -> Self:
        found = cast("Self", cls.from_iterable(blocks))
        found.blocks = blocks
        return found


def pairs_of(domains: list[int], indices: list[int]) -> tuple[Iterator[Pair], Iterator[int]]:
    """Return pairs, and an iterator whose length hint is the number of pairs left.

    Pairs are made one at a time: a whole block of them would trigger the garbage collector.
    """
    left = iter(indices)
    return zip(domains, left, strict=True), left
