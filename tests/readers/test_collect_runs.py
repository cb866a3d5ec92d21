"""Which files belong to one run, and how runs are named: values of different runs are never merged silently."""

import json
import os

import pytest

from mixfast.readers import ResultsError, metrics
from mixfast.readers.collect._runs import names_of


def lm_eval(path, value=0.5, task="arc", model=None, **more):
    """Write results of lm-evaluation-harness with one accuracy."""
    document = {
        "results": {task: {"alias": task, "acc,none": value, "acc_stderr,none": 0.01}},
        "higher_is_better": {task: {"acc": True}},
        "n-shot": {task: 0},
        "n-samples": {task: {"original": 100, "effective": 100}},
        "versions": {task: 1},
        **more,
    }
    if model is not None:
        document["model_name"] = model
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def trainer(path, *losses, every=10):
    history = [{"step": every * at, "eval_loss": loss} for at, loss in enumerate(losses, start=1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"log_history": history}))
    return path


def column(collected, name="arc/acc,none"):
    table = collected.wide()
    return dict(zip(table["run"], table[name], strict=True))


def test_one_folder_has_a_run_in_each_sub_folder(tmp_path):
    for at, run in enumerate("abc"):
        lm_eval(tmp_path / "runs" / run / "model" / "results_2026-11-02T10-11-12.1.json", 0.1 * at)
    assert column(metrics(tmp_path / "runs")) == {"a": 0.0, "b": 0.1, "c": 0.2}


def test_runs_whose_results_lie_in_two_folders_are_named_with_the_id_that_joins_them(tmp_path):
    for at, run in enumerate("abc"):
        lm_eval(tmp_path / "evals" / run / "model" / "results_2026-11-02T10-11-12.1.json", 0.1 * at)
        trainer(tmp_path / "train" / run / "trainer_state.json", 3.0, 2.5 - at)
    both = [tmp_path / "evals", tmp_path / "train"]
    (note,) = [note for note in metrics(both).report.notes if "no metric in common" in note]
    assert "runs evals/a, train/a" in note
    assert "id='{run}/*' joins them" in note
    assert metrics(both, id="{run}/*").runs == ("a", "b", "c")
    assert any("id='*/{run}/*' joins them" in note for note in metrics(tmp_path).report.notes)
    assert metrics(tmp_path, id="*/{run}/*").runs == ("a", "b", "c")


def test_several_paths_are_a_run_each_with_all_files_below(tmp_path):
    for run in "ab":
        lm_eval(tmp_path / run / "harness" / "results_2026-11-02T10-11-12.1.json", 0.3)
        trainer(tmp_path / run / "train" / "trainer_state.json", 3.0, 2.5)
    collected = metrics([tmp_path / "a", tmp_path / "b"])
    assert collected.wide() == {"run": ["a", "b"], "arc/acc,none": [0.3, 0.3], "eval_loss": [2.5, 2.5]}


def test_patterns_are_expanded_and_must_match(tmp_path):
    for run in ("r1", "r2"):
        lm_eval(tmp_path / run / "results.json", 0.2)
    assert metrics(str(tmp_path / "r*")).runs == ("r1", "r2")
    with pytest.raises(ResultsError, match="matches nothing"):
        metrics(str(tmp_path / "x*"))
    with pytest.raises(ResultsError, match="does not exist"):
        metrics(tmp_path / "absent")


def test_files_of_one_folder_are_a_run_each(tmp_path):
    files = [
        lm_eval(tmp_path / f"{run}_2026-11-02T10-11-12.1.json", value) for run, value in (("one", 0.1), ("two", 0.2))
    ]
    assert column(metrics(files)) == {"one": 0.1, "two": 0.2}


def test_files_of_several_folders_are_a_run_for_each_folder(tmp_path):
    files = [
        lm_eval(tmp_path / run / f"results_2026-11-0{day}T10-11-12.1.json", 0.1 * day) for run in "ab" for day in (1, 2)
    ]
    assert column(metrics(files)) == {"a": 0.2, "b": 0.2}


def test_the_folder_itself_is_the_run_if_it_holds_results(tmp_path):
    lm_eval(tmp_path / "only" / "results.json", 0.4)
    assert column(metrics(tmp_path / "only")) == {"only": 0.4}


def test_folders_of_batches_are_not_merged_into_one_run(tmp_path):
    for batch in "xy":
        for at, run in enumerate(("r1", "r2", "r3")):
            trainer(tmp_path / batch / run / "trainer_state.json", 3.0 + at, 2.0 + at)
    collected = metrics([tmp_path / "x", tmp_path / "y"])
    assert sorted(collected.runs) == ["x/r1", "x/r2", "x/r3", "y/r1", "y/r2", "y/r3"]
    assert any("each folder with results is a run of its own" in note for note in collected.report.notes)


def test_runs_that_end_at_different_steps_are_not_merged(tmp_path):
    """Their last steps differ, but the values at the steps that both have tell them apart."""
    trainer(tmp_path / "x" / "r1" / "trainer_state.json", 3.0, 2.5)
    trainer(tmp_path / "x" / "r2" / "trainer_state.json", 3.1, 2.6, 2.2)
    trainer(tmp_path / "y" / "r1" / "trainer_state.json", 3.2, 2.7)
    assert len(metrics([tmp_path / "x", tmp_path / "y"]).runs) == 3


def test_checkpoints_are_one_run_and_the_last_counts(tmp_path):
    for run, shift in (("a", 0.0), ("b", 0.5)):
        trainer(tmp_path / run / "checkpoint-10" / "trainer_state.json", 3.0 + shift)
        trainer(tmp_path / run / "checkpoint-20" / "trainer_state.json", 3.0 + shift, 2.0 + shift)
    collected = metrics(tmp_path)
    assert column(collected, "eval_loss") == {"a": 2.0, "b": 2.5}
    assert not collected.report.conflicts


def test_a_folder_with_nothing_but_checkpoints_is_one_run(tmp_path):
    trainer(tmp_path / "r" / "checkpoint-10" / "trainer_state.json", 3.0)
    trainer(tmp_path / "r" / "checkpoint-20" / "trainer_state.json", 3.0, 2.5)
    assert metrics(tmp_path / "r").wide() == {"run": ["r"], "eval_loss": [2.5]}
    # What differs at one step is not of one run.
    trainer(tmp_path / "r" / "checkpoint-30" / "trainer_state.json", 4.0)
    assert len(metrics(tmp_path / "r").runs) == 3


def test_folders_of_steps_tell_the_step_of_results_without_one(tmp_path):
    for run, shift in (("a", 0.0), ("b", 0.1)):
        for step in (500, 1000):
            lm_eval(tmp_path / run / f"step{step}" / "results.json", step / 10_000 + shift)
    collected = metrics(tmp_path)
    assert column(collected) == {"a": 0.1, "b": 0.2}
    assert set(collected.step) == {1000}
    assert column(metrics(tmp_path, step=500)) == {"a": 0.05, "b": pytest.approx(0.15)}


def test_few_contradicting_runs_are_left_out_and_named(tmp_path):
    for at in range(4):
        lm_eval(tmp_path / f"r{at}" / "eval" / "results.json", 0.1 * at)
    lm_eval(tmp_path / "r3" / "other" / "results.json", 0.9)
    collected = metrics(tmp_path)
    assert collected.runs == ("r0", "r1", "r2")
    ((where, why),) = collected.report.skipped
    assert where == "r3"
    assert "differ in arc/acc,none (0.3 and 0.9)" in why
    assert "--id" in why or "id=" in why


def test_a_pattern_says_what_is_one_run_and_the_newest_file_counts(tmp_path):
    for at in range(3):
        lm_eval(tmp_path / f"r{at}" / "first" / "results_2026-11-01T10-11-12.1.json", 0.1)
        lm_eval(tmp_path / f"r{at}" / "again" / "results_2026-11-02T10-11-12.1.json", 0.2)
    collected = metrics(tmp_path, id="{run}/*")
    assert column(collected) == {"r0": 0.2, "r1": 0.2, "r2": 0.2}
    assert [(one.kept, one.dropped) for one in collected.report.conflicts] == [(0.2, 0.1)] * 3
    assert "first" in str(collected.report)
    assert "again" in str(collected.report)


def test_a_pattern_does_not_merge_two_folders_of_one_name(tmp_path):
    for swarm, value in (("old", 0.1), ("new", 0.2)):
        lm_eval(tmp_path / swarm / "run1" / "results.json", value)
        lm_eval(tmp_path / swarm / f"run_{swarm}" / "results.json", value)
    collected = metrics(tmp_path, id="*/{run}")
    assert sorted(collected.runs) == ["run_new", "run_old"]
    assert [where for where, _ in collected.report.skipped] == ["run1"]


def test_a_pattern_joins_two_tools_that_evaluated_one_run(tmp_path):
    lm_eval(tmp_path / "harness" / "r1" / "results.json", 0.1)
    trainer(tmp_path / "train" / "r1" / "trainer_state.json", 2.0)
    assert metrics(tmp_path, id="*/{run}").wide() == {"run": ["r1"], "arc/acc,none": [0.1], "eval_loss": [2.0]}


@pytest.mark.parametrize("pattern", ["proxies/{run}", "proxies/{run}/*", "{run}/*", "proxy_{run}"])
def test_patterns_start_at_the_folder_above_it_or_anywhere(tmp_path, pattern, monkeypatch):
    for run in ("proxy_a", "proxy_b"):
        lm_eval(tmp_path / "proxies" / run / "m" / "results.json", 0.1)
    monkeypatch.chdir(tmp_path)
    runs = metrics("proxies", id=pattern).runs
    assert runs == (("a", "b") if pattern == "proxy_{run}" else ("proxy_a", "proxy_b"))


def test_a_pattern_that_fits_nothing_is_refused(tmp_path):
    lm_eval(tmp_path / "a" / "results.json")
    with pytest.raises(ResultsError, match="fits none of the 1 file"):
        metrics(tmp_path, id="proxies/{run}.json")
    with pytest.raises(ResultsError, match=r"must contain \{run\}"):
        metrics(tmp_path, id="proxies/*")


def test_two_models_in_one_folder_are_not_merged(tmp_path):
    """Their tasks differ, so no value contradicts another."""
    lm_eval(tmp_path / "out" / "results_2026-11-01T10-11-12.1.json", 0.1, "arc", model="org/one")
    lm_eval(tmp_path / "out" / "results_2026-11-02T10-11-12.1.json", 0.2, "boolq", model="org/two")
    with pytest.raises(ResultsError, match=r"name different models, 'org/one' and 'org/two'.*model_name"):
        metrics(tmp_path / "out")
    collected = metrics(tmp_path / "out", id="model_name")
    assert collected.runs == ("one", "two")


def test_a_field_that_all_runs_share_does_not_merge_them(tmp_path):
    for run, value in (("a", 0.1), ("b", 0.2)):
        lm_eval(tmp_path / run / "results.json", value, model="hf")
    with pytest.raises(ResultsError, match="so they belong to different runs"):
        metrics(tmp_path, id="model_name")
    with pytest.raises(ResultsError, match=r"no file has the field 'model'; the fields are"):
        metrics(tmp_path, id="model")


def test_equal_names_at_different_places_are_named_apart(tmp_path):
    for place, value in (("x", 0.1), ("y", 0.2)):
        lm_eval(tmp_path / place / "run1" / "results.json", value)
        lm_eval(tmp_path / place / "run2" / "results.json", value + 0.2)
    collected = metrics(sorted(tmp_path.glob("*/*")))
    assert collected.runs == ("x/run1", "x/run2", "y/run1", "y/run2")


def test_one_folder_by_two_names_is_read_once_and_named(tmp_path):
    lm_eval(tmp_path / "a" / "results.json", 0.1)
    lm_eval(tmp_path / "b" / "results.json", 0.2)
    (tmp_path / "latest").symlink_to(tmp_path / "b")
    collected = metrics(tmp_path)
    assert collected.runs == ("a", "b")
    ((where, why),) = collected.report.skipped
    assert where.endswith("latest")
    assert "the same as" in why


def test_a_path_that_is_given_twice_is_one_run(tmp_path):
    lm_eval(tmp_path / "a" / "results.json", 0.1)
    lm_eval(tmp_path / "b" / "results.json", 0.2)
    collected = metrics([tmp_path / "a", tmp_path / "b", tmp_path / "a"])
    assert collected.runs == ("a", "b")


def test_circles_of_links_end(tmp_path):
    lm_eval(tmp_path / "a" / "m" / "results.json", 0.1)
    (tmp_path / "a" / "m" / "back").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    assert metrics(tmp_path).runs == ("a",)


def test_a_mapping_names_the_runs(tmp_path):
    lm_eval(tmp_path / "x" / "results.json", 0.1)
    lm_eval(tmp_path / "y" / "results.json", 0.2)
    trainer(tmp_path / "t" / "trainer_state.json", 2.0)
    collected = metrics({"first": tmp_path / "x", "second": [tmp_path / "y", tmp_path / "t"]})
    assert collected.wide()["run"] == ["first", "second"]
    assert collected.wide()["arc/acc,none"] == [0.1, 0.2]


def test_results_of_simple_evaluate_are_taken_by_run():
    results = {"results": {"arc": {"acc,none": 0.3}}, "higher_is_better": {"arc": {"acc": True}}}
    assert metrics({"a": results, "b": results}).runs == ("a", "b")
    with pytest.raises(ResultsError, match="without its name"):
        metrics(results)


def test_the_same_model_in_two_runs_is_named(tmp_path):
    for run, model in (("a", "/ckpt/a"), ("b", "/ckpt/b"), ("c", "/ckpt/b")):
        lm_eval(tmp_path / run / "results.json", 0.1, model=model)
    assert any("runs b, c have results of one model" in note for note in metrics(tmp_path).report.notes)


def test_folders_that_cannot_be_read_are_named_and_the_rest_is_collected(tmp_path, monkeypatch):
    for run in "ab":
        lm_eval(tmp_path / run / "results.json", 0.1)
    scan = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("b"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    collected = metrics(tmp_path)
    assert collected.runs == ("a",)
    assert collected.report.skipped == ((str(tmp_path / "b"), "Permission denied"),)


def test_paths_without_results_are_named(tmp_path):
    lm_eval(tmp_path / "a" / "results.json", 0.1)
    (tmp_path / "empty").mkdir()
    collected = metrics([tmp_path / "a", tmp_path / "empty"])
    assert collected.report.without_results == (str(tmp_path / "empty"),)
    assert "without results" in str(collected.report)


def test_names_are_the_differing_parts():
    assert list(names_of([("d", "r1", "m", "e"), ("d", "r2", "m", "e")]).values()) == ["r1", "r2"]
    assert list(names_of([("d", "r1"), ("d", "r1", "x")]).values()) == ["r1", "x"]
    assert list(names_of([("d", "s1", "k", "r1"), ("d", "s2", "k", "r2")]).values()) == ["s1/r1", "s2/r2"]
    assert list(names_of([("d", "only")]).values()) == ["only"]


def test_runs_that_are_named_by_numbers_are_no_checkpoints(tmp_path):
    for at in range(3):
        lm_eval(tmp_path / f"iter{at}" / "results.json", 0.1 * at)
    assert metrics(tmp_path).runs == ("iter0", "iter1", "iter2")


def test_what_a_link_leads_to_belongs_to_the_run_where_it_lies(tmp_path):
    for at, run in enumerate("abc"):
        trainer(tmp_path / "runs" / run / "trainer_state.json", 3.0 - at)
    (tmp_path / "runs" / "a" / "started_from").symlink_to(tmp_path / "runs" / "c")
    (tmp_path / "runs" / "_best").symlink_to(tmp_path / "runs" / "b")
    expected = {"a": 3.0, "b": 2.0, "c": 1.0}
    assert column(metrics(tmp_path / "runs"), "eval_loss") == expected
    assert column(metrics(str(tmp_path / "runs" / "*")), "eval_loss") == expected


def test_a_folder_of_links_is_read(tmp_path):
    for at, run in enumerate("ab"):
        trainer(tmp_path / "far" / run / "trainer_state.json", 3.0 - at)
        (tmp_path / "runs").mkdir(exist_ok=True)
        (tmp_path / "runs" / f"run_{run}").symlink_to(tmp_path / "far" / run)
    assert column(metrics(tmp_path / "runs"), "eval_loss") == {"run_a": 3.0, "run_b": 2.0}


def test_folders_of_runs_that_ended_at_different_steps_are_not_checkpoints_of_one_run(tmp_path):
    for at, place in enumerate(("a/r1", "a/r2", "b/r3"), start=1):
        path = tmp_path / "sweep" / place / f"metrics_step{at}000.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"eval/downstream/arc (BPB v2)": 1.0 * at}))
    collected = metrics(tmp_path)
    assert column(collected, "eval/downstream/arc (BPB v2)") == {"a/r1": 1.0, "a/r2": 2.0, "b/r3": 3.0}
    assert "at different steps, so they may belong to different runs" in str(collected.report)


def test_folders_that_are_named_by_steps_are_said_to_be_one_run(tmp_path):
    for step in (100, 200):
        lm_eval(tmp_path / "proxy" / f"step{step}" / "results.json", step / 1000)
    collected = metrics(tmp_path / "proxy")
    assert column(collected) == {"proxy": 0.2}
    assert "taken as checkpoints of one run" in str(collected.report)
    assert column(metrics(tmp_path / "proxy", id="{run}/*")) == {"step100": 0.1, "step200": 0.2}
