"""Run lm-evaluation-harness offline on a tiny random model, as `readers/test_lm_eval_harness.py` starts it in another process.

Arguments: a folder for the results. It gets `out`, with the files of two evaluations; `returned.pickle`, what `simple_evaluate` returned for
the first; and `bits.json`, bits per byte of the right choices of the task `zoo_cats`, computed with torch alone.
"""

import json
import math
import pickle
import sys
from pathlib import Path

import lm_eval
import tokenizers
import torch
import transformers
import yaml
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

ACC = {"metric": "acc", "aggregation": "mean", "higher_is_better": True}
CHOICES = ["a dog", "the tabby cat", "größer"]
DOCUMENTS = [
    {"question": f"{what} number {number} is", "choices": CHOICES, "label": number % 3, "side": number % 2, "ends": ["so it is", "or it is"]}
    for number, what in enumerate(["This", "That", "An animal", "The large one", "My own"] * 2)
]  # fmt: skip
CHOICE = {
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "label",
}
TASKS = {
    "zoo_cats": {**CHOICE, "metric_list": [ACC, {**ACC, "metric": "acc_norm"}]},
    # The target is the text of a choice; the harness also scores the choices without a question.
    "zoo_dogs": {**CHOICE, "doc_to_target": "{{choices[label]}}", "metric_list": [ACC, {**ACC, "metric": "acc_mutual_info"}]},
    # The questions are the choices, as in winogrande.
    "sides": {
        "output_type": "multiple_choice", "doc_to_text": "side", "doc_to_target": " the end.", "doc_to_choice": "{{ends}}", "metric_list": [ACC],
    },
    "last_word": {
        "output_type": "loglikelihood", "doc_to_text": "{{question}}", "doc_to_target": " brown",
        "metric_list": [{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}, ACC],
    },
    "prose": {
        "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{question}}", "metric_list": [{"metric": "bits_per_byte"}],
    },
    "sums": {
        "output_type": "generate_until", "doc_to_text": "{{question}}", "doc_to_target": "4", "generation_kwargs": {"until": ["."], "max_gen_toks": 2},
        "metric_list": [{**ACC, "metric": "exact_match"}],
        "filter_list": [{"name": name, "filter": [{"function": "take_first"}]} for name in ("strict", "flexible")],
    },
}  # fmt: skip


def write_tasks(folder):
    folder.mkdir()
    data = folder / "documents.jsonl"
    data.write_text("".join(json.dumps(each) + "\n" for each in DOCUMENTS))
    shared = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "fewshot_split": "test",
    }
    group = {
        "group": "zoo",
        "task": ["zoo_cats", "zoo_dogs"],
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}],
    }
    for name, task in {
        **{name: {"task": name, **shared, **task} for name, task in TASKS.items()},
        "zoo": group,
    }.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))


def write_model(folder):
    """Write a random model with one token for each byte; return it with its tokenizer."""
    signs = {
        sign: number for number, sign in enumerate(["<s>", *sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())])
    }
    by_byte = tokenizers.Tokenizer(tokenizers.models.BPE(signs, []))
    by_byte.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    by_byte.decoder = tokenizers.decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=by_byte, bos_token="<s>", eos_token="<s>", pad_token="<s>"
    )
    shape = transformers.GPT2Config(
        vocab_size=257, n_embd=16, n_layer=1, n_head=1, n_positions=256, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(shape).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer


def bits(model, tokenizer, document):
    """Return -log2 p(right choice) / bytes of the right choice; each byte is a token."""
    right = " " + CHOICES[document["label"]]
    ids = torch.tensor([tokenizer(document["question"] + right)["input_ids"]])
    size = len(right.encode())
    with torch.no_grad():
        logprobs = torch.log_softmax(model(ids).logits.double(), dim=-1)[0, :-1]
    told = logprobs.gather(1, ids[0, 1:, None])[-size:]
    return -told.sum().item() / math.log(2) / (size - 1)


def main(folder):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    write_tasks(folder / "tasks")
    where = folder / "models" / "mix_3" / "checkpoint-20"
    model, tokenizer = write_model(where)
    tasks = TaskManager(include_path=str(folder / "tasks"), include_defaults=False)
    for names, options in ((["zoo", *list(TASKS)[2:]], {"limit": 9}), (["zoo_cats"], {"num_fewshot": 2})):
        tracker = EvaluationTracker(output_path=str(folder / "out"))
        returned = lm_eval.simple_evaluate(
            model="hf", model_args={"pretrained": str(where)}, tasks=names, task_manager=tasks, batch_size=16, device="cpu", log_samples=True,
            evaluation_tracker=tracker, bootstrap_iters=2, **options,
        )  # fmt: skip
        if not (folder / "returned.pickle").exists():
            (folder / "returned.pickle").write_bytes(pickle.dumps(returned))
        samples = returned.pop("samples")
        tracker.save_results_aggregated(results=returned, samples=samples)
        for name, each in samples.items():
            tracker.save_results_samples(name, each)
    (folder / "bits.json").write_text(json.dumps([bits(model, tokenizer, each) for each in DOCUMENTS[:9]]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
