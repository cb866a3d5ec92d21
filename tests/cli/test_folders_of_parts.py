"""The commands solve, info and report take a folder of parts and report what they report of one file with the same rows."""

import hashlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from makers import parts, tokens


@pytest.fixture
def both(tmp_path, monkeypatch):
    """Write the same rows as a folder and as a file."""
    monkeypatch.chdir(tmp_path)
    facts = {"sequence": np.arange(6000) // 5, "group": (np.arange(6000) % 3000 >= 1000) * 1}
    _, whole = parts(tmp_path / "shards", (3000, 6000), tokens(6000, 5), length=1 + np.arange(6000) % 9, **facts)
    whole.save("whole.npz")
    return tmp_path


def test_info_is_that_of_one_file_with_the_same_rows(run, both):
    status, folder, _ = run("info", "shards")
    assert status == 0
    file = run("info", "whole.npz")[1]
    own = ("table ", "sequences ", "memory ")
    assert [line for line in folder.splitlines() if not line.startswith(own)] == [
        line for line in file.splitlines() if not line.startswith(own)
    ]
    assert "sequences  1,200, counted in each group" in folder
    assert re.search(r"memory +240 KB in 2 parts", folder)
    found = [json.loads(run("info", name, "--json")[1]) for name in ("shards", "whole.npz")]
    assert found[0]["groups"] == found[1]["groups"]
    for name, losses in found[1]["expert_losses"].items():
        assert found[0]["expert_losses"][name] == pytest.approx(losses, rel=1e-12)


def test_solve_has_the_intervals_and_the_held_out_losses_of_one_file(run, both):
    options = ("--held-out", "0.25", "--replicates", "20", "--cap", "0.4", "--json")
    found, want = (json.loads(run("solve", name, *options)[1]) for name in ("shards", "whole.npz"))
    assert found["mixture"] == pytest.approx(want["mixture"], abs=1e-6)
    for name, ends in want["intervals"]["shares"].items():
        assert found["intervals"]["shares"][name] == pytest.approx(ends, abs=1e-4)
    rows = {row["name"]: row["held_out_loss"] for row in want["held_out"]}
    assert len(found["held_out"]) == len(rows) - 1
    for row in found["held_out"]:
        assert row["held_out_loss"] == pytest.approx(rows[row["name"]], abs=1e-7)


def test_report_names_the_hash_of_the_manifest(run, both):
    status, _, err = run("report", "shards", "--held-out", "0.25", "--replicates", "5", "--out", "a.html")
    assert status == 0, err
    assert "not hashed: the folder has no table.json" in (both / "a.html").read_text()
    assert run("table", "pack", "shards", "--out", "packed", "--parts", "2")[0] == 0
    assert run("report", "packed", "--no-intervals", "--out", "b.html")[0] == 0
    digest = hashlib.sha256((both / "packed" / "table.json").read_bytes()).hexdigest()
    assert digest[:16] in (both / "b.html").read_text()


@pytest.mark.slow
@pytest.mark.process
def test_two_processes_print_what_one_prints(run, both):
    """With intervals and held-out losses, to the last digit."""
    pytest.importorskip("torch")
    options = ["solve", "shards", "--held-out", "0.25", "--replicates", "8", "--json"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "mixfast"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found, want = json.loads(done.stdout), json.loads(run(*options)[1])
    for own in ("seconds", "backend"):
        del found[own], want[own]
    assert found == want
