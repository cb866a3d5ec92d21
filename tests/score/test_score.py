"""Scoring with Hugging Face models equals the models' own log-softmax for any batches, windows, shards and ranks."""

import gc
import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
import weakref
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from mixfast import ExpertTable, mde
from mixfast import score as scoring
from mixfast.cli import _score
from mixfast.errors import BackendError, MixfastError, MixfastWarning, ScoreError
from mixfast.score import (
    Document,
    _head,
    _loading,
    _plan,
    _result,
    _run,
    _scorer,
    _shards,
    read_texts,
    score,
    score_documents,
)
from mixfast.score._tokens import Tokens
from mixfast.score._windows import windows
from mixfast.tables import Manifest

torch = pytest.importorskip("torch", reason="scoring needs torch: pip install 'mixfast[score]'")
pytest.importorskip("transformers", reason="scoring needs transformers: pip install 'mixfast[score]'")
# Started in the root of a checkout, transformers would take our folder `kernels` for a package of that name.
transformers = _loading.load_transformers()

ROOT = Path(__file__).resolve().parents[2]
KINDS = ["llama", "gpt_neox", "gemma2", "qwen2", "olmo2", "cohere", "granite"]
WINDOW = 24

TEXTS = [
    "the cat sat on the mat and the dog sat on the log, while a bird sang in the tree",
    "naïve café: 12 \N{MULTIPLICATION SIGN} 3 = 36 — déjà vu \N{GRINNING FACE}",
    "a",
    "def main(): return 0\n\nprint(main())\n",
    "on and on " * 30,
    "mat log dog cat",
]
DOCUMENTS = [Document(text, name=f"text {place}") for place, text in enumerate(TEXTS)]


def make_tokenizer(size=300, bos="<s>"):
    """Return a byte-level BPE trained on the texts; another size gives another tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(TEXTS * 3, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token=bos, eos_token="</s>")


def make_model(kind, seed=0, vocabulary=320, **changes):
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        # Far larger than usual, so that the logits are large enough for a softcap or a scale to have an effect.
        "initializer_range": 0.4,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": None,
    }
    special = {
        "gemma2": {"head_dim": 8, "final_logit_softcapping": 4.0, "num_key_value_heads": 2, "sliding_window": 16},
        "qwen2": {"tie_word_embeddings": True, "num_key_value_heads": 2},
        "llama": {"tie_word_embeddings": False, "num_key_value_heads": 2},
        "cohere": {"logit_scale": 0.25, "num_key_value_heads": 2},
        "granite": {"logits_scaling": 2.0, "num_key_value_heads": 2},
    }
    config = transformers.AutoConfig.for_model(kind, **{**sizes, **special.get(kind, {}), **changes})
    return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def reference(model, ids, first, window, stride, bos):
    """Return log p of each token from `first` on: one forward pass for each, over the window given by the rules."""
    out = []
    for t in range(first, len(ids)):
        start = 0 if t <= window else -(-(t - window) // stride) * stride
        context = list(ids[start:t])
        if bos and start:
            context[0] = ids[0]
        with torch.inference_mode():
            logits = model(torch.tensor([context])).logits[0, -1].double()
        out.append(float(logits.log_softmax(0)[ids[t]]))
    return np.array(out)


def expected(model, tokenizer, text, window=WINDOW, stride=10):
    ids = [0, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    return reference(model, ids, 1, window, stride, True)


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tokenizer):
    """Return folders of two experts of different kinds and a third with another tokenizer."""
    root = tmp_path_factory.mktemp("runs")
    for name, kind, tok in [
        ("web", "llama", tokenizer),
        ("code", "qwen2", tokenizer),
        ("odd", "gpt_neox", make_tokenizer(280)),
    ]:
        make_model(kind, seed=len(name)).save_pretrained(root / name)
        tok.save_pretrained(root / name)
    return root


@pytest.fixture(scope="module")
def pair(runs):
    return [runs / "web", runs / "code"]


@pytest.fixture(scope="module")
def truth(pair):
    """Return the table of the two experts at both levels, computed without files, in small batches."""
    return {level: score(pair, DOCUMENTS, level=level, window=WINDOW, stride=10) for level in ("sequence", "token")}


def same(a, b, tolerance=1e-4):
    assert a.domains == b.domains
    assert a.group_names == b.group_names
    for field in ("length", "bytes", "sequence", "group"):
        assert np.array_equal(getattr(a, field), getattr(b, field)), field
    assert np.allclose(a.loglik, b.loglik, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_every_token_is_as_the_model_says(kind, tokenizer):
    model = make_model(kind)
    found = score_documents(model, tokenizer, DOCUMENTS, window=WINDOW, stride=10, batch_tokens=100)
    want = [expected(model, tokenizer, text) for text in TEXTS]
    assert found.count.tolist() == [len(values) for values in want]
    assert np.abs(found.logprob - np.concatenate(want)).max() < 1e-5
    # Uniform predictions would hide any mistake.
    assert found.logprob.std() > 0.5
    assert np.allclose(found.loglik, [values.sum() for values in want], atol=1e-4)


@pytest.mark.parametrize("budget", [1, 40, 100_000])
def test_batches_change_nothing(budget, tokenizer):
    model = make_model("llama")
    whole = score_documents(model, tokenizer, DOCUMENTS, window=WINDOW, stride=10)
    parts = score_documents(model, tokenizer, DOCUMENTS, window=WINDOW, stride=10, batch_tokens=budget)
    alone = [score_documents(model, tokenizer, [one], window=WINDOW, stride=10).logprob for one in DOCUMENTS]
    assert np.allclose(parts.logprob, whole.logprob, rtol=0, atol=1e-5)
    assert np.allclose(np.concatenate(alone), whole.logprob, rtol=0, atol=1e-5)


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize(("window", "stride"), [(2, 1), (5, 5), (8, 3), (8, 8), (100, 50)])
def test_windows_score_each_token_once_with_enough_before_it(window, stride, bos):
    for n in range(2, 40):
        for first in range(1, n):
            tokens = Tokens(np.arange(n), first, n, None)
            place = first
            for one in windows(0, tokens, window, stride, bos):
                assert one.inputs.size <= window
                scored = one.targets[one.first :]
                assert scored.tolist() == list(range(place, place + scored.size))
                assert one.at == place - first
                for target, before in zip(scored, range(one.first + 1, window + 1), strict=False):
                    context = one.inputs[:before]
                    assert context[-1] == target - 1 or (bos and context.size == 1)
                    real = context.size - (bos and one.inputs[0] == 0)
                    assert real >= min(window - stride, target - bos)
                place += scored.size
            assert place == n


def test_a_small_chunk_of_logits_is_the_same(tokenizer, monkeypatch):
    model = make_model("gemma2")
    whole = score_documents(model, tokenizer, DOCUMENTS, window=WINDOW)
    monkeypatch.setattr(_head, "_CHUNK", 1000)
    assert np.allclose(score_documents(model, tokenizer, DOCUMENTS, window=WINDOW).logprob, whole.logprob, atol=1e-6)


def test_a_head_with_a_bias(tokenizer):
    model = make_model("phi", num_key_value_heads=4, partial_rotary_factor=0.5)
    torch.nn.init.normal_(model.lm_head.bias)
    found = score_documents(model, tokenizer, DOCUMENTS[:1], window=64)
    assert np.abs(found.logprob - expected(model, tokenizer, TEXTS[0], 64)).max() < 1e-5


def test_on_a_gpu_the_kernel_is_called_with_the_head(monkeypatch):
    seen = {}

    class Hidden:
        device = torch.device("cuda")

    class Kernels:
        @staticmethod
        def token_logprob(hidden, head, target, *, bias=None, softcap=None, scale=1.0, ignore_index=-100):
            seen.update(hidden=hidden, head=head, target=target, bias=bias, softcap=softcap, scale=scale)
            return "answer"

    monkeypatch.setattr(_head.backend, "gpu_kernels", lambda: Kernels)
    hidden = Hidden()
    head = _head.Head("tiny", "weight", "bias", 30.0, 0.5)
    assert head.logprob(hidden, "target") == "answer"
    assert seen == {
        "hidden": hidden,
        "head": "weight",
        "target": "target",
        "bias": "bias",
        "softcap": 30.0,
        "scale": 0.5,
    }

    def refuse(*args, **kwargs):
        raise ValueError("expert 0: head is NaN")

    monkeypatch.setattr(Kernels, "token_logprob", refuse)
    with pytest.raises(ScoreError, match="tiny: the head cannot be computed on cuda: expert 0: head is NaN"):
        head.logprob(hidden, "target")


# Models that are refused.


def test_a_head_that_is_not_supported_is_refused(tokenizer):
    model = make_model("cohere")
    model.config.logit_scale = 1.0
    with pytest.raises(ScoreError, match=r"tiny: log-probabilities .* differ .*CohereForCausalLM changes its logits"):
        score_documents(model, tokenizer, DOCUMENTS, name="tiny")


def test_no_head(tokenizer):
    model = make_model("llama")
    model.lm_head = None
    with pytest.raises(ScoreError, match="tiny: LlamaForCausalLM has no output embeddings"):
        score_documents(model, tokenizer, DOCUMENTS, name="tiny")


def test_tokens_that_the_model_does_not_know(tokenizer):
    with pytest.raises(ScoreError, match=r"tiny: text 0 has the token .*knows 200 tokens and its tokenizer 300"):
        score_documents(make_model("llama", vocabulary=200), tokenizer, DOCUMENTS, name="tiny")


def test_hidden_states_that_are_not_finite_name_the_document(tokenizer):
    model = make_model("llama")
    damaged = tokenizer(" bird", add_special_tokens=False)["input_ids"][-1]
    assert damaged not in tokenizer(TEXTS[5])["input_ids"]
    with torch.no_grad():
        model.model.embed_tokens.weight[damaged] = torch.nan
    with pytest.raises(ScoreError, match=r"tiny: hidden states are not finite .* of text 0"):
        score_documents(model, tokenizer, [DOCUMENTS[5], DOCUMENTS[0]], name="tiny")
    with torch.no_grad():
        model.model.embed_tokens.weight[:] = torch.nan
    with pytest.raises(ScoreError, match=r"tiny: hidden states are not finite .* first tokens"):
        score_documents(model, tokenizer, DOCUMENTS, name="tiny")


def test_a_head_that_is_not_finite_is_told_from_one_that_is_not_understood(tokenizer):
    model = make_model("llama")
    with torch.no_grad():
        model.lm_head.weight[[7, 9], 3] = torch.nan
    with pytest.raises(ScoreError, match=r"tiny: the head \(lm_head\) is not finite .* for 2 tokens: 7, 9"):
        score_documents(model, tokenizer, DOCUMENTS, name="tiny")


def spied(monkeypatch, change=lambda hidden: hidden):
    """Return the masks of the batches; their hidden states may be changed after the check at the start."""
    real, masks = _head.hidden_states, []

    def hidden_states(model, ids, mask):
        masks.append((ids, mask))
        return change(real(model, ids, mask))

    monkeypatch.setattr("mixfast.score._scorer.hidden_states", hidden_states)
    return masks


def test_a_softcap_does_not_hide_infinite_hidden_states(tokenizer, monkeypatch):
    def overflow(hidden):
        hidden[-1, 3, 0] = torch.inf
        return hidden

    spied(monkeypatch, overflow)
    with pytest.raises(ScoreError, match=r"tiny: hidden states are not finite .* at 1 of"):
        score_documents(make_model("gemma2"), tokenizer, DOCUMENTS[:1], name="tiny", window=64)


def test_the_head_is_not_asked_about_hidden_states_that_are_not_finite(tokenizer, monkeypatch):
    """A GPU's kernels refuse them, but cannot name the expert and document."""
    real = _head.Head.logprob

    def strict(head, hidden, target):
        if not torch.isfinite(hidden).all():
            raise ValueError("hidden is NaN")
        return real(head, hidden, target)

    monkeypatch.setattr(_head.Head, "logprob", strict)
    spied(monkeypatch, lambda hidden: hidden.index_fill(1, torch.tensor([2]), torch.nan))
    with pytest.raises(ScoreError, match=r"tiny: hidden states are not finite .* at 1 of \d+ tokens of text 0"):
        score_documents(make_model("llama"), tokenizer, DOCUMENTS[:1], name="tiny", window=64)


def test_padding_is_masked(tokenizer, monkeypatch):
    masks = spied(monkeypatch)
    short = [text for text in TEXTS if len(text) < 100]
    score_documents(make_model("llama"), tokenizer, short, window=64)
    ((ids, mask),) = masks
    # The last token is only a target, and the BOS precedes the first.
    assert sorted(mask.sum(dim=1).tolist()) == sorted(len(tokenizer(text)["input_ids"]) for text in short)
    assert (mask[:, 1:] <= mask[:, :-1]).all()
    assert not ids[mask == 0].any()


def test_half_precision_is_that_of_the_model(tokenizer):
    model = make_model("llama")
    exact = score_documents(model, tokenizer, DOCUMENTS[:2], window=64)
    half = score_documents(model.to(torch.bfloat16), tokenizer, DOCUMENTS[:2], window=64)
    assert half.logprob.dtype == np.float32
    assert 0 < np.abs(half.logprob - exact.logprob).max() < 0.5


def test_mixed_types_and_devices(tokenizer):
    model = make_model("llama")
    model.lm_head.to(torch.float64)
    with pytest.raises(
        ScoreError, match=r"tiny: hidden states are torch.float32 on cpu, but the head is torch.float64"
    ):
        score_documents(model, tokenizer, DOCUMENTS, name="tiny")
    model = make_model("llama")
    model.model.layers[1].to(torch.bfloat16)
    with pytest.raises(ScoreError, match="tiny: the backbone of LlamaForCausalLM fails on the first tokens"):
        score_documents(model, tokenizer, DOCUMENTS, name="tiny")
    model.lm_head.to("meta")
    with pytest.raises(ScoreError, match="tiny: the model is on several devices"):
        score_documents(model, tokenizer, DOCUMENTS, name="tiny")


def test_the_model_is_left_as_it_was(tokenizer):
    model = make_model("llama").train()
    score_documents(model, tokenizer, DOCUMENTS[:1])
    assert model.training
    assert all(one.requires_grad for one in model.parameters())


# Memory.


def run_out_above(monkeypatch, limit):
    """Make the forward pass fail above this number of tokens, as on a GPU that runs out of memory."""
    real, sizes = _head.hidden_states, []

    def limited(model, ids, mask):
        if ids.numel() > limit:
            raise torch.OutOfMemoryError("injected")
        sizes.append(ids.numel())
        return real(model, ids, mask)

    monkeypatch.setattr("mixfast.score._scorer.hidden_states", limited)
    return sizes


def test_running_out_of_memory_halves_the_batch(tokenizer, monkeypatch):
    model = make_model("llama")
    whole = score_documents(model, tokenizer, DOCUMENTS, window=WINDOW, stride=10)
    sizes = run_out_above(monkeypatch, 80)
    found = score_documents(model, tokenizer, DOCUMENTS, window=WINDOW, stride=10, batch_tokens=1000)
    assert np.allclose(found.logprob, whole.logprob, rtol=0, atol=1e-5)
    assert max(sizes) > WINDOW  # batches of one would also work but be slow
    run_out_above(monkeypatch, 10)
    with pytest.raises(ScoreError, match=f"tiny: a single window of {WINDOW} tokens does not fit in memory"):
        score_documents(model, tokenizer, DOCUMENTS, window=WINDOW, name="tiny")


# Scored units: BOS, bytes, prompts.


def test_without_a_bos_the_first_token_is_not_scored(tokenizer):
    model = make_model("llama")
    found = score_documents(model, tokenizer, DOCUMENTS, window=64, bos="none")
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    assert found.count.tolist() == [len(one) - 1 for one in ids]
    want = reference(model, ids[0], 1, 64, 32, False)
    assert np.abs(found.logprob[: want.size] - want).max() < 1e-5
    first = [len(tokenizer.decode(one[:1]).encode()) for one in ids]
    ascii_only = [place for place, text in enumerate(TEXTS) if text.isascii()]
    assert [found.n_bytes[p] for p in ascii_only] == [len(TEXTS[p]) - first[p] for p in ascii_only]
    # The BOS given by name is the default BOS.
    named = score_documents(model, tokenizer, DOCUMENTS, window=64, bos="<s>")
    assert np.array_equal(named.logprob, score_documents(model, tokenizer, DOCUMENTS, window=64).logprob)
    with pytest.raises(ScoreError, match="tiny: its tokenizer has no token '<nope>'"):
        score_documents(model, tokenizer, DOCUMENTS, bos="<nope>", name="tiny")


def test_a_tokenizer_that_does_not_say_where_its_tokens_are():
    # One byte per token, no BOS, no offsets.
    slow = transformers.ByT5Tokenizer()
    assert not slow.is_fast
    documents = [TEXTS[0], Document("ab", prompt="cd"), "x"]
    found = score_documents(make_model("llama", vocabulary=400), slow, documents)
    assert found.count.tolist() == found.n_bytes.tolist() == [len(TEXTS[0]) - 1, 2, 0]
    assert found.token_bytes is None


def test_bytes_are_those_of_utf8(tokenizer):
    found = score_documents(make_model("llama"), tokenizer, DOCUMENTS)
    assert found.n_bytes.tolist() == [len(text.encode()) for text in TEXTS]
    assert found.token_bytes.size == found.count.sum()
    assert np.add.reduceat(found.token_bytes, np.cumsum(found.count) - found.count).tolist() == found.n_bytes.tolist()
    # A token that is the only one on its characters gets their bytes.
    for token, size in zip(tokenizer(TEXTS[0])["input_ids"], found.token_bytes, strict=False):
        assert len(tokenizer.decode([token])) == size


@pytest.mark.parametrize("gap", ["", " "])
def test_an_answer_after_its_prompt(gap, tokenizer):
    model = make_model("llama")
    prompt, answer = "the cat sat on" + gap, "the mat and the log" if gap else " the mat and the log"
    found = score_documents(
        model, tokenizer, [Document(answer, prompt=prompt), Document("dog", prompt="cat")], window=64
    )
    whole = [0, *tokenizer(prompt + answer)["input_ids"]]
    # In both cases the space belongs to the following word.
    start = 1 + len(tokenizer("the cat sat on")["input_ids"])
    want = reference(model, whole, start, 64, 32, True)
    assert found.count[0] == want.size
    assert np.abs(found.logprob[: want.size] - want).max() < 1e-5
    assert found.n_bytes.tolist() == [len(answer), 3]
    # log p(answer | prompt) is a difference of log p of texts.
    full = score_documents(model, tokenizer, [prompt + answer, "the cat sat on"], window=64)
    assert found.loglik[0] == pytest.approx(full.loglik[0] - full.loglik[1], abs=1e-4)


def test_a_long_prompt_gives_the_answer_a_full_window(tokenizer):
    model = make_model("llama")
    prompt = "on and on " * 12
    found = score_documents(model, tokenizer, [Document("dog", prompt=prompt)], window=WINDOW, stride=10)
    ids = [0, *tokenizer(prompt + "dog")["input_ids"]]
    want = reference(model, ids, len(ids) - found.count[0], WINDOW, 10, True)
    assert np.abs(found.logprob - want).max() < 1e-5


# Whole tables.


def test_tables_hold_what_the_experts_say(pair, truth, tokenizer):
    models = [transformers.AutoModelForCausalLM.from_pretrained(path) for path in pair]
    want = [np.concatenate([expected(model, tokenizer, text) for text in TEXTS]) for model in models]
    token = truth["token"]
    assert token.domains == ("web", "code")
    assert np.abs(token.loglik - np.stack(want, axis=1)).max() < 1e-5
    assert token.length is None
    assert token.bytes.sum() == sum(len(text.encode()) for text in TEXTS)
    sequence = truth["sequence"]
    assert sequence.dtype == np.float64
    assert sequence.length.tolist() == np.bincount(token.sequence).tolist()
    assert np.allclose(
        sequence.loglik, [token.loglik[token.sequence == i].sum(axis=0) for i in range(len(TEXTS))], atol=1e-4
    )


def test_a_table_keeps_its_bytes(truth, tmp_path):
    table = truth["sequence"]
    table.save(tmp_path / "table.npz")
    same(ExpertTable.load(tmp_path / "table.npz"), table, 0.0)
    assert table.rows([3, 1]).bytes.tolist() == table.bytes[[3, 1]].tolist()
    assert table.select(["code"]).bytes is table.bytes
    stacked = mde.stack({"a": table, "b": table})
    assert stacked.bytes.tolist() == table.bytes.tolist() * 2
    grouped = ExpertTable.from_loglik(table.loglik, group=[1, 0, 1, 0, 1, 0], bytes=np.arange(6))
    assert grouped.bytes.tolist() == [1, 3, 5, 0, 2, 4]
    for wrong, what in [([-1] * 6, "bytes is negative"), ([1.5] * 6, "must be integers"), ([1], "expected \\(6,\\)")]:
        with pytest.raises(MixfastError, match=what):
            ExpertTable.from_loglik(table.loglik, bytes=wrong)


def test_per_byte_divides_by_bytes(pair, truth):
    table = score(pair, DOCUMENTS, per="byte", window=WINDOW, stride=10)
    assert table.length.tolist() == truth["sequence"].bytes.tolist()
    assert np.allclose(table.loglik, truth["sequence"].loglik, atol=1e-4)


def test_groups_and_pairs_from_a_mapping(pair):
    table = score(pair, {"a": ["cat", "dog"], "b": [("the cat", " sat")]})
    assert table.group_names == ("a", "b")
    assert table.group.tolist() == [0, 0, 1]


def test_documents_without_a_token_are_named_and_left_out(pair, tmp_path):
    with pytest.warns(MixfastWarning, match=r"2 of 4 documents are left out.*a\[1\], a\[3\]"):
        table = score(pair, {"a": ["cat", "", "dog", ""]})
    assert len(table) == 2
    with pytest.warns(MixfastWarning, match=r"1 of 2 documents are left out.*a\[0\]"):
        assert len(score(pair, {"a": ["a", TEXTS[0]]}, bos="none", level="token")) > 9
    with pytest.raises(ScoreError, match="no document can be scored"):
        score(pair, {"a": ["", ""]}, out=tmp_path / "t.npz")
    # The files that this left must not disturb other runs.
    assert len(score(pair, {"a": ["cat", "dog"]}, out=tmp_path / "t.npz")) == 2


def test_a_document_that_is_too_long_to_be_meant_is_named(pair, monkeypatch):
    monkeypatch.setattr(_plan, "_LONG", 100)
    with pytest.warns(MixfastWarning, match=r"characters: text 4; the tokenizer takes about .* --lines"):
        score(pair, DOCUMENTS)


def test_only_the_start_of_a_long_document_is_tokenized_to_check_a_model(tokenizer, monkeypatch):
    seen = []
    real = _scorer.Scorer.tokens
    monkeypatch.setattr(_scorer.Scorer, "tokens", lambda self, some: seen.append(some) or real(self, some))
    score_documents(make_model("llama"), tokenizer, ["cat " * 5000], window=64)
    assert [len(some[0].text) for some in seen] == [4096, 20000]


def test_different_tokenizers_are_compared_per_byte(runs, pair, tmp_path):
    three = [*pair, runs / "odd"]
    with pytest.warns(MixfastWarning, match=r"different tokenizers \(web, code; odd\): lengths are in UTF-8 bytes"):
        table = score(three, DOCUMENTS)
    assert table.length.tolist() == [len(text.encode()) for text in TEXTS]
    with pytest.raises(ScoreError, match=r"different tokenizers .*level \"sequence\""):
        score(three, DOCUMENTS, level="token")
    with pytest.raises(ScoreError, match='give per "byte"'):
        score(three, DOCUMENTS, per="token")
    with pytest.raises(ScoreError, match="score different text; give a bos"):
        score(three, DOCUMENTS, bos="none")
    # The same tokenizer in another folder, with other settings for BOS and EOS, counts as the same tokenizer.
    other = tmp_path / "code"
    shutil.copytree(runs / "code", other)
    file = other / "tokenizer.json"
    kept = json.loads(file.read_text())
    kept["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    file.write_text(json.dumps(kept))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score([pair[0], other], DOCUMENTS).length.tolist() != table.length.tolist()


def test_a_bos_that_only_some_have(runs, pair, tmp_path):
    shutil.copytree(runs / "code", tmp_path / "code")
    make_tokenizer(bos=None).save_pretrained(tmp_path / "code")
    with pytest.raises(ScoreError, match="the tokenizers of code have no BOS token"):
        score([pair[0], tmp_path / "code"], DOCUMENTS)
    assert len(score([pair[0], tmp_path / "code"], DOCUMENTS, bos="<s>")) == len(DOCUMENTS)


# Folders that contain no expert.


ADAPTER = '{"peft_type": "LORA", "base_model_name_or_path": "../my base", "r": 8}'


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"adapter_config.json": ADAPTER},
            r"is an adapter \(PEFT, such as LoRA\), expected the folder .*lacks the adapter's own weights.* into its base model \(../my base\).* pip install peft && python -c",
        ),
        (
            {"adapter_config.json": ADAPTER, "adapter_model.safetensors": "x"},
            r"such as LoRA\), expected the folder of a Hugging Face model, which has a config.json; merge it",
        ),
        ({"model-q4.gguf": "GGUF"}, "holds a GGUF model of llama.cpp, expected the folder of a Hugging Face model"),
        ({"last.ckpt": "x"}, r"holds a checkpoint of Lightning.* call save_pretrained\(FOLDER\)"),
        ({"model.nemo": "x"}, "holds a checkpoint of NeMo"),
        ({"__0_0.distcp": "x"}, "holds a distributed checkpoint of PyTorch"),
        ({"latest_checkpointed_iteration.txt": "5", "iter_0000005": {}}, "holds a checkpoint of Megatron-LM"),
        (
            {"pytorch_model-00001-of-00002.bin": "x"},
            r"has weights \(pytorch_model-00001-of-00002.bin\) but no config.json.* copy config.json",
        ),
        ({"model.safetensors": "x"}, r"has weights \(model.safetensors\)"),
        (
            {"checkpoint-10": {"config.json": "{}"}, "checkpoint-20": {"config.json": "{}"}},
            "give one of them, such as .*checkpoint-20",
        ),
        ({}, "is not the folder of a Hugging Face model: it has no config.json"),
        (
            "GGUF\x03",
            "expert expert: .*expert is a GGUF model, expected the folder .*give the folder that it was converted from",
        ),
        ("some text", "is a text file, expected the folder of a Hugging Face model"),
    ],
)
def test_what_holds_no_model_is_named_with_what_to_do(tmp_path, files, words):
    def write(path, content):
        if isinstance(content, str):
            path.write_text(content)
            return
        path.mkdir()
        for name, each in content.items():
            write(path / name, each)

    write(tmp_path / "expert", files)
    with pytest.raises(ScoreError, match=words):
        score([tmp_path / "expert"], DOCUMENTS)


def test_wrong_folders(runs, tmp_path):
    def refused(match, *paths, **named):
        with pytest.raises(ScoreError, match=match):
            score(named or list(paths), DOCUMENTS)

    refused("there is no folder", tmp_path / "missing")
    refused(r"expert .* no config.json", tmp_path)
    refused("experts is empty", *[])
    refused("several experts are called web", runs / "web", runs / "code" / ".." / "web")
    with pytest.raises(ScoreError, match="give a list of folders"):
        score(str(runs / "web"), DOCUMENTS)

    def damaged(name, change):
        shutil.copytree(runs / "web", tmp_path / name)
        change(tmp_path / name)
        return tmp_path / name

    def shortened(path):
        file = path / "model.safetensors"
        os.truncate(file, file.stat().st_size - 10)

    refused(r"expert short: .*model.safetensors has .* bytes, but its header states", damaged("short", shortened))
    refused(
        r"expert tiny: .*no readable header", damaged("tiny", lambda path: os.truncate(path / "model.safetensors", 5))
    )

    def indexed(path):
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-00002.safetensors"}}))

    refused(r"expert index: .* names model-00002.safetensors, but", damaged("index", indexed))
    refused(
        "expert bare: the causal language model", damaged("bare", lambda path: (path / "model.safetensors").unlink())
    )
    refused(
        "expert untold: the tokenizer",
        damaged("untold", lambda path: [(path / f"tokenizer{end}").unlink() for end in (".json", "_config.json")]),
    )
    refused(
        r"expert config: .*config.json cannot be read",
        damaged("config", lambda path: (path / "config.json").write_text("{")),
    )

    def headless(path):
        from safetensors.torch import load_file, save_file

        weights = load_file(path / "model.safetensors")
        del weights["lm_head.weight"]
        save_file(weights, path / "model.safetensors", metadata={"format": "pt"})

    refused(r"expert headless: .* lack lm_head.weight, .*no head", damaged("headless", headless))

    def exchanged(path):
        make_model("llama", vocabulary=200).save_pretrained(path)

    refused("expert exchanged: text 0 has the token", damaged("exchanged", exchanged))


def test_settings_that_mean_nothing(pair, tmp_path, monkeypatch):
    def refused(match, error=ScoreError, **settings):
        with pytest.raises(error, match=match):
            score(pair, DOCUMENTS, **settings)

    refused("level is 'word'", level="word")
    refused("per is 'word'", per="word")
    refused('per "byte" needs level', level="token", per="byte")
    refused("window is 1 ", window=1)
    refused("stride 9;", window=8, stride=9)
    refused(r"window is 65 tokens, longer than the context of expert web \(64\), expert code", window=65)
    refused("batch_tokens is 0", batch_tokens=0)
    refused("dtype is 'int8'", dtype="int8")
    refused("device is 'tpu'", BackendError, device="tpu")
    refused(
        r"out is .*table\.csv: a table is written as a folder, .* name it table or table\.npz",
        out=tmp_path / "table.csv",
    )
    refused("there is no folder", out=tmp_path / "a" / "table.npz")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused("finds no CUDA device", BackendError, device="cuda")
    with pytest.raises(ScoreError, match="sequence of Document, got list"):
        score(pair, ["text"])


def test_the_gpu_of_a_rank(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert _loading.device_of("auto") == "cuda:3"
    assert _loading.device_of("cuda:1") == "cuda:1"
    with pytest.raises(BackendError, match="device cuda:7 does not exist: torch finds 4"):
        _loading.device_of("cuda:7")
    assert _loading.dtype_of("auto", "cuda:3") == "auto"


# Texts.


def test_texts_of_files_and_folders(tmp_path):
    (tmp_path / "news.txt").write_bytes("Ünicode\r\nsecond\n".encode())
    (tmp_path / "asked.jsonl").write_text(
        '{"q": "2+2?", "a": " 4", "text": "x"}\n\n{"q": "3?", "a": "y", "text": "z"}\n'
    )
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "b.txt").write_text("b")
    (tmp_path / "deep" / "er" / "a.txt").write_text("a")
    (tmp_path / ".hidden.txt").write_text("no")
    whole = read_texts(tmp_path)
    assert [(one.text, one.name, one.group) for one in whole] == [
        ("x", "asked.jsonl:1", "asked"),
        ("z", "asked.jsonl:3", "asked"),
        ("b", "deep/b.txt", "deep"),
        ("a", "deep/er/a.txt", "deep"),
        ("Ünicode\r\nsecond\n", "news.txt", "news"),
    ]
    assert [one.text for one in read_texts(tmp_path / "news.txt", lines=True)] == ["Ünicode", "second"]
    asked = read_texts(tmp_path / "asked.jsonl", field="a", prompt="q")
    assert [(one.prompt, one.text) for one in asked] == [("2+2?", " 4"), ("3?", "y")]
    (tmp_path / "notes.md").write_text("no")
    with pytest.warns(MixfastWarning, match=r"left out.*notes.md"):
        assert len(read_texts(tmp_path)) == 5


def test_texts_of_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="parquet needs pyarrow: pip install 'mixfast[io]'")
    import pyarrow.parquet as parquet

    parquet.write_table(pa.table({"text": ["one", "two"], "n": [1, 2]}), tmp_path / "t.parquet")
    assert [(one.text, one.name) for one in read_texts(tmp_path / "t.parquet")] == [
        ("one", "t.parquet:1"),
        ("two", "t.parquet:2"),
    ]
    with pytest.raises(ScoreError, match=r"row 1 has no field 'body'; its fields are text, n"):
        read_texts(tmp_path / "t.parquet", field="body")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(ScoreError, match=r"bad.parquet cannot be read as parquet"):
        read_texts(tmp_path / "bad.parquet")


RECORDS = [{"text": "one"}, {"text": "zwei ü"}, {"text": "three"}]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS)


def packed(ending, data):
    if ending == ".gz":
        # Two members, as in concatenated files.
        return gzip.compress(data[:10]) + gzip.compress(data[10:])
    if ending == ".zst":
        zstandard = pytest.importorskip("zstandard", reason="zstd needs zstandard: pip install 'mixfast[io]'")
        return zstandard.compress(data[:10]) + zstandard.compress(data[10:])
    return data


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_compressed_texts_are_those_of_the_file_as_it_was(tmp_path, suffix, ending):
    (tmp_path / f"news{suffix}").write_text(LINES)
    plain = read_texts(tmp_path / f"news{suffix}")
    assert [(one.text, one.name, one.group) for one in plain] == [
        (record["text"], f"news{suffix}:{place}", "news") for place, record in enumerate(RECORDS, start=1)
    ]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / f"news{suffix}{ending}").write_bytes(packed(ending, LINES.encode()))
    assert read_texts(tmp_path / "folder" / f"news{suffix}{ending}") == plain
    assert read_texts(tmp_path / "folder") == plain
    (tmp_path / "folder" / f"news.txt{ending}").write_bytes(packed(ending, b"a line\nanother\n"))
    lines = read_texts(tmp_path / "folder" / f"news.txt{ending}", lines=True)
    assert [(one.text, one.name) for one in lines] == [("a line", "news.txt:1"), ("another", "news.txt:2")]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_file_holds_an_array_or_one_object(tmp_path, indent):
    (tmp_path / "a.json").write_text(json.dumps(RECORDS, indent=indent))
    (tmp_path / "b.json").write_text(json.dumps(RECORDS[0], indent=indent))
    assert [(one.text, one.name) for one in read_texts(tmp_path / "a.json")] == [
        (record["text"], f"a.json:{place}") for place, record in enumerate(RECORDS, start=1)
    ]
    assert [one.name for one in read_texts(tmp_path / "b.json")] == ["b.json:1"]
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(ScoreError, match=r"a.json, object 1 is int, expected a JSON object"):
        read_texts(tmp_path / "a.json")


def test_damaged_compressed_texts_are_refused_by_name(tmp_path):
    data = LINES.encode() * 50
    zstandard = pytest.importorskip("zstandard", reason="zstd needs zstandard: pip install 'mixfast[io]'")
    for name, whole in [("a.jsonl.gz", gzip.compress(data)), ("a.jsonl.zst", zstandard.compress(data))]:
        kind = "gzip" if name.endswith("gz") else "zstd"
        broken = [whole[:-4], whole[: len(whole) // 2], whole + b"junk"]
        for content in broken:
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ScoreError, match=f"{name} is a damaged {kind} file"):
                read_texts(tmp_path / name)
        for content, words in [
            (b"", "is empty"),
            (data, f"is a file of JSON lines, expected a {kind} file, as its name says"),
        ]:
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ScoreError, match=f"{name} {words}"):
                read_texts(tmp_path / name)
        (tmp_path / name).unlink()
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(data))
    with pytest.raises(ScoreError, match=r"a\.jsonl is not UTF-8: it is a gzip file, despite its name"):
        read_texts(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.jsonl").rename(tmp_path / "deep" / "a.jsonl.gz")
    (tmp_path / "deep" / "a.jsonl").write_bytes(data)
    with pytest.raises(ScoreError, match="are the same file with different compression"):
        read_texts(tmp_path)


def test_texts_that_are_refused(tmp_path, pair):
    def refused(name, data, match, **options):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ScoreError, match=match):
            read_texts(tmp_path / name, **options)
        (tmp_path / name).unlink()

    refused(r"a.jsonl", b'{"text": "x"}\n{"text', "a.jsonl, line 2 is not valid JSON")
    refused(r"a.jsonl", b"[" * 100_000, "a.jsonl, line 1 is not valid JSON")
    refused(r"a.jsonl", b'{"text": "x", "text": "y"}', "a.jsonl, line 1 is not valid JSON: given twice: text")
    refused(r"a.json", b'[{"text": "x", "text": "y"}]', "a.json: given twice: text")
    refused(r"a.jsonl", b'{"text": ' + b"1" * 5000 + b"}", "a.jsonl, line 1 is not valid JSON")
    refused(r"a.jsonl", b'{"body": "x"}\n', "a.jsonl, line 1 has no field 'text'; its fields are body")
    refused(r"a.jsonl", b'{"text": "x"}\n', "line 1 has no field 'answer'", prompt="question")
    refused(r"a.jsonl", b'{"text": 3}\n', "the field 'text' is int")
    refused(r"a.jsonl", b"[]\n", "is list, expected a JSON object")
    refused(r"a.jsonl", b"\n", "holds no document")
    refused(r"a.txt", b"\xff\xfe", "a.txt is not UTF-8")
    refused(
        r"a.csv",
        b"x",
        r"expected .txt, .jsonl, .json, .parquet, the first three also with .gz or .zst, or a folder of such files, got .csv",
    )
    with pytest.raises(ScoreError, match="no such file or folder"):
        read_texts(tmp_path / "missing")
    with pytest.raises(ScoreError, match="holds no document"):
        read_texts(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "a.jsonl").write_text("{}")
    with pytest.raises(ScoreError, match="share the group 'a'"):
        read_texts(tmp_path)
    with pytest.raises(ScoreError, match=r"g\[0\]: half a surrogate pair"):
        score(pair, {"g": ["\ud800"]})
    with pytest.raises(ScoreError, match=r"g\[1\]: expected a text or a pair"):
        score(pair, {"g": ["x", 3]})
    for group in ("", "a\0", "\ud800", None):
        with pytest.raises(ScoreError, match=r"a document: its group is .* expected a name"):
            score(pair, [Document("x", name="a document", group=group)])


# Interrupted runs.


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(_shards, "_SHARD_BYTES", 100)


class Interrupted(Exception):
    pass


def interrupt_after(monkeypatch, parts):
    """End a run after this number of parts; the returned list shows which were computed."""
    real, done = _run._part, []

    def counted(ready, documents, level, tell):
        if len(done) == parts:
            raise Interrupted
        done.append((ready.name, [one.name for one in documents]))
        return real(ready, documents, level, tell)

    monkeypatch.setattr(_run, "_part", counted)
    return done


@pytest.mark.parametrize("level", ["sequence", "token"])
def test_a_run_goes_on_where_it_ended(level, pair, truth, tmp_path, monkeypatch, small_shards):
    out = tmp_path / "table.npz"
    settings = {"level": level, "window": WINDOW, "stride": 10, "out": out}
    n_shards = len(_shards.shards(DOCUMENTS))
    assert n_shards > 2
    first = interrupt_after(monkeypatch, n_shards + 1)
    with pytest.raises(Interrupted):
        score(pair, DOCUMENTS, **settings)
    assert not out.exists()
    # The remains of a killed run are not a part.
    (tmp_path / "table.npz.parts" / ".part-000002.npz.99.tmp").write_bytes(b"half")
    monkeypatch.undo()
    monkeypatch.setattr(_shards, "_SHARD_BYTES", 100)
    rest = interrupt_after(monkeypatch, 99)
    told = []
    # The same texts in another order are the same run.
    table = score(pair[::-1], DOCUMENTS, **settings, progress=told.append)
    assert len(first) + len(rest) == 2 * n_shards
    assert not [one for one in rest if one in first]
    same(table.select(["web", "code"]), truth[level])
    same(ExpertTable.load(out), table, 0.0)
    assert list(tmp_path.iterdir()) == [out]
    assert told[0].parts == 2 * n_shards
    assert told[0].tokens < told[-1].tokens
    # It reports where the run resumes before it scores anything.
    n_texts = sum(len(names) for _, names in first)
    assert told[0] == scoring.Progress(
        "code", told[0].part, 2 * n_shards, 0, told[0].seconds, n_shards + 1, n_texts, 2 * n_shards, 12
    )
    assert {(one.found, one.found_texts, one.texts) for one in told} == {(n_shards + 1, n_texts, 12)}
    assert {one.expert for one in told} == {"code"}


def test_another_run_is_refused(pair, runs, tmp_path, monkeypatch, small_shards):
    out = tmp_path / "table.npz"
    moved = tmp_path / "moved"
    shutil.copytree(runs / "web", moved / "web")
    interrupt_after(monkeypatch, 1)
    with pytest.raises(Interrupted):
        score([moved / "web", pair[1]], DOCUMENTS, window=WINDOW, out=out)

    def refused(match, experts, documents=DOCUMENTS, **settings):
        with pytest.raises(ScoreError, match=match):
            score(experts, documents, **{"window": WINDOW, "out": out, **settings})

    refused("what differs: the texts", pair, DOCUMENTS[:-1])
    refused(r"what differs: window \(then 24, now 32\)", pair, stride=12, window=32)
    refused("what differs: experts", pair[:1])
    assert not out.exists()
    # An expert in another place is the same expert; one that was trained further is not.
    with pytest.raises(Interrupted):
        score(pair, DOCUMENTS, window=WINDOW, out=out)
    make_model("llama", seed=99).save_pretrained(moved / "web")
    refused(r"what differs: experts \(web\), their weights or config.json", [moved / "web", pair[1]])
    part = next((tmp_path / "table.npz.parts").glob("*.npz"))
    part.write_bytes(part.read_bytes()[:50])
    monkeypatch.undo()
    monkeypatch.setattr(_shards, "_SHARD_BYTES", 100)
    refused(f"{part.name} is damaged", pair)
    part.unlink()
    monkeypatch.setattr(_shards, "_SEEN_WITHIN", 0.0)
    monkeypatch.setattr(_shards.Folder, "has", lambda *where: True)
    refused(f"{part.name} is missing although its rank has finished", pair)
    part.parent.joinpath("other.npz").touch()
    part.parent.joinpath("run.json").unlink()
    refused(r"holds parts but no run.json", pair)


# The result as a folder of parts.


@pytest.fixture
def small_parts(monkeypatch, small_shards):
    monkeypatch.setattr(_result, "_PART_BYTES", 1)


def joined(folder):
    """Return the rows of a folder of parts as one table in memory, after checking what table.json says of them."""
    said = Manifest.read(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(["table.json", *(part.file for part in said.parts)])
    tables = [ExpertTable.load(folder / part.file) for part in said.parts]
    for part, table in zip(said.parts, tables, strict=True):
        assert part == type(part).of(folder / part.file, len(table))
        assert (table.domains, table.dtype) == (said.domains, said.dtype)
    values = {key: [getattr(table, key) for table in tables] for key in ("loglik", "length", "bytes", "sequence")}
    names = [name for table in tables for name in np.array(table.group_names)[table.group].tolist()]
    whole = {key: np.concatenate(arrays) for key, arrays in values.items() if arrays[0] is not None}
    return ExpertTable.from_loglik(**whole, domains=said.domains, group=names, group_names=said.groups)


# Groups alternate, and the last documents of a group have no tokens.
MIXED = [Document(text, name=f"text {n}", group="ab"[n % 2]) for n, text in enumerate([*TEXTS, "", "", "dog", ""])]


@pytest.mark.parametrize("level", ["sequence", "token"])
def test_a_folder_holds_the_rows_of_the_file(level, pair, tmp_path, small_parts):
    settings = {"level": level, "window": WINDOW, "stride": 10}
    with pytest.warns(MixfastWarning, match=r"3 of 10 documents are left out.*text 6, text 7, text 9"):
        whole = score(pair, MIXED, **settings, out=tmp_path / "table.npz")
    with pytest.warns(MixfastWarning, match=r"3 of 10 documents are left out.*text 6, text 7, text 9"):
        table = score(pair, MIXED, **settings, out=tmp_path / "table")
    assert len(table.parts) > 2
    assert (table.shape, table.domains, table.group_names) == (whole.shape, whole.domains, whole.group_names)
    assert table.group_rows.tolist() == np.diff(whole.group_offsets).tolist()
    same(joined(tmp_path / "table"), whole, 0.0)
    assert sorted(os.listdir(tmp_path)) == ["table", "table.npz"]
    # Documents keep the numbers that they had before they were sorted by group.
    if level == "token":
        assert list(dict.fromkeys(whole.sequence.tolist())) == [0, 2, 4, 8, 1, 3, 5]


def test_a_folder_is_replaced_when_the_new_one_is_complete(pair, tmp_path, monkeypatch, small_parts):
    out = tmp_path / "table"
    score(pair, DOCUMENTS, out=out)
    before = joined(out)
    real = _result.place_folder
    monkeypatch.setattr(_result, "place_folder", lambda new, old: [same(joined(old), before), real(new, old)])
    assert score(pair[:1], DOCUMENTS[:2], out=out).shape == (2, 1)
    assert joined(out).domains == ("web",)
    (out / "notes.txt").touch()
    with pytest.raises(ScoreError, match=r"table is a folder with other files than those of a table \(notes.txt\)"):
        score(pair, DOCUMENTS, out=out)
    with pytest.raises(ScoreError, match=r"force=True has no effect, because .*table is written as a folder"):
        score(pair, DOCUMENTS, out=out, force=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ScoreError, match="file is a file, but a table of parts is a folder"):
        score(pair, DOCUMENTS, out=tmp_path / "file")


def test_an_interrupted_join_goes_on_with_the_parts_that_are_there(pair, tmp_path, monkeypatch, small_parts):
    out, parts, whole = tmp_path / "table", tmp_path / "table.parts", score(pair, DOCUMENTS)
    real, calls = _result.join, []

    def interrupted(plan, store, shards):
        if len(calls) == 2:
            raise Interrupted
        calls.append(shards)
        return real(plan, store, shards)

    monkeypatch.setattr(_result, "join", interrupted)
    for _ in range(2):
        with pytest.raises(Interrupted):
            score(pair, DOCUMENTS, out=out)
    assert len(calls) == 2
    assert not out.exists()
    # The remains of a killed process are not of the result, and a damaged part is made again.
    (parts / "result" / ".mixfast-0011.tmp").write_bytes(b"half")
    os.truncate(parts / "result" / "part-00001.npz", 99)
    scored = interrupt_after(monkeypatch, 0)
    monkeypatch.setattr(_result, "join", lambda *given: calls.append(given[2]) or real(*given))
    told = []
    table = score(pair, DOCUMENTS, out=out, progress=told.append)
    assert not scored
    assert [one.joined for one in told[1:]] == list(range(1, len(table.parts) + 1))
    assert calls[2:] == [calls[1], *calls[3:]]
    same(joined(out), whole)
    assert len(calls) == len(table.parts) + 1
    assert os.listdir(tmp_path) == ["table"]


def test_the_bytes_of_tokens_are_kept_once(pair, tmp_path, monkeypatch):
    real, kept = _shards.Folder.write, {}

    def write(self, expert, shard, part):
        kept[expert] = part
        real(self, expert, shard, part)

    monkeypatch.setattr(_shards.Folder, "write", write)
    score(pair, DOCUMENTS, level="token", out=tmp_path / "table")
    sizes = {expert: part.token_bytes.size for expert, part in kept.items()}
    assert sizes == {"web": 0, "code": kept["code"].loglik.size}


def test_a_run_does_not_outlive_its_call(pair, monkeypatch):
    teams, real = [], _run.run
    monkeypatch.setattr(
        "mixfast.score._score.run",
        lambda job, progress, team: [teams.append(weakref.ref(team)), real(job, progress, team)][1],
    )
    score(pair, DOCUMENTS[:1])
    gc.collect()
    assert [team() for team in teams] == [None]


def test_texts_without_a_token_leave_no_folder(pair, tmp_path):
    with pytest.raises(ScoreError, match="no document can be scored"):
        score(pair, {"a": ["", ""]}, out=tmp_path / "table")
    assert os.listdir(tmp_path) == []


def command(*arguments):
    return [sys.executable, "-m", "mixfast", "score", *map(str, arguments)]


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for place, text in enumerate(TEXTS):
        (folder / f"{place}.jsonl").write_text(json.dumps({"text": text}) + "\n")
    return folder


STUCK = """
import sys, time
from mixfast import score
from mixfast.score import _run, _shards
_shards._SHARD_BYTES = 100
real, calls = _run._part, []

def slow(*arguments):
    calls.append(1)
    return real(*arguments) if len(calls) < 3 else time.sleep(600)

_run._part = slow
score.score(sys.argv[3:], sys.argv[1], out=sys.argv[2], window=24, stride=10)
"""


@pytest.mark.slow
@pytest.mark.process
def test_after_a_kill_the_rest_is_done(pair, truth, text_folder, tmp_path, monkeypatch, small_shards):
    out = tmp_path / "table"
    given = [sys.executable, "-c", STUCK, text_folder, out, *pair]
    process = subprocess.Popen([*map(str, given)], env=environment(), cwd=tmp_path)
    try:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("table.parts/*.npz"))) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not out.exists()
    done = interrupt_after(monkeypatch, 99)
    table = score(pair, text_folder, out=out, window=WINDOW, stride=10)
    assert len(done) == 2 * len(_shards.shards(DOCUMENTS)) - 2
    assert table.shape == truth["sequence"].shape
    assert np.allclose(joined(out).loglik, truth["sequence"].loglik, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.process
def test_two_ranks_share_the_work(pair, text_folder, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = tmp_path / "table"
    arguments = ["--experts", *pair, "--texts", text_folder, "--out", out, "--level", "token"]
    team = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            command(*arguments),
            env=environment(**team, RANK=str(rank), LOCAL_RANK=str(rank)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for rank in range(2)
    ]
    printed = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    assert f"wrote {out}" in printed[0][0]
    assert printed[1] == ("", "")
    same(joined(out), score(pair, text_folder, level="token"))
    assert list(tmp_path.iterdir()) == [out]


def test_ranks_share_all_jobs_among_them():
    for jobs in range(20):
        for world in range(1, 6):
            shares = [list(_run._share(jobs, {"rank": rank, "size": world})) for rank in range(world)]
            assert [job for share in shares for job in share] == list(range(jobs))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


# The command.


def test_the_command(pair, text_folder, tmp_path, good, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "wrote t.npz: 6 rows x 2 experts" in good(
        "score", "--experts", *pair, "--texts", text_folder, "--out", "t.npz"
    )
    assert ExpertTable.load("t.npz").group_names == tuple("012345")
    good("solve", "t.npz", "--no-intervals", "--no-ranges")
    (tmp_path / "lines.txt").write_text("the cat\nthe dog\n")
    good(
        "score", "--experts", f"a={pair[0]}", pair[1], "--texts", "lines.txt", "--lines", "--level", "token", "--window", 16, "--stride",
        8, "--batch-tokens", 50, "--out", "t.npz",
    )  # fmt: skip
    table = ExpertTable.load("t.npz")
    assert table.domains == ("a", "code")
    assert np.unique(table.sequence).size == 2
    texts = ("--texts", "lines.txt", "--out", "t.npz")
    assert "has no config.json" in refused("score", "--experts", tmp_path, *texts)
    assert "--experts names a twice" in refused("score", "--experts", "a=x", "a=y", *texts)


def test_the_command_says_from_where_it_goes_on(pair, text_folder, tmp_path, run, monkeypatch, small_shards):
    monkeypatch.chdir(tmp_path)
    given = ("score", "--experts", *pair, "--texts", text_folder, "--out", "t.npz")
    interrupt_after(monkeypatch, 3)
    with pytest.raises(Interrupted):
        score(pair, text_folder, out="t.npz")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_shards, "_SHARD_BYTES", 100)
    monkeypatch.setattr(_score, "_LOG_SECONDS", 0.0)
    parts = 2 * len(_shards.shards(read_texts(text_folder)))
    status, out, err = run(*given)
    assert status == 0
    assert (
        f"continues an earlier run: 3 of {parts} parts are finished (6 of 12 texts, each counted for every expert)"
        in err
    )
    assert f"part 4 of {parts} (3 found finished), " in err
    assert f"; 3 of {parts} parts are of an earlier run\n" in out
    assert "earlier run" not in run(*given)[1]


def test_a_second_run_on_one_output_is_refused(pair, tmp_path):
    pytest.importorskip("fcntl")
    refusals = []

    def again(progress):
        with pytest.raises(
            ScoreError, match=f"in use by process {os.getpid()} .*another run writes .*t\\.npz"
        ) as caught:
            score(pair, DOCUMENTS, out=tmp_path / "t.npz")
        refusals.append(str(caught.value))

    table = score(pair[:1], DOCUMENTS[:1], out=tmp_path / "t.npz", progress=again)
    assert refusals
    same(ExpertTable.load(tmp_path / "t.npz"), table, 0.0)
    assert [file.name for file in tmp_path.iterdir()] == ["t.npz"]


def test_the_command_scores_as_its_options_say(pair, tmp_path, good, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines.txt").write_text("the cat\nthe dog\n")
    words = ("score", "--experts", *pair, "--texts", "lines.txt", "--lines", "--out", "t.npz")
    good(*words, "--per", "byte", "--bos", "none", "--device", "cpu", "--dtype", "float32")
    same(
        ExpertTable.load("t.npz"),
        score(pair, {"lines": ["the cat", "the dog"]}, per="byte", bos="none", dtype="float32"),
    )
    assert "--device is cuda:99, but torch" in refused(*words, "--device", "cuda:99")
    assert "int7" in refused(*words, "--dtype", "int7")
    assert "no such token" in refused(*words, "--bos", "no such token")


def test_the_answer_in_json_is_as_the_schema_says(pair, tmp_path, good, monkeypatch):
    jsonschema = pytest.importorskip("jsonschema")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines.txt").write_text("the cat\nthe dog\n")
    answer = json.loads(
        good("score", "--experts", *pair, "--texts", "lines.txt", "--lines", "--out", "t.npz", "--quiet", "--json")
    )
    schema = files("mixfast").joinpath("data/output.schema.json").read_text(encoding="utf-8")
    jsonschema.validate(answer, json.loads(schema))
    assert (answer["rows"], answer["parts_of_earlier_run"], answer["wrote"]) == (2, 0, ["t.npz"])


@pytest.mark.parametrize("terminal", [True, False])
def test_the_progress_line(terminal, monkeypatch, capsys):
    monkeypatch.setattr(_score, "_TERMINAL_SECONDS", 0.0)
    monkeypatch.setattr(_score, "_LOG_SECONDS", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    reporter = _score._Reporter()
    reporter(scoring.Progress("web", 2, 7, 5000, 2.0, all_parts=7))
    reporter(scoring.Progress("web", 7, 7, 0, 2.0, all_parts=14, joined=1, to_join=3))
    reporter.end()
    written = capsys.readouterr().err
    assert "mixfast: rank 0, joining, part 1 of 3" in written
    assert "mixfast: web, part 2 of 7, 5,000 tokens, 2,500 tokens/s" in written
    assert written.endswith("\x1b[K" if terminal else "\n")


@pytest.mark.process
def test_the_module_is_no_public_name_and_imports_nothing_heavy():
    import mixfast

    assert mixfast.score is scoring
    assert "score" not in mixfast.__all__
    code = (
        "import sys, mixfast.score; sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'pyarrow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], env=environment(), check=False).returncode == 0
