"""The noise of repeated mixtures beside prediction errors: in fits, files, tables, the page, and in the note on weak metrics."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mixfast import report
from mixfast.laws import Fit, compare, fit
from mixfast.swarm import Swarm


def runs(repeats=3, seed=0, metrics=("loss", "arc_accuracy")):
    """Return 24 mixtures, the first of which is trained several times; the accuracy is noise alone."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(3), 24)
    shares = np.vstack([shares, *[shares[:1]] * (repeats - 1)])
    loss = 2.0 + shares[:, 0] + 0.05 * rng.normal(size=len(shares))
    accuracy = 0.4 + 0.01 * rng.normal(size=len(shares))
    swarm = Swarm(
        shares, np.column_stack([loss, accuracy]), domains=["web", "code", "books"], metric_names=["loss", "arc_accuracy"]
    )  # fmt: skip
    # With this seed the repeats of the accuracy differ more than mixtures do.
    return swarm.select(metrics)


@pytest.fixture(scope="module")
def weak():
    return next(swarm for seed in range(50) if (swarm := runs(seed=seed)).noise.weak == ("arc_accuracy",))


def test_a_fit_holds_the_noise_of_its_metrics(weak):
    found = fit(weak, "linear")
    assert found.noise == weak.noise.sd
    assert [one.noise for one in found.reports] == [weak.noise.sd[name] for name in found.metrics]
    assert fit(weak, "linear", metrics=["loss"]).noise == {"loss": weak.noise.sd["loss"]}
    assert fit(runs(repeats=1), "linear").noise == {}


def test_files_hold_the_noise_and_older_files_do_without(weak, tmp_path):
    found = fit(weak, "linear")
    for name in ("law.json", "law.npz"):
        found.save(tmp_path / name)
        again = Fit.load(tmp_path / name)
        assert (again.noise, again.reports) == (found.noise, found.reports)
    head = json.loads((tmp_path / "law.json").read_text())
    del head["noise"]
    for one in head["reports"]:
        del one["noise"]
    (tmp_path / "old.json").write_text(json.dumps(head))
    old = Fit.load(tmp_path / "old.json")
    assert (old.noise, old.reports[0].noise) == ({}, None)
    head["noise"] = {"nosuch": 1.0}
    (tmp_path / "damaged.json").write_text(json.dumps(head))
    with pytest.raises(ValueError, match="names a domain or metric that it does not have"):
        Fit.load(tmp_path / "damaged.json")


def test_the_noise_stands_beside_the_error_in_every_table(weak):
    found = fit(weak, "linear")
    told = f"{found.noise['loss']:.4g}"
    header, first = found.report.splitlines()[:2]
    assert header.split()[:5] == ["metric", "law", "runs", "rmse", "noise"]
    assert first.split()[4] == told
    html = found._repr_html_()
    assert "<bdi>noise</bdi>" in html
    assert told in html
    assert found.to_pandas()["noise"].tolist() == list(found.noise.values())
    compared = compare(weak, ("linear", "log_linear"))
    assert str(compared) == compared.report
    rivals = compared.report.splitlines()
    assert rivals[0].split() == ["out-of-fold", "rmse", "noise", "linear", "log_linear"]
    assert rivals[1].split()[1] == told
    page = report.page(weak, found).html
    assert "Noise: standard deviation between seeds" in page


def test_without_repeats_no_table_has_a_column_of_noise():
    swarm = runs(repeats=1)
    found = fit(swarm, "linear")
    assert "noise" not in found.report
    assert "noise" not in found._repr_html_()
    assert "noise" not in compare(swarm, ("linear",)).report
    assert found.to_pandas()["noise"].isna().all()


def test_weak_metrics_are_named_and_kept_unless_they_are_left_out(weak):
    found = fit(weak, "linear")
    (note,) = [note for note in found.notes if "cannot rank the runs" in note]
    assert note.startswith(
        f"signal/noise is below 1 for arc_accuracy ({weak.noise.snr['arc_accuracy']:.2g}): it cannot rank the runs"
    )
    assert "swarm.select(swarm.noise.strong)" in note
    assert found.metrics == ("loss", "arc_accuracy")
    strong = fit(weak.select(weak.noise.strong), "linear")
    assert strong.metrics == ("loss",)
    assert not [note for note in strong.notes if "cannot rank" in note]


def test_a_diverged_repeat_does_not_count_as_noise():
    swarm = runs(repeats=4, metrics=("loss",))
    values = swarm.values.copy()
    values[-1] = 60.0
    spoiled = Swarm(swarm.ratios, values, domains=swarm.domains, metric_names=swarm.metrics)
    assert spoiled.noise.sd["loss"] > 10.0
    for found in (fit(spoiled, "linear"), compare(spoiled, ("linear",))):
        reports = found.reports if isinstance(found, Fit) else tuple(found.reports["linear"].values())
        assert reports[0].noise == pytest.approx(swarm.subset(range(len(swarm) - 1)).noise.sd["loss"])
        assert any("looks diverged" in note for note in found.notes)
        assert not any("cannot rank" in note for note in found.notes)


def test_laws_learn_the_noise_of_metrics_with_two_degrees_of_freedom():
    from mixfast.laws._problem import Problem

    for repeats, known in ((1, False), (2, False), (3, True)):
        facts = Problem.of(runs(repeats=repeats), None, None, 0, 5, warned=1).facts
        assert np.isfinite(facts.noise).tolist() == [known, known]
