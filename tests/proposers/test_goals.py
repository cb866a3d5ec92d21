"""Goals as people set them: scaled objectives, guards and the least change that reaches goals, against a conic solver."""

import warnings

import numpy as np
import pytest

from mixfast import Region, Swarm, fit
from mixfast.errors import AlignmentError, InfeasibleError
from mixfast.proposers import LeastChange, advise_kl, bootstrap, cost_of_guards, propose, reach

METRICS, DOMAINS = ("code_py", "code_rs", "text", "acc"), ("web", "code", "books", "maths", "news")
EVEN = dict.fromkeys(DOMAINS, 0.2)


class Convex:
    """Log-linear metrics to minimise and linear ones to maximise, as one fitted law with two parts."""

    name = "mixed"

    def __init__(self, seed, losses=3, scores=1, domains=5, noise=True):
        rng = np.random.default_rng(seed)
        self.a = rng.normal(-0.5, 1.0, (losses, domains))
        self.gamma = rng.normal(-1.0, 0.3, losses)
        self.b = rng.uniform(0.1, 0.9, (scores, domains))
        known = losses == 3 and scores == 1
        self.metrics = METRICS if known else tuple(f"m{j}" for j in range(losses + scores))
        self.domains = DOMAINS if domains == 5 else tuple(f"d{k}" for k in range(domains))
        self.direction = ("min",) * losses + ("max",) * scores
        self.spread = dict.fromkeys(self.metrics, 0.05)
        if noise:
            self.noise = {name: 0.002 * (j + 1) for j, name in enumerate(self.metrics)}

    def predict(self, x):
        x = np.asarray(x)
        return np.concatenate([np.exp(self.gamma) + np.exp(x @ self.a.T), x @ self.b.T], axis=1)

    def slopes(self, x):
        e = np.exp(x @ self.a.T)[:, :, None] * self.a
        return self.predict(x), np.concatenate([e, np.broadcast_to(self.b, (len(x), *self.b.shape))], axis=1)

    def law_of(self, metric):
        j = self.metrics.index(metric)
        return (LogLinear(self), j) if j < len(self.a) else (Linear(self), j - len(self.a))


class LogLinear:
    name = "log_linear"

    def __init__(self, whole):
        self.a, self.gamma = whole.a, whole.gamma


class Linear:
    name = "linear"

    def __init__(self, whole):
        self.b = whole.b

    def slopes(self, x):
        return x @ self.b.T, np.broadcast_to(self.b, (len(x), *self.b.shape))


class InOtherUnits(Convex):
    """The same law with each metric times a number, as losses in bits for a corpus or accuracies in parts per million."""

    def __init__(self, seed, by):
        super().__init__(seed)
        by = np.asarray(by)
        self.a, self.gamma = self.a + np.log(by[:3, None]), self.gamma + np.log(by[:3])
        self.b = self.b * by[3:, None]
        for sizes in (self.spread, self.noise):
            sizes.update({name: size * float(times) for (name, size), times in zip(sizes.items(), by, strict=True)})


class Searched:
    """The same law without its convex form."""

    def __init__(self, law):
        self.domains, self.metrics, self.direction = law.domains, law.metrics, law.direction
        self.spread, self.noise = law.spread, law.noise
        self.predict, self.slopes = law.predict, law.slopes


def random_region(law, seed):
    """A prior with caps, a floor and a limit on a group."""
    rng = np.random.default_rng(seed + 1000)
    k = len(law.domains)
    prior = 0.9 * rng.dirichlet(np.ones(k)) + 0.1 / k
    cap = np.minimum(np.maximum(2.0 * prior, 1.2 / k), 1.0)
    floor = np.zeros(k)
    floor[0] = 0.2 * prior[0]
    group = {"group": {law.domains[1]: 1.0, law.domains[2]: 1.0}}
    bounds = [(group["group"], 0.0, float(prior[1] + prior[2]) + 0.1)]
    return Region(law.domains, prior=prior, cap=cap, floor=floor, bounds=bounds if seed % 2 else [])


def conic(law, region, *, weight=None, kl=0.0, near=None, most=None):
    """Return (shares, value) of the minimum of signed metrics under limits by Clarabel; None if it finds no mixture."""
    cp = pytest.importorskip("cvxpy")
    x = cp.Variable(region.n_domains)
    metrics = cp.hstack([cp.exp(law.a @ x) + np.exp(law.gamma), -(law.b @ x)])
    loss = 0.0 if weight is None else weight @ metrics
    if kl:
        loss = loss + kl * cp.sum(cp.rel_entr(x, region.prior if near is None else near))
    limits = [x >= region.floor, x <= region.cap, cp.sum(x) == 1]
    if region.bounds:
        limits += [region.bound_rows @ x >= region.bound_lower, region.bound_rows @ x <= region.bound_upper]
    if most is not None:
        kept = np.flatnonzero(np.isfinite(most))
        limits.append(metrics[kept] <= most[kept])
    problem = cp.Problem(cp.Minimize(loss), limits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            problem.solve(solver="CLARABEL", tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
        except cp.SolverError:
            return None
    if problem.status not in ("optimal", "optimal_inaccurate"):
        return None
    # Shares just below 0 have no logarithm.
    x.value = np.maximum(x.value, 1e-300)
    return x.value, problem.objective.value


def sign_of(law):
    return np.array([1.0 if one == "min" else -1.0 for one in law.direction])


def at(law, w):
    return law.predict(np.asarray(w)[None, :])[0]


# Guards.


@pytest.mark.parametrize("seed", range(8))
def test_guards_equal_the_conic_solver(seed):
    law = Convex(seed)
    region = random_region(law, seed)
    signs = sign_of(law)
    proposal = propose(law, region, objective="text", guard={"code_*": "1 sd", "acc": "2 %"}, kl=0.02)
    here = at(law, region.prior) * signs
    most = here + np.array([0.002, 0.004, np.inf, 0.02 * abs(here[3])])
    _, value = conic(law, region, weight=np.array([0.0, 0.0, 1.0, 0.0]), kl=0.02, most=most)
    assert proposal.status == "optimal"
    assert proposal.value == pytest.approx(value, abs=2e-7)
    assert (at(law, proposal.mixture.weights) * signs <= most + 1e-8).all()


def test_a_guard_says_what_it_costs():
    law = Convex(3)
    region = random_region(law, 3)
    tight = propose(law, region, objective="text", guard={"*": 0}, kl=0.01)
    bound = [one for one in tight.guards if one.binds]
    assert bound
    for one in bound:
        loose = propose(
            law, region, objective="text", guard={**dict.fromkeys(("code_*", "acc"), 0), one.metric: 1e-4}, kl=0.01
        )
        assert (tight.value - loose.value) / 1e-4 == pytest.approx(one.price, rel=0.02)
        assert one.price_per_sd == pytest.approx(one.price * law.noise[one.metric])
        assert f"the guard of {one.metric}" in tight.summary()
    assert tight.limited == {one.metric: one.price for one in bound}
    assert [one["metric"] for one in tight.to_dict()["guards"]] == ["code_py", "code_rs", "acc"]


def test_the_cost_of_guards_is_what_the_objective_would_gain_without_them():
    law, region = Convex(3), random_region(Convex(3), 3)
    options = {"objective": "text", "kl": 0.01}
    guarded, free = (propose(law, region, guard=guard, **options) for guard in ({"*": 0}, None))
    assert cost_of_guards(guarded) == pytest.approx(guarded.value - free.value, abs=1e-9)
    assert cost_of_guards(guarded) > 1e-4
    assert cost_of_guards(free) is None
    # A search proves nothing, and without goals the least change is none.
    assert cost_of_guards(propose(law, region, guard={"*": 0}, method="search", **options)) is None
    assert cost_of_guards(reach(law, region, {"text": "0.001 better"})) is None


class Halves:
    """Twelve runs, as `bootstrap` takes them."""

    runs = tuple(map(str, range(12)))

    def subset(self, index):
        return self


def test_guards_keep_their_amount_in_every_half_of_the_runs_and_halves_without_an_answer_are_counted():
    law = Convex(3)
    options = {"fit": lambda runs, fitted: next(fits), "draws": 4, "objective": "text", "scale": "noise", "kl": 0.01}
    # The halves know no noise; the goals of one of them conflict.
    halves = [Convex(3, noise=False) for _ in range(3)]
    region = Region(DOMAINS, floor={"books": 0.3})
    impossible = Convex(3, noise=False)
    impossible.a[:2] = [0.0, 0.0, 5.0, 0.0, 0.0]
    guard = {"code_*": "1 sd", "acc": "9 sd"}
    fits = iter([law, *halves, impossible])
    found = bootstrap(Halves(), law, region, guard=guard, **options)
    assert found.refused == 1
    assert found.shares.shape == (3, 5)
    # The same law gives the same mixture, although "sd" means nothing to it.
    np.testing.assert_allclose(found.shares, np.tile(found.proposal.mixture.weights, (3, 1)), atol=1e-6)
    assert found.doubt.startswith("laws fitted to 1 of 4 halves of the runs find no mixture that keeps the guards")
    fits = iter([law, halves[0], *[impossible] * 3])
    with pytest.raises(InfeasibleError, match="laws fitted to 3 of 4 halves of the runs find no mixture"):
        bootstrap(Halves(), law, region, guard=guard, **options)


def test_a_name_goes_before_patterns_and_the_longer_pattern_before_the_shorter():
    law = Convex(0)
    found = propose(law, objective="text", guard={"*": "1 sd", "code_r*": 0.5, "code_*": 0.25, "acc": 0.125}, kl=1.0)
    assert {one.metric: one.given for one in found.guards} == {"code_py": "0.25", "code_rs": "0.5", "acc": "0.125"}
    everything = propose(law, objective="worst", guard={"*": 1}, kl=1.0)
    assert len(everything.guards) == 4


def test_patterns_are_those_of_the_commands():
    law = Convex(3)
    found = propose(law, objective="*_py", guard={"*_rs": "1 %", "t?xt": "2 %", "[a]*": 0.1}, reference=EVEN)
    assert {one.metric: one.given for one in found.guards} == {"code_rs": "1 %", "text": "2 %", "acc": "0.1"}
    assert {name for name, weight in found.objective.items() if weight} == {"code_py"}
    assert [goal.metric for goal in reach(law, None, {"*_??": "0.1 % better"}, near=EVEN).goals] == [
        "code_py",
        "code_rs",
    ]


@pytest.mark.parametrize("of", [lambda law: law, Searched], ids=["exact", "searched"])
@pytest.mark.parametrize("objective", ["code_rs", "code_py"])
def test_the_unit_of_a_metric_changes_neither_the_mixture_nor_how_well_guards_hold(objective, of):
    by = (1e-7, 1e6, 1e-3, 1e5)
    law, other = Convex(3), InOtherUnits(3, by)
    region, guard = random_region(law, 3), {"code_*": "1 %", "text": "0.1 sd", "acc": "1 sd"}
    want, got = (propose(of(one), region, objective=objective, guard=guard) for one in (law, other))
    assert got.status == ("optimal" if got.method == "exact" else "searched")
    assert got.mixture.total_variation(want.mixture) < (1e-6 if got.method == "exact" else 0.02)
    for one, old in zip(got.guards, want.guards, strict=True):
        size = law.spread[one.metric] * by[METRICS.index(one.metric)]
        assert not one.violated
        assert one.slack > -1e-6 * size
        assert one.binds == old.binds


def test_the_worst_metric_under_guards_equals_the_conic_solver():
    cp = pytest.importorskip("cvxpy")
    law = Convex(5)
    region = random_region(law, 5)
    here = at(law, region.prior)
    found = propose(law, region, objective="worst", scale="noise", guard={"acc": 0, "code_py": "1 sd"})
    assert found.status == "optimal"
    x, noise = cp.Variable(5), np.array(list(law.noise.values()))
    metrics = cp.hstack([cp.exp(law.a @ x) + np.exp(law.gamma), -(law.b @ x)])
    factor = (1.0 / noise) / (1.0 / noise).mean()
    limits = [
        x >= region.floor,
        x <= region.cap,
        cp.sum(x) == 1,
        -metrics[3] >= here[3],
        metrics[0] <= here[0] + noise[0],
    ]
    limits += [region.bound_rows @ x >= region.bound_lower, region.bound_rows @ x <= region.bound_upper]
    problem = cp.Problem(cp.Minimize(cp.max(cp.multiply(factor, metrics - here * sign_of(law)))), limits)
    problem.solve(solver="CLARABEL")
    assert found.value == pytest.approx(problem.value, abs=1e-6)


def test_guards_that_no_mixture_keeps_are_refused_with_the_best_value():
    law = Convex(1)
    best = propose(law, objective="text", guard={"acc": 9}).mixture
    region = Region(law.domains, cap=np.maximum(0.7 * best.weights, 0.25))
    least = propose(law, region, objective="text").predicted["text"]
    with pytest.raises(
        InfeasibleError, match=rf"keeps every guard: .* text cannot be better than {least:.6g}.*, and must be at"
    ):
        propose(law, region, objective="acc", guard={"text": 0}, reference=best)


def test_goals_that_conflict_come_with_a_proof():
    law = Convex(1)
    best = {name: propose(law, objective=name).predicted[name] for name in law.metrics}
    with pytest.raises(
        InfeasibleError, match=r"reaches every goal: .* conflict\. Alone, each can be reached"
    ) as caught:
        reach(law, None, {name: value + (0.01 if name != "acc" else -0.01) for name, value in best.items()}, near=EVEN)
    proof = np.array([caught.value.proof.get(name, 0.0) for name in law.metrics])
    # The weighted excess is above 0 at every mixture.
    w = np.concatenate([np.random.default_rng(0).dirichlet(np.full(5, 0.3), 20_000), np.eye(5)])
    excess = (law.predict(w) - list(best.values())) * sign_of(law) - 0.01
    assert proof.min() >= 0.0
    assert (excess @ proof).min() > 0.0


def test_a_search_keeps_guards_or_says_which_it_breaks():
    law = Searched(Convex(3))
    region = random_region(law, 3)
    exact = propose(Convex(3), region, objective="text", guard={"*": 0}, kl=0.01)
    found = propose(law, region, objective="text", guard={"*": 0}, kl=0.01)
    assert found.status == "searched"
    assert not any(one.violated for one in found.guards)
    assert all(one.price is None for one in found.guards)
    assert found.value == pytest.approx(exact.value, abs=2e-3)
    broken = propose(
        law, region, objective="text", guard={"*": 0}, reference=dict(zip(law.domains, [0, 0, 1, 0, 0], strict=True))
    )
    if any(one.violated for one in broken.guards):
        assert any("found no mixture that keeps every limit" in doubt for doubt in broken.doubts)


def test_without_seed_noise_sd_is_that_of_the_runs_and_it_is_said():
    law = Convex(0, noise=False)
    found = propose(law, objective="text", guard={"acc": "1 sd"}, kl=1.0)
    assert found.guards[0].limit == pytest.approx(found.guards[0].reference - 0.05)
    assert any("no seed noise is known for acc (0.05)" in doubt for doubt in found.doubts)


@pytest.mark.parametrize(
    ("guard", "message"),
    [
        ({}, "guard is empty"),
        (0.1, "guard is float"),
        ({"txt": 1}, "guard names 'txt', which the law does not know .did you mean text"),
        ({"acc": -1}, "expected how much worse than at the reference the metric may be"),
        ({"acc": "1 sd better"}, "expected how much worse"),
        ({"acc": "<= 1"}, "expected how much worse"),
        ({"acc": "one sd"}, "guard..acc.. is 'one sd', expected"),
        ({"acc": "1e999"}, "expected how much worse"),
        ({"acc": True}, "expected how much worse"),
        ({"acc": None}, "expected how much worse"),
    ],
)
def test_malformed_guards_are_refused(guard, message):
    with pytest.raises(ValueError, match=message):
        propose(Convex(0), objective="text", guard=guard)


def test_guard_and_tolerance_are_one_thing():
    law = Convex(2)
    region = random_region(law, 2)
    with pytest.raises(ValueError, match="guard and tolerance are given"):
        propose(law, region, objective="text", guard={"acc": 0}, tolerance=0.1)
    one = propose(law, region, objective="text", guard={"acc": 0.01, "code_py": 0.0}, kl=0.01)
    other = propose(law, region, objective="text", tolerance={"acc": 0.01, "code_py": 0.0}, kl=0.01)
    assert np.array_equal(one.mixture.weights, other.mixture.weights)
    assert one.limited == other.limited
    with pytest.raises(ValueError, match="the objective names all"):
        propose(law, region, objective=dict.fromkeys(law.metrics, 1.0), guard={"*": 0})


# Scaled objectives.


def test_scales_divide_each_metric_and_keep_the_sum_of_weights():
    law = Convex(0)
    noise = np.array(list(law.noise.values()))
    here = np.abs(at(law, np.full(5, 0.2)))
    for scale, size in (("spread", np.full(4, 0.05)), ("noise", noise), ("reference", here)):
        weight = np.array([1.0, 2.0, 0.0, 3.0]) / size
        found = propose(law, objective={"code_py": 1, "code_rs": 2, "acc": 3}, scale=scale)
        assert list(found.objective.values()) == pytest.approx((weight / weight.sum()).tolist())
        assert found.target.scaled
    assert propose(law, objective="standardised").objective == propose(law, scale="spread").objective


def test_advice_on_kl_scores_in_the_scale_of_the_proposals():
    law = Convex(0)
    region = Region(law.domains, prior=np.full(5, 0.2))
    advice = advise_kl(lambda rows: law, 8, region, [0.1, 1.0], objective="worst", scale="noise", repeats=1)
    found = propose(law, region, objective="worst", scale="noise", kl=1.0)
    assert advice.scores[1] == pytest.approx(float(found.target.score(found.expected)[0]), abs=1e-6)


def test_scales_that_are_not_known_are_refused_by_name():
    law = Convex(0)
    del law.noise["text"]
    with pytest.raises(
        ValueError,
        match="scale='noise' divides each metric by its seed standard deviation, which is unknown or 0 for text",
    ):
        propose(law, scale="noise")
    assert propose(law, objective={"acc": 1, "code_py": 1}, scale="noise").objective["acc"] > 0.0
    with pytest.raises(ValueError, match=r"scale is 'nois' .did you mean noise"):
        propose(law, scale="nois")
    with pytest.raises(ValueError, match="leave out one of the two"):
        propose(law, objective="standardised", scale="noise")


# The least change that reaches goals.


@pytest.mark.parametrize("seed", range(10))
def test_the_least_change_equals_the_conic_solver(seed):
    law = Convex(seed)
    region = random_region(law, seed)
    near = np.random.default_rng(seed + 5).dirichlet(np.ones(5))
    here, signs = at(law, near), sign_of(law)
    goals = {"text": "3 % better", "acc": f">= {here[3] * 1.02}"}
    most = np.array([here[0] + 0.002, here[1] + 0.004, 0.97 * here[2], -1.02 * here[3]])
    answer = conic(law, region, kl=1.0, near=near, most=most)
    arguments = {"near": dict(zip(law.domains, near.tolist(), strict=True)), "guard": {"*": "1 sd"}}
    if answer is None:
        with pytest.raises(InfeasibleError):
            reach(law, region, goals, **arguments)
        return
    found = reach(law, region, goals, **arguments)
    assert isinstance(found, LeastChange)
    assert found.status == "optimal"
    assert found.change == pytest.approx(answer[1], abs=1e-6)
    assert found.gap <= 1e-9
    assert region.violation(found.mixture.weights) < 1e-12
    assert (at(law, found.mixture.weights) * signs <= most + 1e-8).all()
    assert found.reached


def test_goals_with_prices_far_below_the_penalty_are_certified_too():
    """Goals whose prices sum to 365 were solved with a penalty of 1000, and ended with a gap of 9e-6."""
    rng = np.random.default_rng(51)
    losses, scores, domains = (int(rng.integers(*ends)) for ends in ((1, 9), (0, 4), (3, 20)))
    law = Convex(51, losses=losses, scores=scores, domains=domains)
    near = 0.95 * rng.dirichlet(np.ones(domains)) + 0.05 / domains
    rng.choice(5, losses + scores)
    change = rng.choice([-0.1, -0.05, 0.02], losses + scores).tolist()
    words = (f"{100 * abs(one):g} % {'better' if one < 0 else 'worse'}" for one in change)
    found = reach(
        law,
        random_region(law, 51),
        dict(zip(law.metrics, words, strict=True)),
        near=dict(zip(law.domains, near, strict=True)),
    )
    assert found.status == "optimal"
    assert sum(found.limited.values()) == pytest.approx(365.0, rel=0.01)


def test_laws_in_epochs_are_guarded_and_reached_exactly():
    rng = np.random.default_rng(0)
    tokens, budget = dict(zip(DOMAINS, (5e8, 1e9, 2e9, 3e9, 5e9), strict=True)), 1e10
    ratios = rng.dirichlet(np.ones(5), 40)
    epochs = ratios * budget / np.array(list(tokens.values()))
    gains = (1.0 - np.exp(-np.sqrt(0.3 * epochs))) @ rng.uniform(0.0, 0.5, (5, 3))
    values = 1.0 + np.exp(0.5 - gains) + rng.normal(size=(40, 3)) * 0.002
    metrics = ["a_loss", "b_loss", "c_loss"]
    swarm = Swarm(ratios, values, domains=DOMAINS, metric_names=metrics, tokens=tokens, budget=budget)
    law = fit(swarm, "epochs", folds=0)
    region = Region.from_tokens({name: int(count) for name, count in tokens.items()}, int(budget), max_epochs=15)
    free = propose(law, region, objective="a_loss", kl=0.01)
    guarded = propose(law, region, objective="a_loss", guard={"*": 0}, kl=0.01)
    worst = propose(law, region, objective="worst", scale="spread", guard={"b_loss": 0})
    assert free.status == guarded.status == worst.status == "optimal"
    assert guarded.value >= free.value - 1e-9
    assert all(one.slack >= -1e-8 for one in (*guarded.guards, *worst.guards))
    goal = 0.5 * (free.predicted["a_loss"] + law.predict(region.prior)[0, 0])
    found = reach(law, region, {"a_loss": goal})
    assert (found.status, found.goals[0].binds) == ("optimal", True)
    # No mixture of the region that is nearer reaches the goal.
    near = 0.2 * rng.dirichlet(region.prior * 50 + 0.1, 4000) + 0.8 * found.mixture.weights
    change = (near * np.log(near / region.prior)).sum(axis=1)
    reaches = (law.predict(near)[:, 0] <= goal) & np.array([region.contains(w) for w in near])
    assert (change[reaches] >= found.change - 1e-9).all()
    with pytest.raises(InfeasibleError, match="a_loss cannot be better than"):
        reach(law, region, {"a_loss": 0.5})


def test_a_goal_says_what_it_costs():
    law = Convex(3)
    here = at(law, np.full(5, 0.2))[2]
    found = reach(law, None, {"text": f"<= {here - 0.05}"}, near=EVEN)
    looser = reach(law, None, {"text": f"<= {here - 0.05 + 1e-4}"}, near=EVEN)
    assert found.goals[0].binds
    assert (found.change - looser.change) / 1e-4 == pytest.approx(found.limited["text"], rel=0.01)
    assert "nats saved per unit" in found.summary()


def test_goals_that_are_reached_already_change_nothing():
    law = Convex(0)
    found = reach(law, None, {"*": "0 better"}, near=EVEN)
    assert found.change == pytest.approx(0.0, abs=1e-12)
    assert found.mixture.weights == pytest.approx(np.full(5, 0.2))
    assert "near already reaches every goal, so nothing changes." in found.summary()
    assert "already" not in reach(law, None, {"text": "0.001 better"}, near=EVEN).summary()


def test_a_goal_out_of_reach_comes_with_the_best_value_that_can_be_reached():
    law = Convex(0)
    best = propose(law, objective="text").predicted["text"]
    with pytest.raises(
        InfeasibleError, match=f"text cannot be better than {best:.6g}.*, and must be at most 0.1"
    ) as caught:
        reach(law, None, {"text": 0.1}, near=EVEN)
    assert caught.value.proof == {"text": pytest.approx(1.0)}
    with pytest.raises(InfeasibleError, match=r"acc cannot be better than 0.6365, and must be at least 0.99"):
        reach(law, None, {"acc": ">= 0.99"}, near=EVEN)


def test_a_domain_without_a_share_nearby_gets_none():
    law = Convex(0)
    near = dict(zip(law.domains, [0.5, 0.5, 0.0, 0.0, 0.0], strict=True))
    here = at(law, list(near.values()))
    w = np.linspace(0.0, 1.0, 2001)
    points = np.stack([w, 1.0 - w, *np.zeros((3, w.size))], axis=1)
    goal = 0.5 * (here[2] + law.predict(points)[:, 2].min())
    found = reach(law, None, {"text": goal}, near=near)
    assert found.mixture.weights[2:].tolist() == [0.0, 0.0, 0.0]
    assert any("near gives no share to books, maths, news" in doubt for doubt in found.doubts)
    floors = Region(law.domains, floor={"books": 0.1})
    with pytest.raises(InfeasibleError, match="near gives no share to books, maths, news"):
        reach(law, floors, {"text": goal}, near=near)


def test_a_search_for_the_least_change_comes_near_the_exact_one_and_proves_nothing():
    law, near = Convex(3), EVEN
    exact = reach(law, None, {"text": "3 % better", "acc": "0 worse"}, near=near)
    found = reach(Searched(law), None, {"text": "3 % better", "acc": "0 worse"}, near=near)
    assert (found.status, found.gap, found.reached) == ("searched", None, True)
    assert exact.change <= found.change <= exact.change + 5e-3
    far = reach(Searched(law), None, {"text": 0.1}, near=near)
    assert not far.reached
    assert "It proves nothing" in far.summary()


@pytest.mark.parametrize(
    ("goals", "message"),
    [
        ({}, "goals is empty"),
        ({"text": ">= 1"}, "less is better for text: its goal begins with <="),
        ({"acc": "<= 0.5"}, "more is better for acc: its goal begins with >="),
        ({"text": "2 %"}, "say whether that is better or worse, as '2 % better'"),
        ({"acc": ">= 56 %"}, "without a unit, as '>= 56' or '>= 0.56', or a change from near, as '56 % better'"),
        ({"text": "-1 sd better"}, "expected a value as '<= 0.9'"),
        ({"text": "< 0.9"}, "expected a value as"),
        ({"text": "nan"}, "expected a value as"),
        ({"text": float("nan")}, "expected a value as"),
        ({"no*": 1}, "goals names 'no\\*'"),
    ],
)
def test_malformed_goals_are_refused(goals, message):
    with pytest.raises(ValueError, match=message):
        reach(Convex(0), None, goals, near=EVEN)


def test_reach_needs_a_mixture_to_stay_near():
    law = Convex(0)
    with pytest.raises(ValueError, match="near is not given"):
        reach(law, None, {"text": 0.5})
    with pytest.raises(AlignmentError):
        reach(law, None, {"text": 0.5}, near={"web": 1.0})
    with pytest.raises(ValueError, match="goals and guard both name text"):
        reach(law, None, {"text": 9.0}, near=EVEN, guard={"text": 0})
    with pytest.raises(ValueError, match="reach has no simulation"):
        reach(law, None, {"text": 9.0}, near=EVEN, method="regmix")
    region = Region(law.domains, prior=np.full(5, 0.2))
    assert reach(law, region, {"text": 9.0}).change == pytest.approx(0.0, abs=1e-12)


def test_a_gain_in_metrics_that_cannot_rank_the_runs_is_doubted():
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(3), 24)
    ratios[:10] = ratios[0]
    steady = ratios @ [0.5, 0.6, 0.4] + 0.001 * rng.normal(size=24)
    values = np.column_stack([steady, rng.normal(size=(24, 3))])
    names = ["steady", "noisy0", "noisy1", "noisy2"]
    law = fit(Swarm(ratios, values, domains=["a", "b", "c"], metric_names=names), "linear", folds=0)
    dominated = propose(law, objective={"steady": 1.0, "noisy1": 1.0})
    (doubt,) = (one for one in dominated.doubts if "cannot rank the runs" in one)
    assert "% of the expected gain is in metrics that cannot rank the runs" in doubt
    assert "steady" not in doubt
    assert "noisy1" in doubt
    for objective in ("steady", {"steady": 100.0, "noisy1": 1.0}):
        assert not [one for one in propose(law, objective=objective).doubts if "cannot rank" in one]
