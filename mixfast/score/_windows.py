"""Windows over the tokens of a document: each token is scored once, with enough context before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mixfast._text.names import listing
from mixfast.errors import ScoreError
from mixfast.score._models import text_config
from mixfast.score._tokens import Integers, Tokens

# The default window of models that allow more: longer contexts cost memory, and few documents are that long.
_LONGEST = 2048


@dataclass(frozen=True, slots=True)
class Window:
    """Inputs and their targets. Targets from position `first` on are scored; in the document, these begin at its scored token `at`."""

    document: int
    inputs: Integers
    targets: Integers
    first: int
    at: int


def longest_window(config: object) -> int | None:
    """Return the longest context that the configuration of a model allows; None if it states none."""
    config = text_config(config)
    known = [getattr(config, key, None) for key in ("max_position_embeddings", "n_positions", "max_seq_len")]
    return min((length for length in known if isinstance(length, int) and length > 1), default=None)


def choose_window(allowed: Mapping[str, int | None], window: int | None, stride: int | None) -> tuple[int, int]:
    """Return window and stride as given; by default the longest window that all models (by name) allow, and half of it."""
    limits = {name: length for name, length in allowed.items() if length is not None}
    if window is None:
        window = min([*limits.values(), _LONGEST])
    over = {name: length for name, length in limits.items() if length < window}
    if over:
        raise ScoreError(
            f"window is {window} tokens, longer than the context of "
            + listing(f"{name} ({length})" for name, length in over.items())
        )
    stride = max(window // 2, 1) if stride is None else stride
    if window < 2 or not 1 <= stride <= window:
        raise ScoreError(
            f"window is {window} and stride {stride}; expected a window of at least 2 tokens and a stride from 1 to the window"
        )
    return window, stride


def windows(document: int, tokens: Tokens, window: int, stride: int, bos: bool) -> Iterator[Window]:
    """Divide one document: each token is scored once, after at least `window - stride` tokens of the document or all before it.

    Windows start every `stride` tokens; each begins with the BOS if there is one.
    """
    last = tokens.ids.size - 1
    done = tokens.first
    for start in range(0, max(last, 0), stride):
        stop = min(start + window, last)
        if stop >= done and done <= last:
            inputs = tokens.ids[start:stop]
            if start and bos:
                inputs = np.concatenate((tokens.ids[:1], inputs[1:]))
            # The target of the input at p is the token at p + 1.
            yield Window(document, inputs, tokens.ids[start + 1 : stop + 1], done - start - 1, done - tokens.first)
            done = stop + 1
        if stop == last:
            return
