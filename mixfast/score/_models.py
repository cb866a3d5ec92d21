"""Protocols of a model and a tokenizer: the methods that scoring calls; models and tokenizers of transformers have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypedDict

if TYPE_CHECKING:
    import torch


class Output(Protocol):
    """The output of a model."""

    logits: torch.Tensor


class Backbone(Protocol):
    """A model without its head: the first of its outputs are the last hidden states."""

    def __call__(
        self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor | None, use_cache: bool
    ) -> Sequence[torch.Tensor]: ...


class Model(Protocol):
    """A causal language model on one device, in one dtype."""

    config: object
    training: bool
    base_model: Backbone

    def __call__(self, *, input_ids: torch.Tensor, use_cache: bool) -> Output: ...
    def parameters(self) -> Iterator[torch.Tensor]: ...
    def get_input_embeddings(self) -> torch.nn.Embedding: ...
    def get_output_embeddings(self) -> torch.nn.Linear | None: ...
    def eval(self) -> object: ...
    def train(self, mode: bool) -> object: ...


class Encoding(TypedDict, total=False):
    """Token ids of texts, and the start and end of each token in its text if the tokenizer provides them."""

    input_ids: list[list[int]]
    offset_mapping: list[list[tuple[int, int]]]


class Tokenizer(Protocol):
    """A tokenizer; a ``backend_tokenizer``, if it has one, is of the package tokenizers."""

    bos_token_id: int | None
    is_fast: bool

    def __call__(self, texts: list[str], **options: bool) -> Encoding: ...
    def __len__(self) -> int: ...
    def get_vocab(self) -> dict[str, int]: ...
    def decode(self, ids: list[int]) -> str: ...


def text_config(config: object) -> object:
    """Return the configuration of the language model; that of a multimodal model has one for each of its parts."""
    found: object = config.get_text_config() if hasattr(config, "get_text_config") else config
    return found
