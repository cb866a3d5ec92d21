"""Tables in folders of parts: the same sums as one table of all rows, in blocks of rows."""

from itertools import pairwise

import numpy as np
import pytest
from sharded import DOMAINS, block_sums, made, rows_of, write_parts

from mixfast import ExpertTable
from mixfast.tables._tree import Tree, node_places


def test_parts_are_one_table_whatever_the_order_of_their_domains(tmp_path):
    arrays = made()
    whole = ExpertTable.from_loglik(domains=DOMAINS, **arrays)
    table = ExpertTable.load(write_parts(tmp_path / "t", arrays))
    assert table.domains == whole.domains
    assert table.group_names == whole.group_names
    assert table.group_rows.tolist() == np.diff(whole.group_offsets).tolist()
    w = np.random.default_rng(2).dirichlet(np.ones(5))
    loss = whole.row_weight @ -np.log(np.exp(whole.loglik.astype(np.float64)) @ w)
    assert table.reduce(block_sums, w, size=3) == pytest.approx([loss, whole.row_weight.sum(), 3000], rel=1e-12)
    assert table.extremes == whole.extremes


@pytest.mark.parametrize("leaves", [1, 2, 3, 7, 64, 100])
def test_sums_have_the_same_bits_for_every_number_of_ranks(leaves):
    rng = np.random.default_rng(leaves)
    numbers, sums = rng.standard_normal((leaves, 2)), set()
    for ranks in (1, 2, 3, 8):
        cuts = [0, *np.sort(rng.integers(0, leaves + 1, ranks - 1)).tolist(), leaves]
        top = Tree(leaves)
        for first, last in pairwise(cuts):
            tree = Tree(leaves)
            for block in range(first, last):
                tree.add(0, block, numbers[block].copy())
            assert [node[:2] for node in tree.nodes] == node_places(first, last, leaves)
            top.add_all(tree.nodes)
        sums.add(top.nodes[0].total.tobytes())
    assert len(sums) == 1


def test_a_sample_is_spread_over_all_parts_and_estimates_the_sums(tmp_path):
    arrays = made(n=60_000)
    table = ExpertTable.load(write_parts(tmp_path / "t", arrays, cuts=(0, 20_000, 20_100, 60_000)))
    sample = table.sample(8192)
    found = np.hstack(sample.collect(rows_of))
    assert sample.n_rows == found.shape[1] == pytest.approx(8192, abs=64)
    assert np.histogram(found[0], 10)[0].min() > 600
    w = np.full(5, 0.2)
    assert sample.reduce(block_sums, w, size=3)[:2] == pytest.approx(table.reduce(block_sums, w, size=3)[:2], rel=0.03)
    assert sample.weight_sums == pytest.approx(table.weight_sums, rel=0.1)
    # The rows are read once.
    for part in table.parts:
        part.unlink()
    assert np.hstack(sample.collect(rows_of)).tobytes() == found.tobytes()


def test_a_side_of_a_split_can_be_sampled_and_split_again(tmp_path):
    table = ExpertTable.load(write_parts(tmp_path / "t", {"loglik": made()["loglik"]}))
    fit, held_out = table.split(0.25, seed=1)
    assert (fit.uniform_weight, held_out.uniform_weight) == (1 / fit.n_rows, 1 / held_out.n_rows)
    assert sum(side.n_rows for side in fit.split(0.5, seed=2)) == fit.n_rows
    sample = fit.sample(200)
    assert sample.n_rows == sum(sample.collect(len_of)) == pytest.approx(200, abs=60)


def len_of(block):
    return len(block.table)


def test_domains_can_be_selected_from_parts_in_different_orders(tmp_path):
    arrays = made()
    whole = ExpertTable.from_loglik(domains=DOMAINS, **arrays).select(["news", "web"])
    table = ExpertTable.load(write_parts(tmp_path / "t", arrays)).select(["news", "web"])
    w = np.array([0.25, 0.75])
    loss = whole.row_weight @ -np.log(np.exp(whole.loglik.astype(np.float64)) @ w)
    assert table.reduce(block_sums, w, size=3)[0] == pytest.approx(loss, rel=1e-12)
    assert table.extremes == whole.extremes
