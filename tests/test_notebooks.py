"""What a notebook shows: one short line for each object and answer, and answers in words."""

import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

import mixfast
from mixfast import ExpertTable, Mixture, Region, Swarm, design, fit, propose, proposers, solve
from mixfast._text.notebook import MOST_ROWS
from mixfast._text.visible import is_visible
from mixfast.designs import next_runs
from mixfast.errors import BackendError
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


HOSTILE = ["<script>alert(1)</script>", "a\u202eb", "c&d\x1b[2J", '"><img src=x onerror=alert(1)>']


class Tags(HTMLParser):
    """The tags of an HTML text, and whether they are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.attributes = [], set(), set()
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_notebooks_show_a_small_table_that_follows_their_theme(shown):
    shows = [one for one in (*shown["nouns"], *shown["answers"]) if not isinstance(one, Ledger)]
    for each in shows:
        text = each._repr_html_()
        found = Tags(text)
        assert found.seen <= {"div", "b", "table", "thead", "tbody", "tr", "th", "td", "bdi", "pre"}
        # No colour that is invisible in dark themes, no script, nothing loaded.
        assert found.attributes <= {"style"}
        assert set(re.findall(r'style="([^"]*)"', text)) <= {"text-align: left", "text-align: right"}
        assert text.count("<tr>") <= MOST_ROWS + 1
        if "<table>" in text and len(text) > 3000:
            assert "... and " in text


def test_the_certificate_is_one_line_of_what_a_notebook_shows(shown):
    solution, proposal = shown["answers"][0], shown["answers"][4]
    for each in (solution, proposal):
        assert f"no allowed mixture is better by more than {each.gap:.1e}" in each._repr_html_()


def test_names_do_not_act_on_the_page_of_a_notebook():
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(4), 12)
    swarm = Swarm(ratios, ratios[:, :1], domains=HOSTILE, metric_names=["<b>loss</b>"])
    table = ExpertTable.from_loglik(-rng.exponential(size=(20, 4)), domains=HOSTILE)
    solution = solve(table)
    shows = [
        Mixture(HOSTILE, np.full(4, 0.25)), swarm, table, solution, fit(swarm, "linear"), Region(HOSTILE, cap=0.5),
        design(Region(HOSTILE), 4, seed=0), propose(fit(swarm, "linear")), solution.bootstrap(replicates=3), holdout(table),
    ]  # fmt: skip
    for each in shows:
        text = each._repr_html_()
        assert is_visible(text)
        assert Tags(text).seen <= {"div", "b", "table", "thead", "tbody", "tr", "th", "td", "bdi", "pre"}
        assert "&lt;" in text


def test_tables_go_to_pandas_with_their_names(shown):
    pandas = pytest.importorskip("pandas")
    _, _, swarm, mixture, _, made = shown["nouns"]
    solution, intervals, held_out, law, proposal, shares, following, _ = shown["answers"]
    series = mixture.to_pandas()
    assert isinstance(series, pandas.Series)
    assert (series.to_dict(), series.name, series.index.name) == (mixture.as_dict(), "share", "domain")
    assert list(solution.to_pandas()) == ["share", "floor", "cap", "price"]
    assert list(proposal.to_pandas()) == ["share", "prior", "floor", "cap", "price"]
    prices = {one.name: one.price for one in solution.shadow_prices}
    frame = solution.to_pandas()
    assert frame["price"][frame["price"] > 0].to_dict() == prices
    assert list(intervals.to_pandas()) == ["share", "low", "high", "standard_error"]
    assert list(shares.to_pandas()) == ["share", "low", "high"]
    assert list(following.to_pandas()) == ["gain", "predicted", "sd"]
    assert held_out.to_pandas().loc["mixfast", "held_out_loss"] == held_out["mixfast"].held_out_loss
    np.testing.assert_array_equal(made.to_pandas().to_numpy(), made.ratios)
    assert list(law.to_pandas()["law"]) == list(law.laws.values())
    np.testing.assert_array_equal(law.predict_pandas(swarm)["b"], law.predict(swarm)[:, 1])
    assert list(law.predict_pandas(swarm).index) == list(swarm.runs)
    again = Swarm.from_frames(swarm.to_pandas(), domains=swarm.domains)
    assert again.metrics == swarm.metrics
    np.testing.assert_array_equal(again.values, swarm.values)
    # The returned data may be changed without changing their source.
    series.iloc[0] = 9.0
    assert mixture.weights.max() < 1.0


def test_a_frame_of_one_name_twice_is_refused():
    swarm = Swarm([[0.5, 0.5], [0.2, 0.8]], [1.0, 2.0], domains=["a", "b"], metric_names=["a"])
    with pytest.raises(BackendError, match="two columns would have one name: a"):
        swarm.to_pandas()


def test_without_pandas_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(BackendError, match=r"pip install 'mixfast\[pandas\]'"):
        Mixture(["a"], [1.0]).to_pandas()


def test_versions_are_shown_for_an_issue(capsys):
    mixfast.show_versions()
    out = capsys.readouterr().out
    for words in ("mixfast", "core", "threads", "gpu", "python", "numpy", mixfast.__version__):
        assert words in out
