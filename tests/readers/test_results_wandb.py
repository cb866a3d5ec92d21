"""Runs of W&B: the folders that it writes offline, and exports by hand after what its web page and its API write."""

import json
import math
import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from mixfast import readers
from mixfast.readers import metrics
from mixfast.readers.results._contents import Contents, ResultsError, Wanted
from mixfast.readers.results._source import Source
from mixfast.readers.results._tags import TRAINING
from mixfast.readers.results._wandb import WANDB

LOGGED = """
import sys, wandb
for name, web in (("proxy-a", 0.25), ("proxy-b", 0.75)):
    config = {"mixture": {"web": web, "code": 1.0 - web}, "lr": 1e-3, "model": "tiny"}
    with wandb.init(project="swarm", name=name, group="proxies", dir=sys.argv[1], config=config) as run:
        run.define_metric("eval/least", summary="min,last")
        for step in range(0, 301, 100):
            values = {"trainer/global_step": step, "train/loss": 3.0 - step / 200, "eval/arc (BPB v2)": 1.0 - step / 1000}
            run.log(values | {"eval/least": 1.0 + step / 100, "lr": 1e-3, "note": "text", "long": "x" * 20000})
        run.log({"trainer/global_step": 301, "eval/bad": float("nan"), "histogram": wandb.Histogram([1.0, 2.0])})
        run.summary["final/pass@1"] = web
"""


def read(path, **wanted) -> Contents:
    source = Source(path)
    assert WANDB.fits(source)
    return WANDB.read(source, Wanted(**wanted))


def kept(contents):
    return {(one.run, one.metric, one.step): one.value for one in contents.measures if not one.left_out}


def last(contents):
    """Return the kept values at the last step."""
    return {(run, metric): value for (run, metric, _), value in kept(contents).items()}


def left_out(contents):
    return {one.metric: one.left_out for one in contents.measures if one.left_out}


def table(path, text):
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """Return the folder of two runs that wandb wrote offline."""
    pytest.importorskip("wandb")
    folder = tmp_path_factory.mktemp("offline")
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_CONSOLE": "off"}
    subprocess.run([sys.executable, "-c", LOGGED, str(folder)], check=True, cwd=folder, env=environment, timeout=120)
    return folder / "wandb"


@pytest.fixture(scope="module")
def log(offline):
    return min(offline.glob("*/*.wandb"), key=lambda path: path.parent.name)


def named(offline, name):
    return next(path for path in offline.glob("offline-run-*/*.wandb") if read(path).fields["name"] == name)


def test_an_offline_run_leaves_its_history_only_in_the_log(offline):
    names = {path.name for path in offline.rglob("*") if path.is_file()}
    if tuple(map(int, version("wandb").split(".")[:2])) < (0, 31):
        pytest.skip("older versions of wandb also write a summary or settings")
    assert not names & {"wandb-summary.json", "config.yaml", "wandb-metadata.json"}


def test_the_log_of_an_offline_run_is_read_without_wandb(offline):
    contents = read(named(offline, "proxy-a"), domains=("mixture.*",))
    found = kept(contents)
    # The step is that of the trainer, not the number of calls of log.
    assert found["", "eval/arc (BPB v2)", 300] == pytest.approx(0.7)
    assert [step for _, metric, step in found if metric == "eval/arc (BPB v2)"] == [0, 100, 200, 300]
    assert math.isnan(found["", "eval/bad", 301])
    assert found["", "final/pass@1", None] == 0.25
    # The least of the steps, which define_metric put into the summary, is no second metric.
    assert {metric for _, metric, _ in found} == {"eval/arc (BPB v2)", "eval/bad", "eval/least", "final/pass@1"}
    assert found["", "eval/least", 300] == 4.0
    assert left_out(contents) == {"train/loss": TRAINING}
    assert contents.mixtures == {"": {"mixture.web": 0.25, "mixture.code": 0.75}}
    assert {"name": "proxy-a", "group": "proxies", "project": "swarm"}.items() <= contents.fields.items()
    assert {"note", "long"} <= {*contents.text}
    assert {"lr", "trainer/global_step"} <= {*contents.bookkeeping}
    assert contents.written.startswith("20")
    assert not contents.notes


def test_a_log_over_several_blocks_is_read_whole(log):
    assert log.stat().st_size > 2 * 32768
    assert len([one for one in read(log).measures if one.metric == "eval/least" and not one.left_out]) == 4


def test_the_log_of_a_killed_run_is_used_up_to_its_last_whole_record(tmp_path, log):
    data = log.read_bytes()
    cut = tmp_path / "run-x.wandb"
    cut.write_bytes(data[: len(data) // 2])
    contents = read(cut)
    assert 0 < len([one for one in contents.measures if one.metric == "eval/least"]) < 4
    assert "killed" in contents.notes[0]


def test_a_changed_byte_ends_the_log(tmp_path, log):
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "run-x.wandb").write_bytes(data)
    assert "incomplete or damaged" in read(tmp_path / "run-x.wandb").notes[0]


def test_a_field_of_wandb_names_the_runs_and_its_configuration_holds_their_mixtures(offline):
    found = readers.metrics(offline, id="name", domains="mixture.*")
    assert sorted(found.runs) == ["proxy-a", "proxy-b"]
    assert found.mixtures["proxy-b"] == {"mixture.web": 0.75, "mixture.code": 0.25}
    assert found.directions["eval/arc (BPB v2)"] == "min"
    assert found.directions["final/pass@1"] == "max"


def test_runs_are_named_as_in_wandb_and_the_link_to_the_latest_is_none(offline):
    found = readers.metrics(offline)
    # Folders that W&B names by date and id say nothing about a run.
    assert sorted(found.runs) == ["proxy-a", "proxy-b"]
    assert not found.report.skipped
    assert not found.report.without_results


@pytest.mark.parametrize("named", [{}, {"id": "id"}], ids=["folder", "field"])
def test_the_starts_of_a_resumed_run_are_one_run(tmp_path, named):
    for day, run, step, loss in ((1, "r1", 20, 4.0), (2, "r1", 30, 3.0), (3, "r2", 30, 3.5)):
        folder = tmp_path / f"offline-run-2026110{day}_100000-{run}" / "files"
        folder.mkdir(parents=True)
        (folder / "wandb-summary.json").write_text(json.dumps({"_step": step, "_timestamp": 1e9, "eval/loss": loss}))
    found = readers.metrics(tmp_path, **named)
    assert [run[-2:] for run in found.runs] == ["r1", "r2"]
    assert found.wide()["eval/loss"] == [3.0, 3.5]


# The folder of a run that was online.


def test_the_summary_of_an_online_run_has_its_mixture_in_the_file_beside_it(tmp_path):
    folder = tmp_path / "wandb/run-20261129_171436-s0z7dwvn/files"
    folder.mkdir(parents=True)
    summary = {
        "_step": 30, "_runtime": 12.5, "_timestamp": 1.7e9, "_wandb": {"runtime": 12}, "trainer/global_step": 3000, "epoch": 1,
        "eval": {"arc/acc": 0.5, "loss": {"min": 1.0, "last": 1.5}}, "eval/nan": "NaN", "eval/none": None, "train/loss": 2.0,
        "eval/samples_per_second": 9.0, "lr-AdamW": 0.001, "text": "abc", "table": {"_type": "table-file", "nrows": 3},
    }  # fmt: skip
    (folder / "wandb-summary.json").write_text(json.dumps(summary))
    (folder / "config.yaml").write_text(
        "wandb_version: 1\n_wandb:\n  value: {}\nmixture:\n  desc: null\n  value:\n    web: 0.5\n    code: 0.5\nlr:\n  value: 1\n"
    )
    contents = read(folder / "wandb-summary.json", domains=("mixture.*",))
    found = kept(contents)
    assert found["", "eval.arc/acc", 3000] == 0.5
    assert found["", "eval.loss", 3000] == 1.5
    assert math.isnan(found["", "eval/nan", 3000])
    assert math.isnan(found["", "eval/none", 3000])
    assert {metric for _, metric, _ in found} == {"eval.arc/acc", "eval.loss", "eval/nan", "eval/none"}
    assert "not its last value" in left_out(contents)["eval.loss.min"]
    assert contents.mixtures == {"": {"mixture.web": 0.5, "mixture.code": 0.5}}
    assert contents.fields == {"id": "s0z7dwvn"}
    assert contents.written == "2023-11-14T22:13:20+00:00"


# The table of runs.

RUNS = """"Name","State","Notes","User","Tags","Created","Runtime","Sweep","lr","warmup","d_model","data.web","data.code","_step","eval/arc (BPB v2)","eval/arc (BPB v2).min","train/loss","eval/quiz","throughput/device/TPS"
"a","finished","","me","x","2026-11-01T10:00:00.000Z","100","","0.001","100","512","0.25","0.75","1000","1.5","1.25","2.5","0.5","900"
"b","crashed","-","me","x","2026-11-01T10:00:00.000Z","50","","0.001","auto","512","0.5","0.5","400","1.75","1.5","2.75","0.25","900"
"c","running","-","me","x","2026-11-01T10:00:00.000Z","60","","0.001","100","512","0.75","0.25","600","1.25","1.0","2.25","","910"
"""


def test_the_table_of_runs_keeps_summaries_and_names_runs_that_have_not_finished(tmp_path):
    contents = read(table(tmp_path / "wandb_export_2026-11-29.csv", RUNS))
    assert kept(contents) == {
        ("a", "eval/arc (BPB v2)", 1000): 1.5,
        ("b", "eval/arc (BPB v2)", 400): 1.75,
        ("c", "eval/arc (BPB v2)", 600): 1.25,
        ("a", "eval/quiz", 1000): 0.5,
        ("b", "eval/quiz", 400): 0.25,
    }
    assert contents.mixtures["a"] == {"data.web": 0.25, "data.code": 0.75}
    assert left_out(contents)["train/loss"] == TRAINING
    assert (
        left_out(contents)["eval/arc (BPB v2).min"] == "the min over the steps of eval/arc (BPB v2), not its last value"
    )
    assert "2 of 3 runs have not finished" in contents.notes[0]
    assert "b (crashed), c (running)" in contents.notes[0]
    assert {"State", "User", "Created", "Runtime", "lr", "d_model", "_step"} <= {*contents.bookkeeping}
    assert "warmup" in contents.text


def test_settings_that_are_the_same_in_all_runs_are_no_metrics(tmp_path):
    text = "Name,State,Created,block,eval/loss\n" + "".join(f"r{at},finished,2026,7,{at}.5\n" for at in range(3))
    contents = read(table(tmp_path / "runs.csv", text))
    assert left_out(contents) == {"block": "the same in all runs, as settings are"}


def test_of_runs_with_one_name_the_newest_that_has_finished_is_used(tmp_path):
    text = "ID,Name,State,Created,eval/loss\nx1,a,crashed,2026-11-03,9\nx2,a,finished,2026-11-01,1\nx3,a,finished,2026-11-02,2\nx4,b,finished,2026-11-01,3\n"
    path = table(tmp_path / "runs.csv", text)
    contents = read(path)
    assert last(contents) == {("a", "eval/loss"): 2.0, ("b", "eval/loss"): 3.0}
    assert "newest that has finished is used for a" in contents.notes[0]
    assert "ID" in contents.notes[0]
    assert {run for run, _ in last(read(path, id="ID"))} == {"x1", "x2", "x3", "x4"}


@pytest.mark.parametrize("form", ["csv", "records", "columns", "parquet"])
def test_summaries_and_configurations_of_the_api_are_told_apart(tmp_path, form):
    """As the documentation of W&B writes them: run.summary._json_dict, run.config and run.name in a frame."""
    pandas = pytest.importorskip("pandas")
    summaries = [
        {"eval/loss": 1.5, "eval/x": float("nan"), "_step": 10, "_wandb": {"runtime": 3}},
        {"eval/loss": 2.5, "_step": 10},
    ]
    configs = [{"mix": {"web": 0.5, "code": 0.5}, "depth": 3}, {"mix": {"web": 0.25, "code": 0.75}, "depth": 4}]
    frame = pandas.DataFrame({"summary": summaries, "config": configs, "name": ["a", "b"]})
    path = tmp_path / {"csv": "project.csv", "records": "r.json", "columns": "c.json", "parquet": "runs.parquet"}[form]
    if form == "csv":
        frame.to_csv(path)
    elif form == "parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient=form)
    contents = read(path, domains=("mix.*",))
    assert kept(contents) == {("a", "eval/loss", 10): 1.5, ("b", "eval/loss", 10): 2.5}
    assert contents.mixtures["b"] == {"mix.web": 0.25, "mix.code": 0.75}
    assert "depth" in contents.bookkeeping


def test_a_summary_that_is_no_dictionary_says_how_to_write_it(tmp_path):
    path = table(tmp_path / "project.csv", "name,summary,config\na,<Summary object>,{}\n")
    with pytest.raises(ResultsError, match=r"row 1 below the header.*json\.dumps"):
        read(path)


# Charts and histories.

CHART = """"trainer/global_step","run - 1 - eval/loss","run - 1 - eval/loss__MIN","run - 1 - eval/loss__MAX","b - eval/loss","b - eval/loss__MIN","b - eval/loss__MAX"
"100","2.5","2.5","2.5","3.5","3.5","3.5"
"200","2.0","2.0","2.0","",,""
"""


def test_a_chart_has_a_column_for_each_run_and_none_for_its_spread(tmp_path):
    contents = read(table(tmp_path / "wandb_export_1.csv", CHART))
    assert kept(contents) == {
        ("run - 1", "eval/loss", 100): 2.5,
        ("run - 1", "eval/loss", 200): 2.0,
        ("b", "eval/loss", 100): 3.5,
    }
    assert len(contents.notes) == 1
    assert "W&B samples the points of a chart" in contents.notes[0]


def test_sampled_points_and_groups_of_runs_are_named(tmp_path):
    text = "Step,Group: a - eval/loss,Group: a - eval/loss__MIN,Group: a - eval/loss__MAX\n1,2.0,1.0,3.0\n"
    notes = read(table(tmp_path / "chart.csv", text)).notes
    assert any("means over several runs" in note for note in notes)
    assert any("means over several steps" in note for note in notes)


def test_the_time_of_a_chart_is_no_step(tmp_path):
    contents = read(table(tmp_path / "chart.csv", "Relative Time (Process),a - eval/loss\n1.5,3.0\n2.5,2.0\n"))
    assert kept(contents) == {("a", "eval/loss", None): 2.0}


def history_rows(count):
    return [
        {"_step": at, "_runtime": 1.0, "_timestamp": 1.7e9, "train/loss": 2.0, "eval/loss": 3.0 if at % 2 else None, "trainer/global_step": 10 * at}
        for at in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "parquet"])
def test_a_history_has_steps_and_holes(tmp_path, form):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(history_rows(4))
    path = (
        tmp_path
        / {"csv": "history.csv", "json": "h.json", "jsonl": "wandb-history.jsonl", "parquet": "0000.parquet"}[form]
    )
    if form == "csv":
        frame.to_csv(path)
    elif form == "parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=form == "jsonl")
    contents = read(path)
    assert kept(contents) == {("", "eval/loss", 10): 3.0, ("", "eval/loss", 30): 3.0}
    assert not contents.notes


def test_a_history_of_500_rows_may_be_sampled(tmp_path):
    path = tmp_path / "history.json"
    path.write_text(json.dumps(history_rows(500)))
    assert "run.history() samples" in read(path).notes[0]


def test_a_history_of_several_runs_brings_their_names(tmp_path):
    path = table(tmp_path / "history.csv", "run,_step,_runtime,eval/loss\na,1,1,3.0\na,2,2,NaN\nb,1,1,2.0\n")
    found = kept(read(path))
    assert found["a", "eval/loss", 1] == 3.0
    assert math.isnan(found["a", "eval/loss", 2])
    assert found["b", "eval/loss", 1] == 2.0


def test_a_plain_table_is_no_export_of_wandb(tmp_path):
    for text in ("run,loss\na,1\n", "name,state,loss\na,NY,1\n", "index,arc - easy,loss\n1,2,3\n"):
        assert not WANDB.fits(Source(table(tmp_path / "plain.csv", text)))


def test_what_was_logged_after_training_without_its_step_is_newer_than_the_last_step(tmp_path):
    rows = [
        {"_step": 0, "trainer/global_step": 100, "eval/loss": 3.0},
        {"_step": 9, "trainer/global_step": 1000, "eval/loss": 2.0},
        {"_step": 10, "eval/loss": 1.0},
    ]
    (tmp_path / "wandb-history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    collected = metrics(tmp_path)
    assert (collected.value.tolist(), collected.step) == ([1.0], (1000,))


def test_lines_of_a_chart_with_several_marks_between_run_and_metric_are_named(tmp_path):
    path = tmp_path / "chart.csv"
    path.write_text("Step,a - eval/loss,b - eval/x - y\n100,2.5,2\n")
    assert "names hold ' - ' more than once" in str(metrics(path).report)
