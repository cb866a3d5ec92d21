"""mixfast fit | compare | propose: files of proxy runs as input, laws and a mixture as output."""

import csv
import json
import sys

import numpy as np
import pytest
from makers import losses

from mixfast import Mixture
from mixfast.laws import Fit
from mixfast.swarm import Swarm

DOMAINS = ("web", "code", "books")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write the runs of a known law in RegMix's format."""
    folder = tmp_path_factory.mktemp("swarm")
    ratios = np.random.default_rng(0).dirichlet(np.ones(3), 40)
    for name, prefix, names, values in (
        ("ratios.csv", "train_", DOMAINS, ratios),
        ("metrics.csv", "metric/", ("web_loss", "code_loss"), losses(DOMAINS, ratios, noise=0.003)),
    ):
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["index", *(prefix + each for each in names)])
            writer.writerows([i, *map(repr, row.tolist())] for i, row in enumerate(values))
    (folder / "counts.yaml").write_text(
        "".join(f"train_{name}: {n}\n" for name, n in zip(DOMAINS, (9e9, 2e9, 1e9), strict=True))
    )
    return folder


@pytest.fixture(autouse=True)
def here(files, monkeypatch):
    monkeypatch.chdir(files)


@pytest.fixture
def law(run):
    status, out, err = run("fit", "ratios.csv", "metrics.csv", "--law", "log_linear", "--out", "law.json")
    assert (status, err) == (0, "")
    assert "40 runs, 3 domains, 2 metrics" in out
    assert "metric/web_loss" in out
    assert "next: mixfast propose law.json" in out
    return "law.json"


def test_propose_from_a_fit(run, law, files):
    status, out, err = run(
        "propose", law, "--tokens", "counts.yaml", "--budget", "10B", "--kl", "0.01", "--out", "mixture.yaml"
    )
    assert (status, err) == (0, "")
    assert "optimal" in out
    assert "epochs" in out
    mixture = Mixture.load(files / "mixture.yaml")
    assert mixture["train_books"] <= 0.4 + 1e-12
    assert "wrote mixture.yaml" in out


def test_one_metric_and_weights(run, law):
    def shares(*objective):
        status, out, _ = run("propose", law, *objective, "--json")
        assert status == 0
        return json.loads(out)["mixture"]

    web = shares("--objective", "metric/web_loss")
    assert web["train_web"] > 0.99
    assert shares("--objective", "metric/web_loss=1", "--objective", "metric/code_loss=0") == pytest.approx(web)
    code = shares("--objective", "metric/code_loss", "--cap", "train_code=30%")
    assert code["train_code"] == pytest.approx(0.3)


def test_compare_tries_every_law(run):
    status, out, _ = run("compare", "ratios.csv", "metrics.csv", "--folds", "3")
    assert status == 0
    for name in ("linear", "log_linear", "gp", "lightgbm", "bimix", "autoscale", "mean Spearman"):
        assert name in out
    line = next(line for line in out.splitlines() if line.startswith("metric/web_loss"))
    assert line.count("*") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fit", "ratios.csv"), "Two files are needed"),
        (("fit", "ratios.csv", "nothing.csv"), "nothing.csv"),
        (("fit", "ratios.csv", "metrics.csv", "--out", "law.pkl"), ".json or .npz"),
        (("fit", "ratios.csv", "metrics.csv", "--metric", "speed"), "speed"),
        (("propose", "ratios.csv"), "ratios.csv is a csv file ('index,train_web"),
        (("propose", "law.json", "--objective", "speed"), "speed"),
        (("propose", "law.json", "--cap", "train_web=0.1", "--cap", "0.2"), "caps"),
        (("propose", "law.json", "--out", "mixture.txt"), ".yaml"),
        (("propose", "law.json", "--kl", "-1"), "kl"),
        (("propose", "law.json", "--method", "magic"), "magic"),
    ],
)
def test_refusals_are_one_line(run, law, arguments, said):
    status, _, err = run(*arguments)
    assert status == 2
    assert err.startswith("mixfast: error: ")
    assert err.count("\n") == 1
    assert said in err


@pytest.fixture
def config(files):
    (files / "fit.yaml").write_text(
        "swarm: {ratios: ratios.csv, metrics: metrics.csv}\n"
        "priors: {relative_sizes: {train_books: 0.2, train_web: 0.7, train_code: 0.1},"
        " token_counts: {train_books: 200, train_web: 700, train_code: 100}}\n"
        "eval: {type: offline, tasks: {coding: [metric/code_loss]}}\n"
        "regression: {type: linear, seed: 3, train_split: 0.8, aggregate_task_families: true}\n"
        "proposer: {type: exact, kl_reg: 0.05}\n"
        "constraints: {enabled: true, target_tokens: 1000, repetition_factor: 2}\n"
        "filtering: {drop_metrics: [metric/web_loss], obj_weights: {coding: 1}}\n"
    )
    return "fit.yaml"


def test_an_olmix_configuration_is_followed(run, config):
    status, out, err = run("fit", "--olmix-config", config, "--out", "olmix.json")
    assert status == 0
    assert "32 runs, 3 domains, 1 metric" in out
    assert "coding  linear" in out
    assert "note: 32 of 40 runs are fitted" in err
    assert f"next: mixfast propose olmix.json --olmix-config {config}" in out
    status, out, err = run("propose", "olmix.json", "--olmix-config", config, "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert (found["method"], found["kl"]) == ("exact", 0.05)
    # Two epochs of a tenth of the tokens.
    assert found["mixture"]["train_code"] == pytest.approx(0.2, abs=1e-9)
    assert json.loads(run("propose", "olmix.json", "--olmix-config", config, "--json", "--kl", "1")[1])["kl"] == 1.0
    assert run("fit", "--olmix-config", config, "--law", "log_linear")[1].count("log_linear") == 1


@pytest.mark.parametrize(
    ("key", "value", "command", "message"),
    [
        ("type: linear", "type: magic", ["fit"], "regression.type is 'magic', expected one of linear, log_linear"),
        ("type: exact", "type: magic", ["propose", "olmix.json"], "proposer.type is 'magic', expected one of exact"),
        ("kl_reg: 0.05", "kl_reg: null", ["propose", "olmix.json"], "proposer.kl_reg is not given"),
        ("kl_reg: 0.05", "fit_only: true", ["propose", "olmix.json"], "fit_only is true, so nothing is proposed"),
        ("seed: 3", "n_test: 3", ["propose", "olmix.json"], "n_test is 3, and Olmix proposes nothing"),
        (
            "coding: [metric/code_loss]",
            "web: [metric/web_loss]",
            ["propose", "olmix.json"],
            "the configuration counts web, which",
        ),
        ("[metric/code_loss]", "[metric/code_loss, law_loss]", ["fit"], "metrics.csv does not have: law_loss"),
        ("", "", ["propose", "olmix.json", "--cap", "0.5"], "leave out --cap"),
    ],
)
def test_what_an_olmix_configuration_cannot_mean(run, config, files, key, value, command, message):
    run("fit", "--olmix-config", config, "--out", "olmix.json")
    text = (files / config).read_text()
    (files / config).write_text(text.replace(key, value))
    status, _, err = run(*command, "--olmix-config", config)
    assert status == 2
    assert message in err


def test_the_best_run_of_an_olmix_search_is_told(run, config, files):
    text = (files / config).read_text().replace("type: linear", "type: search")
    text = text.replace("type: exact, kl_reg: 0.05", "type: search").replace(", train_split: 0.8", "")
    (files / config).write_text(text)
    status, out, err = run("fit", "--olmix-config", config)
    assert (status, err) == (0, "mixfast: note: the search ignores obj_weights, as in Olmix\n")
    swarm = Swarm.from_csv(files / "ratios.csv", files / "metrics.csv")
    losses = swarm.values[:, swarm.metrics.index("metric/code_loss")]
    # Two epochs of the available tokens.
    code, books = (swarm.ratios[:, swarm.domains.index(f"train_{name}")] for name in ("code", "books"))
    best = int(np.argmin(np.where((code <= 0.2) & (books <= 0.4), losses, np.inf)))
    assert f"run {swarm.runs[best]}, mean of the metrics {losses[best]:.6g}" in out
    assert f"{code[best]:.6g}" in out
    assert "which fits no law to write" in run("fit", "--olmix-config", config, "--out", "olmix.json")[2]
    run("fit", "--olmix-config", config, "--law", "linear", "--out", "olmix.json")
    assert "takes the best run of the swarm" in run("propose", "olmix.json", "--olmix-config", config)[2]


def test_regmix_draws_around_the_uniform_mixture_by_default(run, law):
    status, out, err = run("propose", law, "--method", "regmix", "--json")
    assert status == 0
    assert (
        err
        == "mixfast: note: --method regmix samples around equal shares, because neither --prior nor --tokens is given\n"
    )
    assert json.loads(out)["method"] == "regmix"


def test_a_folder_that_is_missing_is_told_before_the_fit(run):
    status, out, err = run("fit", "ratios.csv", "metrics.csv", "--out", "nowhere/law.json")
    assert (status, out) == (2, "")
    assert "there is no folder nowhere" in err


def test_a_comparison_that_cannot_be_made_says_why(run, files):
    status, _, err = run("compare", "ratios.csv", "metrics.csv", "--folds", "0")
    assert status == 2
    assert "--folds 0: laws are compared on runs left out" in err
    status, out, err = run("compare", "ratios.csv", "metrics.csv", "--metric", "nope")
    assert status == 2
    assert err.startswith("mixfast: error: ratios.csv and metrics.csv: there is no metric 'nope'; the metrics are: ")
    assert "nope" not in out
    for name in ("ratios.csv", "metrics.csv"):
        (files / f"one_{name}").write_text("".join((files / name).read_text().splitlines(keepends=True)[:2]))
    status, _, err = run("compare", "one_ratios.csv", "one_metrics.csv")
    assert status == 2
    assert "laws are compared out of fold, which needs 2 or more folds and at least 2 runs" in err


def test_two_runs_are_reported_without_a_word_from_numpy(run, files):
    for name in ("ratios.csv", "metrics.csv"):
        (files / f"two_{name}").write_text("".join((files / name).read_text().splitlines(keepends=True)[:3]))
    status, out, err = run("fit", "two_ratios.csv", "two_metrics.csv")
    assert status == 0
    assert all(line.startswith("mixfast: note: ") for line in err.splitlines())
    assert "metric/web_loss" in out


def test_names_that_a_law_does_not_know_are_held_against_the_law(run, law, files):
    (files / "other.yaml").write_text("web: 1\nprose: 2\n")
    status, _, err = run("propose", law, "--prior", "other.yaml")
    assert status == 2
    assert "other.yaml and law.json name different domains" in err
    status, _, err = run("propose", law, "--cap", "prose=0.1")
    assert status == 2
    assert "known are: train_web" in err


def test_directions_are_said_and_told(files, run):
    _, out, _ = run("fit", "ratios.csv", "metrics.csv", "--law", "linear", "--out", "l.json", "--more-is-better", "*")
    assert "more is better: all 2 metrics" in out
    assert set(Fit.load(files / "l.json").direction) == {"max"}
    _, out, _ = run("fit", "ratios.csv", "metrics.csv", "--law", "linear")
    assert "less is better: all 2 metrics" in out
    status, _, err = run("fit", "ratios.csv", "metrics.csv", "--more-is-better", "nothing")
    assert status == 2
    assert "there is no metric 'nothing'" in err


def tracked(files):
    """Return a table as trackers export it: ids in "Name", the tracker's own columns, shares, and metrics of both directions."""
    rng = np.random.default_rng(1)
    web = rng.random(20).round(3)
    header = [
        "Name",
        "State",
        "User",
        "Created",
        "Runtime",
        "mix.web",
        "mix.maths",
        "quiz/logprob",
        "quiz/acc",
        "eval/loss",
        "eval/empty",
    ]
    rows = [
        [f"mix-{i}", "finished", "ann", "2026-01-02", 3000 + i, w, round(1 - w, 3), -19 + 4 * (1 - w), 0.3 + 0.2 * (1 - w), 1 + w, ""]
        for i, w in enumerate(web.tolist())
    ]  # fmt: skip
    with (files / "export.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return "export.csv"


def test_a_table_of_a_tracker_is_fitted_and_proposes_the_better_mixture(good, refused, files):
    table = tracked(files)
    out = good("fit", table, "--domains", "mix.*", "--law", "linear", "--out", "t.json")
    assert "20 runs, 2 domains, 3 metrics" in out
    assert "more is better: quiz/logprob, quiz/acc (told from the names); less is better: the other" in out
    assert (
        "columns not used: 'State', 'User', 'Created', 'Runtime' (by their names; --metric NAME takes one); empty: 'eval/empty'"
        in out
    )
    for metric in ("quiz/logprob", "quiz/acc", "eval/loss"):
        found = json.loads(good("propose", "t.json", "--objective", metric, "--cap", "80%", "--json"))
        assert found["mixture"]["mix.maths"] == pytest.approx(0.8)
    said = refused("propose", "t.json")
    assert "different units or scales (logprob: quiz/logprob; score: quiz/acc; nats: eval/loss)" in said
    assert "--objective standardised" in said
    found = json.loads(good("propose", "t.json", "--objective", "standardised", "--cap", "80%", "--json"))
    assert found["mixture"]["mix.maths"] == pytest.approx(0.8)


def test_options_choose_columns_before_anything_is_checked(good, refused, files):
    table = tracked(files)
    assert "1 metric\n" in good("fit", table, "--domains", "mix.*", "--metric", "eval/l*", "--law", "linear")
    assert "1 metric\n" in good(
        "fit", table, table, "--id", "Name", "--domains", "mix.*", "--ignore", "quiz*", "--law", "linear"
    )
    assert "ignore names columns that do not exist: z*" in refused("fit", table, "--domains", "mix.*", "--ignore", "z*")
    assert "--domains 'mix.*'" in refused("fit", table)
    with_text = "run,loss,note\n" + "".join(f"{i},{1 + i / 40},ok\n" for i in range(40))
    (files / "noted.csv").write_text(with_text)
    assert "text: 'note'" in good("fit", "ratios.csv", "noted.csv", "--law", "linear")
    assert "not used" not in good("fit", "ratios.csv", "noted.csv", "--law", "linear", "--metric", "loss")


def test_every_command_that_reads_runs_takes_one_table(good, run, files):
    table = tracked(files)
    chosen = ("--domains", "mix.*", "--metric", "eval/loss")
    assert "eval/loss" in run("compare", table, *chosen, "--folds", "2")[1]
    assert "20 runs, law: linear" in good(
        "next", table, table, *chosen, "--runs", "2", "--law", "linear", "--out", "n.csv"
    )
    assert "wrote page.html" in good("report", table, *chosen, "--law-kind", "linear", "--out", "page.html")


def test_a_long_table_and_metrics_by_the_other_name_of_the_option_are_taken(good, files):
    (files / "few.csv").write_text("run,web,code\na,0.2,0.8\nb,0.5,0.5\nc,0.9,0.1\nd,0.4,0.6\n")
    rows = [
        f"{run},{name},{value}"
        for run in "abcd"
        for name, value in (("mmlu", ord(run) / 200), ("c4_loss", ord(run) / 40))
    ]
    (files / "long.csv").write_text(
        "run,metric,value,direction\n" + "".join(f"{row},{'max' if 'mmlu' in row else ''}\n" for row in rows)
    )
    told = good("fit", "few.csv", "long.csv", "--law", "linear", "--folds", "0")
    assert "4 runs, 2 domains, 2 metrics" in told
    assert "more is better: mmlu; less is better: the other" in told
    for option in ("--metric", "--metrics"):
        assert "1 metric\n" in good("fit", "few.csv", "long.csv", "--law", "linear", "--folds", "0", option, "*_loss")


def test_counts_of_tokens_are_divided_and_it_is_said(good, refused, files):
    rows = (files / "ratios.csv").read_text().splitlines()
    counted = [
        ",".join([cells[0], *(str(round(1e9 * float(cell))) for cell in cells[1:])])
        for cells in (row.split(",") for row in rows[1:])
    ]
    (files / "counted.csv").write_text("\n".join([rows[0], *counted]) + "\n")
    assert "shares read as counts of tokens" in good("fit", "counted.csv", "metrics.csv", "--law", "linear")
    mixed = [*counted[:-1], rows[-1]]
    (files / "mixed.csv").write_text("\n".join([rows[0], *mixed]) + "\n")
    assert "--normalise divides each run by its sum" in refused("fit", "mixed.csv", "metrics.csv")
    for option in ("--normalise", "--normalize"):
        assert "every run was divided by its sum" in good(
            "fit", "counted.csv", "metrics.csv", "--law", "linear", option
        )


def test_a_diverged_run_is_named_and_left_out_by_an_option(run, files):
    lines = (files / "metrics.csv").read_text().splitlines()
    lines[8] = "7,11.3,9.9"
    (files / "diverged.csv").write_text("\n".join(lines) + "\n")
    status, out, err = run("fit", "ratios.csv", "diverged.csv", "--law", "log_linear")
    assert status == 0
    assert "note: the run 7 looks diverged: it is 11.3 in metric/web_loss" in err
    assert "leave it out: --without 7\n" in err
    status, out, _ = run("fit", "ratios.csv", "diverged.csv", "--law", "log_linear", "--without", "7")
    assert status == 0
    assert "39 runs" in out
    assert "looks diverged" not in out
    status, _, err = run("fit", "ratios.csv", "diverged.csv", "--without", "nosuch")
    assert status == 2
    assert "there is no run 'nosuch'" in err


def test_compare_leaves_out_laws_metric_by_metric(run, files):
    lines = [line.split(",") for line in (files / "metrics.csv").read_text().splitlines()]
    text = "".join(f"{line[0]},{line[1]},{'quiz' if i == 0 else -float(line[2])}\n" for i, line in enumerate(lines))
    (files / "negative.csv").write_text(text)
    status, out, err = run("compare", "ratios.csv", "negative.csv", "--folds", "2", "--less-is-better", "quiz")
    assert status == 0
    assert err == "mixfast: note: bimix predicts metric/web_loss worse than the mean of the runs does (r2 below 0)\n"
    assert "a law was left out: log_linear: negative values, and this law is positive everywhere" in out
    row = next(line for line in out.splitlines() if line.startswith("quiz "))
    assert row.split().count("-") == 3
    assert row.count("*") == 1


def test_compare_does_not_end_well_without_a_law_that_needs_a_missing_package(run, monkeypatch):
    import mixfast.laws

    monkeypatch.setitem(sys.modules, "numba", None)
    for module in ("laws._power_loops", "_engine.backend.compiled"):
        monkeypatch.delitem(sys.modules, f"mixfast.{module}", raising=False)
    monkeypatch.delattr(mixfast.laws, "_power_loops", raising=False)
    status, out, err = run("compare", "ratios.csv", "metrics.csv", "--folds", "2", "--json")
    assert status == 2
    last = err.splitlines()[-1]
    assert last.startswith(
        "mixfast: error: autoscale, bimix could not be compared and may be better than the marked law: a power law needs Numba"
    )
    assert last.endswith("install with: pip install 'mixfast[laws]'")
    found = json.loads(out)
    assert set(found["laws"]) >= {"linear", "log_linear"}
    assert not {"autoscale", "bimix"} & set(found["laws"])


def test_auto_says_which_law_it_cannot_try(monkeypatch):
    from mixfast.laws import _fit, fit

    monkeypatch.setattr(_fit, "find_spec", lambda name: None)
    ratios = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    swarm = Swarm(ratios, ratios @ [1.0, 2.0, 3.0], domains=DOMAINS, metric_names=["m"])
    told = "the law in epochs was not tried, because it needs Numba"
    assert not any(told in note for note in fit(swarm, folds=2).notes)
    assert any(
        told in note for note in fit(swarm.with_tokens(tokens=dict.fromkeys(DOMAINS, 1e9), budget=1e9), folds=2).notes
    )
