"""Baselines: exact shares, and UtiliMax against cvxpy."""

import math
import warnings

import numpy as np
import pytest

from mixfast.baselines import controls, natural, temperature, uniform, unimax, utilimax
from mixfast.errors import AlignmentError, InfeasibleError, NotConvergedWarning, RegionError
from mixfast.region import Region

TOKENS = {"web": 900_000, "code": 300_000, "books": 20_000, "none": 0}
BUDGET = 1_000_000


def random_tokens(seed, domains):
    sizes = np.exp(np.random.default_rng(seed).normal(10, 2, domains))
    return {f"d{k}": int(size) + 1 for k, size in enumerate(sizes)}


def published_unimax(tokens, budget, epochs):
    """Algorithm 1 of arXiv:2304.09151, one language after the other in the order of their sizes."""
    left, given = budget, {}
    for place, name in enumerate(sorted(tokens, key=tokens.get)):
        given[name] = min(left / (len(tokens) - place), epochs * tokens[name])
        left -= given[name]
    return {name: given[name] / sum(given.values()) for name in tokens}


@pytest.mark.parametrize("made", [natural(TOKENS), uniform(TOKENS), temperature(TOKENS), unimax(TOKENS, BUDGET)])
def test_shares_sum_to_exactly_1_and_a_domain_without_tokens_has_none(made):
    assert math.fsum(made.weights) == 1.0
    assert made["none"] == 0.0
    assert made.domains == tuple(TOKENS)


def test_a_temperature_of_1_is_natural_and_an_infinite_one_uniform():
    assert temperature(TOKENS, 1) == natural(TOKENS)
    assert temperature(TOKENS, math.inf).total_variation(uniform(TOKENS)) < 1e-15
    assert temperature({"a": 1e300, "b": 1e-300}, 0.001)["a"] == 1.0


def test_the_default_temperature_has_the_exponent_of_xlm_r():
    shares = temperature({"a": 8, "b": 1})
    assert shares["a"] / shares["b"] == pytest.approx(8**0.3, rel=1e-14)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("epochs", [1, 4, 20])
def test_unimax_is_the_published_algorithm(seed, epochs):
    tokens = random_tokens(seed, 30)
    budget = int(0.9 * sum(tokens.values()))
    made = unimax(tokens, budget, epochs)
    assert made.as_dict() == pytest.approx(published_unimax(tokens, budget, epochs), abs=1e-14)
    assert max(made.epochs(tokens, budget).values()) <= epochs * (1 + 1e-12)


def test_unimax_refuses_a_budget_that_the_tokens_cannot_fill():
    with pytest.raises(InfeasibleError, match="tokens short"):
        unimax(TOKENS, 10 * BUDGET, 1)


def test_unimax_of_a_region_keeps_all_its_limits():
    region = Region.from_tokens(TOKENS, BUDGET, floor={"web": 0.6}, bounds={("code", "books"): (None, 0.3)})
    assert region.contains(unimax(region))
    assert unimax(region)["web"] >= 0.6


def test_a_region_of_token_counts_gives_the_same_baselines():
    region = Region.from_tokens(TOKENS, BUDGET, max_epochs=2)
    assert natural(region) == natural(TOKENS)
    assert temperature(region) == temperature(TOKENS)
    assert uniform(region) == uniform(TOKENS)
    assert unimax(region) == unimax(TOKENS, BUDGET, 2)
    assert utilimax(region, utilities=[0.1, 0.9, 0.5, 1.0]) == utilimax(
        TOKENS, BUDGET, [0.1, 0.9, 0.5, 1.0], max_epochs=2
    )


@pytest.mark.parametrize("kind", ["spread", "ideal", "beyond"])
@pytest.mark.parametrize(("seed", "domains", "tasks", "risk"), [(0, 3, 1, 1.0), (1, 12, 4, 1.0), (2, 40, 9, 0.01)])
def test_utilimax_is_optimal(seed, domains, tasks, risk, kind):
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    tokens = random_tokens(seed, domains)
    budget = sum(tokens.values())
    utilities = {
        "spread": rng.uniform(0, 1, (domains, tasks)),
        # Utility 1 can be reached: the objective has no slope there.
        "ideal": np.where(rng.random((domains, tasks)) < 0.5, 1.0, 0.95),
        "beyond": rng.uniform(0, 2, (domains, tasks)),
    }[kind]
    made = utilimax(tokens, budget, utilities, risk=risk).weights

    def value(w):
        return np.linalg.norm(utilities.T @ w - 1.0) + risk * domains * float(w @ w)

    w = cp.Variable(domains)
    distance = cp.norm(utilities.T @ w - 1.0, 2)
    caps = 4.0 * np.array(list(tokens.values())) / budget
    problem = cp.Problem(
        cp.Minimize(distance + risk * domains * cp.sum_squares(w)), [w >= 0, cp.sum(w) == 1, w <= caps]
    )
    problem.solve(solver="CLARABEL")
    assert made.max() <= 1.0
    assert (made <= caps + 1e-12).all()
    assert value(made) <= problem.value + 1e-7


def test_equal_utilities_make_utilimax_unimax():
    tokens = random_tokens(7, 20)
    budget = sum(tokens.values())
    same = utilimax(tokens, budget, np.full((20, 3), 0.4))
    assert same.total_variation(unimax(tokens, budget)) < 1e-12


def test_utilimax_warns_only_if_it_cannot_certify():
    rng = np.random.default_rng(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotConvergedWarning)
        for seed in range(20):
            tokens = random_tokens(seed, 25)
            utilimax(tokens, sum(tokens.values()), rng.normal(0, 10, (25, 3)), risk=10.0 ** (seed % 6 - 4))


def test_utilities_are_aligned_by_name():
    named = {"books": {"y": 0.5, "x": 0.1}, "web": {"x": 0.2, "y": 0.3}, "code": {"x": 0.9, "y": 0.4}}
    tokens = {name: TOKENS[name] for name in ("web", "code", "books")}
    assert utilimax(tokens, BUDGET, named) == utilimax(tokens, BUDGET, [[0.2, 0.3], [0.9, 0.4], [0.1, 0.5]])


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: natural({"a": -1}), RegionError, "a=-1"),
        (lambda: natural({"a": 0}), RegionError, "no domain has tokens: a"),
        (lambda: natural(Region(["a", "b"])), RegionError, "Region.from_tokens"),
        (lambda: natural(["a"]), RegionError, "mapping of domain to tokens"),
        (lambda: temperature({"a": 1}, 0), RegionError, "above 0, got 0"),
        (lambda: unimax({"a": 1}), RegionError, "budget is missing"),
        (lambda: unimax({"a": 1}, 0), RegionError, "budget must be a whole number of tokens of at least 1, got 0"),
        (
            lambda: unimax({"a": 1}, "1K"),
            RegionError,
            "budget must be a whole number of tokens of at least 1, got '1K'",
        ),
        (lambda: unimax({"a": 1.5}, 1), RegionError, "tokens must be whole numbers for a budget, got a=1.5"),
        (lambda: unimax(Region(["a"]), 5), RegionError, "leave out the budget"),
        (lambda: utilimax({"a": 1}, 1), RegionError, "utilities are missing"),
        (lambda: utilimax({"a": 1}, 1, {"b": 1}), AlignmentError, "b"),
        (lambda: utilimax({"a": 1}, 1, [1, 2]), RegionError, r"shape \(1,\)"),
        (lambda: utilimax({"a": 1}, 1, [math.nan]), RegionError, "finite.*a"),
        (lambda: utilimax({"a": 1, "b": 1}, 1, {"a": {"x": 1}, "b": {"y": 1}}), RegionError, "each of the tasks x, y"),
        (lambda: utilimax({"a": 1}, 1, [1], risk=0), RegionError, "risk"),
    ],
)
def test_errors_say_what_came_and_what_is_expected(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_controls_are_different_and_those_that_the_region_allows():
    with_tokens = controls(Region.from_tokens(TOKENS, BUDGET))
    assert list(with_tokens) == ["natural", "temperature 3.33", "uniform", "UniMax"]
    assert list(controls(Region(["a", "b"]))) == ["uniform"]
    assert list(controls(Region(["a", "b"], cap={"a": 0.3}))) == ["uniform", "nearest to uniform"]
    # Equal pools: all are the same mixture.
    assert list(controls(Region.from_tokens({"a": 10, "b": 10}, 10))) == [
        "natural = temperature 3.33 = uniform = UniMax"
    ]
