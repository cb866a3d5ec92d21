"""StreamDataset: a stream as an iterable data set for PyTorch's `DataLoader`. Imports torch, so it is imported on first access.

The workers read a rank's batches in turn, in the order in which the loader takes them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from operator import length_hint
from typing import Any, TypeVar

import numpy as np
import torch.utils.data

from mixfast._text.names import listing
from mixfast.errors import SamplerError
from mixfast.loaders._loader_state import LAYOUT, READER, read_worker, sample_after
from mixfast.loaders._place import BLOCK, Pass, Place, pairs_of
from mixfast.loaders._sources import Sample, Source, Sources
from mixfast.sampler import State, Stream, end_of, resumed, whole_number

L = TypeVar("L", bound="torch.utils.data.DataLoader[Any]")


class StreamDataset(Place, torch.utils.data.IterableDataset[Sample]):  # type: ignore[misc]
    """Yield a rank's samples, read by the workers: the data set of a `DataLoader` with the same ``batch_size``.

    Parameters
    ----------
    stream : MixtureSampler, GrainStream or MegatronStream
        Made with sizes.
    sources : mapping of str to map-style data set
        One for each of the stream's domains.
    batch_size : int
        The batch size of the loader; 1 if the loader's is None. `loader` makes a loader with it. Worker v of V reads batches
        v, v + V, ... and the loader takes from its workers in turn, which keeps the order of the stream. A data set cannot
        read the batch size of its loader, so call `check_loader` for one made elsewhere. Without workers, or with one, any
        size gives the same order.
    rank, world_size : int, optional
        As in `StreamSampler`.

    Raises
    ------
    AlignmentError, SamplerError
        If the sources do not fit the stream. When a pass begins: as in `StreamSampler`.

    Notes
    -----
    As in `StreamSampler`. A ``StatefulDataLoader`` resumes from its own state only with the same number of workers. To change the
    number of workers or ranks, load its state into the data set before the loader is made: workers copy the data set when
    they start, and persistent workers do not see a state that is loaded later.

    If a source fails, a note in its error names the domain and the sample, and no sample is skipped.

    Examples
    --------
    >>> from mixfast import Mixture, MixtureSampler, loaders
    >>> sources = {"web": ["a", "b", "c"], "code": ["x", "y"]}
    >>> mixture = Mixture(["web", "code"], [0.75, 0.25])
    >>> stream = MixtureSampler(mixture, loaders.sizes(sources), seed=0, shuffle=False, length=8)
    >>> data = loaders.StreamDataset(stream, sources, batch_size=4)
    >>> list(data.loader())
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
        self.sources: Sources = Sources(stream, sources)
        self.batch_size: int = whole_number("batch_size", batch_size, 1)

    def loader(self, kind: Callable[..., L] = torch.utils.data.DataLoader, **options: Any) -> L:
        """Return a loader of this data set with its batch size, checked: ``kind(self, batch_size=..., **options)``.

        Parameters
        ----------
        kind : class
            `torch.utils.data.DataLoader` (default), or torchdata's ``StatefulDataLoader``.
        **options
            Further arguments of the loader, such as ``num_workers``, ``collate_fn`` and ``drop_last``.

        Raises
        ------
        SamplerError
            If the workers would change the order of the stream.
        """
        found = kind(self, batch_size=self.batch_size, **options)
        self.check_loader(found)
        return found

    def check_loader(self, loader: torch.utils.data.DataLoader[Sample]) -> None:
        """Refuse a loader of this data set if its workers would change the order of the stream.

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
                f"the loader takes batches of {asked} from its workers, and this StreamDataset was made with batch_size="
                f"{self.batch_size}: with {loader.num_workers} workers the samples would come in another order. Give both "
                "the same batch size (1 here for batch_size=None there), or use StreamSampler, which does not need it"
            )
        if not getattr(loader, "in_order", True):
            raise SamplerError(
                f"the loader has {loader.num_workers} workers and in_order=False: batches would come in another order than "
                "the stream's; leave in_order out"
            )

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker cannot see the trainer.
        self.check_trainer()
        return super().__getstate__()

    def __iter__(self) -> Iterator[Sample]:
        info = torch.utils.data.get_worker_info()
        self.check_trainer()
        return _Reader.of(_Batches(self, 0, 1) if info is None else _Batches(self, info.id, info.num_workers))


class _Batches:
    """A worker's pass over a `StreamDataset`: samples, a batch at a time.

    1. Find the domains and indices of the worker's next batches, some thousand samples at once (`_look_ahead`).
    2. Read one batch of them from the sources, and yield its samples one by one.
    3. If a source fails, go back to the start of the batch, so that a caller that continues misses no sample.
    """

    def __init__(self, data: StreamDataset, worker: int, workers: int) -> None:
        self.data, self.worker, self.workers = data, worker, workers
        self.rank, self.world_size = data.ranks()
        self.left: Iterator[Sample] = iter(())
        self.begin(data.stream, 0, data.position)

    def begin(self, stream: Stream, batches: int, origin: int) -> None:
        """Continue after this many batches of this worker, in a pass that began at global sample ``origin``."""
        deque(self.left, maxlen=0)
        self.stream, self.origin = stream, origin
        self.total = (end_of(stream.length) - origin) // self.world_size
        # The rank's first sample that is not in `pairs` yet.
        self.next = (self.worker + batches * self.workers) * self.data.batch_size
        # Samples that this worker has read, including those of the batch that is being yielded.
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
            # Raised here, the error would end the chain. A caller that catches it and continues would take that for the end
            # of the stream.
            self.begin(self.stream, self.read // self.data.batch_size, self.origin)
            return _raising(problem)
        self.read += len(found)
        self.left = iter(found)
        return self.left

    def _look_ahead(self) -> None:
        """Find the samples of the worker's next batches, which alternate with those of the other workers."""
        if self.next >= self.total:
            raise StopIteration
        size, step = self.data.batch_size, self.world_size
        every = self.workers * size
        stop = min(self.next + max(BLOCK // every - 1, 0) * every + size, self.total)
        start = self.origin + self.rank
        domain, index, _ = self.stream.positions(start + self.next * step, start + (stop - 1) * step + 1, step)
        if self.workers > 1:
            mine = np.arange(stop - self.next) % every < size
            domain, index = domain[mine], index[mine]
        self.next += -(-(stop - self.next) // every) * every
        self.pairs, self.ahead = pairs_of(domain.tolist(), index.tolist())


class _Reader(Pass[Sample]):
    """A worker's pass over a `StreamDataset`, item by item, with a state that can be saved."""

    blocks: _Batches

    def _layout(self) -> dict[str, int]:
        """Return the numbers that must be the same when a state is loaded."""
        batches = self.blocks
        numbers = (batches.worker, batches.workers, batches.world_size, batches.data.batch_size)
        return dict(zip(LAYOUT, numbers, strict=True))

    def state_dict(self) -> State:
        batches, layout = self.blocks, self._layout()
        read = batches.read - length_hint(batches.left)
        # The state fixes the stream up to the last sample that this worker has read; what follows may be changed.
        stream = batches.stream.state(sample_after(batches.origin, read, layout))
        return READER.save(stream=stream, origin=batches.origin, read=read, **layout)

    def load_state_dict(self, state: State) -> None:
        saved, now = read_worker(state), self._layout()
        if any(saved[name] != value for name, value in now.items()):
            raise SamplerError(
                f"this reads as {listing(f'{name} {value}' for name, value in now.items())}, and the state was saved by "
                f"{listing(f'{name} {saved[name]}' for name in now)}. A StatefulDataLoader resumes only with the same numbers; to change "
                "them, call load_state_dict of the StreamDataset with the loader's state before the loader is made"
            )
        stream, _ = resumed(self.blocks.stream, saved["stream"])
        batches, rest = divmod(saved["read"], self.blocks.data.batch_size)
        self.blocks.begin(stream, batches, saved["origin"])
        deque(islice(self, rest), maxlen=0)


def _raising(problem: Exception) -> Iterator[Sample]:
    """Return an iterator that raises an error at its first item."""
    yield from ()
    raise problem
