"""Proposals: exact ones against a conic solver and their own certificate, searched ones against known optima."""

import csv
import itertools
import json
import warnings

import numpy as np
import pytest

from mixfast import Region
from mixfast._engine.backend import laws
from mixfast._engine.objectives.exponentials import Exponentials
from mixfast._engine.objectives.kl import Kl, Regularised
from mixfast._engine.optimise.dual import solve_exact
from mixfast.errors import AlignmentError, InfeasibleError, RegionError
from mixfast.laws import MetricReport
from mixfast.proposers import advise_kl, bootstrap, path, propose
from mixfast.region import reach


class LogLinear:
    name = "log_linear"

    def __init__(self, gamma, a):
        self.gamma, self.a = np.asarray(gamma, dtype=float), np.asarray(a, dtype=float)

    def predict(self, x):
        return np.exp(self.gamma) + np.exp(x @ self.a.T)

    def slopes(self, x):
        e = np.exp(x @ self.a.T)
        return np.exp(self.gamma) + e, e[:, :, None] * self.a


class Linear:
    name = "linear"

    def __init__(self, intercept, slope):
        self.intercept, self.slope = np.asarray(intercept, dtype=float), np.asarray(slope, dtype=float)

    def predict(self, x):
        return self.intercept + x @ self.slope.T

    def slopes(self, x):
        return self.predict(x), np.broadcast_to(self.slope, (len(x), *self.slope.shape))


class Bowl:
    """A law that is not convex: the log of 0.01 plus the squared distance to a centre, one centre for each metric."""

    name = "bowl"

    def __init__(self, centres):
        self.centres = np.asarray(centres, dtype=float)

    def predict(self, x):
        return np.log(0.01 + ((x[:, None, :] - self.centres) ** 2).sum(axis=2))

    def slopes(self, x):
        apart = x[:, None, :] - self.centres
        return self.predict(x), 2.0 * apart / (0.01 + (apart**2).sum(axis=2))[:, :, None]


class Fitted:
    """The part of the result of `fit` that proposals use."""

    def __init__(self, law, metrics, domains, *, sd=None, direction=None, smooth=True):
        self.law, self.metrics, self.domains = law, tuple(metrics), tuple(domains)
        self.direction = direction
        if smooth:
            self.slopes = law.slopes
        if sd is not None:
            self.sd = lambda x: np.full((len(x), len(self.metrics)), 0.0) + sd(x)

    def predict(self, x):
        return self.law.predict(np.asarray(x))

    def law_of(self, metric):
        return self.law, self.metrics.index(metric)


def names(k, letter="d"):
    return [f"{letter}{i}" for i in range(k)]


def random_law(metrics, domains, seed=0, **options):
    rng = np.random.default_rng(seed)
    law = LogLinear(rng.normal(-1.0, 0.3, metrics), rng.normal(-0.5, 1.0, (metrics, domains)))
    return Fitted(law, names(metrics, "m"), names(domains), **options)


def random_prior(domains, seed=0):
    return np.random.default_rng(seed + 100).dirichlet(np.ones(domains))


def value_of(law, w, weight, kl, prior):
    has = w > 0.0
    return float(law.predict(w[None, :])[0] @ weight) + kl * float(w[has] @ np.log(w[has] / prior[has]))


def conic(law, region, weight, kl, extra=lambda x: []):
    """Solve the same problem as an exponential cone program by Clarabel; return shares and value."""
    cp = pytest.importorskip("cvxpy")
    x = cp.Variable(region.n_domains)
    loss = weight @ cp.exp(law.law.a @ x) + float(weight @ np.exp(law.law.gamma))
    if kl:
        loss = loss + kl * cp.sum(cp.rel_entr(x, region.prior))
    limits = [x >= region.floor, x <= region.cap, cp.sum(x) == 1]
    if region.bounds:
        finite_low, finite_high = np.isfinite(region.bound_lower), np.isfinite(region.bound_upper)
        limits += [region.bound_rows[finite_low] @ x >= region.bound_lower[finite_low]] if finite_low.any() else []
        limits += [region.bound_rows[finite_high] @ x <= region.bound_upper[finite_high]] if finite_high.any() else []
    problem = cp.Problem(cp.Minimize(loss), limits + extra(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem.solve(solver="CLARABEL", tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-10)
    assert problem.status == "optimal"
    return x.value, problem.value


def check_certificate(proposal, law, region, weight, kl):
    """Check stationarity, signs and complementary slackness from the numbers alone."""
    w = proposal.mixture.weights
    assert region.violation(w) < 1e-12
    gradient = np.einsum("jk,j->k", law.slopes(w[None, :])[1][0], weight)
    if kl:
        gradient = gradient + kl * (np.log(w / region.prior) + 1.0)
    assert gradient @ w - region.lower_bound(gradient) <= 1e-8
    prices = proposal.multipliers
    level = gradient + prices.cap - prices.floor
    if region.bounds:
        level = level + region.bound_rows.T @ (prices.bound_upper - prices.bound_lower)
    live = (region.cap > 0.0) & np.isfinite(gradient)
    assert np.ptp(level[live]) < 1e-4
    assert prices.cap @ (region.cap - w) < 1e-7
    assert min(prices.cap.min(), prices.floor.min()) >= 0.0


# Exact proposals.


@pytest.mark.parametrize(("metrics", "domains"), [(20, 12), (52, 24), (3, 40)])
@pytest.mark.parametrize("kl", [0.0, 0.05])
def test_exact_equals_the_conic_solver_under_caps(metrics, domains, kl):
    law = random_law(metrics, domains)
    prior = random_prior(domains)
    region = Region(law.domains, prior=prior, cap=np.minimum(1.5 * prior + 0.5 / domains, 1.0))
    weight = np.full(metrics, 1.0 / metrics)
    proposal = propose(law, region, kl=kl)
    shares, value = conic(law, region, weight, kl)
    assert proposal.status == "optimal"
    assert proposal.gap <= 1e-9
    assert proposal.value == pytest.approx(value_of(law, proposal.mixture.weights, weight, kl, prior), abs=1e-12)
    assert abs(proposal.value - value) < 1e-8
    if kl:
        np.testing.assert_allclose(proposal.mixture.weights, shares, atol=1e-6)
    at_cap = (region.cap - proposal.mixture.weights) < 1e-9
    assert at_cap.sum() >= 2
    check_certificate(proposal, law, region, weight, kl)


@pytest.mark.parametrize("kl", [0.0, 0.02])
def test_exact_equals_the_conic_solver_under_floors_and_group_limits(kl):
    law = random_law(15, 10, seed=3)
    prior = random_prior(10, seed=3)
    region = Region(
        law.domains, prior=prior, floor=0.02, cap=0.4, bounds={("d0", "d1", "d2"): (0.3, 0.5), ("d7",): (None, 0.05)}
    )
    weights = {name: float(i + 1) for i, name in enumerate(reversed(law.metrics))}
    weight = np.array([weights[name] for name in law.metrics])
    weight /= weight.sum()
    proposal = propose(law, region, kl=kl, objective=weights)
    _, value = conic(law, region, weight, kl)
    assert proposal.status == "optimal"
    assert abs(proposal.value - value) < 1e-8
    check_certificate(proposal, law, region, weight, kl)


@pytest.mark.parametrize("kl", [1e-3, 1e-2, 1.0, 100.0])
@pytest.mark.parametrize("limits", [{}, {"cap": 0.15}, {"floor": 0.03}, {"cap": 0.12, "floor": 0.05}, {"cap": 0.1}])
def test_exact_is_certified_for_any_pull_and_limits(kl, limits):
    law = random_law(30, 10, seed=5)
    region = Region(law.domains, prior=random_prior(10, 5), **limits)
    proposal = propose(law, region, kl=kl)
    assert proposal.status == "optimal"
    check_certificate(proposal, law, region, np.full(30, 1 / 30), kl)


def test_the_two_ways_of_the_exact_solve_agree():
    law = random_law(40, 30, seed=7)
    region = Region(law.domains, prior=random_prior(30, 7), cap=0.2)
    # A group limit that is never active still selects the general loop.
    loose = region.replace(bounds={"all": (list(law.domains), None, 2.0)})
    direct, shared = propose(law, region, kl=0.03), propose(law, loose, kl=0.03)
    assert shared.status == direct.status == "optimal"
    np.testing.assert_allclose(direct.mixture.weights, shared.mixture.weights, atol=1e-6)
    assert direct.value == pytest.approx(shared.value, abs=2e-9)


def test_exact_over_a_thousand_domains():
    law = random_law(52, 1024, seed=11)
    prior = random_prior(1024, 11)
    region = Region(law.domains, prior=prior, cap=np.minimum(2 * prior + 1e-4, 1.0))
    for kl in (0.0, 0.05):
        proposal = propose(law, region, kl=kl)
        assert proposal.status == "optimal"
        assert proposal.gap <= 1e-9
        assert region.violation(proposal.mixture.weights) < 1e-12


def test_an_enormous_pull_gives_the_prior_and_none_the_best_domain():
    law = Fitted(LogLinear([-3.0], [[0.0, -1.0, 0.5]]), ["m"], names(3))
    region = Region(law.domains, prior=[0.5, 0.2, 0.3])
    np.testing.assert_allclose(propose(law, region, kl=1e6).mixture.weights, region.prior, atol=1e-6)
    assert propose(law, region).mixture.as_dict() == {"d0": 0.0, "d1": 1.0, "d2": 0.0}


def test_exact_with_closed_form():
    # Two domains and one metric: stationarity is one equation, kl * log(w1 q2 / (w2 q1)) = -(a1 - a2) exp(a.w).
    law = Fitted(LogLinear([0.0], [[-1.0, 0.4]]), ["m"], names(2))
    region = Region(law.domains, prior=[0.3, 0.7])
    w = propose(law, region, kl=0.5, tol=1e-14).mixture.weights
    left = 0.5 * np.log(w[0] * 0.7 / (w[1] * 0.3))
    assert left == pytest.approx(1.4 * np.exp(-w[0] + 0.4 * w[1]), abs=1e-9)


def test_domains_of_prior_zero_stay_out_under_kl_and_may_come_in_without():
    law = Fitted(LogLinear([0.0], [[-2.0, 0.0, 0.1]]), ["m"], names(3))
    region = Region(law.domains, prior=[0.0, 0.5, 0.5])
    with_kl = propose(law, region, kl=0.1)
    assert with_kl.mixture["d0"] == 0.0
    assert with_kl.status == "optimal"
    assert with_kl.summary()
    assert propose(law, region).mixture["d0"] == 1.0
    with pytest.raises(InfeasibleError, match="d0"):
        propose(law, region.replace(floor={"d0": 0.1}), kl=0.1)


def test_closed_domains_have_no_share_and_prices_say_what_they_cost():
    law = random_law(8, 6, seed=2)
    region = Region(law.domains, prior=random_prior(6), cap={"d1": 0.0, "d2": 0.1})
    for kl in (0.0, 0.05):
        proposal = propose(law, region, kl=kl)
        assert proposal.mixture["d1"] == 0.0
        assert proposal.status == "optimal"


def test_shadow_prices_are_what_raising_a_cap_saves():
    law = random_law(20, 8, seed=4)
    prior = random_prior(8, 4)
    region = Region(law.domains, prior=prior, cap=1.2 * prior + 0.02)
    proposal = propose(law, region, kl=0.02, tol=1e-13)
    price = next(p for p in proposal.shadow_prices if p.limit == "cap")
    step = 1e-6
    cap = region.cap.copy()
    cap[region.domains.index(price.name)] += step
    raised = propose(law, region.replace(cap=cap), kl=0.02, tol=1e-13)
    assert (proposal.value - raised.value) / step == pytest.approx(price.price, rel=1e-3)


def test_positions_of_domains_do_not_matter():
    law = random_law(6, 7, seed=1)
    prior = dict(zip(law.domains, random_prior(7, 1), strict=True))
    backwards = Region(law.domains[::-1], prior=prior, cap={"d3": 0.1})
    forwards = Region(law.domains, prior=prior, cap={"d3": 0.1})
    assert propose(law, backwards, kl=0.1).mixture == propose(law, forwards, kl=0.1).mixture


def test_linear_laws_are_exact_and_mix_with_log_linear_ones():
    rng = np.random.default_rng(0)
    linear = Linear(rng.normal(size=3), rng.normal(size=(3, 5)))
    law = Fitted(linear, names(3, "m"), names(5))
    region = Region(law.domains, prior=1, cap=0.4)
    cost = linear.slope.mean(axis=0)
    proposal = propose(law, region)
    assert proposal.status == "optimal"
    assert proposal.value == pytest.approx(linear.intercept.mean() + region.lower_bound(cost), abs=1e-9)
    with_kl = propose(law, region, kl=0.3)
    check_certificate(with_kl, law, region, np.full(3, 1 / 3), 0.3)

    curved = random_law(3, 5)
    both = Fitted(linear, ["m0", "m1", "m2", "c0", "c1", "c2"], names(5))
    both.law_of = lambda name: (linear if name[0] == "m" else curved.law, int(name[1]))
    both.predict = lambda x: np.hstack([linear.predict(x), curved.law.predict(x)])
    both.slopes = lambda x: (both.predict(x), np.concatenate([linear.slopes(x)[1], curved.law.slopes(x)[1]], axis=1))
    check_certificate(propose(both, region, kl=0.05), both, region, np.full(6, 1 / 6), 0.05)


def test_shares_solve_their_one_equation_under_all_limits():
    rng = np.random.default_rng(0)
    for trial in range(1000):
        k = int(rng.integers(1, 30))
        point = rng.dirichlet(np.ones(k))
        low, high = point * rng.uniform(0, 1, k) * (trial % 2), np.minimum(point * rng.uniform(1, 3, k), 1.0)
        # The exponentials of steep laws span far more than the exponents of float64.
        t = -rng.exponential(rng.choice([1.0, 30.0, 3000.0]), k)
        level = float(rng.choice([-20.0, 0.0, 500.0, np.inf]))
        # Without metrics, the dual is this equation.
        none, w, log = np.zeros(0), np.zeros(k), np.zeros(k)
        found = laws.ascend(
            np.zeros((0, k)), none, np.zeros(k), t, low, high, 1.0, none.copy(), level, w, log, 0, 0, 0, 0.1, 0.0, 0.0
        )
        assert found is not None
        level, free = found[1], (w > low) & (w < high)
        np.testing.assert_array_equal(log, t + level)
        assert abs(w.sum() - 1.0) < 1e-12
        np.testing.assert_allclose(w, np.clip(np.exp(np.minimum(t + level, 1.0)), low, high), atol=1e-11)
        assert (w[~free] == low[~free]).sum() + (w[~free] == high[~free]).sum() >= (~free).sum()


# The worst metric, and metrics that must not get worse.


@pytest.mark.parametrize("kl", [0.0, 0.05])
def test_worst_equals_the_conic_solver(kl):
    cp = pytest.importorskip("cvxpy")
    law = random_law(12, 8, seed=6)
    region = Region(law.domains, prior=random_prior(8, 6), cap=0.4)
    proposal = propose(law, region, objective="worst", kl=kl)
    x, t = cp.Variable(8), cp.Variable()
    kl_term = kl * cp.sum(cp.rel_entr(x, region.prior)) if kl else 0.0
    limits = [cp.exp(law.law.a @ x) + np.exp(law.law.gamma) <= t, x >= 0, x <= region.cap, cp.sum(x) == 1]
    problem = cp.Problem(cp.Minimize(t + kl_term), limits)
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    assert proposal.status == "optimal"
    assert abs(proposal.value - problem.value) < 1e-8
    assert sum(proposal.objective.values()) == pytest.approx(1.0)
    # The multipliers prove it: the problem weighted by them has the same optimum.
    again = propose(law, region, objective=proposal.objective, kl=kl)
    assert again.value == pytest.approx(proposal.value, abs=1e-7)


def test_tolerances_hold_and_cost_what_the_conic_solver_says():
    law = random_law(6, 8, seed=9)
    region = Region(law.domains, prior=random_prior(8, 9))
    free = propose(law, region, kl=0.01)
    losers = [name for name, change in free.gain.metrics.items() if change < -1e-3]
    assert losers, "the case needs metrics that get worse"
    held = propose(law, region, kl=0.01, tolerance=0.001)
    assert held.status == "optimal"
    assert all(change > -0.001 - 1e-7 for change in held.gain.metrics.values())
    most = law.predict(region.prior[None, :])[0] + 0.001
    weight = np.full(6, 1 / 6)

    def limits(x):
        import cvxpy as cp

        return [cp.exp(law.law.a @ x) + np.exp(law.law.gamma) <= most]

    _, value = conic(law, region, weight, 0.01, limits)
    assert abs(held.value - value) < 1e-7
    assert held.value > free.value
    assert held.limited
    named = propose(law, region, kl=0.01, tolerance={losers[0]: 0.0})
    assert named.gain.metrics[losers[0]] > -1e-7
    assert free.value - 1e-9 <= named.value <= held.value + 0.01


def test_tolerances_that_no_mixture_keeps_are_refused_by_name():
    law = Fitted(LogLinear([0.0, 0.0], [[-1.0, 1.0], [1.0, -1.0]]), ["left", "right"], names(2))
    region = Region(law.domains, prior=1)
    reference = {"d0": 1.0, "d1": 0.0}
    with pytest.raises(InfeasibleError, match="left"):
        propose(law, region.replace(cap={"d0": 0.3}), tolerance={"left": 0.0}, reference=reference)
    with pytest.raises(ValueError, match="middle"):
        propose(law, region, tolerance={"middle": 0.0})
    with pytest.raises(ValueError, match=">= 0"):
        propose(law, region, tolerance=-0.1)


# Objectives.


def test_objectives_are_aligned_by_name_and_normalised():
    law = random_law(4, 5)
    law.metrics = ("math_a", "math_b", "code_a", "qa")
    region = Region(law.domains, prior=1)

    def weights(objective):
        return np.array(list(propose(law, region, objective=objective, kl=0.1).objective.values()))

    np.testing.assert_allclose(weights(None), 0.25)
    np.testing.assert_allclose(weights("qa"), [0, 0, 0, 1])
    np.testing.assert_allclose(weights("math_*"), [0.5, 0.5, 0, 0])
    np.testing.assert_allclose(weights({"qa": 2, "math_a": 6}), [0.75, 0, 0, 0.25])
    np.testing.assert_allclose(weights({"math": "math_*", "rest": ["qa", "code_a"]}), 0.25)
    np.testing.assert_allclose(weights({"rest": ["qa"], "math": "math_*"}), [0.25, 0.25, 0, 0.5])
    np.testing.assert_allclose(weights({"math": ("math_*", 1), "qa": 3}), [0.125, 0.125, 0, 0.75])
    np.testing.assert_allclose(weights({"all": {"metrics": ["qa", "math_a"], "weight": 7}}), [0.5, 0, 0, 0.5])


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("maths", "math"),
        ({"qa": 1, "qb": 1}, "qb.*qa"),
        ({"family": ["qa", "nope"]}, "nope"),
        ({"family": "zz*"}, r"zz\*"),
        ({"family": []}, "no metrics"),
        ({"qa": -1}, "-1"),
        ({"qa": float("nan")}, "nan"),
        ({"qa": 0}, "positive, finite sum"),
        ({}, "positive, finite sum"),
        ({"qa": None}, "None"),
        (3, "int"),
    ],
)
def test_objectives_that_make_no_sense_are_refused(objective, message):
    law = random_law(3, 4)
    law.metrics = ("math", "code", "qa")
    with pytest.raises(ValueError, match=message):
        propose(law, Region(law.domains), objective=objective)


def test_metrics_to_maximise_count_negatively():
    linear = Linear([0.0, 0.0], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    law = Fitted(linear, ["loss", "accuracy"], names(3), direction={"accuracy": "max"})
    region = Region(law.domains)
    proposal = propose(law, region)
    assert proposal.mixture["d1"] == pytest.approx(1.0)
    assert proposal.gain.metrics["accuracy"] == pytest.approx(2 / 3)
    # The negative of a log-linear law is not convex.
    curved = random_law(2, 3, direction=("min", "max"))
    assert propose(curved, region).status == "searched"
    with pytest.raises(ValueError, match="m1"):
        propose(curved, region, method="exact")


# Invalid input.


def test_bad_input_says_what_is_wrong():
    law = random_law(3, 4)
    region = Region(law.domains, prior=1)
    with pytest.raises(AlignmentError, match=r"(?s)d3.*x"):
        propose(law, Region(["d0", "d1", "d2", "x"]))
    for bad in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="kl"):
            propose(law, region, kl=bad)
    with pytest.raises(ValueError, match="method"):
        propose(law, region, method="best")
    with pytest.raises(ValueError, match="tol"):
        propose(law, region, tol=0.0)
    with pytest.raises(AlignmentError):
        propose(law, region, start={"d0": 1.0})
    with pytest.raises(ValueError, match="standard deviations"):
        propose(law, region, kappa=1.0)


def test_too_few_tokens_are_refused_when_the_region_is_built():
    with pytest.raises(InfeasibleError, match="short"):
        Region.from_tokens({"d0": 100, "d1": 50}, 1000, max_epochs=4)


# Notes on a proposal.


def test_the_columns_of_a_summary_stand_below_their_titles():
    law = random_law(2, 3)
    lines = propose(law, Region(law.domains, prior=1)).summary().splitlines()
    title = next(index for index, line in enumerate(lines) if line.startswith("  domain"))
    assert len(lines[title]) == len(lines[title + 1])


def test_a_proposal_says_what_it_expects_and_what_it_costs():
    law = random_law(5, 4, seed=8, sd=lambda x: 0.01)
    tokens = {"d0": 1000, "d1": 500, "d2": 200, "d3": 100}
    region = Region.from_tokens(tokens, 1000, max_epochs=1.5)
    proposal = propose(law, region, kl=0.01)
    w = proposal.mixture.weights
    assert proposal.predicted == pytest.approx(dict(zip(law.metrics, law.predict(w[None, :])[0], strict=True)))
    assert proposal.predicted_sd["m0"] == 0.01
    at_prior = law.predict(region.prior[None, :])[0]
    assert proposal.gain.value == pytest.approx(at_prior.mean() - law.predict(w[None, :])[0].mean())
    assert proposal.gain.sd == pytest.approx(0.01 * np.sqrt(2.0))
    assert proposal.epochs["d0"] == pytest.approx(w[0])
    assert max(proposal.epochs.values()) <= 1.5 + 1e-9
    text = proposal.summary()
    assert "optimal" in text
    assert "epochs" in text
    assert all(price.text in text for price in proposal.shadow_prices[:5])
    assert json.loads(json.dumps(proposal.to_dict()))["status"] == "optimal"


def test_doubts_say_what_speaks_against_a_proposal():
    def said(law, region, **options):
        return " ".join(propose(law, region, **options).doubts)

    law = random_law(2, 4, seed=3)
    counts = dict.fromkeys(law.domains, 1000)
    bare, supplied = Region(law.domains, prior=1), Region.from_tokens(counts, 2000, max_epochs=4)
    assert "no token counts" in said(law, bare, kl=0.05)
    assert said(law, supplied, kl=0.05) == ""
    assert "kl = 0" in said(law, supplied)
    assert "kl = 0" in said(law, Region(law.domains))
    assert "a prior, for example from token counts" in said(law, Region(law.domains))
    best = propose(law, supplied, kl=0.05).mixture.weights
    most = int(np.argmax(best))
    law.largest = np.where(np.arange(4) == most, best[most] - 0.1, 1.0)
    assert f"{law.domains[most]} {best[most]:.1%}, in the runs at most {best[most] - 0.1:.1%}" in said(
        law, supplied, kl=0.05
    )
    law.largest = np.ones(4)
    law.reports = [
        MetricReport(metric, "linear", 30, 1.0, 1.0, 0.5, r2, 0.0, coverage, {})
        for metric, r2, coverage in (("m0", -9.1, 0.9), ("m1", 0.5, 0.4))
    ]
    assert "no better than the mean does: m0" in said(law, supplied, kl=0.05)
    assert "m1 40%" in said(law, supplied, kl=0.05)
    assert said(law, supplied, kl=0.05, objective={"m0": 1.0}).count("m1") == 0
    found = propose(law, supplied, kl=0.05)
    assert f"Doubt: {found.doubts[0]}" in found.summary()
    assert found.to_dict()["doubts"] == list(found.doubts)


def test_ranges_are_as_wide_as_the_objective_allows():
    law = random_law(10, 5, seed=12)
    region = Region(law.domains, prior=random_prior(5, 12), cap=0.6)
    weight = np.full(10, 0.1)
    proposal = propose(law, region, kl=0.05)
    ranges = proposal.ranges(1e-3)
    cp = pytest.importorskip("cvxpy")
    x = cp.Variable(5)
    loss = weight @ cp.exp(law.law.a @ x) + float(weight @ np.exp(law.law.gamma))
    limits = [x >= 0, x <= region.cap, cp.sum(x) == 1]
    limits += [loss + 0.05 * cp.sum(cp.rel_entr(x, region.prior)) <= proposal.value + 1e-3]
    for k in (0, 3):
        low, high = ranges[law.domains[k]]
        assert low <= proposal.mixture.weights[k] <= high
        true_low = cp.Problem(cp.Minimize(x[k]), limits).solve(solver="CLARABEL")
        true_high = cp.Problem(cp.Maximize(x[k]), limits).solve(solver="CLARABEL")
        assert true_low - 1e-6 <= low <= true_low + 0.002 * (true_high - true_low)
        assert true_high + 1e-6 >= high >= true_high - 0.002 * (true_high - true_low)
    with pytest.raises(AlignmentError, match="zzz"):
        proposal.ranges(1e-3, ["zzz"])
    with pytest.raises(ValueError, match="eps"):
        proposal.ranges(0.0)


@pytest.mark.parametrize("eps", [1e-3, 0.1])
@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("kl", [0.0, 0.02])
@pytest.mark.parametrize("kind", ["log_linear", "linear"])
def test_ends_of_ranges_are_attained_and_proved(kind, kl, limited, eps):
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(17)
    law = random_law(6, 5, seed=17)
    if kind == "linear":
        law = Fitted(Linear(rng.normal(3.0, 0.1, 6), rng.normal(0.0, 0.3, (6, 5))), names(6, "m"), names(5))
    bounds = {"pair": (law.domains[:2], 0.1, 0.6)} if limited else {}
    region = Region(law.domains, prior=random_prior(5, 17), cap=0.55 if limited else 1.0, bounds=bounds)
    proposal = propose(law, region, kl=kl, tol=1e-10, method="exact")
    x = cp.Variable(5, nonneg=True)
    if kind == "linear":
        loss = law.predict(np.eye(5)).mean(axis=1) @ x
    else:
        loss = np.full(6, 1 / 6) @ cp.exp(law.law.a @ x) + float(np.exp(law.law.gamma).mean())
    if kl:
        loss = loss + kl * cp.sum(cp.rel_entr(x, region.prior))
    limits = [cp.sum(x) == 1, x <= region.cap, (loss - proposal.value) / eps <= 1.0]
    limits += [x[0] + x[1] >= 0.1, x[0] + x[1] <= 0.6] if limited else []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = proposal.ranges(eps)
    for k in (0, 3):
        for end, sign in zip(found[law.domains[k]], (-1.0, 1.0), strict=True):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exact = cp.Problem(cp.Maximize(sign * x[k]), limits).solve(solver="CLARABEL")
            assert exact - 1e-4 - 1e-5 <= sign * end <= exact + 1e-5


def test_ends_of_ranges_begin_at_shares_next_to_0():
    """With a small KL term the optimal shares of bad domains are 1e-44 and 1e-88; the objective of two domains has its ends in closed form."""
    optimize = pytest.importorskip("scipy.optimize")
    law = Fitted(Linear(np.zeros(1), np.array([[1.0, 2.0, 3.0]])), ("loss",), names(3))
    proposal = propose(law, Region(law.domains), kl=0.01, tol=1e-10, method="exact")
    assert 0.0 < proposal.mixture.weights[1] < 1e-40
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = proposal.ranges(1e-3)

    def rise(share, k):
        """Return how much the best mixture with this share of domain k is above the optimum; a third domain would have no share."""
        return k * share + 0.01 * (share * np.log(share) + (1.0 - share) * np.log1p(-share)) - 1e-3

    for k in (1, 2):
        exact = optimize.brentq(rise, 1e-6, 0.5, args=(k,), xtol=1e-12)
        assert found[law.domains[k]] == (pytest.approx(0.0, abs=1e-40), pytest.approx(exact, abs=1e-4))


def test_the_worst_mixture_is_the_worst_vertex_of_a_convex_law():
    law = random_law(6, 5, seed=13)
    region = Region(law.domains, cap=0.7)
    worst = propose(law, region).worst_mix
    corners = []
    for i in range(5):
        for j in range(5):
            if i != j:
                w = np.zeros(5)
                w[i], w[j] = 0.7, 0.3
                corners.append(w)
    expected = law.predict(np.array(corners)).mean(axis=1).max()
    assert law.predict(worst.weights[None, :]).mean() == pytest.approx(expected, abs=1e-9)


# Search.


@pytest.mark.parametrize("smooth", [True, False])
def test_search_finds_the_better_of_two_valleys(smooth):
    centre = np.array([0.1, 0.2, 0.3, 0.4])
    law = Fitted(Bowl([centre]), ["m"], names(4), smooth=smooth)
    proposal = propose(law, Region(law.domains))
    assert proposal.status == "searched"
    assert proposal.gap is None
    assert proposal.multipliers is None
    np.testing.assert_allclose(proposal.mixture.weights, centre, atol=1e-5 if smooth else 0.03)


def test_search_keeps_caps_and_reaches_the_exact_optimum():
    law = random_law(10, 8, seed=14)
    region = Region(law.domains, prior=random_prior(8, 14), cap=0.3, bounds={("d0", "d1"): (0.2, None)})
    for kl in (0.0, 0.05):
        exact, searched = propose(law, region, kl=kl), propose(law, region, kl=kl, method="search")
        assert searched.status == "searched"
        assert region.violation(searched.mixture.weights) < 1e-9
        assert exact.value - 1e-9 <= searched.value <= exact.value + 1e-4
        low, high = searched.ranges(1e-3)["d0"]
        assert low <= searched.mixture["d0"] <= high


def test_search_is_deterministic_by_seed():
    law = Fitted(Bowl(np.random.default_rng(0).dirichlet(np.ones(6), 3)), names(3, "m"), names(6))
    region = Region(law.domains, cap=0.5)
    one, two = propose(law, region, seed=1), propose(law, region, seed=1)
    assert one.mixture == two.mixture


def test_risk_aversion_moves_away_from_what_is_unknown():
    linear = Linear([0.0], [[0.0, -0.1, 0.0]])
    law = Fitted(linear, ["m"], names(3), sd=lambda x: x[:, [1]] ** 2)
    region = Region(law.domains)
    assert propose(law, region).mixture["d1"] == pytest.approx(1.0)
    careful = propose(law, region, kappa=1.0)
    assert careful.status == "searched"
    assert careful.mixture["d1"] == pytest.approx(0.05, abs=5e-3)


def test_search_keeps_tolerances():
    law = Fitted(Bowl([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]]), ["a", "b"], names(3))
    region = Region(law.domains, prior=1)
    held = propose(law, region, objective="a", tolerance={"b": 0.05})
    assert held.gain.metrics["b"] >= -0.05 - 1e-6
    assert propose(law, region, objective="a").gain.metrics["b"] < -0.05


def test_regmix_is_the_mean_of_the_best_draws():
    law = random_law(3, 4, seed=15)
    region = Region(law.domains, prior=[0.4, 0.3, 0.2, 0.1])
    draws = np.random.RandomState(42).dirichlet(region.prior, 100_000)
    best = draws[np.argsort(law.predict(draws).mean(axis=1))[:128]].mean(axis=0)
    proposal = propose(law, region, method="regmix", seed=42)
    assert proposal.status == "searched"
    np.testing.assert_allclose(proposal.mixture.weights, best, rtol=1e-12)
    # Limits reject samples, and more are sampled instead.
    capped = region.replace(cap={"d0": 0.2, "d1": 0.4})
    more = np.random.RandomState(42)
    draws = np.concatenate([more.dirichlet(region.prior, 100_000) for _ in range(12)])
    draws = draws[(draws <= capped.cap).all(axis=1)][:100_000]
    assert len(draws) == 100_000
    best = draws[np.argsort(law.predict(draws).mean(axis=1), kind="stable")[:128]].mean(axis=0)
    np.testing.assert_allclose(propose(law, capped, method="regmix", seed=42).mixture.weights, best, rtol=1e-12)
    with pytest.raises(InfeasibleError, match="search"):
        propose(law, region.replace(bounds={("d3",): (0.1, 0.1)}), method="regmix")


def test_olmix_simulation_ends_near_the_best_mixture():
    law = random_law(3, 4, seed=15)
    region = Region(law.domains, prior=[0.4, 0.3, 0.2, 0.1])
    capped = region.replace(cap={"d0": 0.2, "d1": 0.4})
    for where in (region, capped):
        found, best = propose(law, where, method="simulation"), propose(law, where, method="exact")
        assert (found.status, found.method) == ("searched", "simulation")
        # The averaged mixtures are within 1e-3 of the best sample.
        assert best.value - 1e-9 <= found.value <= best.value + 2e-3
        assert (found.mixture.weights <= where.cap).all()
    again, other = (propose(law, region, method="simulation", seed=seed) for seed in (0, 1))
    assert again.mixture == propose(law, region, method="simulation").mixture != other.mixture
    with pytest.raises(InfeasibleError, match="search"):
        propose(law, region.replace(bounds={("d3",): (0.1, 0.1)}), method="simulation")
    with pytest.raises(RegionError, match="method='simulation' samples mixtures around the prior"):
        propose(law, Region(law.domains), method="simulation")


# Runs around a proposal.


@pytest.mark.parametrize("method", ["regmix", "simulation"])
def test_simulations_draw_around_shares_that_are_fixed(method):
    law = random_law(2, 4, seed=3)
    region = Region(law.domains, prior=1, cap={law.domains[1]: 0.25, law.domains[2]: 0.0}, floor={law.domains[1]: 0.25})
    found = propose(law, region, method=method)
    assert found.mixture[law.domains[1]] == pytest.approx(0.25, abs=1e-12)
    assert found.mixture[law.domains[2]] == 0.0
    best = propose(law, region)
    assert best.value - 1e-9 <= found.value <= best.value + 0.1


def test_path_ends_at_the_prior_and_each_step_is_what_propose_says():
    law = random_law(6, 5, seed=16)
    region = Region(law.domains, prior=random_prior(5, 16))
    kls = [0.0, 0.01, 0.1, 10.0]
    proposals = path(law, region, kls)
    for kl, one in zip(kls, proposals, strict=True):
        assert one.status == "optimal"
        np.testing.assert_allclose(one.mixture.weights, propose(law, region, kl=kl).mixture.weights, atol=1e-5)
    distances = [one.mixture.kl(region.prior) for one in proposals]
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(distances))


class Runs:
    """A swarm of runs of a known linear law."""

    def __init__(self, noise, count=60, seed=0):
        rng = np.random.default_rng(seed)
        self.ratios = rng.dirichlet(np.ones(4), count)
        self.values = (self.ratios @ [1.0, 0.9, 1.1, 1.2] + noise * rng.normal(size=count))[:, None]
        self.runs = [str(i) for i in range(count)]

    def subset(self, index):
        out = object.__new__(Runs)
        out.ratios, out.values = self.ratios[index], self.values[index]
        out.runs = [self.runs[i] for i in index]
        return out


def fit_linear(runs, law="linear"):
    slope = np.linalg.lstsq(runs.ratios, runs.values, rcond=None)[0].T
    return Fitted(Linear([0.0], slope), ["m"], names(4))


def test_advice_pulls_harder_when_runs_are_noisy():
    region = Region(names(4), prior=1)
    kls = [0.01, 0.1, 1.0, 10.0]
    chosen = []
    for noise in (0.001, 3.0):
        runs = Runs(noise)
        advice = advise_kl(lambda index, runs=runs: fit_linear(runs.subset(index)), 60, region, kls)
        assert advice.scores.shape == (4,)
        chosen.append(advice.kl)
    assert chosen[0] == 0.01
    assert chosen[1] > 0.1
    with pytest.raises(ValueError, match="kls"):
        advise_kl(lambda index: None, 60, region, [])


def test_intervals_are_wide_where_runs_say_little():
    region = Region(names(4), prior=1)
    width = []
    for noise in (0.001, 0.5):
        found = bootstrap(Runs(noise), "linear", region, fit=fit_linear, draws=20, kl=0.1)
        share = found.proposal.mixture.weights
        assert found.shares.shape == (20, 4)
        width.append(found.high["d0"] - found.low["d0"])
        for k, name in enumerate(region.domains):
            assert found.low[name] <= share[k] <= found.high[name]
    assert width[0] < 0.02 < 0.1 < width[1]
    # If all samples lie on one side of the proposal, it must still be inside.
    fits = iter([Runs(0.001), *[Runs(0.5)] * 3])
    found = bootstrap(Runs(0.1), "linear", region, fit=lambda *_: fit_linear(next(fits), "linear"), draws=3, kl=0.1)
    assert (np.ptp(found.shares, axis=0) == 0.0).all()
    ends = np.array([[found.low[name], found.high[name]] for name in region.domains])
    assert ends.max(axis=1).tolist() == np.maximum(found.shares[0], found.proposal.mixture.weights).tolist()
    assert ends.min(axis=1).tolist() == np.minimum(found.shares[0], found.proposal.mixture.weights).tolist()
    assert "laws fitted to halves of the runs agree on shares" in found.doubt
    assert "d0" in found.doubt
    with pytest.raises(ValueError, match="draws"):
        bootstrap(Runs(0.1), "linear", region, fit=fit_linear, draws=1)


# Published numbers.

PILE = {
    "arxiv": 0.113285273, "freelaw": 0.079608651, "nih_exporter": 0.003913491, "pubmed_central": 0.185375901,
    "wikipedia_en": 0.051081359, "dm_mathematics": 0.015962925, "github": 0.101750772, "philpapers": 0.003707518,
    "stackexchange": 0.066529351, "enron_emails": 0.001750772, "gutenberg_pg_19": 0.027085479, "pile_cc": 0.236869207,
    "ubuntu_irc": 0.01184346, "europarl": 0.007929969, "hackernews": 0.008032956, "pubmed_abstracts": 0.038825953,
    "uspto_backgrounds": 0.046446962,
}  # fmt: skip


def read_columns(path, drop):
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    table = np.array(rows[1:], dtype=float)
    return [name.removeprefix(drop) for name in rows[0][1:]], table[:, 1:]


@pytest.mark.slow
def test_regmix_simulation_reproduces_the_published_mixture(shared_data):
    lightgbm = pytest.importorskip("lightgbm")
    folder = shared_data / "regmix"
    domains, x = read_columns(folder / "train_mixture_1m.csv", "train_the_pile_")
    metrics, y = read_columns(folder / "train_pile_loss_1m.csv", "metric/the_pile_")
    _, x_test = read_columns(folder / "test_mixture_1m.csv", "train_the_pile_")
    _, y_test = read_columns(folder / "test_pile_loss_1m.csv", "metric/the_pile_")
    column = metrics.index("pile_cc_val_loss")
    # The notebook's settings, including early stopping on the test set, because this replays the published answer.
    model = lightgbm.LGBMRegressor(
        objective="regression", metric=["l1", "l2"], n_estimators=1000, learning_rate=1e-2, random_state=42, verbose=-1,
        n_jobs=1,
    )  # fmt: skip
    model.fit(
        x, y[:, column], eval_set=[(x_test, y_test[:, column])], callbacks=[lightgbm.early_stopping(3, verbose=False)]
    )

    class Trees:
        name = "boosted"

        def predict(self, points):
            return model.predict(points)[:, None]

    law = Fitted(Trees(), ["pile_cc_val_loss"], domains, smooth=False)
    proposal = propose(law, Region(domains, prior=PILE), method="regmix", seed=42)
    assert proposal.mixture["pile_cc"] == pytest.approx(0.890924, abs=5e-7)
    assert proposal.mixture["ubuntu_irc"] == pytest.approx(0.061429, abs=5e-7)


def test_the_smooth_part_agrees_with_its_derivatives():
    rng = np.random.default_rng(0)
    objective = Exponentials(rng.normal(size=(4, 5)), rng.normal(size=4), rng.normal(size=5), 0.3)
    w = rng.dirichlet(np.ones(5))
    value, gradient, hessian = objective.sums(w, hessian=1)
    assert objective.losses(w[None, :])[0] == pytest.approx(value)
    for k in range(5):
        step = np.zeros(5)
        step[k] = 1e-6
        up, down = objective.sums(w + step), objective.sums(w - step)
        assert (up[0] - down[0]) / 2e-6 == pytest.approx(gradient[k], rel=1e-6)
        np.testing.assert_allclose((up[1] - down[1]) / 2e-6, hessian[k], rtol=1e-6)


def test_a_tiny_pull_is_solved_too():
    law = random_law(12, 9, seed=17)
    region = Region(law.domains, prior=random_prior(9, 17), cap=0.35)
    plain = propose(law, region)
    for kl in (1e-4, 1e-6):
        proposal = propose(law, region, kl=kl, tol=1e-8)
        assert proposal.status == "optimal"
        assert proposal.value == pytest.approx(plain.value, abs=20 * kl)


def test_starts_change_nothing_but_the_number_of_steps():
    rng = np.random.default_rng(1)
    objective = Exponentials(rng.normal(size=(20, 6)), np.full(20, -3.0), np.zeros(6), 0.0)
    region = Region(names(6), prior=rng.dirichlet(np.ones(6)), cap=0.5)
    first = solve_exact(objective, reach(region, 0.05), kl=0.05, start=None, tol=1e-12)
    again = solve_exact(objective, reach(region, 0.05), kl=0.05, start=first.w, tol=1e-12)
    assert again.steps <= 1
    full = Regularised(objective, Kl(0.05, region.prior))
    assert full.sums(again.w)[0] == pytest.approx(first.value, abs=1e-13)


def test_shares_too_small_for_float64_are_certified():
    law = Fitted(LogLinear([-5.0], [[9.0, 0.0, 0.001]]), ["a"], names(3))
    region = Region(law.domains, prior=1)
    proposal = propose(law, region, kl=1e-3)
    assert proposal.status == "optimal"
    assert proposal.mixture["d0"] == 0.0
    assert np.isfinite(proposal.value)
    assert proposal.gap <= 1e-9


def test_the_gap_is_in_the_unit_of_a_large_objective():
    law = random_law(10, 8, seed=18)
    law.law.a = law.law.a + 18.0
    region = Region(law.domains, prior=random_prior(8, 18), cap=0.3)
    proposal = propose(law, region, kl=0.5)
    assert proposal.value > 1e6
    assert proposal.status == "optimal"
    assert proposal.gap <= 1e-9 * proposal.value


def test_search_for_the_worst_metric():
    centres = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    law = Fitted(Bowl(centres), ["a", "b"], names(3))
    proposal = propose(law, Region(law.domains), objective="worst")
    assert proposal.status == "searched"
    # Halfway between the two centres both metrics are equally bad.
    np.testing.assert_allclose(proposal.mixture.weights, [0.45, 0.45, 0.1], atol=0.01)
    assert proposal.predicted["a"] == pytest.approx(proposal.predicted["b"], abs=0.02)
