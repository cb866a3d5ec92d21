"""Which values are collected and what is said about them: a wrong table must not look right."""

import json
import math

import numpy as np
import pytest

from mixfast.readers import Collected, ResultsError, metrics


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def harness(values, *, shots=0, n=100, version=1, date=None):
    """Results of lm-evaluation-harness with these values by ``task/metric``."""
    results, better = {}, {}
    for name, value in values.items():
        task, _, metric = name.partition("/")
        results.setdefault(task, {"alias": task})[f"{metric},none"] = value
        better.setdefault(task, {})[metric] = metric != "bits_per_byte"
    about = {
        "n-shot": dict.fromkeys(results, shots),
        "versions": dict.fromkeys(results, version),
        "n-samples": {task: {"original": n, "effective": n} for task in results},
    }
    return {"results": results, "higher_is_better": better, **about, **({"date": date} if date else {})}


def swarm(tmp_path, values, name="results.json", **options):
    """Write one file for each run and collect them."""
    for run, row in values.items():
        write(tmp_path / run / name, harness(row))
    return metrics(tmp_path, **options)


def history(*losses, every=10):
    return {"log_history": [{"step": every * at, "eval_loss": loss} for at, loss in enumerate(losses, start=1)]}


def test_the_newest_file_wins_and_both_are_named(tmp_path):
    for day, value in ((3, 0.3), (1, 0.1), (2, 0.2)):
        write(tmp_path / "a" / f"results_2026-11-0{day}T10-11-12.1.json", harness({"arc/acc": value}))
    collected = metrics(tmp_path / "a")
    assert collected.value.tolist() == [0.3]
    assert "results_2026-11-03" in collected.source[0]
    assert {one.dropped for one in collected.report.conflicts} <= {0.1, 0.2}
    assert "the newest is used" in str(collected.report)


def test_the_date_in_the_file_is_before_that_of_its_name(tmp_path):
    write(tmp_path / "a" / "results_2026-11-01T10-11-12.1.json", harness({"arc/acc": 0.1}, date=1.9e9))
    write(tmp_path / "a" / "results_2026-11-02T10-11-12.1.json", harness({"arc/acc": 0.2}, date=1.8e9))
    assert metrics(tmp_path / "a").value.tolist() == [0.1]


def test_files_of_one_second_are_ordered_by_their_names(tmp_path):
    for part, value in ((7, 0.7), (2, 0.2)):
        write(tmp_path / "a" / f"results_2026-11-01T10-11-12.{part}00000.json", harness({"arc/acc": value}, date=1.8e9))
    assert metrics(tmp_path / "a").value.tolist() == [0.7]


def test_equal_values_are_no_conflict_and_tasks_of_several_files_are_joined(tmp_path):
    write(tmp_path / "a" / "results_2026-11-01T10-11-12.1.json", harness({"arc/acc": 0.1, "piqa/acc": 0.6}))
    write(tmp_path / "a" / "results_2026-11-02T10-11-12.1.json", harness({"arc/acc": 0.1, "boolq/acc": 0.7}))
    collected = metrics(tmp_path / "a")
    assert sorted(collected.metrics) == ["arc/acc,none", "boolq/acc,none", "piqa/acc,none"]
    assert not collected.report.conflicts


def test_other_numbers_of_shots_are_other_metrics(tmp_path):
    write(tmp_path / "a" / "results_2026-11-01T10-11-12.1.json", harness({"arc/acc": 0.1}))
    write(tmp_path / "a" / "results_2026-11-02T10-11-12.1.json", harness({"arc/acc": 0.2}, shots=5))
    write(tmp_path / "b" / "results_2026-11-02T10-11-12.1.json", harness({"arc/acc": 0.3}, shots=5))
    table = metrics(tmp_path).wide()
    assert table.pop("run") == ["a", "b"]
    assert table.keys() == {"arc|0/acc,none", "arc|5/acc,none"}
    assert table["arc|5/acc,none"] == [0.2, 0.3]
    assert math.isnan(table["arc|0/acc,none"][1])


def test_coverage_names_the_runs_without_a_value(tmp_path):
    collected = swarm(tmp_path, {"a": {"arc/acc": 0.1, "piqa/acc": 0.5}, "b": {"arc/acc": 0.2}})
    assert collected.report.missing == {"piqa/acc,none": ("b",)}
    assert "no value in some runs" in str(collected.report)


@pytest.mark.parametrize("missing", ["N/A", None, math.nan])
def test_not_available_is_missing_and_not_zero(tmp_path, missing):
    collected = swarm(tmp_path, {"a": {"arc/acc": missing, "piqa/acc": 0.1}, "b": {"arc/acc": 0.2, "piqa/acc": 0.1}})
    assert math.isnan(collected.wide()["arc/acc,none"][0])
    assert collected.report.missing == {"arc/acc,none": ("a",)}


def test_a_metric_without_any_value_is_left_out_and_named(tmp_path):
    collected = swarm(tmp_path, {"a": {"arc/acc": "N/A", "piqa/acc": 0.1}, "b": {"piqa/acc": 0.1}})
    assert collected.metrics == ("piqa/acc,none",)
    assert collected.report.left_out["no run has a value"] == ("arc/acc,none",)


def test_infinite_values_are_missing_and_named(tmp_path):
    for run, loss in (("a", math.inf), ("b", 2.0)):
        write(tmp_path / run / "trainer_state.json", history(loss))
    collected = metrics(tmp_path)
    assert math.isnan(collected.wide()["eval_loss"][0])
    assert any("infinite values" in note and "a eval_loss" in note for note in collected.report.notes)


def test_a_last_value_that_is_missing_is_not_replaced_by_an_earlier_one(tmp_path):
    """A run whose loss became NaN diverged."""
    write(tmp_path / "a" / "trainer_state.json", history(3.0, math.nan))
    write(tmp_path / "b" / "trainer_state.json", history(3.0, 2.0))
    assert math.isnan(metrics(tmp_path).wide()["eval_loss"][0])


def test_runs_that_end_at_different_steps_are_named(tmp_path):
    for run, losses in (("a", (3.0, 2.0)), ("b", (3.1, 2.1)), ("c", (3.2,))):
        write(tmp_path / run / "trainer_state.json", history(*losses))
    collected = metrics(tmp_path)
    assert any("runs end at different steps, most at 20: c (10)" in note for note in collected.report.notes)
    assert metrics(tmp_path, step=10).wide()["eval_loss"] == [3.0, 3.1, 3.2]


def test_other_numbers_of_examples_and_versions_are_named(tmp_path):
    for run, more in (("a", {}), ("b", {}), ("c", {"n": 10}), ("d", {"version": 2})):
        write(tmp_path / run / "results.json", harness({"arc/acc": 0.1 + len(more)}, **more))
    notes = "\n".join(metrics(tmp_path).report.notes)
    assert "numbers of examples differ between runs: 1 metric, arc/acc,none; arc/acc,none in c (10)" in notes
    assert "versions of the task differ between runs: 1 metric, arc/acc,none; arc/acc,none in d (2)" in notes


def test_a_copy_of_a_run_is_named(tmp_path):
    row = {"arc/acc": 0.1, "piqa/acc": 0.2, "boolq/acc": 0.3}
    collected = swarm(tmp_path, {"a": row, "b": row, "c": {**row, "arc/acc": 0.4}})
    assert any("copy of another: runs a, b" in note for note in collected.report.notes)


def test_diverged_runs_are_kept_named_and_marked(tmp_path):
    rng = np.random.default_rng(0)
    for at in range(12):
        losses = (3.0, 11.3 if at == 7 else 2.0 + 0.5 * rng.random())
        write(tmp_path / f"r{at:02}" / "trainer_state.json", history(*losses))
    collected = metrics(tmp_path)
    assert list(collected.report.diverged) == ["r07"]
    assert [run for run, mark in zip(collected.run, collected.mark, strict=True) if mark] == ["r07"]
    assert collected.wide()["eval_loss"][7] == 11.3


def test_a_run_that_is_far_better_has_not_diverged(tmp_path):
    for at in range(12):
        write(tmp_path / f"r{at:02}" / "trainer_state.json", history(1e-3 if at == 7 else 2.0 + 0.01 * at))
    assert not metrics(tmp_path).report.diverged


def test_the_file_decides_which_way_is_better_before_the_name(tmp_path):
    document = harness({"arc/acc": 0.1, "odd/error": 0.2})
    write(tmp_path / "a" / "results.json", document)
    collected = metrics(tmp_path / "a")
    assert collected.directions == {"arc/acc,none": "max", "odd/error,none": "max"}
    assert any("odd/error,none" in note and "disagree" in note for note in collected.report.notes)
    assert metrics(tmp_path / "a", less="odd/*").directions["odd/error,none"] == "min"


def test_unknown_directions_are_listed_and_never_guessed(tmp_path):
    document = harness({"arc/acc": 0.1, "odd/thing": 0.2})
    del document["higher_is_better"]
    write(tmp_path / "a" / "results.json", document)
    collected = metrics(tmp_path / "a")
    assert collected.report.unknown == ("odd/thing,none",)
    assert "odd/thing,none" not in collected.directions
    assert metrics(tmp_path / "a", more="*thing*").directions["odd/thing,none"] == "max"
    with pytest.raises(ResultsError, match="more and less both match"):
        metrics(tmp_path / "a", more="odd/*", less="*thing*")
    with pytest.raises(ResultsError, match=r"more names a metric that was not found: arcs/acc.*did you mean"):
        metrics(tmp_path / "a", more="arcs/acc")


def test_negative_losses_are_doubted(tmp_path):
    write(tmp_path / "a" / "trainer_state.json", history(-2.0))
    assert "negative values" in metrics(tmp_path / "a").report.doubted["eval_loss"]


def test_positive_log_probabilities_are_doubted_as_metrics_to_maximise(tmp_path):
    report = swarm(tmp_path, {f"r{at}": {"arc/logprob": 1.0 + at / 10} for at in range(4)}).report
    assert "more is taken as better, but each has positive values only" in str(report)


def test_patterns_choose_metrics(tmp_path):
    rows = {run: {"arc/acc": 0.1, "arc/acc_norm": 0.2, "piqa/acc": 0.3} for run in "ab"}
    assert swarm(tmp_path, rows, metric="*/acc,none").metrics == ("arc/acc,none", "piqa/acc,none")
    collected = metrics(tmp_path, ignore="arc/*")
    assert collected.metrics == ("piqa/acc,none",)
    assert collected.report.left_out["on request"] == ("arc/acc,none", "arc/acc_norm,none")
    with pytest.raises(ResultsError, match="metric names a metric that was not found"):
        metrics(tmp_path, metric="*loss*")


def test_an_aggregate_is_taken_by_its_name_only(tmp_path):
    document = harness({"mmlu_a/acc": 0.1, "mmlu_b/acc": 0.3, "mmlu/acc": 0.2})
    document["groups"] = {"mmlu": document["results"]["mmlu"]}
    document["group_subtasks"] = {"mmlu": ["mmlu_a", "mmlu_b"]}
    write(tmp_path / "a" / "results.json", document)
    collected = metrics(tmp_path / "a")
    assert collected.metrics == ("mmlu_a/acc,none", "mmlu_b/acc,none")
    assert ("mmlu/acc,none",) in collected.report.left_out.values()
    assert metrics(tmp_path / "a", metric="mmlu/acc,none").metrics == ("mmlu/acc,none",)
    assert metrics(tmp_path / "a", metric="mmlu*").metrics == ("mmlu_a/acc,none", "mmlu_b/acc,none")


def test_the_swarm_has_the_directions_of_the_files(tmp_path):
    rows = {f"r{at}": {"arc/acc": 0.1 + 0.01 * at, "pile/bits_per_byte": 1.0 - 0.01 * at} for at in range(4)}
    collected = swarm(tmp_path / "runs", rows)
    ratios = {"run": ["r0", "r1", "r2", "r3"], "web": [0.1, 0.4, 0.6, 0.8], "code": [0.9, 0.6, 0.4, 0.2]}
    found = collected.swarm(ratios)
    assert dict(zip(found.metrics, found.direction, strict=True)) == {
        "arc/acc,none": "max",
        "pile/bits_per_byte,none": "min",
    }
    assert found.unit == ("score", "bits_per_byte")
    np.testing.assert_array_equal(found.values[:, 0], [row["arc/acc"] for row in rows.values()])
    path = tmp_path / "ratios.csv"
    path.write_text("run,web,code\nr3,0.8,0.2\nr1,0.4,0.6\nr0,0.1,0.9\nr2,0.6,0.4\n")
    assert collected.swarm(path).runs == ("r3", "r1", "r0", "r2")
    with pytest.raises(ResultsError, match="the files hold no mixtures"):
        collected.swarm()


def test_both_csv_files_are_read_back(tmp_path):
    rows = {"a": {"arc/acc": 0.1, "piqa/acc": 1 / 3}, "b": {"arc/acc": 0.2}}
    collected = swarm(tmp_path / "runs", rows)
    collected.to_csv(tmp_path / "wide.csv")
    collected.to_long_csv(tmp_path / "long.csv")
    assert (tmp_path / "wide.csv").read_text().splitlines() == [
        'run,"arc/acc,none","piqa/acc,none"',
        f"a,0.1,{1 / 3!r}",
        "b,0.2,",
    ]
    again = metrics(tmp_path / "long.csv")
    assert again.runs == collected.runs
    assert again.directions == collected.directions
    np.testing.assert_array_equal(again.value, collected.value)
    assert again.n == collected.n
    assert metrics(tmp_path / "wide.csv").wide()["run"] == ["a", "b"]


def test_long_and_wide_tables_are_equal(tmp_path):
    collected = swarm(tmp_path, {"a": {"arc/acc": 0.1, "piqa/acc": 0.5}, "b": {"arc/acc": 0.2}})
    assert isinstance(collected, Collected)
    frame = collected.to_pandas()
    assert list(frame.columns) == [
        "run",
        "metric",
        "value",
        "stderr",
        "n",
        "unit",
        "direction",
        "step",
        "source",
        "mark",
    ]
    assert list(frame["run"]) == ["a", "a", "b"]
    assert len(collected) == 3
    assert "2 runs" in repr(collected)


def test_values_without_a_step_are_named_if_a_step_was_asked_for(tmp_path):
    collected = swarm(tmp_path, {"a": {"arc/acc": 0.1}, "b": {"arc/acc": 0.2}}, step=10)
    assert any("although step 10 was asked for" in note for note in collected.report.notes)


def test_metrics_whose_columns_are_left_out_again_are_named(tmp_path):
    collected = swarm(tmp_path, {"a": {"arc/acc": 0.1, "arc/runtime": 3.0}, "b": {"arc/acc": 0.2, "arc/runtime": 4.0}})
    assert any("only if asked for" in note and "arc/runtime,none" in note for note in collected.report.notes)


def test_a_metric_that_one_file_has_twice_with_other_values_is_said(tmp_path):
    def line(score):
        task = {"primary_metric": "acc", "metadata": {"alias": "arc:rc"}}
        return json.dumps({"task_name": "arc", "task_config": task, "metrics": {"acc": score}}) + "\n"

    (tmp_path / "metrics-all.jsonl").write_text(line(0.1) + line(0.2))
    collected = metrics(tmp_path)
    assert collected.value.tolist() == [0.2]
    assert "several values in one file, the last is used: arc:rc/acc" in str(collected.report)
