"""Every command that writes a file: which files it refuses to overwrite, and what remains when the disk is full."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest

import mixfast
from mixfast import exporters, report
from mixfast.cli._demo import DATA
from mixfast.reuse import Ledger

TABLE = np.log([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]])
DOMAINS = ("web", "code", "books")
# A command and the file that it writes; the name of the file is the last argument.
COMMANDS = {
    "solve": (("solve", "table.npz", "--no-intervals", "--out"), "new.yaml"),
    "fit": (("fit", "ratios.csv", "metrics.csv", "--law", "linear", "--out"), "new.json"),
    "fit npz": (("fit", "ratios.csv", "metrics.csv", "--law", "linear", "--out"), "new.npz"),
    "propose": (("propose", "law.json", "--out"), "new.yaml"),
    "design": (("design", "--domains", "web,code,books", "--runs", "4", "--out"), "new.csv"),
    "next": (("next", "ratios.csv", "metrics.csv", "law.json", "--runs", "2", "--out"), "new.csv"),
    "collect": (("collect", "runs", "--out"), "new.csv"),
    "collect long": (("collect", "runs", "--long"), "new.csv"),
    "collect ratios": (("collect", "runs", "--mixture-file", "m.json", "--ratios"), "new.csv"),
    "report": (("report", "table.npz", "--no-intervals", "--no-ranges", "--out"), "new.html"),
    "export": (("export", "mixture.yaml", "--to", "olmix", "--out"), "new.yaml"),
    "export text": (
        ("export", "mixture.yaml", "--to", "megatron", "--paths", "/d/{domain}", "--out"),
        "new.txt",
    ),
    "export code": (
        ("export", "mixture.yaml", "--to", "huggingface", "--unit", "sequences", "--out"),
        "new.py",
    ),
    "reuse show": (("reuse", "show", "life.yaml", "--out"), "new.json"),
    "reuse add": (("reuse", "add", "life.yaml", "maths", "--swarm-out"), "new.csv"),
    "reuse remove": (("reuse", "remove", "life.yaml", "books", "--out"), "new.yaml"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    path = tmp_path_factory.mktemp("files")
    table = mixfast.ExpertTable.from_loglik(TABLE, domains=DOMAINS)
    table.save(path / "table.npz")
    ratios = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    runs = mixfast.Swarm(ratios, (ratios @ [1.0, 2.0, 3.0])[:, None], domains=DOMAINS, metric_names=["loss"])
    runs.to_csv(path / "ratios.csv", path / "metrics.csv")
    mixfast.fit(runs, "linear").save(path / "law.json")
    mixture = mixfast.Mixture(DOMAINS, [0.5, 0.3, 0.2])
    mixture.save(path / "mixture.yaml")
    Ledger.start(mixture.as_dict(), why="test").save(path / "life.yaml")
    for run in ("the-first-run", "the-second-run"):
        (path / "runs" / run).mkdir(parents=True)
        (path / "runs" / run / "trainer_state.json").write_text('{"log_history": [{"step": 1, "eval_loss": 3}]}')
        mixture.save(path / "runs" / run / "m.json")
    return path


@pytest.fixture(autouse=True)
def here(files, tmp_path, monkeypatch):
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", COMMANDS)
def test_another_kind_is_refused_and_replaced_by_force(run, refused, tmp_path, name):
    words, out = COMMANDS[name]
    wrong = "other.csv" if words[0] == "fit" else "other.npz"
    shutil.copy("life.yaml", out)
    shutil.copy("life.yaml", wrong)
    before = (tmp_path / "life.yaml").read_bytes()
    assert f"{out} is a ledger, which " in refused(*words, out)
    assert "ends in" in refused(*words, wrong)
    assert "ends in" in refused(*words, wrong, "--force")
    assert (tmp_path / out).read_bytes() == (tmp_path / wrong).read_bytes() == before
    assert run(*words, out, "--force")[0] in (0, 1)
    assert (tmp_path / out).read_bytes() != before
    assert not list(tmp_path.glob(".mixfast-*"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_of_its_own_kind_is_replaced_and_links_and_modes_stay(run, tmp_path, name):
    words, out = COMMANDS[name]
    ledger = (tmp_path / "life.yaml").read_bytes()
    assert run(*words, out)[0] in (0, 1)
    (tmp_path / "life.yaml").write_bytes(ledger)
    (tmp_path / "sub").mkdir()
    os.rename(out, f"sub/{out}")
    os.chmod(f"sub/{out}", 0o600)
    os.symlink(f"sub/{out}", out)
    first = (tmp_path / out).stat().st_ino
    assert run(*words, out)[0] in (0, 1)
    assert (tmp_path / out).is_symlink()
    assert (tmp_path / out).stat().st_ino != first
    assert stat.S_IMODE((tmp_path / out).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_leaves_the_old_file_and_is_said(run, tmp_path, name):
    words, out = COMMANDS[name]
    ledger = (tmp_path / "life.yaml").read_bytes()
    assert run(*words, out)[0] in (0, 1)
    (tmp_path / "life.yaml").write_bytes(ledger)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30, limits[1]))
    try:
        status, _, err = run(*words, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 2
    assert err.splitlines()[-1] == f"mixfast: error: {out}: File too large"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_what_a_command_reads_is_not_what_it_writes(run, refused, tmp_path):
    more = ("design", "--domains", "web,code,books", "--extend", "ratios.csv", "--runs", "2", "--out", "ratios.csv")
    assert "one of the input files" in refused(*more)
    assert run(*more, "--force")[0] == 0
    assert "one of the input files" in refused(
        *("next", "ratios.csv", "metrics.csv", "law.json", "--runs", "2", "--out", "metrics.csv")
    )
    # A mixture may overwrite the one that served as its prior.
    assert (
        run("solve", "table.npz", "--no-intervals", "--kl", "0.1", "--prior", "mixture.yaml", "--out", "mixture.yaml")[
            0
        ]
        == 0
    )


def test_force_without_an_output_is_refused(refused):
    for words in (
        ("solve", "table.npz"),
        ("export", "mixture.yaml", "--to", "olmix"),
        ("demo",),
        ("reuse", "show", "life.yaml"),
    ):
        assert "--force has no effect without" in refused(*words, "--force")


def test_a_ledger_is_never_forced(refused, tmp_path):
    before = (tmp_path / "life.yaml").read_bytes()
    for words in (
        ("show", "life.yaml", "--out", "life.yaml"),
        ("add", "life.yaml", "maths", "--swarm-out", "./life.yaml"),
    ):
        assert "different names" in refused("reuse", *words, "--force")
    assert "already exists" in refused("reuse", "start", "life.yaml", "--mixture", "mixture.yaml")
    assert (tmp_path / "life.yaml").read_bytes() == before


def test_the_sample_replaces_its_own_kinds_only(run, refused, tmp_path):
    for _ in range(2):
        assert run("demo", "--copy-to", "here")[0] == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()} == {
        path.name: path.read_bytes() for path in DATA.iterdir() if path.name in os.listdir("here")
    }
    shutil.copy("law.json", "here/demo_ratios.csv")
    os.remove("here/demo.npz")
    assert "a file of fitted laws" in refused("demo", "--copy-to", "here")
    assert not (tmp_path / "here" / "demo.npz").exists()
    assert run("demo", "--copy-to", "here", "--force")[0] == 0


def test_the_sample_needs_a_folder_and_leaves_none_if_it_cannot_be_written(run, refused, tmp_path):
    (tmp_path / "nowhere").symlink_to("missing")
    for name in ("life.yaml", "nowhere"):
        assert f"--copy-to {name} is no folder" in refused("demo", "--copy-to", name)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30, limits[1]))
    try:
        status, _, err = run("demo", "--copy-to", "new/deep")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (status, err.splitlines()[-1]) == (2, "mixfast: error: new/deep/demo.npz: File too large")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_may_not_be_written_is_refused_before_the_work(refused, tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    real = os.open

    def refuse(name, flags, *mode):
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied")
        return real(name, flags, *mode)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(mixfast.solver, "solve", None)
    assert (
        refused("solve", "table.npz", "--out", "locked/m.yaml") == "mixfast: error: locked/m.yaml: Permission denied\n"
    )


def test_outputs_go_through_pipes_and_descriptors(tmp_path):
    def bash(line):
        program = f"{sys.executable} -m mixfast"
        return subprocess.run(
            ["bash", "-c", line.replace("mixfast", program, 1)], capture_output=True, text=True, check=True
        ).stdout

    bash("mixfast reuse show life.yaml --out >(cat > copy.yaml); wait $!")
    assert mixfast.Mixture.load("copy.yaml") == mixfast.Mixture.load("mixture.yaml")
    assert bash("mixfast design --domains a,b --runs 2 --seed 1 --out /dev/stdout > out.txt; cat out.txt").startswith(
        "run,a,b\n"
    )
    os.mkfifo("pipe")
    assert "weight: 0.3\n" in bash("cat pipe & mixfast export mixture.yaml --to olmix --out pipe; wait")
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


def test_python_keeps_other_kinds_too(tmp_path):
    mixture = mixfast.Mixture.load("mixture.yaml")
    runs = mixfast.Swarm.from_csv("ratios.csv", "metrics.csv")
    saves = {
        "m.yaml": mixture.save,
        "e.yaml": exporters.olmix(mixture).save,
        "d.csv": mixfast.design(mixfast.Region(DOMAINS), 3, seed=0).to_csv,
        "p.html": report.page(mixture).save,
        "f.json": mixfast.fit(runs, "linear").save,
        "t.npy": mixfast.ExpertTable.from_loglik(TABLE).save,
    }
    for name, save in saves.items():
        shutil.copy("life.yaml", name)
        with pytest.raises(ValueError, match=f"{name} is a ledger, which .* would replace"):
            save(name)
        save(name, force=True)
        save(name)
    shutil.copy("life.yaml", "r.csv")
    with pytest.raises(ValueError, match="is a ledger"):
        runs.to_csv("q.csv", "r.csv")
    assert not (tmp_path / "q.csv").exists()
    with pytest.raises(ValueError, match="two files"):
        runs.to_csv("q.csv", "./q.csv")


@pytest.mark.parametrize("name", ["=1+1", "+cmd|' /C calc'!A0", "-a", "@SUM(A1)", "a;=1"])
def test_names_that_a_spreadsheet_computes_are_not_written(refused, tmp_path, name):
    with pytest.raises(ValueError, match="a spreadsheet"):
        mixfast.design(mixfast.Region(["web", name]), 3, seed=0).to_csv(tmp_path / "d.csv")
    assert not (tmp_path / "d.csv").exists()
    (tmp_path / "tokens.yaml").write_text(f'web: 9B\n"{name}": 2B\n')
    assert "a spreadsheet" in refused(
        "design", "--tokens", "tokens.yaml", "--budget", "1B", "--runs", "3", "--out", "d.csv"
    )
    assert "a spreadsheet" in refused("design", "--tokens", "tokens.yaml", "--budget", "1B", "--runs", "3")


def test_numbers_with_a_sign_are_no_formulas(tmp_path):
    ratios = np.array([[0.5, 0.5], [0.4, 0.6]])
    mixfast.Swarm(ratios, [[-1.0], [2.0]], domains=["a", "b"], metric_names=["loss"], runs=["-1", "+2"]).to_csv(
        "q.csv", "r.csv"
    )
    assert mixfast.Swarm.from_csv("q.csv", "r.csv").runs == ("-1", "+2")


@pytest.mark.parametrize("name", ["../../x", "a/../../b", "..", "a\\..\\b"])
def test_a_pattern_of_paths_keeps_to_its_folder(refused, name):
    mixture = mixfast.Mixture(["web", name], [0.5, 0.5])
    with pytest.raises(exporters.ExportError, match="out of the folder"):
        exporters.megatron(mixture, paths="/data/{domain}_text")
    mixture.save("m.yaml")
    assert "out of the folder" in refused("export", "m.yaml", "--to", "megatron", "--paths", "/data/{domain}")
    assert exporters.megatron(mixture, paths={"web": "a", name: "b"}).values
