"""score: tokens of documents by a language model, mixfast against the straightforward loop of transformers.

The model has random weights (Llama, tied head), the tokenizer is made up of words, and documents have lengths drawn from a log-normal law. Both score
the same tokens, and must agree, before a speed is printed. On a GPU the sizes are larger.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import limits
from benchmarks.facts import ROOT
from benchmarks.peers import Contender, lacks
from benchmarks.suite import Wrong, contenders

CPU = {"vocabulary": 8192, "hidden": 128, "layers": 2, "documents": 24, "window": 256, "dtype": "float32"}
CUDA = {"vocabulary": 100_000, "hidden": 256, "layers": 6, "documents": 1024, "window": 1024, "dtype": "bfloat16"}


@dataclass(frozen=True)
class Case:
    """A model, its tokenizer and documents."""

    model: Any
    tokenizer: Any
    texts: list[str]
    window: int

    @property
    def tokens(self) -> int:
        """A tokenizer of words."""
        return sum(text.count(" ") + 1 for text in self.texts)

    @cached_property
    def loglik(self) -> np.ndarray:
        """Compute our log-likelihoods."""
        return ours(self)


def ours(case: Case) -> np.ndarray:
    """Log-likelihoods of the documents."""
    from mixfast.score import score_documents

    return score_documents(case.model, case.tokenizer, case.texts, window=case.window).loglik


@lru_cache(maxsize=1)
def case_of() -> Case:
    """The largest case that suits the device."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers

    # In the root of a checkout, transformers would import our folder `kernels` as the package of that name.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT])
        from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes: dict[str, Any] = CUDA if device == "cuda" else CPU
    words = {"<s>": 0} | {f"w{i}": i for i in range(1, sizes["vocabulary"])}
    made = Tokenizer(models.WordLevel(words, unk_token="<s>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=sizes["vocabulary"],
        hidden_size=sizes["hidden"],
        intermediate_size=sizes["hidden"] * 8 // 3,
        num_hidden_layers=sizes["layers"],
        num_attention_heads=max(sizes["hidden"] // 64, 1),
        max_position_embeddings=sizes["window"],
        tie_word_embeddings=True,
        pad_token_id=None,
    )
    rng, window = np.random.default_rng(0), sizes["window"]
    # The median is half a window; none is longer than a window, because the loop could not score it.
    lengths = np.clip(rng.lognormal(np.log(window / 2), 0.6, sizes["documents"]), 2, window).astype(int)
    texts = [" ".join(f"w{i}" for i in rng.integers(1, sizes["vocabulary"], length)) for length in lengths]
    model = LlamaForCausalLM(config).to(device, getattr(torch, sizes["dtype"])).eval()
    return Case(model, PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>"), texts, window)


@contenders("score", Contender("mixfast", ours, lambda: lacks("torch", "transformers")))
def test_score(measure: Any, contender: Contender) -> None:
    """Tokens per second, and the memory beyond the weights if the system reports it."""
    if reason := lacks("torch", "transformers"):
        pytest.skip(reason)
    case = case_of()
    exact = 1e-5 if str(case.model.dtype) == "torch.float32" else 5e-3
    note = f"adds {peak:.0f} MB" if (peak := limits.peak_megabytes(lambda: contender.run(case))) is not None else ""

    def check(found: np.ndarray) -> dict[str, Any]:
        apart = float(np.abs(found / case.loglik - 1.0).max())
        if apart > exact:
            raise Wrong(f"log-likelihoods differ by {apart:.1e} of their size")
        return {"note": note}

    measure(
        contender, case, group=f"score {case.tokens} tokens on {case.model.device.type}", check=check, rows=len(case.texts),
        per=case.tokens, unit="token",
    )  # fmt: skip
