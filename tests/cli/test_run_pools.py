"""``--run-tokens`` and ``--run-budget`` on every command that reads runs: every form of the file, refusals, and the answer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mixfast.swarm import Swarm

DOMAINS = ("web", "code", "books")
TOKENS = {"web": 2000, "code": 400, "books": 1000}
POOLS = ("--run-tokens", "tokens.yaml", "--run-budget", "1K")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pools")
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(3), 16)
    values = 2.0 + ratios @ [[1.0], [0.1], [0.5]] + rng.normal(size=(16, 1)) * 0.01
    swarm = Swarm(ratios, values, domains=DOMAINS, metric_names=["a_loss"], runs=[f"r{i}" for i in range(16)])
    swarm.to_csv(folder / "ratios.csv", folder / "metrics.csv")
    lines = [f"{run},{TOKENS['books']},2K,4e2,1000" for run in reversed(swarm.runs)]
    (folder / "pools.csv").write_text("\n".join(["run,books,web,code,read", *lines]) + "\n")
    (folder / "tokens.yaml").write_text("".join(f"{name}: {number}\n" for name, number in TOKENS.items()))
    (folder / "mixture.yaml").write_text("web: 0.5\ncode: 0.3\nbooks: 0.2\n")
    return folder


@pytest.fixture(autouse=True)
def here(files, monkeypatch):
    monkeypatch.chdir(files)


def fitted(run, *options):
    status, out, err = run("fit", "ratios.csv", "metrics.csv", "--law", "linear", "--folds", "0", *options, "--json")
    assert status == 0, err
    return json.loads(out)["swarm"]


def test_tokens_by_domain_and_by_run_give_the_same_epochs(run, files):
    found = fitted(run, *POOLS)
    assert found["budget"] == [1000, 1000]
    assert set(found["epochs"]) == set(DOMAINS)
    (files / "tokens.json").write_text(json.dumps(TOKENS))
    for options in (
        ("--run-tokens", "tokens.json", "--run-budget", "1000"),
        ("--run-tokens", "pools.csv", "--run-budget", "read"),
    ):
        assert fitted(run, *options) == found
    assert fitted(run)["epochs"] is None


def test_every_command_that_reads_runs_says_how_often_they_repeat(run):
    said = "each run reads 1K tokens\nepochs in the runs that sample a domain: code "
    files = ("ratios.csv", "metrics.csv")
    for words in (
        ("fit", *files, "--law", "linear"),
        ("compare", *files, "--folds", "2"),
    ):
        status, out, _ = run(*words, *POOLS)
        assert status == 0
        assert said in out
    for words in (
        ("next", *files, "--law", "linear", "--runs", "1"),
        ("report", *files, "--law-kind", "linear", "--out", "report.html"),
    ):
        assert run(*words, *POOLS)[0] == 0
        status, _, err = run(*words, "--run-tokens", "tokens.yaml", "--run-budget", "nosuch")
        assert status == 2
        assert (
            "--run-budget nosuch is neither a number of tokens (such as 5B) nor a column of a table of the runs" in err
        )


def test_reuse_takes_the_pools_of_runs_with_other_domains(run, files):
    ledger = "life.yaml"
    start = ("reuse", "start", ledger, "--mixture", "mixture.yaml", "--tokens", "tokens.yaml", "--budget", "1000")
    assert run(*start)[0] == 0
    (files / "new.yaml").write_text("maths: 100\n")
    assert run("reuse", "add", ledger, "maths", "--tokens", "new.yaml", "--swarm-out", "u.csv")[0] == 0
    rows = (files / "u.csv").read_text().splitlines()
    (files / "trained.csv").write_text(
        "\n".join(["run,a_loss", *(f"{row.split(',')[0]},{2 + i / 100}" for i, row in enumerate(rows[1:]))])
    )
    (files / "all.yaml").write_text((files / "tokens.yaml").read_text() + "maths: 100\n")
    propose = ("reuse", "propose", ledger, "u.csv", "trained.csv", "--law", "linear")
    pools = ("--run-tokens", "all.yaml", "--run-budget", "1000")
    # Without old runs, laws in epochs are fitted over the frozen block as one domain.
    (files / "before.yaml").write_text((files / ledger).read_text())
    status, out, err = run("reuse", "propose", "before.yaml", *propose[3:-1], "epochs", *pools, "--out", "block.yaml")
    assert status == 0, err
    assert "each run reads 1K tokens" in out
    status, out, err = run(*propose, "--old", "ratios.csv", "metrics.csv", *pools, "--out", "new_mixture.yaml")
    assert status == 0, err
    assert "each run reads 1K tokens" in out
    fit = (
        "reuse",
        "fit",
        ledger,
        "u.csv",
        "trained.csv",
        "--old",
        "ratios.csv",
        "metrics.csv",
        "--law-out",
        "law.json",
    )
    status, _, err = run(*fit, *pools)
    assert status == 0, err


@pytest.mark.parametrize(
    ("tokens", "budget", "message"),
    [
        ("web: 2000\ncode: 400\n", "1000", "Only in the runs: books"),
        ("web: 2000\ncode: 400\nbooks: 1\nmaths: 1\n", "1000", "Only in --run-tokens: maths"),
        ("domain,tokens\nweb,2000\ncode,400\nbooks,1\n", "1000", "if all runs had the same pools, give a yaml or json file with lines of"),
        ("web: 2000\ncode: 400\nbooks: 0\n", "1000", "--run-tokens gives 0 where the share is above 0: run 'r0': books="),
        ("web: 2000\ncode: 400\nbooks: nan\n", "1000", "'nan' is no number of tokens"),
        ("web: 2000\ncode: 400\nbooks: -1\n", "1000", "'-1' is no number of tokens"),
        ("web: 2000\ncode: 400\nbooks: 1\n", "0", "--run-budget must be a finite number of tokens above 0, got 0"),
        ("web: 2000\ncode: 400\nbooks: 1\n", None, "--run-tokens needs --run-budget, the tokens that each run reads, for example --run-budget 5B"),
        (None, "1000", "--run-budget needs --run-tokens, the tokens of each domain that the runs could read"),
    ],
)  # fmt: skip
def test_wrong_pools_are_refused(run, files, tokens, budget, message):
    options = [] if budget is None else ["--run-budget", budget]
    if tokens is not None:
        (files / "wrong.yaml").write_text(tokens)
        options += ["--run-tokens", "wrong.yaml"]
    status, out, err = run("fit", "ratios.csv", "metrics.csv", *options)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.fixture
def repeated(files):
    """Write runs of which one mixture is trained three times; the accuracy cannot rank them."""
    rng = np.random.default_rng(3)
    ratios = np.vstack([rng.dirichlet(np.ones(3), 14), [[0.2, 0.3, 0.5]] * 3])
    loss = 2.0 + ratios[:, 0] + 0.01 * rng.normal(size=17)
    accuracy = np.concatenate([0.4 + 0.03 * rng.normal(size=14), [0.4, 0.45, 0.35]])
    swarm = Swarm(ratios, np.column_stack([loss, accuracy]), domains=DOMAINS, metric_names=["a_loss", "arc_accuracy"])
    swarm.to_csv(files / "repeated.csv", files / "reached.csv", force=True)
    (files / "repeated.yaml").write_text("".join(f"{name}: 100\n" for name in DOMAINS))
    return "repeated.csv", "reached.csv"


def test_weak_metrics_are_named_and_left_out_only_when_asked(run, repeated):
    words = ("fit", *repeated, "--law", "linear")
    status, out, err = run(*words)
    assert status == 0
    assert "signal/noise is below 1 for arc_accuracy (0): it cannot rank the runs" in err
    assert "to leave it out: --drop-weak\n" in err
    assert "  noise  " in out
    status, out, err = run(*words, "--drop-weak", "--json")
    assert (status, json.loads(out)["swarm"]["metrics"]) == (0, ["a_loss"])
    assert json.loads(out)["reports"][0]["noise"] > 0.0
    assert "--drop-weak leaves out arc_accuracy" in err
    for words in (
        ("compare", *repeated, "--folds", "2", "--drop-weak"),
        ("next", *repeated, "--law", "linear", "--runs", "1", "--drop-weak"),
        ("report", *repeated, "--law-kind", "linear", "--out", "report.html", "--drop-weak"),
        ("wear", *repeated, "--run-tokens", "repeated.yaml", "--run-budget", "1K", "--drop-weak"),
    ):
        status, _, err = run(*words)
        assert status == 0
        assert "--drop-weak leaves out arc_accuracy" in err


def test_drop_weak_is_refused_where_it_has_no_effect(run, repeated):
    status, _, err = run("fit", "ratios.csv", "metrics.csv", "--drop-weak")
    assert (status, "--drop-weak has no effect: no mixture was trained twice" in err) == (2, True)
    assert run("fit", *repeated, "--law", "linear", "--out", "weak.json")[0] == 0
    status, _, err = run("next", *repeated, "weak.json", "--runs", "1", "--drop-weak")
    assert (status, "--drop-weak is for laws that are fitted now" in err) == (2, True)


def test_the_law_in_epochs_needs_the_pools(run):
    status, out, _ = run("fit", "ratios.csv", "metrics.csv", "--law", "epochs", *POOLS)
    assert status == 0
    assert " epochs " in out
    status, _, err = run("fit", "ratios.csv", "metrics.csv", "--law", "epochs")
    assert status == 2
    assert "add --run-tokens FILE and --run-budget TOKENS" in err
    status, out, err = run("compare", "ratios.csv", "metrics.csv", "--folds", "2")
    assert status == 0
    assert "epochs: left out, " in out + err
