"""The noise of a swarm: repeated mixtures, the pooled seed deviation, signal to noise, weak metrics, and noise that depends on the mixture."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from mixfast.mixture import Mixture
from mixfast.swarm import Swarm


def planted(mixtures=12, repeats=3, sd=0.1, seed=0, effect=1.0, **options):
    """Return runs of a loss that follows its mixture and of an accuracy that is noise alone."""
    rng = np.random.default_rng(seed)
    shares = np.repeat(rng.dirichlet(np.ones(4), mixtures), repeats, axis=0)
    loss = 2.0 + effect * shares[:, 0] + sd * rng.normal(size=len(shares))
    accuracy = 0.4 + 0.01 * rng.normal(size=len(shares))
    return Swarm(
        shares, np.column_stack([loss, accuracy]), domains=["web", "code", "books", "maths"], metric_names=["loss", "arc_accuracy"],
        **options,
    )  # fmt: skip


def test_the_seed_deviation_is_pooled_over_repeated_mixtures():
    values = [[1.0], [3.0], [10.0], [10.5], [11.0], [7.0], [5.0]]
    ratios = [[0.2, 0.8]] * 2 + [[0.5, 0.5]] * 3 + [[0.9, 0.1], [0.3, 0.7]]
    found = Swarm(ratios, values, domains=["a", "b"], metric_names=["loss"], runs=list("pqrstuv")).noise
    assert found.repeats == (("p", "q"), ("r", "s", "t"))
    assert found.dof == {"loss": 3}
    assert found.sd["loss"] == pytest.approx(np.sqrt((2.0 + 0.5) / 3))
    means = np.array([2.0, 10.5, 7.0, 5.0])
    effect = means.var(ddof=1) - found.sd["loss"] ** 2 * np.mean([1 / 2, 1 / 3, 1, 1])
    assert found.snr["loss"] == pytest.approx(np.sqrt(effect) / found.sd["loss"])
    assert (found.weak, found.varying, found.strong) == ((), (), ("loss",))


def test_planted_noise_and_signal_are_recovered():
    found = planted(mixtures=200, repeats=4).noise
    assert found.sd["loss"] == pytest.approx(0.1, rel=0.1)
    truth = planted(mixtures=200, repeats=4).ratios[:, 0].std()
    assert found.snr["loss"] == pytest.approx(truth / 0.1, rel=0.15)
    assert found.snr["arc_accuracy"] < 0.5
    assert found.weak == ("arc_accuracy",)
    assert "cannot rank the runs, signal/noise below 1: arc_accuracy" in str(found)


def test_runs_of_other_pools_or_budgets_are_no_repeats():
    ratios = [[0.5, 0.5]] * 4
    tokens = [[100, 100], [100, 100], [200, 100], [100, 100]]
    one = Swarm(
        ratios, [1.0, 2.0, 3.0, 4.0], domains=["a", "b"], metric_names=["loss"], tokens=tokens, budget=[10, 10, 10, 20]
    )
    assert one.noise.repeats == (("0", "1"),)
    assert Swarm(ratios, [1.0, 2.0, 3.0, 4.0], domains=["a", "b"], metric_names=["loss"]).noise.repeats == (
        ("0", "1", "2", "3"),
    )


def test_rounded_shares_of_one_mixture_are_repeats():
    ratios = np.array([[1 / 3, 2 / 3], [1 / 3 + 2e-11, 2 / 3 - 2e-11], [0.3, 0.7]])
    found = Swarm(ratios, [1.0, 2.0, 3.0], domains=["a", "b"], metric_names=["loss"])
    assert found.noise.repeats == (("0", "1"),)


def test_copies_of_a_run_are_no_repeats():
    values = [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.1, 2.0, 3.0], [5.0, 6.0, 7.0]]
    found = Swarm([[0.5, 0.5]] * 3 + [[0.1, 0.9]], values, domains=["a", "b"], metric_names=["x", "y", "z"]).noise
    assert found.repeats == (("0", "2"),)
    assert found.dof == {"x": 1, "y": 1, "z": 1}
    # Two metrics of one value may be equal by chance, as accuracies of few examples.
    two = Swarm([[0.5, 0.5]] * 3, np.array(values)[:3, :2], domains=["a", "b"], metric_names=["x", "y"]).noise
    assert two.dof == {"x": 2, "y": 2}


def test_missing_values_count_for_their_metric_only():
    nan = float("nan")
    values = [[1.0, nan], [2.0, 1.0], [3.0, nan], [9.0, 9.0]]
    found = Swarm([[0.5, 0.5]] * 3 + [[0.1, 0.9]], values, domains=["a", "b"], metric_names=["x", "y"]).noise
    assert found.dof == {"x": 2}
    assert found.strong == ("x", "y")
    assert "no two values of one mixture: y" in str(found)


def test_without_repeats_nothing_is_known():
    found = planted(repeats=1).noise
    assert (found.repeats, found.sd, found.weak, found.varying) == ((), {}, (), ())
    assert found.strong == ("loss", "arc_accuracy")
    assert np.isnan(found.at([[0.25, 0.25, 0.25, 0.25]])).all()
    assert "train one mixture with 3 or more seeds" in str(found)


def test_one_mixture_alone_has_noise_and_no_signal():
    found = Swarm([[0.5, 0.5]] * 3, [1.0, 2.0, 3.0], domains=["a", "b"], metric_names=["loss"]).noise
    assert found.sd["loss"] == 1.0
    assert np.isnan(found.snr["loss"])
    assert found.weak == ()
    assert str(found).splitlines()[2].endswith("-")


def test_metrics_without_any_noise_have_an_infinite_ratio():
    found = Swarm([[0.5, 0.5]] * 2 + [[0.2, 0.8]], [1.0, 1.0, 3.0], domains=["a", "b"], metric_names=["loss"]).noise
    assert (found.sd["loss"], found.snr["loss"]) == (0.0, np.inf)


def test_one_pair_of_runs_makes_no_metric_weak():
    values = [[1.0], [9.0], [5.0], [5.1]]
    found = Swarm([[0.5, 0.5]] * 2 + [[0.2, 0.8], [0.8, 0.2]], values, domains=["a", "b"], metric_names=["loss"]).noise
    assert found.snr["loss"] < 1.0
    assert found.weak == ()


def corners(slope, seed, mixtures=10, repeats=4, metrics=1):
    """Return runs with a noise that grows with the distance from the mean mixture."""
    rng = np.random.default_rng(seed)
    shares = np.repeat(rng.dirichlet(np.full(5, 0.5), mixtures), repeats, axis=0)
    distance = np.sqrt(((np.sqrt(shares) - np.sqrt(shares.mean(axis=0))) ** 2).sum(axis=1))
    sd = 0.01 * np.exp(slope * (distance - distance.mean()))
    values = shares[:, :1] + sd[:, None] * rng.normal(size=(len(shares), metrics))
    return Swarm(shares, values, domains=list("abcde"), metric_names=[f"loss_{j}" for j in range(metrics)]), sd


def test_noise_that_grows_towards_the_corners_is_found():
    swarm, sd = corners(slope=7.0, seed=1)
    found = swarm.noise
    assert found.varying == ("loss_0",)
    at = found.at(swarm.ratios)
    assert at.shape == (40, 1)
    # The line follows the planted one: the deviations span more than an order of magnitude.
    assert sd.max() / sd.min() > 10.0
    assert np.abs(np.log(at[:, 0] / sd)).max() < np.log(3.0)
    assert np.corrcoef(np.log(at[:, 0]), np.log(sd))[0, 1] > 0.99
    # Beyond the repeated mixtures it stays constant.
    assert found.at(np.eye(5)).max() <= at.max() * (1.0 + 1e-12)
    assert "the noise depends on the mixture: loss_0" in str(found)


def test_equal_noise_is_rarely_related_to_the_mixture_however_many_metrics():
    # At 5 % for all metrics together, more than 7 of 50 swarms have a chance of 1 in 250.
    wrong = sum(bool(corners(slope=0.0, seed=seed, metrics=8)[0].noise.varying) for seed in range(50))
    assert wrong <= 7


@pytest.mark.parametrize(("mixtures", "repeats"), [(3, 8), (7, 2)])
def test_few_repeats_do_not_relate_noise_to_the_mixture(mixtures, repeats):
    swarm, _ = corners(slope=6.0, seed=0, mixtures=mixtures, repeats=repeats)
    assert swarm.noise.varying == ()
    at = swarm.noise.at(swarm.ratios)
    assert (at == swarm.noise.sd["loss_0"]).all()


def test_at_takes_mixtures_of_these_domains_only():
    with pytest.raises(ValueError, match=r"mixtures must be \(M, 4\)"):
        planted().noise.at([[0.5, 0.5]])


def test_noise_is_a_value_that_can_be_copied():
    found = planted().noise
    assert pickle.loads(pickle.dumps(found)) == found
    assert found != planted(seed=1).noise
    assert planted().select("loss").noise.sd == {"loss": found.sd["loss"]}


def test_values_of_any_size_have_finite_noise():
    for scale in (1e-90, 1e90):
        swarm = planted(mixtures=6, repeats=3)
        big = Swarm(swarm.ratios, swarm.values * scale, domains=swarm.domains, metric_names=swarm.metrics).noise
        assert big.snr["loss"] == pytest.approx(swarm.noise.snr["loss"], rel=1e-9)


def test_rounded_shares_are_the_same_mixture_for_noise_folds_and_report():
    rng = np.random.default_rng(4)
    whole = np.concatenate([rng.dirichlet(np.ones(40), 5), [[1 / 1024, 511 / 1024, *[0.5 / 38] * 38]]])
    rounded = np.concatenate([whole[:5].round(6), whole[5:] * (1.0 + 3e-16)])
    swarm = Swarm(
        np.concatenate([whole, rounded]),
        rng.normal(size=12),
        domains=[f"d{k}" for k in range(40)],
        metric_names=["loss"],
        tokens=[1e9] * 40,
        budget=[1e9, *[1e9 + 131072] * 11],
    )
    pairs = tuple((str(row), str(row + 6)) for row in range(6))
    assert swarm.noise.repeats == swarm.report.duplicates == pairs
    for train, test in swarm.folds(3):
        assert not {*(train % 6).tolist()} & {*(test % 6).tolist()}
    other = swarm.with_tokens(
        dict.fromkeys(swarm.domains, 1e9), dict(zip(swarm.runs, [1e9] * 6 + [2e9] * 6, strict=True))
    )
    assert other.noise.repeats == ()
    assert "twice with the same tokens and budget" in str(other.noise)


def test_values_that_rounding_makes_equal_do_not_relate_noise_to_the_mixture():
    ratios = np.repeat(np.random.default_rng(5).dirichlet(np.ones(3), 8), 3, axis=0)
    # All runs of a mixture have equal values, except for those of one mixture.
    loss = np.repeat(np.arange(8.0), 3)
    loss[0] += 1e-7
    swarm = Swarm(ratios, loss, domains=["a", "b", "c"], metric_names=["loss"])
    assert swarm.noise.varying == ()
    assert np.isfinite(swarm.noise.at(np.eye(3))).all()


def test_at_refuses_a_mixture_because_it_cannot_check_its_names():
    with pytest.raises(ValueError, match=r"in the order of the swarm's domains, got a Mixture; give Mixture\.align"):
        planted().noise.at(Mixture(list("abcd"), [0.25] * 4))


@pytest.mark.parametrize("value", [40.0, -40.0])
def test_a_diverged_repeat_does_not_decide_that_a_metric_is_weak(value):
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(3), 40)
    ratios[:4] = ratios[0]
    strong = 2.0 + np.exp(-(ratios @ [0.5, 1.5, 0.2])) + 0.002 * rng.normal(size=40)
    values = np.column_stack([strong, 0.3 + 0.05 * rng.normal(size=40)])
    values[2, 0] = value
    found = Swarm(ratios, values, domains=["a", "b", "c"], metric_names=["loss", "noisy"]).noise
    assert found.snr["loss"] < 1.0
    assert found.weak == ("noisy",)
    assert found.strong == ("loss",)
    assert "2 may have diverged in loss: far from all other runs, also of the same mixture." in str(found)
    # Repeats that are all far are no divergence, but a mixture of its own.
    values[:4, 0] = 40.0 + np.array([0.0, 9.0, -9.0, 3.0])
    assert Swarm(ratios, values, domains=["a", "b", "c"], metric_names=["loss", "noisy"]).noise._doubted == {}
