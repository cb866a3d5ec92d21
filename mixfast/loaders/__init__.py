"""Streams in data loaders: adapters for PyTorch and Hugging Face data sets, and streams that follow other loaders.

`StreamSampler` and `StreamDataset` import torch when they are first asked for; the rest needs numpy only.
"""

from mixfast.loaders._document_shares import (
    DocumentShares,
    GrainStream,
    MegatronStream,
    Sources,
    document_shares,
    megatron_exhaustive_indices,
    megatron_indices,
    sizes,
)

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
