"""mixfast info names the kind of any of the package's files, and the commands that read it."""

import gzip
import json
import shutil

import numpy as np
import pytest

from mixfast import Mixture, Swarm, fit
from mixfast.cli._demo import DATA


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_runs_are_summed_up(run):
    shutil.copy(DATA / "demo_ratios.csv", "my ratios.csv")
    status, out, err = run("info", "my ratios.csv")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[:3] == ["mixtures  my ratios.csv", "runs      67", "domains   14"]
    assert "runs with it" in out
    assert lines[-1] == "next: mixfast fit 'my ratios.csv' METRICS"


def test_a_mixture_and_its_format_are_shown(run, folder):
    (folder / "levanter.yaml").write_text("train_weights: {web: 7, code: 3}\n")
    status, out, err = run("info", "levanter.yaml")
    assert status == 0
    assert "web     70.00%" in out
    assert err == "mixfast: note: levanter.yaml was read as levanter; relative weights, divided by their sum, 10\n"
    Mixture(["web", "code"], [0.25, 0.75]).save("mixture.json")
    assert "code    75.00%" in run("info", "mixture.json")[1]


def test_laws_are_reported(run):
    ratios = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    fit(Swarm(ratios, ratios[:, :1] + 1, domains=["a", "b", "c"], metric_names=["loss"]), "linear").save("law.json")
    status, out, _ = run("info", "law.json")
    assert status == 0
    assert out.startswith("laws     law.json\n")
    assert "next: mixfast propose law.json" in out


@pytest.mark.parametrize("command", ["info", "solve"])
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("metrics.csv", b"run,loss\nr0,3.1\nr1,3.2\n", "is a csv file ('run,loss'), expected a table of experts"),
        ("runs.csv.gz", gzip.compress(b"run,web\n"), "decompress it: gunzip --keep runs.csv.gz"),
        ("runs.parquet", b"PAR1", "is a parquet file, expected a table of experts"),
        ("runs.xlsx", b"PK\x03\x04", "truncated or damaged, or no npz file"),
        ("model.safetensors", (2).to_bytes(8, "little") + b"{}", "is a safetensors file, expected a table of experts"),
        ("notes.html", b"<html>", "is an HTML page, expected a table of experts"),
    ],
)
def test_other_files_are_named_with_what_takes_them(refused, folder, command, name, content, words):
    (folder / name).write_bytes(content)
    assert words in refused(command, name)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("propose", "runs.csv"),
            "is a csv file ('run,web'), expected fitted laws, as `mixfast fit --out` writes them",
        ),
        (("report", "--schedule", "runs.csv", "--out", "page.html"), "is a csv file ('run,web'), expected a schedule"),
        (("fit", "--olmix-config", "table.npz"), "is an npz file, expected a YAML or JSON file"),
        (("reuse", "start", "life.yaml", "--mixture", "table.npz"), "is an npz file, expected a mixture"),
        (
            ("solve", "table.npz", "--budget", "1B", "--tokens", "runs.csv"),
            "is a csv file ('run,web'), expected a yaml or json file",
        ),
        (("solve", "table.npz", "--kl", "1", "--prior", "table.npz"), "is an npz file, expected a yaml or json file"),
    ],
)
def test_every_option_that_takes_a_file_names_one_of_another_kind(refused, folder, words, said):
    (folder / "runs.csv").write_text("run,web\nr0,1\n")
    np.savez(folder / "table.npz", loglik=np.log(np.full((4, 2), 0.5)), domains=["web", "code"])
    assert said in refused(*words)


def test_what_a_table_says_of_its_experts_is_shown(run):
    np.savez(
        "a.npz", loglik=np.full((4, 2), -1.0), domains=["a", "b"], temperature=np.array([0.5, 2.0]), clipped=np.array(3)
    )
    run("table", "pack", "a.npz", "--parts", "2", "--out", "parts")
    for path in ("a.npz", "parts"):
        _, out, _ = run("info", path)
        assert "a 0.5, b 2" in out
        assert "3 probabilities of labels were raised" in out
        found = json.loads(run("info", path, "--json")[1])
        assert (found["temperature"], found["clipped"]) == ({"a": 0.5, "b": 2.0}, 3)
