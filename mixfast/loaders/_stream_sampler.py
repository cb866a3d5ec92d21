"""StreamSampler: a stream as the ``sampler=`` of PyTorch's `DataLoader`. Imports torch, so it is imported on first access."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from operator import length_hint

import torch.utils.data

from mixfast.loaders._place import BLOCK, Pair, Pass, Place, pairs_of
from mixfast.loaders._sources import sizes_of
from mixfast.sampler import State, Stream, end_of, resumed


class StreamSampler(Place, torch.utils.data.DistributedSampler[Pair]):  # type: ignore[misc]
    """Yield a rank's samples as pairs ``domain, index``: the ``sampler=`` of a `DataLoader` over `Sources`.

    Any other data set that takes such pairs works, too; ``domain`` is an index of ``stream.domains``. The main process finds
    the samples, so the order holds for any number of workers. The class derives from torch's `DistributedSampler`, so Lightning
    and Fabric do not replace it.

    Parameters
    ----------
    stream : MixtureSampler, GrainStream or MegatronStream
        Made with sizes.
    rank, world_size : int, optional
        Rank of this process and number of processes. Default: those of `torch.distributed` if it is initialised when samples
        are read, else 0 and 1. Give 0 and 1 on all processes if the trainer divides the batches itself, as Accelerate and the
        Trainer of transformers do with a loader that they prepare.

    Raises
    ------
    SamplerError
        If the stream has no sizes. When a pass begins: if Accelerate would divide this rank's part again.

    Warns
    -----
    MixfastWarning
        When a pass begins: if each of several processes would read all samples, or Accelerate would read some twice to fill
        the last step.

    Notes
    -----
    Each pass yields the stream from the position loaded last (sample 0 at first) to its end: a run is one pass. All ranks get
    the same number of samples; up to ``world_size - 1`` samples at the end of the stream are dropped.

    `load_state_dict` resumes with any world size, number of workers and batch size, provided that all ranks were saved at
    the same step. torchdata's ``StatefulDataLoader`` saves the state itself. A plain `DataLoader` prefetches: save
    ``state_after(steps * batch_size)``, where the batch is that of all processes if the trainer divides the stream.

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
        # Not that of DistributedSampler, which requires a data set to shuffle.
        Place.__init__(self, stream, rank, world_size)
        sizes_of(stream)

    @property
    def num_replicas(self) -> int:
        """The world size, under torch's name."""
        return self.world_size

    def __iter__(self) -> Iterator[Pair]:
        self.check_trainer()
        return _Pairs.of(_Blocks(self))


class _Blocks:
    """A pass of a `StreamSampler`, a block of pairs at a time."""

    def __init__(self, sampler: StreamSampler) -> None:
        self.rank, self.world_size = sampler.ranks()
        self.pairs, self.left = pairs_of([], [])
        self.begin(sampler.stream, sampler.position)

    def begin(self, stream: Stream, position: int) -> None:
        """Continue with a stream at a global sample."""
        deque(self.pairs, maxlen=0)
        end = end_of(stream.length)
        self.stream, self.at, self.end = stream, position, end - (end - position) % self.world_size

    def __iter__(self) -> Iterator[Iterator[Pair]]:
        return self

    def __next__(self) -> Iterator[Pair]:
        if self.at >= self.end:
            raise StopIteration
        stop = min(self.at + BLOCK * self.world_size, self.end)
        domain, index, _ = self.stream.positions(self.at + self.rank, stop, self.world_size)
        self.at = stop
        self.pairs, self.left = pairs_of(domain.tolist(), index.tolist())
        return self.pairs


class _Pairs(Pass[Pair]):
    """A pass of a `StreamSampler`, item by item, with a state that can be saved."""

    blocks: _Blocks

    def state_dict(self) -> State:
        blocks = self.blocks
        return blocks.stream.state(blocks.at - length_hint(blocks.left) * blocks.world_size)

    def load_state_dict(self, state: State) -> None:
        self.blocks.begin(*resumed(self.blocks.stream, state))
