"""Tables in folders of parts: the same sums as one table of all rows, in blocks of rows."""

import os
import tracemalloc
import warnings
from itertools import pairwise

import numpy as np
import pytest
from sharded import DOMAINS, block_sums, made, rows_of, write_parts

from mixfast import ExpertTable
from mixfast.errors import MixfastWarning, TableError
from mixfast.tables import PartEntry, _opening, _parts, manifest_of
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


def test_the_order_of_rows_is_the_natural_order_of_names(tmp_path):
    for number in (10, 9, 1):
        np.save(tmp_path / f"part-{number}.npy", np.full((4, 2), -float(number)))
    table = ExpertTable.load(tmp_path)
    assert np.concatenate(table.collect(first_column)).tolist() == [-1.0] * 4 + [-9.0] * 4 + [-10.0] * 4
    assert table.domains == ("domain_0", "domain_1")


def first_column(block):
    assert block.start == 4 * [1.0, 9.0, 10.0].index(-block.table.loglik[0, 0])
    return block.table.loglik[:, 0]


def test_table_json_names_the_domains_of_parts_without_names_and_orders_the_others(tmp_path):
    named, bare = tmp_path / "named", tmp_path / "bare"
    for folder in (named, bare):
        folder.mkdir()
        np.savez(
            folder / "part-0.npz",
            loglik=np.array([[-1.0, -2.0]]),
            **({"domains": ["a", "b"]} if folder == named else {}),
        )
        entries = [PartEntry.of(folder / "part-0.npz", 1)]
        manifest_of(("b", "a"), np.float64, ("all",), entries).write(folder)
        table = ExpertTable.load(folder)
        assert table.domains == ("b", "a")
        (columns,) = table.collect(columns_of)
        assert columns == ([1, 0] if folder == named else None)


def columns_of(block):
    return None if block.columns is None else block.columns.tolist()


def test_the_memory_of_a_sweep_does_not_grow_with_the_rows(tmp_path):
    peaks = []
    for parts in (2, 16):
        folder = tmp_path / str(parts)
        folder.mkdir()
        for number in range(parts):
            np.save(folder / f"part-{number}.npy", np.full((65_536, 16), -3.0, dtype=np.float16))
        table = ExpertTable.load(folder)
        tracemalloc.start()
        assert table.reduce(count_of, size=1)[0] == 65_536 * parts
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The parts have 2 MB each.
    assert max(peaks) < 1e6


def count_of(block):
    return np.array([block.table.loglik.shape[0]], dtype=np.float64)


def test_values_above_the_log_of_a_probability_are_warned_of_once_all_rows_were_seen(tmp_path):
    arrays = {"loglik": made(n=2000)["loglik"]}
    arrays["loglik"][7, 2] = 0.5
    table = ExpertTable.load(write_parts(tmp_path / "t", arrays, cuts=(0, 1000, 2000)))
    with pytest.warns(MixfastWarning, match=r"loglik of .* goes up to 0\.5, but the log of a probability is at most 0"):
        table.reduce(count_of, size=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table.reduce(count_of, size=1)


def test_probabilities_in_parts_are_refused_once_all_rows_were_seen(tmp_path):
    proba = np.random.default_rng(0).random((2000, 5))
    table = ExpertTable.load(write_parts(tmp_path / "t", {"loglik": proba}, cuts=(0, 1000, 2000)))
    with pytest.raises(TableError, match=r"loglik of .* has values from .* which look like probabilities"):
        table.reduce(count_of, size=1)


def test_a_sample_reads_its_rows_only(tmp_path, monkeypatch):
    table = ExpertTable.load(
        write_parts(tmp_path / "t", {"loglik": made(n=60_000)["loglik"]}, cuts=(0, 50_000, 60_000))
    )
    read, rows = [], _parts.OpenPart.read_into
    monkeypatch.setattr(
        _parts.OpenPart, "read_into", lambda part, out, *where: (read.append(len(out)), rows(part, out, *where))
    )
    monkeypatch.setattr(_parts.OpenPart, "values", None)
    sample = table.sample(20_000)
    sample.reduce(count_of, size=1)
    assert sum(read) == sample.n_rows
    # Runs of neighbouring rows, not single rows, and not whole parts.
    assert 32 <= np.median(read) <= 256


def test_arrays_that_are_not_aligned_in_their_file_are_read(tmp_path):
    values = made(n=999)["loglik"]
    with (tmp_path / "part-0.npy").open("wb") as file:
        np.lib.format.write_array(file, values)
    data = (tmp_path / "part-0.npy").read_bytes()
    # A header that is one byte longer.
    length = int.from_bytes(data[8:10], "little") + 1
    (tmp_path / "part-0.npy").write_bytes(data[:8] + length.to_bytes(2, "little") + data[10:127] + b" \n" + data[128:])
    table = ExpertTable.load(tmp_path)
    w = np.full(5, 0.2)
    whole = ExpertTable.from_loglik(values)
    loss = whole.row_weight @ -np.log(np.exp(values.astype(np.float64)) @ w)
    assert table.reduce(block_sums, w, size=3)[0] == pytest.approx(loss, rel=1e-12)


def test_group_names_of_several_parts_are_put_together(tmp_path):
    for number, names in enumerate((["news", "talk"], ["talk", "quiz"])):
        np.savez(tmp_path / f"part-{number}.npz", loglik=np.full((4, 2), -1.0), group=[0, 1, 1, 1], group_names=names)
    table = ExpertTable.load(tmp_path)
    assert table.group_names == ("news", "talk", "quiz")
    assert table.group_rows.tolist() == [1, 4, 3]
    assert table.weight_sums == pytest.approx([1.0, 1.0, 1.0])


def test_weights_that_no_loss_can_have_are_refused_with_their_row(tmp_path):
    arrays = made(n=100)
    weight = np.ones(100)
    weight[70] = -1.0
    table = ExpertTable.load(write_parts(tmp_path / "t", arrays | {"weight": weight}, cuts=(0, 60, 100)))
    with pytest.raises(TableError, match=r"part-1.npz, row 10: weight is -1.0, expected a number of at least 0"):
        list(table.weight_sums)
    weight = (arrays["group"] != 1).astype(float)
    table = ExpertTable.load(write_parts(tmp_path / "t", arrays | {"weight": weight}, cuts=(0, 60, 100)))
    with pytest.raises(TableError, match=r"these groups sum to 0 .*: group_1 \(0\)"):
        list(table.weight_sums)


def test_few_parts_are_open_at_a_time(tmp_path, monkeypatch):
    for number in range(20):
        np.save(tmp_path / f"part-{number}.npy", np.full((8, 2), -1.0))
    monkeypatch.setattr(_opening, "_descriptors", lambda: 16)
    before = len(os.listdir("/dev/fd"))
    table = ExpertTable.load(tmp_path)
    sides = table.split(0.5, seed=0)
    for one in (table, *sides, table):
        one.reduce(count_of, size=1)
    assert len(os.listdir("/dev/fd")) <= before + 2 * 4


def test_an_attribute_that_needs_all_rows_in_memory_says_so(tmp_path):
    table = ExpertTable.load(write_parts(tmp_path / "t", made()))
    with pytest.raises(
        AttributeError, match=r"a ShardedTable has no 'loglik'; its rows are not in memory: use reduce or collect"
    ):
        table.loglik.max()
    with pytest.raises(AttributeError, match=r"a ShardedTable has no 'colour'$"):
        table.colour.max()


def some_rows(block, step):
    rows = np.arange(0, len(block.rows), step)
    order = slice(None) if block.columns is None else block.columns
    return block.loglik(rows), block.loglik()[rows], block.table.loglik[rows][:, order], "extremes" in block.memory


def test_some_rows_of_a_block_are_read_alone_and_checked(tmp_path, monkeypatch):
    arrays = made()
    table = ExpertTable.load(write_parts(tmp_path / "t", arrays))
    for alone, together, mapped, _ in table.collect(some_rows, 7):
        np.testing.assert_array_equal(alone, together)
        np.testing.assert_array_equal(alone, mapped)
    arrays["loglik"][1250, 2] = np.nan
    table = ExpertTable.load(write_parts(tmp_path / "u", arrays))
    with pytest.raises(TableError, match=r"part-1.npz, row 50: math is nan"):
        table.collect(chosen_rows, 50)


def chosen_rows(block, row):
    return block.loglik(np.flatnonzero(np.arange(len(block.rows)) % 2 == row % 2))


def test_a_notebook_shows_groups_and_parts(tmp_path):
    table = ExpertTable.load(write_parts(tmp_path / "t", made()))
    page = table._repr_html_()
    assert [words for words in ("3,000 rows x 5 domains, float32", "in 3 parts", "group_2") if words not in page] == []
    assert repr(table).startswith(
        "ShardedTable(ce, 3000 rows x 5 domains, float32, 60 KB in 3 parts; domains: web, code"
    )
