"""Scoring with Hugging Face models: mixfast against the straightforward loop of transformers, in tokens a second and memory.

    python -m benchmarks.score [--device auto] [--experts 2] [--vocabulary 8192] [--hidden 128] [--layers 2] [--documents 64]

The models have random weights (Llama, tied head), the tokenizer is made up of words, and documents have lengths drawn from a
log-normal law. The loop is what scripts do: batches of 8 documents in their order, padded, cut at the window, all logits in
float32, log-softmax, gather. Both score the same tokens, and must agree, before a speed is printed. On a GPU the defaults are 8
experts of 30 M parameters and 100 000 tokens, bfloat16. Loading is left out of both; memory is the peak while scoring, beyond the
weights on a GPU and of the process on a CPU, where each way is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

from mixfast.score import _experts, score_documents

# Sizes by device: what is left out on the command line.
_CPU = {
    "experts": 2,
    "vocabulary": 16384,
    "hidden": 128,
    "layers": 2,
    "documents": 96,
    "window": 512,
    "dtype": "float32",
}
_CUDA = {
    "experts": 8,
    "vocabulary": 100_000,
    "hidden": 256,
    "layers": 6,
    "documents": 4096,
    "window": 1024,
    "dtype": "bfloat16",
}
_LOOP_BATCH = 8


def tokenizer(vocabulary: int) -> Any:
    """A tokenizer of whole words: w0, w1, ... and a BOS."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<s>": 0} | {f"w{i}": i for i in range(1, vocabulary)}
    made = Tokenizer(models.WordLevel(words, unk_token="<s>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>")


def model(options: argparse.Namespace, seed: int) -> Any:
    """A Llama of random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=options.vocabulary,
        hidden_size=options.hidden,
        intermediate_size=options.hidden * 8 // 3,
        num_hidden_layers=options.layers,
        num_attention_heads=max(options.hidden // 64, 1),
        max_position_embeddings=options.window,
        tie_word_embeddings=True,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config).to(options.device, getattr(torch, options.dtype)).eval()


def documents(options: argparse.Namespace) -> list[str]:
    """Texts of half a window in the median; none is longer than one, which the loop could not score."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(options.window / 2), 0.6, options.documents), 2, options.window).astype(int)
    return [" ".join(f"w{i}" for i in rng.integers(1, options.vocabulary, length)) for length in lengths]


def loop(made: Any, words: Any, texts: list[str]) -> np.ndarray:
    """Log-likelihoods of texts the straightforward way."""
    import torch

    out = []
    for start in range(0, len(texts), _LOOP_BATCH):
        ids = [torch.tensor([0, *words(text)["input_ids"]]) for text in texts[start : start + _LOOP_BATCH]]
        batch = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=0).to(made.device)
        sizes = torch.tensor([one.numel() for one in ids], device=made.device)
        mask = torch.arange(batch.shape[1], device=made.device) < sizes[:, None]
        with torch.inference_mode():
            logits = made(batch[:, :-1], attention_mask=mask[:, :-1].long(), use_cache=False).logits.float()
            values = logits.log_softmax(dim=2).gather(2, batch[:, 1:, None]).squeeze(2)
            out.append((values.double() * mask[:, 1:]).sum(dim=1).cpu().numpy())
    return np.concatenate(out)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds, peak memory and answers of one way, over all experts."""
    import torch

    words, texts = tokenizer(options.vocabulary), documents(options)
    cuda = options.device != "cpu"
    seconds, peak, answers = 0.0, 0, []
    for seed in range(options.experts):
        made = model(options, seed)

        def run(some: list[str], made: Any = made) -> np.ndarray:
            if options.way == "loop":
                return loop(made, words, some)
            return score_documents(made, words, some, window=options.window).loglik

        run(texts[:_LOOP_BATCH])
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        weights = torch.cuda.memory_allocated() if cuda else 0
        began = time.perf_counter()
        answers.append(run(texts).tolist())
        seconds += time.perf_counter() - began
        peak = max(peak, torch.cuda.max_memory_allocated() - weights if cuda else 0)
        parameters = sum(one.numel() for one in made.parameters())
        del made, run
    if not cuda:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    tokens = sum(text.count(" ") + 1 for text in texts) * options.experts
    return {"seconds": seconds, "peak": peak, "answers": answers, "tokens": tokens, "parameters": parameters}


def main() -> int:
    """Measure both ways in processes of their own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    for name in ("experts", "vocabulary", "hidden", "layers", "documents", "window"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--way", choices=["mixfast", "loop"], help="measure only this and print JSON")
    options = parser.parse_args()
    options.device = _experts.device_of(options.device)
    for name, value in (_CPU if options.device == "cpu" else _CUDA).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.way:
        print(json.dumps(measure(options)))
        return 0
    sizes = [f"--{name}={getattr(options, name)}" for name in _CPU]
    found = {}
    for way in ("mixfast", "loop"):
        command = [sys.executable, "-m", "benchmarks.score", f"--device={options.device}", *sizes, f"--way={way}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{way} could not run: {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
            continue
        found[way] = json.loads(done.stdout.splitlines()[-1])
    if not found:
        return 1
    one = next(iter(found.values()))
    print(
        f"{options.experts} experts of {one['parameters'] / 1e6:.1f} M parameters, {options.vocabulary} tokens, {options.dtype}, "
        f"{options.device}, {one['tokens']} tokens scored"
    )
    if len(found) == 2:
        ours, theirs = (np.array(found[way]["answers"]) for way in ("mixfast", "loop"))
        apart = float(np.abs((ours - theirs) / theirs).max())
        print(f"largest relative difference of a document's log-likelihood: {apart:.1e}")
        if apart > (1e-5 if options.dtype == "float32" else 5e-3):
            print("they differ: no speed is printed")
            return 1
    for way, it in found.items():
        print(
            f"{way:8} {it['tokens'] / it['seconds']:12,.0f} tokens/s  {it['seconds']:8.2f} s  peak {it['peak'] / 1e9:.2f} GB"
        )
    if len(found) == 2:
        print(f"ratio {found['loop']['seconds'] / found['mixfast']['seconds']:.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
