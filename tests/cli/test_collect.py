"""The command collect: from folders of results to the csv files of `fit`, with a short report and a next command that runs."""

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from mixfast import Mixture, exporters
from mixfast.cli._main import build_parser

DOMAINS = ["web", "code", "books"]
RUNS = [f"p{i}" for i in range(8)]


def results(tasks, **more):
    """Return the results file of lm-evaluation-harness for metrics of tasks, such as ``{"arc": {"acc": 0.5}}``."""
    return {
        "results": {
            task: {"alias": task, **{f"{name},none": value for name, value in found.items()}}
            for task, found in tasks.items()
        },
        "higher_is_better": {task: {name: name != "bits_per_byte" for name in found} for task, found in tasks.items()},
        "n-shot": dict.fromkeys(tasks, 0),
        **more,
    }


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def shares():
    return np.random.default_rng(0).dirichlet(np.ones(3), len(RUNS))


def made(folder, runs=RUNS):
    """Write a results file for each run, and the mixtures."""
    for run, row in zip(runs, shares().tolist(), strict=True):
        tasks = {
            "arc": {"acc": 0.3 + 0.4 * row[1], "acc_stderr": 0.01},
            "wiki": {"bits_per_byte": 1.0 + row[0], "bits_per_byte_stderr": "N/A"},
        }
        write(folder / "runs" / run / "eval" / "results_2026-11-20T10-00-00.json", results(tasks))
    lines = [",".join(map(str, [run, *row])) for run, row in zip(runs, shares().tolist(), strict=True)]
    write(folder / "ratios.csv", "\n".join([",".join(["run", *DOMAINS]), *lines]) + "\n")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    made(tmp_path)
    monkeypatch.chdir(tmp_path)


def rows(path):
    return list(csv.DictReader(Path(path).read_text().splitlines()))


def next_of(printed):
    (line,) = [line for line in printed.splitlines() if line.startswith("next: ")]
    return shlex.split(line.removeprefix("next: mixfast "))


def test_results_become_the_csv_file_of_fit_and_the_next_command_runs(good):
    said = good("collect", "runs", "--out", "metrics.csv", "--check", "ratios.csv")
    assert said.splitlines()[0].startswith("8 runs, 2 metrics")
    found = rows("metrics.csv")
    assert list(found[0]) == ["run", "arc/acc,none", "wiki/bits_per_byte,none"]
    assert [row["run"] for row in found] == RUNS
    assert next_of(said)[:3] == ["fit", "ratios.csv", "metrics.csv"]
    fitted = good(*next_of(said), "--law", "linear")
    assert "more is better: arc/acc,none" in fitted


def test_folders_and_patterns_are_runs(good):
    whole = good("collect", "runs", "--out", "a.csv")
    good("collect", *(f"runs/{run}" for run in RUNS), "--out", "b.csv")
    good("collect", "runs/*", "--out", "c.csv")
    good("collect", "runs", "--id", "runs/{run}/eval/*", "--out", "d.csv")
    assert len({Path(f"{name}.csv").read_text() for name in "abcd"}) == 1
    assert "next: mixfast fit RATIOS a.csv" in whole


def test_the_long_table_carries_the_directions_to_fit(good):
    said = good("collect", "runs", "--long", "long.csv", "--check", "ratios.csv")
    assert next_of(said)[:3] == ["fit", "ratios.csv", "long.csv"]
    first = rows("long.csv")[0]
    assert (first["run"], first["metric"], first["direction"], first["stderr"]) == ("p0", "arc/acc,none", "max", "0.01")


def accuracies(folder, tasks, runs=RUNS):
    """Write one file for each run with a metric "score7" of every task, of which nothing says which way is better."""
    rng = np.random.default_rng(1)
    for run in runs:
        found = {task: {"score7": float(rng.uniform())} for task in tasks}
        write(folder / run / "results_2026-11-20T10-00-00.json", {**results(found), "higher_is_better": {}})


def test_metrics_whose_direction_nothing_tells_are_listed_once_with_the_options_to_add(good):
    accuracies(Path("other"), ["a", "b"])
    said = good("collect", "other", "--out", "m.csv")
    assert sum("--more-is-better" in line for line in said.splitlines() if not line.startswith("next:")) == 1
    told = good("collect", "other", "--out", "m.csv", "--more-is-better", "a/*", "--less-is-better", "b/score7,none")
    assert not [line for line in told.splitlines() if "--more-is-better" in line and not line.startswith("next: ")]
    assert "--more-is-better a/score7,none" in told
    assert "--less-is-better b/score7,none" in told


def test_metrics_are_chosen_by_names_and_patterns(good):
    good("collect", "runs", "--metric", "*/acc,none", "--out", "m.csv")
    assert list(rows("m.csv")[0]) == ["run", "arc/acc,none"]
    good("collect", "runs", "--ignore", "arc/*", "--out", "m.csv")
    assert list(rows("m.csv")[0]) == ["run", "wiki/bits_per_byte,none"]


def test_the_values_of_one_step_are_taken(good):
    for run in RUNS:
        history = [{"step": step, "eval_loss": 4.0 - 0.01 * step} for step in (50, 100)]
        write(Path("trained", run, "trainer_state.json"), {"log_history": history})
    good("collect", "trained", "--out", "m.csv")
    assert {row["eval_loss"] for row in rows("m.csv")} == {"3.0"}
    good("collect", "trained", "--step", "50", "--out", "m.csv")
    assert {row["eval_loss"] for row in rows("m.csv")} == {"3.5"}


def test_samples_give_bits_per_byte_of_multiple_choice(good):
    for run in RUNS:
        line = {
            "doc_id": 0, "doc": {}, "target": "0", "filter": "none", "metrics": ["acc"], "acc": 1.0,
            "arguments": {f"gen_args_{at}": {"arg_0": "Question", "arg_1": f" {word}"} for at, word in enumerate(("four", "nine"))},
            "resps": [[["-4.0", "True"]], [["-9.0", "False"]]], "filtered_resps": [["-4.0", "True"], ["-9.0", "False"]],
        }  # fmt: skip
        write(Path("runs", run, "eval", "samples_arc_2026-11-20T10-00-00.jsonl"), json.dumps(line) + "\n")
    good("collect", "runs", "--out", "m.csv")
    assert not [name for name in rows("m.csv")[0] if name.startswith("arc/") and "per_byte" in name]
    good("collect", "runs", "--samples", "--out", "m.csv")
    (name,) = [name for name in rows("m.csv")[0] if name.startswith("arc/") and "per_byte" in name]
    assert float(rows("m.csv")[0][name]) == pytest.approx(1.0 / np.log(2.0))


# What files and folders may hold.


def test_half_written_and_unknown_files_are_named_and_the_rest_is_collected(good, run):
    whole = Path("runs/p0/eval/results_2026-11-20T10-00-00.json").read_text()
    write(Path("runs/p1/eval/results_2026-11-21T10-00-00.json"), whole[:60])
    write(Path("runs/p2/eval/results_2026-11-21T10-00-00.json"), {"colour": 1})
    write(Path("runs/p9/eval/results_2026-11-21T10-00-00.json"), "")
    said = good("collect", "runs", "--out", "m.csv")
    assert said.splitlines()[0].startswith("8 runs, 2 metrics")
    for run_ in ("p1", "p2", "p9"):
        assert f"runs/{run_}/eval/results_2026-11-21T10-00-00.json" in said
    assert [row["run"] for row in rows("m.csv")] == RUNS
    found = json.loads(run("collect", "runs", "--json")[1])
    assert len(found["skipped"]) == 3


def test_a_folder_that_cannot_be_read_is_named(good, monkeypatch):
    import os

    scandir = os.scandir

    def closed(path):
        if str(path).endswith("p3"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    said = good("collect", "runs", "--out", "m.csv")
    assert "runs/p3" in said
    assert "Permission denied" in said
    assert len(rows("m.csv")) == len(RUNS) - 1


def test_a_run_without_results_is_named(good):
    Path("runs/empty").mkdir()
    said = good("collect", "runs/*", "--out", "m.csv")
    assert any("without results" in line and "empty" in line for line in said.splitlines())
    assert len(rows("m.csv")) == len(RUNS)


def test_missing_values_are_empty_cells_and_their_runs_are_named(good):
    write(
        Path("runs/p0/eval/results_2026-11-20T10-00-00.json"),
        results({"arc": {"acc": "N/A"}, "wiki": {"bits_per_byte": 2.0}}),
    )
    write(Path("runs/p1/eval/results_2026-11-20T10-00-00.json"), results({"wiki": {"bits_per_byte": 1.5}}))
    said = good("collect", "runs", "--out", "m.csv")
    assert [row["arc/acc,none"] for row in rows("m.csv")][:2] == ["", ""]
    assert any("arc/acc,none in p0, p1" in line for line in said.splitlines())


def test_nothing_to_collect_is_refused_with_what_was_found_and_the_formats(refused):
    write(Path("other/notes.json"), {"colour": 1})
    said = refused("collect", "other", "--out", "m.csv")
    assert "lm-eval" in said
    assert "trainer" in said
    assert not Path("m.csv").exists()
    assert "no such folder" in refused("collect", "absent").replace("does not exist", "no such folder")
    assert "matches nothing" in refused("collect", "absent/*")
    assert "format" in refused("collect", "runs", "--format", "lm-evl")


# Outputs.


def test_outputs_are_checked_before_the_work(refused, good):
    assert "two outputs" in refused("collect", "runs", "--out", "m.csv", "--long", "m.csv")
    assert "ends in .csv" in refused("collect", "runs", "--out", "m.json")
    assert "there is no folder" in refused("collect", "runs", "--long", "nowhere/m.csv")
    assert "--force has no effect" in refused("collect", "runs", "--force")
    assert "one of the input files" in refused("collect", "runs", "--check", "ratios.csv", "--out", "ratios.csv")
    assert "--mixture-file has no effect without --ratios" in refused("collect", "runs", "--mixture-file", "m.yaml")
    assert "--mixture-paths has no effect without --mixture-file" in refused(
        "collect", "runs", "--mixture-paths", "/d/{domain}"
    )
    assert "--ratios needs the mixtures of the runs, and none of the files holds one" in refused(
        "collect", "runs", "--ratios", "r.csv", "--out", "m.csv"
    )
    assert not Path("m.csv").exists()
    Path("m.csv").write_text("run,x\n")
    good("collect", "runs", "--out", "m.csv")


def test_the_report_alone_writes_nothing(good):
    before = set(Path().rglob("*"))
    assert "next: mixfast collect runs --out metrics.csv" in good("collect", "runs")
    assert set(Path().rglob("*")) == before


# Mixtures.


def test_mixtures_come_from_a_file_in_the_folder_of_each_run(good, refused):
    for run, row in zip(RUNS, shares(), strict=True):
        exporters.levanter(Mixture(DOMAINS, row)).save(f"runs/{run}/train.yaml")
    said = good("collect", "runs", "--mixture-file", "train.yaml", "--out", "m.csv", "--ratios", "r.csv")
    assert [float(row["web"]) for row in rows("r.csv")] == pytest.approx(shares()[:, 0].tolist())
    assert next_of(said)[:3] == ["fit", "r.csv", "m.csv"]
    good(*next_of(said), "--law", "linear")
    Path("runs/p3/train.yaml").unlink()
    assert "p3" in good("collect", "runs", "--mixture-file", "train.yaml", "--out", "m.csv", "--ratios", "r.csv")
    assert "missing.yaml" in refused("collect", "runs", "--mixture-file", "missing.yaml", "--ratios", "r.csv")


def test_mixtures_with_paths_are_named_by_a_pattern(good):
    for run, row in zip(RUNS, shares(), strict=True):
        text = " ".join(
            f"{share!r} /data/{name}_text_document" for name, share in zip(DOMAINS, row.tolist(), strict=True)
        )
        write(Path(f"runs/{run}/blend.txt"), text)
    paths = ("--mixture-file", "blend.txt", "--mixture-paths", "/data/{domain}_text_document")
    good("collect", "runs", *paths, "--out", "m.csv", "--ratios", "r.csv")
    assert list(rows("r.csv")[0]) == ["run", *DOMAINS]


def test_one_table_of_a_tracker_gives_both_files(good):
    header = ["Name", "State", *(f"mix.{name}" for name in DOMAINS), "eval/loss", "eval/acc", "_runtime"]
    lines = [
        [run, "finished", *map(repr, row), repr(3.0 + row[0]), repr(0.1 + row[1]), "17"]
        for run, row in zip(RUNS, shares().tolist(), strict=True)
    ]
    write(Path("export.csv"), "\n".join(map(",".join, [header, *lines])) + "\n")
    said = good("collect", "export.csv", "--domains", "mix.*", "--out", "m.csv", "--ratios", "r.csv")
    assert list(rows("m.csv")[0]) == ["run", "eval/loss", "eval/acc"]
    assert list(rows("r.csv")[0]) == ["run", *(f"mix.{name}" for name in DOMAINS)]
    good(*next_of(said), "--law", "linear")


def test_check_names_runs_on_one_side_only_and_repeats(good, refused):
    lines = Path("ratios.csv").read_text().splitlines()
    twin = lines[1].replace("p0,", "twin,")
    Path("some.csv").write_text("\n".join([*lines[:-1], twin, "absent,1,0,0"]) + "\n")
    write(
        Path("runs/twin/eval/results_2026-11-20T10-00-00.json"),
        Path("runs/p0/eval/results_2026-11-20T10-00-00.json").read_text(),
    )
    said = good("collect", "runs", "--check", "some.csv").splitlines()
    assert any("absent" in line and "no results" in line for line in said)
    assert any("p7" in line and "without a mixture" in line for line in said)
    assert any("p0, twin" in line for line in said)
    Path("other.csv").write_text("\n".join([lines[0], *(f"x{line}" for line in lines[1:])]) + "\n")
    said = refused("collect", "runs", "--check", "other.csv", "--out", "m.csv")
    assert "no run in common" in said
    assert "--id 'FOLDER/{run}/*' or --id FIELD" in said


def test_names_with_a_prefix_are_refused_with_the_id_that_removes_it(good, refused):
    Path("runs").rename("evals")
    for run in RUNS:
        Path("evals", run).rename(f"evals/proxy-{run}")
    said = refused("collect", "evals", "--check", "ratios.csv", "--out", "m.csv")
    assert "--id 'proxy-{run}' names the runs as in ratios.csv" in said
    assert "8 runs with a mixture" in good(
        "collect", "evals", "--check", "ratios.csv", "--out", "m.csv", "--id", "proxy-{run}"
    )


# The report of many runs and metrics.


def test_the_report_of_many_runs_and_metrics_is_short_and_verbose_names_all(good, run):
    tasks = [f"task{i:03d}" for i in range(200)]
    runs = [f"many/r{i:03d}" for i in range(60)]
    accuracies(Path(), tasks, runs)
    for name in runs[:20]:
        path = Path(name, "results_2026-11-20T10-00-00.json")
        found = json.loads(path.read_text())
        for task in tasks[:40]:
            del found["results"][task]
        path.write_text(json.dumps(found))
    for name in runs[20:50]:
        write(Path(name, "results_2026-11-22T10-00-00.json"), "{")
    said = good("collect", "many")
    assert len(said.splitlines()) < 25
    assert max(map(len, said.splitlines())) < 600
    assert "task100" not in said
    everything = run("collect", "many", "--verbose")[1]
    assert all(task in everything for task in tasks[:40])
    assert all(name in everything for name in runs[20:50])


def test_every_option_of_collect_is_tried_here():
    source = Path(__file__).read_text(encoding="utf-8")
    parser = build_parser()
    options = [option for action in parser.below["collect"].arguments for option in action.option_strings]
    # Options of every command are tried in test_json_output.py.
    options = [option for option in options if option not in ("--quiet", "--help")]
    assert not [option for option in options if option.startswith("--") and f'"{option}"' not in source]


def test_a_metric_that_fit_leaves_out_by_its_name_is_asked_for_in_the_next_command(good):
    for run, row in zip(RUNS, shares().tolist(), strict=True):
        found = {"quiz": {"acc": 0.1 + row[0], "latency_std": 5.0 + row[1]}}
        write(Path("own", run, "results_2026-11-20T10-00-00.json"), results(found))
    said = good("collect", "own", "--check", "ratios.csv", "--out", "m.csv")
    assert "2 metrics" in good(*next_of(said), "--law", "linear")


def test_all_files_are_written_or_none(refused):
    """A name that a spreadsheet computes is refused in the last table; the first is not written either."""
    write(Path("=1", "r", "trainer_state.json"), {"log_history": [{"step": 9, "eval_loss": 3.0}]})
    said = refused("collect", "=1", "--out", "m.csv", "--long", "long.csv")
    assert "a spreadsheet that opens a csv file would compute these names: '=1/r/trainer_state.json'" in said
    assert not Path("m.csv").exists()
