"""Parts in parquet: a column for each domain or lists of a fixed size, read by whole row groups."""

import json
from itertools import pairwise

import numpy as np
import pytest

from mixfast import ExpertTable
from mixfast.errors import TableError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

DOMAINS = ["web", "code", "math"]
ROWS = 100_000
CUTS = (0, 40_000, 41_000, ROWS)


def made(dtype=np.float32):
    rng = np.random.default_rng(0)
    return {
        "loglik": (rng.standard_normal((ROWS, 3)) - 9.0).astype(dtype),
        "length": rng.integers(1, 100, ROWS),
        "group": np.array(["new", "old"])[rng.integers(0, 2, ROWS)],
        "sequence": np.arange(ROWS) // 10,
    }


def columns(part, number):
    """A column for each domain, in another order in each part, and text for groups."""
    order = np.roll(np.arange(3), number)
    found = {DOMAINS[k]: part["loglik"][:, k] for k in order}
    return pyarrow.table(found | {key: part[key] for key in part if key != "loglik"})


def lists(part, number):
    """Lists of a fixed size, and a dictionary of groups."""
    order = np.roll(np.arange(3), number)
    flat = np.ascontiguousarray(part["loglik"][:, order]).reshape(-1)
    found = {key: pyarrow.array(array) for key, array in part.items() if key != "loglik"}
    found["group"] = found["group"].dictionary_encode()
    found["loglik"] = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(flat), 3)
    return pyarrow.table(found).replace_schema_metadata({"domains": json.dumps([DOMAINS[k] for k in order])})


def write_parts(folder, arrays, form, row_group=7000):
    folder.mkdir(exist_ok=True)
    for number, (first, last) in enumerate(pairwise(CUTS)):
        table = form({key: array[first:last] for key, array in arrays.items()}, number)
        parquet.write_table(table, folder / f"part-{number}.parquet", row_group_size=row_group)
    return folder


def block_sums(block, w):
    table, order = block.table, slice(None) if block.columns is None else block.columns
    losses = -np.log(np.exp(table.loglik[:, order].astype(np.float64)) @ w)
    return np.append(np.bincount(table.group, weights=table.row_weight * losses, minlength=2), len(table))


def sequences_of(block):
    return block.table.sequence, block.first, block.table.n_rows


@pytest.mark.parametrize("form", [columns, lists])
def test_parquet_parts_are_one_table(tmp_path, form):
    arrays = made()
    whole = ExpertTable.from_loglik(domains=DOMAINS, **arrays)
    table = ExpertTable.load(write_parts(tmp_path / "t", arrays, form))
    assert table.group_names == whole.group_names
    assert table.domains == whole.domains
    w = np.array([0.2, 0.3, 0.5])
    losses = whole.row_weight * -np.log(np.exp(whole.loglik.astype(np.float64)) @ w)
    expected = [*np.bincount(whole.group, weights=losses), ROWS]
    assert table.reduce(block_sums, w, size=3) == pytest.approx(expected, rel=1e-12)
    # Blocks are whole row groups.
    assert {first % 7000 for _, first, _ in table.collect(sequences_of)} == {0}
    sample = table.sample(8192)
    rows = np.concatenate([found for found, _, _ in sample.collect(sequences_of)])
    assert np.histogram(rows, 10, (0, ROWS // 10))[0].min() > 600
    assert sample.reduce(block_sums, w, size=3)[:2] == pytest.approx(expected[:2], rel=0.03)


def test_float16_lists_are_read(tmp_path):
    arrays = {"loglik": made(np.float16)["loglik"]}
    arrays["group"] = made()["group"]
    table = ExpertTable.load(write_parts(tmp_path / "t", arrays, lists))
    assert table.dtype == np.float16
    assert table.extremes == (-np.inf, np.inf, -np.inf)
    table.reduce(block_sums, np.array([0.2, 0.3, 0.5]), size=3)
    assert table.extremes == ExpertTable.from_loglik(arrays["loglik"]).extremes


def test_files_that_are_no_tables_are_refused(tmp_path):
    def refused(table, words):
        parquet.write_table(table, tmp_path / "part-0.parquet")
        with pytest.raises(TableError, match=words):
            ExpertTable.load(tmp_path).reduce(block_sums, np.full(2, 0.5), size=3)

    plain = pyarrow.array([-1.0, -2.0])
    refused(pyarrow.table({"web": plain, "name": ["a", "b"]}), "one column for each domain.*name")
    refused(pyarrow.table({"loglik": pyarrow.array([[-1.0], [-2.0]])}), "lists of a fixed size")
    refused(pyarrow.table({"web": plain, "code": pyarrow.array([-1.0, None])}), "row 1: code is null")
    refused(pyarrow.table({"web": plain, "group": pyarrow.array([0.5, 1.5])}), "group has the type double")
    (tmp_path / "part-0.parquet").write_bytes((tmp_path / "part-0.parquet").read_bytes()[:-40])
    with pytest.raises(TableError, match="truncated or damaged, or no parquet file"):
        ExpertTable.load(tmp_path)
