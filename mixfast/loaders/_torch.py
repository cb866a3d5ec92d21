"""Streams in PyTorch's data loaders. Imports torch when loaded, so it is itself imported when first asked for.

A rank's sample m is global sample ``position + rank + m world_size``: the ranks' batches of one step are, together, the
next samples of the stream, whatever their number. Workers take a rank's batches in turn, as `DataLoader` asks for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from operator import length_hint
from typing import Any, cast

import numpy as np
import torch.distributed
import torch.utils.data

from mixfast._text.names import listing
from mixfast.errors import SamplerError
from mixfast.loaders._loader_state import batch_size_asked, states, steps_behind
from mixfast.loaders._sources import Sources, sizes_of
from mixfast.sampler import Stream, end_of, rank_and_world_size, whole_number

Pair = tuple[int, int]

FORMAT = "mixfast-reader-1"
# Samples looked up at once: a call costs as much as some hundred samples, and many more would leave the processor's cache.
_BLOCK = 2048


class _Place:
    """Where a rank begins in a stream, and how that is saved: the same for all ranks, whatever their number."""

    def __init__(self, stream: Stream, rank: int | None, world_size: int | None) -> None:
        self.stream = stream
        self.rank, self.world_size = _ranks(rank, world_size)
        self.position = 0

    def samples(self, position: int | None = None) -> int:
        """Samples each rank has from a place on; what is left over, fewer than there are ranks, is not given out."""
        end = end_of(self.stream.length)
        return (end - (self.position if position is None else position)) // self.world_size

    def __len__(self) -> int:
        if self.stream.length is None:
            raise TypeError("this stream has no end; give it a length")
        return self.samples()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the place where this begins: what was last loaded, or sample 0."""
        return self.stream.state(self.position)

    def state_after(self, samples: int) -> dict[str, Any]:
        """Return the state for when this rank, like all others, has had so many samples since this began.

        A plain `DataLoader` fetches ahead, so that only the training loop knows how many: steps times batch size.
        """
        samples = whole_number("samples", samples, 0)
        if samples > self.samples():
            raise SamplerError(f"{samples} samples were had, and there are {self.samples()} for each rank")
        return self.stream.state(self.position + samples * self.world_size)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Begin where a state was saved: any number of ranks, workers, any batch size.

        ``state`` is what `state_dict` or `state_after` gave, or the whole state of a torchdata ``StatefulDataLoader``.

        Raises
        ------
        SamplerError
            If the state is that of another stream.
        """
        found = list(states(state))
        if not found:
            raise SamplerError(f"no state of a stream is in {state!r:.200}")
        readers = [entry for entry in found if entry["format"] == FORMAT]
        if not readers:
            # The state of a loader holds both where its pass began and how far it has come.
            self.position = max(self.stream.check_state(entry) for entry in found)
            return
        first = readers[0]
        if sorted(reader["worker"] for reader in readers) != list(range(first["workers"])):
            raise SamplerError(
                f"the state holds {len(readers)} of {first['workers']} workers; load the loader's whole state"
            )
        if steps_behind(state):
            raise SamplerError("the loader's state is some steps old; make the loader with snapshot_every_n_steps=1")
        # The loader takes from its workers in turn: all before the latest sample read has been read as well.
        self.position = max(self.stream.check_state(reader["stream"]) for reader in readers)


class StreamSampler(_Place, torch.utils.data.Sampler[Pair]):  # type: ignore[misc]
    """Yield a rank's samples as pairs ``domain, index``: the ``sampler=`` of a `DataLoader` over `Sources`.

    Or over any other data set that takes such pairs; ``domain`` is a number of ``stream.domains``. The main process draws
    them, so the order holds for any number of workers.

    Parameters
    ----------
    stream : MixtureSampler, GrainStream or MegatronStream
        Made with sizes.
    rank, world_size : int, optional
        This process among those that train together. Default: those of `torch.distributed` where it is initialised when
        this is made, else 0 of 1.

    Notes
    -----
    Each pass gives the stream from the place loaded last (sample 0 at first) to its end: a run is one pass. All ranks get
    the same number of samples; up to ``world_size - 1`` at the end of the stream are not given out.

    `load_state_dict` goes on at any world size, number of workers and batch size, provided that the ranks stood at the
    same step. Under torchdata's ``StatefulDataLoader`` saving needs nothing else; under a plain `DataLoader`, which
    fetches ahead, save ``state_after(steps * batch_size)``.

    Examples
    --------
    >>> from mixfast import Mixture, MixtureSampler, loaders
    >>> sources = {"web": ["a", "b", "c"], "code": ["x", "y"]}
    >>> mixture = Mixture(["web", "code"], [0.75, 0.25])
    >>> stream = MixtureSampler(mixture, loaders.sizes(sources), seed=0, shuffle=False, length=8)
    >>> sampler = loaders.StreamSampler(stream)
    >>> loader = torch.utils.data.DataLoader(loaders.Sources(stream, sources), batch_size=4, sampler=sampler)
    >>> list(loader)
    [['a', 'b', 'x', 'c'], ['a', 'b', 'y', 'c']]
    """

    def __init__(self, stream: Stream, *, rank: int | None = None, world_size: int | None = None) -> None:
        super().__init__(stream, rank, world_size)
        sizes_of(stream)

    def __iter__(self) -> Iterator[Pair]:
        return _Pairs.of(self)


class _Blocks:
    """A pass of a `StreamSampler`: pairs, a block at a time."""

    def __init__(self, sampler: StreamSampler) -> None:
        self.sampler = sampler
        self.pairs, self.left = _zipped([], [])
        self.begin(sampler.position)

    def begin(self, position: int) -> None:
        """Go on at a global sample."""
        deque(self.pairs, maxlen=0)
        end = end_of(self.sampler.stream.length)
        self.at, self.end = position, end - (end - position) % self.sampler.world_size

    def __iter__(self) -> Iterator[Iterator[Pair]]:
        return self

    def __next__(self) -> Iterator[Pair]:
        if self.at >= self.end:
            raise StopIteration
        rank, step = self.sampler.rank, self.sampler.world_size
        stop = min(self.at + _BLOCK * step, self.end)
        domain, index, _ = self.sampler.stream.positions(self.at + rank, stop, step)
        self.at = stop
        self.pairs, self.left = _zipped(domain.tolist(), index.tolist())
        return self.pairs


# Chains hand out items as fast as a list does; a method in Python for each would cost as much as finding the sample.
class _Pairs(chain[Pair]):
    """A pass of a `StreamSampler`, item by item, and its place."""

    blocks: _Blocks

    @classmethod
    def of(cls, sampler: StreamSampler) -> _Pairs:
        blocks = _Blocks(sampler)
        found = cast("_Pairs", cls.from_iterable(blocks))
        found.blocks = blocks
        return found

    def state_dict(self) -> dict[str, Any]:
        blocks = self.blocks
        return blocks.sampler.stream.state(blocks.at - length_hint(blocks.left) * blocks.sampler.world_size)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.blocks.begin(self.blocks.sampler.stream.check_state(state))


class StreamDataset(_Place, torch.utils.data.IterableDataset[Any]):  # type: ignore[misc]
    """Yield a rank's samples themselves, read by the workers: the data set of a `DataLoader` with that ``batch_size``.

    Parameters
    ----------
    stream : MixtureSampler, GrainStream or MegatronStream
        Made with sizes.
    sources : mapping of str to map-style data set
        One for each of the stream's domains.
    batch_size : int
        That of the loader, which must be told as well; 1 if it has None. Worker v of V reads batches v, v + V, ... and the
        loader takes from its workers in turn: this is what keeps the order of the stream. Workers that are asked for
        another size refuse; without workers, or with one, any size gives the same order.
    rank, world_size : int, optional
        As in `StreamSampler`.

    Raises
    ------
    AlignmentError, SamplerError
        If the sources do not fit the stream.

    Notes
    -----
    As in `StreamSampler`. A ``StatefulDataLoader`` goes on from its own state with the same workers only. To change their
    number, or that of ranks, load the state that it gave into the data set instead, before the loader is made: workers
    have a copy of the data set from when they start, and persistent ones do not hear of what is loaded later.

    Where a source fails, its error carries a note of the domain and the sample that was read, and nothing is skipped.

    Examples
    --------
    >>> from mixfast import Mixture, MixtureSampler, loaders
    >>> sources = {"web": ["a", "b", "c"], "code": ["x", "y"]}
    >>> mixture = Mixture(["web", "code"], [0.75, 0.25])
    >>> stream = MixtureSampler(mixture, loaders.sizes(sources), seed=0, shuffle=False, length=8)
    >>> data = loaders.StreamDataset(stream, sources, batch_size=4)
    >>> list(torch.utils.data.DataLoader(data, batch_size=4))
    [['a', 'b', 'x', 'c'], ['a', 'b', 'y', 'c']]
    """

    def __init__(
        self,
        stream: Stream,
        sources: Mapping[str, Any],
        *,
        batch_size: int,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        super().__init__(stream, rank, world_size)
        self.sources = Sources(stream, sources)
        self.batch_size = whole_number("batch_size", batch_size, 1)

    def __iter__(self) -> Iterator[Any]:
        info = torch.utils.data.get_worker_info()
        return _Reader.of(self, 0, 1) if info is None else _Reader.of(self, info.id, info.num_workers)


class _Batches:
    """A worker's pass over a `StreamDataset`: samples, a batch at a time."""

    def __init__(self, data: StreamDataset, worker: int, workers: int) -> None:
        self.data, self.worker, self.workers = data, worker, workers
        self.unchecked = workers > 1
        self.left: Iterator[Any] = iter(())
        self.begin(0, data.position)

    def begin(self, batches: int, origin: int) -> None:
        """Go on behind so many batches of this worker, of a pass that began at a global sample."""
        deque(self.left, maxlen=0)
        self.origin, self.total = origin, self.data.samples(origin)
        # The rank's first sample that is not in `pairs` yet; samples read, those of the last batch included.
        self.next = (self.worker + batches * self.workers) * self.data.batch_size
        self.read = batches * self.data.batch_size
        self.pairs, self.ahead = _zipped([], [])

    def __iter__(self) -> Iterator[Iterator[Any]]:
        return self

    def __next__(self) -> Iterator[Any]:
        if not length_hint(self.ahead):
            asked = batch_size_asked(self) if self.unchecked else None
            if asked not in (None, self.data.batch_size):
                return _raising(self._refusal(asked))
            self.unchecked = False
            self._look_ahead()
        try:
            found = self.data.sources.read(islice(self.pairs, self.data.batch_size))
        except Exception as problem:
            # Where a source fails the batch is still to come. Raised here, it would end the chain, and who catches it and
            # goes on would take that for the end of the stream.
            self.begin(self.read // self.data.batch_size, self.origin)
            return _raising(problem)
        self.read += len(found)
        self.left = iter(found)
        return self.left

    def _refusal(self, asked: int | None) -> SamplerError:
        """Say that several workers, asked for another batch size than this reads by, would give another order."""
        return SamplerError(
            f"the loader asks its workers for batches of {asked}, and this StreamDataset was made with batch_size="
            f"{self.data.batch_size}: with {self.workers} workers the samples would come in another order. Give both "
            "the same (1 here for batch_size=None there), or use StreamSampler, which needs not know"
        )

    def _look_ahead(self) -> None:
        """Look up the worker's next batches; those of the other workers lie between them."""
        if self.next >= self.total:
            raise StopIteration
        size, step = self.data.batch_size, self.data.world_size
        every = self.workers * size
        stop = min(self.next + max(_BLOCK // every - 1, 0) * every + size, self.total)
        start = self.origin + self.data.rank
        domain, index, _ = self.data.stream.positions(start + self.next * step, start + (stop - 1) * step + 1, step)
        if self.workers > 1:
            mine = np.arange(stop - self.next) % every < size
            domain, index = domain[mine], index[mine]
        self.next += -(-(stop - self.next) // every) * every
        self.pairs, self.ahead = _zipped(domain.tolist(), index.tolist())


class _Reader(chain[Any]):
    """A worker's pass over a `StreamDataset`, item by item, and its place."""

    batches: _Batches

    @classmethod
    def of(cls, data: StreamDataset, worker: int, workers: int) -> _Reader:
        batches = _Batches(data, worker, workers)
        found = cast("_Reader", cls.from_iterable(batches))
        found.batches = batches
        return found

    def _layout(self) -> dict[str, int]:
        batches, data = self.batches, self.batches.data
        return {
            "worker": batches.worker, "workers": batches.workers, "rank": data.rank, "world_size": data.world_size,
            "batch_size": data.batch_size,
        }  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        batches, data = self.batches, self.batches.data
        read, until = batches.read - length_hint(batches.left), 0
        if read:
            before, last = divmod(read - 1, data.batch_size)
            until = (batches.worker + before * batches.workers) * data.batch_size + last + 1
        # Up to the last sample that this worker has read, and no further: what comes then may be changed.
        stream = data.stream.state(batches.origin + until * data.world_size)
        return {"format": FORMAT, "stream": stream, "origin": batches.origin, "read": read, **self._layout()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state.get("format") != FORMAT:
            raise SamplerError(f"a worker's state has the format {FORMAT!r}, got {state!r:.200}")
        now = self._layout()
        if now != {name: state[name] for name in now}:
            raise SamplerError(
                f"this reads as {listing(f'{name} {value}' for name, value in now.items())}, and the state was saved by "
                f"{listing(f'{name} {state[name]}' for name in now)}. A StatefulDataLoader goes on as it was saved; to change "
                "that, call load_state_dict of the StreamDataset with the loader's state before the loader is made"
            )
        data = self.batches.data
        data.stream.check_state(state["stream"])
        batches, rest = divmod(state["read"], data.batch_size)
        self.batches.begin(batches, state["origin"])
        deque(islice(self, rest), maxlen=0)


def _raising(problem: Exception) -> Iterator[Any]:
    """Iterate over nothing but an error."""
    yield from ()
    raise problem


def _zipped(domains: list[int], indices: list[int]) -> tuple[Iterator[Pair], Iterator[int]]:
    """Return pairs, and an iterator that knows how many of them are left.

    They are made when they are asked for: a block of them, alive at once, would set off the garbage collector.
    """
    left = iter(indices)
    return zip(domains, left, strict=True), left


def _ranks(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if (rank is None) != (world_size is None):
        raise SamplerError(f"give both rank and world_size, or neither; got rank {rank!r}, world_size {world_size!r}")
    if rank is None or world_size is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1
    return rank_and_world_size(rank, world_size)
