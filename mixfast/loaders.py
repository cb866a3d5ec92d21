"""Streams in data loaders: adapters for PyTorch and Hugging Face data sets, and streams that follow other loaders.

`StreamSampler` and `StreamDataset` import torch when they are first asked for; the rest needs numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mixfast._sampler_peers import GrainStream, MegatronStream, megatron_exhaustive_indices, megatron_indices
from mixfast._sampler_sources import Sources, sizes
from mixfast.errors import AlignmentError, BackendError, SamplerError, listing
from mixfast.mixture import Mixture

if TYPE_CHECKING:
    from mixfast._sampler_torch import StreamDataset as StreamDataset
    from mixfast._sampler_torch import StreamSampler as StreamSampler

__all__ = [
    "DocumentShares", "GrainStream", "MegatronStream", "Sources", "StreamDataset", "StreamSampler",
    "document_shares", "megatron_exhaustive_indices", "megatron_indices", "sizes",
]  # fmt: skip

_TORCH = ("StreamDataset", "StreamSampler")


class DocumentShares(NamedTuple):
    """Shares of documents that give shares of tokens: the mixture for the sampler, and what to know about it."""

    mixture: Mixture
    note: str


def document_shares(mixture: Mixture, tokens_per_document: Mapping[str, float]) -> DocumentShares:
    """Return the shares of documents whose tokens have the shares of a mixture.

    A mixture says how much of the training *tokens* each domain gives. A stream of fixed-length sequences mixes just
    that; one of whole documents, packed after mixing, must draw domains with long documents less often:
    share of documents proportional to share of tokens / mean tokens of a document.

    Parameters
    ----------
    mixture : Mixture
        Shares of tokens.
    tokens_per_document : mapping of str to float
        Mean tokens of a document of each domain with a share, as they are trained on (after truncation).

    Raises
    ------
    AlignmentError
        If a domain with a share has no mean.
    SamplerError
        If a mean is not a positive number.

    Examples
    --------
    >>> shares = document_shares(Mixture(["web", "books"], [0.5, 0.5]), {"web": 1_000, "books": 99_000})
    >>> shares.mixture
    Mixture(web 0.99, books 0.01)
    >>> shares.note  # doctest: +ELLIPSIS
    'Shares of documents, not of tokens: web 99% of documents for 50% of tokens, books 1% of documents for 50% ...
    """
    drawn = [name for name, share in mixture.items() if share > 0]
    if any(name not in tokens_per_document for name in drawn):
        raise AlignmentError.between("the mixture", drawn, "tokens_per_document", tokens_per_document)
    mean = np.array([float(tokens_per_document.get(name, 1.0)) for name in mixture.domains])
    wrong = [f"{name}={m}" for name, m in zip(mixture.domains, mean.tolist(), strict=True) if not 0 < m < np.inf]
    if wrong:
        raise SamplerError(f"mean tokens of a document must be positive numbers, got {listing(wrong)}")
    share = mixture.weights / mean
    found = Mixture(mixture.domains, share / share.sum())
    each = [f"{name} {100 * found[name]:.3g}% of documents for {100 * mixture[name]:.3g}% of tokens" for name in drawn]
    return DocumentShares(
        found,
        f"Shares of documents, not of tokens: {listing(each)}. Token shares hold on average, as far as the mean lengths "
        "do; to hold them exactly, cut sequences before mixing.",
    )


def __getattr__(name: str) -> Any:
    if name not in _TORCH:
        raise AttributeError(f"module 'mixfast.loaders' has no attribute {name!r}")
    try:
        return getattr(import_module("mixfast._sampler_torch"), name)
    except ModuleNotFoundError as problem:
        raise BackendError(f"{name} needs PyTorch, which is not installed; pip install torch") from problem


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
