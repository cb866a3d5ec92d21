"""Windows over tokens, packed by length into batches, through the model: log p of every scored token, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import listing
from mixfast.errors import ScoreError
from mixfast.score._head import Head, head_of, hidden_states, verify
from mixfast.score._texts import Document
from mixfast.score._tokens import Integers, Tokens, bos_of, tokenize

# Tokens of a batch, padding included: enough to keep the processor busy, little against the weights.
_BATCH_CPU, _BATCH_CUDA = 4096, 32768
# The default window where a model allows more: longer contexts cost memory, and few documents have them.
_LONGEST = 2048
# Characters of a document that its first few tokens are taken from.
_SAMPLED = 4096


@dataclass(frozen=True, slots=True)
class Window:
    """Inputs whose targets, from the place `first` on, are scored into the document's answer from the place `at` on."""

    document: int
    inputs: Integers
    targets: Integers
    first: int
    at: int


def longest_window(config: Any) -> int | None:
    """The longest context that the configuration of a model allows; None where it names none."""
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    known = [getattr(config, key, None) for key in ("max_position_embeddings", "n_positions", "max_seq_len")]
    return min((length for length in known if isinstance(length, int) and length > 1), default=None)


def choose_window(allowed: Mapping[str, int | None], window: int | None, stride: int | None) -> tuple[int, int]:
    """Window and stride as given, or the longest that models allow, by name, and half of it; refuse what leaves tokens out."""
    limits = {name: length for name, length in allowed.items() if length is not None}
    if window is None:
        window = min([*limits.values(), _LONGEST])
    over = {name: length for name, length in limits.items() if length < window}
    if over:
        raise ScoreError(
            f"window is {window} tokens, more than the longest context of "
            + listing(f"{name} ({length})" for name, length in over.items())
        )
    stride = max(window // 2, 1) if stride is None else stride
    if window < 2 or not 1 <= stride <= window:
        raise ScoreError(
            f"window is {window} and stride {stride}; expected a window of at least 2 tokens and a stride from 1 to it"
        )
    return window, stride


def windows(document: int, tokens: Tokens, window: int, stride: int, bos: bool) -> Iterator[Window]:
    """Cut one document: each token is scored once, after at least `window - stride` tokens of the document or all before it.

    Windows start every `stride` tokens; the BOS, where there is one, stands first in each.
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


@dataclass(eq=False)
class Scorer:
    """One expert, ready to score: its model, tokenizer and head, and what a window is."""

    name: str
    model: Any
    tokenizer: Any
    head: Head
    bos: int | None
    window: int
    stride: int
    # Halved when memory runs out, and kept so.
    batch_tokens: int
    # Largest id that both the embeddings and the head know, plus 1.
    vocabulary: int

    def tokens(self, documents: Sequence[Document]) -> list[Tokens]:
        """Documents as tokens that the model knows."""
        found = []
        for document, tokens in zip(documents, tokenize(self.tokenizer, documents, self.bos), strict=True):
            if tokens.count and tokens.ids.max() >= self.vocabulary:
                raise ScoreError(
                    f"{self.name}: {document.name} has the token {tokens.ids.max()}, but the model knows {self.vocabulary} "
                    f"tokens and its tokenizer {len(self.tokenizer)}: the tokenizer of another model?"
                )
            found.append(tokens)
        return found

    def logprob(
        self, documents: Sequence[Document], tokens: Sequence[Tokens], tell: Callable[[int], None] | None = None
    ) -> list[NDArray[np.float32]]:
        """Natural log p of each scored token of each document; `tell` hears how many were scored."""
        out = [np.full(one.count, np.nan, dtype=np.float32) for one in tokens]
        queue = [
            window
            for place, one in enumerate(tokens)
            if one.count
            for window in windows(place, one, self.window, self.stride, self.bos is not None)
        ]
        # Like lengths together; the longest first, so that memory runs out at once or never.
        queue.sort(key=lambda window: -window.inputs.size)
        start = 0
        while start < len(queue):
            length = queue[start].inputs.size
            batch = queue[start : start + max(1, self.batch_tokens // length)]
            found = self._attempt(batch)
            if found is None:
                if len(batch) == 1:
                    raise ScoreError(
                        f"{self.name}: out of memory on a single window of {length} tokens; give a smaller window"
                    )
                self.batch_tokens = length * (len(batch) // 2)
                continue
            for window, values in zip(batch, found, strict=True):
                self._check(values, documents[window.document])
                out[window.document][window.at : window.at + values.size] = values
            start += len(batch)
            if tell is not None:
                tell(sum(values.size for values in found))
        return out

    def _attempt(self, batch: list[Window]) -> list[NDArray[np.float32]] | None:
        """Score a batch, or return None when its memory is not to be had."""
        import torch

        try:
            return self._forward(batch)
        except torch.OutOfMemoryError:
            pass
        # Only here is what the failed attempt held let go.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def _forward(self, batch: list[Window]) -> list[NDArray[np.float32]]:
        import torch

        length = batch[0].inputs.size
        ids = np.zeros((len(batch), length), dtype=np.int64)
        real = np.zeros(ids.shape, dtype=bool)
        keep = np.zeros(ids.shape, dtype=bool)
        for row, window in enumerate(batch):
            ids[row, : window.inputs.size] = window.inputs
            real[row, : window.inputs.size] = True
            keep[row, window.first : window.inputs.size] = True
        targets = np.concatenate([window.targets[window.first :] for window in batch])
        device = self.head.weight.device
        with torch.inference_mode():
            # Padding is on the right, where a causal model does not look; the mask is for what else looks.
            mask = None if real.all() else torch.from_numpy(real.astype(np.int64)).to(device)
            hidden = hidden_states(self.model, torch.from_numpy(ids).to(device), mask)
            chosen = hidden[torch.from_numpy(keep).to(device)]
            del hidden
            # A head that saturates may hide what the hidden states do not, and the kernels refuse them without a document's name.
            finite = torch.isfinite(chosen).all(dim=1)
            if bool(finite.all()):
                values = self.head.logprob(chosen, torch.from_numpy(targets).to(device)).cpu().numpy()
            else:
                values = torch.where(finite, 0.0, torch.nan).cpu().numpy()
        counts = [window.inputs.size - window.first for window in batch]
        return np.split(values, np.cumsum(counts)[:-1])

    def _check(self, values: NDArray[np.float32], document: Document) -> None:
        wrong = np.flatnonzero(np.isnan(values) | (values == np.inf))
        if wrong.size:
            raise ScoreError(
                f"{self.name}: hidden states are not finite (NaN or infinite) at {wrong.size} of {values.size} tokens of "
                f"{document.name}; the weights are damaged, or overflow in {self.head.weight.dtype}: try dtype float32"
            )


def scorer(
    model: Any,
    tokenizer: Any,
    sample: Sequence[Document],
    *,
    name: str,
    window: int | None,
    stride: int | None,
    bos: str,
    batch_tokens: int | None,
) -> Scorer:
    """Make an expert ready, and hold its head against its own logits on the first of the documents that has tokens."""
    import torch

    tensors = list(model.parameters())
    devices = {str(tensor.device) for tensor in tensors}
    if len(devices) > 1:
        raise ScoreError(f"{name}: the model lies on several devices ({', '.join(sorted(devices))}); it must be on one")
    head = head_of(model, name)
    window, stride = choose_window({name: longest_window(model.config)}, window, stride)
    embedded = model.get_input_embeddings().weight.shape[0]
    default = _BATCH_CUDA if head.weight.device.type == "cuda" else _BATCH_CPU
    made = Scorer(
        name,
        model,
        tokenizer,
        head,
        bos_of(tokenizer, bos, name),
        window,
        stride,
        default if batch_tokens is None else batch_tokens,
        min(embedded, head.weight.shape[0]),
    )
    starts = (replace(one, prompt="", text=(one.prompt + one.text)[:_SAMPLED]) for one in sample)
    first = next((tokens for one in starts if (tokens := made.tokens([one])[0]).count), None)
    if first is not None:
        with torch.inference_mode():
            verify(model, head, torch.from_numpy(first.ids[None, :window]).to(head.weight.device), name)
    return made
