"""The law in epochs: planted truths, independent solvers, edge cases, and how it is used through `fit`."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

import mixfast
from mixfast._engine.objectives.epoch_terms import gain, harm
from mixfast.laws import Facts, Fit, compare
from mixfast.laws._epoch_search import by_epochs, columns, deficits, held_out, inner_folds
from mixfast.laws.epochs import Epochs

NAMES = list("abcd")


def planted(runs: int = 60, domains: int = 4, metrics: int = 2, noise: float = 0.005, seed: int = 0):
    """Return mixtures, rates, and metrics of a planted law, in which only the first domain harms."""
    rng = np.random.default_rng(seed)
    ratios = rng.dirichlet(np.full(domains, 0.7), runs)
    rate = 8.0 * np.exp(rng.normal(0.0, 0.8, domains))
    epochs = ratios * rate
    a, h = rng.uniform(0.1, 0.8, (metrics, domains)), np.zeros((metrics, domains))
    h[:, 0] = 0.4
    values = np.stack(
        [0.6 + np.exp(0.4 - gain(epochs, 0.5, 0.8)[0] @ a[j] + harm(epochs, 1.5)[0] @ h[j]) for j in range(metrics)], 1
    )
    return ratios, rate, values + noise * rng.standard_normal(values.shape)


def swarm_of(ratios, rate, values, **more) -> mixfast.Swarm:
    tokens = dict(zip(NAMES, 1e9 / rate, strict=True))
    return mixfast.Swarm(
        ratios, values, domains=NAMES, metric_names=["x_loss", "y_loss"], tokens=tokens, budget=1e9, **more
    )


def by_scipy(seen, target, penalty):
    """Solve the centred non-negative ridge regression by Lawson and Hanson's method."""
    mean, height = seen.mean(axis=0), target.mean()
    rows = np.vstack([(seen - mean) / np.sqrt(len(seen)), np.diag(np.sqrt(penalty))])
    right = np.concatenate([(target - height) / np.sqrt(len(seen)), np.zeros(len(penalty))])
    b = scipy.optimize.nnls(rows, right)[0]
    return height - mean @ b, b


def penalties(seen, domains, ridge):
    variance = seen.var(axis=0)
    gains, harms = variance[:domains].mean(), 300.0 * variance[domains:].mean()
    return ridge * np.r_[np.full(domains, gains), np.full(seen.shape[1] - domains, harms)]


@pytest.mark.parametrize("convex", [True, False])
def test_coefficients_are_those_of_another_solver(convex: bool) -> None:
    ratios, rate, values = planted(runs=40)
    law = Epochs(convex=convex).fit(ratios * rate, values)
    for j in range(2):
        seen = columns(ratios * rate, law.rho[j], law.p[j], law.tau[j], convex=convex)
        deficit = deficits(values[:, j], law.depth[j], 0.0)[0][0]
        np.testing.assert_allclose(values[:, j] - law.floor[j], deficit, rtol=1e-12)
        b0, b = by_scipy(seen, np.log(deficit), penalties(seen, 4, law.ridge[j]))
        np.testing.assert_allclose(np.r_[law.a[j], law.h[j]], b, rtol=1e-5, atol=1e-7)
        assert law.b0[j] == pytest.approx(b0, rel=1e-6)


def test_held_out_errors_are_those_of_another_solver() -> None:
    ratios, rate, values = planted(runs=30)
    seen = columns(ratios * rate, 0.3, 0.7, 1.0, convex=True)
    fold, ridges, delta = np.arange(30) % 3, np.array([1e-1, 1e-3]), np.array([0.05, 0.02])
    deficit = (values - values.min(axis=0) + 0.3).T.copy()
    order = np.argsort(fold, kind="stable")
    by_fold, centred = np.ascontiguousarray(deficit[:, order]), (seen - seen.mean(axis=0))[order]
    found = held_out(centred, 4, np.arange(0, 31, 10), by_fold, delta, np.full(2, np.inf), ridges)
    for j in range(2):
        for i, ridge in enumerate(ridges):
            losses = []
            for f in range(3):
                train, test = fold != f, fold == f
                b0, b = by_scipy(seen[train], np.log(deficit[j, train]), penalties(seen[train], 4, ridge))
                miss = np.abs(deficit[j, test] - np.exp(b0 + seen[test] @ b))
                losses += np.where(miss <= delta[j], 0.5 * miss**2, delta[j] * (miss - 0.5 * delta[j])).tolist()
            assert found[j, i] == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("convex", [True, False])
def test_the_law_predicts_new_runs_of_a_planted_truth_to_the_noise(convex: bool) -> None:
    ratios, rate, values = planted(runs=160, noise=0.005)
    law = Epochs(convex=convex).fit((ratios * rate)[:100], values[:100])
    error = law.predict((ratios * rate)[100:]) - values[100:]
    assert np.sqrt((error**2).mean()) < 2.0 * 0.005


def test_the_domain_that_harms_is_found() -> None:
    ratios, rate, values = planted(runs=160, noise=0.005)
    law = Epochs().fit(ratios * rate, values)
    many = np.tile(ratios.mean(axis=0) * rate, (2, 1))
    for k in range(4):
        at = many.copy()
        at[1, k] = (ratios * rate)[:, k].max()
        worse = np.diff(law.predict(at), axis=0)[0]
        assert (worse > 0.08).all() if k == 0 else (worse < 0.02).all()


@pytest.mark.parametrize("convex", [True, False])
def test_slopes_are_those_of_predictions(convex: bool) -> None:
    ratios, rate, values = planted()
    law = Epochs(convex=convex).informed(Facts(np.array([1.0, -1.0]), np.full(2, np.nan)))
    law = law.fit(ratios * rate, values * [1.0, -1.0])
    at, step = ratios[:5] * rate + 0.1, 1e-6
    _, slopes = law.slopes(at)
    for k in range(4):
        move = step * np.eye(4)[k]
        measured = (law.predict(at + move) - law.predict(at - move)) / (2.0 * step)
        np.testing.assert_allclose(slopes[:, :, k], measured, rtol=1e-4, atol=1e-7)
    assert np.isfinite(law.slopes(np.zeros((1, 4)))[1]).all()


def test_a_metric_to_maximise_is_the_mirror_of_one_to_minimise() -> None:
    ratios, rate, values = planted()
    up = Epochs().informed(Facts(np.full(2, -1.0), np.full(2, np.nan))).fit(ratios * rate, -values)
    np.testing.assert_array_equal(
        up.predict(ratios * rate), -Epochs().fit(ratios * rate, values).predict(ratios * rate)
    )
    assert (up.floor > -values.min(axis=0)).all()
    swarm = swarm_of(ratios, rate, np.column_stack([-values[:, 0], values[:, 1]]), direction={"x_loss": "max"})
    assert mixfast.fit(swarm, "epochs").law_of("x_loss")[0].sign.tolist() == [-1.0, 1.0]


def test_the_signed_metric_is_convex_between_runs() -> None:
    ratios, rate, values = planted()
    law = Epochs().fit(ratios * rate, values)
    a, b = (ratios * rate)[:30], (ratios * rate)[30:]
    ends = 0.5 * (law.predict(a) + law.predict(b))
    assert (law.predict(0.5 * (a + b)) <= ends + 1e-12).all()


@pytest.mark.parametrize("unit", [1e-30, 1e-3, 1e3, 1e30])
def test_the_unit_of_a_metric_does_not_matter(unit: float) -> None:
    ratios, rate, values = planted()
    one, other = (Epochs().fit(ratios * rate, values * by) for by in (1.0, unit))
    np.testing.assert_allclose(
        other.predict(ratios * rate), unit * one.predict(ratios * rate), rtol=1e-6, atol=1e-6 * unit
    )
    np.testing.assert_allclose(other.sd(ratios * rate), unit * one.sd(ratios * rate), rtol=1e-3)


def test_the_unit_of_tokens_does_not_matter_without_repetition() -> None:
    ratios, rate, values = planted()
    one, other = (Epochs().fit(ratios * rate * by, values).predict(ratios * rate * by) for by in (1e-3, 1e-6))
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_a_metric_does_not_depend_on_the_others() -> None:
    ratios, rate, values = planted(metrics=5)
    together = Epochs().fit(ratios * rate, values).predict(ratios * rate)
    alone = [Epochs().fit(ratios * rate, values[:, [j]]).predict(ratios * rate) for j in range(5)]
    np.testing.assert_array_equal(together, np.hstack(alone))


@pytest.mark.parametrize("runs", [1, 2, 3, 5])
def test_few_runs_give_finite_predictions(runs: int) -> None:
    ratios, rate, values = planted(runs=runs)
    law = Epochs().fit(ratios * rate, values)
    at = np.eye(4) * rate
    assert np.isfinite(law.predict(at)).all()
    assert (law.sd(at) >= 0.0).all()


def test_missing_values_constant_metrics_and_unseen_domains() -> None:
    ratios, rate, values = planted(metrics=3)
    ratios = ratios.copy()
    ratios[:, 3] = 0.0
    ratios /= ratios.sum(axis=1, keepdims=True)
    values[::4, 0] = np.nan
    values[:, 1] = 2.5
    law = Epochs().fit(ratios * rate, values)
    assert law.a[:, 3].tolist() == law.h[:, 3].tolist() == [0.0] * 3
    np.testing.assert_allclose(law.predict(ratios * rate)[:, 1], 2.5, rtol=1e-12)
    kept = ~np.isnan(values[:, 0])
    np.testing.assert_array_equal(
        law.predict(ratios * rate)[:, 0],
        Epochs().fit((ratios * rate)[kept], values[kept, :1]).predict(ratios * rate)[:, 0],
    )
    assert any("same value in all 60 runs" in note for note in law.notes)


@pytest.mark.parametrize("wrong", [1e3, -1e3])
def test_one_diverged_run_does_not_decide(wrong: float) -> None:
    ratios, rate, values = planted(runs=80)
    bad = values.copy()
    bad[7] = wrong
    at = ratios * rate
    rest = np.arange(80) != 7
    truth, found = Epochs().fit(at[rest], values[rest]).predict(at), Epochs().fit(at, bad).predict(at)
    assert np.sqrt(((found - truth)[rest] ** 2).mean()) < 0.2 * values.std()


def test_the_floor_lies_below_the_runs_by_three_seed_deviations() -> None:
    ratios, rate, values = planted()
    law = Epochs().informed(Facts(np.ones(2), np.array([0.3, np.nan]))).fit(ratios * rate, values)
    assert law.floor[0] <= values[:, 0].min() - 0.9 + 1e-12
    twice = swarm_of(np.vstack([ratios, ratios[:3]]), rate, np.vstack([values, values[:3] + 0.2]))
    fitted = mixfast.fit(twice, "epochs").law_of("x_loss")[0]
    np.testing.assert_allclose(fitted.least, [3.0 * twice.noise.sd[name] for name in twice.metrics])


def test_intervals_cover_new_runs() -> None:
    hit = []
    for seed in range(4):
        ratios, rate, values = planted(runs=260, noise=0.02, seed=seed)
        law = Epochs().fit((ratios * rate)[:60], values[:60])
        error = np.abs(law.predict((ratios * rate)[60:]) - values[60:])
        hit.append(np.mean(error <= 1.645 * law.sd((ratios * rate)[60:])))
    assert 0.8 < np.mean(hit) < 0.97


def test_error_bars_of_the_mean_cover_the_truth_at_new_mixtures_and_at_the_proposal() -> None:
    # Without the spread over shapes that cross-validate as well, 0.5 of new mixtures and 0.3 of proposals were within one.
    from benchmarks.studies.epoch_bars import errors
    from benchmarks.studies.epoch_worlds import World

    found = [errors(World.of("log-linear", 8, seed), 40, seed) for seed in range(4)]
    for where, least in {"new mixtures": 0.55, "proposal": 0.5, "gain of the proposal": 0.5}.items():
        missed = np.abs([value for one in found for value in one[where]])
        assert least <= np.mean(missed <= 1.0)
        assert np.mean(missed <= 2.0) >= 0.8


def test_joint_uncertainty_agrees_with_sd() -> None:
    ratios, rate, values = planted(noise=0.02)
    law = Epochs().fit(ratios * rate, values)
    for j, joint in enumerate(law.joint(ratios[:10] * rate, [0, 1])):
        np.testing.assert_allclose(np.sqrt(joint.variance + joint.noise), law.sd(ratios[:10] * rate)[:, j])
        drawn = joint.draw(4000, np.random.default_rng(0))
        np.testing.assert_allclose(drawn.std(axis=0), np.sqrt(joint.variance), rtol=0.3, atol=1e-4)


def test_runs_that_repeat_nothing_cannot_tell_harm() -> None:
    ratios, rate, values = planted()
    law = Epochs().fit(ratios * rate / 100.0, values)
    assert np.isinf(law.tau).all()
    assert not law.h.any()
    assert "cannot tell what repetition costs" in law.notes[0]
    some = ratios * rate * [1.0, 1.0, 1e-3, 1.0]
    assert [note.named(["x"], NAMES) for note in Epochs().fit(some, values).notes] == [
        "no run reads c more than once, so this law cannot tell the cost of repetition there"
    ]


def test_harm_that_few_runs_show_is_not_extrapolated() -> None:
    """In a world without harm, two runs that read a domain a little more than once say nothing about reading it 5 times."""
    rng = np.random.default_rng(0)
    epochs = rng.uniform(0.0, 0.2, (60, 4))
    epochs[:2, 0] = 1.3
    values = (1.0 + np.exp(-0.5 * (1.0 - np.exp(-epochs)).sum(axis=1)) + 0.02 * rng.standard_normal(60))[:, None]
    # Their noise is unlucky.
    values[:2] += 0.1
    law = Epochs().fit(epochs, values)
    assert not law.h.any()
    assert "fewer than 5 runs" in law.notes[1].named(["x"], NAMES)
    often = law.predict(np.array([[5.0, 0.1, 0.1, 0.1]]))
    assert often[0, 0] <= law.predict(np.array([[1.0, 0.1, 0.1, 0.1]]))[0, 0]


def test_runs_without_tokens_are_refused_with_what_to_do() -> None:
    ratios, _, values = planted()
    swarm = mixfast.Swarm(ratios, values, domains=NAMES, metric_names=["x_loss", "y_loss"])
    with pytest.raises(ValueError, match=r"tokens available to the runs are unknown: give Swarm"):
        mixfast.fit(swarm, "epochs")
    assert "epochs" not in mixfast.fit(swarm).reports[0].rivals
    assert any(line.startswith("epochs: left out, ") for line in compare(swarm, ["linear", "epochs"]).left_out)


def test_auto_chooses_it_if_tokens_are_known() -> None:
    fit = mixfast.fit(swarm_of(*planted(runs=40)))
    assert all("epochs" in one.rivals for one in fit.reports)
    assert "epochs" in fit.laws.values()


def test_a_saved_fit_predicts_the_same_and_other_runs(tmp_path) -> None:
    swarm = swarm_of(*planted())
    fit = mixfast.fit(swarm, "epochs")
    fit.save(tmp_path / "law.json")
    found = Fit.load(tmp_path / "law.json")
    np.testing.assert_array_equal(found.predict(swarm), fit.predict(swarm))
    np.testing.assert_array_equal(found.rate, swarm.rate[0])
    np.testing.assert_array_equal(found.most_epochs, swarm.epochs.max(axis=0))
    np.testing.assert_array_equal(found.out_of_fold(swarm)[1], fit.out_of_fold(swarm)[1])
    other = found.for_run(dict(zip(NAMES, swarm.tokens[0], strict=True)), 2e9)
    law, _ = found.law_of("x_loss")
    np.testing.assert_allclose(other.predict(swarm), law.predict(2.0 * swarm.epochs))
    with pytest.raises(ValueError, match="expected the number of tokens"):
        found.for_run(swarm.tokens[0], 0.0)
    with pytest.raises(ValueError, match="numbers above 0"):
        found.for_run([1.0, 2.0], 1e9)


def test_runs_of_different_rates_are_fitted_and_ask_which_run_is_predicted() -> None:
    ratios, rate, values = planted()
    budget = np.where(np.arange(60) % 2, 5e8, 1e9)
    tokens = (1e9 / rate) * (budget / 1e9)[:, None]
    swarm = mixfast.Swarm(
        ratios, values, domains=NAMES, metric_names=["x_loss", "y_loss"], tokens=tokens, budget=budget
    )
    assert mixfast.fit(swarm, "epochs").rate is not None  # pools that shrink with the budget give one rate
    mixed = mixfast.Swarm(
        ratios, values, domains=NAMES, metric_names=["x_loss", "y_loss"], tokens=tokens[0], budget=budget
    )
    fit = mixfast.fit(mixed, "epochs")
    with pytest.raises(ValueError, match=r"different rates .* fit\.for_run\(tokens, budget\)"):
        fit.predict(mixed)
    assert fit.for_run(tokens[0], 1e9).predict(mixed).shape == (60, 2)


def test_a_diverged_repeat_does_not_lower_the_floor() -> None:
    ratios, rate, values = planted()
    again = np.vstack([ratios, ratios[:6]]), rate, np.vstack([values, values[:6] + 0.01])
    spoiled = again[2].copy()
    spoiled[-1] += 30.0
    clean = mixfast.fit(swarm_of(*again), "epochs", folds=3).law_of("x_loss")[0]
    fit = mixfast.fit(swarm_of(again[0], rate, spoiled), "epochs", folds=3)
    law = fit.law_of("x_loss")[0]
    assert fit.diverged["x_loss"] == ("65",)
    np.testing.assert_allclose(law.least, clean.least, rtol=0.2)
    assert (law.floor > values.min(axis=0) - 5.0).all()


def test_a_domain_without_tokens_has_no_effect() -> None:
    ratios, rate, values = planted()
    ratios[:, 3] = 0.0
    ratios /= ratios.sum(axis=1, keepdims=True)
    tokens = np.r_[1e9 / rate[:3], 0.0]
    swarm = mixfast.Swarm(ratios, values, domains=NAMES, metric_names=["x_loss", "y_loss"], tokens=tokens, budget=1e9)
    fit = mixfast.fit(swarm, "epochs", folds=0)
    some = np.array([[0.2, 0.3, 0.2, 0.3]])
    np.testing.assert_array_equal(fit.predict(some), fit.law_of("x_loss")[0].predict(some * np.r_[fit.rate[:3], 0.0]))
    assert np.isfinite(fit.sd(some)).all()
    assert np.isfinite(fit.slopes(some)[1]).all()
    proposal = mixfast.propose(fit)
    assert proposal.status == "optimal"
    assert proposal.mixture["d"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("tokens", "budget", "words"),
    [
        ({"a": 1e9, "b": 0.0, "c": 1e9, "d": 1e9}, 1e9, "numbers above 0.*got b=0"),
        ({"a": 1e9, "b": np.nan, "c": 1e9, "d": 1e9}, 1e9, "numbers above 0.*got b=nan"),
        ({"a": 1e9, "b": "x", "c": 1e9, "d": 1e9}, 1e9, "must be numbers of tokens"),
        ([1e9] * 4, None, "must be numbers of tokens"),
        ([1e9] * 4, "x", "must be numbers of tokens"),
        ([1e9] * 4, np.inf, "expected the number of tokens"),
    ],
)
def test_malformed_tokens_of_another_run_are_named(tokens: object, budget: object, words: str) -> None:
    fit = mixfast.fit(swarm_of(*planted()), "epochs", folds=0)
    with pytest.raises(ValueError, match=words):
        fit.for_run(tokens, budget)


def test_runs_are_predicted_out_of_fold_at_their_own_rate_after_for_run() -> None:
    ratios, rate, values = planted()
    swarm = swarm_of(ratios, rate, values)
    fit = mixfast.fit(swarm, "epochs", folds=3)
    bare = mixfast.Swarm(ratios, values, domains=NAMES, metric_names=["x_loss", "y_loss"])
    other = fit.for_run(swarm.tokens[0], 7e9)
    np.testing.assert_array_equal(other.out_of_fold(bare, folds=3)[1], fit.out_of_fold(swarm, folds=3)[1])


def test_tokens_in_another_unit_than_the_budget_are_doubted() -> None:
    ratios, rate, values = planted()
    swarm = swarm_of(ratios, 1e9 * rate, values)
    assert "more than 1000 epochs: " in str(swarm.report)
    assert any("have one unit" in note for note in mixfast.fit(swarm, "linear").notes)
    assert not swarm_of(ratios, rate, values).report.doubted_epochs
    with pytest.raises(ValueError, match="have one unit"):
        Epochs().fit(1e120 * ratios, values)


def test_runs_whose_epochs_differ_by_rounding_are_held_out_together() -> None:
    rng = np.random.default_rng(6)
    whole = np.concatenate([rng.dirichlet(np.ones(4), 19), [[1 / 1024, 511 / 1024, 1 / 4, 1 / 4]]]) * [
        1e-7,
        3.0,
        16.0,
        0.0,
    ]
    again = np.concatenate([whole[:19] * (1.0 + rng.uniform(-1e-6, 1e-6, (19, 1))), whole[19:] * (1.0 + 3e-16)])
    both = np.concatenate([whole, again])
    fold = inner_folds(both, by_epochs(both), 5, 0)
    assert (fold[:20] == fold[20:]).all()
    assert set(fold.tolist()) == set(range(5))
