"""mixfast reuse: the updates of a mixture through the command line; a refused step changes nothing."""

import csv
import fcntl
import json
import math
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from makers import SLOPES, losses

from mixfast import Mixture, Region, Swarm, fit, propose
from mixfast.designs import Design
from mixfast.laws import Fit
from mixfast.reuse import Add, Ledger, Partition, Remove, ReuseError, full, resume

pytest.importorskip("numba")

ROOT = Path(__file__).resolve().parents[2]
OLD = {"web": 0.5, "code": 0.2, "books": 0.3}
COUNTS = "web: 9B\ncode: 2B\nbooks: 4B\n"


def train(ratios, metrics):
    """Write one row of losses for each row of mixtures, in place of the user's training runs."""
    runs = Design.from_csv(ratios)
    with open(metrics, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "web_loss", "code_loss"])
        values = losses(runs.domains, runs.ratios).tolist()
        writer.writerows([run, *map(repr, row)] for run, row in zip(runs.runs, values, strict=True))


@pytest.fixture(scope="module")
def law(tmp_path_factory):
    path = tmp_path_factory.mktemp("law") / "law.json"
    ratios = np.random.default_rng(0).dirichlet(np.ones(3), 24)
    runs = Swarm(ratios, losses(OLD, ratios), domains=OLD, metric_names=["web_loss", "code_loss"])
    fit(runs, "log_linear").save(path)
    return path


@pytest.fixture
def folder(tmp_path, law, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(law, "law.json")
    Mixture.from_dict(OLD).save("mixture.yaml")
    (tmp_path / "counts.yaml").write_text(COUNTS)
    (tmp_path / "new.yaml").write_text("maths: 3B\n")
    return tmp_path


@pytest.fixture
def run(run, folder):
    return partial(run, "reuse")


@pytest.fixture
def begun(good):
    good("start", "life.yaml", "--mixture", "mixture.yaml", "--tokens", "counts.yaml")
    return "life.yaml"


@pytest.fixture
def refused(refused, folder):
    """Return the line with which a step is refused; check that no file was changed or created."""

    def state():
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def call(*words):
        before = state()
        line = refused(*words)
        assert state() == before
        return line

    return call


PLAN = ("--tokens", "new.yaml", "--budget", "10B")


def test_a_whole_life(begun, good, folder):
    out = good("add", begun, "maths", *PLAN, "--law", "law.json", "--like", "maths=code", "--swarm-out", "ratios.csv",
               "--collapsed-out", "collapsed.csv", "--why", "maths came")  # fmt: skip
    assert "full reuse: 3 domains frozen as 'existing', 1 open" in out
    assert "runs advised: 9, against 15" in out
    assert "predicted loss" in out
    assert "next: train them, then mixfast reuse propose life.yaml ratios.csv" in out
    runs, collapsed = Design.from_csv("ratios.csv"), Design.from_csv("collapsed.csv")
    assert runs.domains == ("web", "code", "books", "maths")
    assert len(runs) == 9
    assert runs.ratios[:, 0] * 0.2 == pytest.approx(runs.ratios[:, 1] * 0.5, abs=1e-15)
    assert collapsed.ratios[:, 0] == pytest.approx(runs.ratios[:, :3].sum(axis=1))
    assert "open since" in good("show", begun)

    train("ratios.csv", "metrics.csv")
    out = good("propose", begun, "ratios.csv", "metrics.csv", "--law", "log_linear", "--out", "mixture.yaml")
    assert "The whole mixture" in out
    found = Mixture.load("mixture.yaml")
    assert found["code"] / found["web"] == pytest.approx(0.4, rel=1e-14)
    # The best mixture along a line of mixtures.
    share = np.linspace(0.0, 1.0, 100_001)
    line = np.outer(1.0 - share, [0.5, 0.2, 0.3, 0.0]) + np.outer(share, [0.0, 0.0, 0.0, 1.0])
    inside = (line <= [1, 0.8, 1, 1]).all(axis=1)
    best = losses(runs.domains, line[inside]).mean(axis=1).min()
    assert losses(found.domains, found.weights).mean() == pytest.approx(best, abs=1e-6)

    (folder / "parts.yaml").write_text("c: 1.5B\njava: 0.5B\n")
    parts = ("--tokens", "parts.yaml", "--budget", "10B", "--reopen", "maths", "--swarm-out", "ratios.csv")
    out = good("partition", begun, "code", "c", "java", *parts)
    assert "partial reuse: 2 domains frozen as 'existing', 3 open, of them reopened: maths" in out
    runs = Design.from_csv("ratios.csv")
    assert runs.runs[0] == "u2-0"
    train("ratios.csv", "metrics.csv")
    good("propose", begun, "ratios.csv", "metrics.csv", "--law", "log_linear", "--kl", "0.01", "--out", "mixture.yaml")
    assert Mixture.load("mixture.yaml")["books"] / Mixture.load("mixture.yaml")["web"] == pytest.approx(0.6)

    out = good("remove", begun, "java", "--budget", "10B", "--out", "mixture.yaml")
    assert "runs advised: 0" in out
    ledger = Ledger.load(begun)
    assert ledger.pending is None
    assert [entry.kind for entry in ledger.entries] == ["start", "full", "partial", "full"]
    assert [entry.why for entry in ledger.entries[:2]] == ["first mixture", "maths came"]
    assert ledger.entries[1].loss > 0.0
    assert ledger.tokens == {"web": 9 * 10**9, "books": 4 * 10**9, "maths": 3 * 10**9, "c": 15 * 10**8}
    assert Mixture.load("mixture.yaml") == ledger.mixture
    assert "remove java" in good("show", begun, "--out", "again.json")
    assert Mixture.load("again.json") == ledger.mixture


def test_a_step_without_a_place_to_write_to_changes_nothing(begun, good, folder):
    before = (folder / begun).read_bytes()
    assert "nothing recorded: --swarm-out" in good("add", begun, "maths", *PLAN)
    assert "nothing recorded: --out" in good("remove", begun, "code")
    assert (folder / begun).read_bytes() == before
    good("add", begun, "maths", *PLAN, "--swarm-out", "ratios.csv")
    planned = (folder / begun).read_bytes()
    train("ratios.csv", "metrics.csv")
    assert "nothing recorded" in good("propose", begun, "ratios.csv", "metrics.csv", "--law", "linear")
    assert (folder / begun).read_bytes() == planned


def test_objective_and_kl_of_the_plan_are_those_of_the_proposal(begun, good):
    good("add", begun, "maths", *PLAN, "--objective", "code_loss", "--kl", "0.1", "--swarm-out", "ratios.csv")
    train("ratios.csv", "metrics.csv")
    step = ("propose", begun, "ratios.csv", "metrics.csv", "--law", "log_linear")
    good(*step, "--out", "mixture.yaml")
    found = Mixture.load("mixture.yaml")
    region = Region.from_tokens({"web": 9 * 10**9, "code": 2 * 10**9, "books": 4 * 10**9, "maths": 3 * 10**9}, 10**10)
    plan = full(OLD, Add(["maths"]), region)
    runs = plan.collapse_swarm(Swarm.from_csv("ratios.csv", "metrics.csv"))
    expected = propose(fit(runs, "log_linear"), plan.region, objective="code_loss", kl=0.1)
    assert found == plan.expand(expected.mixture)


def test_collapsed_runs_may_be_given_as_they_are(begun, good):
    good("add", begun, "maths", *PLAN, "--swarm-out", "ratios.csv", "--collapsed-out", "collapsed.csv")
    train("ratios.csv", "metrics.csv")
    step = ("propose", begun)
    one = good(*step, "ratios.csv", "metrics.csv", "--law", "linear")
    other = good(*step, "collapsed.csv", "metrics.csv", "--law", "linear")
    assert one[one.index("The whole") :] == other[other.index("The whole") :]


def old_runs():
    """Return 24 runs from before the change, and one with an unknown domain."""
    ratios = np.random.default_rng(0).dirichlet(np.ones(3), 24)
    Swarm(ratios, losses(OLD, ratios), domains=OLD, metric_names=["web_loss", "code_loss"]).to_csv("or.csv", "om.csv")


def test_old_runs_are_fitted_too(begun, good, refused):
    old_runs()
    good("add", begun, "maths", *PLAN, "--runs", 3, "--kl", "0.05", "--swarm-out", "ratios.csv")
    train("ratios.csv", "metrics.csv")
    step = ("propose", begun, "ratios.csv", "metrics.csv", "--law", "log_linear", "--old", "or.csv")
    out = good(*step, "om.csv", "--out", "mixture.yaml")
    assert "24 old runs of or.csv are used" in out
    assert "27 runs, 4 domains, 2 metrics" in out
    assert "(exact, optimal" in out
    # Three runs of two collapsed domains, which determine little, and the true law.
    plan = full(OLD, Add(["maths"]), resume_region())
    truth = Planted(["web", "code", "books", "maths"])
    best = propose(plan.collapse_law(truth), plan.region, kl=0.05)
    assert Mixture.load("mixture.yaml").weights == pytest.approx(plan.expand(best.mixture).weights, abs=1e-4)


def resume_region():
    return Region.from_tokens({"web": 9 * 10**9, "code": 2 * 10**9, "books": 4 * 10**9, "maths": 3 * 10**9}, 10**10)


class Planted:
    """The law behind `losses`, with the interface of a fit."""

    name, direction, unit, report, smooth = "log_linear", ("min", "min"), ("nats", "nats"), "", True

    def __init__(self, domains):
        self.domains, self.metrics = tuple(domains), ("web_loss", "code_loss")
        self.a = np.array([SLOPES[name] for name in domains]).T
        self.gamma, self.identified = np.log([2.0, 2.0]), np.ones(len(domains), dtype=bool)

    def law_of(self, metric):
        return self, self.metrics.index(metric)

    def predict(self, w):
        return losses(self.domains, w)

    def slopes(self, w):
        excess = self.predict(w) - 2.0
        return excess + 2.0, excess[:, :, None] * self.a


def test_a_law_seen_through_a_collapse_is_the_law():
    plan = full(OLD, Add(["maths"]), resume_region())
    law = Planted(["maths", "books", "web", "code"])  # in another order
    seen = plan.collapse_law(law)
    assert seen.domains == ("existing", "maths")
    rows = np.random.default_rng(0).dirichlet(np.ones(2), 5)
    whole = Swarm(plan.expand_rows(rows, seen.domains), rows, domains=plan.part.full.domains, metric_names=["x", "y"])
    values, gradients = seen.slopes(rows)
    assert seen.predict(rows) == pytest.approx(law.predict(whole.align(law.domains).ratios))
    assert values == pytest.approx(seen.predict(rows))
    step = 1e-6 * np.array([[1.0, 0.0]])
    assert gradients[:, :, 0] == pytest.approx((law.predict(seen._whole(rows + step)) - values) / 1e-6, abs=1e-5)
    fitted, column = seen.law_of("code_loss")
    assert np.exp(rows @ fitted.a[column]) + np.exp(fitted.gamma[column]) == pytest.approx(values[:, 1])
    # Found with its convex form and without.
    exact = propose(seen, plan.region, method="exact", kl=0.05)
    assert exact.status == "optimal"
    assert propose(seen, plan.region, method="search", kl=0.05).value == pytest.approx(exact.value, abs=1e-6)


def test_a_domain_without_variation_stays_so_through_a_collapse():
    plan = full(OLD, Add(["maths"]), resume_region())
    rng = np.random.default_rng(0)
    ratios = np.c_[rng.dirichlet(np.ones(3), 30) * 0.9, np.full(30, 0.1)]
    domains = ("web", "code", "books", "maths")
    law = fit(Swarm(ratios, losses(domains, ratios), domains=domains, metric_names=["web_loss", "code_loss"]), "linear")
    seen = plan.collapse_law(law)
    assert seen.identified.tolist() == [True, False]
    assert seen.constant == {"maths": pytest.approx(0.1)}
    assert propose(seen, plan.region, kl=0.05).mixture["maths"] == pytest.approx(0.1)


def test_directions_are_told_by_hand(begun, good):
    good("add", begun, "maths", *PLAN, "--kl", "0.05", "--swarm-out", "ratios.csv")
    train("ratios.csv", "metrics.csv")
    step = ("propose", begun, "ratios.csv", "metrics.csv", "--law", "linear")
    assert "less is better: all 2 metrics" in good(*step)
    assert "more is better: code_loss; less is better: the other" in good(
        *step, "--more-is-better", "code*", "--objective", "web_loss"
    )


def test_old_runs_that_do_not_fit(begun, good, refused, folder):
    old_runs()
    good("revise", begun, "code", "--reopen", "web", "--swarm-out", "ratios.csv")
    train("ratios.csv", "metrics.csv")
    step = ("propose", begun, "ratios.csv", "metrics.csv", "--law", "linear", "--out", "new_mixture.yaml", "--old")
    # A note says so, and only the plan's own runs are fitted.
    assert "no run of or.csv is valid for the current domains" in good(*step[:6], "--old", "or.csv", "om.csv")
    (folder / "other.csv").write_text("run,web,maths\n0,0.5,0.5\n")
    (folder / "other_m.csv").write_text("run,web_loss,code_loss\n0,2,2\n")
    assert "Give runs of earlier updates with --old RATIOS METRICS" in refused(
        "propose", begun, "other.csv", "other_m.csv", "--law", "linear"
    )
    (folder / "om.csv").write_text((folder / "om.csv").read_text().replace("code_loss", "other_loss"))
    (folder / "or.csv").write_text("run,web,code,books\n0,0.5,0,0.5\n")
    assert "other_loss" in refused(*step, "or.csv", "om.csv")
    (folder / "or.csv").write_text("run,web,pdfs\n0,0.5,0.5\n")
    assert "pdfs" in refused(*step, "or.csv", "om.csv")


def test_counts_outlive_an_update_that_needs_none(begun, good, refused):
    good("remove", begun, "books", "--out", "mixture.yaml")
    assert Ledger.load(begun).tokens == {"web": 9 * 10**9, "code": 2 * 10**9}
    assert "runs advised" in good("add", begun, "maths", *PLAN)
    good("add", begun, "maths", "--swarm-out", "ratios.csv")
    train("ratios.csv", "metrics.csv")
    good("propose", begun, "ratios.csv", "metrics.csv", "--law", "linear", "--out", "mixture.yaml")
    assert Ledger.load(begun).tokens == {"web": 9 * 10**9, "code": 2 * 10**9}
    assert "needs the tokens of maths" in refused("remove", begun, "code", "--budget", "1B", "--out", "mixture.yaml")
    assert "domain" in good("show", begun)


def test_domains_that_a_mixture_file_leaves_out_have_the_share_0(good, folder):
    (folder / "counts.yaml").write_text(COUNTS + "junk: 5B\n")
    good("start", "life.json", "--mixture", "mixture.yaml", "--tokens", "counts.yaml")
    assert Ledger.load("life.json").mixture["junk"] == 0.0


def test_partial_reuse_asks_the_law(begun, good):
    plan = (*PLAN, "--law", "law.json", "--like", "maths=code", "--kl", "0.01")
    assert "worth reopening: " in good("add", begun, "maths", *plan)
    out = good("add", begun, "maths", *plan, "--partial")
    assert "partial reuse" in out
    assert "no known risks" in out


# Refused steps. Each leaves every file unchanged.


def test_a_ledger_is_begun_once(begun, refused):
    assert "already exists" in refused("start", begun, "--mixture", "mixture.yaml")
    assert "ends in .yaml" in refused("start", "life.txt", "--mixture", "mixture.yaml")
    assert "no folder" in refused("start", "no/life.yaml", "--mixture", "mixture.yaml")


def test_a_ledger_that_was_edited_or_is_of_another_version(begun, refused, folder):
    text = (folder / begun).read_text()
    for wrong, said in ((text.replace("0.3", "0.31"), "checksum"), (text.replace("reuse-1", "reuse-9"), "reuse-9")):
        (folder / begun).write_text(wrong)
        for step in (
            ("add", begun, "maths", *PLAN, "--swarm-out", "ratios.csv"),
            ("remove", begun, "code", "--out", "new_mixture.yaml"),
            ("show", begun, "--out", "new_mixture.yaml"),
            ("start", begun, "--mixture", "mixture.yaml"),
        ):
            assert (said if step[0] != "start" else "already exists") in refused(*step)


def test_an_open_plan_that_was_edited(begun, good, refused, folder):
    good("add", begun, "maths", *PLAN, "--swarm-out", "ratios.csv")
    train("ratios.csv", "metrics.csv")
    text = (folder / begun).read_text()
    (folder / begun).write_text(text.replace("target_tokens: 10000000000", "target_tokens: 20000000000"))
    assert "checksum" in refused("propose", begun, "ratios.csv", "metrics.csv", "--out", "new_mixture.yaml")


def test_an_open_plan_is_not_forgotten(begun, good, refused):
    good("add", begun, "maths", *PLAN, "--swarm-out", "ratios.csv")
    assert "open plan" in refused("remove", begun, "code", "--out", "mixture.yaml")
    good("add", begun, "maths", *PLAN, "--swarm-out", "ratios.csv", "--reopen", "web", "--replace")
    assert Ledger.load(begun).pending.reopened == ("web",)


def test_a_split_is_of_the_same_data(begun, refused, good, folder):
    (folder / "parts.yaml").write_text("c: 2B\njava: 0.5B\n")
    split = ("partition", begun, "code", "c", "java", "--tokens", "parts.yaml", "--budget", "10B")
    err = refused(*split, "--swarm-out", "ratios.csv")
    assert "the parts of code have 2.5B tokens together, and life.yaml has 2B" in err
    assert "revise code" in err
    (folder / "parts.yaml").write_text("c: 1.5B\njava: 0.51B\n")
    good(*split)
    assert "name the parts" in refused("partition", begun, "code")
    assert "two parts" in refused("partition", begun, "code", "c")
    assert "pdfs cannot be removed" in refused("partition", begun, "pdfs", "c", "java")


def test_changes_that_do_not_fit(begun, refused, folder):
    assert "pdfs cannot be removed, split or revised" in refused("revise", begun, "pdfs")
    assert "pdfs cannot be removed" in refused("revise", begun, "pdfs=pdfs2")
    assert "named twice" in refused("revise", begun, "web=a", "web=b")
    assert "exist already" in refused("add", begun, "web")
    assert "needs the tokens of maths" in refused("add", begun, "maths", "--budget", "1B")
    assert "needs the tokens of physics: they are not in new.yaml" in refused("add", begun, "physics", *PLAN)
    assert "new.yaml and life.yaml name different domains" in refused("remove", begun, "web", *PLAN)
    # Tokens of revised content must be counted again.
    assert "needs the tokens of code" in refused("revise", begun, "code", "--budget", "10B")
    assert "--tokens needs --budget" in refused("add", begun, "maths", "--tokens", "new.yaml")


def test_limits_that_cannot_hold(begun, refused):
    err = refused("add", begun, "maths", "--cap", "code=0.01", "--cap", "maths=0.5", "--hold")
    assert "no mixture with these ratios satisfies the limits" in err
    assert "'code'" in err
    assert "tokens short" in refused("add", begun, "maths", "--tokens", "new.yaml", "--budget", "1T")
    assert "caps sum to" in refused("remove", begun, "code", "--cap", "0.3")


def test_a_frozen_share_above_its_new_cap(begun, refused, good):
    plan = ("add", begun, "maths", "--cap", "code=10%")
    err = refused(*plan, "--swarm-out", "ratios.csv")
    assert "frozen shares are above their new caps: code (20.00%, cap 10.00%)" in err
    assert "--reopen code" in err
    assert "scale the frozen block down to 50.00% with --hold" in err
    good(*plan, "--reopen", "code", "--swarm-out", "ratios.csv")
    good(*plan, "--hold", "--swarm-out", "ratios.csv", "--replace")
    ratios = Design.from_csv("ratios.csv").ratios
    assert ratios[:, 1].max() <= 0.1 + 1e-12


def test_removal_that_breaks_a_cap_needs_runs(begun, good):
    out = good("remove", begun, "books", "--cap", "web=60%", "--swarm-out", "ratios.csv")
    assert "the renormalised shares violate the limits of web" in out
    assert Ledger.load(begun).pending.reopened == ("web",)
    assert resume(Ledger.load(begun)).part.others == ("web",)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--partial",), "--partial needs --law"),
        (("--partial", "--law", "law.json", "--reopen", "web"), "leave out one"),
        (("--reopen", "maths"), "cannot be reopened"),
        (("--like", "maths"), "expected NEW=OLD"),
        (("--law", "law.json", "--like", "maths=physics"), "like must map"),
        (("--law", "law.json", "--objective", "speed"), "speed"),
        (("--law", "mixture.yaml"), "mixture.yaml"),
        (("--kl", "-1"), "--kl: got '-1'"),
        (("--virtual", "web"), "cannot be called 'web'"),
        (("--swarm-out", "life.yaml"), "different names"),
        (("--swarm-out", "no/ratios.csv"), "there is no folder"),
        (("--out", "mixture2.yaml"), "needs runs: --swarm-out"),
        (("--runs", "0"), "--runs: got '0'"),
        (("--why", " ", "--swarm-out", "ratios.csv"), "why is empty"),
    ],
)
def test_options_that_do_not_fit(begun, refused, options, said):
    assert said in refused("add", begun, "maths", *options)


def test_runs_that_are_not_of_the_plan(begun, good, refused, folder):
    assert "no open plan" in refused("propose", begun, "ratios.csv", "metrics.csv")
    assert "needs no runs" in refused("remove", begun, "code", "--swarm-out", "ratios.csv")
    good("add", begun, "maths", *PLAN, "--swarm-out", "ratios.csv")
    train("ratios.csv", "metrics.csv")
    lines = (folder / "ratios.csv").read_text().splitlines(keepends=True)
    (folder / "other.csv").write_text("".join([*lines[:3], "u1-2,0.1,0.2,0.3,0.4\n"]))
    err = refused("propose", begun, "other.csv", "metrics.csv", "--out", "new_mixture.yaml")
    assert "u1-2" in err
    assert "frozen ratios" in err
    (folder / "other.csv").write_text("run,web,code\nu1-1,0.5,0.5\n")
    assert "maths" in refused("propose", begun, "other.csv", "metrics.csv", "--out", "new_mixture.yaml")
    assert "different names" in refused("propose", begun, "ratios.csv", "metrics.csv", "--out", begun)
    assert "--kl: got '-1'" in refused("propose", begun, "ratios.csv", "metrics.csv", "--kl", "-1")


def test_a_disk_that_fails_loses_nothing(begun, refused, monkeypatch):
    real = os.replace

    def fails(source, target):
        if str(target).endswith("ratios.csv"):
            raise OSError(28, "No space left on device", str(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", fails)
    assert "No space left" in refused("add", begun, "maths", *PLAN, "--swarm-out", "ratios.csv")


# The pending plan in Python.


def test_a_plan_comes_back_as_it_was(tmp_path):
    region = Region.from_tokens(
        {"web": 90, "books": 30, "a": 10, "b": 20}, 100, max_epochs={"web": math.inf}, cap={"b": 0.3}, floor={"a": 0.05},
        bounds={"parts": (["a", "b"], 0.1, None), "books": (["books"], None, 0.7)},
    )  # fmt: skip
    ledger = Ledger.start(OLD, why="first", tokens={"web": 90, "code": 30, "books": 30}, when="2026-01-31")
    plan = full(ledger.mixture, Partition("code", ["a", "b"]), region)
    planned = ledger.begin(plan, why="by kind", objective=["x=1"], kl=0.1, when="2026-02-01")
    planned.save(tmp_path / "life.yaml")
    assert Ledger.load(tmp_path / "life.yaml") == planned
    assert Ledger.from_json(planned.to_json()) == planned
    again = resume(Ledger.load(tmp_path / "life.yaml"))
    for name in ("domains", "cap", "floor", "bound_rows", "bound_lower", "bound_upper"):
        assert np.array_equal(getattr(again.region, name), getattr(plan.region, name))
    assert again.region.prior == pytest.approx(plan.region.prior, abs=1e-15)
    assert (again.kind, again.runs, again.full_runs, again.warnings) == ("full", 12, 15, plan.warnings)
    done = planned.record(again, {"existing": 0.8, "a": 0.1, "b": 0.1}, why="by kind", when="2026-03-01")
    assert done.pending is None
    assert done.tokens == {"web": 90, "books": 30, "a": 10, "b": 20}
    with pytest.raises(ReuseError, match="no open plan"):
        resume(done)
    other = full(ledger.mixture, Add(["new"]), Region([*OLD, "new"]))
    with pytest.raises(ReuseError, match="by kind"):
        planned.record(other, {"existing": 0.5, "new": 0.5}, why="x")
    with pytest.raises(ReuseError, match="not made from the ledger's last mixture"):
        ledger.begin(full({"web": 0.4, "code": 0.3, "books": 0.3}, Add(["new"]), Region([*OLD, "new"])), why="x")


def test_ledgers_of_before_there_were_plans_are_read_and_kept():
    """A ledger written before tokens and plans existed: past entries are kept byte by byte."""
    text = (
        'format: "mixfast-reuse-1"\nchecksum: "CHECK"\nupdates:\n  - when: "2026-01-31"\n    why: "first"\n    kind: "start"\n'
        "    changes: []\n    virtual: null\n    frozen: {}\n    reopened: []\n    runs: 0\n    full_runs: 0\n    loss: null\n"
        "    warnings: []\n    mixture:\n      web: 0.75\n      code: 0.25\n"
    ).replace("CHECK", "e5220d6743a9a082")
    ledger = Ledger.start({"web": 0.75, "code": 0.25}, why="first", when="2026-01-31")
    checksum = ledger.to_yaml().splitlines()[1]
    assert checksum == 'checksum: "e5220d6743a9a082"'
    assert ledger.to_yaml() == text


# Hostile files and concurrent steps.


def test_two_steps_at_once_lose_nothing(begun, run, good, monkeypatch):
    """While one step plans, another is recorded: the first is refused and writes nothing."""
    from mixfast.cli import _reuse_plan as plans

    planned = plans._swarm

    def slowly(*arguments):
        good("remove", begun, "books", "--out", "other.yaml")
        return planned(*arguments)

    monkeypatch.setattr(plans, "_swarm", slowly)
    status, _, err = run("add", begun, "maths", *PLAN, "--swarm-out", "ratios.csv")
    assert status == 2
    assert "in the meantime" in err
    assert not os.path.exists("ratios.csv")
    ledger = Ledger.load(begun)
    assert (len(ledger.entries), ledger.pending) == (2, None)


def test_a_ledger_is_not_saved_over_updates_it_lacks(tmp_path):
    first = Ledger.start(OLD, why="first")
    path = tmp_path / "life.yaml"
    first.save(path)
    region = Region(["web", "code"])
    longer = first.record(plan := full(OLD, Remove(["books"]), region), plan.mixture, why="books went")
    longer.save(path)
    with pytest.raises(ReuseError, match="books went"):
        first.save(path)
    assert Ledger.load(path) == longer
    path.write_text("no ledger")
    with pytest.raises(ReuseError, match=r"life\.yaml"):
        longer.save(path)


def test_the_floor_that_is_in_the_way_is_named(begun, refused):
    assert "Reopen books" in refused("add", begun, "maths", "--floor", "books=0.4", "--floor", "web=0.01")
    both = refused("add", begun, "maths", "--floor", "books=0.29", "--cap", "web=0.4")
    assert "Reopen books, web, or change" in both
    reopened = refused("add", begun, "maths", "--cap", "maths=0.1", "--cap", "code=0.1", "--hold")
    assert "Reopen code" in reopened


def test_runs_that_were_left_out_are_named(begun, good, folder):
    good("add", begun, "maths", *PLAN, "--swarm-out", "ratios.csv")
    train("ratios.csv", "metrics.csv")
    lines = (folder / "metrics.csv").read_text().splitlines()
    (folder / "metrics.csv").write_text("\n".join([*lines[:-1], "typo" + lines[-1]]))
    step = ("propose", begun, "ratios.csv", "metrics.csv", "--law", "log_linear")
    old_runs()
    for said in (good(*step), good(*step, "--old", "or.csv", "om.csv")):
        assert "typo" in said
        assert "no row of metrics" in said


def test_counts_without_a_budget_are_told(begun, good):
    assert "without --budget" in good("remove", begun, "books")
    assert "without --budget" not in good("remove", begun, "books", "--budget", "1B")


def test_reasons_of_any_length_stand_behind_the_numbers(begun, good):
    good("remove", begun, "books", "--why", "w" * 200, "--out", "mixture.yaml")
    head, first, second = good("show", begun).split("\n")[:3]
    assert len(head) < 100
    assert head.index("why") == first.index("first mixture") == second.index("www")
    names = [f"long_name_{k}" for k in range(30)]
    good("add", begun, *names, "--swarm-out", "ratios.csv")
    assert "long_name_7 and 22 more" in good("show", begun)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda d: d | {"extra": 1}, "extra"),
        (
            lambda d: d["updates"][0].update(colour=3),
            "update 1 of the ledger: missing fields: none; unknown fields: colour",
        ),
        (lambda d: d["updates"][0].pop("why"), "missing fields: why"),
        (lambda d: d["updates"][0].update(mixture=3), "the mixture of update 1"),
        (lambda d: d["updates"][0].update(changes=3), "changes must be lists"),
        (lambda d: d["updates"].append(3), "update 2 of the ledger is 3"),
    ],
)
def test_ledgers_of_other_fields_are_told_apart(break_it, said, tmp_path):
    """Messages use the field names of the file, not Python's; the checksum is correct, as from another version of the package."""
    from mixfast.reuse._ledger_file import checksum

    document = json.loads(Ledger.start(OLD, why="first").to_json())
    document = changed if isinstance(changed := break_it(document), dict) and "updates" in changed else document
    document["checksum"] = checksum({"updates": document["updates"]})
    path = tmp_path / "life.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ReuseError, match=said) as refused:
        Ledger.load(path)
    assert "life.json" in str(refused.value)
    assert "__init__" not in str(refused.value)


def test_the_law_of_all_runs_serves_the_next_update(begun, good, refused, folder):
    """Nested reuse: a law fitted to the first update's runs and the old ones predicts the second update's loss."""
    old_runs()
    good("add", begun, "maths", *PLAN, "--runs", 4, "--swarm-out", "r1.csv")
    train("r1.csv", "m1.csv")
    step = ("propose", begun, "r1.csv", "m1.csv", "--law", "log_linear")
    assert "--law-out needs --old" in refused(*step, "--law-out", "law1.json")
    old = ("--old", "or.csv", "om.csv")
    assert ".json or .npz" in refused(*step, *old, "--law-out", "law1.txt")
    good(*step, *old, "--law-out", "law1.json", "--out", "mixture.yaml")
    (folder / "more.yaml").write_text("c: 9B\njava: 9B\n")
    update = (
        "add",
        begun,
        "c",
        "java",
        "--like",
        "c=code",
        "--kl",
        "0.02",
        "--prior",
        "uniform",
        "--tokens",
        "more.yaml",
    )
    planned = good(*update, "--law", "law1.json", "--partial", "--swarm-out", "r2.csv")
    assert "predicted loss against a full recomputation" in planned
    assert "not safe" in planned
    assert "of them reopened" in planned
    assert "worth reopening" not in planned
    train("r2.csv", "m2.csv")
    twice = (*old, "--old", "r1.csv", "m1.csv", "--law-out", "law2.json", "--out", "mixture.yaml")
    out = good("propose", begun, "r2.csv", "m2.csv", "--law", "log_linear", *twice)
    assert "24 old runs of or.csv are used\n4 old runs of r1.csv are used" in out
    names = Mixture.load("mixture.yaml").domains
    law, truth = Fit.load("law2.json"), Planted(SLOPES)
    assert set(law.domains) == set(SLOPES) >= set(names)
    best = propose(truth, Region(list(SLOPES), prior=1), kl=0.02)
    found = np.array([Ledger.load(begun).mixture[name] for name in SLOPES])
    value = losses(SLOPES, found[None]).mean() + 0.02 * (found * np.log(np.maximum(found, 1e-300) * 6)).sum()
    assert value <= best.value * 1.01


def test_three_updates_by_the_recipe_each_with_the_law_of_all_runs_before(begun, good, refused, folder):
    """`auto` chooses a Gaussian process for smooth metrics, but the saved law is one that the next update accepts."""
    old_runs()
    history = ["--old", "or.csv", "om.csv"]
    law, plain = "law.json", {"maths": "3B", "c": "1.5B", "java": "0.5B"}
    updates = [("add", "maths"), ("partition", "code", "c", "java"), ("revise", "books=books2")]
    for number, (change, *names) in enumerate(updates, start=1):
        counts = plain if number < 3 else {"books2": "4B"}
        (folder / "more.yaml").write_text(
            "".join(f"{name}: {count}\n" for name, count in counts.items() if number > 2 or name in names)
        )
        ratios, metrics, kept = f"r{number}.csv", f"m{number}.csv", f"law{number}.json"
        good(change, begun, *names, "--law", law, "--tokens", "more.yaml", "--budget", "10B", "--swarm-out", ratios)
        runs = Design.from_csv(ratios)
        bare = [name.removesuffix("2") for name in runs.domains]
        with open(metrics, "w", newline="") as file:
            rows = zip(runs.runs, losses(bare, runs.ratios, noise=1e-3, seed=number).tolist(), strict=True)
            csv.writer(file).writerows([("run", "web_loss", "code_loss"), *([run, *row] for run, row in rows)])
        out = good("propose", begun, ratios, metrics, *history, "--law-out", kept, "--out", "mixture.yaml")
        assert f"wrote {kept}, for --law of the next update: " in out
        assert set(Fit.load(kept).laws.values()) <= {"log_linear", "linear"}
        history += ["--old", ratios, metrics]
        law = kept
    # All earlier runs had a share of books, which was revised: they inform the laws of the other domains only.
    assert "no run of or.csv is valid for the current domains" in out
    assert "over the current domains and those of old runs, books" in out
    # The plan is closed, so the law can be fitted again from the same files.
    closed = refused("propose", begun, "r3.csv", "m3.csv", "--out", "x.yaml")
    assert "mixfast reuse fit life.yaml RATIOS METRICS --law-out law.json" in closed
    assert "next: mixfast reuse add life.yaml NAME --law again.json" in good(
        "fit", begun, "r3.csv", "m3.csv", *history[:-3], "--law-out", "again.json"
    )
    again, kept = Fit.load("again.json"), Fit.load("law3.json")
    assert set(again.domains) == set(kept.domains) == {*Ledger.load(begun).mixture, "books"}
    point = np.full((1, len(kept.domains)), 1 / len(kept.domains))
    assert again.predict(point) == pytest.approx(kept.predict(point), abs=1e-3)
    assert "runs advised" in good("remove", begun, "java", "--law", "again.json")


def test_a_law_that_an_update_does_not_take_is_refused_with_the_command_that_fits_one(begun, refused):
    old_runs()
    fit(Swarm.from_csv("or.csv", "om.csv"), "gp", folds=0).save("gp.json")
    line = refused("add", begun, "maths", *PLAN, "--law", "gp.json", "--swarm-out", "ratios.csv")
    assert "mixfast reuse fit, or mixfast fit --law log_linear" in line


def test_of_a_metric_to_raise_the_linear_law_is_kept(begun, good):
    old_runs()
    good("add", begun, "maths", *PLAN, "--swarm-out", "ratios.csv")
    train("ratios.csv", "metrics.csv")
    step = (
        "propose",
        begun,
        "ratios.csv",
        "metrics.csv",
        "--old",
        "or.csv",
        "om.csv",
        "--law-out",
        "law1.json",
        "--out",
        "mixture.yaml",
    )
    good(*step, "--more-is-better", "code*", "--objective", "code_loss")
    assert Fit.load("law1.json").laws["code_loss"] == "linear"
    good("remove", begun, "books", "--law", "law1.json", "--objective", "code_loss", "--budget", "9B")


def test_names_with_commas_and_blanks_can_be_reopened(good, folder):
    Mixture.from_dict({"law, tax": 0.5, "Bücher c=d": 0.3, "web": 0.2}).save("odd.yaml")
    good("start", "odd-life.yaml", "--mixture", "odd.yaml")
    for given in (["law, tax"], ["law, tax", "web"], ["Bücher c=d,web"]):
        out = good("add", "odd-life.yaml", "new one", *(word for name in given for word in ("--reopen", name)))
        opened = [name for name in ("law, tax", "Bücher c=d", "web") if any(name in each for each in given)]
        assert f"of them reopened: {', '.join(opened)}\n" in out


# Caps stay in force after the step in which they were given.

TIGHT = "web: 9B\ncode: 2B\nbooks: 4B\njunk: 1B\n"
TIGHT_OLD = {"web": 0.5, "code": 0.2, "books": 0.2, "junk": 0.1}


@pytest.fixture
def tight(folder, good):
    """A ledger with a budget, in which code is already at its maximum: 4 times in 40B tokens."""
    Mixture.from_dict(TIGHT_OLD).save("tight.yaml")
    (folder / "tight_counts.yaml").write_text(TIGHT)
    good("start", "tight-life.yaml", "--mixture", "tight.yaml", "--tokens", "tight_counts.yaml", "--budget", "40B")
    return "tight-life.yaml"


def test_caps_hold_in_what_is_recorded_after_a_removal(tight, good, refused, folder):
    """After removing junk and rescaling, code would be read 4.44 times."""
    assert "needs runs: --swarm-out" in refused("remove", tight, "junk", "--out", "mixture.yaml")
    out = good("remove", tight, "junk", "--swarm-out", "ratios.csv")
    assert "the renormalised shares violate the limits of code" in out
    assert "budget, tokens and epochs that are not given are taken from tight-life.yaml" in out
    train("ratios.csv", "metrics.csv")
    out = good("propose", tight, "ratios.csv", "metrics.csv", "--law", "log_linear", "--out", "mixture.yaml")
    counts = {"web": 9 * 10**9, "code": 2 * 10**9, "books": 4 * 10**9}
    assert Mixture.load("mixture.yaml").epochs(counts, 40 * 10**9)["code"] <= 4.0 + 1e-6
    ledger = Ledger.load(tight)
    assert (ledger.tokens, ledger.budget, ledger.max_epochs) == (counts, 40 * 10**9, dict.fromkeys(counts, 4.0))
    assert "epochs" in good("show", tight)


def test_what_a_ledger_knows_gives_way_to_what_is_given(tight, good):
    out = good("remove", tight, "junk", "--budget", "36B", "--out", "mixture.yaml")
    assert "0 open" in out
    assert "no known risks\n" in out
    assert "is as in" not in out
    assert Mixture.load("mixture.yaml").epochs({"web": 9, "code": 2, "books": 4}, 36)["code"] == pytest.approx(4.0)
    assert Ledger.load(tight).budget == 36 * 10**9
    good("remove", tight, "books", "--max-epochs", "7", "--out", "mixture.yaml")
    assert Ledger.load(tight).max_epochs == {"web": 7.0, "code": 7.0}
    assert Ledger.load(tight).budget == 36 * 10**9


def test_epochs_of_new_domains_are_those_of_what_they_come_from_or_of_most(good, folder):
    good("start", "epochs.yaml", "--mixture", "mixture.yaml", "--tokens", "counts.yaml", "--budget", "10B", "--max-epochs", "3",
         "--max-epochs", "code=2")  # fmt: skip
    (folder / "parts.yaml").write_text("c: 1B\njava: 1B\nmaths: 3B\n")
    (folder / "split.yaml").write_text("c: 1B\njava: 1B\n")
    good("partition", "epochs.yaml", "code", "c", "java", "--tokens", "split.yaml", "--swarm-out", "ratios.csv")
    pending = Ledger.load("epochs.yaml").pending.region
    assert pending["max_epochs"] == {"web": 3.0, "books": 3.0, "c": 2.0, "java": 2.0}
    plan = ("add", "epochs.yaml", "maths", "--tokens", "new.yaml", "--swarm-out", "ratios.csv", "--replace")
    for given, expected in ((), 3.0), (("--max-epochs", "maths=1.5"), 1.5):
        good(*plan, *given)
        epochs = Ledger.load("epochs.yaml").pending.region["max_epochs"]
        assert epochs == {"web": 3.0, "code": 2.0, "books": 3.0, "maths": expected}


def test_a_new_domain_must_be_counted_where_there_is_a_budget(tight, refused):
    err = refused("add", tight, "maths", "--swarm-out", "ratios.csv")
    assert "the budget in tight-life.yaml, 40000000000, limits repetition" in err
    assert "needs the tokens of maths: give --tokens" in err


def test_a_mixture_above_its_caps_begins_no_ledger(refused):
    start = ("start", "new-life.yaml", "--mixture", "mixture.yaml")
    counted = (*start, "--tokens", "counts.yaml")
    assert "code (0.2, cap 0.16)" in refused(*counted, "--budget", "50B")
    assert "code (0.2, cap 0.1)" in refused(*counted, "--budget", "20B", "--max-epochs", "code=1")
    assert "tokens short" in refused(*counted, "--budget", "1T")
    assert "needs --tokens too" in refused(*start, "--budget", "1B")
    assert "--max-epochs needs --tokens and --budget" in refused(*counted, "--max-epochs", "2")
    with pytest.raises(ReuseError, match="which needs the token counts"):
        Ledger.start(OLD, why="first", budget=10)


def test_unchecked_epochs_are_told(begun, good):
    """A ledger without a budget: epochs cannot be checked, and the output must not claim that they are fine."""
    assert "no known risks, but repetition is not checked" in good("remove", begun, "books")
    assert "no known risks\n" in good("remove", begun, "books", "--budget", "1B")


def test_ledgers_with_counts_of_before_budgets_are_read_and_kept(folder):
    document = json.loads(Ledger.start(OLD, why="first", tokens={"web": 9, "code": 2, "books": 4}).to_json())
    assert set(document["updates"][0]) & {"tokens", "budget", "max_epochs"} == {"tokens"}
    (folder / "old.json").write_text(json.dumps(document))
    ledger = Ledger.load("old.json")
    assert (ledger.tokens, ledger.budget, ledger.max_epochs) == ({"web": 9, "code": 2, "books": 4}, None, {})
    limited = Ledger.start(OLD, why="first", tokens=ledger.tokens, budget=10, max_epochs=math.inf)
    assert Ledger.from_yaml(limited.to_yaml()) == limited


# Token-count files that name a removed domain.


def test_counts_may_name_what_the_update_takes_away(begun, run, refused, folder):
    steps = {
        ("remove", begun, "books", "--tokens", "counts.yaml", "--budget", "5B", "--out", "mixture.yaml"): "books",
        ("revise", begun, "code=code2", "--tokens", "all.yaml", "--budget", "5B"): "code",
        ("partition", begun, "code", "c", "java", "--tokens", "parts.yaml", "--budget", "5B"): "code",
    }
    (folder / "all.yaml").write_text("web: 9B\ncode: 2B\ncode2: 3B\n")
    (folder / "parts.yaml").write_text("web: 9B\ncode: 2B\nc: 1B\njava: 1B\n")
    for step, gone in steps.items():
        status, _, err = run(*step)
        file = step[step.index("--tokens") + 1]
        assert (status, err) == (
            0,
            f"mixfast: note: {file} names domains that this update removes, which are ignored: {gone}\n",
        )
    (folder / "all.yaml").write_text("web: 9B\ncode: 2B\nbooks: 4B\n")
    # Removed before this update, so the update does not know it.
    assert "Only in all.yaml: books" in refused("revise", begun, "code", "--tokens", "all.yaml", "--budget", "5B")


# Doubts about a proposal.


def test_a_proposal_of_counted_domains_is_not_said_to_be_uncounted(begun, good):
    said = "no token counts were given"
    for counted in (True, False):
        good("add", begun, "maths", *(PLAN if counted else ()), "--swarm-out", "ratios.csv", "--replace")
        train("ratios.csv", "metrics.csv")
        out = good("propose", begun, "ratios.csv", "metrics.csv", "--law", "linear")
        assert (said in out) is not counted
        # Counts are a prior, but without a KL term it has no effect; without counts there is no prior.
        assert "kl = 0" in out
        assert ("a prior, for example from token counts" in out) is not counted
    region = full(OLD, Add(["maths"]), resume_region()).region
    assert region.counted
    assert region.align(["maths", "existing"]).counted
    assert not Region(["existing", "maths"]).counted


def test_a_ledger_begun_while_another_waits_is_kept(folder, run, monkeypatch):
    """The second of two commands waits for the lock on the folder, then finds the ledger of the first and leaves it unchanged."""
    lock, first, asked = fcntl.flock, Ledger.start(OLD, why="first"), []

    def waits(handle, kind):
        asked.append((os.fstat(handle).st_ino, kind))
        if len(asked) == 1:
            (folder / "both.yaml").write_text(first.to_yaml())
        lock(handle, kind)

    monkeypatch.setattr(fcntl, "flock", waits)
    status, _, err = run("start", "both.yaml", "--mixture", "mixture.yaml", "--why", "second")
    assert status == 2
    assert "in the meantime" in err
    # The file that now exists is locked instead of the folder.
    places = [path.stat().st_ino for path in (folder, folder / "both.yaml")]
    assert asked == [(place, kind) for place in places for kind in (fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN)]
    assert Ledger.load("both.yaml") == first


@pytest.mark.process
def test_of_three_commands_at_once_one_is_recorded(begun, folder):
    """A plan, another plan, and a removal, which is recorded immediately."""
    steps = {
        "maths": ("add", begun, "maths", "--swarm-out", "maths.csv", "--runs", "4"),
        "poetry": ("add", begun, "poetry", "--swarm-out", "poetry.csv", "--runs", "4"),
        "books": ("remove", begun, "books", "--out", "books.yaml"),
    }
    before = set(os.listdir(folder))
    started = {
        name: subprocess.Popen(
            [sys.executable, "-m", "mixfast", "reuse", *step],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for name, step in steps.items()
    }
    said = {name: process.communicate(timeout=120)[1] for name, process in started.items()}
    ended = {name: process.returncode for name, process in started.items()}
    # A step may start after another one has ended: a removal, or a plan after the removal, is then a second update.
    ledger = Ledger.load(begun)
    recorded = {name for name, status in ended.items() if status == 0}
    assert recorded
    for name in set(steps) - recorded:
        assert ended[name] == 2
        assert "in the meantime" in said[name] or "has an open plan" in said[name]
    assert {"maths.csv", "poetry.csv", "books.yaml"} & set(os.listdir(folder)) == {
        os.path.basename(steps[name][steps[name].index("--swarm-out" if name != "books" else "--out") + 1])
        for name in recorded
    }
    assert ("books" in recorded) == (len(ledger.entries) == 2)
    assert len(recorded & {"maths", "poetry"}) == (ledger.pending is not None)
    assert set(os.listdir(folder)) - before <= {"maths.csv", "poetry.csv", "books.yaml"}
