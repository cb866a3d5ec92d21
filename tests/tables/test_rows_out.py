"""Rows that are written in pieces give the files that are written at once."""

import json
import resource
import subprocess
import sys

import numpy as np
import pytest

from mixfast import ExpertTable
from mixfast.tables.formats._rows_out import RowsOut, write_rows

LOGLIK = -np.random.default_rng(0).random((2000, 3)).astype("f4")
GROUP = np.repeat(np.arange(2, dtype=np.int32), 1000)
ARRAYS = {"loglik": LOGLIK, "length": np.arange(1, 2001), "group": GROUP}


def rows(arrays=ARRAYS):
    return RowsOut(
        2000,
        ("web", "code", "books"),
        {key: array.dtype for key, array in arrays.items()},
        [slice(0, 700), slice(700, 1400), slice(1400, 1999), slice(1999, 2000)],
        lambda key, piece: arrays[key][piece],
        ("news", "talk") if "group" in arrays else (),
    )


def test_pieces_give_the_npz_of_a_saved_table(tmp_path):
    write_rows(tmp_path / "pieces.npz", rows())
    table = ExpertTable.from_loglik(
        LOGLIK, domains=["web", "code", "books"], length=ARRAYS["length"], group=GROUP, group_names=["news", "talk"]
    )
    assert ExpertTable.load(tmp_path / "pieces.npz") == table
    table.save(tmp_path / "saved.npz")
    assert ExpertTable.load(tmp_path / "saved.npz") == ExpertTable.load(tmp_path / "pieces.npz")


def test_pieces_give_the_npy_of_numpy(tmp_path):
    write_rows(tmp_path / "pieces.npy", rows({"loglik": LOGLIK}))
    np.save(tmp_path / "numpy.npy", LOGLIK)
    assert (tmp_path / "pieces.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()
    with pytest.raises(ValueError, match="npy holds log-likelihoods only and would lose length, group"):
        write_rows(tmp_path / "pieces.npy", rows())


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_pieces_are_the_row_groups_of_parquet(tmp_path, dtype):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_rows(tmp_path / "pieces.parquet", rows(ARRAYS | {"loglik": LOGLIK.astype(dtype)}))
    file = parquet.ParquetFile(tmp_path / "pieces.parquet")
    assert file.num_row_groups == 4
    found = file.read()
    assert found.column_names == ["web", "code", "books", "length", "group"]
    values = np.stack([found[name].to_numpy() for name in found.column_names[:3]], axis=1)
    np.testing.assert_array_equal(values, LOGLIK.astype(dtype), strict=True)
    assert found["group"].to_pylist() == ["news"] * 1000 + ["talk"] * 1000
    np.testing.assert_array_equal(found["length"].to_numpy(), ARRAYS["length"])


def test_domains_named_like_other_columns_are_one_list(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_rows(tmp_path / "pieces.parquet", rows()._replace(domains=("web", "length", "books")))
    file = parquet.ParquetFile(tmp_path / "pieces.parquet")
    assert json.loads(file.schema_arrow.metadata[b"domains"]) == ["web", "length", "books"]
    found = file.read()
    values = found["loglik"].combine_chunks().flatten().to_numpy().reshape(-1, 3)
    np.testing.assert_array_equal(values, LOGLIK)
    np.testing.assert_array_equal(found["length"].to_numpy(), ARRAYS["length"])


@pytest.mark.parametrize("ending", ["npz", "npy", "parquet"])
def test_a_full_disk_leaves_nothing_and_has_a_reason(tmp_path, ending):
    pytest.importorskip("pyarrow")
    code = (
        "import numpy as np, sys; from mixfast.tables.formats._rows_out import *\n"
        "a = np.zeros((500_000, 2), 'f4'); r = RowsOut(500_000, ('a', 'b'), {'loglik': a.dtype}, [0, 1], lambda k, i: a[i::2])\n"
        "try: write_rows(__import__('pathlib').Path(sys.argv[1]), r)\n"
        "except OSError as e: print(e.strerror, e.filename)"
    )

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    path = tmp_path / f"a.{ending}"
    found = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, preexec_fn=little_room, check=True
    )
    assert found.stdout == f"File too large {path}\n"
    assert list(tmp_path.iterdir()) == []
