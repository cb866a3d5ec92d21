"""Replay: the run that a law picks from each fold, its regret against the best run of the fold, and how much better it was predicted."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mixfast import Swarm, fit
from mixfast.laws import Fit, compare, measure

pytest.importorskip("scipy")

DOMAINS = ("web", "code", "maths")


def runs_of(runs=40, metrics=2, seed=0, direction=None):
    rng = np.random.default_rng(seed)
    x = rng.dirichlet(np.ones(3), runs)
    y = 2.0 + np.exp(-3.0 * x[:, :metrics]) + 0.05 * rng.standard_normal((runs, metrics))
    return Swarm(x, y, domains=DOMAINS, metric_names=[f"m{j}" for j in range(metrics)], direction=direction)


def replayed(y, guess, tests, more=False):
    one = measure("m", "law", y, guess, sd=np.ones(len(y)), more_is_better=more, rivals={}, tests=tests)
    return one.regret, one.self_optimism


def test_the_pick_of_each_fold_is_compared_with_the_best_run_of_the_fold():
    y, guess = np.array([1.0, 2.0, 3.0, 5.0, 4.0, 9.0]), np.array([2.0, 1.5, 9.0, 3.0, 6.0, 1.0])
    tests = [np.array([0, 1, 2]), np.array([3, 4])]
    # Picks: 1 (2.0 instead of 1.0, predicted 1.5), 3 (5.0 instead of 4.0, predicted 3.0). The last run is in no fold.
    assert replayed(y, guess, tests) == pytest.approx((1.0, 1.25))
    # More is better: picks 2 (3.0, the best; predicted 9.0) and 4 (4.0 instead of 5.0; predicted 6.0).
    assert replayed(y, guess, tests, more=True) == pytest.approx((0.5, 4.0))


def test_runs_without_a_value_or_a_prediction_are_not_picked_and_folds_without_a_choice_do_not_count():
    y, guess = np.array([1.0, 2.0, np.nan, 4.0, 5.0]), np.array([2.0, 3.0, -1.0, np.nan, 0.0])
    assert replayed(y, guess, [np.array([0, 1, 2]), np.array([3, 4])]) == (0.0, -1.0)
    assert all(map(math.isnan, replayed(y, guess, [np.array([3, 4])])))


@pytest.mark.parametrize("law", ["linear", "log_linear", "gp"])
def test_a_fit_reports_the_replay_of_its_own_folds(law):
    swarm = runs_of(direction=["min", "max"])
    fitted = fit(swarm, law, folds=4, seed=3)
    measured, guess, _ = fitted.out_of_fold(swarm, folds=4, seed=3)
    for j, (one, sign) in enumerate(zip(fitted.reports, (1.0, -1.0), strict=True)):
        lost, promised = [], []
        for _, test in swarm.folds(4, seed=3):
            pick = test[(sign * guess[test, j]).argmin()]
            lost.append(sign * measured[pick, j] - (sign * measured[test, j]).min())
            promised.append(sign * (measured[pick, j] - guess[pick, j]))
        assert one.regret == pytest.approx(np.mean(lost), abs=1e-12)
        assert one.self_optimism == pytest.approx(np.mean(promised), abs=1e-12)
        assert one.in_sds("regret") == one.regret / one.sd


def test_the_comparison_shows_means_over_metrics_in_standard_deviations():
    found = compare(runs_of(), ("linear", "log_linear"))
    lines = {line[: line.rindex("sd") + 2]: line.split()[-2:] for line in found.report.splitlines()[-3:]}
    assert list(lines) == ["mean regret, sd", "mean optimism, sd", "mean self-optimism, sd"]
    for shown, name in zip(lines.values(), ("regret", "optimism", "self_optimism"), strict=True):
        means = [np.mean([one.in_sds(name) for one in ones.values()]) for ones in found.reports.values()]
        assert shown == [f"{mean:.3f}" for mean in means]


def test_files_keep_the_replay_and_older_files_lack_it(tmp_path):
    fitted = fit(runs_of(), "linear")
    fitted.save(tmp_path / "law.json")
    assert Fit.load(tmp_path / "law.json").reports == fitted.reports
    head = json.loads((tmp_path / "law.json").read_text())
    for one in head["reports"]:
        del one["regret"], one["self_optimism"]
    (tmp_path / "old.json").write_text(json.dumps(head))
    assert math.isnan(Fit.load(tmp_path / "old.json").reports[0].regret)
