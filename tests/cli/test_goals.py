"""Targets, guards and goals of `mixfast propose`: answers, hostile names, and malformed or useless options."""

import json

import numpy as np
import pytest

from mixfast import Mixture, Region, Swarm, fit, propose
from mixfast.laws import Fit
from mixfast.proposers import reach

DOMAINS = ["web", "code", "books"]
# Names that contain what separates a metric from its goal, and a pattern.
ODD = ["a=b", "p<", "q>=1", "m*", "two words"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("goals")
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(3), 24)
    values = 1.0 + np.exp(ratios @ rng.normal(-0.5, 0.5, (3, 4))) + rng.normal(size=(24, 4)) * 0.002
    names = ["code_py_loss", "code_rs_loss", "text_loss", "quiz_acc"]
    fit(Swarm(ratios, values, domains=DOMAINS, metric_names=names), "linear", folds=0).save(path / "law.json")
    values = 1.0 + np.exp(ratios @ rng.normal(-0.5, 0.5, (3, 5)))
    fit(Swarm(ratios, values, domains=DOMAINS, metric_names=ODD), "linear", folds=0).save(path / "odd.json")
    (path / "today.yaml").write_text("web: 0.4\ncode: 0.3\nbooks: 0.3\n")
    (path / "two.yaml").write_text("web: 0.5\ncode: 0.5\n")
    (path / "other.yaml").write_text("web: 0.5\nnews: 0.5\n")
    return path


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture
def law():
    return Fit.load("law.json")


def test_targets_and_guards_are_those_of_propose(run, law):
    words = (
        "--target",
        "text_loss=2",
        "--target",
        "quiz_acc",
        "--scale",
        "spread",
        "--guard",
        "code_*=0.5 sd",
        "--guard",
        "code_rs_loss=0",
    )
    status, out, err = run("propose", "law.json", *words, "--reference", "today.yaml", "--kl", "0.02", "--json")
    assert status == 0, err
    found = json.loads(out)
    region = Region(DOMAINS)
    same = propose(
        law,
        region,
        objective={"text_loss": 2, "quiz_acc": 1},
        scale="spread",
        guard={"code_*": "0.5 sd", "code_rs_loss": 0},
        reference=Mixture.load("today.yaml"),
        kl=0.02,
    )
    assert found["mixture"] == pytest.approx(same.mixture.as_dict(), abs=1e-9)
    assert {one["metric"]: one["given"] for one in found["guards"]} == {"code_py_loss": "0.5 sd", "code_rs_loss": "0"}
    assert found["objective"] == pytest.approx(same.objective)


def test_a_star_is_every_metric_that_no_target_names(run):
    status, out, err = run("propose", "law.json", "--target", "text_loss", "--guard", "*=2 %", "--kl", "0.1", "--json")
    assert status == 0, err
    assert [one["metric"] for one in json.loads(out)["guards"]] == ["code_py_loss", "code_rs_loss", "quiz_acc"]


def test_a_goal_is_that_of_reach(run, law, folder):
    now = law.predict(Mixture.load("today.yaml"))[0]
    goal = f"text_loss<={now[2] - 0.03:.12f}"
    words = ("--reach", goal, "--reach", "quiz_acc=0 worse", "--guard", "*=1 sd", "--near", "today.yaml")
    status, out, err = run("propose", "law.json", *words, "--out", "new.yaml")
    assert (status, err) == (0, "")
    assert "Least change (exact, optimal" in out
    assert "KL(mixture || near) = " in out
    assert "the goal of text_loss (at most" in out
    same = reach(
        law,
        None,
        {"text_loss": now[2] - 0.03, "quiz_acc": "0 worse"},
        near=Mixture.load("today.yaml"),
        guard={"*": "1 sd"},
    )
    assert Mixture.load("new.yaml").align(DOMAINS).weights == pytest.approx(same.mixture.weights, abs=1e-9)


def test_a_goal_out_of_reach_is_refused_with_the_best_value(refused):
    said = refused("propose", "law.json", "--reach", "text_loss<=0.1", "--near", "today.yaml")
    assert "text_loss cannot be better than" in said
    assert "must be at most 0.1" in said


def test_domains_that_the_file_leaves_out_have_no_share(run):
    status, out, _ = run("propose", "law.json", "--reach", "text_loss=9 worse", "--near", "two.yaml")
    assert status == 0
    assert "near gives no share to books" in out


@pytest.mark.parametrize("name", ODD)
def test_names_with_signs_in_them_are_found(run, name):
    status, out, err = run("propose", "odd.json", "--guard", f"{name}=5", "--objective", name, "--kl", "1", "--json")
    assert status == 0, err
    assert [one["metric"] for one in json.loads(out)["guards"]] == [name]
    for sign in ("<=", "="):
        status, out, err = run("propose", "odd.json", "--reach", f"{name}{sign}9", "--near", "today.yaml", "--json")
        if (name, sign) == ("p<", "="):
            assert status == 0, err
        assert status == 0, err
        assert [one["metric"] for one in json.loads(out)["guards"]] == [name]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--guard", "text_loss"), "--guard text_loss: expected METRIC=AMOUNT"),
        (("--guard", "=1"), "--guard =1: expected METRIC=AMOUNT"),
        (("--guard", "text_loss="), "expected METRIC=AMOUNT"),
        (("--target", "quiz_acc", "--guard", "text_loss=lots"), "--guard text_loss=lots, expected how much worse"),
        (("--target", "quiz_acc", "--guard", "text_loss=-1"), "expected how much worse"),
        (("--target", "quiz_acc", "--guard", "text_loss=1 sd better"), "expected how much worse"),
        (("--guard", "txt_loss=1"), "--guard names an unknown metric: txt_loss (did you mean text_loss?)"),
        (("--guard", "text_loss=1", "--guard", "text_loss=2"), "--guard names text_loss twice"),
        (("--guard", "*=1", "--guard", "*=2"), "* is given twice"),
        (("--reach", "text_loss"), "--reach text_loss: expected a goal in quotes"),
        (("--reach", "text_loss<=", "--near", "today.yaml"), "expected a goal in quotes"),
        (("--reach", "text_loss<1", "--near", "today.yaml"), "expected a goal in quotes"),
        (("--reach", "text_loss>=1", "--near", "today.yaml"), "--reach 'text_loss>=1', but less is better for text_loss: its goal begins with <="),
        (("--reach", "quiz_acc<=1", "--near", "today.yaml"), "more is better for quiz_acc: its goal begins with >="),
        (("--reach", "text_loss=2 %", "--near", "today.yaml"), "say whether that is better or worse"),
        (("--reach", "txt=1", "--near", "today.yaml"), "--reach names an unknown metric: txt"),
        (("--reach", "text_loss<=1"), "--reach needs the mixture to stay near: give --near FILE"),
        (("--reach", "text_loss<=1", "--near", "other.yaml"), "other.yaml and law.json name different domains"),
        (("--reach", "text_loss<=1", "--near", "today.yaml", "--kl", "1"), "so --kl would have no effect"),
        (("--reach", "text_loss<=1", "--near", "today.yaml", "--target", "quiz_acc"), "so --target would have no effect"),
        (("--reach", "text_loss<=1", "--near", "today.yaml", "--method", "regmix"), "--reach has no simulation"),
        (("--reach", "text_loss<=9", "--guard", "text_loss=1", "--near", "today.yaml"), "both name text_loss"),
        (("--near", "today.yaml"), "--near has no effect without --reach"),
        (("--reference", "today.yaml"), "--reference has no effect without --guard or --scale"),
        (("--target", "text_loss", "--objective", "quiz_acc"), "--target and --objective are the same"),
        (("--target", "worst"), "--target names an unknown metric: worst"),
        (("--target", "text_loss=-1"), "--target text_loss=-1: a weight is at least 0"),
        (("--scale", "noise", "--target", "text_loss"), "--scale noise divides each metric by its seed standard deviation, which is unknown"),
        (("--scale", "loud"), "expected one of spread, noise, reference"),
    ],
)  # fmt: skip
def test_wrong_goals_are_refused_in_one_line(refused, words, said):
    assert said in refused("propose", "law.json", *words)
