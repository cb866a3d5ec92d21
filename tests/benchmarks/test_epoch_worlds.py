"""The worlds of `benchmarks.studies.epoch_worlds`: their best mixtures are best, and a study continues where it stopped."""

import csv

import numpy as np
import pytest

pytest.importorskip("scipy")
from benchmarks.studies import epoch_worlds
from benchmarks.studies.epoch_worlds import KINDS, World


@pytest.mark.parametrize("kind", KINDS)
def test_no_sampled_mixture_is_better_than_the_best_one(kind):
    world = World.of(kind, 6, 0)
    some = world.mixtures(300, np.random.default_rng(1))
    for cap in (np.inf, 4.0):
        best = world.best(cap, [world.natural, *some[:2]])
        assert best.sum() == pytest.approx(1.0, abs=1e-9)
        assert (best <= np.minimum(cap * world.natural, 1.0) + 1e-9).all()
        allowed = some[(some <= cap * world.natural).all(axis=1)]
        assert world.objective(best) <= world.losses(np.vstack([allowed, world.natural])).mean(axis=1).min() + 1e-6


def test_unmatched_proxies_hardly_repeat():
    world = World.of("log-linear, wear", 20, 0)
    matched, unmatched = (world.swarm(20, proxies, 0) for proxies in ("matched", "unmatched"))
    assert unmatched.epochs.max() == pytest.approx(matched.epochs.max() / 25.0)
    assert matched.epochs.max() > 2.0


def test_a_study_continues_where_it_stopped(tmp_path, capsys):
    path, few = tmp_path / "worlds.csv", {"domains": [4], "runs": [20], "unmatched": [], "seeds": 1}
    epoch_worlds.run(path, ["log-linear"], ["linear"], **few)
    epoch_worlds.run(path, ["log-linear"], ["linear", "log_linear"], **few)
    rows = list(csv.DictReader(path.open(newline="", encoding="utf-8")))
    assert [(row["law"], row["cap"]) for row in rows] == [
        ("linear", "inf"), ("linear", "4.0"), ("log_linear", "inf"), ("log_linear", "4.0"),
    ]  # fmt: skip
    assert all(float(row["regret"]) >= -0.1 for row in rows)
