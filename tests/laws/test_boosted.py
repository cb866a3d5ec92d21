"""Boosted trees: equality with LightGBM, correct stopping, RegMix's published numbers."""

from __future__ import annotations

import csv
import doctest
import sys
import warnings

import numpy as np
import pytest

from mixfast.errors import BackendError
from mixfast.laws import _trees, boosted
from mixfast.laws.boosted import Boosted

lightgbm = pytest.importorskip("lightgbm")
pytest.importorskip("numba")

# Natural shares of the Pile, in the order of the columns.
PRIOR = [
    0.113285273, 0.079608651, 0.003913491, 0.185375901, 0.051081359, 0.015962925, 0.101750772, 0.003707518, 0.066529351,
    0.001750772, 0.027085479, 0.236869207, 0.01184346, 0.007929969, 0.008032956, 0.038825953, 0.046446962,
]  # fmt: skip

# Spearman x 100, mean squared error and best round on the 256 test runs, recorded from the code of RegMix's notebook with LightGBM 4.7.0.
RECORDED = {
    "arxiv": (99.60, 0.0115, 333), "freelaw": (99.71, 0.0037, 647), "pubmed_central": (99.08, 0.0112, 583),
    "wikipedia_en": (99.45, 0.0046, 590), "dm_mathematics": (97.20, 0.0495, 397), "github": (99.77, 0.0086, 454),
    "stackexchange": (99.73, 0.0042, 651), "gutenberg_pg_19": (99.18, 0.0049, 533), "pile_cc": (98.92, 0.0030, 613),
    "ubuntu_irc": (96.87, 0.0197, 478), "hackernews": (98.51, 0.0042, 566), "pubmed_abstracts": (99.19, 0.0075, 455),
    "uspto_backgrounds": (99.12, 0.0042, 619),
}  # fmt: skip


def read(path):
    with open(path, newline="") as file:
        header, *rows = csv.reader(file)
    return header[1:], np.array(rows, dtype=np.float64)[:, 1:]


@pytest.fixture(scope="module")
def regmix(shared_data):
    """Return names of domains and metrics; mixtures and losses of the training and the test runs."""
    folder = shared_data / "regmix"
    domains, x = read(folder / "train_mixture_1m.csv")
    metrics, y = read(folder / "train_pile_loss_1m.csv")
    names = [name.removeprefix("metric/the_pile_").removesuffix("_val_loss") for name in metrics]
    test = read(folder / "test_mixture_1m.csv")[1], read(folder / "test_pile_loss_1m.csv")[1]
    return [name.removeprefix("train_the_pile_") for name in domains], names, x, y, *test


def spearman(a, b):
    scipy_stats = pytest.importorskip("scipy.stats")
    return float(scipy_stats.spearmanr(a, b).statistic)


def notebook(x, y, x_test, y_test):
    """Fit as published by RegMix: early stopping on the test set."""
    pytest.importorskip("sklearn")
    model = lightgbm.LGBMRegressor(
        task="train", boosting_type="gbdt", objective="regression", metric=["l1", "l2"], num_iterations=1000,
        learning_rate=1e-2, seed=42, verbosity=-1, n_jobs=1,
    )  # fmt: skip
    stop = lightgbm.early_stopping(3, verbose=False)
    return model.fit(x, y, eval_set=[(x_test, y_test)], eval_metric="l2", callbacks=[stop])


@pytest.fixture(scope="module")
def replay(regmix):
    _, names, x, y, x_test, y_test = regmix
    with warnings.catch_warnings():
        # Newer versions of LightGBM pass the runs for early stopping differently.
        warnings.simplefilter("ignore", getattr(lightgbm.basic, "LGBMDeprecationWarning", DeprecationWarning))
        return {name: notebook(x, y[:, j], x_test, y_test[:, j]) for j, name in enumerate(names)}


def made(runs=120, domains=5, metrics=2, noise=0.01, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.dirichlet(np.ones(domains), runs)
    y = 2.0 + np.exp(-3.0 * x[:, :metrics]) + noise * rng.normal(size=(runs, metrics))
    return x, y


def forest_and_model(x, y, rounds=60, **settings):
    params = {"objective": "regression", "verbosity": -1, "num_threads": 1, "learning_rate": 0.1, **settings}
    boosters = [lightgbm.train(params, lightgbm.Dataset(x, column), rounds) for column in y.T]
    return _trees.Forest.of(
        [booster.model_to_string() for booster in boosters], x.shape[1], [1.0] * len(boosters)
    ), boosters


# --- the trees ---


@pytest.mark.parametrize("leaves", [2, 3, 8, 31, 32, 33, 64])
@pytest.mark.parametrize("count", [1, 255, 256, 1000])
def test_sums_of_trees_are_lightgbms_to_the_last_bit(leaves, count):
    x, y = made(runs=300)
    forest, boosters = forest_and_model(x, y, num_leaves=leaves, min_data_in_leaf=1, min_sum_hessian_in_leaf=0)
    points = np.random.default_rng(1).dirichlet(np.ones(5), count)
    assert np.array_equal(forest.predict(points), np.column_stack([b.predict(points) for b in boosters]))
    assert forest.leaf_start[-1] / (forest.leaf_start.size - 1) > 0.8 * leaves


def test_thresholds_themselves_and_their_neighbours_go_lightgbms_way():
    x, y = made()
    forest, boosters = forest_and_model(x, y)
    points = np.full((3 * forest.grid.size, 5), 0.2)
    for f in range(5):
        for i in range(forest.grid_start[f], forest.grid_start[f + 1]):
            value = forest.grid[i]
            points[3 * i : 3 * i + 3, f] = np.nextafter(value, -1.0), value, np.nextafter(value, 2.0)
    assert np.array_equal(forest.predict(points), np.column_stack([b.predict(points) for b in boosters]))
    outside = np.array([[-5.0, 7.0, 0.0, -0.0, 1e300], [1e-300] * 5])
    assert np.array_equal(forest.predict(outside), np.column_stack([b.predict(outside) for b in boosters]))


def test_trees_that_never_split_are_constants():
    x, y = made(runs=30)
    forest, boosters = forest_and_model(x, y, min_data_in_leaf=20)
    assert forest.grid.size == 0
    assert np.array_equal(forest.predict(x), np.column_stack([b.predict(x) for b in boosters]))


def test_any_number_of_threads_gives_the_same_bits():
    x, y = made()
    forest, _ = forest_and_model(x, y)
    points = np.random.default_rng(2).dirichlet(np.ones(5), 3001)
    assert np.array_equal(forest.predict(points, threads=1), forest.predict(points, threads=3))
    assert np.array_equal(forest.predict(points[:700], threads=2), forest.predict(points, threads=1)[:700])
    assert forest.predict(points[:0]).shape == (0, 2)


def test_more_leaves_than_bits_are_refused():
    x, y = made(runs=400)
    with pytest.raises(ValueError, match="expected at most 64"):
        forest_and_model(x, y, num_leaves=100, min_data_in_leaf=1)


# --- the law ---


def test_what_is_planted_is_found_and_the_error_is_known():
    x, y = made(runs=400, noise=0.02)
    law = Boosted(rate=0.05).fit(x, y)
    new_x, new_y = made(runs=400, noise=0.02, seed=1)
    error = np.sqrt(((law.predict(new_x) - new_y) ** 2).mean(axis=0))
    assert np.all(error < 0.25 * new_y.std(axis=0))
    assert law.sd(new_x).shape == (400, 2)
    assert law.sd(new_x)[0] == pytest.approx(error, rel=0.25)
    assert np.all(law.best_rounds > 10)


def test_stopping_looks_at_the_runs_alone_and_stops_where_noise_begins():
    x, y = made(runs=100, metrics=1)
    y = np.column_stack([y[:, 0], np.random.default_rng(3).normal(size=100)])
    law = Boosted(rate=0.1, rounds=300).fit(x, y)
    # There is nothing to learn from pure noise.
    assert law.best_rounds[1] < 15 < law.best_rounds[0]
    assert law.sd(x)[0, 1] == pytest.approx(y[:, 1].std(), rel=0.1)
    assert np.array_equal(Boosted(rate=0.1, rounds=25, stopping="none").fit(x, y).best_rounds, [25, 25])
    assert np.all(Boosted(rate=0.1, rounds=300, stopping=1).fit(x, y).best_rounds <= law.best_rounds)


def test_few_runs_get_small_leaves():
    x, y = made(runs=25, noise=0.0)
    law = Boosted(rate=0.1, rounds=200).fit(x, y)
    assert np.all(law.predict(x).std(axis=0) > 0.5 * y.std(axis=0))
    stiff = Boosted(rate=0.1, rounds=20, min_leaf=12).fit(x, y)
    assert np.all(law.sd(x)[0] < stiff.sd(x)[0])


def test_too_few_runs_are_refused_by_metric():
    x, y = made(runs=30)
    y[5:, 1] = np.nan
    with pytest.raises(ValueError, match=r"metric 1 .*has 5 runs, expected at least 20: two leaves need 10 runs"):
        Boosted(min_leaf=10).fit(x, y)
    with pytest.raises(ValueError, match=r"metric 0 .*has 3 runs, expected at least 4"):
        Boosted().fit(x[:3], y[:3])


def test_a_metric_is_fitted_to_the_runs_that_have_it():
    x, y = made()
    y[::3, 1] = np.nan
    have = ~np.isnan(y[:, 1])
    law = Boosted(rate=0.1, rounds=50)
    assert np.array_equal(law.fit(x, y).predict(x)[:, 1:], law.fit(x[have], y[have, 1:]).predict(x))


def test_the_seed_decides_and_fit_leaves_the_law_as_it_was():
    x, y = made()
    law = Boosted(rate=0.1, rounds=40)
    first, second = law.fit(x, y), law.fit(x, y)
    assert first is not law
    assert np.array_equal(first.predict(x), second.predict(x))
    assert np.array_equal(first.sd(x), second.sd(x))
    assert not np.array_equal(first.sd(x), Boosted(rate=0.1, rounds=40, seed=1).fit(x, y).sd(x))
    with pytest.raises(ValueError, match="not fitted"):
        law.predict(x)


def test_state_is_plain_and_whole():
    x, y = made()
    law = Boosted(rate=0.1, rounds=40, stopping=5).fit(x, y)
    state = law.state()
    assert all(isinstance(value, int | float | str | np.ndarray) for value in state.values())
    assert all(value.dtype != object for value in state.values() if isinstance(value, np.ndarray))
    again = Boosted.from_state(state)
    assert np.array_equal(again.predict(x), law.predict(x))
    assert np.array_equal(again.sd(x), law.sd(x))
    assert again.state().keys() == state.keys()
    assert again.stopping == 5
    assert np.array_equal(again.best_rounds, law.best_rounds)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rounds": 0}, "rounds is 0"),
        ({"rate": 0.0}, "rate is 0"),
        ({"leaves": 65}, "from 2 to 64"),
        ({"min_leaf": 0}, "min_leaf is 0"),
        ({"min_leaf": "small"}, "min_leaf is 'small'"),
        ({"stopping": "test"}, "stopping is 'test'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Boosted(**settings)


def test_inputs_of_another_width_are_refused():
    x, y = made()
    law = Boosted(rate=0.1, rounds=5).fit(x, y)
    with pytest.raises(ValueError, match=r"shape \(120, 4\), expected \(M, 5\)"):
        law.predict(x[:, :4])


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch):
    x, y = made()
    law = Boosted(rate=0.1, rounds=5).fit(x, y)
    monkeypatch.setitem(sys.modules, "mixfast.laws._tree_loops", None)
    # An attribute only if another test has imported the loops.
    monkeypatch.delattr("mixfast.laws._tree_loops", raising=False)
    with pytest.raises(BackendError, match=r"Numba.*pip install 'mixfast\[laws\]'"):
        law.predict(np.repeat(x, 3, axis=0))  # with few mixtures, LightGBM itself predicts
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(BackendError, match=r"LightGBM.*pip install 'mixfast\[laws\]'"):
        law.fit(x, y)


def test_read_only_inputs_are_taken():
    x, y = made()
    law = Boosted(rate=0.1, rounds=5).fit(x, y)
    frozen = x.copy()
    frozen.setflags(write=False)
    assert np.array_equal(law.fit(frozen, y).predict(frozen), law.predict(x))


def test_the_example_of_the_docstring_runs():
    assert doctest.testmod(boosted).failed == 0
    assert doctest.testmod(boosted).attempted > 0


# --- RegMix ---


def test_notebook_replay_gives_the_recorded_table(regmix, replay):
    _, names, _, _, x_test, y_test = regmix
    assert set(names) == set(RECORDED)
    for j, name in enumerate(names):
        predicted = replay[name].predict(x_test)
        rho, error, rounds = RECORDED[name]
        assert replay[name].best_iteration_ == rounds, name
        assert 100 * spearman(predicted, y_test[:, j]) == pytest.approx(rho, abs=0.0051), name
        assert np.mean((predicted - y_test[:, j]) ** 2) == pytest.approx(error, abs=5.1e-5), name


def test_the_mixture_ranked_first_is_the_best_one(regmix, replay):
    _, names, _, _, x_test, y_test = regmix
    truth = y_test[:, names.index("pile_cc")]
    assert truth[replay["pile_cc"].predict(x_test).argmin()] == truth.min()


def test_simulation_gives_the_published_mixture(regmix, replay):
    domains, _, x, _, _, _ = regmix
    text = replay["pile_cc"].booster_.model_to_string(num_iteration=replay["pile_cc"].best_iteration_)
    mixtures = np.random.RandomState(42).dirichlet(PRIOR, 100_000)
    losses = _trees.Forest.of([text], x.shape[1], [1.0]).predict(mixtures)[:, 0]
    assert np.array_equal(losses[:2000], replay["pile_cc"].predict(mixtures[:2000]))
    best = dict(zip(domains, mixtures[np.argsort(losses)[:128]].mean(axis=0), strict=True))
    assert best["pile_cc"] == pytest.approx(0.890924, abs=1e-6)
    assert best["ubuntu_irc"] == pytest.approx(0.061429, abs=1e-6)
    assert best["pubmed_abstracts"] == pytest.approx(0.0123, abs=5e-5)


def test_honest_stopping_ranks_as_well_as_stopping_on_the_test_set(regmix):
    _, names, x, y, x_test, y_test = regmix
    j = names.index("pile_cc")
    law = Boosted().fit(x, y[:, [j]])
    predicted = law.predict(x_test)[:, 0]
    assert 100 * spearman(predicted, y_test[:, j]) > 98.8
    assert np.mean((predicted - y_test[:, j]) ** 2) < 1.15 * 0.0030
    assert law.sd(x_test)[0, 0] == pytest.approx(np.sqrt(0.0030), rel=0.35)
    assert y_test[predicted.argmin(), j] == y_test[:, j].min()
