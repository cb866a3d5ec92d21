"""The next runs: their expected gain is computed as documented, and on real runs they find the best mixture sooner."""

from __future__ import annotations

import itertools

import epoch_laws
import numpy as np
import pytest

from mixfast.designs import _acquisition, design, next_runs
from mixfast.errors import AlignmentError, RegionError
from mixfast.laws import Target, fit, resolve
from mixfast.laws.gaussian import GaussianProcess
from mixfast.region import Region
from mixfast.swarm import Swarm

pytest.importorskip("numba")
pytest.importorskip("scipy")
KNeighborsRegressor = pytest.importorskip("sklearn.neighbors").KNeighborsRegressor

NAMES = ["a", "b", "c", "d"]
SLOPES = np.array([[-1.0, 0.3, 0.8, -0.4], [0.2, -1.5, 0.5, 0.1]])
REGION = Region(NAMES, cap={"a": 0.7})


def losses(ratios, noise=0.002, seed=0):
    return (
        1.5
        + np.exp(0.3 + ratios @ SLOPES.T)
        + noise * np.random.default_rng(seed).standard_normal((len(ratios), len(SLOPES)))
    )


def planted(runs=20):
    found = design(REGION, runs, seed=0)
    return found.with_metrics(losses(found.ratios), ["one", "two"])


def test_information_is_the_growth_of_the_determinant():
    swarm = planted()
    law = fit(swarm, "log_linear", folds=0)
    found = next_runs(swarm, law, REGION, 5, objective="two", seed=1)
    assert found.bought.startswith("nats")
    fitted, j = law.law_of("two")
    rows = found.design.ratios
    gradient = np.column_stack([np.ones(5), np.exp(rows @ fitted.a[j])[:, None] * rows])
    within = np.eye(5) + gradient @ fitted.covariance[j] @ gradient.T / fitted.noise[j] ** 2
    assert found.gain.sum() == pytest.approx(0.5 * np.linalg.slogdet(within)[1], rel=1e-6)
    assert (np.diff(found.gain) <= 1e-12).all()
    assert all(REGION.violation(row) <= 1e-12 for row in rows)
    assert set(found.design.runs).isdisjoint(swarm.runs)


def test_informative_runs_tell_more_than_others():
    # Runs that were all made near one mixture.
    rng = np.random.default_rng(0)
    first = rng.dirichlet(np.full(4, 40.0), 12)
    swarm = Swarm(first, losses(first), domains=NAMES, metric_names=["one", "two"])
    law = fit(swarm, "log_linear", folds=0)
    probe = design(REGION, 50, seed=7).ratios

    def error(more, seed):
        ratios = np.concatenate([swarm.ratios, more])
        both = Swarm(ratios, losses(ratios, noise=0.02, seed=seed), domains=NAMES, metric_names=["one", "two"])
        return np.square(fit(both, "log_linear", folds=0).predict(probe) - losses(probe, noise=0.0)).mean()

    ours = np.mean([error(next_runs(swarm, law, REGION, 8, seed=s).design.ratios, s) for s in range(10)])
    drawn = np.mean([error(rng.dirichlet(np.ones(4), 8), s) for s in range(10)])
    assert ours < 0.5 * drawn, (ours, drawn)


def test_greedy_information_is_near_the_best_of_all_choices():
    swarm = planted()
    law = fit(swarm, "log_linear", folds=0)
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(20):
        points, weight = rng.dirichlet(np.full(4, 0.7), 12), np.array([0.7, 0.3])
        _, nats = _acquisition.informative(weight, law.predict(points), law.joint(points, law.metrics), 3)
        best = 0.0
        # The joint information of three runs, for every three of the pool.
        shapes = []
        for j in range(2):
            gradient = np.column_stack([np.ones(12), np.exp(points @ law.parts[0].law.a[j])[:, None] * points])
            fitted = law.parts[0].law
            shapes.append(gradient @ fitted.covariance[j] @ gradient.T / fitted.noise[j] ** 2)
        for three in itertools.combinations(range(12), 3):
            within = [np.eye(3) + shape[np.ix_(three, three)] for shape in shapes]
            best = max(best, sum(0.5 * w * np.linalg.slogdet(a)[1] for w, a in zip(weight, within, strict=True)))
        parts.append(nats.sum() / best)
    assert max(parts) <= 1.0 + 1e-9
    assert min(parts) >= 1.0 - np.exp(-1.0)
    assert np.mean(np.array(parts) > 0.95) >= 0.9, parts


@pytest.mark.parametrize("mean", ["log_linear", "linear", "constant"])
def test_a_chosen_run_tells_what_a_refit_with_the_same_settings_says(mean):
    swarm = planted(24)
    values = swarm.values.copy()
    values[3, 0] = np.nan
    law = GaussianProcess(mean=mean).fit(swarm.ratios, values)
    points = design(REGION, 40, seed=4).ratios
    rows = [5, 17, 30, 5]
    state = law.state()
    state["x"] = np.concatenate([law._x, points[rows]])
    state["y"] = np.concatenate([law._y, np.full((len(rows), 2), 3.0)])
    # Weight 0, so that medians, to which error bars are proportional, do not change.
    state["alpha"] = np.hstack([state["alpha"], np.zeros((2, len(rows)))])
    more = GaussianProcess.from_state(state)
    for j, joint in enumerate(law.joint(points, [0, 1])):
        np.testing.assert_allclose(joint.variance + joint.noise, law.sd(points)[:, j] ** 2, rtol=1e-8)
        np.testing.assert_allclose([joint.column(k)[k] for k in range(40)], joint.variance, rtol=1e-6, atol=1e-14)
        for row in rows:
            joint.choose(row)
        np.testing.assert_allclose(joint.variance + joint.noise, more.sd(points)[:, j] ** 2, rtol=1e-6)
        again = more.joint(points, [j])[0]
        np.testing.assert_allclose(joint.column(9), again.column(9), rtol=1e-5, atol=1e-6 * again.variance.max())


@pytest.mark.parametrize("name", ["linear", "log_linear", "autoscale", "bimix"])
def test_coefficients_learn_from_chosen_runs_by_bayes_rule(name):
    swarm = planted(30)
    fitted = fit(swarm, name, folds=0)
    points = design(REGION, 12, seed=4).ratios
    for j, joint in enumerate(fitted.joint(points, fitted.metrics)):
        assert joint.noise[0] > 0.0
        level = fitted.sd(points)[:, j] ** 2
        np.testing.assert_allclose(joint.variance + joint.noise, level, rtol=1e-8)
        full = np.stack([joint.column(k) for k in range(12)])
        for row in (3, 7):
            joint.choose(row)
        seen = full[:, [3, 7]]
        left = full - seen @ np.linalg.solve(seen[[3, 7]] + joint.noise[0] * np.eye(2), seen.T)
        np.testing.assert_allclose(np.stack([joint.column(k) for k in range(12)]), left, atol=1e-9 * level.max())
        np.testing.assert_allclose(joint.variance, np.diag(left), rtol=1e-6, atol=1e-9 * level.max())


@pytest.mark.parametrize("law", ["gp", "log_linear", "linear", "bimix"])
def test_draws_have_the_mean_and_the_covariances_that_are_told(law):
    swarm = planted(60)
    fitted = fit(swarm, law, folds=0)
    points = np.repeat(design(REGION, 10, seed=4).ratios, 2, axis=0)
    mean = fitted.predict(points)
    for j, joint in enumerate(fitted.joint(points, fitted.metrics)):
        draws = joint.draw(20_000, np.random.default_rng(0))
        np.testing.assert_array_less(np.abs(np.median(draws, axis=0) - mean[:, j]), 0.1 * np.sqrt(joint.variance))
        told = np.stack([joint.column(k) for k in range(20)])
        # Duplicates of a mixture get the same samples, up to the square root of a rounding error.
        np.testing.assert_allclose(draws[:, ::2], draws[:, 1::2], atol=1e-3 * np.sqrt(told.max()))
        np.testing.assert_allclose(np.cov(draws.T), told, atol=0.1 * told.diagonal().max())


def test_draws_of_a_log_linear_law_are_log_linear_laws():
    swarm = planted(12)
    law = fit(swarm, "log_linear", folds=0)
    a, b = np.array([0.6, 0.2, 0.1, 0.1]), np.array([0.1, 0.1, 0.5, 0.3])
    line = np.linspace(0.0, 1.0, 5)[:, None] * a + np.linspace(1.0, 0.0, 5)[:, None] * b
    values = law.joint(line, ["one"])[0].draw(50, np.random.default_rng(0))
    steps = np.diff(values, axis=1)
    # Along a line of mixtures, a constant plus an exponential: consecutive steps have a constant ratio.
    ratio = steps[:, 1:] / steps[:, :-1]
    np.testing.assert_allclose(ratio, ratio[:, :1] * np.ones(3), rtol=1e-6)
    assert ratio[:, 0].std() > 0.0


def test_expected_improvement_is_the_integral():
    mean, sd = np.array([1.0, 0.5, 3.0, 1.0, 0.2]), np.array([0.3, 0.1, 0.5, 0.0, 0.0])
    draws = np.random.default_rng(0).standard_normal(400_000)
    want = [np.maximum(0.9 - (m + s * draws), 0.0).mean() for m, s in zip(mean, sd, strict=True)]
    np.testing.assert_allclose(_acquisition.expected_improvement(mean, sd, 0.9), want, atol=6e-4)
    far = _acquisition.expected_improvement(np.array([100.0]), np.array([0.1]), 0.0)
    assert 0.0 <= far[0] < 1e-300


def test_expected_improvement_above_a_limit_is_the_integral():
    mean, sd = np.array([1.0, 0.6, 3.0, 0.8, 0.7, 1e5]), np.array([0.3, 0.05, 9.0, 0.0, 0.0, 1e6])
    draws = np.random.default_rng(0).standard_normal(400_000)
    limit, best = 0.5, 0.75
    want = [
        np.maximum(best - limit - (m - limit) * np.exp(s / (m - limit) * draws), 0.0).mean()
        for m, s in zip(mean, sd, strict=True)
    ]
    found = _acquisition.expected_improvement(mean, sd, best, limit)
    np.testing.assert_allclose(found, want, atol=6e-4)
    # Small errors are the same on both scales, and nothing is better than the limit.
    near = np.array([0.9, 0.75]), np.array([1e-6, 1e-6])
    plain = _acquisition.expected_improvement(*near, best)
    np.testing.assert_allclose(_acquisition.expected_improvement(*near, best, limit), plain, rtol=1e-4, atol=1e-12)
    assert (_acquisition.expected_improvement(mean, sd, 0.4, limit) == 0.0).all()
    # Predictions and errors that overflow count as certainly bad.
    with np.errstate(all="raise", under="ignore"):
        huge = _acquisition.expected_improvement(np.array([np.inf, 1.0]), np.array([np.inf, 0.3]), best, limit)
    assert huge[0] < 1e-3 < huge[1]


def test_runs_are_not_chosen_where_an_exponential_law_predicts_a_huge_loss():
    """Errors are largest where a law in epochs predicts the largest losses: with normal errors, a run is chosen above all measured ones."""
    rng = np.random.default_rng(0)
    names, rate = [f"d{k}" for k in range(8)], np.exp(rng.normal(2.5, 1.3, 8))
    w, a, h = rng.dirichlet(np.full(8, 0.5), 20), rng.gamma(1.0, 0.5, 8), rng.gamma(1.0, 0.1, 8)
    exponent = -(1.0 - np.exp(-0.5 * w * rate)) @ a + 0.3 * np.maximum(w * rate - 2.0, 0.0) @ h
    loss = 1.0 + np.exp(exponent) + 0.03 * rng.standard_normal(20)
    tokens = dict(zip(names, 1e9 / rate, strict=True))
    swarm = Swarm(w, loss[:, None], domains=names, metric_names=["loss"], tokens=tokens, budget=1e9)
    found = next_runs(swarm, fit(swarm, "epochs", folds=0), Region(names), 8, seed=0)
    assert (found.predicted < loss.max()).all()


def test_runs_are_not_chosen_where_powers_of_a_share_explode():
    """BiMix predicts 1e9 at a share of 0, with an error as large."""
    rng = np.random.default_rng(0)
    names, w = [f"d{k}" for k in range(8)], rng.dirichlet(np.full(8, 0.7), 20)
    loss = (rng.gamma(1.0, 0.3, 8) * np.maximum(w, 1e-3) ** -rng.gamma(1.0, 0.2, 8)).sum(axis=1)
    loss += 0.05 * rng.standard_normal(20)
    swarm = Swarm(w, loss[:, None], domains=names, metric_names=["loss"])
    found = next_runs(swarm, fit(swarm, "bimix", folds=0), Region(names), 6, seed=0)
    assert found.predicted.max() < 100.0 * loss.max()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_runs_are_not_chosen_for_errors_that_exceed_a_huge_prediction(seed):
    """BiMix errs here by hundreds of times its prediction, and then comes near its limit with a probability of one half."""
    rng = np.random.default_rng(seed)
    names, w, rate = list("abcd"), rng.dirichlet(np.full(4, 0.7), 40), 8.0 * np.exp(rng.normal(0.0, 0.8, 4))
    epochs, a = w * rate, rng.uniform(0.1, 0.8, (2, 4))
    loss = 0.6 + np.exp(
        0.4 - (1.0 - np.exp(-((0.5 * epochs) ** 0.8))) @ a.T + 0.3 * np.log1p(np.exp(epochs[:, :1] - 3))
    )
    swarm = Swarm(w, loss + 0.005 * rng.standard_normal(loss.shape), domains=names, metric_names=["x_loss", "y_loss"])
    found = next_runs(swarm, fit(swarm, "bimix", folds=0), Region(names), 4, seed=0)
    assert (found.predicted < 2.0 * loss.mean(axis=1).max()).all()
    assert (found.gain < 0.3 * found.best).all()


def test_improving_runs_go_where_the_loss_is_low_and_not_twice():
    swarm = planted(24)
    law = fit(swarm, "gp", folds=0)
    found = next_runs(swarm, law, REGION, 4, seed=0)
    assert found.bought == "expected improvement of the objective"
    assert (found.gain >= 0.0).all()
    truth = losses(found.design.ratios, noise=0.0).mean(axis=1)
    assert truth.min() < losses(swarm.ratios, noise=0.0).mean(axis=1).min() + 0.003
    roots = np.sqrt(found.design.ratios)
    assert np.linalg.norm(roots[:, None] - roots[None], axis=2)[np.triu_indices(4, 1)].min() > 1e-3
    again = next_runs(swarm, law, REGION, 4, seed=0)
    np.testing.assert_array_equal(found.design.ratios, again.design.ratios)
    assert f"{found.design.runs[0]}: gain" in str(found)


@pytest.mark.parametrize("objective", [None, "worst", {"one": 2.0, "two": 1.0}])
@pytest.mark.parametrize("law", ["gp", "log_linear"])
def test_thompson_runs_are_told_by_the_seed(law, objective):
    swarm = planted(12)
    fitted = fit(swarm, law, folds=0)
    options = {"objective": objective, "way": "thompson"}
    found = next_runs(swarm, fitted, REGION, 6, seed=3, **options)
    again = next_runs(swarm, fitted, REGION, 6, seed=3, **options)
    np.testing.assert_array_equal(found.design.ratios, again.design.ratios)
    np.testing.assert_array_equal(found.gain, again.gain)
    other = next_runs(swarm, fitted, REGION, 6, seed=4, **options)
    assert np.abs(found.design.ratios - other.design.ratios).max() > 0.0
    assert len(np.unique(found.design.ratios, axis=0)) == 6
    assert all(REGION.violation(row) <= 1e-12 for row in found.design.ratios)
    assert found.bought == "expected improvement of the objective"
    assert (found.gain >= 0.0).all()
    assert found.gain[0] > 0.0


def test_each_thompson_run_is_the_best_of_its_draw():
    class Told:
        variance = np.ones(4)

        def draw(self, count, rng):
            return np.array([[3.0, 1.0, 2.0, 9.0], [3.0, 1.0, 2.0, 9.0], [0.0, 5.0, 5.0, 5.0]])[:count]

    target = Target(("one", "two"), np.array([0.0, 1.0]), np.ones(2), False)
    assert _acquisition.thompson(target, [Told()], 3, seed=0).tolist() == [1, 2, 0]
    upwards = Target(("two",), np.ones(1), -np.ones(1), False)
    assert _acquisition.thompson(upwards, [Told()], 2, seed=0).tolist() == [3, 0]


def test_the_objective_is_as_uncertain_as_its_metrics_apart():
    swarm = planted(16)
    law = fit(swarm, "gp", folds=0)
    points = design(REGION, 30, seed=4).ratios
    values = law.predict(points)
    joints = law.joint(points, law.metrics)
    each = np.stack([joint.variance for joint in joints], axis=1)
    weighed = _acquisition.Covariances(resolve({"one": 3.0, "two": 1.0}, law), values, joints)
    np.testing.assert_allclose(weighed.sd**2, each @ np.array([9.0, 1.0]) / 16.0, rtol=1e-12)
    worst = _acquisition.Covariances(resolve("worst", law), values, joints)
    top = values.argmax(axis=1)
    assert len(set(top.tolist())) == 2
    np.testing.assert_allclose(worst.sd**2, each[np.arange(30), top], rtol=1e-12)
    weighed.choose(4)
    # A run measures both metrics, each with its own noise.
    left = each[4] - each[4] ** 2 / (each[4] + [joint.noise[4] for joint in joints])
    assert weighed.sd[4] ** 2 == pytest.approx(left @ np.array([9.0, 1.0]) / 16.0, rel=1e-6)


def test_a_batch_does_not_spend_its_runs_on_one_place():
    first = design(REGION, 10, seed=0)
    swarm = first.with_metrics(losses(first.ratios, noise=0.0), ["one", "two"])
    law = fit(swarm, "gp", folds=0, mean="constant")
    places = design(REGION, 40, seed=9).ratios
    # Every mixture three times must be as good as once.
    near = np.repeat(places, 3, axis=0) + 1e-7 * np.tile([[0, 0, 0, 0], [1, -1, 0, 0], [-1, 1, 0, 0]], (40, 1))
    near = np.maximum(near, 0.0) / np.maximum(near, 0.0).sum(axis=1, keepdims=True)
    pool = Swarm(near, np.zeros(120), domains=NAMES, metric_names=["none"], runs=[str(k) for k in range(120)])
    found = next_runs(swarm, law, Region(NAMES), 6, among=pool, seed=0)
    assert len({int(run) // 3 for run in found.design.runs}) >= 4
    values = law.predict(near)
    doubt = _acquisition.Covariances(resolve(None, law), values, law.joint(near, law.metrics))
    alone = _acquisition.expected_improvement(values.mean(axis=1), doubt.sd, found.best)
    assert len({row // 3 for row in np.argsort(-alone)[:6].tolist()}) == 2
    assert found.gain[0] == pytest.approx(alone.max(), rel=1e-6)
    assert (np.diff(found.gain) <= 1e-12).all()


def test_laws_without_covariances_improve_by_distance():
    swarm = planted(40)
    for law in (fit(swarm, "gp", folds=0, tasks=1), fit(swarm, KNeighborsRegressor(3), folds=0)):
        assert law.joint(swarm.ratios, law.metrics) is None
        found = next_runs(swarm, law, REGION, 4, way="improvement", seed=0)
        assert len(np.unique(found.design.ratios, axis=0)) == 4
        with pytest.raises(RegionError, match=r"thompson.*one"):
            next_runs(swarm, law, REGION, 4, way="thompson", seed=0)


def test_covariances_of_several_laws_are_found_by_metric():
    swarm = planted(30)
    law = fit(swarm, {"one": "linear", "two": "gp"}, folds=0)
    points = design(REGION, 9, seed=4).ratios
    two, one = law.joint(points, ["two", "one"])
    sd = law.sd(points)
    np.testing.assert_allclose(one.variance + one.noise, sd[:, 0] ** 2, rtol=1e-9)
    np.testing.assert_allclose(two.variance + two.noise, sd[:, 1] ** 2, rtol=1e-9)
    assert law.joint(points, ["one"])[0].variance == pytest.approx(one.variance)
    constant = GaussianProcess().fit(swarm.ratios, np.full((30, 1), 2.0)).joint(points, [0])[0]
    constant.choose(1)
    assert (constant.variance == 0.0).all()
    assert (constant.draw(2, np.random.default_rng(0)) == 2.0).all()


def test_candidates_are_told_by_name_and_never_chosen_again():
    swarm = planted()
    law = fit(swarm, "log_linear", folds=0)
    more = design(REGION, 15, seed=3)
    pool = Swarm(
        np.concatenate([swarm.ratios, more.ratios])[:, ::-1], np.zeros(35), domains=NAMES[::-1],
        metric_names=["none"], runs=[f"run{k}" for k in range(35)],
    )  # fmt: skip
    found = next_runs(swarm, law, REGION.align(["c", "a", "d", "b"]), 6, among=pool, seed=0)
    ids = [int(run[3:]) for run in found.design.runs]
    assert len(set(ids)) == 6
    assert found.design.runs == next_runs(swarm, law, REGION, 6, among=pool, seed=0).design.runs
    both = np.concatenate([swarm.ratios, more.ratios])
    np.testing.assert_allclose(found.design.ratios, both[ids][:, [2, 0, 3, 1]], atol=1e-15)
    assert all(np.abs(swarm.ratios - both[k]).sum(axis=1).min() > 1e-9 for k in ids)


def test_what_next_runs_refuses():
    swarm = planted()
    law = fit(swarm, "log_linear", folds=0)
    other = Region([*NAMES[:3], "e"])
    for region, options, error, words in (
        (REGION, {"q": 0}, RegionError, "q must"),
        (REGION, {"way": "luck"}, RegionError, "luck"),
        (REGION, {"q": 40, "among": design(REGION, 30, seed=5)}, RegionError, "only"),
        (REGION, {"among": design(other, 30, seed=5)}, AlignmentError, "e"),
        (other, {}, AlignmentError, "e"),
    ):
        arguments = {"q": 2, "seed": 0} | options
        with pytest.raises(error, match=words):
            next_runs(swarm, law, region, arguments.pop("q"), **arguments)
    with pytest.raises(RegionError, match="log-linear"):
        next_runs(swarm, fit(swarm, "gp", folds=0), REGION, 2, way="information")


def test_the_best_published_mixture_is_found_in_fewer_than_half_the_runs(shared_data):
    folder = shared_data / "regmix"
    parts = [
        Swarm.from_csv(folder / f"{part}_mixture_1m.csv", folder / f"{part}_pile_loss_1m.csv")
        for part in ("train", "test")
    ]
    metric = next(name for name in parts[0].metrics if "pile_cc" in name)
    parts = [part.align(parts[0].domains).select(metric) for part in parts]
    swarm = Swarm(
        np.concatenate([part.ratios for part in parts]), np.concatenate([part.values for part in parts]),
        domains=parts[0].domains, metric_names=[metric],
    )  # fmt: skip
    loss, region = swarm.values[:, 0], Region(swarm.domains)
    good = loss <= 1.01 * loss.min()
    needed = []
    for seed in range(2):
        # The first runs are poor, so that none of them ends the search.
        have = np.random.default_rng(seed).permutation(np.flatnonzero(~good))[:16].tolist()
        while not good[have].any():
            tried = swarm.subset(have)
            have += map(int, next_runs(tried, fit(tried, "gp", folds=0), region, 2, among=swarm).design.runs)
        needed.append(len(have))
    # Random search needs (R + 1) / (good + 1) runs on average.
    assert max(needed) < 0.5 * (len(loss) + 1) / (good.sum() + 1)


def test_next_runs_say_which_domains_few_runs_will_sample():
    first = np.zeros((12, 4))
    first[:, :3] = np.random.default_rng(0).dirichlet(np.ones(3), 12)
    swarm = Swarm(first, losses(first), domains=NAMES, metric_names=["one", "two"])
    found = next_runs(swarm, fit(swarm, "log_linear", folds=0), REGION, 2, objective="two").design
    assert found.rare == {"d": int((found.ratios[:, 3] >= 1e-5).sum())}


def test_runs_of_different_rates_are_chosen_for_the_run_of_the_region():
    swarm = epoch_laws.runs(budget=np.linspace(5e8, 1e9, 60))
    law = fit(swarm, "epochs", folds=0)
    region = Region.from_tokens(dict.fromkeys(swarm.domains, 10**9), 10**9)
    found = next_runs(swarm, law, region, q=2)
    here = law.for_run(dict.fromkeys(swarm.domains, 1e9), 1e9)
    np.testing.assert_allclose(found.predicted, here.predict(found.design.ratios).mean(axis=1))
    with pytest.raises(ValueError, match="Give the region token counts"):
        next_runs(swarm, law, Region(swarm.domains), q=2)
