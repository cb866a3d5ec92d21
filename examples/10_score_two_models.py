"""
Scoring texts with two models
=============================

``mixfast.score`` turns Hugging Face causal language models and texts into a table. The example makes two tiny models on the
spot, trains one on English and one on Python code for a second each, scores three lines of text under both, and prints the
mixture for these lines. It needs torch and transformers: ``pip install 'mixfast[score]'``.
"""

import json
import tempfile
from pathlib import Path

import tokenizers
import torch
import transformers

import mixfast
from mixfast import score

torch.manual_seed(0)
torch.set_num_threads(1)  # threads only slow down a model this small
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
folder = Path(tempfile.mkdtemp())
texts = {
    "english": "The clock on the wall was slow, and nobody in the old house had ever thought of setting it right. ",
    "python": "def total(values):\n    result = 0\n    for value in values:\n        result += value\n    return result\n",
}

# %%
# A tokenizer with one token for each byte, and a small model. Real experts are folders of the same kind.

words = {sign: number for number, sign in enumerate(["<s>", *sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())])}
by_byte = tokenizers.Tokenizer(tokenizers.models.BPE(words, []))
by_byte.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=by_byte, bos_token="<s>")
shape = transformers.GPT2Config(vocab_size=257, n_embd=32, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)

for name, text in texts.items():
    model = transformers.GPT2LMHeadModel(shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    pieces = torch.tensor(tokenizer(text * 20)["input_ids"]).unfold(0, 48, 16)
    for step in range(40):
        batch = pieces[8 * step % 80 : 8 * step % 80 + 8]
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / name)
    print(f"{name}: last training loss {loss.item():.2f} nats per byte")

# %%
# The target has two lines of prose and one of code. One call scores every document under every expert.

target = ["nobody had ever thought of it", "the clock in the old house was right", "    for value in values:"]
(folder / "target.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in target))
table = score.score({name: folder / name for name in texts}, folder / "target.jsonl")
for line, row in zip(target, table.loglik.tolist(), strict=True):
    print(f"{line!r:<40} log p: " + ", ".join(f"{name} {value:.1f}" for name, value in zip(texts, row, strict=True)))

# %%
# Each document counts by the inverse of its length, so the line of code, which is the shortest, counts most, and its expert
# gets more than a third.

print(mixfast.solve(table).summary())
