"""The tokens of a swarm: what its runs could read and did read, in every form, kept by every method that makes a swarm of a swarm."""

from __future__ import annotations

import io
import pickle
import re

import numpy as np
import pytest

from mixfast.errors import AlignmentError, MixfastError
from mixfast.swarm import Swarm, SwarmError

RATIOS = np.array([[0.2, 0.8, 0.0], [0.5, 0.25, 0.25], [0.0, 0.5, 0.5]])
TOKENS = {"web": 2000, "code": 100, "books": 50}
ROWS = np.array([[2000.0, 100.0, 50.0], [1000.0, 200.0, 25.0], [2000.0, 400.0, 100.0]])
BUDGETS = np.array([1000.0, 2000.0, 500.0])


def swarm(tokens=TOKENS, budget=1000, ratios=RATIOS, runs=("a", "b", "c")):
    return Swarm(
        ratios, [[2.1, 0.5], [1.9, 0.4], [2.4, 0.3]], domains=["web", "code", "books"], metric_names=["c4", "arc_accuracy"],
        runs=runs, tokens=tokens, budget=budget,
    )  # fmt: skip


def test_epochs_are_share_times_budget_over_tokens():
    found = swarm()
    np.testing.assert_array_equal(found.tokens, [[2000, 100, 50]] * 3)
    np.testing.assert_array_equal(found.budget, [1000] * 3)
    np.testing.assert_array_equal(found.rate, [[0.5, 10, 20]] * 3)
    np.testing.assert_allclose(found.epochs, RATIOS * found.rate, rtol=1e-15)
    for array in (found.tokens, found.budget, found.rate, found.epochs):
        assert array.dtype == np.float64
        assert not array.flags.writeable


def test_without_tokens_nothing_is_known():
    found = swarm(None, None)
    assert (found.tokens, found.budget, found.rate, found.epochs) == (None,) * 4


@pytest.mark.parametrize(
    "tokens",
    [
        ROWS,
        ROWS.tolist(),
        {"books": ROWS[:, 2], "web": ROWS[:, 0].tolist(), "code": ROWS[:, 1]},
    ],
)
def test_pools_may_differ_between_runs(tokens):
    found = swarm(tokens, BUDGETS)
    np.testing.assert_array_equal(found.tokens, ROWS)
    np.testing.assert_array_equal(found.budget, BUDGETS)
    np.testing.assert_allclose(found.epochs, RATIOS * BUDGETS[:, None] / ROWS, rtol=1e-15)


def test_one_row_of_an_array_is_one_number_for_each_domain_even_if_there_are_as_many_runs():
    np.testing.assert_array_equal(swarm([2000, 100, 50]).tokens, [[2000, 100, 50]] * 3)


def test_domains_of_tokens_are_matched_by_name_like_those_of_a_mixture():
    found = swarm({"train_books": 50, "train_web": 2000, "train_code": 100})
    np.testing.assert_array_equal(found.tokens, [[2000, 100, 50]] * 3)


def test_a_pool_without_tokens_is_accepted_only_where_the_share_is_0():
    none = ROWS.copy()
    none[0, 2] = 0.0
    found = swarm(none, BUDGETS)
    assert found.epochs[0, 2] == 0.0
    assert found.rate[0, 2] == np.inf
    with pytest.raises(SwarmError, match=r"needs tokens of it, .* 0 where the share is above 0: run 'b': books=0\.25"):
        swarm({**TOKENS, "books": 0})


@pytest.mark.parametrize(
    ("tokens", "budget", "message"),
    [
        (TOKENS, None, "tokens needs budget, the tokens that each run reads"),
        (None, 1000, "budget needs tokens, the tokens of each domain"),
        ([1, 2], 1000, r"tokens must have shape \(3,\), one number for each domain, or \(3, 3\), one row for each run; got \(2,\)"),
        ({**TOKENS, "web": [1, 2]}, 1000, r"tokens of 'web' must be one number, or one for each of the 3 runs; got shape \(2,\)"),
        ({**TOKENS, "web": "2B"}, 1000, "tokens of 'web' must be numbers of tokens: got '2B'"),
        ({**TOKENS, "web": -1}, 1000, r"tokens must be finite numbers of at least 0, got web=-1"),
        ({**TOKENS, "web": float("nan")}, 1000, r"tokens must be finite numbers of at least 0, got .*web=nan"),
        ({**TOKENS, "web": [1, float("inf"), 1]}, 1000, r"got run 'b': web=inf"),
        (TOKENS, 0, "budget must be a finite number of tokens above 0, got 0"),
        (TOKENS, [1, 2], r"budget must be one number, or one for each of the 3 runs; got shape \(2,\)"),
        (TOKENS, [1, float("nan"), 2], "budget must be a finite number of tokens above 0, got run 'b': nan"),
        (TOKENS, True, "budget must be numbers of tokens: got True"),
    ],
)  # fmt: skip
def test_malformed_tokens_and_budgets_are_refused(tokens, budget, message):
    with pytest.raises(SwarmError, match=message):
        swarm(tokens, budget)


@pytest.mark.parametrize("tokens", [{"web": 1, "code": 1}, {**TOKENS, "maths": 1}])
def test_missing_and_unknown_domains_of_tokens_are_refused(tokens):
    with pytest.raises(AlignmentError, match="tokens"):
        swarm(tokens)


def test_every_method_that_makes_a_swarm_of_a_swarm_keeps_the_pools():
    whole = swarm(ROWS, BUDGETS)
    rows = {run: (row, budget) for run, row, budget in zip(whole.runs, ROWS.tolist(), BUDGETS.tolist(), strict=True)}
    made = {
        "subset": whole.subset([2, 0]),
        "mask": whole.subset(np.array([True, False, True])),
        "without": whole.without("b"),
        "select": whole.select("c4"),
        "combine": whole.combine({"both": {"c4": 1.0}}),
        "better": whole.better(less="arc*"),
        "align": whole.align(["books", "web", "code"]),
        "renamed": whole.align(["x_web", "x_code", "x_books"]),
        "append": whole.subset([1, 0]).append(whole.subset([2]).align(["books", "web", "code"])),
        "holdout": whole.holdout()[0],
        "over": whole.over(whole.domains, whole.ratios, whole.tokens),
        "pickle": pickle.loads(pickle.dumps(whole)),
    }
    for name, part in made.items():
        order = [whole.domains.index(each.removeprefix("x_")) for each in part.domains]
        for run, tokens, budget in zip(part.runs, part.tokens.tolist(), part.budget.tolist(), strict=True):
            assert (tokens, budget) == ([rows[run][0][at] for at in order], rows[run][1]), name
        assert not part.tokens.flags.writeable, name
        np.testing.assert_allclose(part.epochs, part.ratios * part.rate, rtol=1e-15, err_msg=name)
    assert made["pickle"] == whole
    assert whole != swarm(ROWS, BUDGETS * 2)


def test_other_domains_without_tokens_have_no_epochs():
    assert swarm().over(["a", "b", "c"], RATIOS).epochs is None


def test_runs_of_known_and_of_unknown_pools_are_not_joined():
    known, unknown = swarm().subset([0]), swarm(None, None).subset([1])
    for one, other, which in ((known, unknown, "other"), (unknown, known, "first")):
        with pytest.raises(SwarmError, match=f"the tokens and the budget of the {which} runs are not known"):
            one.append(other)


def test_swarms_that_an_older_version_pickled_are_read():
    state = {name: value for name, value in vars(swarm()).items() if name not in ("tokens", "budget", "rate", "epochs")}
    old = object.__new__(Swarm)
    old.__setstate__(state)
    assert old.tokens is None
    assert old.subset([0]).epochs is None


# From files and frames.

MIXTURES = "run,web,code,books\na,0.2,0.8,0\nb,0.5,0.25,0.25\nc,0,0.5,0.5\n"
RESULTS = "run,c4_loss\na,2.1\nc,2.4\nb,1.9\n"
# Other order of runs and domains, a run that the others lack, and a column of a tracker.
BY_RUN = "run,books,web,code,seed,read\nd,1,1,1,0,9\nc,100,2K,4e2,0,500\na,50,2000,1e2,1,1K\nb,25,1000.0,200,2,2000\n"


def read(tokens, budget, ratios=MIXTURES, metrics=RESULTS, **options):
    tokens = io.StringIO(tokens) if isinstance(tokens, str) else tokens
    return Swarm.from_csv(io.StringIO(ratios), io.StringIO(metrics), tokens=tokens, budget=budget, **options)


def test_files_take_tokens_by_domain():
    found = read(TOKENS, 1000)
    np.testing.assert_array_equal(found.tokens, [[2000, 100, 50]] * 3)
    np.testing.assert_array_equal(found.budget, [1000] * 3)


def test_pools_of_a_file_are_joined_on_runs_and_domains_never_by_position(tmp_path):
    path = tmp_path / "pools.csv"
    path.write_text(BY_RUN)
    for found in (read(BY_RUN, "read"), read(path, "read"), swarm(None, None).with_tokens(path, "read")):
        np.testing.assert_array_equal(found.tokens, ROWS)
        np.testing.assert_array_equal(found.budget, BUDGETS)


def test_budgets_may_be_a_column_of_mixtures_or_metrics_or_a_mapping_by_run():
    expected = read(BY_RUN, "read").budget
    ratios = MIXTURES.replace("\n", ",{}\n").format("spent", 1000, 2000, 500)
    metrics = RESULTS.replace("\n", ",{}\n").format("spent", 1000, 500, 2000)
    for found in (
        read(TOKENS, "spent", ratios=ratios),
        read(TOKENS, "spent", metrics=metrics),
        read(TOKENS, {"c": 500, "a": 1000, "b": 2000, "z": 1}),
    ):
        np.testing.assert_array_equal(found.budget, expected)
        assert (found.domains, found.metrics) == (("web", "code", "books"), ("c4_loss",))


def test_frames_take_pools_in_every_form():
    rows = [
        {"run": "b", "web": 1000, "code": 200, "books": 25},
        {"run": "a", "web": 2000, "code": 100, "books": 50},
        {"run": "c", "web": 2000, "code": 400, "books": 100},
    ]
    ratios = {"run": ["a", "b", "c"], "web": RATIOS[:, 0], "code": RATIOS[:, 1], "books": RATIOS[:, 2]}
    metrics = {"run": ["a", "b", "c"], "loss": [2.1, 1.9, 2.4]}
    by_run = {row["run"]: {name: value for name, value in row.items() if name != "run"} for row in rows}
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    for tokens in (rows, by_run, columns):
        found = Swarm.from_frames(ratios, metrics, tokens=tokens, budget=1000)
        np.testing.assert_array_equal(found.tokens, ROWS)
    found = Swarm.from_frames(ratios, metrics, tokens=TOKENS, budget=1000)
    np.testing.assert_array_equal(found.tokens, [[2000, 100, 50]] * 3)


@pytest.mark.parametrize(
    ("tokens", "budget", "message"),
    [
        (BY_RUN.replace("\nb,", "\ne,"), "read", "tokens file has no row for run 'b'; it needs a row for each run"),
        (BY_RUN.replace("books", "boks"), "read", "boks"),
        (BY_RUN.replace("code,seed", "code,maths"), "read", "maths"),
        (BY_RUN.replace("2K", ""), "read", "column 'web' must hold numbers of tokens, such as 2000000, 3.2B or 1e9, got run 'c': ''; write 0"),
        (BY_RUN.replace("2K", "many"), "read", "got run 'c': 'many'"),
        (BY_RUN.replace("2K", "-2"), "read", "at least 0, got run 'c': web=-2"),
        (BY_RUN.replace("run,", "which,"), "read", "tokens file needs a column with the ids of runs"),
        (BY_RUN, "spent", "budget='spent' is neither a number of tokens nor a column of a table of the runs"),
        (BY_RUN, [1, 2, 3], "budget is a sequence, which names no runs"),
        (BY_RUN, {"a": 1, "b": 2}, "budget has no number for run 'c'"),
        (BY_RUN, None, "tokens needs budget"),
        (None, 1000, "budget needs tokens"),
    ],
)  # fmt: skip
def test_malformed_tables_of_pools_are_refused(tokens, budget, message):
    with pytest.raises(MixfastError, match=re.escape(message)):
        read(tokens, budget)


def test_tokens_of_further_domains_are_refused_unless_they_are_allowed():
    more = {**TOKENS, "maths": 7}
    with pytest.raises(AlignmentError, match="maths"):
        swarm(None, None).with_tokens(more, 1000)
    assert swarm(None, None).with_tokens(more, 1000, others=True) == swarm()
    table = BY_RUN.replace("code,seed", "code,maths")
    found = swarm(None, None).with_tokens(io.StringIO(table), "read", others=True)
    np.testing.assert_array_equal(found.tokens, ROWS)


# The report.


def test_the_report_says_how_often_domains_are_read_and_which_are_never_repeated():
    report = swarm().report
    assert report.budget == (1000.0, 1000.0)
    assert report.epochs == {"web": (0.1, 0.25), "code": (2.5, 8.0), "books": (5.0, 10.0)}
    assert report.never_repeated == ("web",)
    assert "each run reads 1K tokens\n" in str(report)
    assert "epochs in the runs that sample a domain: books 5 to 10, code 2.5 to 8, web 0.1 to 0.25\n" in str(report)
    assert "never read more than once, cost of repetition unknown: 1 domain: web\n" in str(report)
    assert "a run reads 500 to 2K tokens" in str(swarm(ROWS, BUDGETS).report)
    assert "epochs" not in str(swarm(None, None).report)


def test_the_report_says_which_pools_differ_between_runs():
    assert swarm().report.other_pools == ()
    assert "different pools" not in str(swarm().report)
    rows = np.array(ROWS, dtype=float)
    rows[:, 1:] = rows[:1, 1:] * (1.0 + 1e-4 * np.arange(len(rows))[:, None])
    rows[:, 0] = rows[0, 0] * np.arange(1, len(rows) + 1)
    report = swarm(rows, 1000).report
    assert report.other_pools == ("web",)
    assert "runs with different pools, which only laws in epochs tell apart: 1 domain: web\n" in str(report)


def test_the_report_omits_tiny_epochs():
    ratios = [[0.5, 0.5], [1.0 - 1e-12, 1e-12]]
    report = Swarm(
        ratios, [[1.0], [2.0]], domains=["a", "b"], metric_names=["m"], tokens={"a": 100, "b": 10}, budget=100
    ).report
    assert "epochs in the runs that sample a domain: b up to 5, a 0.5 to 1\n" in str(report)


def test_shares_in_place_of_tokens_are_refused():
    ratios = [[0.5, 0.5], [0.2, 0.8]]
    for shares in ({"a": 0.3, "b": 0.7}, ratios):
        with pytest.raises(
            SwarmError, match=r"the numbers of tokens sum to 1 in every run, so they are shares; .*Design\.pools"
        ):
            Swarm(ratios, [[1.0], [2.0]], domains=["a", "b"], metric_names=["m"], tokens=shares, budget=2e9)
    # In units of the supply, a run that reads it twice is no mistake.
    assert (
        Swarm(
            ratios, [[1.0], [2.0]], domains=["a", "b"], metric_names=["m"], tokens={"a": 0.3, "b": 0.7}, budget=2
        ).budget
        is not None
    )
