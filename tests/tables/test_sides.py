"""Splits of tables in folders of parts: whole sequences, the same for every number of ranks, without a list of the rows."""

import numpy as np
import pytest
from makers import parts, tokens

from mixfast.errors import TableError
from mixfast.tables import _sharded

CUTS = (500, 1100, 1101, 2000)


def facts(n=2000, *, seed=0, weighted=False):
    rng = np.random.default_rng(seed)
    # Sequences of about 5 tokens; some have rows in both groups, none continues in the next part.
    sequence = np.cumsum(rng.random(n) < 0.2)
    for cut in CUTS[:-1]:
        sequence[cut:] += 1
    out = {"sequence": sequence, "group": (np.arange(n) % 500 > 200).astype(int)}
    return out | ({"weight": np.where(sequence % 7 == 0, 0.0, 1.0 + sequence % 3)} if weighted else {})


def rows_of(block):
    table, order = block.table, slice(None) if block.columns is None else block.columns
    return table.loglik[:, order], table.row_weight, np.repeat(np.arange(table.n_groups), np.diff(table.group_offsets))


def gathered(table):
    """Return log-likelihoods and weights of all rows, sorted by group."""
    values, weight, group = (np.concatenate(arrays) for arrays in zip(*table.collect(rows_of), strict=True))
    order = np.argsort(group, kind="stable")
    return values[order], weight[order]


@pytest.mark.parametrize("given", ["sequences", "weights", "rows", "lengths"])
def test_a_small_table_is_split_like_the_same_rows_in_memory(tmp_path, given):
    own = {
        "sequences": facts(),
        "weights": facts(weighted=True),
        "rows": {"group": facts()["group"]},
        "lengths": {"length": 1 + np.arange(2000) % 9},
    }[given]
    table, whole = parts(tmp_path, CUTS, tokens(2000), **own)
    for part, want in zip(table.split(0.7, seed=5), whole.split(0.7, seed=5), strict=True):
        values, weight = gathered(part)
        np.testing.assert_array_equal(values, want.loglik)
        np.testing.assert_allclose(weight, want.row_weight, rtol=1e-14)
        assert part.group_rows.tolist() == np.diff(want.group_offsets).tolist()
        assert part.n_rows == want.n_rows


def sequences_of(block):
    return [(block.start - block.first, int(number)) for number in np.unique(block.table.sequence)]


def test_a_large_table_is_split_by_whole_sequences_without_a_list(tmp_path, monkeypatch):
    monkeypatch.setattr(_sharded, "LISTED", 0)
    table, _ = parts(tmp_path, CUTS, tokens(2000), **facts())
    fit, held_out = table.split(0.75, seed=0)
    assert fit.n_rows + held_out.n_rows == 2000
    first, second = ({pair for pairs in side.collect(sequences_of) for pair in pairs} for side in (fit, held_out))
    assert not first & second
    assert len(first | second) == np.unique(facts()["sequence"]).size
    assert len(first) / len(first | second) == pytest.approx(0.75, abs=0.06)
    again = table.split(0.75, seed=0)[1]
    np.testing.assert_array_equal(gathered(again)[0], gathered(held_out)[0])
    assert table.split(0.75, seed=1)[1].n_rows != held_out.n_rows
    # Both sides have weights that make the loss of each group a mean.
    assert gathered(held_out)[1].sum() == pytest.approx(2.0)


def test_rows_without_sequences_stay_with_their_neighbours(tmp_path, monkeypatch):
    monkeypatch.setattr(_sharded, "LISTED", 0)
    loglik = tokens(2000)
    table, _ = parts(tmp_path, CUTS, loglik)
    fit, _ = table.split(0.5, seed=0)
    taken = np.isin(*(rows.sum(axis=1).round(9) for rows in (loglik, gathered(fit)[0])))
    for first, last in zip((0, *CUTS), CUTS, strict=False):
        for start in range(first, last, 64):
            assert len(set(taken[start : min(start + 64, last)])) == 1
    assert fit.n_rows == pytest.approx(1000, abs=300)


def test_a_side_can_be_split_and_sampled(tmp_path):
    table, _ = parts(tmp_path, CUTS, tokens(2000), **facts())
    fit, held_out = table.split(0.6, seed=0)
    one, other = fit.split(0.5, seed=1)
    assert one.n_rows + other.n_rows == fit.n_rows
    every = np.concatenate([gathered(part)[0] for part in (one, other, held_out)])
    np.testing.assert_array_equal(np.sort(every[:, 0]), np.sort(tokens(2000)[:, 0]))
    sample = fit.sample(600)
    values, weight = gathered(sample)
    assert len(values) == pytest.approx(600, rel=0.15)
    assert weight.sum() == pytest.approx(2.0, rel=0.15)
    assert set(values[:, 0]) <= set(gathered(fit)[0][:, 0])


def test_a_group_with_one_sequence_is_refused(tmp_path):
    own = {"sequence": np.arange(20) // 10, "group": np.arange(20) // 10}
    table, _ = parts(tmp_path, (10, 20), tokens(20), **own)
    with pytest.raises(TableError, match="cannot split group"):
        table.split(0.5, seed=0)
