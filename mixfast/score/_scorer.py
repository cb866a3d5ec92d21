"""Scorer: one loaded expert; it packs windows of similar length into batches and runs the model on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixfast.errors import ScoreError
from mixfast.score._head import Head, head_of, hidden_states, verify
from mixfast.score._models import Model, Tokenizer
from mixfast.score._texts import Document
from mixfast.score._tokens import Tokens, bos_of, tokenize
from mixfast.score._windows import Window, choose_window, longest_window, windows

# Tokens of a batch, padding included: enough to use the processor well, with little memory compared with the weights.
_BATCH_CPU, _BATCH_CUDA = 4096, 32768
# The first few tokens of a document are taken from this many of its characters.
_SAMPLED = 4096


@dataclass(frozen=True, eq=False)
class Scores:
    """Log-probabilities of N documents with T scored tokens under one model, as `score_documents` returns them.

    Attributes
    ----------
    logprob : (T,) float32
        Natural log p of each scored token, document after document.
    count : (N,) int64
        Scored tokens of each document; 0 if it has none.
    n_bytes : (N,) int64
        UTF-8 bytes of the scored text of each document.
    token_bytes : (T,) int64 or None
        UTF-8 bytes of each scored token; None if the tokenizer does not provide the text of a token.
    """

    logprob: NDArray[np.float32]
    count: NDArray[np.int64]
    n_bytes: NDArray[np.int64]
    token_bytes: NDArray[np.int64] | None

    @property
    def loglik(self) -> NDArray[np.float64]:
        """Log-likelihood of each document in nats, (N,) float64, summed over its scored tokens."""
        document = np.repeat(np.arange(self.count.size), self.count)
        # Without documents np.bincount returns integers.
        return np.bincount(document, weights=self.logprob, minlength=self.count.size).astype(np.float64)


@dataclass(eq=False)
class Scorer:
    """One loaded expert.

    1. `tokens` encodes documents, and refuses tokens that the model does not know.
    2. `logprob` divides them into windows, packs windows of similar length into batches, and scores each batch.
    3. If memory runs out, this batch and all later ones are halved.
    4. `scores` does both and joins the results.
    """

    name: str
    model: Model
    tokenizer: Tokenizer
    head: Head
    bos: int | None
    window: int
    stride: int
    # Tokens of a batch, padding included; halved when memory runs out.
    batch_tokens: int
    # Number of token ids that both the embeddings and the head have.
    vocabulary: int

    def scores(self, documents: Sequence[Document], tell: Callable[[int], None] | None = None) -> Scores:
        """Score documents; `tell` is called with the number of tokens scored after each batch."""
        tokens = self.tokens(documents)
        values = self.logprob(documents, tokens, tell)
        known = [one.token_bytes for one in tokens if one.token_bytes is not None]
        return Scores(
            np.concatenate([np.zeros(0, dtype=np.float32), *values]),
            np.array([one.count for one in tokens], dtype=np.int64),
            np.array([one.n_bytes for one in tokens], dtype=np.int64),
            np.concatenate([np.zeros(0, dtype=np.int64), *known]) if len(known) == len(tokens) else None,
        )

    def tokens(self, documents: Sequence[Document]) -> list[Tokens]:
        """Return documents as tokens that the model knows."""
        found = []
        for document, tokens in zip(documents, tokenize(self.tokenizer, documents, self.bos), strict=True):
            if tokens.count and tokens.ids.max() >= self.vocabulary:
                raise ScoreError(
                    f"{self.name}: {document.name} has the token {tokens.ids.max()}, but the model knows {self.vocabulary} "
                    f"tokens and its tokenizer {len(self.tokenizer)}: is it the tokenizer of another model?"
                )
            found.append(tokens)
        return found

    def logprob(
        self, documents: Sequence[Document], tokens: Sequence[Tokens], tell: Callable[[int], None] | None = None
    ) -> list[NDArray[np.float32]]:
        """Return natural log p of each scored token of each document; `tell` as in `scores`."""
        out = [np.full(one.count, np.nan, dtype=np.float32) for one in tokens]
        queue = [
            window
            for place, one in enumerate(tokens)
            if one.count
            for window in windows(place, one, self.window, self.stride, self.bos is not None)
        ]
        # Windows of similar length are batched together; the longest come first, so that memory runs out at once or never.
        queue.sort(key=lambda window: -window.inputs.size)
        start = 0
        while start < len(queue):
            length = queue[start].inputs.size
            batch = queue[start : start + max(1, self.batch_tokens // length)]
            found = self._attempt(batch)
            if found is None:
                if len(batch) == 1:
                    raise ScoreError(
                        f"{self.name}: a single window of {length} tokens does not fit in memory; give a smaller window"
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
        """Score a batch, or return None if memory runs out."""
        import torch

        try:
            return self._forward(batch)
        except torch.OutOfMemoryError:
            pass
        # Outside the handler, which keeps the memory of the failed attempt alive.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def _forward(self, batch: list[Window]) -> list[NDArray[np.float32]]:
        """Return log p of the scored tokens of each window; NaN for hidden states that are not finite."""
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
            # Padding is on the right, where causal attention ignores it; the mask is for other layers.
            mask = None if real.all() else torch.from_numpy(real.astype(np.int64)).to(device)
            hidden = hidden_states(self.model, torch.from_numpy(ids).to(device), mask)
            chosen = hidden[torch.from_numpy(keep).to(device)]
            del hidden
            # A softcap would hide infinite hidden states, and the kernels would refuse them without naming the document.
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
    model: Model,
    tokenizer: Tokenizer,
    sample: Sequence[Document],
    *,
    name: str,
    window: int | None,
    stride: int | None,
    bos: str,
    batch_tokens: int | None,
) -> Scorer:
    """Return a scorer after comparing its log-probabilities with the model's own logits on the first document that has tokens."""
    import torch

    tensors = list(model.parameters())
    devices = {str(tensor.device) for tensor in tensors}
    if len(devices) > 1:
        raise ScoreError(f"{name}: the model is on several devices ({', '.join(sorted(devices))}); move it to one")
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
