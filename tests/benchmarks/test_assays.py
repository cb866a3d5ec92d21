"""The study of bioassays: results that are continued, paired intervals, and rows that share molecules. RDKit is not needed."""

import numpy as np
import pytest

pytest.importorskip("scipy")
from benchmarks.assays import intervals
from benchmarks.assays.store import Store, read

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
