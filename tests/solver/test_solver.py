"""solve() and functions built on it: certificates, invariances, published algorithms, limits and their prices."""

import itertools
import warnings
from functools import partial

import makers
import numpy as np
import pytest
from certificate import check, inspect
from hypothesis import given, settings
from hypothesis import strategies as st
from makers import solved

from mixfast import ExpertTable, Mixture, Region, reference, solve
from mixfast._engine.geometry.limits import GroupLimits, Limits
from mixfast._engine.objectives.rows import TableRows
from mixfast._engine.optimise.expectation import settle
from mixfast.errors import (
    AlignmentError,
    BackendError,
    InfeasibleError,
    MixfastError,
    MixfastWarning,
    NotConvergedWarning,
    TableError,
)
from mixfast.solver import bootstrap, holdout, path

pytestmark = pytest.mark.filterwarnings("ignore::mixfast.errors.MixfastWarning")


tokens = partial(makers.tokens, dtype="f4")


def sequences(n=150, k=6, seed=0):
    """Return experts that differ by thousands of nats, with one row's best far ahead of its second best."""
    rng = np.random.default_rng([seed, n, k])
    length = rng.integers(50, 400, size=n)
    loglik = -length[:, None] * (1.6 + rng.exponential(1.0, size=(n, k)))
    loglik[np.arange(n), rng.choice(k, size=n, p=rng.dirichlet(np.ones(k)))] += 0.9 * length
    return loglik, length


def table_of(loglik, **options):
    return ExpertTable.from_loglik(loglik, **options)


# ------------------------------------------------------------------------------------------------- certified answers


REGIONS = {
    "simplex": lambda d: None,
    "caps": lambda d: Region(d, cap=0.3),
    "floors": lambda d: Region(d, floor=0.05),
    "both": lambda d: Region(d, cap=[0.5, 0.2, 0.2, 0.3, 0.3, 0.5], floor={d[5]: 0.1, d[0]: 0.02}),
    "caps that sum to 1": lambda d: Region(d, cap=[0.3, 0.2, 0.2, 0.1, 0.1, 0.1]),
    "fixed": lambda d: Region(d, cap={d[1]: 0.25, d[2]: 0.0}, floor={d[1]: 0.25}),
    "groups": lambda d: Region(d, bounds={"code": (d[:2], 0.1, 0.2), "unsafe": (d[4:], None, 0.01)}),
    "equal group": lambda d: Region(d, cap=0.6, bounds={"half": (d[::2], 0.5, 0.5)}),
    "prior": lambda d: Region(d, prior=[1, 2, 3, 4, 5, 6], cap=0.4),
}


@pytest.mark.parametrize("kl", [0.0, 0.05])
@pytest.mark.parametrize("limits", REGIONS)
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_regions(level, limits, kl):
    if level == "token":
        table = table_of(tokens())
    else:
        loglik, length = sequences()
        table = table_of(loglik, length=length)
    solved(table, REGIONS[limits](table.domains), kl=kl)


@pytest.mark.parametrize("kl", [0.0, 0.05])
@pytest.mark.parametrize("limits", ["simplex", "caps", "groups", "fixed"])
@pytest.mark.parametrize("objective", [None, {"a": 3.0, "c": 1.0}, "worst"])
def test_groups_of_rows(objective, limits, kl):
    table = table_of(tokens(), group=np.random.default_rng(1).integers(0, 3, 400), group_names=["a", "b", "c"])
    solution = solved(table, REGIONS[limits](table.domains), objective=objective, kl=kl)
    losses = reference.group_pass(table, solution.mixture.weights).losses
    np.testing.assert_allclose(list(solution.group_losses.values()), losses, rtol=1e-6)
    assert sum(solution.group_weights.values()) == pytest.approx(1.0)
    if objective == "worst":
        assert solution.loss == pytest.approx(losses.max(), rel=1e-9)


@pytest.mark.parametrize("limits", REGIONS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_squared_error_of_several_outputs(limits, outputs):
    rng = np.random.default_rng(outputs)
    prediction = rng.normal(size=(80, 6, outputs))
    table = ExpertTable.from_predictions(prediction, rng.normal(size=(80, outputs)))
    solved(table, REGIONS[limits](table.domains))
    solved(table, REGIONS[limits](table.domains), kl=0.03)


def test_squared_error_equals_a_qp_solver():
    """A7."""
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(size=(60, 5, 2)), rng.normal(size=(60, 2))
    solution = solved(ExpertTable.from_predictions(prediction, target), tol=1e-12)
    w = cp.Variable(5, nonneg=True)
    rest = prediction.transpose(0, 2, 1).reshape(-1, 5) @ w - target.reshape(-1)
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(rest) / 60), [cp.sum(w) == 1])
    problem.solve(solver="CLARABEL")
    np.testing.assert_allclose(solution.mixture.weights, w.value, atol=1e-6)
    assert solution.value == pytest.approx(problem.value, abs=1e-9)


def test_winner_excluded_by_a_cap_of_zero():
    loglik, length = sequences()
    loglik[:40, 0] = -1.0
    table = table_of(loglik, length=length)
    region = Region(table.domains, cap={table.domains[0]: 0.0})
    solution = solved(table, region)
    assert solution.mixture.weights[0] == 0.0
    alone = solved(table.select(table.domains[1:]))
    np.testing.assert_allclose(solution.mixture.weights[1:], alone.mixture.weights, atol=1e-6)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (1, 5), (3, 9), (50, 1), (2, 120), (300, 130), (30000, 4)])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_odd_sizes(n, k, dtype):
    table = table_of(tokens(n, k, dtype=dtype))
    solved(table)
    solved(table, Region(table.domains, cap=max(0.5, 1.0 / k)))


@pytest.mark.parametrize("kl", [0.0, 0.01])
def test_many_domains(kl):
    table = table_of(tokens(3000, 400))
    solution = solved(table, Region(table.domains, cap=0.02), kl=kl)
    assert np.count_nonzero(solution.mixture.weights) >= 50


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("case", ["near", "far apart", "copies", "impossible", "one ahead", "weights"])
def test_hundreds_of_domains_begin_on_few(case, dtype):
    """All rows certify an answer that began on a sample of them, on few domains, and went on with copies of some columns."""
    rng = np.random.default_rng(5)
    loglik = -rng.gamma(2.0, 100.0 if case == "far apart" else 1.0, size=(5000, 250))
    if case == "copies":
        loglik[:, 100:140] = loglik[:, :40]
    if case == "impossible":
        loglik[rng.random(loglik.shape) < 0.3] = -np.inf
        loglik[:, 0] = -40.0
    if case == "one ahead":
        loglik[:, 17] *= 0.1
    table = table_of(loglik.astype(dtype), weight=rng.random(5000) / 2500 if case == "weights" else None)
    solved(table)
    solved(table, Region(table.domains, cap=0.03))


@pytest.mark.parametrize(
    ("rows", "domains", "scale", "dtype"),
    [
        (3300, 220, 1e4, "f8"),
        (800, 300, 1e3, "f8"),
        (2500, 460, 1e3, "f4"),
        (3000, 400, 100.0, "f4"),
        (900, 1300, 300.0, "f4"),
    ],
)
def test_rows_whose_experts_a_few_domains_leave_out(rows, domains, scale, dtype):
    """Where experts differ by more than the range of exp, nearly each row has one expert, and a start on few domains leaves most rows out."""
    for seed in range(3):
        loglik = -scale * np.random.default_rng(seed).gamma(0.5 + 2.0 * seed, size=(rows, domains))
        table = table_of(loglik.astype(dtype))
        solution = solve(table)
        assert solution.status == "optimal"
        check(table, None, solution, tol=1e-6 if dtype == "f4" else 1e-7)


def test_expectation_maximisation_gives_no_share_to_a_domain_without_one():
    """Otherwise every later sweep, and the Hessian, use all domains."""
    table = table_of(tokens(2000, 150, dtype="f8"))
    w = np.zeros(150)
    w[::3] = 1.0 / 50
    objective = TableRows.of(table, threads=1).weighted(np.ones(1), None)
    assert np.array_equal(settle(objective, Limits(np.zeros(150), np.ones(150)), w) > 0.0, w > 0.0)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e6])
def test_row_weights_of_any_scale(scale):
    rng = np.random.default_rng(3)
    loglik = tokens()
    weight = scale * np.exp(4 * rng.normal(size=400))
    table = table_of(loglik, weight=weight)
    solution = solve(table)
    assert solution.status == "optimal"
    check(table, None, solution, tol=1e-7 * max(1.0, weight.sum()))


@pytest.mark.parametrize("tol", [1e-4, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("n", [300, 40000])
def test_tolerances(n, tol):
    solution = solved(table_of(tokens(n)), tol=tol)
    assert solution.gap <= tol


# -------------------------------------------------------------------------------------------------------- invariances


def test_invariances():
    loglik, rng = tokens(dtype="f8"), np.random.default_rng(0)
    options = {"tol": 1e-13}
    names = tuple(f"d{k}" for k in range(6))
    base = solved(table_of(loglik, domains=names), **options)
    w = base.mixture.weights

    def same(solution, value=base.value, atol=1e-6):
        np.testing.assert_allclose([solution.mixture[name] for name in names], w, atol=atol)
        assert solution.value == pytest.approx(value, rel=1e-11)

    shift = rng.uniform(-300, 0, size=400)
    same(solved(table_of(loglik + shift[:, None], domains=names), **options), base.value - shift.mean())

    twice = np.repeat(loglik, 2, axis=0)
    split = np.column_stack([np.full(400, 0.3), np.full(400, 0.7)]).reshape(-1) / 400
    same(solved(table_of(twice, weight=split, domains=names), **options))

    order, columns = rng.permutation(400), rng.permutation(6)
    same(solved(table_of(loglik[order][:, columns], domains=[names[k] for k in columns]), **options))

    again = solved(table_of(np.column_stack([loglik, loglik[:, 2]]), domains=[*names, "copy"]), **options)
    assert again.value == pytest.approx(base.value, rel=1e-11)
    assert again.mixture["d2"] + again.mixture["copy"] == pytest.approx(w[2], abs=1e-6)

    worse = solved(table_of(np.column_stack([loglik, loglik[:, 2] - 1.0]), domains=[*names, "worse"]), **options)
    same(worse)
    assert worse.mixture["worse"] == pytest.approx(0.0, abs=1e-9)

    weight = np.full(400, 1.0 / 400)
    heavy = solve(table_of(loglik, weight=weight * 2.0**-10, domains=names), tol=1e-13 * 2.0**-10)
    same(heavy, base.value * 2.0**-10)

    region = Region(names[::-1])
    same(solved(table_of(loglik, domains=names), region, **options))


@pytest.mark.parametrize("limits", [name for name in REGIONS if name != "fixed"])
@pytest.mark.parametrize("kl", [0.0, 0.05])
def test_cpu_equals_reference(limits, kl):
    table = table_of(tokens(dtype="f8"))
    region = REGIONS[limits](table.domains)
    fast, slow = (solve(table, region, kl=kl, backend=name, tol=1e-12) for name in ("cpu", "reference"))
    np.testing.assert_allclose(fast.mixture.weights, slow.mixture.weights, atol=1e-6)
    assert fast.value == pytest.approx(slow.value, rel=1e-12)


def test_any_number_of_threads_gives_the_same_bits():
    table = table_of(tokens(60000, 12))
    answers = [solve(table, threads=threads).mixture.weights for threads in (1, 2, 3, 5)]
    assert all(np.array_equal(answers[0], other) for other in answers[1:])


# ------------------------------------------------------------------------------------------------- published algorithms


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_eg_paper_is_the_loop_of_the_code(level):
    """A6: exactly 100 steps from uniform."""
    if level == "token":
        loglik, length = tokens(), None
    else:
        loglik, length = sequences()
    table = table_of(loglik, length=length)
    solution = solve(table, method="eg-paper")
    np.testing.assert_allclose(solution.mixture.weights, reference.eg_paper(loglik, length), rtol=0, atol=1e-12)
    assert len(solution.trace) == 100
    assert solution.trace[0].value == pytest.approx(
        reference.ensemble_loss(loglik, table.row_weight, np.full(6, 1 / 6))
    )


def test_ours_is_no_worse_than_5000_steps_of_em():
    """A5: our loss is no worse than after 5000 steps of EM."""
    for loglik, length in [(tokens(300, dtype="f8"), None), sequences(80)]:
        table = table_of(loglik, length=length)
        solution = solved(table)
        em = reference.em(loglik, table.row_weight, steps=5000)
        assert solution.value <= reference.ensemble_loss(loglik, table.row_weight, em) + 1e-12
        slope = reference.gradient(loglik, table.row_weight, solution.mixture.weights)
        used = solution.mixture.weights > 0
        assert solution.mixture.weights[used] @ slope[used] == pytest.approx(-table.row_weight.sum(), rel=1e-12)


def test_mde_values():
    """A8: losses of candidates are log-means; sequence level is token level under posterior shares."""
    rng = np.random.default_rng(4)
    prob = rng.dirichlet(np.ones(7), size=(30, 20)).transpose(1, 0, 2)[:, :, :3]  # 20 tokens of 30 sequences, 3 experts
    token = np.log(prob)
    table = table_of(token.transpose(1, 0, 2).reshape(-1, 3))
    mixtures = rng.dirichlet(np.ones(3), size=5)
    objective = solve(table)._problem.objective
    brute = [-np.mean(np.log(np.exp(table.loglik) @ w)) for w in mixtures]
    np.testing.assert_allclose(objective.losses(mixtures), brute, rtol=1e-12)
    whole = table_of(token.sum(axis=0))
    for w in mixtures:
        before = np.vstack([np.zeros((1, 30, 3)), np.cumsum(token, axis=0)[:-1]])
        posterior = w * np.exp(before)
        posterior /= posterior.sum(axis=2, keepdims=True)
        by_token = -np.log((posterior * prob).sum(axis=2)).sum(axis=0).mean()
        assert solve(whole)._problem.objective.losses(w[None])[0] == pytest.approx(by_token, rel=1e-12)


# --------------------------------------------------------------------------------------- prices, ranges, epochs, starts


@pytest.mark.parametrize("kl", [0.0, 0.02])
def test_shadow_prices_are_what_relaxing_saves(kl):
    table = table_of(tokens(dtype="f8"))
    names = table.domains
    free = solve(table).mixture.weights
    order = np.argsort(-free)
    tight = {names[k]: 0.7 * free[k] for k in order[:2]}
    pair = [names[k] for k in order[2:4]]
    region = Region(names, cap=tight, bounds={"pair": (pair, None, 0.6 * free[order[2:4]].sum())})
    solution = solved(table, region, kl=kl, tol=1e-12)
    step = 1e-4
    for name in tight:
        relaxed = solve(table, region.replace(cap={**tight, name: tight[name] + step}), kl=kl, tol=1e-12)
        price = solution.multipliers.cap[names.index(name)]
        assert (solution.value - relaxed.value) / step == pytest.approx(price, rel=2e-2, abs=1e-7)
    bound = region.bounds[0]
    wider = region.replace(bounds={"pair": (bound.domains, None, bound.upper + step)})
    relaxed = solve(table, wider, kl=kl, tol=1e-12)
    price = solution.multipliers.bound_upper[0]
    assert (solution.value - relaxed.value) / step == pytest.approx(price, rel=2e-2, abs=1e-7)
    told = {price.name for price in solution.shadow_prices}
    assert set(tight) <= told
    assert all(np.isfinite(price.price) and price.name in price.text for price in solution.shadow_prices)


def test_an_excluded_domain_has_a_price():
    table = table_of(tokens(dtype="f8"))
    best = int(np.argmax(solve(table).mixture.weights))
    name = table.domains[best]
    region = Region(table.domains, cap={name: 0.0})
    solution = solved(table, region, tol=1e-12)
    relaxed = solve(table, region.replace(cap={name: 1e-5}), tol=1e-12)
    price = solution.multipliers.cap[best]
    assert price > 1e-3
    assert (solution.value - relaxed.value) / 1e-5 == pytest.approx(price, rel=1e-2)
    assert solution.shadow_prices[0].name == name


def test_ranges_are_attained_and_nearly_all_there_is():
    table = table_of(tokens(n=200, k=3, dtype="f8"))
    for region in (None, Region(table.domains, cap=0.6)):
        solution = solved(table, region)
        eps = 1e-3
        found = solution.ranges(eps)
        steps = np.linspace(0.0, 1.0, 401)
        a, b = np.meshgrid(steps, steps)
        grid = np.column_stack([a.ravel(), b.ravel(), 1 - a.ravel() - b.ravel()])
        grid = grid[grid[:, 2] >= 0]
        if region is not None:
            grid = grid[(grid <= region.cap).all(axis=1)]
        prob = np.exp(table.loglik.astype(np.float64))
        inside = grid[-np.log(grid @ prob.T).mean(axis=1) <= solution.value + eps]
        for k, name in enumerate(table.domains):
            low, high = found[name]
            assert low <= solution.mixture.weights[k] <= high
            # On the grid, and not much wider than the grid shows.
            assert low <= inside[:, k].min() + 0.02
            assert high >= inside[:, k].max() - 0.02
            assert low >= inside[:, k].min() - 0.005
            assert high <= inside[:, k].max() + 0.005


@pytest.mark.parametrize("eps", [1e-4, 1e-2])
@pytest.mark.parametrize("kl", [0.0, 0.02])
def test_ends_of_ranges_against_bisection_with_cvxpy(eps, kl):
    cp = pytest.importorskip("cvxpy")
    table = table_of(tokens(n=60, k=4, dtype="f8"))
    region = Region(table.domains, cap=0.7)
    solution = solved(table, region, kl=kl)
    found = solution.ranges(eps)
    prob = np.exp(table.loglik.astype(np.float64))
    w = cp.Variable(4, nonneg=True)
    loss = -cp.sum(cp.log(prob @ w)) / 60 + kl * cp.sum(cp.rel_entr(w, region.prior))
    limits = [cp.sum(w) == 1, w <= 0.7, loss <= solution.value + eps]
    for k, name in enumerate(table.domains):
        low = cp.Problem(cp.Minimize(w[k]), limits).solve(solver="CLARABEL")
        high = cp.Problem(cp.Maximize(w[k]), limits).solve(solver="CLARABEL")
        assert found[name][0] >= low - 1e-5
        assert found[name][1] <= high + 1e-5
        assert found[name][0] <= low + 2e-4
        assert found[name][1] >= high - 2e-4


@pytest.mark.parametrize("eps", [1e-3, 0.1])
@pytest.mark.parametrize("kl", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("seed", [0, 1])
def test_ends_of_wide_ranges_where_the_curvature_changes_along_the_way(seed, kl, eps):
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    prob = rng.dirichlet(np.full(6, 0.5), size=(60, 5))[:, :, 0] + 1e-4
    table = table_of(np.log(prob), domains=list("abcde"))
    bounds = {"pair": (["a", "b"], None, 0.5)} if seed else {}
    solution = solved(table, Region(table.domains, cap=0.6, bounds=bounds), kl=kl)
    w = cp.Variable(5, nonneg=True)
    loss = -cp.sum(cp.log(prob @ w)) / 60 + kl * cp.sum(cp.rel_entr(w, solution.region.prior))
    limits = [cp.sum(w) == 1, w <= 0.6, loss <= solution.value + eps, *([w[0] + w[1] <= 0.5] if seed else [])]
    for k, name in enumerate("abcd"):
        low, high = solution.ranges(eps, [name])[name]
        for make, end, sign in ((cp.Minimize, low, 1.0), (cp.Maximize, high, -1.0)):
            problem = cp.Problem(make(w[k]), limits)
            exact = problem.solve(solver="CLARABEL")
            if problem.status == "optimal":
                assert -1e-5 <= sign * (end - exact) <= 1e-3


def test_ranges_of_copies_trade_places():
    loglik = tokens(dtype="f8")
    table = table_of(np.column_stack([loglik, loglik[:, 0]]), domains=[*"abcdef", "copy"])
    solution = solved(table)
    low, high = solution.ranges(1e-6)["a"]
    both = solution.mixture["a"] + solution.mixture["copy"]
    assert low <= 0.05 * both
    assert high >= 0.95 * both


def test_epochs_and_unconstrained():
    table = table_of(tokens(), domains=list("abcdef"))
    available = {name: 10**6 * (k + 1) for k, name in enumerate("abcdef")}
    region = Region.from_tokens(available, 10**7)
    solution = solved(table, region)
    for name, epochs in solution.epochs.items():
        assert epochs == pytest.approx(solution.mixture[name] * 10**7 / available[name])
        assert epochs <= 4 + 1e-9
    assert solution.unconstrained.value <= solution.value + 1e-9
    assert solution.unconstrained.value == pytest.approx(solved(table).value, abs=1e-8)
    assert solve(table).epochs is None


@pytest.mark.parametrize("start", [[1, 0, 0, 0, 0, 0], [1 / 6] * 6, [3, 1, 0, 0, 0, 2]])
@pytest.mark.parametrize("kl", [0.0, 0.1])
@pytest.mark.parametrize("level", ["token", "sequence", "zeros"])
def test_any_start_leads_to_the_answer(start, kl, level):
    if level == "sequence":
        loglik, length = sequences()
        table = table_of(loglik, length=length)
    else:
        loglik = tokens()
        if level == "zeros":
            loglik[::3, 0] = -np.inf
        table = table_of(loglik)
    plain = solve(table, kl=kl)
    other = solved(table, kl=kl, start=np.array(start, dtype=float))
    assert other.value == pytest.approx(plain.value, abs=2e-8)
    region = Region(table.domains, cap=0.4)
    solved(table, region, kl=kl, start=np.array(start, dtype=float))


@pytest.mark.parametrize("max_iter", [0, 1, 2])
def test_stopped_early_it_says_so_and_its_gap_is_true(max_iter):
    table = table_of(tokens(2000, 30))
    with pytest.warns(NotConvergedWarning, match="user_limit"):
        solution = solve(table, max_iter=max_iter)
    assert solution.status == "user_limit"
    assert not inspect(table, None, solution, multipliers=False).failures
    assert solution.value - solution.gap <= solve(table).value <= solution.value


# --------------------------------------------------------------------------------------------- path, bootstrap, holdout


def test_path_is_a_sequence_of_solves():
    table = table_of(tokens(dtype="f8"))
    region = Region(table.domains, prior=[1, 2, 3, 4, 5, 6])
    for weight, solution in zip([1.0, 0.1, 0.01, 0.0], path(table, region, kl=[1.0, 0.1, 0.01, 0.0]), strict=True):
        check(table, region, solution, kl=weight)
        assert solution.value == pytest.approx(solve(table, region, kl=weight).value, abs=1e-8)
    for cap, solution in zip([0.2, 0.5, 1.0], path(table, cap=[0.2, 0.5, 1.0]), strict=True):
        check(table, Region(table.domains, cap=cap), solution)
    with pytest.raises(ValueError, match="exactly one"):
        path(table)


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(0)
    truth = np.array([0.5, 0.3, 0.2])
    experts = rng.dirichlet(np.ones(30), size=3)
    inside = total = 0
    for seed in range(60):
        draws = np.random.default_rng(seed)
        words = np.array([draws.choice(30, p=experts[k]) for k in draws.choice(3, size=500, p=truth)])
        table = table_of(np.log(experts[:, words].T), domains=list("abc"))
        intervals = bootstrap(table, replicates=100, level=0.9, seed=seed).intervals
        for name, share in zip("abc", truth, strict=True):
            inside += intervals[name][0] <= share <= intervals[name][1]
            total += 1
    assert 0.8 <= inside / total <= 0.98


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_held_out_loss_on_the_real_tables(level, shared_data):
    """Our held-out loss is no worse than the paper's 100 steps, beyond sampling error."""
    worst = -np.inf
    for file in sorted((shared_data / "tables" / level).glob("target_*.npz")):
        report = holdout(ExpertTable.load(file), share=0.25, seed=0)
        assert report.solution.status == "optimal"
        assert report["mixfast"].fit_loss <= min(row.fit_loss for row in report.rows) + 1e-6
        worst = max(worst, report["mixfast"].held_out_loss - report["eg-paper"].held_out_loss)
        assert report["mixfast"].held_out_loss <= report["uniform"].held_out_loss
        assert str(report).count("\n") == len(report.rows)
    assert worst <= 2e-3


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_real_tables_are_certified(level, shared_data):
    for file in sorted((shared_data / "tables" / level).glob("*_f*.npz")):
        table = ExpertTable.load(file)
        solved(table)
        solved(table, Region(table.domains, cap=0.2), kl=0.01)


# ------------------------------------------------------------------------------------------------------------ bad input


def test_rows_that_no_usable_domain_explains():
    table = table_of(np.array([[-1.0, -np.inf], [-np.inf, -1.0], [-1.0, -1.0]]), domains=["a", "b"])
    for options in ({}, {"objective": "worst"}):
        with pytest.raises(InfeasibleError, match=r"1 rows have probability 0 .* rows 1;"):
            solve(table, Region(["a", "b"], cap={"b": 0.0}), **options)


def test_a_prior_of_zero_and_kl():
    table = table_of(tokens(k=3), domains=["a", "b", "c"])
    with pytest.raises(InfeasibleError, match="floor"):
        solve(table, Region(["a", "b", "c"], prior=[1, 1, 0], floor={"c": 0.1}), kl=0.1)
    with pytest.raises(InfeasibleError, match="without c the region is empty"):
        solve(table, Region(["a", "b", "c"], prior=[1, 1, 0], cap={"a": 0.4, "b": 0.4}), kl=0.1)
    region = Region(["a", "b", "c"], prior=[1, 1, 0])
    assert solved(table, region, kl=0.1).mixture["c"] == 0.0


def test_names_that_differ_are_shown():
    table = table_of(tokens(k=2), domains=["web", "code"])
    with pytest.raises(AlignmentError, match=r"(?s)books.*code|code.*books"):
        solve(table, Region(["web", "books"]))
    with pytest.raises(AlignmentError):
        solve(table, start={"web": 1.0})
    with pytest.raises(AlignmentError):
        solve(table).ranges(1e-3, ["books"])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"kl": -1.0}, ValueError),
        ({"kl": float("nan")}, ValueError),
        ({"tol": 0.0}, ValueError),
        ({"tol": float("inf")}, ValueError),
        ({"max_iter": -1}, ValueError),
        ({"method": "magic"}, ValueError),
        ({"backend": "tpu"}, ValueError),
        ({"backend": "cuda"}, BackendError),
        ({"objective": "best"}, ValueError),
        ({"objective": {"nobody": 1.0}}, TableError),
        ({"objective": {"all": 0.0}}, ValueError),
        ({"objective": {"all": float("nan")}}, ValueError),
        ({"start": [1.0]}, ValueError),
        ({"start": [float("nan")] * 6}, ValueError),
        ({"start": [-1.0, 2.0, 0, 0, 0, 0]}, ValueError),
        ({"threads": 0}, ValueError),
        ({"threads": -3}, ValueError),
        ({"method": "eg-paper", "kl": 0.1}, ValueError),
    ],
)
def test_options_out_of_range_are_refused(options, error):
    with pytest.raises(error):
        solve(table_of(tokens()), **options)


def test_a_bare_array_is_refused_with_a_hint():
    with pytest.raises(TypeError, match="from_loglik"):
        solve(tokens())


@settings(max_examples=60)
@given(data=st.data())
def test_solve_answers_or_refuses(data):
    """Any table and region: a certified answer or an error of this package."""
    k = data.draw(st.integers(1, 5))
    n = data.draw(st.integers(1, 6))
    numbers = st.one_of(st.floats(-50, 0), st.just(float("-inf")), st.just(float("nan")), st.just(float("inf")))
    loglik = np.array(data.draw(st.lists(st.lists(numbers, min_size=k, max_size=k), min_size=n, max_size=n)))
    names = data.draw(st.lists(st.sampled_from("abcdefg"), min_size=k, max_size=k))
    shares = st.one_of(st.floats(-0.5, 1.5), st.just(float("nan")))
    cap = data.draw(st.one_of(st.none(), shares, st.lists(shares, min_size=k, max_size=k)))
    floor = data.draw(st.one_of(st.none(), shares))
    prior = data.draw(st.one_of(st.none(), st.lists(shares, min_size=k, max_size=k)))
    kl = data.draw(st.sampled_from([0.0, 0.1]))
    others = data.draw(st.one_of(st.just(names), st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=5)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MixfastWarning)
            table = ExpertTable.from_loglik(loglik, domains=names)
            region = Region(others, cap=cap, floor=floor, prior=prior)
            solution = solve(table, region, kl=kl)
    except MixfastError:
        return
    check(table, region, solution, kl=kl)


@settings(max_examples=30)
@given(scale=st.floats(1e-3, 30), seed=st.integers(0, 1000), kl=st.sampled_from([0.0, 1e-3, 1.0]))
def test_a_mixture_is_never_beaten_by_its_neighbours(scale, seed, kl):
    rng = np.random.default_rng(seed)
    table = table_of(-scale * rng.exponential(size=(12, 4)))
    solution = solve(table, kl=kl)
    for _ in range(20):
        other = 0.9 * solution.mixture.weights + 0.1 * rng.dirichlet(np.ones(4))
        value = reference.total_value(table, other, prior=np.full(4, 0.25), kl=kl)
        assert solution.value - solution.gap - 1e-9 <= value
        assert solution.value <= value + 1e-8


def test_mixture_as_start():
    table = table_of(tokens())
    first = solve(table)
    assert isinstance(first.mixture, Mixture)
    again = solved(table, start=dict(first.mixture.as_dict()))
    assert len(again.trace) <= len(first.trace)


def test_gap_of_a_point_beyond_a_group_limit():
    """A point that violates its limit by 1e-13 at a slope of 1e13: its gain must not hide the deficit of other shares."""
    groups = GroupLimits(np.array([[1.0, 0.0, 0.0]]), np.array([-np.inf]), np.array([0.25]))
    limits = Limits(np.zeros(3), np.ones(3), groups)
    w = np.array([0.25 + 1e-13, 0.5 - 1e-13, 0.25])
    assert limits.gap(np.array([-1e13, -1.0, 0.0]), w) == pytest.approx(0.25, abs=0.01)


def test_a_region_that_is_none_is_named():
    with pytest.raises(TypeError, match="region is dict, expected a Region"):
        solve(table_of(tokens(50, 3)), {"a": 0.2})


def test_one_more_epoch_is_worth_no_more_than_its_price():
    table = table_of(tokens(300, 3, seed=2), domains=["a", "b", "c"])
    scarce = max(solve(table).mixture.items(), key=lambda item: item[1])[0]
    counts = dict.fromkeys(table.domains, 200) | {scarce: 20}
    found = [solve(table, Region.from_tokens(counts, 200, max_epochs={scarce: epochs})) for epochs in (1, 2, 3)]
    for one, more in itertools.pairwise(found):
        price = next(price for price in one.shadow_prices if (price.name, price.limit) == (scarce, "cap"))
        assert 0.0 < one.value - more.value <= price.price * 20 / 200 + 1e-8
        assert "at most" in price.text


def test_a_table_is_packed_once_for_all_that_is_asked_of_its_solution(monkeypatch):
    from mixfast._engine.objectives import rows

    made = []

    class Counted(rows.CrossEntropy):
        def __init__(self, *args, **kwargs):
            made.append(kwargs.get("usable"))
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(rows, "CrossEntropy", Counted)
    table = ExpertTable.from_loglik(np.log(np.random.default_rng(0).dirichlet(np.ones(5), 400)))
    found = solve(table, Region(table.domains, cap=0.4))
    unlimited = found.unconstrained
    found.ranges()
    found.bootstrap(replicates=10)
    assert found.losses(unlimited.mixture)[0] == pytest.approx(unlimited.loss, rel=1e-12)
    assert len(made) == 1
    assert (found.table, found.region.cap.max(), found.kl) == (table, 0.4, 0.0)
