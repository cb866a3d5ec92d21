"""Far more domains than rows: certified like all others, with systems of as many unknowns as rows."""

import tracemalloc
import warnings

import numpy as np
import pytest
from certificate import check, inspect
from makers import solved

from mixfast import ExpertTable, Region, reference, solve
from mixfast._engine.backend import simplex
from mixfast._engine.geometry import qp
from mixfast._engine.optimise import minimax
from mixfast.errors import MixfastWarning

pytestmark = pytest.mark.filterwarnings("ignore:.* rows and .* domains:mixfast.errors.MixfastWarning")


def wide(n=10, k=300, *, groups=1, weight=None, seed=1):
    rng = np.random.default_rng([seed, n, k])
    options = {}
    if groups > 1:
        options["group"] = np.concatenate([np.arange(groups), rng.integers(0, groups, n - groups)])
    if weight is not None:
        options["weight"] = 10.0 ** rng.uniform(*weight, size=n)
    return ExpertTable.from_loglik(-rng.exponential(3.0, size=(n, k)), **options)


def blocks(table, count, **options):
    """Return a region with limits on this number of groups, which together contain all domains."""
    order = np.random.default_rng(0).permutation(table.n_domains)
    members = np.array_split(order, count)
    bounds = {
        f"b{i}": ([table.domains[k] for k in inside], 0.5 / count, 1.2 / count) for i, inside in enumerate(members)
    }
    return Region(table.domains, bounds=bounds, **options)


@pytest.fixture
def small_systems(monkeypatch):
    """Refuse quadratic programs among more than 96 domains: each active set costs the cube of their number."""

    def refuse(hessian, *args, **kwargs):
        raise AssertionError(f"a quadratic program among {hessian.shape[0]} domains")

    monkeypatch.setattr(simplex, "qp", refuse)
    monkeypatch.setattr(qp, "newton", refuse)
    monkeypatch.setattr(qp, "minimax", refuse)


@pytest.mark.usefixtures("small_systems")
@pytest.mark.parametrize("cap", [None, 0.01])
@pytest.mark.parametrize("kl", [0.0, 1e-6, 0.01, 1.0])
@pytest.mark.parametrize("objective", [None, "worst"])
def test_wide_tables_are_solved_without_a_quadratic_program_among_all_domains(cap, kl, objective):
    table = wide(groups=3)
    region = None if cap is None else Region(table.domains, cap=cap)
    found = solved(table, region, kl=kl, objective=objective)
    assert kl or np.count_nonzero(found.mixture.weights) < 130


@pytest.mark.usefixtures("small_systems")
@pytest.mark.parametrize("kl", [0.0, 0.01])
@pytest.mark.parametrize("objective", [None, "worst"])
def test_limits_on_many_groups_are_kept_by_wide_tables(kl, objective):
    table = wide(6, 97, groups=2)
    solved(table, blocks(table, 2, cap=0.04), kl=kl, objective=objective)


@pytest.mark.usefixtures("small_systems")
def test_weights_over_many_decades_do_not_keep_wide_tables_from_their_optimum():
    table = wide(40, 300, weight=(-12, 12))
    for region in (None, Region(table.domains, cap=0.02)):
        found = solve(table, region)
        assert found.status == "optimal"
        assert not inspect(table, region, found, tol=1e-7 * float(table.row_weight.sum())).failures


@pytest.mark.usefixtures("small_systems")
def test_wide_predictions_are_solved_from_their_residuals():
    rng = np.random.default_rng(3)
    table = ExpertTable.from_predictions(rng.normal(size=(12, 200)), rng.normal(size=12) + 3.0)
    for region in (None, Region(table.domains, cap=0.02)):
        solved(table, region)


@pytest.mark.usefixtures("small_systems")
def test_wide_tables_keep_rows_that_one_domain_alone_explains():
    rng = np.random.default_rng(4)
    loglik = -rng.uniform(0, 4000, size=(12, 1)) - rng.exponential(300.0, size=(12, 200))
    solved(ExpertTable.from_loglik(loglik))


def test_shares_next_to_a_bound_are_put_on_it():
    table = wide(10, 400)
    shares = solve(table, Region(table.domains, cap=0.01)).mixture.weights
    # A vertex, except for at most as many shares as rows.
    assert np.count_nonzero((shares != 0.0) & (shares != 0.01)) <= 11


def test_more_rows_than_domains_take_the_interior_way_under_a_kl_term_alone():
    table = wide(400, 120)
    region = Region(table.domains, cap=0.05)
    for kl in (0.0, 0.01):
        check(table, region, solve(table, region, kl=kl), kl=kl)


def test_wide_answers_are_the_same_for_any_number_of_threads():
    table = wide(20, 300)
    region = Region(table.domains, cap=0.01)
    one, two = (solve(table, region, threads=threads).mixture.weights for threads in (1, 2))
    assert np.array_equal(one, two)


def test_a_tolerance_below_rounding_ends_with_an_honest_gap():
    table = wide(10, 300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixfastWarning)
        found = solve(table, Region(table.domains, cap=0.01), tol=1e-300)
    assert found.status != "optimal"
    assert found.gap < 1e-10


@pytest.mark.parametrize("kl", [0.0, 0.01])
def test_replicates_of_wide_tables_are_solved_one_by_one(monkeypatch, kl):
    def refuse(hessian, *args):
        raise AssertionError(f"quadratic programs among {hessian.shape[1]} domains")

    table = wide(40, 300)
    solution = solve(table, Region(table.domains, cap=0.005), kl=kl)
    monkeypatch.setattr(simplex, "qp_many", refuse)
    found = solution.bootstrap(replicates=10)
    assert found.gap <= 1e-8
    assert found.error < 0.05
    assert np.all(found.shares <= 0.005 + 1e-12)


def test_many_rows_of_few_patterns_do_not_send_an_active_set_round_for_ever():
    rng = np.random.default_rng(0)
    table = ExpertTable.from_loglik(rng.normal(size=(3, 300))[rng.integers(0, 3, 2000)] - 4.0)
    solved(table, Region(table.domains, cap=4 / 300))


@pytest.mark.parametrize("kl", [0.0, 0.01])
@pytest.mark.parametrize("objective", [None, "worst"])
def test_a_step_under_group_limits_that_is_given_up_sends_a_problem_the_interior_way(monkeypatch, kl, objective):
    given, walks = qp._active_set, []

    def out_of_time(*args, careful=False):
        if not careful:
            return given(*args) if walks else None
        walks.append(args)
        return None

    monkeypatch.setattr(qp, "_active_set", out_of_time)
    table = wide(130, 97, groups=3)
    region = blocks(table, 2, cap=0.04)
    check(table, region, solve(table, region, kl=kl, objective=objective), kl=kl, objective=objective)
    # Under a KL term, tables of this many domains start with the interior point method.
    assert len(walks) == (0 if kl else 1)


@pytest.mark.usefixtures("small_systems")
@pytest.mark.parametrize("kl", [0.0, 0.01])
@pytest.mark.parametrize("objective", [None, "worst"])
def test_repeats_that_wear_out_are_solved_in_two_parts_of_a_share(kl, objective):
    table = wide(12, 200, groups=3)
    rng = np.random.default_rng(5)
    tokens = dict(zip(table.domains, rng.integers(10**6, 10**9, 200).tolist(), strict=True))
    region = Region.from_tokens(tokens, 2 * sum(tokens.values()), max_epochs=1000)
    spread = dict(zip(table.domains, [*np.logspace(-1.0, 2.0, 190).tolist(), *[np.inf] * 10], strict=True))
    for wear in (0.2, 15.4, spread):
        check(
            table,
            region,
            solve(table, region, kl=kl, objective=objective, wear=wear),
            kl=kl,
            objective=objective,
            wear=wear,
        )


def test_wide_predictions_need_no_matrix_among_all_domains():
    rng = np.random.default_rng(6)
    table = ExpertTable.from_predictions(rng.normal(size=(4, 30_000)), rng.normal(size=4) + 3.0)
    tracemalloc.start()
    try:
        found = solve(table)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.status == "optimal"
    assert peak < 2e8


def test_a_walk_among_active_sets_has_a_limit_of_work(monkeypatch):
    monkeypatch.setattr(qp, "MOST_WORK", 0.0)
    k = 3
    # From the lower bounds the walk frees one share at a time, and three must be freed.
    problem = qp._Problem.of(np.eye(k), -np.ones(k), np.ones((1, k)), np.zeros(k + 1), np.full(k + 1, 9.0))
    start = qp._Point(np.zeros(k), np.zeros(1), np.array([-1, -1, -1, 0], dtype=np.int8))
    assert qp._active_set(problem, start, 20, careful=True) is None
    monkeypatch.undo()
    assert qp._active_set(problem, start, 20, careful=True) is not None


@pytest.fixture
def no_dense_rounds(monkeypatch):
    """Refuse the rounds that follow the interior point method and solve systems among all domains."""

    def refuse(*args, **kwargs):
        raise AssertionError("a round among all domains")

    monkeypatch.setattr(minimax, "_descend", refuse)


@pytest.mark.usefixtures("no_dense_rounds")
@pytest.mark.parametrize("cap", [None, 0.005])
def test_the_worst_group_is_solved_to_the_weight_of_its_rows_and_no_further(cap):
    rng = np.random.default_rng([1912, 8])
    loglik = -(10.0 ** rng.uniform(-6, 3, size=(12, 600)))
    table = ExpertTable.from_loglik(loglik, group=np.arange(12) % 3, weight=10.0 ** rng.uniform(-12, 12, size=12))
    region = None if cap is None else Region(table.domains, cap=cap)
    found = solve(table, region, objective="worst")
    assert found.status == "optimal"
    assert not inspect(table, region, found, objective="worst", tol=1e-7 * float(table.row_weight.sum())).failures


@pytest.mark.usefixtures("no_dense_rounds")
def test_rounds_among_thousands_of_domains_are_not_begun_for_the_last_digits():
    table = wide(4, 4700, groups=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixfastWarning)
        found = solve(table, objective="worst", tol=1e-300)
    assert found.status != "optimal"
    assert found.gap < 1e-8


@pytest.mark.parametrize(("seed", "rows", "domains", "cap"), [(31, 200, 400, 0.003), (20, 50, 600, 0.002)])
def test_a_certificate_at_a_large_tolerance(seed, rows, domains, cap):
    """The interior point method may stop before its shares sum to 1; the gap must be that of a mixture."""
    loglik = -np.random.default_rng(seed).gamma(1.0, 2.0, (rows, domains))
    table = ExpertTable.from_loglik(loglik)
    region = Region(table.domains, cap=cap)
    exact, rough = solve(table, region), solve(table, region, tol=0.01)
    w = rough.mixture.weights
    assert region.violation(w) <= 1e-12
    assert rough.value == pytest.approx(reference.ensemble_loss(loglik, table.row_weight, w), abs=1e-12)
    assert exact.value - 1e-9 <= rough.value <= exact.value + rough.gap + 1e-9


def test_weights_far_below_the_tolerance_give_a_mixture():
    loglik = -np.random.default_rng(0).gamma(1.0, 1.0, (1, 120))
    table = ExpertTable.from_loglik(loglik, weight=[1e-9])
    region = Region(table.domains, bounds={table.domains[:60]: (1e-6, 1e-5)})
    assert region.violation(solve(table, region).mixture.weights) <= 1e-9
