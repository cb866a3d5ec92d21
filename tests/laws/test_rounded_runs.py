"""Swarms with shares that were rounded when written to a file, and laws with diverging coefficients: notes, limits and refusals."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixfast import Mixture, Region, Swarm, fit, propose, report
from mixfast.cli import main
from mixfast.errors import InfeasibleError, ProposalError
from mixfast.laws import Fit
from mixfast.proposers import ASTRONOMIC
from mixfast.swarm._rank import identifiable, rounding

NAMES = ["web", "code", "books", "wiki", "safety"]


def constant(runs=40, seed=0):
    rng = np.random.default_rng(seed)
    return np.c_[rng.dirichlet(np.ones(4), runs) * 0.995, np.full(runs, 0.005)], rng


def linked(runs=40):
    rng = np.random.default_rng(1)
    w = rng.dirichlet(np.ones(4), runs)
    return np.c_[w[:, :3], w[:, 3] * 2 / 3, w[:, 3] / 3], rng


def losses(w, rng):
    return 2 + np.exp(w @ [-1, -0.5, -2, -0.2, -1]) + 0.01 * rng.normal(size=len(w))


def swarm(w, y, digits=17):
    return Swarm(np.round(w, digits), y, domains=NAMES, metric_names=["loss"])


@pytest.mark.parametrize("digits", [3, 4, 5, 6, 17])
def test_a_domain_that_only_rounding_moves_adds_no_rank(digits):
    w, rng = constant()
    runs = swarm(w, losses(w, rng), digits)
    assert runs.matrix_rank == 4
    assert runs.report.unvaried == {"safety": pytest.approx(0.005, rel=1e-3)}
    assert "the same share in all runs, effect unknown: safety (0.005)" in str(runs.report)
    seen = identifiable(runs.ratios).shares
    np.testing.assert_allclose(seen.sum(axis=1), 1.0, atol=1e-14)
    np.testing.assert_allclose(seen, runs.ratios, atol=10.0**-digits * 3 + 1e-15)
    assert np.linalg.matrix_rank(seen) == 4


@pytest.mark.parametrize("digits", [3, 4, 6, 17])
def test_domains_in_a_fixed_ratio_are_named(digits):
    w, rng = linked()
    runs = swarm(w, losses(w, rng), digits)
    assert (runs.matrix_rank, runs.report.linked, runs.report.unvaried) == (4, ("wiki", "safety"), {})
    for law in ("linear", "log_linear", "gp"):
        found = fit(runs, law, folds=0)
        assert any("wiki, safety vary only together" in note for note in found.notes)
        gain = propose(found, Region(NAMES, prior=1), kl=0.01).gain
        # With shares rounded to four digits, the expected gain was 803 +- 6.9e+03.
        assert 0.0 < gain.value < 1.0
        assert gain.sd < 1.0


@pytest.mark.parametrize("digits", [4, 5, 6, 17])
def test_rare_domains_that_vary_count(digits):
    rng = np.random.default_rng(2)
    rare = rng.uniform(0.0, 0.001, 60)  # 0.05 % on average, at most 0.1 %
    w = np.round(np.c_[rng.dirichlet(np.ones(4), 60) * (1 - rare)[:, None], rare], digits)
    assert swarm(w, np.ones(60)).matrix_rank == 5


def test_one_run_with_a_domain_is_a_direction():
    """Its spread over many runs is below that of rounding errors, but rounding cannot turn 0 into a twentieth."""
    w = np.array([[0.5, 0.5, 0.0], [0.45, 0.55, 0.0]] * 200 + [[0.5, 0.45, 0.05]])
    assert identifiable(w).rank == 3
    assert identifiable(np.eye(5)).rank == 5
    assert identifiable(w[:1]).rank == 1


def test_many_runs_and_many_domains_take_little_memory():
    rng = np.random.default_rng(4)
    w = rng.dirichlet(np.ones(3), 50_000)
    seen = identifiable(
        np.round(np.c_[w[:, :2], w[:, 2:] * [2 / 3, 1 / 3]], 6)
    )  # all left singular vectors would take 20 GB
    assert (seen.rank, seen.linked) == (3, (2, 3))
    assert rounding(np.round(rng.dirichlet(np.ones(1000), 300), 4)) == 1e-4


@given(st.integers(2, 8), st.sampled_from([3, 4, 5]), st.integers(0, 1000))
@settings(max_examples=40)
def test_decimals_are_found_again_after_rows_were_divided_by_their_sums(domains, decimals, seed):
    w = np.round(np.random.default_rng(seed).dirichlet(np.ones(domains), 20), decimals)
    assert rounding(w / w.sum(axis=1, keepdims=True)) == 10.0**-decimals
    assert rounding(np.random.default_rng(seed).dirichlet(np.ones(domains), 20)) == 0.0


@pytest.mark.parametrize("digits", [4, 6, 17])
@pytest.mark.parametrize("law", ["linear", "log_linear", "gp"])
def test_proposals_keep_a_domain_that_no_run_varied(tmp_path, law, digits):
    w, rng = constant()
    found = fit(swarm(w, losses(w, rng), digits), law, folds=2)
    assert found.identified.tolist() == [True] * 4 + [False]
    assert any("all runs have the same share of safety (0.005)" in note for note in found.notes)
    found.save(tmp_path / "law.json")
    proposal = propose(Fit.load(tmp_path / "law.json"), Region(NAMES, prior=1), kl=0.05)
    assert proposal.mixture["safety"] == pytest.approx(0.005, rel=1e-3)
    assert proposal.held == ("safety",)
    assert any("all runs had the same share of safety (0.005), so the law knows" in doubt for doubt in proposal.doubts)
    assert 0.1 < proposal.gain.value < 0.5
    # Within its limits; if the other domains cannot fill the rest, a note says why.
    assert propose(found, Region(NAMES, floor={"safety": 0.02})).mixture["safety"] == pytest.approx(0.02)
    with pytest.raises(InfeasibleError, match=r"no run varied safety.*fixed \(safety at 0\.005"):
        propose(found, Region(NAMES, cap=dict.fromkeys(NAMES[:4], 0.24)))


def test_what_is_constant_is_named_and_nothing_else():
    w, rng = constant()
    notes = "\n".join(fit(swarm(w, losses(w, rng)), "log_linear", folds=0).notes)
    assert "coefficients of domains safety (the same share in all runs: safety)" in notes
    assert "[]" not in notes
    assert "web" not in notes


# Laws with diverging coefficients.


def runaway(scale):
    """Return a fit with extremely large coefficients, as rounding once produced them."""
    rng = np.random.default_rng(3)
    w = rng.dirichlet(np.ones(5), 30)
    found = fit(runs := swarm(w, losses(w, rng)), "log_linear")
    found.parts[0].law.a[:] = np.array([-1.0, 1.0, 0.0, 0.3, 0.2]) * scale
    return found, runs


@pytest.mark.parametrize("scale", [1e4, 1e8, 1e300])
@pytest.mark.parametrize("options", [{}, {"kl": 0.05}, {"method": "search"}], ids=["plain", "kl", "search"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_no_mixture_is_proposed_by_numbers_that_are_none(scale, options):
    found, _ = runaway(scale)
    with pytest.raises(ProposalError, match=r"the law of loss predicts infinite or astronomic numbers.*penalty='cv'"):
        propose(found, Region(NAMES, prior=1), **options)


def test_nan_of_a_law_is_refused():
    class Broken:
        domains, metrics, direction = tuple(NAMES), ("loss",), ("min",)

        def predict(self, w):
            return np.full((len(w), 1), np.nan)

    with pytest.raises(ProposalError, match="the law of loss"):
        propose(Broken(), Region(NAMES, prior=1))


def test_changes_that_no_run_comes_near_are_doubted():
    found, _ = runaway(20.0)
    proposal = propose(found, Region(NAMES, prior=[0.1, 0.6, 0.1, 0.1, 0.1]))
    assert abs(proposal.gain.value) < ASTRONOMIC
    assert any("may have diverged: loss by" in doubt for doubt in proposal.doubts)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_page_says_that_nothing_is_proposed(tmp_path, capsys):
    found, runs = runaway(1e8)
    found.save(tmp_path / "law.json")
    runs.to_csv(tmp_path / "r.csv", tmp_path / "m.csv")
    law = str(tmp_path / "law.json")
    assert main(["propose", law, "--out", str(tmp_path / "mix.yaml")]) != 0
    assert not (tmp_path / "mix.yaml").exists()
    assert "no mixture is proposed" in capsys.readouterr().err
    out = tmp_path / "page.html"
    assert main(["report", "--law", law, "--out", str(out), str(tmp_path / "r.csv"), str(tmp_path / "m.csv")]) == 1
    assert "warning: no mixture is proposed: the law of loss" in capsys.readouterr().err
    assert "No mixture is proposed" in out.read_text()
    with pytest.raises(ProposalError) as refused:
        propose(found)
    made = report.page(found, runs, refused.value)
    assert {"Shares", "Response to each share", "Domains and metrics"} <= set(made.missing)
    # A page for a given mixture cannot show much of such a law either.
    assert "Response to each share" in report.page(found, runs, Mixture(NAMES, [0.2] * 5)).missing
    assert json.loads((tmp_path / "law.json").read_text())["constant"] == {}
