"""Runs of OLMo-core, OLMES and marin, collected from their folders."""

import json
import os

import pytest

from mixfast import readers


def put(path, *documents):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, documents)))


@pytest.fixture
def core(tmp_path):
    for run in range(2):
        folder = tmp_path / f"run{run}"
        for step in (100, 200):
            put(folder / f"metrics_step{step}.json", {"eval/lm/c4/CE loss": 3.0 + run - step / 1000})
        put(folder / "metrics.json", {"eval/lm/c4/CE loss": 2.5 + run})
        # Copies of files may be older than others.
        os.utime(folder / "metrics.json", (1, 1))
    return tmp_path


def test_the_final_metrics_of_olmo_core_are_later_than_those_of_steps(core):
    found = readers.metrics(core)
    assert found.wide()["eval/lm/c4/CE loss"] == [2.5, 3.5]
    assert found.report.conflicts == ()


def test_a_step_of_olmo_core_may_be_asked_for(core):
    assert readers.metrics(core, step=100).wide()["eval/lm/c4/CE loss"] == [2.9, 3.9]


def test_a_metric_whose_sign_differs_between_runs_is_left_out_and_the_rest_is_collected(tmp_path):
    for run, sign in enumerate((1, 1, -1)):
        task = {"task_name": "arc", "task_config": {"metadata": {"alias": "arc"}}}
        put(
            tmp_path / f"run{run}" / "metrics-all.jsonl",
            task | {"metrics": {"acc_raw": 0.4, "logits_per_byte_corr": sign * 0.7}},
        )
    found = readers.metrics(tmp_path)
    assert found.metrics == ("arc/acc_raw",)
    assert found.report.left_out["its unit differs between files"] == ("arc/logits_per_byte_corr",)


def test_equal_values_of_the_files_of_olmes_are_no_conflict(tmp_path):
    for run in range(2):
        task = {
            "task_name": "arc",
            "task_config": {"metadata": {"alias": "arc"}},
            "metrics": {"acc_raw": 0.4 + run / 10},
        }
        put(tmp_path / f"run{run}" / "metrics-all.jsonl", task)
        put(tmp_path / f"run{run}" / "task-000-arc-metrics.json", task)
        put(
            tmp_path / f"run{run}" / "metrics.json",
            {"all_primary_scores": [], "tasks": [{"alias": "arc", "metrics": task["metrics"]}]},
        )
    found = readers.metrics(tmp_path)
    assert found.wide() == {"run": ["run0", "run1"], "arc/acc_raw": [0.4, 0.5]}
    assert found.report.conflicts == ()


def test_a_swarm_of_marin_brings_its_mixtures_and_becomes_a_swarm(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    mixtures = [(0.5, 0.5), (0.8, 0.2), (0.2, 0.8), (0.4, 0.6)]
    rows = [
        {"observation_id": f"s:run-{place}", "swarm_id": "s", "run_name": f"run-{place}", "group": "swarm"}
        | {f"phase{phase}_weights": {"web": web, "code": code} for phase in range(2)}
        | {"grouped_bpb": {"piqa": 1.0 + web, "gsm": 2.0 - web}}
        for place, (web, code) in enumerate(mixtures)
    ]
    folder = tmp_path / "registry" / "v1" / "swarms" / "s"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "observations.parquet")
    found = readers.metrics(tmp_path)
    assert found.runs == ("run-0", "run-1", "run-2", "run-3")
    # The order of the domains is that of the parquet file, which versions of pyarrow choose differently.
    swarm = found.swarm().align(("web", "code"))
    assert swarm.ratios.tolist() == [list(mixture) for mixture in mixtures]
    assert dict(zip(swarm.metrics, swarm.direction, strict=True)) == {"piqa": "min", "gsm": "min"}
