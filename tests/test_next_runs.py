"""The next runs: what they are expected to buy is what it says, and on real runs they find the best mixture sooner."""

from __future__ import annotations

import numpy as np
import pytest

from mixfast import _design_next
from mixfast.designs import design, next_runs
from mixfast.errors import AlignmentError, RegionError
from mixfast.laws import fit
from mixfast.region import Region
from mixfast.swarm import Swarm

pytest.importorskip("numba")
pytest.importorskip("scipy")

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


def test_expected_improvement_is_the_integral():
    mean, sd = np.array([1.0, 0.5, 3.0, 1.0, 0.2]), np.array([0.3, 0.1, 0.5, 0.0, 0.0])
    draws = np.random.default_rng(0).standard_normal(400_000)
    want = [np.maximum(0.9 - (m + s * draws), 0.0).mean() for m, s in zip(mean, sd, strict=True)]
    np.testing.assert_allclose(_design_next.expected_improvement(mean, sd, 0.9), want, atol=6e-4)
    far = _design_next.expected_improvement(np.array([100.0]), np.array([0.1]), 0.0)
    assert 0.0 <= far[0] < 1e-300


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
        # The first runs are bad ones, so that none of them ends the search.
        have = np.random.default_rng(seed).permutation(np.flatnonzero(~good))[:16].tolist()
        while not good[have].any():
            tried = swarm.subset(have)
            have += map(int, next_runs(tried, fit(tried, "gp", folds=0), region, 2, among=swarm).design.runs)
        needed.append(len(have))
    # Drawing without looking needs (R + 1) / (good + 1) runs on average.
    assert max(needed) < 0.5 * (len(loss) + 1) / (good.sum() + 1)
