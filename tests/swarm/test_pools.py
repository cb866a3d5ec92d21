"""The tokens of a swarm: what its runs could read and did read, in every form, kept by every method that makes a swarm of a swarm."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from mixfast.errors import AlignmentError
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
