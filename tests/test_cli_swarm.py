"""mixfast fit | compare | propose: files of proxy runs in, laws and a mixture out."""

import csv
import json

import numpy as np
import pytest

from mixfast import Mixture, cli

DOMAINS = ("web", "code", "books")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Runs of a planted law, as RegMix writes them."""
    folder = tmp_path_factory.mktemp("swarm")
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(3), 40)
    a = np.array([[-1.0, 0.3], [0.2, -1.5], [-0.3, -0.2]])
    losses = 2.0 + np.exp(ratios @ a) + 0.003 * rng.standard_normal((40, 2))
    for name, prefix, names, values in (
        ("ratios.csv", "train_", DOMAINS, ratios),
        ("metrics.csv", "metric/", ("web_loss", "code_loss"), losses),
    ):
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["index", *(prefix + each for each in names)])
            writer.writerows([i, *map(repr, row.tolist())] for i, row in enumerate(values))
    (folder / "counts.yaml").write_text(
        "".join(f"train_{name}: {n}\n" for name, n in zip(DOMAINS, (9e9, 2e9, 1e9), strict=True))
    )
    return folder


@pytest.fixture
def run(files, monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.chdir(files)
        status = cli.main(list(arguments))
        out, err = capsys.readouterr()
        return status, out, err

    return call


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
        (("fit", "ratios.csv"), "two files are needed"),
        (("fit", "ratios.csv", "nothing.csv"), "nothing.csv"),
        (("fit", "ratios.csv", "metrics.csv", "--out", "law.pkl"), ".json or .npz"),
        (("fit", "ratios.csv", "metrics.csv", "--metric", "speed"), "speed"),
        (("propose", "ratios.csv"), "is not a fit that mixfast saved"),
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
