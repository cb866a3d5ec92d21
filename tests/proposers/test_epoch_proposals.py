"""Proposals from laws in epochs: exact ones against a conic solver and their own certificate."""

import itertools

import numpy as np
import pytest
from epoch_laws import Epochs, runs, solve_cvxpy

from mixfast import Region, fit
from mixfast.errors import InfeasibleError
from mixfast.proposers import advise_kl, bootstrap, path, propose, reach
from mixfast.proposers._controls import in_digits

REGIONS = {
    "free": {},
    "caps": {"cap": {"d0": 0.0, "d1": 0.05, "d2": 0.3}},
    "floors": {"floor": {"d0": 0.1, "d3": 1e-3}},
    "groups": {"bounds": {"g": (["d1", "d2", "d3"], 0.3, 0.5), "h": (["d0", "d4"], None, 0.1)}},
}


@pytest.mark.parametrize("kl", [0.0, 0.05])
@pytest.mark.parametrize("limits", REGIONS)
@pytest.mark.parametrize("how", ["sum", "worst", "tolerance"])
@pytest.mark.parametrize("p", [0.25, 0.9, 1.0])
def test_exact_proposals_against_a_conic_solver(p, how, limits, kl):
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(5)
    law = Epochs.random(rng, 4, 8, p=p)
    region = Region(law.domains, prior=rng.dirichlet(np.ones(8)), **REGIONS[limits])
    most, options = None, {"objective": "worst"} if how == "worst" else {}
    if how == "tolerance":
        options = {"tolerance": 0.02, "reference": dict(zip(law.domains, region.project(region.prior), strict=True))}
        most = law.predict(region.project(region.prior)[None])[0] * law.sign + 0.02
    found = propose(law, region, kl=kl, method="exact", **options)
    best = solve_cvxpy(cp, law, region, np.full(4, 0.25), kl=kl, worst=how == "worst", most=most).value
    assert found.status == "optimal"
    assert found.gap <= 1e-9 * max(1.0, abs(found.value))
    assert found.value == pytest.approx(best, abs=2e-6)


def test_the_region_decides_how_often_a_share_is_read():
    swarm = runs()
    law = fit(swarm, "epochs", folds=0)
    few = {name: int(1e9 / rate) for name, rate in zip(swarm.domains, [2.0, 4.0, 6.0, 40.0], strict=True)}
    region = Region.from_tokens(few, 10**9, max_epochs=100)
    found = propose(law, region)
    assert found.status == "optimal"
    np.testing.assert_allclose(found.expected[0], law.for_run(few, 1e9).predict(found.mixture)[0], rtol=1e-12)
    assert found.law.rate.tolist() == pytest.approx([2.0, 4.0, 6.0, 40.0], rel=1e-6)
    # Without tokens, the runs' own rate; the two differ.
    own = propose(law, Region(swarm.domains))
    np.testing.assert_allclose(own.law.rate, law.rate)
    assert own.mixture["d"] > 1.5 * found.mixture["d"]


def test_runs_of_different_rates_need_a_target_run():
    swarm = runs(budget=np.linspace(5e8, 1e9, 60))
    law = fit(swarm, "epochs", folds=0)
    assert law.rate is None
    with pytest.raises(ValueError, match=r"Give the region token counts \(Region.from_tokens.*fit.for_run"):
        propose(law, Region(swarm.domains))
    tokens = dict.fromkeys(swarm.domains, 10**9)
    assert propose(law, Region.from_tokens(tokens, 10**9)).status == "optimal"
    assert propose(law.for_run(tokens, 1e9), Region(swarm.domains)).status == "optimal"


def test_a_domain_without_tokens_gets_no_share_and_costs_nothing():
    swarm = runs()
    law = fit(swarm, "epochs", folds=0)
    region = Region.from_tokens({"a": 0, "b": 10**8, "c": 10**8, "d": 10**8}, 10**9, max_epochs=10)
    found = propose(law, region)
    assert found.status == "optimal"
    assert found.mixture["a"] == 0.0
    assert np.isfinite(found.expected[0]).all()


def test_doubts_name_the_domains_that_the_target_run_reads_more_often_than_the_runs():
    swarm = runs()
    law = fit(swarm, "epochs", folds=0)
    rate = dict(zip(swarm.domains, law.rate, strict=True))
    target = {name: round(1e9 / rate[name] / (16 if name == "d" else 1)) for name in swarm.domains}
    doubts = propose(law, Region.from_tokens(target, 10**9, max_epochs=1000, floor={"d": 0.5})).doubts
    beyond = next(doubt for doubt in doubts if "more often than any run did" in doubt)
    assert "d 64 epochs (runs: at most" in beyond
    assert "a " not in beyond.split(": ")[1]
    assert "The target run reads d 16 times as often." in next(doubt for doubt in doubts if "do not match" in doubt)
    large = {name: round(1e12 / one) for name, one in rate.items()}
    doubts = propose(law, Region.from_tokens(large, 10**9)).doubts
    assert "0.001 times as often" in next(doubt for doubt in doubts if "do not match" in doubt)
    matched = {name: round(1e9 / one) for name, one in rate.items()}
    doubts = propose(law, Region.from_tokens(matched, 10**9, max_epochs=1000)).doubts
    assert not [doubt for doubt in doubts if "epochs" in doubt and "no token counts" not in doubt]


def test_without_the_tokens_of_the_target_the_doubt_says_which_run_is_predicted():
    law = fit(runs(), "epochs", folds=0)
    assert "predict a run that repeats each domain as the runs of the fit do" in propose(law).doubts[0]
    assert "Proxy runs repeat little" not in propose(law).doubts[0]


def test_pools_that_are_all_off_by_one_factor_are_said_once():
    law = fit(runs(), "epochs", folds=0)
    target = {name: round(1e9 / one / 8) for name, one in zip(law.domains, law.rate, strict=True)}
    region = Region.from_tokens(target, 10**9, max_epochs=1000, floor=0.1)
    said = next(doubt for doubt in propose(law, region).doubts if "do not match" in doubt)
    assert said.count("times as often") == 1
    assert " 8 times as often." in said


def test_a_kl_term_is_advised_for_laws_of_shares_and_not_for_laws_in_epochs():
    def said(law):
        return [doubt for doubt in propose(fit(runs(), law, folds=0)).doubts if "every law of shares" in doubt]

    assert len(said("log_linear")) == 1
    assert said("epochs") == []


def test_gains_of_rounding_are_printed_as_0():
    assert in_digits(-7.9e-14) == "0"
    assert in_digits(-0.25) == "-0.25"


def test_exact_is_refused_for_laws_that_are_not_convex_and_says_which_are():
    law = Epochs(a=np.ones((1, 3)), h=np.ones((1, 3)), convex=False)
    with pytest.raises(ValueError, match=r"needs convex laws \(log_linear, linear or convex epochs\)"):
        propose(law, method="exact")
    assert propose(law).status == "searched"


@pytest.mark.parametrize("p", [0.25, 0.9])
def test_a_search_finds_what_the_exact_solve_proves_in_spite_of_infinite_slopes(p):
    rng = np.random.default_rng(2)
    law = Epochs.random(rng, 3, 12, p=p)
    region = Region(law.domains, prior=rng.dirichlet(np.ones(12)), cap=0.4)
    exact = propose(law, region)
    found = propose(law, region, method="search")
    assert exact.value - exact.gap <= found.value <= exact.value + 1e-3 * exact.gain.value


def test_a_search_takes_long_steps_without_overflow():
    # Exponentiated gradient doubles its steps as long as they help, which they do here at every step.
    rng = np.random.default_rng(0)
    law = Epochs.random(rng, 4, 8, p=0.9, sign=1.0)
    region = Region(law.domains, prior=rng.dirichlet(np.ones(8)), cap=np.full(8, 3 / 8))
    assert propose(law, region, method="search").status == "searched"


def test_domains_that_help_no_metric_get_no_share():
    law = Epochs(
        a=[[0.5, 0.3, 0.0, 0.2], [0.1, 0.6, 0.0, 0.0]], h=[[0.0] * 4, [0.0, 0.0, 0.3, 0.0]], p=[0.25, 1.0], rate=3.0
    )
    found = propose(law)
    assert found.status == "optimal"
    assert found.mixture["d2"] == 0.0
    assert all(found.mixture[name] > 0.0 for name in ("d0", "d1", "d3"))


@pytest.mark.parametrize("kl", [0.0, 0.02])
@pytest.mark.parametrize("limits", REGIONS)
def test_prices_and_ranges(limits, kl):
    rng = np.random.default_rng(4)
    law = Epochs.random(rng, 5, 10, p=0.5)
    region = Region(law.domains, prior=rng.dirichlet(np.ones(10)), **REGIONS[limits])
    found = propose(law, region, kl=kl)
    for price in found.shadow_prices:
        assert np.isfinite(vars(price)["price"])
    # A cap that gives way by a little saves what its price says.
    if limits == "caps":
        more = propose(law, region.replace(cap={**REGIONS["caps"]["cap"], "d1": 0.051}), kl=kl)
        price = next(vars(one)["price"] for one in found.shadow_prices if "d1" in one.text)
        assert found.value - more.value == pytest.approx(1e-3 * price, rel=0.05)
    for name, (low, high) in found.ranges(1e-3, ["d1", "d3", "d5"]).items():
        assert low <= found.mixture[name] <= high
        assert high - low > 1e-3 or limits == "caps"


def test_mixed_laws_are_solved_together():
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(3)
    epochs = Epochs.random(rng, 2, 6, sign=1.0)
    slopes, gamma, plane = rng.normal(-0.5, 1.0, 6), -1.0, rng.normal(0.0, 0.3, 6)

    class LogLinear:
        name, a, gamma = "log_linear", slopes[None], np.array([-1.0])

    class Linear:
        name = "linear"

        def slopes(self, x):
            return x @ plane[:, None], np.broadcast_to(plane, (len(x), 1, 6))

    class Both:
        domains, metrics, rate = epochs.domains, ("e0", "e1", "log", "plane"), epochs.rate

        def law_of(self, metric):
            return {"log": (LogLinear, 0), "plane": (Linear(), 0)}.get(metric) or (epochs, int(metric[1]))

        def predict(self, w):
            other = [np.exp(gamma) + np.exp(w @ slopes), w @ plane]
            return np.column_stack([epochs.predict(w), *other])

    found = propose(Both(), objective={"e0": 1, "e1": 2, "log": 1, "plane": 3}, method="exact")
    best = solve_cvxpy(
        cp,
        epochs,
        Region(epochs.domains),
        [1.0, 2.0],
        more=lambda w: np.exp(gamma) + cp.exp(slopes @ w) + 3 * plane @ w,
    )
    assert found.status == "optimal"
    assert found.value == pytest.approx(best.value / 7.0, abs=1e-6)


def test_the_proof_that_tolerances_cannot_be_kept():
    # At equal shares both metrics gain; the region forces a share that takes most of it from one of them.
    law = Epochs(a=[[1.0, 0.0], [0.0, 1.0]], p=0.5, rate=2.0)
    region, even = Region(law.domains, floor={"d0": 0.7}), {"d0": 0.5, "d1": 0.5}
    with pytest.raises(InfeasibleError, match=r"m1.* must exceed its tolerance by 0\.0[0-9]+"):
        propose(law, region, tolerance=0.001, reference=even)
    found = propose(law, region, tolerance=0.2, reference=even)
    assert found.status == "optimal"


def test_advice_on_kl_and_intervals_predict_the_run_of_the_region():
    swarm = runs(budget=np.linspace(5e8, 1e9, 60), count=60)
    region = Region.from_tokens(dict.fromkeys(swarm.domains, 10**9), 10**9)
    advice = advise_kl(lambda rows: fit(swarm.subset(rows), "epochs", folds=0), 60, region, [0.0, 0.1], repeats=1)
    assert np.isfinite(advice.scores).all()
    shares = bootstrap(swarm, "epochs", region, fit=lambda s, law: fit(s, law, folds=0), draws=2)
    assert np.isfinite(shares.shares).all()


@pytest.mark.parametrize("p", [0.25, 1.0])
def test_the_least_change_that_reaches_a_goal(p):
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(6)
    law = Epochs.random(rng, 3, 6, p=p, sign=1.0)
    near = dict(zip(law.domains, rng.dirichlet(np.ones(6)), strict=True))
    region = Region(law.domains, prior=near)
    best = propose(law, region, objective="m0").value
    goal = 0.5 * (best + float(law.predict(region.prior[None])[0, 0]))
    found = reach(law, region, {"m0": f"<= {goal!r}"}, near=near)
    most = np.array([goal, np.inf, np.inf])
    conic = solve_cvxpy(cp, law, region, np.zeros(3), kl=1.0, most=most).value
    assert found.status == "optimal"
    assert found.change == pytest.approx(conic, abs=1e-6)
    with pytest.raises(InfeasibleError):
        reach(law, region, {"m0": f"<= {best - 0.01!r}"}, near=near)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_worst_of_many_metrics_with_steep_slopes_is_proved(seed):
    rng = np.random.default_rng(seed)
    law = Epochs.random(rng, 50, 40, p=0.25, rho=100.0 * np.exp(rng.normal(-1.0, 1.2, 50)))
    found = propose(law, objective="worst", method="exact")
    assert found.status == "optimal"
    assert found.gap <= 1e-9 * max(1.0, abs(found.value))


@pytest.mark.parametrize("limits", REGIONS)
@pytest.mark.parametrize("p", [0.25, 1.0])
def test_each_step_of_a_path_is_what_propose_says(p, limits):
    rng = np.random.default_rng(7)
    law = Epochs.random(rng, 3, 8, p=p)
    region = Region(law.domains, prior=rng.dirichlet(np.ones(8)), **REGIONS[limits])
    kls = [0.0, 1.0, 0.01, 0.1]
    steps = path(law, region, kls)
    for kl, step in zip(kls, steps, strict=True):
        alone = propose(law, region, kl=kl)
        assert (step.status, step.method, step.kl) == ("optimal", "exact", kl)
        assert step.value == pytest.approx(alone.value, abs=2e-9 * max(1.0, abs(alone.value)))
        np.testing.assert_allclose(step.mixture.weights, alone.mixture.weights, atol=1e-3 if kl == 0.0 else 1e-4)
    distances = [steps[index].mixture.kl(region.project(region.prior)) for index in (0, 2, 3, 1)]
    if limits == "free":
        assert all(later <= earlier + 1e-7 for earlier, later in itertools.pairwise(distances))


def test_a_path_of_a_fit_is_for_the_run_of_the_region():
    swarm = runs(budget=np.linspace(5e8, 1e9, 60))
    law = fit(swarm, "epochs", folds=0)
    region = Region.from_tokens(dict.fromkeys(swarm.domains, 10**9), 10**9)
    for kl, step in zip((0.1, 0.0), path(law, region, (0.1, 0.0), objective="x_loss", guard={"*": "1 %"}), strict=True):
        alone = propose(law, region, objective="x_loss", guard={"*": "1 %"}, kl=kl)
        assert step.law.rate.tolist() == [1.0] * 4
        assert step.value == pytest.approx(alone.value, abs=1e-8)
