"""The command `solve`: every option, its error messages, and its exit statuses."""

import csv
import io
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mixfast import ExpertTable, Mixture, Region, Swarm, solve, solver
from mixfast._text.numbers import count, number
from mixfast.cli import _inputs as inputs
from mixfast.cli import _progress
from mixfast.cli import _reading as reading
from mixfast.cli._demo import DATA
from mixfast.cli._main import build_parser

ROOT = Path(__file__).resolve().parents[2]

NAMES = ["web", "code_c", "code_py", "books"]
CENTRES = np.array([[0.0, -2, -2, -1], [-2, 0, -1, -2], [-1, -2, -2, 0]])


def make_table(**options):
    rng = np.random.default_rng(5)
    kind = rng.integers(0, 3, size=900)
    loglik = CENTRES[kind] + rng.normal(0, 0.5, size=(900, 4)) - 3
    return ExpertTable.from_loglik(loglik, domains=NAMES, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli")
    group = np.repeat(["news", "forum", "papers"], 300)
    make_table(group=group, sequence=np.arange(900) // 5).save(path / "grouped.npz")
    make_table().save(path / "plain.npz")
    make_table(length=np.arange(900) % 7 + 1).save(path / "long.npz")
    rng = np.random.default_rng(1)
    prediction = rng.normal(size=(200, 3))
    target = prediction @ [0.5, 0.3, 0.2] + rng.normal(0, 0.1, 200)
    ExpertTable.from_predictions(prediction, target, domains=["a", "b", "c"]).save(path / "mse.npz")
    (path / "counts.yaml").write_text("# tokens\nweb: 2B\ncode_c: 300_000_000\ncode_py: 0.2B # small\nbooks: 1e9\n")
    (path / "counts.json").write_text('{"books": 1000000000, "web": "2B", "code_py": 2e8, "code_c": 300000000}')
    return path


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture
def solved(good):
    """Return the JSON answer of `mixfast solve`, which must succeed."""
    return lambda *words: json.loads(good("solve", *words, "--json"))


# The output of solve.


def test_solve_prints_the_table_the_certificate_and_what_to_do(run):
    status, out, err = run("solve", "grouped.npz", "--tokens", "counts.yaml", "--budget", "10B", "--max-epochs", "5")
    assert (status, err) == (0, "")
    for word in ["domain", "90% interval", "epochs", "tokens", "price", "range at 0.001", "no limits"]:
        assert word in out.splitlines()[0]
    for word in ["value", "gap", "status", "optimal", "groups", "time", "What to do next", "--out mixture.yaml"]:
        assert word in out
    assert "one more epoch of it is worth at most" in out
    assert all(name in out for name in NAMES)


def test_solve_agrees_with_the_library(solved):
    answer = solved("grouped.npz", "--tokens", "counts.yaml", "--budget", "10B", "--max-epochs", "5", "--kl", "0.02")
    counts = {"web": 2 * 10**9, "code_c": 3 * 10**8, "code_py": 2 * 10**8, "books": 10**9}
    region = Region.from_tokens(counts, 10**10, max_epochs=5)
    expected = solve(ExpertTable.load("grouped.npz"), region, kl=0.02)
    assert answer["mixture"] == pytest.approx(expected.mixture.as_dict(), abs=1e-9)
    assert answer["value"] == pytest.approx(expected.value, abs=1e-9)
    assert answer["unconstrained"]["value"] == pytest.approx(expected.unconstrained.value, abs=1e-9)
    assert answer["epochs"] == pytest.approx(expected.epochs)
    assert sum(answer["tokens"].values()) == 10**10
    assert answer["status"] == "optimal"
    assert answer["gap"] <= 1e-8
    for name, (low, high) in answer["ranges"]["shares"].items():
        assert low - 1e-9 <= answer["mixture"][name] <= high + 1e-9


def test_counts_read_alike_from_yaml_and_json(solved):
    options = ("--budget", "10B", "--max-epochs", "5", "--no-ranges", "--no-intervals")
    yaml, js = (solved("plain.npz", "--tokens", f"counts.{kind}", *options) for kind in ("yaml", "json"))
    assert yaml["mixture"] == js["mixture"]
    assert yaml["ranges"] is None
    assert yaml["intervals"] is None


def test_caps_floors_and_group_limits(solved):
    shares = solved(
        *("plain.npz", "--cap", "web=0.2", "--floor", "books=10%", "--limit", "code:code_*:60%.."),
        *("--limit", "rest:web,books:..0.4"),
    )["mixture"]
    assert shares["web"] <= 0.2 + 1e-9
    assert shares["books"] >= 0.1 - 1e-9
    assert shares["code_c"] + shares["code_py"] >= 0.6 - 1e-9


def test_group_limits_that_bind_are_priced(run):
    _, out, _ = run("solve", "plain.npz", "--limit", "all code:code_c,code_py:60%..90%")
    assert "group limits" in out
    assert "all code is at its limit of at least" in out


def test_a_bare_number_is_for_the_domains_not_named(solved):
    shares = solved("plain.npz", "--cap", "0.3", "--cap", "web=0.25")["mixture"]
    assert shares["web"] <= 0.25 + 1e-9
    assert max(shares.values()) <= 0.3 + 1e-9


def test_epochs_by_domain(solved):
    answer = solved(
        *("plain.npz", "--tokens", "counts.yaml", "--budget", "5B"), *("--max-epochs", "4", "--max-epochs", "web=0.5")
    )
    assert answer["epochs"]["web"] <= 0.5 + 1e-9


def test_the_prior_pulls(solved, folder):
    (folder / "prior.yaml").write_text("web: 1\ncode_c: 1\ncode_py: 7\nbooks: 1\n")
    given = solved("plain.npz", "--kl", "100", "--prior", "prior.yaml")["mixture"]
    assert given["code_py"] == pytest.approx(0.7, abs=0.01)
    counts = ("--tokens", "counts.yaml", "--budget", "1B", "--kl", "100")
    natural = solved("plain.npz", *counts)["mixture"]
    assert natural["web"] == pytest.approx(2 / 3.5, abs=0.01)
    uniform = solved("plain.npz", *counts, "--prior", "uniform")["mixture"]
    assert uniform["web"] == pytest.approx(0.25, abs=0.01)


def test_a_prior_may_be_the_file_of_a_loader(solved, run, folder):
    (folder / "blend.txt").write_text("1 /data/web_text 1 /data/code_c_text 7 /data/code_py_text 1 /data/books_text\n")
    words = ("--kl", "100", "--prior", "blend.txt", "--mixture-paths", "/data/{domain}_text")
    status, _, notes = run("solve", "plain.npz", *words, "--out", "pulled.yaml")
    assert status == 0
    assert "blend.txt was read as megatron" in notes
    assert Mixture.load("pulled.yaml")["code_py"] == pytest.approx(0.7, abs=0.01)


def test_objectives(solved, run):
    table = ExpertTable.load("grouped.npz") if os.path.exists("grouped.npz") else None
    weighted = solved("grouped.npz", "--objective", "news=3", "--objective", "forum=1")
    assert weighted["group_weights"] == pytest.approx({"news": 0.75, "forum": 0.25, "papers": 0.0})
    worst = solved("grouped.npz", "--objective", "worst")
    assert worst["value"] == pytest.approx(max(worst["group_losses"].values()), abs=1e-7)
    assert worst["intervals"] is None
    assert table is not None
    status, out, _ = run("solve", "grouped.npz", "--objective", "worst")
    assert status == 0
    assert 'no intervals and ranges for "worst"' in out
    assert solved("plain.npz", "--objective", "worst")["intervals"] is not None


def test_intervals_depend_on_seed_and_replicates_only(solved):
    options = ("grouped.npz", "--replicates", "20", "--seed")
    first, again, other = (solved(*options, seed)["intervals"] for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert first["units"] == 180


def test_threads_do_not_change_the_answer(solved):
    one, two = (solved("grouped.npz", "--threads", n)["mixture"] for n in (1, 2))
    assert one == two


def test_eps_widens_the_ranges(solved):
    narrow, wide = (solved("plain.npz", "--eps", eps)["ranges"]["shares"]["web"] for eps in ("1e-4", "1e-2"))
    assert wide[0] < narrow[0] <= narrow[1] < wide[1]


def test_held_out(run, solved):
    status, out, _ = run("solve", "grouped.npz", "--held-out", "0.25", "--cap", "web=0.2")
    assert status == 0
    assert "only books" in out
    assert "Only `mixfast` respects the limits" in out
    rows = solved("grouped.npz", "--held-out", "25%")["held_out"]
    assert {"mixfast", "eg-paper", "uniform"} <= {row["name"] for row in rows}


def test_out_leaves_out_zeros_and_names_them(run, folder):
    status, out, _ = run("solve", "plain.npz", "--cap", "books=0", "--out", "m.yaml")
    assert status == 0
    assert "left out with share 0: " in out
    assert "add --out" not in out
    mixture = Mixture.load(folder / "m.yaml")
    assert "books" not in mixture
    assert "books" in out.splitlines()[-1]
    assert run("solve", "plain.npz", "--cap", "books=0", "--out", "k.json", "--keep-zeros")[0] == 0
    assert Mixture.load(folder / "k.json")["books"] == 0.0


def test_predictions(run):
    status, out, err = run("solve", "mse.npz")
    assert (status, err) == (0, "")
    assert "squared units" in out
    status, out, _ = run("info", "mse.npz")
    assert status == 0
    assert "predictions" in out


def test_predictions_have_intervals_ranges_prices_and_a_held_out_comparison(run):
    status, out, _ = run("solve", "mse.npz", "--held-out", "0.3", "--replicates", "20", "--cap", "a=0.1")
    assert status == 0
    for word in [
        "90% interval",
        "range at 0.001",
        "Only `mixfast` respects",
        "price: decrease of the objective",
        "only a",
    ]:
        assert word in out
    assert "nats" not in out


def test_a_file_of_probabilities_is_solved(run, folder):
    rng = np.random.default_rng(3)
    proba = rng.dirichlet(np.ones(3), size=(40, 2)).transpose(0, 2, 1)
    np.savez(folder / "proba.npz", proba=proba, label=rng.integers(3, size=40), domains=["x", "y"])
    status, out, err = run("solve", "proba.npz")
    assert (status, err) == (0, "")
    assert "nats per row" in out
    proba[7, :, :] = np.eye(3)[0][:, None]
    np.savez(folder / "sure.npz", proba=proba, label=np.ones(40, dtype=int))
    status, _, err = run("solve", "sure.npz")
    assert status == 2
    assert "row 7 (class 1)" in err
    assert "the key clip, such as 1e-6" in err
    np.savez(folder / "sure.npz", proba=proba, label=np.ones(40, dtype=int), clip=1e-6)
    assert run("solve", "sure.npz")[0] == 0
    np.savez(folder / "wrong.npz", loglik=proba[:, 0], domains=["x", "y"])
    status, _, err = run("solve", "wrong.npz")
    assert status == 2
    assert "look like probabilities" in err


def test_tolerance_not_reached_ends_with_status_1(run):
    """A gap of 1e-300 is reached only by luck, if rounding makes the gap exactly 0."""
    for seed in range(20):
        values = -np.random.default_rng(seed).exponential(2.0, (400, 60))
        ExpertTable.from_loglik(values).save("rough.npz")
        status, out, err = run("solve", "rough.npz", "--tol", "1e-300", "--no-intervals", "--no-ranges")
        if status:
            break
    assert status == 1
    assert "is above the tolerance" in out
    assert err.startswith("mixfast: warning: ")


def test_many_domains_are_folded(run, folder):
    rng = np.random.default_rng(0)
    many = ExpertTable.from_loglik(rng.normal(size=(800, 600)) - 5)
    many.save(folder / "many.npz")
    status, out, _ = run("solve", "many.npz", "--replicates", "5")
    assert status == 0
    assert "more domains" in out
    assert "range at" not in out
    assert len(out.splitlines()) < 80
    assert "with a larger loss" in run("info", "many.npz")[1]


def test_folders_of_the_mixmin_code(run, solved, folder):
    rng = np.random.default_rng(0)
    for name in ("web", "code"):
        (folder / "mixmin" / name).mkdir(parents=True)
        for task in ("arc", "piqa"):
            place = folder / "mixmin" / name
            prompt = -rng.gamma(20.0, 1.0, size=50)
            np.save(place / f"{task}_input_log_prob.npy", prompt)
            np.save(place / f"{task}_log_prob.npy", prompt - rng.gamma(5.0, 1.0, size=50))
            np.save(place / f"{task}_lengths.npy", np.full(50, 30))
            np.save(place / f"{task}_input_lengths.npy", np.full(50, 20))
    assert "several tasks" in run("solve", "mixmin")[2]
    whole = solved("mixmin", "--task", "arc")
    answers = solved("mixmin", "--task", "arc", "--conditional")
    assert whole["value"] != answers["value"]
    assert solved("mixmin", "--task", "arc", "--task", "piqa")["table"]["groups"] == ["arc", "piqa"]


# info and demo.


def test_info(run):
    status, out, err = run("info", "grouped.npz")
    assert (status, err) == (0, "")
    for word in ["900 rows x 4 domains", "float64", "news (300 rows)", "180", "extremes", "memory", "uniform mixture"]:
        assert word in out
    assert "mean 3.9" in run("info", "long.npz")[1]


def test_demo_goes_the_whole_way(good):
    out = good("demo")
    for word in ["info", "90% interval", "price", "range", "no limits", "fitted on", "eg-paper", "kl ", "distance"]:
        assert word in out


def test_demo_copies_its_files(run, folder):
    assert run("demo", "--copy-to", "sample")[0] == 0
    table = ExpertTable.load(folder / "sample" / "demo.npz")
    assert table.shape == (38400, 14)
    assert (folder / "sample" / "demo.npz").stat().st_size <= 1_000_000
    counts = reading.numbers(str(folder / "sample" / "demo_tokens.yaml"), count)
    assert set(counts) == set(table.domains)


def test_the_demo_sample_agrees_with_the_laboratory(folder):
    results = ROOT / "benchmarks" / "lab" / "results" / "cpu"
    own = Swarm.from_csv(DATA / "demo_ratios.csv", DATA / "demo_metrics.csv")
    ratios, metrics = (
        {row["run"]: row for row in csv.DictReader((results / f"{name}.csv").open(encoding="utf-8"))}
        for name in ("ratios", "metrics")
    )
    for i, run in enumerate(own.runs):
        assert own.ratios[i].tolist() == pytest.approx([float(ratios[run][name]) for name in own.domains], abs=1e-12)
        for j, name in enumerate(own.metrics):
            named = "doc_python" if name == "target_doc_python" else name
            assert own.values[i, j] == float(metrics[run][named])
    # Experts: nats per token on half of the windows here, nats per byte on all of them there.
    table = ExpertTable.load(DATA / "demo.npz")
    single = solver.group_losses(table, np.eye(table.n_domains))
    for j, group in enumerate(table.group_names):
        named = "doc_python" if group == "target_doc_python" else group
        there = [float(metrics[f"expert-{name}"][named]) for name in table.domains]
        ratio = single[j] / there
        assert ratio == pytest.approx(np.full(len(ratio), np.median(ratio)), rel=0.05)


def test_the_models_of_the_demo_were_trained_on_what_it_finds():
    table = ExpertTable.load(DATA / "demo.npz")
    region = Region.from_tokens(reading.numbers(str(DATA / "demo_tokens.yaml"), count), 512_000, max_epochs=4)
    found = solve(table, region).mixture
    rows = list(csv.DictReader((DATA / "demo_models.csv").open(encoding="utf-8")))
    loose = Region.from_tokens(reading.numbers(str(DATA / "demo_tokens.yaml"), count), 512_000, max_epochs=32)
    worn = solve(table, loose, wear=15.4, kl=0.05).mixture
    trained = [(row, found if row["mixture"] == "mixfast" else worn) for row in rows if "mixfast" in row["mixture"]]
    assert [row["seed"] for row, _ in trained] == sorted("0123401234")
    for row, found in trained:
        assert [float(row[name]) for name in table.domains] == pytest.approx(
            [found[name] for name in table.domains], abs=1e-3
        )


def test_wear_counts_repeats_for_less(run, solved, folder):
    (folder / "few.yaml").write_text("web: 6M\ncode_c: 1M\ncode_py: 1M\nbooks: 3M\n")
    limits = ("--tokens", "few.yaml", "--budget", "10M", "--max-epochs", "100")
    free, worn = solved("plain.npz", *limits), solved("plain.npz", *limits, "--wear")
    assert free["wear"] is None
    assert worn["wear"] == 15.4
    assert worn["value"] > free["value"]
    assert max(worn["epochs"].values()) < max(free["epochs"].values())
    assert solved("plain.npz", *limits, "--wear", "2")["value"] > worn["value"]
    assert "effective shares" in run("solve", "plain.npz", *limits, "--wear")[1]
    assert "--wear" in run("solve", "plain.npz", *limits)[1]
    for options, words in ((("--wear",), "--tokens and --budget"), ((*limits, "--wear", "0"), "above 0")):
        status, _, err = run("solve", "plain.npz", *options)
        assert (status, words in err) == (2, True)


def test_wear_by_domain_comes_from_options_and_files(run, solved, folder):
    (folder / "few.yaml").write_text("web: 6M\ncode_c: 1M\ncode_py: 1M\nbooks: 3M\n")
    (folder / "wear.yaml").write_text("web: 20  # 90 % interval 12 to 40\ncode_c: inf\n")
    limits = ("--tokens", "few.yaml", "--budget", "10M", "--max-epochs", "100", "--no-intervals", "--no-ranges")
    table, counts = (
        ExpertTable.load("plain.npz"),
        {"web": 6_000_000, "code_c": 10**6, "code_py": 10**6, "books": 3_000_000},
    )
    region = Region.from_tokens(counts, 10**7, max_epochs=100)
    for words, wear in (
        (("--wear", "15.4", "--wear", "web=20", "--wear", "code_*=inf"), (20.0, math.inf, math.inf, 15.4)),
        (("--wear", "wear.yaml", "--wear", "3"), (20.0, math.inf, 3.0, 3.0)),
        (("--wear", "wear.yaml", "--wear", "web=2", "--wear"), (2.0, math.inf, 15.4, 15.4)),
    ):
        found = solved("plain.npz", *limits, *words)
        by_name = dict(zip(NAMES, wear, strict=True))
        assert found["wear"] == {name: None if math.isinf(one) else one for name, one in by_name.items()}
        assert found["value"] == pytest.approx(solve(table, region, wear=by_name).value, abs=1e-12)
    out = run("solve", "plain.npz", *limits, "--wear", "--wear", "web=6", "--out", "worn.yaml")[1]
    assert "column wear" in out
    assert Mixture.load("worn.yaml")["web"] > 0
    for words, said in (
        (("--wear", "web=20"), "no number for code_c, code_py, books"),
        (("--wear", "wear.yaml"), "--wear 15.4"),
        (("--wear", "wear.yaml", "--wear", "few.yaml"), "more than one file"),
        (("--wear", "3", "--wear", "4"), "more than one number"),
        (("--wear", "wbe=20"), "did you mean web"),
        (("--wear", "3", "--wear", "web=0"), "above 0"),
        (("--wear", "inf"), "leave --wear out"),
        (("--wear", "often"), "is no number"),
        (("--wear", "missing.yaml"), "missing.yaml"),
        (("--wear", "plain.npz"), "yaml or json"),
    ):
        status, _, err = run("solve", "plain.npz", *limits, *words)
        assert (status, said in err) == (2, True), err


def test_intervals_of_few_sequences_are_doubted(run, folder):
    rng = np.random.default_rng(0)
    loglik = rng.normal(-3.0, 0.5, size=(60, 4))
    ExpertTable.from_loglik(
        loglik, domains=NAMES, group=np.repeat(["many", "one"], 30), sequence=[*range(30), *[99] * 30]
    ).save(folder / "few.npz")
    status, _, err = run("solve", "few.npz", "--replicates", "5")
    assert status == 0
    assert "intervals are too narrow" in err
    assert "one has 1;" in err


# Refusals.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cap", "wbe=0.1"], "--cap names an unknown domain: wbe"),
        (["--floor", "web"], "--floor web: 'web' is no number"),
        (["--cap", "web=20"], "--cap web=20: a share is at most 1"),
        (["--cap", "150%"], "a share is at most 1, got 1.5"),
        (["--limit", "code:code_*:..20"], "a share is at most 1, got 20"),
        (["--cap", "0.1"], "the caps sum to 0.4"),
        (["--cap", "web=0.1", "--cap", "web=0.2"], "--cap names web twice"),
        (["--cap", "0.5", "--cap", "0.6"], "more than one number for all"),
        (["--cap", "web=-0.5"], "cap must be non-negative"),
        (["--cap", "web=nan"], "no number"),
        (["--floor", "0.3"], "the floors sum to 1.2"),
        (["--floor", "web=0.6", "--cap", "web=0.5"], "floor above cap: web"),
        (["--limit", "code"], "expected NAME:DOMAIN,DOMAIN:LOW..HIGH"),
        (["--limit", "code:code_c:.."], "expected NAME:DOMAIN,DOMAIN:LOW..HIGH"),
        (["--limit", "code:rust_*:0.1..0.2"], "names an unknown domain: rust_*"),
        (["--limit", "code:code_*:0.5..0.2"], "above its upper limit"),
        (["--limit", "a:web:0.8..", "--limit", "b:code_*:0.8.."], "cannot hold together"),
        (["--max-epochs", "4"], "--max-epochs needs --tokens"),
        (["--tokens", "counts.yaml"], "--tokens needs --budget"),
        (["--tokens", "counts.yaml", "--budget", "100T"], "tokens short"),
        (["--tokens", "counts.yaml", "--budget", "1B", "--max-epochs", "moon=3"], "unknown domain: moon"),
        (["--tokens", "missing.yaml", "--budget", "1B"], "missing.yaml: No such file"),
        (["--budget", "lots"], "'lots' is no number of tokens"),
        (["--budget", "0"], "at least one token"),
        (["--budget", "1e999999999"], "below 2**63"),
        (["--kl", "-1"], "--kl: got '-1', expected a number of at least 0"),
        (["--kl", "inf"], "--kl: got 'inf'"),
        (["--kl", "x"], "no number"),
        (["--tol", "0"], "--tol: got '0', expected a number above 0"),
        (["--eps", "0"], "--eps: got '0'"),
        (["--threads", "0"], "--threads: got '0'"),
        (["--threads", "two"], "--threads: got 'two', expected a whole number of at least 1"),
        (["--replicates", "1"], "--replicates: got '1'"),
        (["--seed", "-1"], "--seed: got '-1'"),
        (["--held-out", "1"], "--held-out: got '1'"),
        (["--objective", "best"], "--objective names an unknown group: best"),
        (["--objective", "moon=1"], "--objective names an unknown group: moon"),
        (["--objective", "news=0"], "gives no group a weight above 0"),
        (["--out", "m.txt"], "ends in .yaml, .yml or .json"),
        (["--out", "nowhere/m.yaml"], "there is no folder nowhere"),
        (["--task", "arc"], "is a file"),
        (["--conditional"], "is a file"),
        (["--tokns", "x"], "unrecognized arguments: --tokns x (did you mean --tokens?)"),
        (["--kl", "1", "--kl", "2"], "--kl: given twice, with 1.0 and 2.0"),
        (["--prior", "uniform", "--kl", "1", "--prior", "counts.yaml"], "--prior: given twice"),
        (["--budget", "1B"], "--budget needs --tokens"),
        (["--objective", "worst", "--objective", "news"], "worst cannot be combined"),
        (["--objective", "news", "--objective", "n*=2"], "--objective names news twice"),
        (["--objective", "news=-1"], "a weight is at least 0"),
        (["--cap", "code_*=0.1", "--cap", "*_c=0.2"], "--cap names code_c twice, by code_* and *_c"),
        (["--cap", "c0de_*=0.1"], "--cap names an unknown domain: c0de_*"),
        (["--limit", "a:web:x..0.5"], "--limit a:web:x..0.5: 'x' is no number"),
        (["--no-intervals", "--replicates", "50"], "--replicates has no effect with --no-intervals"),
        (["--no-ranges", "--eps", "0.1"], "--eps has no effect with --no-ranges"),
        (["--keep-zeros"], "--keep-zeros has no effect without --out"),
        (["--force"], "--force has no effect without --out"),
        (["--prior", "counts.yaml"], "--prior has no effect without --kl"),
        (["--kl", "1", "--mixture-paths", "/data/{domain}"], "--mixture-paths has no effect without --prior"),
        (["--token", "counts.yaml"], "unrecognized arguments"),
    ],
)
def test_wrong_options_are_refused_in_one_line(refused, options, message):
    assert message in refused("solve", "grouped.npz", *options)


def test_a_refusal_leaves_stdout_empty(run):
    assert run("solve", "grouped.npz", "--kl", "-1", "--json")[1] == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("web: 1\ncode_c: 1\ncode_py: 1\n", "Only in the table: books"),
        ("web: 1\ncode_c: 1\ncode_py: 1\nbook: 1\n", "Only in counts: book (did you mean books?)."),
        ("", "it is empty"),
        ("- web\n", "expected lines of 'name: number'"),
        ("web: many\n", "web: 'many' is no number of tokens"),
        ("web: -5\n", "web: '-5' is no number of tokens"),
        ("web: 1.5\n", "web: '1.5' is no whole number of tokens"),
        ("web: 1\nweb: 2\n", "'web' is given twice"),
        ("web:\n", "web: expected a number, got ''"),
        (b"\xff\xfe\x00", "is a binary file, expected a yaml or json file"),
    ],
)
def test_wrong_count_files_are_refused(refused, folder, content, message):
    (folder / "counts").write_bytes(content if isinstance(content, bytes) else content.encode())
    error = refused("solve", "plain.npz", "--tokens", "counts", "--budget", "1B")
    assert message in error
    assert "counts" in error


@pytest.mark.parametrize("content", ["[1]", "{", '{"web": [1]}', '{"web": 1, "web": 2}', '{"web": true}', "NaN"])
def test_wrong_json_counts_are_refused(refused, folder, content):
    (folder / "bad.json").write_text(content)
    assert "bad.json" in refused("solve", "plain.npz", "--tokens", "bad.json", "--budget", "1B")


def test_a_prior_must_name_every_domain(refused, folder):
    (folder / "short.yaml").write_text("web: 0.5\nbooks: 0.5\n")
    error = refused("solve", "plain.npz", "--kl", "1", "--prior", "short.yaml")
    assert "Only in the table: code_c, code_py" in error
    assert "leave out shares of 0" in error
    assert "--keep-zeros" in error
    (folder / "short.yaml").write_text("web: 0.5\nprose: 0.5\n")
    assert "--keep-zeros" not in refused("solve", "plain.npz", "--kl", "1", "--prior", "short.yaml")


def npz(path, **arrays):
    np.savez(path, **arrays)


@pytest.mark.parametrize("command", ["solve", "info"])
def test_wrong_tables_are_refused(refused, folder, command):
    def check(name, message):
        error = refused(command, name)
        assert message in error
        assert name in error

    check("missing.npz", "No such file")
    (folder / "empty.npz").write_bytes(b"")
    check("empty.npz", "empty")
    loglik = np.full((5, 2), -1.0)
    loglik[3, 1] = np.nan
    npz(folder / "nan.npz", loglik=loglik)
    check("nan.npz", "NaN")
    npz(folder / "keys.npz", probabilities=loglik)
    check("keys.npz", "probabilities")
    npz(folder / "whole.npz", loglik=np.ones((4, 2), dtype=np.int64))
    check("whole.npz", "int64")
    np.save(folder / "objects.npy", np.array([[{}, []]], dtype=object), allow_pickle=True)
    check("objects.npy", "pickle")
    (folder / "table.pkl").write_bytes(pickle.dumps([1.0]))
    check("table.pkl", "pickle")
    whole = (folder / "plain.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    check("cut.npz", "truncated")
    (folder / "text.npz").write_text("domain,share\n")
    check("text.npz", "expected a table of experts")
    (folder / "nothing").mkdir(exist_ok=True)
    check("nothing", "holds no table")


def test_a_solve_starts_from_an_earlier_answer(good, solved, refused, tmp_path):
    (tmp_path / "start.yaml").write_text("web: 0.5\ncode_c: 0.5\n")
    free, given = solved("plain.npz"), solved("plain.npz", "--start", str(tmp_path / "start.yaml"))
    assert given["status"] == "optimal"
    assert given["value"] == pytest.approx(free["value"], abs=1e-8)
    assert given["mixture"] == pytest.approx(free["mixture"], abs=1e-3)
    (tmp_path / "other.yaml").write_text("web: 0.5\nbread: 0.5\n")
    assert "bread" in refused("solve", "plain.npz", "--start", str(tmp_path / "other.yaml"))
    assert "--start" in refused("solve", "plain.npz", "--method", "eg-paper", "--start", str(tmp_path / "start.yaml"))


def test_the_loops_of_the_paper_report_the_gap_of_the_iterate_that_they_keep(run, refused):
    table = ExpertTable.load("long.npz")
    for method in solver.PAPER_LOOPS:
        status, out, _ = run("solve", "long.npz", "--method", method, "--json")
        answer, found = json.loads(out), solve(table, method=method)
        assert (status, answer["status"]) == (1, "user_limit")
        assert (answer["mixture"], answer["gap"]) == (found.mixture.as_dict(), found.gap)
        assert run("solve", "long.npz", "--method", method)[0] == 1
    assert "no limits" in refused("solve", "long.npz", "--method", "eg-paper", "--cap", "web=0.4")
    assert "--kl" in refused("solve", "long.npz", "--method", "eg-paper-pcba", "--kl", "0.1")


def test_no_command_and_no_table_are_refused(refused):
    assert "COMMAND" in refused()
    assert "TABLE" in refused("solve")
    assert "'sovle' (did you mean solve?)" in refused("sovle")


# Processes and signals.


def test_help_and_version(run):
    import mixfast

    assert run("--help")[0] == 0
    status, out, _ = run("solve", "--help")
    assert status == 0
    assert "exit status" in out
    assert run("--version")[1].strip() == f"mixfast {mixfast.__version__}"


def test_every_option_of_solve_is_tried_here():
    source = Path(__file__).read_text(encoding="utf-8")
    parser = build_parser()
    options = [option for action in parser.below["solve"].arguments for option in action.option_strings]
    # Options of every command are tried in test_json_output.py.
    options = [option for option in options if option not in ("--quiet", "--verbose")]
    assert not [option for option in options if option.startswith("--") and f'"{option}"' not in source]


def test_interruption_is_quiet(run, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(solver, "solve", interrupt)
    assert run("solve", "plain.npz") == (130, "", "")


def test_no_memory_is_one_line(refused, monkeypatch):
    def fail(*arguments, **options):
        raise MemoryError("no room for 3 TB")

    monkeypatch.setattr(solver, "solve", fail)
    assert "not enough memory. no room for 3 TB" in refused("solve", "plain.npz")


BEGINS = "import sys; from mixfast import cli; print('ready', flush=True); sys.exit(cli.main(sys.argv[1:]))"
# The solve has ended, and a long step has started.
SOLVED = """
import sys
from mixfast import cli, solver
real = solver.solve
def solve(*given, **options):
    found = real(*given, **options)
    print("ready", flush=True)
    return found
solver.solve = solve
sys.exit(cli.main(sys.argv[1:]))
"""


def command(code, *arguments, **options):
    """Start a process and wait until it reports that it is ready; an earlier signal would only stop the imports."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], **pipes, **options)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.process
def test_ctrl_c_in_a_process(folder):
    table = folder / "large.npy"
    np.save(table, np.random.default_rng(0).normal(size=(60_000, 64)).astype(np.float32) - 5)
    # Enough resamples to run until the signal arrives.
    process = command(SOLVED, "solve", "large.npy", "--replicates", "8000", cwd=folder)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (130, "", "")


@pytest.mark.process
def test_a_reader_that_leaves_is_no_error(folder):
    process = command(BEGINS, "info", "grouped.npz", cwd=folder)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=30), err) == (0, "")


@pytest.mark.process
def test_the_package_runs_as_a_module(folder):
    done = subprocess.run([sys.executable, "-m", "mixfast", "info", "plain.npz"], cwd=folder, capture_output=True)
    assert done.returncode == 0
    assert b"900 rows" in done.stdout


@pytest.mark.parametrize("tqdm", [True, False], ids=["a bar", "without tqdm"])
def test_progress_is_for_terminals_and_long_waits(monkeypatch, tqdm):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    if not tqdm:
        monkeypatch.setattr(_progress, "bar_class", lambda notebook: None)
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(_progress, "QUIET_SECONDS", 0.02)
        with _progress.progress("thinking"):
            deadline = time.monotonic() + 60
            while shown and "thinking" not in stream.getvalue() and time.monotonic() < deadline:
                time.sleep(0.01)
        assert ("thinking" in stream.getvalue()) is shown
        # The line is left empty.
        assert not shown or stream.getvalue().endswith((" \r", "\r\x1b[K"))
    quiet = Terminal()
    monkeypatch.setattr(sys, "stderr", quiet)
    monkeypatch.setattr(_progress, "QUIET_SECONDS", 10.0)
    with _progress.progress("thinking"):
        pass
    assert quiet.getvalue() == ""


# Numbers.


def test_names_may_hold_an_equals_sign():
    assert inputs.named("--cap", ["a=b=20%"], ["a=b"]) == {"a=b": 0.2}


def test_numbers_read_mixture_files(tmp_path):
    Mixture(["a", "b: c"], [0.25, 0.75]).save(tmp_path / "m.yaml")
    Mixture(["a", "b: c"], [0.25, 0.75]).save(tmp_path / "m.json")
    for name in ("m.yaml", "m.json"):
        assert reading.numbers(str(tmp_path / name), number) == {"a": 0.25, "b: c": 0.75}


# Options with patterns, names with special characters, and options without effect.


def test_an_objective_may_be_a_bare_name_or_a_pattern(solved):
    named = solved("grouped.npz", "--objective", "news")
    assert named["group_weights"] == {"news": 1.0, "forum": 0.0, "papers": 0.0}
    assert solved("grouped.npz", "--objective", "*p*", "--objective", "news=3")["group_weights"] == {
        "news": 0.75, "forum": 0.0, "papers": 0.25,
    }  # fmt: skip


def test_caps_and_floors_take_patterns_and_a_name_wins(solved):
    answer = solved("plain.npz", "--cap", "code_*=0.1", "--cap", "code_py=0.3", "--floor", "b*=20%", "--cap", "0.6")
    assert answer["mixture"]["code_c"] <= 0.1 + 1e-9
    assert answer["mixture"]["books"] >= 0.2 - 1e-9
    assert inputs.named("--cap", ["code_*=0.1", "code_py=0.3", "0.6"], NAMES) == {
        "web": 0.6, "code_c": 0.1, "code_py": 0.3, "books": 0.6,
    }  # fmt: skip


def test_limits_take_names_with_commas_colons_and_equals_signs():
    odd = ["law, tax", "a:b", "c=d", "web"]
    for text in ("group:law, tax,a:b:0.1..0.3", 'group:"law, tax","a:b":0.1..0.3'):
        (bound,) = inputs.limits([text], odd)
        assert (bound.name, bound.domains, bound.lower) == ("group", ("law, tax", "a:b"), 0.1)
    (bound,) = inputs.limits(['"in: all":c=d,web:..0.3'], odd)
    assert (bound.name, bound.domains) == ("in: all", ("c=d", "web"))
    assert inputs.named("--cap", ["c=d=0.2", '"law, tax"=0.1'], odd) == {"c=d": 0.2, "law, tax": 0.1}
    assert inputs.objective(["c=d"], odd, "metric") == {"c=d": 1.0}


def test_a_kl_term_without_a_prior_says_where_it_pulls(good, folder):
    said = "--kl 0.1 pulls towards equal shares, because no prior was given: --prior FILE or --tokens FILE"
    words = ("solve", "plain.npz", "--kl", "0.1", "--no-ranges", "--no-intervals")
    assert f"- {said}\n" in good(*words)
    assert "equal shares" not in good(*words, "--prior", "uniform")


def test_long_work_is_announced_once_in_a_log(capsys, monkeypatch):
    monkeypatch.setattr(_progress, "LOG_SECONDS", 0.3)
    with _progress.progress("fitting") as now:
        now("gp")
        time.sleep(1.0)
    assert capsys.readouterr().err == "mixfast: fitting gp, for 0 s so far\n"
