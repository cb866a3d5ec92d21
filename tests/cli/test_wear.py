"""The command `wear`: from files of runs to a file that `solve --wear` reads."""

import json

import numpy as np
import pytest

from mixfast import ExpertTable, Swarm
from mixfast._engine.optimise.wear_fit import effective

NAMES = ["web", "code", "books"]
NATURAL = np.array([0.6, 0.3, 0.1])


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    w = rng.dirichlet(np.ones(3), 60)
    worth = effective(w / NATURAL, 1.0 / (1.0 + np.array([15.4, 2.0, 5.0])))[0]
    losses = 2.0 + np.exp(0.5 - worth @ rng.uniform(0.1, 0.3, size=(3, 2)))
    losses += 0.02 * losses.std(axis=0) * rng.standard_normal(losses.shape)
    swarm = Swarm(w, losses, domains=NAMES, metric_names=["a_loss", "b_loss"])
    swarm.to_csv(tmp_path / "ratios.csv", tmp_path / "metrics.csv")
    (tmp_path / "pools.yaml").write_text("web: 6M\ncode: 3M\nbooks: 1M\n")
    (tmp_path / "counts.yaml").write_text("web: 60M\ncode: 30M\nbooks: 10M\n")
    ExpertTable.from_loglik(-rng.exponential(size=(80, 3)), domains=NAMES).save(tmp_path / "table.npz")
    monkeypatch.chdir(tmp_path)


POOLS = ("--run-tokens", "pools.yaml", "--run-budget", "10M")


def test_the_file_is_read_by_solve(run, good):
    said = good("wear", "ratios.csv", "metrics.csv", *POOLS, "--out", "wear.yaml")
    assert "runs that repeat" in said
    assert "--wear wear.yaml" in said
    found = json.loads(good("wear", "ratios.csv", "metrics.csv", *POOLS, "--json"))
    assert found["told"]["books"]
    assert found["wear"]["books"] == pytest.approx(5.0, rel=0.2)
    assert found["intervals"]["books"][0] < found["wear"]["books"] < found["intervals"]["books"][1]
    limits = ("--tokens", "counts.yaml", "--budget", "100M", "--max-epochs", "32", "--no-intervals", "--no-ranges")
    solved = json.loads(good("solve", "table.npz", *limits, "--wear", "wear.yaml", "--json"))
    assert solved["wear"] == pytest.approx(found["wear"], rel=1e-5)
    one = json.loads(good("wear", "ratios.csv", "metrics.csv", *POOLS, "--metric", "a_loss", "--json"))
    assert one["metrics"] == ["a_loss"]


def test_thresholds_are_read_by_solve(good):
    said = good("wear", "ratios.csv", "metrics.csv", *POOLS, "--form", "threshold", "--out", "wear.yaml")
    assert "epochs up to which tokens count fully" in said
    found = json.loads(good("wear", "ratios.csv", "metrics.csv", *POOLS, "--form", "threshold", "--json"))
    assert found["form"] == "threshold"
    limits = (
        "--tokens",
        "counts.yaml",
        "--budget",
        "100M",
        "--max-epochs",
        "32",
        "--no-intervals",
        "--no-ranges",
        "--json",
    )
    solved = json.loads(good("solve", "table.npz", *limits, "--wear", "wear.yaml", "--wear", "books=3.5 epochs"))
    assert solved["wear"] == found["wear"] | {"books": "3.5 epochs"}
    assert json.loads(good("solve", "table.npz", *limits, "--wear", "4 epochs"))["wear"] == "4 epochs"
    both = json.loads(good("solve", "table.npz", *limits, "--wear", "15.4", "--wear", "boo*=2 epochs"))
    assert both["wear"] == {"web": 15.4, "code": 15.4, "books": "2 epochs"}


def test_what_is_missing_is_said_before_anything_is_written(run, tmp_path):
    for words, said in (
        (("wear", "ratios.csv", "metrics.csv", "--out", "wear.yaml"), "--run-tokens FILE"),
        (("wear", "ratios.csv", "metrics.csv", "--run-tokens", "counts.yaml", "--run-budget", "1M", "--out", "wear.yaml"), "no run reads a domain twice"),
        (("wear", "ratios.csv", "metrics.csv", *POOLS, "--out", "wear.csv"), "ends in .yaml"),
        (("wear", "ratios.csv", "metrics.csv", *POOLS, "--out", "pools.yaml"), "input files"),
        (("wear", "ratios.csv", "metrics.csv", *POOLS, "--force"), "--force has no effect"),
    ):  # fmt: skip
        status, _, err = run(*words)
        assert (status, said in err) == (2, True), err
    assert not (tmp_path / "wear.yaml").exists()
