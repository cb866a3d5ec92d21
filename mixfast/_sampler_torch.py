"""Streams in PyTorch's data loaders. Imports torch when loaded, so it is itself imported when first asked for.

A rank's sample m is global sample ``position + rank + m world_size``: the ranks' batches of one step are, together, the
next samples of the stream, whatever their number. Workers take a rank's batches in turn, as `DataLoader` asks for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from operator import length_hint
from typing import TYPE_CHECKING, Any

import torch.distributed
import torch.utils.data

from mixfast._sampler_schedule import LONGEST, whole_number
from mixfast._sampler_sources import Sources, Stream, sizes_of
from mixfast.errors import SamplerError

if TYPE_CHECKING:
    from mixfast.sampler import Positions

Pair = tuple[int, int]

FORMAT = "mixfast-reader-1"
_BLOCK = 1024
_LAYOUT = ("worker", "workers", "rank", "world_size", "batch_size")


class _Place:
    """Where a rank begins in a stream, and how that is saved: the same for all ranks, whatever their number."""

    def __init__(self, stream: Stream, rank: int | None, world_size: int | None) -> None:
        self.stream = stream
        self.rank, self.world_size = _ranks(rank, world_size)
        self.position = 0

    def samples(self) -> int:
        """Samples each rank has; what is left over, fewer than there are ranks, is not given out."""
        end = LONGEST if self.stream.length is None else self.stream.length
        return (end - self.position) // self.world_size

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
        states = list(_states(state))
        if not states:
            raise SamplerError(f"no state of a stream is in {state!r:.200}")
        readers = [entry for entry in states if entry["format"] == FORMAT]
        if not readers:
            # The state of a loader holds both where its pass began and how far it has come.
            self.position = max(self.stream.check_state(entry) for entry in states)
            return
        first = readers[0]
        if sorted(reader["worker"] for reader in readers) != list(range(first["workers"])):
            raise SamplerError(
                f"the state holds {len(readers)} of {first['workers']} workers; load the loader's whole state"
            )
        if _steps_behind(state):
            raise SamplerError("the loader's state is some steps old; make the loader with snapshot_every_n_steps=1")
        had = sum(reader["read"] for reader in readers)
        self.position = self.stream.check_state(first["stream"]) + had * first["world_size"]


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
        return _Pairs(self)


class _Pairs:
    """A pass of a `StreamSampler`, and its place."""

    def __init__(self, sampler: StreamSampler) -> None:
        self._sampler = sampler
        self._begin(sampler.position)

    def _begin(self, position: int) -> None:
        sampler = self._sampler
        end = LONGEST if sampler.stream.length is None else sampler.stream.length
        self._at = position
        self._end = end - (end - position) % sampler.world_size
        self._block: Iterator[Pair] = iter(())

    def __iter__(self) -> Iterator[Pair]:
        return self

    def __next__(self) -> Pair:
        for pair in self._block:
            return pair
        if self._at >= self._end:
            raise StopIteration
        sampler = self._sampler
        stop = min(self._at + _BLOCK * sampler.world_size, self._end)
        found = sampler.stream.positions(self._at + sampler.rank, stop, sampler.world_size)
        self._block = iter(_pairs(found))
        self._at = stop
        return next(self._block)

    def state_dict(self) -> dict[str, Any]:
        # The iterator of a list knows how many it has left.
        return self._sampler.stream.state(self._at - length_hint(self._block) * self._sampler.world_size)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._begin(self._sampler.stream.check_state(state))


class StreamDataset(_Place, torch.utils.data.IterableDataset[Any]):  # type: ignore[misc]
    """Yield a rank's samples themselves, read by the workers: the data set of a `DataLoader` with that ``batch_size``.

    Parameters
    ----------
    stream : MixtureSampler, GrainStream or MegatronStream
        Made with sizes.
    sources : mapping of str to map-style data set
        One for each of the stream's domains.
    batch_size : int
        That of the loader, which it must be told as well. Worker v of V reads batches v, v + V, ... and the loader takes
        from its workers in turn: this is what keeps the order of the stream. (None in the loader: any number here.)
    rank, world_size : int, optional
        As in `StreamSampler`.

    Raises
    ------
    AlignmentError, SamplerError
        If the sources do not fit the stream.

    Notes
    -----
    As in `StreamSampler`. A ``StatefulDataLoader`` goes on from its own state with the same workers only. To change their
    number, or that of ranks, load the state that it gave into the data set instead, before the loader is made.

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
        return _Reader(self, 0, 1) if info is None else _Reader(self, info.id, info.num_workers)


class _Reader:
    """A worker's pass over a `StreamDataset`, and its place."""

    def __init__(self, data: StreamDataset, worker: int, workers: int) -> None:
        self._data, self._worker, self._workers = data, worker, workers
        self._layout = (worker, workers, data.rank, data.world_size, data.batch_size)
        self._begin()

    def _begin(self, batches: int = 0) -> None:
        data = self._data
        self._start, self._total = data.position + data.rank, data.samples()
        self._origin = data.state_dict()
        # The rank's first sample that is not in `_ahead` yet; samples read, those still in `_batch` included.
        self._next = (self._worker + batches * self._workers) * data.batch_size
        self._read = batches * data.batch_size
        self._ahead: deque[list[Pair]] = deque()
        self._batch: Iterator[Any] = iter(())

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        for sample in self._batch:
            return sample
        self._fetch()
        return next(self._batch)

    def _fetch(self) -> None:
        if not self._ahead:
            self._look_ahead()
        batch = self._ahead.popleft()
        self._batch = iter(self._data.sources.__getitems__(batch))
        self._read += len(batch)

    def _look_ahead(self) -> None:
        """Look up the worker's next batches; those of the other workers lie between them."""
        if self._next >= self._total:
            raise StopIteration
        data = self._data
        size, step = data.batch_size, data.world_size
        every = self._workers * size
        stop = min(self._next + max(_BLOCK // every - 1, 0) * every + size, self._total)
        first = self._start + self._next * step
        found = data.stream.positions(first, self._start + (stop - 1) * step + 1, step)
        for at in range(0, stop - self._next, every):
            self._ahead.append(_pairs(found, slice(at, at + size)))
        self._next += len(self._ahead) * every

    def state_dict(self) -> dict[str, Any]:
        read = self._read - length_hint(self._batch)
        return {"format": FORMAT, "stream": self._origin, "read": read, **dict(zip(_LAYOUT, self._layout, strict=True))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state.get("format") != FORMAT:
            raise SamplerError(f"a worker's state has the format {FORMAT!r}, got {state!r:.200}")
        saved = tuple(state[name] for name in _LAYOUT)
        if saved != self._layout:
            now, then = (
                ", ".join(f"{n} {v}" for n, v in zip(_LAYOUT, values, strict=True)) for values in (self._layout, saved)
            )
            raise SamplerError(
                f"this reads as {now}, and the state was saved by {then}. A StatefulDataLoader goes on as it was saved; to "
                "change that, call load_state_dict of the StreamDataset with the loader's state before the loader is made"
            )
        self._data.position = self._data.stream.check_state(state["stream"])
        batches, rest = divmod(state["read"], self._data.batch_size)
        self._begin(batches)
        if rest:
            self._fetch()
            for _ in range(rest):
                next(self._batch)


def _pairs(found: Positions, part: slice = slice(None)) -> list[Pair]:
    return list(zip(found.domain[part].tolist(), found.index[part].tolist(), strict=True))


def _ranks(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if (rank is None) != (world_size is None):
        raise SamplerError(f"give both rank and world_size, or neither; got rank {rank!r}, world_size {world_size!r}")
    if rank is None or world_size is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1
    rank, world_size = whole_number("rank", rank, 0), whole_number("world_size", world_size, 1)
    if rank >= world_size:
        raise SamplerError(f"rank must be below world_size, got rank {rank} of {world_size}")
    return rank, world_size


def _states(entry: Any) -> Iterator[Mapping[str, Any]]:
    """All states of streams and readers in the state of a loader, however it nests them."""
    if isinstance(entry, Mapping):
        if str(entry.get("format", "")).startswith("mixfast-"):
            yield entry
            return
        entry = entry.values()
    elif not isinstance(entry, (list, tuple)):
        return
    for part in entry:
        yield from _states(part)


def _steps_behind(entry: Any) -> int:
    """Batches that a StatefulDataLoader gave after the snapshot in its state."""
    if not isinstance(entry, Mapping):
        return 0
    return entry.get("_steps_since_snapshot", 0) + sum(_steps_behind(part) for part in entry.values())
