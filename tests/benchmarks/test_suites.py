"""The tables of the benchmarks, the peers and the command line of the studies. No speed is measured here."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest

from benchmarks import compare, facts, peers, ratios, studies
from benchmarks.problems import gaussians
from benchmarks.studies.__main__ import main as study


def test_every_peer_has_what_an_adapter_needs():
    found = peers.modules()
    names = [(one.job, one.name) for one in found]
    assert len(set(names)) == len(names) > 30
    for one in found:
        assert one.job
        assert callable(one.run)
        assert one.reason() is None or isinstance(one.reason(), str)


@pytest.mark.parametrize("name", ["em", "exponentiated_gradient", "slsqp"])
def test_peers_reach_the_gap_that_is_asked_for(name):
    one = importlib.import_module(f"benchmarks.peers.{name}")
    if reason := one.reason():
        pytest.skip(reason)
    problem = gaussians("tiny", 200, 3, seed=1)

    class Task:
        gap, patience = 1e-4, 20.0

    Task.problem = problem
    task = Task()
    if name == "exponentiated_gradient":
        # The peer's step search copies the task.
        weights = one.run((task, 3.0))
    else:
        weights = one.run(one.prepare(task))
    assert problem.gap(weights) <= 1.01e-4


def test_a_peer_that_is_too_slow_says_so():
    one = importlib.import_module("benchmarks.peers.em")

    class Task:
        gap, patience, problem = 1e-14, 0.0, gaussians("tiny", 200, 3, seed=1)

    with pytest.raises(peers.Unable, match="after 0 s, asked for 1e-14"):
        one.run(Task())


def benchmark(name, median, **extra):
    """Return one benchmark in pytest-benchmark's format."""
    info = {"contender": name, "ours": name == "mixfast", "limits": {}, "rows": 10, "domains": 2, **extra}
    return {
        "fullname": f"benchmarks/test_solve.py::test_to_gap[{name}]", "group": "solve tiny", "extra_info": info,
        "stats": {"median": median, "min": median, "rounds": 5},
    }  # fmt: skip


def file_of(*benchmarks, skipped=(), failed=()):
    """Return the result file of a benchmark run."""
    where = facts.shared() | {"load": 0.5}
    return {
        "benchmarks": list(benchmarks), "skipped": list(skipped), "failed": list(failed),
        "machine_info": {"mixfast": where},
    }  # fmt: skip


def reason(name, text):
    return {"fullname": name, "group": "solve tiny", "contender": name, "reason": text}


def test_the_table_of_ratios():
    found = file_of(
        benchmark("mixfast", 2e-3, gap=1e-9, limits={"one read": 1e-4}),
        benchmark("EM", 3e-2, gap=1e-6),
        benchmark("SLSQP", 1e-3, gap=0.5, short="asked for 1e-06"),
        skipped=[reason("mixsqp", "R is not installed")],
        failed=[reason("ECOS", "the gap is wrong")],
    )
    head, blank, *lines = "\n".join(ratios.table(found)).splitlines()
    assert facts.processor() in head
    assert not blank
    assert [line.split() for line in lines] == [
        ["solve", "tiny", "(10", "x", "2)"],
        ["mixfast", "2", "ms", "1", "x", "gap", "1.0e-09"],
        ["EM", "30", "ms", "15", "x", "gap", "1.0e-06"],
        ["SLSQP", "1", "ms", "gap", "5.0e-01,", "asked", "for", "1e-06"],
        ["limit:", "one", "read", "100", "us", "0.05", "x"],
        ["mixsqp", "skipped:", "R", "is", "not", "installed"],
        ["ECOS", "failed:", "the", "gap", "is", "wrong"],
    ]


def test_results_are_appended_with_their_origin(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(facts, "RESULTS", tmp_path)
    file = tmp_path / "run.json"
    file.write_text(json.dumps(file_of(benchmark("mixfast", 4e-3, per=1000, unit="sample", limits={"one read": 1e-3}))))
    for _ in range(2):
        assert ratios.main([str(file)]) == 0
    assert "a sample" in capsys.readouterr().out
    header, *lines = (tmp_path / "solve.csv").read_text().splitlines()
    assert tuple(header.split(",")) == facts.COLUMNS
    assert len(lines) == 4
    assert ",mixfast,a sample,4e-06,s," in lines[0]
    assert ",limit,one read,1e-06,s," in lines[1]


def test_nothing_measured_is_said(tmp_path, capsys):
    assert ratios.main([str(tmp_path / "none.json")]) == 1
    assert capsys.readouterr().out == "no benchmark has run\n"


@pytest.mark.parametrize(("count", "inside"), [(3, 3), (6, 6), (8, 8), (9, 7), (12, 8)])
def test_intervals_hold_the_median_with_95_percent(count, inside):
    values = np.random.default_rng(0).permutation(count).astype(float).tolist()
    low, high = compare.interval(values)
    assert (low + high) / 2 == pytest.approx(np.median(values))
    assert high - low + 1 == inside


def test_the_comparison_is_of_what_both_have():
    old = file_of(benchmark("mixfast", 2e-3), benchmark("gone", 1.0), failed=[reason("new", "the older has none")])
    new = file_of(benchmark("mixfast", 1e-3), benchmark("new", 1.0))
    lines = compare.table([(old, new)] * 6, "old")
    assert lines[1].split() == ["solve.py::test_to_gap[mixfast]", "2", "ms", "1", "ms", "2.000", "2.000", "to", "2.000"]
    assert lines[2].split() == ["geometric", "mean", "2.000"]
    assert lines[3:] == ["failed old: new: the older has none"]


def test_a_base_that_is_no_commit_is_refused():
    with pytest.raises(SystemExit, match="'no-such-revision' names no commit"):
        compare.revision("no-such-revision")
    assert compare.main([]) == 2


def test_studies_take_their_options_from_their_parameters(capsys):
    for words in (["--help"], ["lifecycle", "--help"]):
        with pytest.raises(SystemExit) as end:
            study(words)
        assert end.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in studies.NAMES)
    assert "--seeds SEEDS" in text
    assert "--family FAMILY [FAMILY ...]" in text
