"""Diverged runs are named and do not influence the choice of laws; impossible values are refused; useless laws are reported."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from mixfast import Mixture, Swarm, fit
from mixfast._text.audience import commanded
from mixfast.laws import Fit, compare, diverged
from mixfast.report import page

pytest.importorskip("numba")
pytest.importorskip("scipy")

DOMAINS = ("web", "code", "maths")


def swarm_of(values, *, seed=0):
    values = np.asarray(values, dtype=float)
    x = np.random.default_rng(seed).dirichlet(np.ones(3), len(values))
    names = [f"m{j}" for j in range(values.shape[1])]
    return Swarm(x, values, domains=DOMAINS, metric_names=names, runs=[f"r{i}" for i in range(len(values))])


def curved(runs=40, columns=1):
    """Return losses between 2 and 3 that a log-linear law describes."""
    x = np.random.default_rng(0).dirichlet(np.ones(3), runs)
    noise = 0.01 * np.random.default_rng(1).standard_normal((runs, columns))
    return 2.0 + np.exp(-3.0 * x[:, :1]) + noise


def about(notes, words="looks diverged"):
    return [note for note in notes if words in note]


def test_a_diverged_run_is_named_and_does_not_choose_the_law():
    y = curved()
    clean = fit(swarm_of(y))
    y[7] = 11.3
    found = fit(swarm_of(y))
    (note,) = about(found.notes)
    assert "the run r7 looks diverged: it is 11.3 in m0, the other runs are 2." in note
    assert note.endswith("leave it out: swarm.without('r7')")
    with commanded():
        assert about(fit(swarm_of(y)).notes)[0].endswith("leave it out: --without r7")
    assert found.reports[0].runs == 39
    assert found.reports[0].rmse < 2.0 * clean.reports[0].rmse
    assert not about(fit(swarm_of(y).without("r7")).notes)
    assert swarm_of(y).without("r7").runs == tuple(f"r{i}" for i in range(40) if i != 7)


def test_a_run_that_diverged_in_several_metrics_is_one_note():
    y = np.hstack([curved(), 3.0 * curved(), curved()])
    y[3, :2] = 99.0
    (note,) = about(fit(swarm_of(y), "log_linear").notes)
    assert "it is 99 in m0" in note
    assert "and as far off in m1;" in note


@pytest.mark.parametrize("folds", [0, 5])
def test_one_law_names_the_run_too(folds):
    y = curved()
    y[7] = 11.3
    assert len(about(fit(swarm_of(y), "linear", folds=folds).notes)) == 1


def test_long_tails_that_a_law_follows_are_not_named():
    x = np.random.default_rng(0).dirichlet(np.full(3, 0.3), 60)
    y = 2.0 + np.exp(6.0 * x[:, :1]) * (x[:, :1] > 0.8)
    far = np.abs(y - np.median(y)).max()
    y = 2.0 + np.exp(7.0 * x[:, :1])
    assert far > 10.0
    swarm = Swarm(x, y, domains=DOMAINS, metric_names=["m0"], runs=[f"r{i}" for i in range(60)])
    assert not about(fit(swarm, "log_linear").notes)


def test_few_runs_and_metrics_that_are_mostly_equal_are_not_judged():
    y = curved(7)
    y[2] = 50.0
    assert not about(fit(swarm_of(y), "linear").notes)
    y = np.full((30, 1), 0.25)
    y[:3] = [[0.5], [0.3], [0.9]]
    assert not about(fit(swarm_of(y), "linear").notes)


def test_values_that_are_no_measurements_are_refused_without_numpys_warnings():
    y = curved()
    y[4] = 2.7e300
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"the run r4 is 2.7e\+300 in m0: .*leave it out: swarm.without\('r4'\)"):
            fit(swarm_of(y), "linear")
    y[4] = -1e90
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit(swarm_of(y), "linear")
    assert len(about(found.notes)) == 1
    assert all(len(line) < 120 for line in found.report.splitlines())


@pytest.mark.parametrize("r2", [-np.inf, -1e30, -1e260, -12345.678, -999.96, 0.98765])
def test_every_table_prints_r2_in_six_characters(r2):
    fitted = fit(swarm_of(curved()), "linear")
    (one,) = fitted.reports
    object.__setattr__(one, "r2", r2)
    (row,) = fitted.report.splitlines()[1:]
    assert len(row.split()[5]) <= 6
    assert row.split()[5] in fitted._repr_html_()
    if r2 == -12345.678:  # a page takes seconds
        assert ">-12346<" in page(fitted, Mixture(dict.fromkeys(DOMAINS, 1 / 3))).html


def test_metrics_that_no_law_predicts_are_told():
    y = np.hstack([curved(), np.random.default_rng(5).standard_normal((40, 1)) ** 2 + 1.0])
    (note,) = about(fit(swarm_of(y)).notes, "better than the mean")
    assert note.startswith("no law that was tried predicts m1 better than the mean of the runs")
    found = compare(swarm_of(y), ("linear", "log_linear"))
    assert about(found.notes, "better than the mean") == [note]


def with_values(y, values, column=0):
    """Return the metrics with these values in some runs."""
    out = y.copy()
    for run, value in values.items():
        out[run, column] = value
    return out


def noisy(runs, seed=0):
    """Return a metric that no law of "auto" has the form of."""
    x = np.random.default_rng(seed).dirichlet(np.ones(3), runs)
    return (
        3.0
        + 2.0 * ((x - 0.2) ** 2).sum(axis=1, keepdims=True)
        + 0.02 * np.random.default_rng(9).standard_normal((runs, 1))
    )


@pytest.mark.parametrize("make", [curved, noisy])
@pytest.mark.parametrize("runs", [12, 40])
@pytest.mark.parametrize("bad", [(3,), (3, 8)])
def test_the_value_of_a_diverged_run_changes_neither_the_errors_nor_the_choice(make, runs, bad):
    y = make(runs)
    found = [fit(swarm_of(with_values(y, dict.fromkeys(bad, value)))) for value in (15.0, 90.0, 1e7)]
    assert all(one.diverged == {"m0": tuple(f"r{i}" for i in bad)} for one in found)
    assert found[0].reports == found[1].reports == found[2].reports
    at = np.random.default_rng(1).dirichlet(np.ones(3), 50)
    np.testing.assert_array_equal(found[0].predict(at), found[2].predict(at))
    left_out = fit(swarm_of(y).without(*(f"r{i}" for i in bad)))
    assert found[0].reports[0].rmse < 2.0 * left_out.reports[0].rmse
    # The errors of all rivals are those of laws that have not seen the value.
    for law, error in left_out.reports[0].rivals.items():
        assert found[0].reports[0].rivals[law] < 3.0 * error


def test_a_run_that_diverged_in_one_metric_counts_in_the_others():
    y = np.hstack([curved(), noisy(40)])
    found, clean = fit(swarm_of(with_values(y, {5: 80.0}))), fit(swarm_of(y))
    assert found.diverged == {"m0": ("r5",)}
    assert [one.runs for one in found.reports] == [39, 40]
    assert found.reports[1].rivals == pytest.approx(clean.reports[1].rivals, rel=1e-9)
    assert found.predict([1 / 3] * 3)[0, 1] == pytest.approx(clean.predict([1 / 3] * 3)[0, 1], rel=1e-9)


@pytest.mark.parametrize("runs", [4, 7])
def test_with_fewer_than_8_runs_no_run_is_judged(runs):
    found = fit(swarm_of(with_values(curved(runs), {1: 50.0})), "linear", folds=2)
    assert found.diverged == {}
    assert found.reports[0].runs == runs


@pytest.mark.parametrize("law", ["linear", "log_linear", "gp", "autoscale", "bimix", "lightgbm", "object"])
def test_every_law_limits_a_diverged_run(law):
    if law == "lightgbm":
        pytest.importorskip("lightgbm")
    options = {"floor": 1e-2} if law == "bimix" else {"rounds": 200} if law == "lightgbm" else {}
    chosen = Squares() if law == "object" else law
    y, at = curved(), np.random.default_rng(1).dirichlet(np.ones(3), 100)
    clean, found = (
        fit(swarm_of(values), chosen, folds=3, **options).predict(at) for values in (y, with_values(y, {7: 60.0}))
    )
    # Least squares would move by a large part of 58 / 40 at some mixture.
    assert np.abs(found - clean).max() < 0.25
    limited = fit(swarm_of(with_values(y, {7: 60.0})), chosen, folds=3, **options).out_of_fold(
        swarm_of(with_values(y, {7: 60.0})), folds=3
    )[1]
    assert np.sqrt(np.mean((limited - y) ** 2)) < 0.35


class Squares:
    """Ordinary least squares."""

    def fit(self, x, y):
        self.coefficients = np.linalg.lstsq(x, y, rcond=None)[0]
        return self

    def predict(self, x):
        return x @ self.coefficients


def test_a_comparison_ignores_values_of_diverged_runs_too():
    laws = ("linear", "log_linear", "gp")
    found = [compare(swarm_of(with_values(noisy(30), {4: value})), laws) for value in (15.0, 1e6)]
    assert found[0].reports == found[1].reports
    assert all(len(about(one.notes)) == 1 for one in found)


def test_wild_guesses_that_hit_a_diverged_run_by_chance_explain_nothing():
    y = curved()[:, 0]
    y[7] = 11.3
    good = y + 0.02 * np.random.default_rng(2).standard_normal(len(y))
    good[7] = 2.3
    wild = good.copy()
    wild[[3, 7, 9]] = 15.0, 11.0, -20.0
    steady = good.copy()
    steady[7] = 11.0
    assert np.flatnonzero(diverged(y, [good, wild])).tolist() == [7]
    assert not diverged(y, [good, steady]).any()


def test_files_keep_which_runs_diverged(tmp_path):
    swarm = swarm_of(with_values(curved(), {7: 60.0}))
    found = fit(swarm, "linear")
    found.save(tmp_path / "law.json")
    again = Fit.load(tmp_path / "law.json")
    assert again.diverged == {"m0": ("r7",)}
    np.testing.assert_array_equal(again.out_of_fold(swarm)[1], found.out_of_fold(swarm)[1])


def test_runs_that_a_law_predicts_with_the_others_are_not_diverged():
    # Values far from the median along one domain: laws fitted without all of them cannot know them, but laws fitted to the others do.
    x = np.random.default_rng(2).dirichlet(np.full(3, 0.4), 60)
    y = 2.0 + np.exp(7.0 * x[:, :1]) / 50.0
    swarm = Swarm(x, y, domains=DOMAINS, metric_names=["m0"], runs=[f"r{i}" for i in range(60)])
    assert fit(swarm).diverged == {}


class Wrong:
    """A regressor that always predicts 0."""

    def fit(self, x, y):
        return self

    def predict(self, x):
        return np.zeros(len(x))


def test_a_law_that_is_worse_than_a_constant_on_its_own_runs_is_told():
    notes = fit(swarm_of(curved()), Wrong(), folds=0).notes
    assert "Wrong is worse than a constant for m0, even on the runs it was fitted to: use another law" in notes


def test_a_named_law_that_is_worse_than_a_constant_out_of_fold_is_told():
    fitted = fit(swarm_of(curved(runs=200)[:40]), Wrong())
    assert fitted.reports[0].r2 < 0.0
    assert about(fitted.notes, "better than the mean") == [
        "no law that was tried predicts m0 better than the mean of the runs does (r2 at most 0): do not rely on a proposal for such a metric"
    ]


def test_a_comparison_names_each_law_that_is_worse_than_a_constant():
    x = np.random.default_rng(0).dirichlet(np.full(3, 0.2), 40)
    y = 2.0 + np.exp(-3.0 * x[:, :1])
    names = [f"r{i}" for i in range(40)]
    found = compare(Swarm(x, y, domains=DOMAINS, metric_names=["m0"], runs=names), ("linear", "bimix"))
    assert found.reports["bimix"]["m0"].r2 < 0.0 < found.reports["linear"]["m0"].r2
    assert "bimix predicts m0 worse than the mean of the runs does (r2 below 0)" in found.notes
    assert not about(found.notes, "no law that was tried")


def test_laws_are_compared_metric_by_metric():
    y = np.hstack([curved(), -curved()])
    found = compare(swarm_of(y), ("linear", "log_linear", "gp"), folds=3)
    assert set(found.reports) == {"linear", "log_linear", "gp"}
    assert set(found.reports["log_linear"]) == {"m0"}
    assert set(found.reports["linear"]) == {"m0", "m1"}
    assert any(line.startswith("m1: a law was left out: log_linear: negative values") for line in found.left_out)
    alone = fit(swarm_of(y), "linear", folds=3).reports
    assert found.reports["linear"]["m1"].rmse == alone[1].rmse


def test_progress_is_told():
    told = []
    fit(swarm_of(curved()), ["linear", "gp"], folds=3, progress=told.append)
    assert told[0] == "linear"
    assert "gp, fold 3 of 3" in told


class Counted(Squares):
    """Ordinary least squares that counts its fits."""

    fits = 0

    def fit(self, x, y):
        Counted.fits += 1
        return super().fit(x, y)


class Late:
    """A regressor that knows the far value of one run, but only if it was fitted without far values."""

    def fit(self, x, y):
        self.knows, self.mean = y.max() < 5.0, y.mean()
        return self

    def predict(self, x):
        return np.where(self.knows & (x[:, 0] == swarm_of(curved()).ratios[7, 0]), 11.3, self.mean)


def test_no_law_is_fitted_again_once_another_explains_the_far_values():
    found = {}
    for laws in ([Counted()], [Late(), Counted()]):
        Counted.fits = 0
        fitted = fit(swarm_of(with_values(curved(), {7: 11.3})), laws)
        found[len(laws)] = Counted.fits, fitted.diverged
    assert found == {1: (6 + 6 + 1, {"m0": ("r7",)}), 2: (6, {})}


@pytest.mark.parametrize("law", ["log_linear", "autoscale"])
def test_a_negative_value_of_a_diverged_run_takes_no_law_from_its_metric(law):
    ratios = np.random.default_rng(0).dirichlet(np.ones(3), 40)
    values = 2.0 + np.exp(-(ratios @ [[0.5], [1.5], [0.2]]))
    spoiled = values.copy()
    spoiled[7] = -40.0
    runs = [f"r{i}" for i in range(40)]
    clean, found = (
        fit(Swarm(ratios, y, domains=["a", "b", "c"], metric_names=["loss"], runs=runs), law, folds=3)
        for y in (values, spoiled)
    )
    assert found.diverged == {"loss": ("r7",)}
    assert found.reports[0].rmse == pytest.approx(clean.reports[0].rmse, abs=0.02)
    assert np.abs(found.predict(ratios) - clean.predict(ratios)).max() < 0.02
    # Nor does it make the direction of the metric doubtful.
    assert found.doubted_directions == {}
    # Values that are negative without being far from the others are those of a metric that such a law cannot have.
    with pytest.raises(ValueError, match="negative values, and this law is positive everywhere"):
        fit(Swarm(ratios, values - 2.5, domains=["a", "b", "c"], metric_names=["loss"], runs=runs), law, folds=0)
