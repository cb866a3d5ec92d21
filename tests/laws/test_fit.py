"""fit(): the choice of laws, out-of-fold reports, alignment by name, files."""

import errno
import json
import math
import os
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from mixfast import ExpertTable, Mixture, Region, propose
from mixfast.errors import AlignmentError, MixfastWarning
from mixfast.laws import Fit, fit, spearman
from mixfast.laws._ahead import Ahead
from mixfast.laws.epochs import Epochs
from mixfast.swarm import Swarm

DOMAINS = ["web", "code", "books", "law"]


def swarm_of(runs=60, metrics=2, noise=0.01, seed=0, **given):
    """Return runs of a known log-linear law."""
    rng = np.random.default_rng(seed)
    ratios = rng.dirichlet(np.ones(len(DOMAINS)), runs)
    a = rng.normal(size=(len(DOMAINS), metrics))
    values = 1.5 + np.exp(ratios @ a) + noise * rng.standard_normal((runs, metrics))
    names = [f"loss_{j}" for j in range(metrics)]
    return Swarm(ratios, values, domains=DOMAINS, metric_names=names, **given)


class Mean:
    """The simplest regressor: it predicts the mean."""

    def fit(self, x, y):
        self.value = y.mean()
        return self

    def predict(self, x):
        return np.full(len(x), self.value)


@pytest.mark.parametrize("law", ["linear", "log_linear", "gp", "autoscale", "bimix", "lightgbm", Mean()])
def test_every_law_predicts_and_reports(law):
    swarm = swarm_of()
    found = fit(swarm, law, seed=1)
    assert found.metrics == swarm.metrics
    predicted = found.predict(swarm.ratios)
    assert predicted.shape == swarm.values.shape
    assert np.isfinite(predicted).all()
    assert (found.sd(swarm.ratios) > 0).all()
    for j, report in enumerate(found.reports):
        assert report.metric == swarm.metrics[j]
        assert report.runs == 60
        assert report.rmse > 0.0
        # This law has a power of a share, which can take any value if the smallest share in a fold was larger.
        if law != "bimix":
            assert report.rmse <= 1.2 * report.sd
    assert swarm.metrics[0] in found.report


def test_out_of_fold_errors_are_those_of_laws_that_did_not_see_the_run():
    swarm = swarm_of()
    found = fit(swarm, Mean(), folds=4, seed=3)
    guess = np.full(swarm.values.shape, np.nan)
    for train, test in swarm.folds(4, seed=3):
        guess[test] = swarm.values[train].mean(axis=0)
    for j, report in enumerate(found.reports):
        assert report.rmse == pytest.approx(np.sqrt(np.mean((guess[:, j] - swarm.values[:, j]) ** 2)))


def test_auto_takes_the_least_error_and_says_so():
    swarm = swarm_of(noise=1e-4)
    found = fit(swarm, "auto")
    for report in found.reports:
        assert report.law == min(report.rivals, key=report.rivals.get)
        assert len(report.rivals) >= 3
        assert found.laws[report.metric] == report.law
    exact = fit(swarm, "log_linear")
    assert exact.reports[0].rmse < 1e-3


def test_chosen_runs_are_fitted_but_never_scored():
    chosen = np.zeros(60, dtype=bool)
    chosen[:20] = True
    found = fit(swarm_of(chosen=chosen), "linear")
    assert all(report.runs == 40 for report in found.reports)


def test_missing_values():
    swarm = swarm_of()
    values = swarm.values.copy()
    values[::3, 0] = np.nan
    holes = Swarm(swarm.ratios, values, domains=DOMAINS, metric_names=list(swarm.metrics))
    for law in ("linear", "log_linear", "gp"):
        found = fit(holes, law)
        assert found.reports[0].runs == 40
        assert np.abs(found.predict(swarm.ratios) - swarm.values).mean() < 0.2


def test_names_align():
    swarm = swarm_of()
    found = fit(swarm, "linear")
    w = swarm.ratios[0]
    wanted = found.predict(w)
    order = [2, 0, 3, 1]
    names = [DOMAINS[k] for k in order]
    assert np.allclose(found.predict(dict(zip(names, w[order], strict=True))), wanted)
    assert np.allclose(found.predict(Mixture(names, w[order])), wanted)
    turned = Swarm(swarm.ratios[:, order], swarm.values, domains=names, metric_names=list(swarm.metrics))
    assert np.allclose(found.predict(turned)[0], wanted)
    with pytest.raises(AlignmentError, match="music"):
        found.predict({"web": 0.5, "code": 0.2, "books": 0.2, "music": 0.1})


def test_a_law_for_each_metric():
    swarm = swarm_of()
    found = fit(swarm, {"loss_0": "linear", "loss_1": "log_linear"})
    assert found.laws == {"loss_0": "linear", "loss_1": "log_linear"}
    both = fit(swarm, "linear").predict(swarm.ratios), fit(swarm, "log_linear").predict(swarm.ratios)
    assert np.allclose(found.predict(swarm.ratios), np.column_stack([both[0][:, 0], both[1][:, 1]]))
    with pytest.raises(ValueError, match="missing: loss_1"):
        fit(swarm, {"loss_0": "linear"})


@pytest.mark.parametrize("law", ["linear", "log_linear", "gp"])
def test_slopes_are_those_of_the_predictions(law):
    swarm = swarm_of(metrics=3)
    found = fit(swarm, law)
    assert found.smooth
    w = np.array([[0.2, 0.3, 0.4, 0.1]])
    value, gradient = found.slopes(w)
    assert np.allclose(value, found.predict(w))
    move = np.array([1.0, -1.0, 0.5, -0.5])
    step = 1e-5
    numeric = (found.predict(w + step * move) - found.predict(w - step * move)) / (2 * step)
    assert np.allclose(gradient[0] @ move, numeric[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("law", ["linear", "log_linear", "gp", "lightgbm", "bimix", "autoscale"])
def test_files_hold_the_whole_fit(law, suffix, tmp_path):
    swarm = swarm_of()
    found = fit(swarm, law, folds=3)
    path = tmp_path / f"law{suffix}"
    found.save(path)
    again = Fit.load(path)
    assert np.array_equal(again.predict(swarm.ratios), found.predict(swarm.ratios))
    assert np.array_equal(again.sd(swarm.ratios), found.sd(swarm.ratios))
    assert again.reports == found.reports
    assert again.largest.tolist() == found.largest.tolist()
    assert again.constant == found.constant
    assert again.domains == found.domains
    assert again.laws == found.laws


def test_files_that_are_no_fit(tmp_path):
    path = tmp_path / "law.json"
    whole = {"mixfast_fit": 2, "arrays": {}, "parts": [], "reports": [], "features": []}
    for text in ("", "{}", "[1]", json.dumps({"mixfast_fit": 99, "arrays": {}}), json.dumps(whole)):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"is not a fit that mixfast saved|is an empty file, expected fitted laws"):
            Fit.load(path)
    with pytest.raises(ValueError, match=r"a file of laws ends in \.json or \.npz; name it law\.json"):
        fit(swarm_of(), "linear").save(tmp_path / "law.pkl")
    with pytest.raises(ValueError, match="cannot be saved"):
        fit(swarm_of(), Mean()).save(tmp_path / "foreign.json")


def test_what_is_refused():
    swarm = swarm_of()
    with pytest.raises(ValueError, match="no law 'cubic'"):
        fit(swarm, "cubic")
    with pytest.raises(ValueError, match="no metric 'loss_9'"):
        fit(swarm, "linear", metrics=["loss_9"])
    with pytest.raises(ValueError, match="has no fit"):
        fit(swarm, object())
    with pytest.raises(ValueError, match="single string"):
        fit(swarm, "linear", metrics="loss_0")
    found = fit(swarm, "linear")
    with pytest.raises(ValueError, match="sum to 1"):
        found.predict(np.full((1, 4), 0.5))
    with pytest.raises(ValueError, match=r"\(M, 4\)"):
        found.predict(np.full((1, 5), 0.2))
    with pytest.raises(ValueError, match="no metric 'x'"):
        found.law_of("x")


def test_caveats_are_said():
    rng = np.random.default_rng(0)
    ratios = np.c_[rng.dirichlet(np.ones(3), 4), np.zeros(4)]
    values = np.c_[rng.normal(3.0, 0.1, 4), np.full(4, 2.0)]
    swarm = Swarm(ratios, values, domains=DOMAINS, metric_names=["loss", "flat"])
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        found = fit(swarm, "linear", folds=2)
    said = " ".join(found.notes)
    assert "law" in said
    assert "4 runs for 4 domains" in said
    assert "flat is 2 in every run" in said
    assert not found.identified[3]


def test_spearman_averages_ties():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 5, 12).astype(float), rng.integers(0, 5, 12).astype(float)
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, nan_ok=True)


def test_a_domain_that_no_run_has_stays_at_its_prior_share():
    rng = np.random.default_rng(0)
    ratios = np.c_[rng.dirichlet(np.ones(3), 30), np.zeros(30)]
    swarm = Swarm(ratios, 2.0 + np.exp(-ratios @ [1.0, 0.2, 0.1, 0.0])[:, None], domains=DOMAINS, metric_names=["loss"])
    region = Region(DOMAINS, prior={"web": 4, "code": 3, "books": 2, "law": 1})
    for name in ("log_linear", "gp"):
        law = fit(swarm, name, folds=0)
        assert law.identified.tolist() == [True, True, True, False]
        proposal = propose(law, region, kl=0.01)
        assert proposal.held == ("law",)
        assert proposal.mixture["law"] == pytest.approx(0.1, abs=1e-9)
        assert "the law knows nothing about it: kept at the prior share" in proposal.summary()
        assert all(price.name != "law" for price in proposal.shadow_prices)


@pytest.mark.parametrize("law", ["linear", "log_linear", "gp", "autoscale", "bimix", "lightgbm", Mean()])
def test_every_law_can_be_proposed_from(law):
    found = fit(swarm_of(), law, folds=0)
    proposal = propose(found, Region(DOMAINS, prior=1), kl=0.001)
    assert proposal.status in ("optimal", "searched")
    some = np.random.default_rng(1).dirichlet(np.ones(len(DOMAINS)), 1000)
    pull = 0.001 * (some * np.log(some * len(DOMAINS))).sum(axis=1)
    assert proposal.value <= (found.predict(some).mean(axis=1) + pull).min() + 1e-9
    assert proposal.worst_mix is not None


def test_a_metric_of_few_runs_takes_the_laws_that_can_be_fitted():
    whole = swarm_of(60)
    values = whole.values.copy()
    values[3:, 1] = np.nan
    swarm = Swarm(whole.ratios, values, domains=DOMAINS, metric_names=whole.metrics)
    found = fit(swarm)
    assert found.laws["loss_1"] in ("linear", "log_linear")
    assert found.reports[0].rmse == pytest.approx(fit(whole.select("loss_0")).reports[0].rmse)
    assert any(note.startswith("loss_1: a law was left out: gp: ") for note in found.notes)
    with pytest.raises(ValueError, match=r"no law can be fitted to loss_1, of which 3 of 60 runs have a value, .*gp: "):
        fit(swarm, "gp")


def test_two_runs_are_enough_for_a_choice():
    assert set(fit(swarm_of(2)).laws.values()) <= {"linear", "log_linear"}


def test_notes_name_metrics_and_domains():
    values = swarm_of(4).values.copy()
    swarm = Swarm(swarm_of(4).ratios, values, domains=DOMAINS, metric_names=["first", "second"])
    notes = "\n".join(fit(swarm, "log_linear", folds=0).notes)
    assert "first has 4 runs for 5 coefficients" in notes
    assert "metric 0" not in notes
    few = "\n".join(fit(swarm.subset([0, 1, 2]), "log_linear", folds=0).notes)
    assert "web" in few
    assert "[0" not in few


def test_a_choice_without_folds_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"got 0 folds and 60 such runs: name one law"):
        fit(swarm_of(), folds=0)


def test_what_is_no_swarm_and_no_law_is_named():
    with pytest.raises(TypeError, match=r"swarm is ndarray, expected a Swarm"):
        fit(np.ones((3, 3)))
    with pytest.raises(TypeError, match=r"law is 'law.json', expected what mixfast.fit returns; .*Fit.load"):
        propose("law.json")
    with pytest.raises(ValueError, match=r"kl is 'auto', expected a finite number"):
        propose(fit(swarm_of(), "linear", folds=0), kl="auto")


def test_metrics_of_several_units_are_not_averaged_without_weights():
    runs = swarm_of(40, metrics=3)
    swarm = Swarm(runs.ratios, runs.values, domains=DOMAINS, metric_names=["c4", "pile", "arc_acc"])
    found = fit(swarm, "linear", folds=0)
    for objective, what in ((None, "the mean"), ("worst", "the largest")):
        with pytest.raises(
            ValueError, match=rf"{what} of all metrics .*nats: c4, pile; score: arc_acc.*objective='standardised'"
        ):
            propose(found, objective=objective)
    assert (
        "metrics of different units (nats; score, more is better)"
        in propose(found, objective={"c4": 1, "arc_acc": 2}).summary()
    )
    for objective in ({"c4": 1, "pile": 2}, "arc_acc", "standardised"):
        assert "different units" not in propose(found, objective=objective).summary()


def test_scores_of_different_scales_are_not_averaged_without_weights():
    runs = swarm_of(40, metrics=2)
    low = (runs.values[:, :1] - runs.values.min()) / np.ptp(runs.values)
    swarm = Swarm(
        runs.ratios, np.hstack([low, 50 + runs.values[:, 1:]]), domains=DOMAINS, metric_names=["arc_acc", "wmt_bleu"]
    )
    with pytest.raises(ValueError, match=r"score up to 1.05: arc_acc; score above 1.05: wmt_bleu"):
        propose(fit(swarm, "linear", folds=0))
    propose(fit(swarm.select("arc_acc"), "linear", folds=0))


def test_standardised_divides_each_metric_by_its_spread():
    runs = swarm_of(40, metrics=2)
    values = runs.values * [1.0, 1000.0]
    values = np.hstack([values, np.full((40, 1), 3.0)])
    swarm = Swarm(runs.ratios, values, domains=DOMAINS, metric_names=["a_loss", "b_ppl", "c_acc"])
    with pytest.warns(MixfastWarning, match="c_acc is 3 in every run"):
        found = fit(swarm, "linear", folds=0)
    sd = swarm.values[:, :2].std(axis=0)
    target = propose(found, objective="standardised").target
    assert target.weight == pytest.approx([*(1 / sd / (1 / sd).sum()), 0.0])
    with pytest.raises(ValueError, match="but this law has no such standard deviations"):
        propose(replace(found, spread={}), objective="standardised")


def test_a_metric_that_never_varies_does_not_count_in_the_mean_of_all(tmp_path):
    runs = swarm_of(40, metrics=2)
    values = np.hstack([runs.values, np.full((40, 1), 0.25)])
    swarm = Swarm(runs.ratios, values, domains=DOMAINS, metric_names=["a_loss", "b_loss", "c_acc"])
    with pytest.warns(MixfastWarning, match="c_acc is 0.25 in every run.*does not count"):
        found = fit(swarm, "linear", folds=0)
    assert [name for name, sd in found.spread.items() if sd == 0.0] == ["c_acc"]
    found.save(tmp_path / "law.json")
    for law in (found, Fit.load(tmp_path / "law.json")):
        assert propose(law).target.weight.tolist() == [0.5, 0.5, 0.0]


def test_a_doubtful_direction_is_said_by_the_fit_and_by_the_proposal(tmp_path):
    runs = swarm_of(40, metrics=2)
    swarm = Swarm(runs.ratios, -runs.values, domains=DOMAINS, metric_names=["quiz", "other"])
    found = fit(swarm, "linear", folds=0)
    said = "less of quiz, other is taken as better, but each has negative values"
    assert said in found.notes[0]
    found.save(tmp_path / "law.json")
    law = Fit.load(tmp_path / "law.json")
    assert any(said in doubt for doubt in propose(law).doubts)
    assert any("less of quiz is taken" in doubt for doubt in propose(law, objective="quiz").doubts)
    told = fit(swarm.better(more="*"), "linear", folds=0)
    assert not any("assumed to be better" in text for text in (*told.notes, *propose(told).doubts))


def test_a_shared_prefix_may_be_left_out():
    swarm = swarm_of()
    long = Swarm(
        swarm.ratios, swarm.values, domains=["train_" + name for name in DOMAINS], metric_names=["m/loss_0", "m/loss_1"]
    )
    found = fit(long, "log_linear", metrics=["loss_1", "m/loss_0"], folds=0)
    assert found.metrics == ("m/loss_1", "m/loss_0")
    assert found.law_of("loss_0")[1] == found.law_of("m/loss_0")[1]
    shares = dict(zip(DOMAINS, swarm.ratios[0], strict=True))
    assert np.array_equal(found.predict(shares), found.predict(long.ratios[0]))
    assert propose(found, objective="loss_0").mixture == propose(found, objective="m/loss_0").mixture


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_law_that_is_there_survives_a_full_disk(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"law{suffix}"
    found = fit(swarm_of(), "linear", folds=0)
    found.save(path)
    before = path.read_bytes()

    def full(descriptor, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        found.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_table_is_no_law(tmp_path):
    ExpertTable.from_loglik(-np.ones((4, 2))).save(tmp_path / "table.npz")
    with pytest.raises(ValueError, match=r"it is a table of experts.*mixfast.solve"):
        Fit.load(tmp_path / "table.npz")
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    with pytest.raises(ValueError, match="it has no array named head; its arrays are a"):
        Fit.load(tmp_path / "other.npz")


def test_the_table_of_a_fit_stays_narrow_and_averages_errors_of_one_unit_only():
    runs = swarm_of(40, metrics=2)
    found = fit(Swarm(runs.ratios, runs.values, domains=DOMAINS, metric_names=["a_loss", "b_loss"]), "linear")
    assert len(found.report.splitlines()[-1].split()) == 5
    wild = replace(found, reports=tuple(replace(one, r2=-1.7e260) for one in found.reports))
    assert max(map(len, wild.report.splitlines())) < 90
    mixed = replace(found, unit=("nats", "score"))
    assert len(mixed.report.splitlines()[-1].split()) == 3


@pytest.mark.parametrize(("name", "least", "most"), [("acc", 1.2, 60.0), ("loss", 14.0, 30.0), ("ppl", 5.0, 100.0)])
def test_metrics_of_one_scale_are_averaged_whatever_their_size(name, least, most):
    runs = swarm_of(40, metrics=2)
    low = (runs.values - runs.values.min(axis=0)) / np.ptp(runs.values, axis=0)
    values = [least, most] * (1.0 + 0.1 * low)
    swarm = Swarm(runs.ratios, values, domains=DOMAINS, metric_names=[f"a/{name}", f"b/{name}"])
    assert propose(fit(swarm, "linear", folds=0)).target.weight.tolist() == [0.5, 0.5]


def test_a_quantity_that_is_no_loss_by_its_size_is_not_averaged_with_losses():
    runs = swarm_of(40, metrics=2)
    swarm = Swarm(runs.ratios, runs.values * [1.0, 300.0], domains=DOMAINS, metric_names=["eval/loss", "gpu_power"])
    with pytest.raises(ValueError, match=r"units or scales \(nats up to 20: eval/loss; nats above 20: gpu_power\)"):
        propose(fit(swarm, "linear", folds=0))
    sums = Swarm(runs.ratios, runs.values * 300.0, domains=DOMAINS, metric_names=["a/loss", "b/loss"])
    propose(fit(sums, "linear", folds=0))


@pytest.mark.parametrize("law", ["linear", "log_linear", "autoscale", "bimix", "gp", "lightgbm"])
def test_answers_do_not_depend_on_the_threads(law, monkeypatch):
    told = []
    for threads in ("1", "3"):
        monkeypatch.setenv("MIXFAST_NUM_THREADS", threads)
        found = fit(swarm_of(40), law, folds=2)
        told.append((found.predict(swarm_of(40).ratios).tobytes(), [one.rmse for one in found.reports]))
    assert told[0] == told[1]


def test_blas_of_scipy_has_one_thread_while_gaussian_processes_are_fitted(monkeypatch):
    control = pytest.importorskip("threadpoolctl")
    from mixfast.laws import gaussian

    seen, original = [], gaussian.fit

    def look(*arguments):
        seen.extend(pool["num_threads"] for pool in control.threadpool_info() if pool["user_api"] == "blas")
        return original(*arguments)

    monkeypatch.setattr(gaussian, "fit", look)
    fit(swarm_of(20), "gp", folds=0)
    assert seen
    assert set(seen) == {1}


def test_packages_are_imported_ahead_once_and_a_missing_one_is_left_to_its_law(monkeypatch):
    def law(*packages):
        return type("Packaged", (), {"packages": packages})()

    for name in ("colorsys", "this"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    laws = [law("colorsys"), law("colorsys", "no_such_package"), law("wave"), object()]
    ahead = Ahead(laws)
    for each in laws:
        ahead.wait(each)
    assert {"colorsys", "wave"} <= set(sys.modules)
    assert "no_such_package" not in sys.modules


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize(
    "law", ["linear", "log_linear", "gp", "lightgbm", "bimix", "autoscale", "epochs", Epochs(convex=False)]
)
def test_files_are_strict_json_whatever_is_infinite_or_unknown(law, suffix, tmp_path):
    # A domain without tokens has an infinite rate, a constant metric no rank correlation, a law without harm an infinite tau.
    rng = np.random.default_rng(0)
    ratios = np.column_stack([rng.dirichlet(np.ones(3), 30), np.zeros(30)])
    values = np.column_stack([2.0 + np.exp(-(ratios[:, :3] @ [0.5, 1.0, 0.2])), np.full(30, 3.0)])
    tokens = {"a": 1e8, "b": 2e8, "c": 1e7, "d": 0.0}
    swarm = Swarm(ratios, values, domains=list("abcd"), metric_names=["loss", "still"], tokens=tokens, budget=1e8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fit(swarm, law, folds=3)
    path = tmp_path / f"law{suffix}"
    found.save(path)
    text = path.read_text(encoding="utf-8") if suffix == ".json" else str(np.load(path)["head"])

    def refuse(word):
        raise AssertionError(f"{word} is not strict JSON")

    assert '{"float": "nan"}' in " ".join(text.split()).replace('{ "', '{"').replace('" }', '"}')
    json.loads(text, parse_constant=refuse)
    again = Fit.load(path)
    assert found.rate.tolist()[3] == np.inf
    for name in ("rate", "most_epochs", "run_rates", "largest"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert repr(again.reports) == repr(found.reports)
    np.testing.assert_array_equal(again.predict(swarm), found.predict(swarm))
    np.testing.assert_array_equal(again.sd(swarm), found.sd(swarm))
    again.save(tmp_path / "again.json")
    found.save(tmp_path / "found.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "found.json").read_text()


def test_files_of_earlier_versions_spell_infinity_as_python_does(tmp_path):
    path = tmp_path / "law.json"
    fit(swarm_of(), "linear", folds=0).save(path)
    document = json.loads(path.read_text())
    document["rate"] = [math.inf] * len(document["domains"])
    path.write_text(json.dumps(document))
    assert "Infinity" in path.read_text()
    assert np.isinf(Fit.load(path).rate).all()


def test_predictions_of_many_metrics_are_computed_once(monkeypatch):
    from mixfast.laws.linear import Linear

    shapes, predict = [], Linear.predict

    def counted(self, x):
        shapes.append(len(self.intercept))
        return predict(self, x)

    monkeypatch.setattr(Linear, "predict", counted)
    rng = np.random.default_rng(0)
    ratios, names = rng.dirichlet(np.ones(3), 12), [f"m{j}" for j in range(50)]
    runs = Swarm(ratios, 2.0 + ratios @ rng.random((3, 50)), domains=["a", "b", "c"], metric_names=names)
    fit(runs, "linear", folds=0)
    assert sum(shapes) <= 3 * 50
