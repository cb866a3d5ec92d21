"""Streams in data loaders: adapters for PyTorch and Hugging Face data sets, and streams that follow other loaders.

A stream (`mixfast.MixtureSampler`, or one of those below) says which sample of which domain comes next. This room reads the
samples from one map-style data set for each domain, in PyTorch's `DataLoader` and torchdata's ``StatefulDataLoader``, with
any number of ranks and workers, and resumes from a saved state.

Classes:

- `StreamSampler`: the ``sampler=`` of a loader over `Sources`; the main process finds the samples, workers read them.
- `StreamDataset`: a data set; the workers of its loader find and read the samples. It needs the batch size, and makes its own
  loader.
- `Sources`: the data sets of a stream's domains as one map-style data set.
- `GrainStream`, `MegatronStream`: streams in exactly the order of grain's and Megatron-LM's own blends, so that a run can
  switch to mixfast without changing its data.
- `DocumentShares`: shares of documents that result in given shares of tokens.

Functions: `sizes` counts the samples of sources; `document_shares` converts a mixture; `megatron_indices` and
`megatron_exhaustive_indices` return Megatron-LM's index arrays.

`StreamSampler` and `StreamDataset` import torch when they are first accessed; the rest needs only numpy.

Either the stream or the trainer divides the samples among the processes. docs/how-to/training-loops.md shows the loop for
torchdata, Accelerate, the Trainer of transformers, Lightning and Fabric.

Read the files in this order: `_sources`, `_trainers` (trainers that divide a loader's batches), `_loader_state` (the position in a
loader's state), `_place` (ranks and saved states), `_stream_sampler`, `_stream_dataset`; then
`_peer_stream` with `_grain` and `_megatron` (whose loop is in `_greedy_loops`); `_document_shares`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mixfast.loaders._document_shares import DocumentShares, document_shares
from mixfast.loaders._grain import GrainStream
from mixfast.loaders._megatron import MegatronStream, megatron_exhaustive_indices, megatron_indices
from mixfast.loaders._sources import Sources, sizes

if TYPE_CHECKING:
    from mixfast.loaders._stream_dataset import StreamDataset
    from mixfast.loaders._stream_sampler import StreamSampler

__all__ = [
    "DocumentShares",
    "GrainStream",
    "MegatronStream",
    "Sources",
    "StreamDataset",
    "StreamSampler",
    "document_shares",
    "megatron_exhaustive_indices",
    "megatron_indices",
    "sizes",
]

# Classes that derive from torch's, which takes seconds to import.
_LATER = {"StreamDataset": "_stream_dataset", "StreamSampler": "_stream_sampler"}


def __getattr__(name: str) -> Any:
    from mixfast._text.optional import needed
    from mixfast.errors import BackendError

    if name not in _LATER:
        raise AttributeError(f"module 'mixfast.loaders' has no attribute {name!r}")
    with needed(name, "PyTorch", "torch", BackendError):
        module = import_module(f"mixfast.loaders.{_LATER[name]}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
