"""Tables of parts that several ranks share: the same bits, one view of the folder, errors that name the rank."""

import os
import pickle

import numpy as np
import pytest
from sharded import DOMAINS, block_sums, digest_by, listed_by, made, rows_of, see_other_inodes, write_parts
from thread_ranks import led_by, on_ranks

from mixfast import ExpertTable
from mixfast.errors import TableError
from mixfast.tables import ShardedTable, _blocks, _loading

W = np.random.default_rng(3).dirichlet(np.ones(5))


@pytest.fixture
def folder(tmp_path):
    return write_parts(tmp_path / "t", made(n=60_000), cuts=(0, 20_000, 20_100, 60_000))


def facts(table):
    fit, held_out = table.split(0.3, seed=7)
    sample = table.sample(8192)
    found = [
        one.reduce(block_sums, W, size=3) for one in (table, fit, held_out, sample, table.select(["news", "web"]))[:4]
    ]
    found += [one.weight_sums for one in (table, fit, sample)]
    return [sum_.tobytes() for sum_ in found], np.hstack(table.collect(rows_of)).tobytes(), table.extremes


def test_sums_have_the_same_bits_for_every_number_of_ranks(folder):
    found = [led_by(size, lambda team: facts(ExpertTable.load(folder, ranks=team))) for size in (1, 2, 3, 8)]
    assert found[1:] == found[:-1]


def order_of(block, w):
    """Note in which order blocks are visited."""
    COUNTER.append(block.index)
    return block_sums(block, w)


COUNTER = []


def test_every_second_sweep_of_a_table_larger_than_the_memory_goes_backwards(folder, monkeypatch):
    expected = ExpertTable.load(folder).reduce(block_sums, W, size=3)
    monkeypatch.setattr(_blocks, "_IN_MEMORY", 0.0)
    table = ExpertTable.load(folder)
    COUNTER.clear()
    sums = {table.reduce(order_of, W, size=3).tobytes() for _ in range(3)}
    assert sums == {expected.tobytes()}
    blocks = list(range(table.n_blocks))
    assert [*blocks, *blocks[::-1], *blocks] == COUNTER


def test_every_rank_gets_the_table_that_all_of_them_load(folder):
    def load(ranks):
        table = ExpertTable.load(folder, ranks=ranks)
        return type(table), table.shape, table.domains, table.team.rank

    found = on_ranks(3, load)
    assert found == [(ShardedTable, (60_000, 5), tuple(DOMAINS), rank) for rank in range(3)]


def test_ranks_that_see_other_files_are_named(folder, monkeypatch):
    monkeypatch.setattr(_loading, "_digest", digest_by)
    monkeypatch.setattr(_loading, "_listed", listed_by)
    with pytest.raises(
        TableError,
        match=r"rank 1 sees other parts in .* than rank 0: part-2.npz \(no such file on rank 1, \d+ bytes on rank 0\)",
    ):
        on_ranks(2, lambda ranks: ExpertTable.load(folder, ranks=ranks))


def test_an_error_names_the_rank_the_file_and_the_row(folder):
    arrays = made(n=60_000)
    arrays["loglik"][59_990, 2] = np.nan
    write_parts(folder, arrays, cuts=(0, 20_000, 20_100, 60_000))
    with pytest.raises(TableError, match=r"^rank 2: .*part-2.npz, row 39890: math is nan"):
        led_by(3, lambda team: ExpertTable.load(folder, ranks=team).reduce(block_sums, W, size=3))


def test_a_copy_in_another_process_reads_the_parts_itself(folder):
    table = ExpertTable.load(folder)
    total = table.reduce(block_sums, W, size=3)
    copy = pickle.loads(pickle.dumps(table))
    assert copy.extremes == table.extremes
    assert copy.reduce(block_sums, W, size=3).tobytes() == total.tobytes()


def touching(block, path):
    """Change a part while its blocks are read."""
    if block.index == 0:
        os.utime(path, ns=(1, 1))
    return np.zeros(1)


def test_a_part_that_changes_during_a_sweep_is_refused(folder):
    table = ExpertTable.load(folder)
    with pytest.raises(
        TableError, match=r"part-0.npz has changed since the table was loaded \(it was written to or replaced\)"
    ):
        table.reduce(touching, folder / "part-0.npz", size=1)
    # A part that is replaced between two sweeps is refused by the next one.
    table = ExpertTable.load(folder)
    table.reduce(block_sums, W, size=3)
    (folder / "part-1.npz").write_bytes((folder / "part-1.npz").read_bytes() + b"\0")
    with pytest.raises(TableError, match=r"part-1.npz has changed since the table was loaded \(it had"):
        table.reduce(block_sums, W, size=3)


def test_each_rank_compares_files_with_those_that_it_saw(folder):
    def work(team):
        table = ExpertTable.load(folder, ranks=team)
        table.team.each(see_other_inodes, folder)
        return table.reduce(block_sums, W, size=3)

    # Rank 1 uses what it has noted; rank 0 notices that its files were replaced.
    with pytest.raises(TableError, match=r"^rank 0: .*part-0.npz has changed since the table was loaded"):
        led_by(2, work)
