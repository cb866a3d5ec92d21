"""Make the files of examples/evaluations: train small models on different mixtures and evaluate them with lm-evaluation-harness.

Three of the four domains are texts of every installation of Python: the source code of its library, the manual in pydoc, and the names of Unicode
characters. The fourth, sums, is generated here. Each model is a GPT-2 of about 72 000 parameters with one token for each byte. A task asks for
the right one of four continuations, or scores whole texts. The documents of the tasks come from the last tenth of each domain, on which no
model is trained. Facts about the machine are removed from the results files.
"""

from __future__ import annotations

import ast
import csv
import json
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np

import mixfast
from benchmarks.facts import ROOT

# Modules of the standard library that hold mostly code, not tables.
MODULES = (
    "argparse", "ast", "asyncio.base_events", "bdb", "calendar", "cmd", "codecs", "collections", "configparser", "copy", "csv", "dataclasses",
    "difflib", "dis", "doctest", "email.message", "enum", "fractions", "ftplib", "functools", "gettext", "heapq", "http.client", "inspect", "json.decoder",
    "locale", "logging", "mailbox", "multiprocessing.pool", "optparse", "os", "pdb", "pickle", "platform", "random", "shutil", "smtplib", "socket",
    "statistics", "subprocess", "tarfile", "tempfile", "textwrap", "threading", "traceback", "typing", "unittest.mock", "urllib.request", "uuid", "zipfile",
)  # fmt: skip
# Numbers of bytes of a training window, and of the context and the continuation of a question.
WINDOW, CONTEXT, CONTINUATION = 64, 40, 12
QUESTIONS, TEXTS, CHOICES = 60, 40, 4
# Keys of a file of results that describe the machine and not the evaluation.
MACHINE = ("pretty_env_info", "total_evaluation_time_seconds", "git_hash", "upper_git_hash", "transformers_version")


def run(path: Path = ROOT / "examples" / "evaluations", runs: int = 24, steps: int = 400, seed: int = 1) -> None:
    """Write a folder for each run, with its file of results, and ratios.csv."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    texts = domains()
    plan = mixfast.design(mixfast.Region(texts, floor=0.03), runs, seed=seed)
    names = [f"mix_{number:02d}" for number in range(runs)]
    with tempfile.TemporaryDirectory() as place, chdir(place):
        write_tasks({name: text[len(text) * 9 // 10 :] for name, text in texts.items()}, seed)
        for number, (name, ratios) in enumerate(zip(names, plan.ratios, strict=True)):
            train(
                {domain: text[: len(text) * 9 // 10] for domain, text in texts.items()},
                ratios,
                steps,
                number,
                Path("models", name),
            )
            evaluate(name)
            print(name, np.round(ratios, 3), flush=True)
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree("evaluations", path)
    with (path / "ratios.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, lineterminator="\n").writerows(
            [
                ["run", *plan.domains],
                *([name, *map(repr, row.tolist())] for name, row in zip(names, plan.ratios, strict=True)),
            ]
        )


def domains() -> dict[str, bytes]:
    """Return the text of each domain."""
    import importlib
    import inspect
    import pydoc_data.topics

    code = "\n".join(without_prose(inspect.getsource(importlib.import_module(name))) for name in MODULES)
    manual = "\n".join(text for _, text in sorted(pydoc_data.topics.topics.items()))
    names = "\n".join(
        f"{number:04X} {name.lower()}"
        for number in range(0x20000)
        if (name := unicodedata.name(chr(number), "")) and "-" not in name
    )
    random = np.random.default_rng(0)
    sums = "\n".join(f"{a}+{b}={a + b}" for a, b in random.integers(0, 100, (40_000, 2)).tolist())
    return {
        name: text.encode("ascii", "ignore")
        for name, text in {"code": code, "manual": manual, "names": names, "sums": sums}.items()
    }


def without_prose(source: str) -> str:
    """Return Python code without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and ast.get_docstring(node) is not None
        ):
            node.body[0] = ast.Pass()
    return ast.unparse(tree)


def questions(text: bytes, random: np.random.Generator) -> list[dict[str, Any]]:
    """Return contexts with four continuations each; three of them are from other places of the text."""
    starts = random.integers(0, len(text) - CONTEXT - CONTINUATION, (QUESTIONS, CHOICES)) + CONTEXT
    out = []
    for row in starts:
        label = int(random.integers(CHOICES))
        choices = [text[at : at + CONTINUATION].decode() for at in row]
        choices[0], choices[label] = choices[label], choices[0]
        out.append({"context": text[row[0] - CONTEXT : row[0]].decode(), "choices": choices, "label": label})
    return out


def write_tasks(texts: Mapping[str, bytes], seed: int) -> None:
    """Write the tasks and their documents: multiple choice for each domain, a group of these tasks, and two tasks of whole texts."""
    import yaml

    random = np.random.default_rng(seed)
    Path("tasks").mkdir()
    measured = [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")]
    tasks: dict[str, dict[str, Any]] = {}
    for name, text in texts.items():
        data = {f"next_{name}": questions(text, random)}
        tasks[f"next_{name}"] = {
            "output_type": "multiple_choice", "doc_to_text": "{{context}}", "doc_to_choice": "{{choices}}", "doc_to_target": "label",
            "target_delimiter": "", "metric_list": measured,
        }  # fmt: skip
        if name in ("code", "manual"):
            starts = random.integers(0, len(text) - WINDOW, TEXTS)
            data[f"text_{name}"] = [{"text": text[at : at + WINDOW - 1].decode()} for at in starts]
            tasks[f"text_{name}"] = {
                "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}",
                "metric_list": [{"metric": "bits_per_byte", "aggregation": "bits_per_byte", "higher_is_better": False}],
            }  # fmt: skip
        for task, documents in data.items():
            Path("tasks", f"{task}.jsonl").write_text(
                "".join(json.dumps(each) + "\n" for each in documents), encoding="utf-8"
            )
            tasks[task] |= {
                "task": task,
                "dataset_path": "json",
                "dataset_kwargs": {"data_files": {"test": f"tasks/{task}.jsonl"}},
                "test_split": "test",
            }
    group = {
        "group": "next",
        "task": [name for name in tasks if name.startswith("next_")],
        "aggregate_metric_list": [{"metric": "acc"}],
    }
    for task, config in {**tasks, "next": group}.items():
        Path("tasks", f"{task}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def train(texts: Mapping[str, bytes], ratios: np.ndarray, steps: int, seed: int, path: Path) -> None:
    """Train a model on windows whose domains are sampled from the mixture, and save it."""
    import tokenizers
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    random = np.random.default_rng(seed)
    signs = {sign: at for at, sign in enumerate(["<s>", *sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())])}
    by_byte = tokenizers.Tokenizer(tokenizers.models.BPE(signs, []))
    by_byte.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    by_byte.decoder = tokenizers.decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=by_byte, bos_token="<s>", eos_token="<s>", pad_token="<s>"
    )
    token = np.array(tokenizer(bytes(range(128)).decode())["input_ids"])
    ids = {name: torch.from_numpy(token[np.frombuffer(text, np.uint8)]) for name, text in texts.items()}
    shape = transformers.GPT2Config(
        vocab_size=257, n_embd=48, n_layer=2, n_head=2, n_positions=WINDOW, bos_token_id=0, eos_token_id=0,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    names = list(ids)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min((step + 1) / 20, 1.0 - 0.95 * step / steps)
        sampled = [names[at] for at in random.choice(len(names), 16, p=ratios / ratios.sum())]
        starts = [random.integers(0, len(ids[name]) - WINDOW + 1) for name in sampled]
        batch = torch.stack(
            [
                torch.cat([torch.zeros(1, dtype=torch.long), ids[name][at : at + WINDOW - 1]])
                for name, at in zip(sampled, starts, strict=True)
            ]
        )
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(path)
    tokenizer.save_pretrained(path)


def evaluate(name: str) -> None:
    """Evaluate a model and write its file of results below ``evaluations``."""
    import lm_eval
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    tracker = EvaluationTracker(output_path=f"evaluations/{name}")
    returned = lm_eval.simple_evaluate(
        model="hf", model_args={"pretrained": f"models/{name}"}, tasks=["next", "text_code", "text_manual"], batch_size=64, device="cpu",
        task_manager=TaskManager(include_path="tasks", include_defaults=False), evaluation_tracker=tracker, log_samples=False,
    )  # fmt: skip
    tracker.save_results_aggregated(results={key: value for key, value in returned.items() if key not in MACHINE})
    (written,) = Path("evaluations", name).rglob("results_*.json")
    document = json.loads(written.read_text(encoding="utf-8"))
    kept = {key: value for key, value in document.items() if key not in MACHINE}
    written.write_text(json.dumps(kept, ensure_ascii=False) + "\n", encoding="utf-8")
