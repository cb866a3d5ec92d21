"""The part of the study of assays with squared error, on made data: RDKit and the data are not needed."""

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("sklearn")
from sklearn.linear_model import Ridge

from benchmarks.assays import chembl, chembl_tables, few_rows, few_rows_tables, squared_mixtures
from benchmarks.assays.page import put
from benchmarks.assays.ridge import POOL_ALPHAS, Experts, Fitted, Moments, Pool
from mixfast import Mixture

pytestmark = pytest.mark.filterwarnings("ignore::mixfast.errors.MixfastWarning")


def made(molecules=240, assays=6, seed=0):
    """Bits, and values of assays that depend on them; each assay has half of the molecules."""
    rng = np.random.default_rng(seed)
    bits = (rng.random((molecules, 12)) < 0.4).astype(np.uint8)
    values = bits @ rng.normal(size=(12, assays)) + 5.0 + 0.3 * rng.normal(size=(molecules, assays))
    values[rng.random(values.shape) < 0.5] = np.nan
    return Experts(bits, values)


@pytest.mark.parametrize("rows", [9, 80])
def test_an_expert_is_ridge_with_the_penalty_of_the_least_leave_one_out_error(rows):
    rng = np.random.default_rng(1)
    bits = (rng.random((rows, 12)) < 0.4).astype(np.uint8)
    y = bits @ rng.normal(size=12) + 3.0 + 0.5 * rng.normal(size=rows)
    found = Fitted.to(bits, y)
    x = bits.astype(float)
    np.testing.assert_allclose(found.model.predict(bits)[:, 0], Ridge(found.alpha).fit(x, y).predict(x))
    others = [np.arange(rows) != i for i in range(rows)]
    apart = [Ridge(found.alpha).fit(x[keep], y[keep]).predict(x[~keep])[0] for keep in others]
    np.testing.assert_allclose(found.apart, apart)


def test_an_expert_without_molecules_is_fitted_to_the_others():
    experts = made()
    hidden = np.arange(50)
    found = experts.without(2, hidden)
    keep = experts.measured[:, 2] & (np.arange(240) >= 50)
    y = experts.values[keep, 2]
    model = Ridge(experts.whole(2).alpha).fit(experts.bits[keep].astype(float), y)
    np.testing.assert_allclose(
        found.model.predict(experts.bits)[:, 0], model.predict(experts.bits.astype(float)), atol=1e-4
    )
    assert found.mean == pytest.approx(y.mean())
    nobody = np.flatnonzero(~experts.measured[:, 2])
    assert experts.without(2, nobody) is experts.whole(2)


def test_the_pooled_model_is_ridge_with_the_row_weights_of_the_mixture():
    experts = made()
    sources, names = [0, 1, 3], ["a", "b", "c"]
    w = np.array([0.6, 0.0, 0.4])
    rows = [np.flatnonzero(experts.measured[:, source]) for source in sources]
    domain = np.repeat(names, [len(own) for own in rows])
    weight = Mixture(names, w).row_weights(domain)
    x = experts.bits[np.concatenate(rows)].astype(float)
    values = [experts.values[own, source] for own, source in zip(rows, sources, strict=True)]
    models = Pool([experts.whole(source) for source in sources]).moments(w).ridge()
    for alpha, model in zip(POOL_ALPHAS, models, strict=True):
        for column, y in enumerate((values, [own - own.mean() for own in values])):
            expected = Ridge(alpha).fit(x, np.concatenate(y), sample_weight=weight).predict(experts.bits.astype(float))
            np.testing.assert_allclose(model.predict(experts.bits)[:, column], expected, atol=1e-4)


def test_leverage_gives_the_errors_of_rows_that_are_left_out():
    rng = np.random.default_rng(4)
    bits = (rng.random((30, 12)) < 0.4).astype(np.uint8)
    y, weight = rng.normal(size=30), rng.uniform(0.5, 3.0, 30)
    ((model, leverage),) = Moments.of(bits, weight, (weight * y)[:, None]).with_leverage([5.0])
    errors = (y - model.predict(bits)[:, 0]) / (1.0 - weight * leverage(bits))
    x = bits.astype(float)
    for i in range(30):
        keep = np.arange(30) != i
        apart = Ridge(5.0).fit(x[keep], y[keep], sample_weight=weight[keep]).predict(x[i : i + 1])[0]
        assert errors[i] == pytest.approx(y[i] - apart, abs=1e-4)


@pytest.fixture(scope="module")
def world():
    experts = made(400, 8)
    return chembl.World(tuple(f"T{k}" for k in range(8)), experts, (0, 1), tuple(range(8)))


def test_by_molecule_no_source_has_a_molecule_of_the_target(world):
    molecules = np.flatnonzero(world.experts.measured[:, 0])
    for by, hidden in (("molecule", molecules), ("assay", molecules[:0])):
        setting = chembl.Setting.of(world, 0, molecules, by, None)
        counts = [np.setdiff1d(np.flatnonzero(world.experts.measured[:, k]), hidden).size for k in range(1, 8)]
        np.testing.assert_array_equal(setting.pool.count, counts)


def test_sources_leave_out_the_target_and_are_the_same_in_every_run(world):
    molecules = np.flatnonzero(world.experts.measured[:, 1])
    few = [chembl.Setting.of(world, 1, molecules, "assay", 3) for _ in range(2)]
    np.testing.assert_array_equal(few[0].predicted["raw"], few[1].predicted["raw"])
    assert few[0].predicted["raw"].shape == (molecules.size, 3)
    own = world.experts.whole(1).model.predict(world.experts.bits[molecules])
    every = chembl.Setting.of(world, 1, molecules, "assay", None).predicted["raw"]
    assert every.shape[1] == 7
    assert np.abs(every - own).max(axis=0).min() > 1e-3


def test_a_study_continues_where_it_stopped(world, tmp_path, monkeypatch):
    pytest.importorskip("lightgbm")
    monkeypatch.setattr(chembl.World, "of", lambda targets: world)
    chembl.run(tmp_path, sources=5, splits=1)
    first = (tmp_path / "assays_chembl.csv").read_text(encoding="utf-8")
    chembl.run(tmp_path, sources=5, splits=2)
    second = (tmp_path / "assays_chembl.csv").read_text(encoding="utf-8")
    assert second.startswith(first)
    assert len(second.splitlines()) == 1 + 2 * 2 * len(chembl.SETTINGS)
    monkeypatch.setattr(chembl, "judge", lambda *given: pytest.fail("all results are there"))
    chembl.run(tmp_path, sources=5, splits=2)


def test_towards_the_targets_own_expert_shares_of_useless_sources_vanish():
    rng = np.random.default_rng(3)
    y = rng.normal(size=60)
    predicted = np.column_stack([rng.normal(size=(60, 12)), y + 0.5 * rng.normal(size=60)])
    pulled, exact = squared_mixtures.towards_last(predicted, y), squared_mixtures.exact(predicted, y)
    assert pulled[-1] >= exact[-1] - 1e-9
    kept = squared_mixtures.without_doubtful(predicted, y, 0)
    assert set(np.flatnonzero(kept)) <= set(np.flatnonzero(exact))
    assert kept.sum() == pytest.approx(1.0)


def test_tables_are_put_between_their_markers_and_hold_the_means_of_targets(world, tmp_path, monkeypatch):
    pytest.importorskip("lightgbm")
    monkeypatch.setattr(chembl.World, "of", lambda targets: world)
    chembl.run(tmp_path, sources=5, splits=2)
    found = chembl_tables.Results(tmp_path)
    page = "".join(
        f"<!-- chembl {make.__name__} -->\nold\n<!-- end of chembl {make.__name__} -->\n"
        for make in chembl_tables.TABLES
    )
    once = put(page, "chembl", chembl_tables.TABLES, found)
    assert "old" not in once
    assert put(once, "chembl", chembl_tables.TABLES, found) == once
    own = found.values(("molecule", "random", "raw"), "rmse ensemble exact")
    assert found.mean(("molecule", "random", "raw"), "rmse ensemble exact") == pytest.approx(
        np.mean(list(own.values()))
    )
    assert "Recorded: 2 targets with 2 splits each" in once


def test_few_rows_have_the_test_molecules_of_the_whole_study_and_are_nested(world):
    molecules = np.flatnonzero(world.experts.measured[:, 0])
    y = world.experts.values[molecules, 0]
    for seed in range(2):
        test, train = few_rows.parts(len(y), 0, seed)
        whole = chembl.Split.of(world.experts.bits[molecules], y, 0, seed)
        np.testing.assert_array_equal(test, whole.test)
        np.testing.assert_array_equal(train, whole.train)


@pytest.mark.parametrize("shifted", [False, True])
def test_no_row_is_judged_by_its_own_value(shifted):
    rng = np.random.default_rng(2)
    predicted, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    few, test = np.arange(6), np.arange(10, 20)
    apart, used = rng.normal(size=6), rng.normal(size=10)

    def judged(y):
        return few_rows.Table.of(predicted, y, few, test, shifted, apart, used)[0].with_mean()

    other = y.copy()
    other[2] += 10.0
    before, after = judged(y), judged(other)
    np.testing.assert_allclose(before[2], after[2])
    assert np.abs(before[3] - after[3])[-1] == pytest.approx(2.0)
    np.testing.assert_allclose(before[0, -1], y[1:6].mean())


def test_the_study_of_few_rows_continues_and_its_tables_are_means_of_targets(world, tmp_path, monkeypatch):
    monkeypatch.setattr(chembl.World, "of", lambda targets: world)
    monkeypatch.setattr(few_rows, "MOST", 2)
    few_rows.run(tmp_path, sources=5, splits=1)
    first = (tmp_path / "assays_few_rows.csv").read_text(encoding="utf-8")
    few_rows.run(tmp_path, sources=5, splits=5)
    second = (tmp_path / "assays_few_rows.csv").read_text(encoding="utf-8")
    assert second.startswith(first)
    assert len(second.splitlines()) == 1 + 2 * 2 * len(few_rows.SETTINGS)
    monkeypatch.setattr(few_rows, "judge", lambda *given: pytest.fail("all results are there"))
    few_rows.run(tmp_path, sources=5, splits=5)
    found = few_rows_tables.Results(tmp_path)
    tables = "".join(make(found) for make in few_rows_tables.TABLES)
    own = [float(line["rmse exact"]) for line in found.lines if (line["rows"], line["offset"]) == ("10", "raw")]
    assert len(own) == 4
    assert f"{np.mean(own):.3f}" in tables
    assert "nan" not in tables
