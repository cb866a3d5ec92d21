"""StreamDataset: a stream as an iterable data set for PyTorch's `DataLoader`. Imports torch, so it is imported when asked for.

Workers take a rank's batches in turn, as the loader asks for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from operator import length_hint

import numpy as np
import torch.utils.data

from mixfast._text.names import listing
from mixfast.errors import SamplerError
from mixfast.loaders._place import BLOCK, READER_FORMAT, Pass, Place, pairs_of
from mixfast.loaders._sources import Sample, Source, Sources
from mixfast.sampler import State, Stream, whole_number


class StreamDataset(Place, torch.utils.data.IterableDataset[Sample]):  # type: ignore[misc]
    """Yield a rank's samples themselves, read by the workers: the data set of a `DataLoader` with that ``batch_size``.

    Parameters
    ----------
    stream : MixtureSampler, GrainStream or MegatronStream
        Made with sizes.
    sources : mapping of str to map-style data set
        One for each of the stream's domains.
    batch_size : int
        The batch size of the loader, which must be given to both; 1 if the loader's is None. Worker v of V reads batches
        v, v + V, ... and the loader takes from its workers in turn: this keeps the order of the stream. A loader does not
        tell a data set its batch size, so call `check_loader` once. Without workers, or with one, any size gives the
        same order.
    rank, world_size : int, optional
        As in `StreamSampler`.

    Raises
    ------
    AlignmentError, SamplerError
        If the sources do not fit the stream.

    Notes
    -----
    As in `StreamSampler`. A ``StatefulDataLoader`` goes on from its own state with the same workers only. To change the
    number of workers or ranks, load its state into the data set instead, before the loader is made: workers have a copy
    of the data set from when they start, and persistent ones do not see what is loaded later.

    If a source fails, a note in its error names the domain and the sample that was read, and nothing is skipped.

    Examples
    --------
    >>> from mixfast import Mixture, MixtureSampler, loaders
    >>> sources = {"web": ["a", "b", "c"], "code": ["x", "y"]}
    >>> mixture = Mixture(["web", "code"], [0.75, 0.25])
    >>> stream = MixtureSampler(mixture, loaders.sizes(sources), seed=0, shuffle=False, length=8)
    >>> data = loaders.StreamDataset(stream, sources, batch_size=4)
    >>> loader = torch.utils.data.DataLoader(data, batch_size=4)
    >>> data.check_loader(loader)
    >>> list(loader)
    [['a', 'b', 'x', 'c'], ['a', 'b', 'y', 'c']]
    """

    def __init__(
        self,
        stream: Stream,
        sources: Mapping[str, Source],
        *,
        batch_size: int,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        super().__init__(stream, rank, world_size)
        self.sources = Sources(stream, sources)
        self.batch_size = whole_number("batch_size", batch_size, 1)

    def check_loader(self, loader: torch.utils.data.DataLoader[Sample]) -> None:
        """Refuse a loader of this data set whose workers would give the samples in another order than the stream's.

        Raises
        ------
        SamplerError
            If the loader has several workers, and either another batch size than this data set or ``in_order=False``.
        """
        if loader.num_workers < 2:
            return
        asked = 1 if loader.batch_size is None else loader.batch_size
        if asked != self.batch_size:
            raise SamplerError(
                f"the loader asks its workers for batches of {asked}, and this StreamDataset was made with batch_size="
                f"{self.batch_size}: with {loader.num_workers} workers the samples would come in another order. Give both "
                "the same (1 here for batch_size=None there), or use StreamSampler, which does not need it"
            )
        if not getattr(loader, "in_order", True):
            raise SamplerError(
                f"the loader has {loader.num_workers} workers and in_order=False: batches would come in another order than "
                "the stream's; leave in_order out"
            )

    def __iter__(self) -> Iterator[Sample]:
        info = torch.utils.data.get_worker_info()
        return _Reader.of(_Batches(self, 0, 1) if info is None else _Batches(self, info.id, info.num_workers))


class _Batches:
    """A worker's pass over a `StreamDataset`: samples, a batch at a time.

    1. Find the domains and indices of the worker's next batches, some thousand samples at once (`_look_ahead`).
    2. Read one batch of them from the sources, and hand its samples out one by one.
    3. If a source fails, go back to the start of the batch, so that whoever goes on misses nothing.
    """

    def __init__(self, data: StreamDataset, worker: int, workers: int) -> None:
        self.data, self.worker, self.workers = data, worker, workers
        self.left: Iterator[Sample] = iter(())
        self.begin(0, data.position)

    def begin(self, batches: int, origin: int) -> None:
        """Go on behind so many batches of this worker, in a pass that began at global sample ``origin``."""
        deque(self.left, maxlen=0)
        self.origin, self.total = origin, self.data.samples(origin)
        # The rank's first sample that is not in `pairs` yet.
        self.next = (self.worker + batches * self.workers) * self.data.batch_size
        # Samples this worker has read, those of the batch that is being handed out included.
        self.read = batches * self.data.batch_size
        self.pairs, self.ahead = pairs_of([], [])

    def __iter__(self) -> Iterator[Iterator[Sample]]:
        return self

    def __next__(self) -> Iterator[Sample]:
        if not length_hint(self.ahead):
            self._look_ahead()
        try:
            found = self.data.sources.read(islice(self.pairs, self.data.batch_size))
        except Exception as problem:
            # Raised here, the error would end the chain, and whoever catches it and goes on would take that for the end of
            # the stream.
            self.begin(self.read // self.data.batch_size, self.origin)
            return _raising(problem)
        self.read += len(found)
        self.left = iter(found)
        return self.left

    def _look_ahead(self) -> None:
        """Find the samples of the worker's next batches; those of the other workers lie between them."""
        if self.next >= self.total:
            raise StopIteration
        size, step = self.data.batch_size, self.data.world_size
        every = self.workers * size
        stop = min(self.next + max(BLOCK // every - 1, 0) * every + size, self.total)
        start = self.origin + self.data.rank
        domain, index, _ = self.data.stream.positions(start + self.next * step, start + (stop - 1) * step + 1, step)
        if self.workers > 1:
            mine = np.arange(stop - self.next) % every < size
            domain, index = domain[mine], index[mine]
        self.next += -(-(stop - self.next) // every) * every
        self.pairs, self.ahead = pairs_of(domain.tolist(), index.tolist())


class _Reader(Pass[Sample]):
    """A worker's pass over a `StreamDataset`, item by item, and its place."""

    blocks: _Batches

    def _layout(self) -> dict[str, int]:
        """Return what must be the same when a state is loaded."""
        batches, data = self.blocks, self.blocks.data
        return {
            "worker": batches.worker, "workers": batches.workers, "rank": data.rank, "world_size": data.world_size,
            "batch_size": data.batch_size,
        }  # fmt: skip

    def state_dict(self) -> State:
        batches, data = self.blocks, self.blocks.data
        read, until = batches.read - length_hint(batches.left), 0
        if read:
            before, last = divmod(read - 1, data.batch_size)
            until = (batches.worker + before * batches.workers) * data.batch_size + last + 1
        # The state holds the past up to the last sample that this worker has read: what follows may be changed.
        stream = data.stream.state(batches.origin + until * data.world_size)
        return {"format": READER_FORMAT, "stream": stream, "origin": batches.origin, "read": read, **self._layout()}

    def load_state_dict(self, state: State) -> None:
        if state.get("format") != READER_FORMAT:
            raise SamplerError(f"a worker's state has the format {READER_FORMAT!r}, got {state!r:.200}")
        now = self._layout()
        if now != {name: state[name] for name in now}:
            raise SamplerError(
                f"this reads as {listing(f'{name} {value}' for name, value in now.items())}, and the state was saved by "
                f"{listing(f'{name} {state[name]}' for name in now)}. A StatefulDataLoader goes on as it was saved; to change "
                "that, call load_state_dict of the StreamDataset with the loader's state before the loader is made"
            )
        data = self.blocks.data
        data.stream.check_state(state["stream"])
        batches, rest = divmod(state["read"], data.batch_size)
        self.blocks.begin(batches, state["origin"])
        deque(islice(self, rest), maxlen=0)


def _raising(problem: Exception) -> Iterator[Sample]:
    """Return an iterator that raises an error at its first item."""
    yield from ()
    raise problem
