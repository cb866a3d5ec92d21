"""A file that is written to after its table was checked: no answer comes from rows that were not checked."""

import copy
import os
import pickle

import numpy as np
import pytest

from mixfast import ExpertTable, mde, solve
from mixfast._engine.objectives import rows_cpu
from mixfast.errors import TableError
from mixfast.solver import bootstrap, group_losses, holdout, losses, path
from mixfast.tables.formats import _npz

ROWS = 50_000


@pytest.fixture(autouse=True)
def swept_in_the_file(monkeypatch):
    """Have small tables swept in their file, as large ones are, not in a packed copy."""
    monkeypatch.setattr(rows_cpu, "_PACKED_BYTES", 0)
    monkeypatch.setattr(rows_cpu, "_PACKED_FLOATS", 0)
    monkeypatch.setattr(rows_cpu, "_SMALL_BYTES", 0)


def values(dtype, rows=ROWS):
    return (-np.random.default_rng(0).gamma(3.0, 1.0, (rows, 8))).astype(dtype)


def overwrite(file, row, dtype, entry=np.nan):
    """Write over one row, as another process may; the time of the file is that of a later write."""
    with open(file, "r+b") as handle:
        handle.seek(os.path.getsize(file) - (len(values(dtype, 1)[0]) * np.dtype(dtype).itemsize) * (ROWS - row))
        handle.write(np.full(8, entry, dtype).tobytes())
    later(file)


def later(file):
    now = os.stat(file)
    os.utime(file, ns=(now.st_atime_ns, now.st_mtime_ns + 10**9))


@pytest.fixture(params=[np.float16, np.float32, np.float64])
def mapped(request, tmp_path):
    np.save(tmp_path / "t.npy", values(request.param))
    return ExpertTable.load(tmp_path / "t.npy"), tmp_path / "t.npy", request.param


W = np.full((1, 8), 1 / 8)
ANSWERS = {
    "solve": solve,
    "worst": lambda table: solve(table, objective="worst"),
    "reference": lambda table: solve(table, backend="reference"),
    "losses": lambda table: losses(table, W),
    "group losses": lambda table: group_losses(table, W),
    "bootstrap": lambda table: bootstrap(table, replicates=5, seed=0),
    "holdout": lambda table: holdout(table, seed=0),
    "path": lambda table: path(table, kl=[0.1, 0.0]),
    "rows": lambda table: table.rows(np.arange(10)),
    "select": lambda table: table.select(["domain_1", "domain_0"]),
    "features": lambda table: mde.features(table, W),
}


@pytest.mark.parametrize("answer", list(ANSWERS))
def test_no_answer_from_rows_that_were_not_checked(tmp_path, answer):
    np.save(tmp_path / "t.npy", values(np.float32))
    table = ExpertTable.load(tmp_path / "t.npy")
    overwrite(tmp_path / "t.npy", 1234, np.float32)
    with pytest.raises(TableError, match=r"row 1234 \(domain_0 = nan\)") as told:
        ANSWERS[answer](table)
    assert "NaN" in str(told.value)


def test_the_row_is_named_for_every_type(mapped):
    table, file, dtype = mapped
    before = solve(table)
    overwrite(file, 7_777, dtype)
    with pytest.raises(
        TableError, match=r"t\.npy was written to after its values were checked.*row 7777 \(domain_0 = nan\)"
    ):
        solve(table)
    # Losses of the solution are sums over the same rows.
    with pytest.raises(TableError, match="was written to"):
        before.losses(W)


def test_other_values_are_named_as_a_change(mapped):
    table, file, dtype = mapped
    overwrite(file, 5, dtype, -1.0)
    with pytest.raises(TableError, match=r"was written to after its values were checked\. Load the table again"):
        solve(table)
    assert solve(ExpertTable.load(file)).status == "optimal"


def test_a_change_in_the_middle_of_a_solve_ends_it(mapped, monkeypatch):
    table, file, dtype = mapped
    real, swept = rows_cpu.CrossEntropy.sums, []

    def sums(self, *given, **named):
        found = real(self, *given, **named)
        swept.append(self.rows)
        if len(swept) == 1:
            overwrite(file, 9, dtype)
        return found

    monkeypatch.setattr(rows_cpu.CrossEntropy, "sums", sums)
    with pytest.raises(TableError, match=r"row 9 \(domain_0 = nan\)"):
        solve(table)
    assert swept


def test_a_file_that_is_replaced_or_removed_changes_nothing(mapped, tmp_path):
    table, file, dtype = mapped
    right = solve(table).value
    np.save(tmp_path / "new.npy", values(dtype) - 1)
    os.replace(tmp_path / "new.npy", file)
    assert solve(table).value == right
    os.unlink(file)
    assert solve(table).value == right


def test_copies_in_memory_are_not_watched(tmp_path):
    np.save(tmp_path / "t.npy", values(np.float32))
    table = ExpertTable.load(tmp_path / "t.npy")
    copies = [
        copy.deepcopy(table),
        pickle.loads(pickle.dumps(table)),
        table.rows(np.arange(100)),
        table.select(["domain_1", "domain_0"]),
    ]
    part = table.rows(slice(0, ROWS // 2))
    overwrite(tmp_path / "t.npy", 1234, np.float32)
    for one in copies:
        assert not one.is_watched
        assert np.isfinite(losses(one, W[:, : one.n_domains] * 8 / one.n_domains)).all()
    with pytest.raises(TableError, match=r"row 1234"):
        losses(part, W)


@pytest.mark.parametrize("kind", ["npz", "given", "predictions"])
def test_every_way_to_map_a_file_is_watched(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(_npz, "_MAP_ABOVE", 1)
    file = tmp_path / "t.npy"
    if kind == "npz":
        file = tmp_path / "t.npz"
        ExpertTable.from_loglik(values(np.float32), domains=list("abcdefgh")).save(file)
        table = ExpertTable.load(file)
    else:
        np.save(file, values(np.float32))
        array = np.load(file, mmap_mode="r")
        table = (
            ExpertTable.from_loglik(array) if kind == "given" else ExpertTable.from_predictions(array, np.zeros(ROWS))
        )
    assert table.is_watched
    later(file)
    with pytest.raises(TableError, match="was written to"):
        solve(table)
