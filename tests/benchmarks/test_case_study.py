"""The published case study of mixture reuse, replayed through the public functions."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.studies import case_study
from mixfast.reuse import Ledger, resume

STACK = {"Cpp", "Go", "JavaScript", "Python", "Rust", "Shell", "Swift"}


@pytest.fixture(scope="module")
def path(shared_data):
    return shared_data / "olmix" / "case_study.json"


@pytest.fixture(scope="module")
def replay(path):
    return case_study.steps(json.loads(path.read_text(encoding="utf-8")))


def test_the_five_updates(replay):
    done, _, ledger = replay
    assert [len(step.before) for step in done] == [24, 39, 45, 45, 44]
    assert done[-1].plan.part.full.n_domains == 64
    assert [len(step.plan.frozen) for step in done] == [24, 39, 44, 44, 43]
    assert [len(step.plan.part.domains) for step in done] == [16, 7, 2, 1, 22]
    assert [step.plan.runs for step in done] == [51, 24, 9, 0, 69]
    assert [step.plan.full_runs for step in done] == [120, 138, 138, 135, 195]
    assert [step.trained for step in done] == [64, 16, 8, 0, 64]
    assert [entry.kind for entry in ledger.entries] == ["start", "full", "full", "full", "full"]


def test_the_published_constants(replay):
    done, half, _ = replay
    assert [step.constant is None for step in done] == [True, False, False, True, False]
    constants = [step.constant for step in done if step.constant is not None]
    assert constants == pytest.approx([0.6876104286691, 0.8106150408600834, 1.0210352449684], abs=5e-12)
    ratio = half.frozen["dclm:health"] / done[0].before["dclm:health"]
    assert ratio == pytest.approx(1.46571821279, abs=2e-11)
    assert half.reopened == ("dclm:software_development",)


def test_what_binds(replay):
    done, _, _ = replay
    assert {name.removeprefix("stack-edu:") for name in done[0].binding} == STACK
    assert [done[0].repeats[name] for name in done[0].binding] == pytest.approx([4.0] * 7, abs=5e-4)
    assert done[1].binding == ["finemath-3plus"]
    assert done[1].after["s2pdfv2"] == pytest.approx(0.0251, abs=5e-5)


def test_the_caps_that_the_reference_leaves_out(replay):
    """The virtual domain has the tokens of all members together; four repeats of them do not limit its share."""
    done, _, _ = replay
    assert done[0].plan.part.cap[0] > 1.0
    assert done[2].plan.part.cap == (pytest.approx(0.97489, abs=1e-5), "finemath-3plus")
    assert done[4].plan.part.cap == (pytest.approx(0.955, abs=5e-4), "finemath-3plus")
    # Removing algebraicstack raises finemath above its limit of four repeats.
    assert "finemath-3plus" in done[3].notes[0]
    assert done[3].repeats["finemath-3plus"] > 4.05
    assert done[4].plan.above == ("finemath-3plus",)


def test_the_ledger_ends_with_the_open_plan(replay, tmp_path):
    done, _, ledger = replay
    ledger.save(tmp_path / "life.yaml")
    again = Ledger.load(tmp_path / "life.yaml")
    assert again == ledger
    assert resume(again).frozen == done[-1].plan.frozen
    product = 0.6876104286691 * 0.8106150408600834
    first, last = ledger.entries[0].mixture, done[2].plan.frozen
    assert all(last[name] / share == pytest.approx(product, rel=1e-10) for name, share in first.items())


@pytest.mark.process
def test_it_runs_from_the_command_line(path, tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks.studies",
        "case_study",
        "--case",
        str(path),
        "--ledger",
        str(tmp_path / "life.yaml"),
    ]
    root = Path(__file__).resolve().parents[2]
    found = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True, timeout=60)
    assert "5. split the PDFs into 21 topics: 44 -> 64 domains" in found.stdout
    assert "the block before times 0.6876104287" in found.stdout
    assert "at most 0.9548 (finemath-3plus repeats 4.189 times in it alone)" in found.stdout
    assert Ledger.load(tmp_path / "life.yaml").pending is not None
