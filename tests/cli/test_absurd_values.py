"""Values that no measurement has (1e300, 1e-300, counts of 1e18): each command works or names them, and nothing overflows."""

import re
import warnings

import numpy as np
import pytest

from mixfast import fit
from mixfast.cli import main
from mixfast.swarm import Swarm

pytest.importorskip("scipy")
pytest.importorskip("lightgbm")
pytest.importorskip("numba")

DOMAINS = ["web", "code", "books", "maths"]
RNG = np.random.default_rng(0)
SHARES = RNG.dirichlet(np.ones(4), 30)
LOSSES = np.exp(np.column_stack([-SHARES @ [1, 2, 3, 0.5], SHARES @ [-1, 0.2, 0.3, -2]])) + 1.5
LOSSES += 0.005 * RNG.standard_normal(LOSSES.shape)
LOGLIK = -RNG.exponential(size=(60, 4)) - 1.0


def csv(path, names, values):
    rows = [",".join([f"r{i}", *map(repr, row)]) for i, row in enumerate(np.asarray(values, float).tolist())]
    path.write_text("\n".join([",".join(["run", *names]), *rows]) + "\n")


def with_(values, place, number):
    out = np.array(values)
    out[place] = number
    return out


METRICS = {
    "one run 1e300": with_(LOSSES, (3, 0), 1e300),
    "one run -1e300": with_(LOSSES, (3, 0), -1e300),
    "one run inf": with_(LOSSES, (3, 0), np.inf),
    "one run 1e99": with_(LOSSES, (3, 0), 1e99),
    "one run 1e-300": with_(LOSSES, (3, 0), 1e-300),
    "all times 1e99": LOSSES * [1e99, 1.0],
    "all times 1e-99": LOSSES * [1e-99, 1.0],
    "all times 1e-300": LOSSES * [1e-300, 1.0],
    "all times 1e-320": LOSSES * [1e-320, 1.0],
    "all scales": LOSSES * np.column_stack([10.0 ** np.linspace(-99, 99, 30), np.ones(30)]),
}
JOINED = np.column_stack([SHARES[:, :3] + SHARES[:, 3:] / 3, SHARES[:, 3]])
RATIOS = {
    "one share 1e-300": with_(SHARES, 3, [1e-300, 0.5, 0.25, 0.25]),
    "shares of 1e-300": JOINED * [1, 1, 1, 1e-300],
    "shares of 1e-160": JOINED * [1, 1, 1, 1e-160],
    "counts of 1e18": np.round(SHARES * 1e18),
    "counts of 1e300": SHARES * 1e300,
}
LAWS = ("linear", "log_linear", "gp", "autoscale", "bimix", "lightgbm")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    csv(tmp_path / "ratios.csv", DOMAINS, SHARES)
    csv(tmp_path / "metrics.csv", ["a_loss", "b_loss"], LOSSES)

    def command(*argv):
        """Run a command with numpy warnings as errors; return its status, answer and messages."""
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            try:
                status = main(list(argv))
            except SystemExit as end:
                status = end.code
        out, err = capsys.readouterr()
        assert status in (0, 1, 2, None), err
        return status or 0, out, err

    return command


def errors_of(table):
    """Return the rmse of each metric in the table that `fit` prints."""
    found = re.findall(r"^(a_loss|b_loss) +\S+ +\d+ +(\S+)", table, re.MULTILINE)
    return {name: float(rmse) for name, rmse in found}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kind", METRICS)
def test_absurd_metrics_are_fitted_or_named(run, tmp_path, kind, law):
    csv(tmp_path / "absurd.csv", ["a_loss", "b_loss"], METRICS[kind])
    status, out, err = run("fit", "ratios.csv", "absurd.csv", "--law", law)
    if kind in ("one run 1e300", "one run -1e300"):
        assert status == 2
        assert "r3 is" in err
        assert "--without r3" in err
    elif kind in ("all times 1e-300", "all times 1e-320"):
        assert status == 2
        assert "all values of a_loss are below 1e-100" in err
    elif status == 0:
        errors = errors_of(out)
        assert set(errors) >= {"b_loss"}
        assert np.isfinite(list(errors.values())).all()
    else:  # the law is positive everywhere, or needs a finite value in each run
        assert re.search(r"a_loss|r3", err)


@pytest.mark.parametrize("command", ["compare", "next", "report"])
@pytest.mark.parametrize("kind", ["one run 1e300", "one run 1e99", "all times 1e99", "all times 1e-320"])
def test_other_commands_take_or_name_absurd_metrics(run, tmp_path, kind, command):
    csv(tmp_path / "absurd.csv", ["a_loss", "b_loss"], METRICS[kind])
    options = {
        "compare": (),
        "next": ("--runs", "2", "--law", "log_linear", "--objective", "standardised"),
        "report": ("--law-kind", "linear", "--objective", "standardised", "--out", "page.html"),
    }
    status, out, err = run(command, "ratios.csv", "absurd.csv", *options[command])
    assert "r3" in out + err if kind.startswith("one") and command != "report" else True
    assert status == (2 if "1e300" in kind or "1e-320" in kind else 0), err


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kind", RATIOS)
def test_absurd_shares_and_counts_are_fitted(run, tmp_path, kind, law):
    csv(tmp_path / "absurd.csv", DOMAINS, RATIOS[kind])
    status, out, err = run(
        "fit", "absurd.csv", "metrics.csv", "--law", law, *(["--normalise"] if "counts" in kind else [])
    )
    assert status == 0, err
    assert np.isfinite(list(errors_of(out).values())).all()


def test_a_domain_whose_shares_are_all_dust_counts_as_constant():
    seen = Swarm(RATIOS["shares of 1e-160"], LOSSES, domains=DOMAINS, metric_names=["a", "b"]).identifiable
    assert list(seen.constant) == [3]
    assert np.ptp(seen.shares[:, 3]) == 0.0


def test_trees_follow_metrics_of_any_size():
    """LightGBM computes in float32, so metrics far from 1 are scaled by a power of two, which changes no digits."""
    plain, large = (
        fit(Swarm(SHARES, LOSSES[:, :1] * unit, domains=DOMAINS, metric_names=["a"]), "lightgbm", folds=0)
        for unit in (2.0**60, 2.0**200)
    )
    many = np.tile(SHARES, (20, 1))  # enough mixtures that the trees are converted to arrays
    for at in (SHARES, many):
        np.testing.assert_array_equal(large.predict(at), 2.0**140 * plain.predict(at))
        np.testing.assert_array_equal(large.sd(at), 2.0**140 * plain.sd(at))


TABLES = {
    "one value -1e300": ({"loglik": with_(LOGLIK, (3, 1), -1e300)}, ""),
    "a row of -1e300": ({"loglik": with_(LOGLIK, 3, -1e300)}, "(row 3 has -1e+300 at most)"),
    "all values -1.7e308": ({"loglik": np.full((60, 4), -1.7e308)}, "in 60 of 60 rows (row 0 has -1.7e+308"),
    "one value 1e300": ({"loglik": with_(LOGLIK, (3, 1), 1e300)}, "(row 3 has 1e+300 at most)"),
    "all values 1e-300": ({"loglik": LOGLIK * 1e-300}, ""),
    "a weight of 1e300": ({"loglik": LOGLIK, "weight": with_(np.ones(60), 5, 1e300)}, "sum to 1e+300"),
    "weights of 1e-300": ({"loglik": LOGLIK, "weight": np.full(60, 1e-300)}, ""),
}


@pytest.mark.parametrize("options", [(), ("--objective", "worst"), ("--kl", "1e-300"), ("--held-out", "0.3")])
@pytest.mark.parametrize("kind", TABLES)
def test_absurd_tables_are_solved_or_named(run, tmp_path, kind, options):
    arrays, named = TABLES[kind]
    np.savez(tmp_path / "table.npz", domains=np.array(DOMAINS), **arrays)
    status, out, err = run("solve", "table.npz", *options)
    assert status == (2 if named else 0), err
    assert named in err
    assert not re.search(r"\b(inf|nan)\b", out)


@pytest.mark.parametrize("numbers", [["1e300"] * 4, ["1e-300", "0.5", "0.25", "0.25"], ["1e18"] * 4, ["5e-324"] * 4])
def test_absurd_priors_and_token_counts_are_taken_or_named(run, tmp_path, numbers):
    np.savez(tmp_path / "table.npz", domains=np.array(DOMAINS), loglik=LOGLIK)
    run("fit", "ratios.csv", "metrics.csv", "--law", "log_linear", "--out", "law.json")
    (tmp_path / "p.yaml").write_text(
        "".join(f"{name}: {number}\n" for name, number in zip(DOMAINS, numbers, strict=True))
    )
    for what in (("solve", "table.npz"), ("propose", "law.json"), ("design", "--domains", ",".join(DOMAINS))):
        run(*what, *(() if what[0] == "design" else ("--kl", "0.1")), "--prior", "p.yaml")
        run(*what[: 1 if what[0] == "design" else 2], "--tokens", "p.yaml", "--budget", "1e18")
    run("reuse", "start", "life.yaml", "--mixture", "p.yaml", "--tokens", "p.yaml", "--budget", "1e18")
