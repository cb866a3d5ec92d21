"""Collecting the metrics of runs from files of lm-evaluation-harness."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peers import Contender
from mixfast import readers

_TASKS = 100


def _write(folder: Path, runs: int) -> list[Path]:
    """Write results with two accuracies and the settings of each task, in the layout of lm-evaluation-harness."""
    rng = np.random.default_rng(0)
    files = []
    for run, values in enumerate(rng.random((runs, _TASKS, 2)).tolist()):
        tasks = {f"task_{at}": pair for at, pair in enumerate(values)}
        document = {
            "results": {
                task: {"alias": task, "acc,none": acc, "acc_stderr,none": 0.01, "acc_norm,none": norm, "acc_norm_stderr,none": 0.01}
                for task, (acc, norm) in tasks.items()
            },
            "configs": {task: {"task": task, "doc_to_text": "Question: {{question}}\nAnswer:" * 4} for task in tasks},
            "higher_is_better": {task: {"acc": True, "acc_norm": True} for task in tasks},
            "versions": dict.fromkeys(tasks, 1),
            "n-shot": dict.fromkeys(tasks, 0),
            "n-samples": {task: {"original": 1000, "effective": 1000} for task in tasks},
            "model_name": f"checkpoints/run{run:04}",
            "date": 1.79e9 + run,
        }  # fmt: skip
        path = folder / f"run{run:04}" / "model" / "results_2026-11-02T10-11-12.123456.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(document, indent=2))
        files.append(path)
    return files


@pytest.mark.parametrize("runs", [300, 1000])
@pytest.mark.parametrize("name", ["mixfast", "json.loads"])
def test_collect(measure: Any, tmp_path: Path, runs: int, name: str) -> None:
    """Collect results with 200 metrics for each run; json.loads only reads and parses the same files."""
    files = _write(tmp_path, runs)
    calls = {
        "mixfast": lambda _: readers.metrics(tmp_path).wide(),
        "json.loads": lambda _: [json.loads(path.read_bytes()) for path in files],
    }
    measure(
        Contender(name, calls[name]), files,
        group=f"collect {runs} runs x {2 * _TASKS} metrics", rows=runs, domains=2 * _TASKS, quantity="collect",
    )  # fmt: skip
