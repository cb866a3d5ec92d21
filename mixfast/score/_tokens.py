"""Documents as tokens: which tokens are scored, how many bytes each stands for, and when two tokenizers are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import shown
from mixfast.errors import ScoreError
from mixfast.score._models import Encoding, Tokenizer
from mixfast.score._texts import Document, encoded

Integers = NDArray[np.int64]

# Number of documents for one call of the tokenizer, which encodes them in parallel.
_AT_ONCE = 256
# Parts of a tokenizer's JSON that do not affect the ids of a text without special tokens.
_UNUSED = ("version", "truncation", "padding", "post_processor", "decoder")


@dataclass(frozen=True, slots=True)
class Tokens:
    """One document: its tokens (including a BOS), the position of the first scored one, and the bytes of the scored ones."""

    ids: Integers
    first: int
    n_bytes: int
    # Bytes of each scored token; None if the tokenizer does not provide the text of a token.
    token_bytes: Integers | None

    @property
    def count(self) -> int:
        """Number of scored tokens."""
        return max(self.ids.size - self.first, 0)


def bos_of(tokenizer: Tokenizer, bos: str, name: str) -> int | None:
    """Return the id of the first token of documents: "auto" (the tokenizer's BOS, if any), "none", or a token."""
    if bos == "none":
        return None
    if bos == "auto":
        found = tokenizer.bos_token_id
    else:
        found = tokenizer.get_vocab().get(bos)
        if found is None:
            raise ScoreError(
                f'{name}: its tokenizer has no token {shown(bos)}; bos must be "auto", "none" or a token that every tokenizer has'
            )
    return None if found is None else int(found)


def tokenizer_fingerprint(tokenizer: Tokenizer) -> str:
    """Return a digest that is the same for two tokenizers if they encode every text as the same ids, wherever they were loaded from."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        known: object = [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())]
    else:
        parts = json.loads(backend.to_str())
        known = {key: part for key, part in parts.items() if key not in _UNUSED}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def tokenize(tokenizer: Tokenizer, documents: Sequence[Document], bos: int | None) -> Iterator[Tokens]:
    """Encode documents without special tokens other than the BOS.

    A document with a prompt is encoded as one text. Tokens that agree with those of the prompt encoded alone belong to the prompt; the
    rest is scored. So a space between both is part of the word after it, as in training.
    """
    for start in range(0, len(documents), _AT_ONCE):
        part = documents[start : start + _AT_ONCE]
        wholes, offsets = _encode(tokenizer, [document.prompt + document.text for document in part])
        prompts = [document.prompt for document in part if document.prompt]
        prompt_ids = iter(_encode(tokenizer, prompts)[0] if prompts else ())
        for place, document in enumerate(part):
            ids = np.asarray(wholes[place], dtype=np.int64)
            first = _common(ids, np.asarray(next(prompt_ids), dtype=np.int64)) if document.prompt else 0
            if bos is not None:
                ids = np.concatenate(([bos], ids))
            # Without a BOS no token precedes the first one, so it cannot be predicted.
            skipped = 1 if bos is None and first == 0 else 0
            where = None if offsets is None else offsets[place]
            yield _tokens(tokenizer, document, ids, first + skipped, bos is not None, where)


def _encode(tokenizer: Tokenizer, texts: list[str]) -> tuple[list[list[int]], list[list[tuple[int, int]]] | None]:
    """Return the ids of texts, and the start and end of each token in its text if the tokenizer provides them."""
    found: Encoding = tokenizer(
        texts,
        add_special_tokens=False,
        return_attention_mask=False,
        return_offsets_mapping=bool(tokenizer.is_fast),
        truncation=False,
        padding=False,
        verbose=False,
    )
    return found["input_ids"], found.get("offset_mapping")


def _common(whole: Integers, prompt: Integers) -> int:
    """Return the length of the common prefix."""
    n = min(whole.size, prompt.size)
    apart = np.flatnonzero(whole[:n] != prompt[:n])
    return int(apart[0]) if apart.size else n


def _tokens(
    tokenizer: Tokenizer,
    document: Document,
    ids: Integers,
    scored_from: int,
    has_bos: bool,
    offsets: list[tuple[int, int]] | None,
) -> Tokens:
    """Return the tokens of a document; `scored_from` is the first scored token of the text, counted without the BOS."""
    prompt, text = encoded(document)
    first = scored_from + has_bos
    if first >= ids.size:
        return Tokens(ids, ids.size, 0, None if offsets is None else np.zeros(0, dtype=np.int64))
    if offsets is None:
        unscored = 0
        if scored_from and not prompt:
            unscored = len(tokenizer.decode(ids[has_bos:first].tolist()).encode(errors="replace"))
        return Tokens(ids, first, max(len(text) - unscored, 0), None)
    # A token ends where its text ends. If tokens share a character, the first one counts all its bytes.
    ends = _byte_positions(document.prompt + document.text)[np.asarray(offsets, dtype=np.int64)[:, 1]]
    ends = np.maximum.accumulate(np.maximum(ends, len(prompt)))
    ends[-1] = len(prompt) + len(text)
    before = ends[scored_from - 1] if scored_from else len(prompt)
    token_bytes = np.diff(ends[scored_from:], prepend=before)
    return Tokens(ids, first, int(token_bytes.sum()), token_bytes)


def _byte_positions(text: str) -> Integers:
    """Return the position in UTF-8 at which each character of a text begins, and the end of the last one."""
    points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    width = 1 + (points > 0x7F).astype(np.int64) + (points > 0x7FF) + (points > 0xFFFF)
    return np.concatenate(([0], np.cumsum(width)))
