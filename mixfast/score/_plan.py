"""Plan: the options of a run and all choices that follow from them, the same on all ranks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import listing, positions, shown
from mixfast.errors import MixfastWarning, ScoreError
from mixfast.score._experts import model_fingerprint
from mixfast.score._loading import device_of, dtype_of, load_config, load_model, load_tokenizer
from mixfast.score._models import Tokenizer
from mixfast.score._run_file import Description
from mixfast.score._scorer import Scorer, scorer
from mixfast.score._shards import Folder, Memory, Store, documents_digest, shard_bytes, shards
from mixfast.score._texts import Document, check_document
from mixfast.score._tokens import bos_of, tokenizer_fingerprint
from mixfast.score._windows import choose_window, longest_window

# A document of more characters is probably a file of several documents.
_LONG = 10_000_000
# Bytes of memory that a tokenizer's output takes for each character (measured).
_TOKENIZED = 200


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of `mixfast.score.score` that determine what is computed and where."""

    level: str
    per: str
    window: int | None
    stride: int | None
    bos: str
    device: str
    dtype: str
    batch_tokens: int | None

    def __post_init__(self) -> None:
        if self.level not in ("sequence", "token"):
            raise ScoreError(f'level is {shown(self.level)}, expected "sequence" or "token"')
        if self.per not in ("auto", "token", "byte"):
            raise ScoreError(f'per is {shown(self.per)}, expected "auto", "token" or "byte"')
        if self.level == "token" and self.per == "byte":
            raise ScoreError('per "byte" needs level "sequence": at level "token" rows have no length to divide by')
        if self.batch_tokens is not None and self.batch_tokens < 1:
            raise ScoreError(f"batch_tokens is {self.batch_tokens}, expected at least 1")


@dataclass(frozen=True, slots=True)
class Expert:
    """An expert that is not loaded yet, with its tokenizer."""

    name: str
    path: Path
    tokenizer: Tokenizer

    def bos(self, wish: str) -> int | None:
        """Return the id of the token that documents begin with, as `bos_of` does."""
        return bos_of(self.tokenizer, wish, f"expert {self.name}")


@dataclass(frozen=True, slots=True)
class Plan:
    """All experts, documents and settings of a run: the same on all ranks.

    Attributes
    ----------
    documents : sequence of N Document
        Sorted by group, in the order in which groups first appear; rows of a table are in this order.
    numbers : (N,) int64
        Number of each document as it was given.
    groups : tuple of str
        Names of the groups.
    group_codes : (N,) int32
        The group of each document.
    shards : sequence of range
        Consecutive documents that are scored together.
    """

    experts: Sequence[Expert]
    documents: Sequence[Document]
    numbers: NDArray[np.int64]
    groups: tuple[str, ...]
    group_codes: NDArray[np.int32]
    shards: Sequence[range]
    settings: Settings

    @property
    def measurer(self) -> Expert:
        """The only expert whose parts keep the bytes of tokens, which take twice the space of the values and are the same for all."""
        # By name: the same experts in another order can continue with these parts.
        return min(self.experts, key=lambda one: one.name)

    def store(self, out: Path | None) -> Store:
        """Return the store of parts; a folder also holds a description of everything that their values depend on."""
        if out is None:
            return Memory()
        experts = {
            one.name: {
                "model": model_fingerprint(one.path),
                "tokenizer": tokenizer_fingerprint(one.tokenizer),
                "bos": one.bos(self.settings.bos),
            }
            for one in self.experts
        }
        settings = {key: getattr(self.settings, key) for key in ("level", "dtype", "window", "stride", "bos")}
        described = Description(
            texts=documents_digest(self.documents), experts=experts, shard=shard_bytes(), **settings
        )
        return Folder(out, described, [len(shard) for shard in self.shards])

    def load(self, expert: Expert) -> Scorer:
        """Return an expert ready to score."""
        return scorer(
            load_model(expert.name, expert.path, self.settings.device, self.settings.dtype),
            expert.tokenizer,
            self.documents,
            name=f"expert {expert.name}",
            window=self.settings.window,
            stride=self.settings.stride,
            bos=self.settings.bos,
            batch_tokens=self.settings.batch_tokens,
        )


def make_plan(folders: dict[str, Path], documents: Sequence[Document], settings: Settings) -> Plan:
    """Make all choices that the options leave open, and refuse experts and texts that are incompatible."""
    device = device_of(settings.device)
    for one in documents:
        check_document(one)
    _warn_of_long(documents)
    experts = [Expert(name, path, load_tokenizer(name, path)) for name, path in folders.items()]
    per = _unit(experts, documents, settings)
    # All experts have the same window: a longer context would favour an expert.
    allowed = {f"expert {one.name}": longest_window(load_config(one.name, one.path)) for one in experts}
    window, stride = choose_window(allowed, settings.window, settings.stride)
    chosen = replace(
        settings, per=per, device=device, dtype=dtype_of(settings.dtype, device), window=window, stride=stride
    )
    groups = tuple(dict.fromkeys(one.group for one in documents))
    codes = np.array(positions((one.group for one in documents), groups), dtype=np.int32)
    numbers = np.argsort(codes, kind="stable")
    ordered = [documents[i] for i in numbers.tolist()]
    return Plan(experts, ordered, numbers, groups, codes[numbers], shards(ordered), chosen)


def _warn_of_long(documents: Sequence[Document]) -> None:
    """Warn about documents that are so long that they are probably several."""
    sizes = {one.name: len(one.prompt) + len(one.text) for one in documents}
    long = [name for name, size in sizes.items() if size > _LONG]
    if long:
        warnings.warn(
            f"documents of more than {_LONG / 1e6:.0f} million characters: {listing(long)}; the tokenizer takes about "
            f"{_TOKENIZED * max(sizes.values()) / 1e9:.2g} GB of memory for the longest, and an interrupted run starts such a document "
            "again from its beginning: divide them, or give --lines (lines=True) if each line of a .txt file is a document",
            MixfastWarning,
            stacklevel=7,
        )


def _unit(experts: Sequence[Expert], documents: Sequence[Document], settings: Settings) -> str:
    """Return the unit of lengths, "token" or "byte"; refuse experts whose rows would cover different text."""
    start = {one.name: one.bos(settings.bos) for one in experts}
    without = [name for name, bos in start.items() if bos is None]
    if without and len(without) < len(experts):
        raise ScoreError(
            f"the tokenizers of {listing(without)} have no BOS token, but the others have one, so only some experts would score the "
            'first token of a document; give bos "none", or a token that all tokenizers have, such as "<|endoftext|>"'
        )
    digests = [tokenizer_fingerprint(one.tokenizer) for one in experts]
    if len(set(digests)) == 1:
        return "token" if settings.per == "auto" else settings.per
    alike: dict[str, list[str]] = {}
    for one, digest in zip(experts, digests, strict=True):
        alike.setdefault(digest, []).append(one.name)
    shown = "; ".join(listing(names) for names in alike.values())
    if settings.level == "token":
        raise ScoreError(
            f"experts have different tokenizers ({shown}), so their tokens are not the same rows; use level "
            '"sequence", where losses are per byte'
        )
    if settings.per == "token":
        raise ScoreError(
            f'experts have different tokenizers ({shown}), so a document has no common length in tokens; give per "byte"'
        )
    if without and any(not one.prompt for one in documents):
        raise ScoreError(
            f"experts have different tokenizers ({shown}) and no BOS token, so the unscored first tokens differ and experts would score "
            "different text; give a bos that all tokenizers have"
        )
    if settings.per == "auto":
        warnings.warn(
            f"experts have different tokenizers ({shown}): lengths are in UTF-8 bytes, and losses in nats per byte",
            MixfastWarning,
            stacklevel=7,
        )
    return "byte"
