"""What a person sees in a notebook: each noun and answer in one short line, and answers in words."""

import numpy as np
import pytest

import mixfast
from mixfast import ExpertTable, Mixture, Region, Swarm, design, fit, propose, proposers, solve
from mixfast.designs import next_runs
from mixfast.reuse import Add, Ledger, full
from mixfast.solver import holdout

DOMAINS = [f"domain_{k:03}" for k in range(60)]


@pytest.fixture(scope="module")
def shown():
    rng = np.random.default_rng(0)
    table = ExpertTable.from_loglik(-rng.exponential(size=(300, 60)), domains=DOMAINS)
    solution = solve(table, Region(DOMAINS, cap=0.3))
    ratios = rng.dirichlet(np.ones(60), 90)
    swarm = Swarm(ratios, ratios @ rng.normal(size=(60, 2)) + 3.0, domains=DOMAINS, metric_names=["a", "b"])
    law = fit(swarm, "log_linear", folds=3)
    region = Region(DOMAINS, prior=1.0, cap=0.3)
    proposal = propose(law, region, kl=0.05)
    mixture = Mixture(DOMAINS, np.full(60, 1.0 / 60.0))
    ledger = Ledger.start(mixture, why="first")
    return {
        "nouns": [table, solution.region, swarm, mixture, ledger, design(region, 4, seed=0)],
        "answers": [
            solution,
            solution.bootstrap(replicates=5),
            holdout(table),
            law,
            proposal,
            proposers.bootstrap(swarm, "linear", region, fit=lambda some, kind: fit(some, kind, folds=0), draws=4),
            next_runs(swarm, law, region, 2, seed=0),
            full(mixture, [Add(["new"])], Region([*DOMAINS, "new"])),
        ],
    }


def test_nouns_and_answers_are_one_short_line(shown):
    for each in (*shown["nouns"], *shown["answers"]):
        line = repr(each)
        assert line.startswith(type(each).__name__ + "("), line
        assert len(line) < 320, line
        assert "\n" not in line


def test_answers_have_a_summary_which_print_shows(shown):
    for each in shown["answers"]:
        assert each.summary() == str(each)
        assert all(len(line) < 400 for line in each.summary().splitlines())


def test_a_solution_in_words_has_shares_certificate_and_the_cap_for_all(shown):
    text = shown["answers"][0].summary()
    for words in (
        "domain",
        "status     optimal",
        "no allowed mixture is better",
        "cap 30% for every domain; at it: none",
    ):
        assert words in text
    assert "Limits: cap 30% for every domain" in shown["answers"][4].summary()


def test_dir_holds_the_public_names_and_nothing_else():
    assert {name for name in dir(mixfast) if not name.startswith("__")} == {*mixfast.__all__, *mixfast._ROOMS}
    assert all(hasattr(mixfast, name) for name in dir(mixfast))
