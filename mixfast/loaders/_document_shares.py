"""Convert shares of tokens to shares of documents, for streams that mix whole documents."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mixfast._text.names import listing
from mixfast.errors import AlignmentError, MixfastWarning, SamplerError
from mixfast.mixture import Mixture
from mixfast.sampler import positive_numbers

# No corpus has a mean of ten million tokens per document: a larger number is a total, or has another unit.
_LONGEST_DOCUMENT = 1e7


class DocumentShares(NamedTuple):
    """A mixture in shares of documents for the sampler, with a note that explains it."""

    mixture: Mixture
    note: str


def document_shares(mixture: Mixture, tokens_per_document: Mapping[str, float]) -> DocumentShares:
    """Return the shares of documents that result in the shares of tokens of a mixture.

    A mixture gives the share of the training *tokens* of each domain. A stream of fixed-length sequences has these shares. A
    stream of whole documents, packed after mixing, must sample domains with long documents less often: the share of documents
    is proportional to the share of tokens divided by the mean tokens of a document.

    Parameters
    ----------
    mixture : Mixture
        Shares of tokens.
    tokens_per_document : mapping of str to float
        Mean tokens of a document of each domain with a share, counted as trained on (after truncation).

    Raises
    ------
    AlignmentError
        If a domain with a share has no mean.
    SamplerError
        If a mean is not a positive number.

    Warns
    -----
    MixfastWarning
        If a mean is below one token or above ten million: totals may have been given instead of means, or thousands instead
        of tokens.

    Examples
    --------
    >>> shares = document_shares(Mixture(["web", "books"], [0.5, 0.5]), {"web": 1_000, "books": 99_000})
    >>> shares.mixture
    Mixture(web 0.99, books 0.01)
    >>> shares.note  # doctest: +ELLIPSIS
    'Shares of documents, not of tokens: web 99% of documents for 50% of tokens, books 1% of documents for 50% ...
    """
    if not isinstance(mixture, Mixture):
        raise SamplerError(
            f"mixture must be a Mixture, got {type(mixture).__name__}; convert those of a schedule one by one"
        )
    sampled = [name for name, share in mixture.items() if share > 0]
    if not isinstance(tokens_per_document, Mapping):
        raise SamplerError(f"means must be a mapping from domain to number, got {type(tokens_per_document).__name__}")
    if any(name not in tokens_per_document for name in sampled):
        raise AlignmentError.between("the mixture", sampled, "tokens_per_document", tokens_per_document)
    means = {name: tokens_per_document[name] for name in sampled}
    means = dict(zip(sampled, positive_numbers(means, "mean tokens of a document"), strict=True))
    mean = np.array([means.get(name, 1.0) for name in mixture.domains])
    if odd := [f"{name}={m:.3g}" for name, m in means.items() if not 1.0 <= m <= _LONGEST_DOCUMENT]:
        warnings.warn(
            f"mean tokens of a document are below 1 or above {_LONGEST_DOCUMENT:.0e}: {listing(odd)}; give means, in tokens",
            MixfastWarning,
            stacklevel=2,
        )
    share = mixture.weights / mean
    found = Mixture(mixture.domains, share / share.sum())
    each = [
        f"{name} {100 * found[name]:.3g}% of documents for {100 * mixture[name]:.3g}% of tokens" for name in sampled
    ]
    return DocumentShares(
        found,
        f"Shares of documents, not of tokens: {listing(each)}. Shares of tokens hold on average, if the mean "
        "lengths are right; to hold them exactly, cut sequences before mixing.",
    )
