"""The study of bioassays: results that are continued, paired intervals, and rows that share molecules. RDKit is not needed."""

import numpy as np
import pytest

pytest.importorskip("scipy")
from benchmarks.assays import intervals, mixtures, shared_models, toxcast, trees
from benchmarks.assays.mixtures import Rows
from benchmarks.assays.splits import ABSENT, TEST, TRAIN, VALIDATION, Split
from benchmarks.assays.store import Store, read
from mixfast import Mixture

COLUMNS, KEYS = ("target", "split", "value"), ("target", "split")


def line(target, split, value):
    return {"target": target, "split": split, "value": value}


def test_a_file_of_results_keeps_what_it_has_and_drops_half_a_line(tmp_path):
    path = tmp_path / "results" / "assays.csv"
    Store(path, COLUMNS, KEYS).append([line("a", 0, 0.5), line("a", 1, 0.25)])
    whole = path.read_text(encoding="utf-8")
    assert whole == "target,split,value\na,0,0.5\na,1,0.25\n"
    path.write_text(whole + "b,0,0.", encoding="utf-8")
    store = Store(path, COLUMNS, KEYS)
    assert path.read_text(encoding="utf-8") == whole
    assert ("a", 1) in store
    assert ("b", 0) not in store
    store.append([line("a", 1, 9.0), line("b", 0, 1.0)])
    assert [row["value"] for row in read(path)] == ["0.5", "0.25", "1.0"]


def test_a_file_of_other_columns_is_refused(tmp_path):
    path = tmp_path / "assays.csv"
    path.write_text("target,value\na,1\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="has the columns target, value; expected target, split, value"):
        Store(path, COLUMNS, KEYS)


def test_the_interval_is_that_of_the_means_of_the_targets():
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(0)
    one = {(f"t{target}", split): rng.normal() + target for target in range(7) for split in range(3)}
    other = {key: value - rng.normal() for key, value in one.items()}
    found = intervals.paired(one, other)
    means = [
        np.mean([[each[f"t{target}", split] for split in range(3)] for each in (one, other)], axis=1)
        for target in range(7)
    ]
    ours, theirs = np.array(means).T
    low, high = ttest_rel(ours, theirs).confidence_interval(0.95)
    np.testing.assert_allclose([found.mean - found.half, found.mean + found.half], [low, high])
    assert (found.targets, found.above) == (7, int((ours > theirs).sum()))


def test_splits_of_a_target_are_no_more_evidence_than_one():
    """A target whose splits agree counts as much as one with a single split."""
    once = {("a", 0): 1.0, ("b", 0): 3.0}
    often = {(target, split): value for (target, _), value in once.items() for split in range(50)}
    zero = dict.fromkeys
    few, many = (intervals.paired(each, zero(each, 0.0)) for each in (once, often))
    assert few == many
    assert few.mean == 2.0
    assert few.half == pytest.approx(12.7062, abs=1e-4)


def test_methods_with_different_targets_are_not_compared():
    with pytest.raises(ValueError, match=r"only one of both methods has \(target, split\) \('b', 0\)"):
        intervals.paired({("a", 0): 1.0, ("b", 0): 1.0}, {("a", 0): 1.0})


def pooled(seed=0, molecules=300, bits=24, sources=3):
    """Labels of molecules in several assays that measure most of them, and a weight for each measurement."""
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(seed)
    X = (rng.random((molecules, bits)) < 0.3).astype(np.float32)
    values = (rng.random((molecules, sources)) < 0.1 + 0.6 * X[:, :sources]).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    weight = np.isfinite(values) * rng.uniform(0.1, 2.0, sources)
    return csr_matrix(X), values, weight


def test_rows_of_one_molecule_have_the_gradient_and_curvature_of_their_sum():
    _, values, weight = pooled()
    rows, label, total = trees.collapse(values, weight)
    assert len(rows) == (weight.sum(axis=1) > 0.0).sum() < np.count_nonzero(weight)
    for p in (0.1, 0.7):
        each = np.where(weight > 0.0, weight * (p - np.nan_to_num(values.astype(np.float64))), 0.0).sum(axis=1)[rows]
        np.testing.assert_allclose(total * (p - label), each, atol=1e-12)
        np.testing.assert_allclose(total * p * (1 - p), (weight * p * (1 - p)).sum(axis=1)[rows])


def test_trees_of_pooled_rows_are_those_of_all_rows():
    xgboost = pytest.importorskip("xgboost", reason="xgboost is not installed: pip install 'mixfast[bench]'")
    X, values, weight = pooled()
    molecule, source = np.nonzero(weight)
    rows, label, total = trees.collapse(values, weight)
    ours = trees.fit(X[rows], label, total, rounds=20).predict(X)
    plain = xgboost.XGBClassifier(n_estimators=20, max_depth=6, learning_rate=0.1, n_jobs=1)
    plain.fit(X.toarray()[molecule], values[molecule, source].astype(int), sample_weight=weight[molecule, source])
    np.testing.assert_allclose(ours, plain.predict_proba(X.toarray())[:, 1], atol=1e-5)


def test_bits_on_which_no_split_is_possible_are_left_out():
    xgboost = pytest.importorskip("xgboost", reason="xgboost is not installed: pip install 'mixfast[bench]'")
    X, values, _ = pooled(bits=40)
    X = X.toarray()
    X[:, 30:] = 0.0
    X[:3, 30:35] = 1.0
    from scipy.sparse import csr_matrix

    known = np.isfinite(values[:, 0])
    ours = trees.fit(csr_matrix(X[known]), values[known, 0].astype(float), rounds=20)
    assert ours.bits.tolist() == list(range(30))
    plain = xgboost.XGBClassifier(n_estimators=20, max_depth=6, learning_rate=0.1, n_jobs=1)
    plain.fit(X[known], values[known, 0].astype(int))
    np.testing.assert_allclose(ours.predict(csr_matrix(X)), plain.predict_proba(X)[:, 1], atol=1e-6)


@pytest.mark.parametrize("scale", ["largest", "mean", "paper"])
def test_weights_of_rows_are_those_of_mixtures(scale):
    counts, shares = np.array([3, 10, 40]), np.array([0.5, 0.0, 0.5])
    mixture = Mixture(dict(zip("abc", shares, strict=True)))
    expected = mixture.row_weights(np.repeat(list("abc"), counts), scale=scale)
    np.testing.assert_allclose(np.repeat(shared_models.row_weights(shares, counts, scale), counts), expected)


def test_by_molecule_no_molecule_of_the_test_is_trained_on():
    measured = np.random.default_rng(0).random((4000, 5)) < 0.8
    one = Split.of(measured, "molecule", 3)
    assert ((one.part == TEST).any(axis=1) & (one.part == TRAIN).any(axis=1)).sum() == 0
    other = Split.of(measured, "assay", 3)
    assert ((other.part == TEST).any(axis=1) & (other.part == TRAIN).any(axis=1)).sum() > 1000
    for split in (one, other):
        np.testing.assert_array_equal(split.part == ABSENT, ~measured)
        found = [(split.part == part).sum() / measured.sum() for part in (TRAIN, VALIDATION, TEST)]
        np.testing.assert_allclose(found, [0.64, 0.16, 0.2], atol=0.02)


def test_temperatures_are_those_of_calibrated_tables():
    rng = np.random.default_rng(0)
    truth = rng.random((400, 2))
    y = (rng.random(400) < truth.mean(axis=1)).astype(float)
    proba = 1.0 / (1.0 + ((1.0 - truth) / truth) ** 3.0)
    found = mixtures.temperatures(Rows(proba, y))
    assert (found > 1.5).all()
    tempered = mixtures.tempered(proba, found)
    for k in range(2):
        assert mixtures.log_loss(y, tempered[:, k]) < mixtures.log_loss(y, proba[:, k])
        for other in (0.95, 1.05):
            again = mixtures.tempered(proba, found * other)
            assert mixtures.log_loss(y, tempered[:, k]) < mixtures.log_loss(y, again[:, k])


def test_a_study_that_was_stopped_gives_the_same_files(tmp_path, monkeypatch):
    """A tiny world with one rule that all assays share, and one that is the target's own."""
    for needed in ("xgboost", "lightgbm", "sklearn"):
        pytest.importorskip(needed, reason=f"{needed} is not installed: pip install 'mixfast[bench]'")
    X, _, _ = pooled(molecules=400)
    rng = np.random.default_rng(1)
    dense = X.toarray()
    chance = 0.1 + 0.6 * dense[:, :1] + 0.2 * dense[:, 1:6]
    values = (rng.random(chance.shape) < chance).astype(np.float32)
    world = shared_models.World(X, values, tuple("abcde"), (0, 1), (2, 3, 4))
    monkeypatch.setattr(shared_models, "world", lambda targets, sources: world)
    monkeypatch.setattr(shared_models.data, "CACHE", tmp_path / "cache")
    names = ("assays_toxcast.csv", "assays_toxcast_targets.csv")

    def files(folder):
        shared_models._split.cache_clear()
        shared_models.load.cache_clear()
        toxcast.run(folder, processes=1, targets=2, sources=3, splits=1)
        return [(folder / name).read_bytes() for name in names]

    whole = files(tmp_path / "once")
    lines = read(tmp_path / "once" / names[0])
    assert {(line["setting"], line["target"]) for line in lines} == {
        (setting, name) for setting in ("by molecule", "by assay", "by molecule, many sources") for name in "ab"
    }
    assert len(lines) == 6 * len({line["method"] for line in lines})
    # Killed in the middle of a line of the second target.
    stopped = tmp_path / "twice"
    stopped.mkdir()
    (stopped / names[0]).write_bytes(whole[0][: int(0.37 * len(whole[0]))])
    (stopped / names[1]).write_bytes(b"".join(whole[1].splitlines(keepends=True)[:2]))
    assert files(stopped) == whole
