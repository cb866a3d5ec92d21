"""Folders of parts that hold something else than their files, or a table.json that lies: refused at once, by name."""

import json
import os

import numpy as np
import pytest

from mixfast import ExpertTable
from mixfast.errors import TableError
from mixfast.tables import convert, read_inputs, verify
from mixfast.tables._whole import listed


@pytest.fixture
def folder(tmp_path):
    """Return a folder of two parts with a table.json."""
    rng = np.random.default_rng(0)
    table = ExpertTable.from_loglik(rng.standard_normal((20, 2)) - 5.0, domains=["web", "code"])
    table.save(tmp_path / "table.npz")
    convert(read_inputs([tmp_path / "table.npz"]), tmp_path / "t", parts=2)
    return tmp_path / "t"


def put(place, kind):
    """Replace a file by something else."""
    place.unlink()
    if kind == "a pipe":
        os.mkfifo(place)
    elif kind == "a device":
        place.symlink_to("/dev/zero")
    elif kind == "a folder":
        place.mkdir()
    else:
        place.symlink_to("nothing")


@pytest.mark.parametrize("name", ["part-00001.npz", "table.json"])
@pytest.mark.parametrize("kind", ["a pipe", "a device", "a folder", "a dangling link"])
def test_what_is_not_a_file_is_refused_and_not_waited_for(folder, name, kind):
    put(folder / name, kind)
    for use in (ExpertTable.load, verify, lambda path: read_inputs([path])):
        with pytest.raises(TableError, match=f"{name} is (a folder|not a regular file|a link to a file)"):
            use(folder)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("groups", ["x", "y"], "names the groups x, y, but the parts do not hold group"),
        ("groups", [], "groups is empty"),
        ("domains", [], "table.json: domains is empty"),
        ("domains", ["web", "math"], "has other domains"),
        ("dtype", "float16", "holds float64, but table.json says float16"),
        ("rows", 11, "part-00001.npz has 10 rows, but table.json lists 11"),
    ],
)
def test_a_table_json_that_lies_is_found_by_load_and_verify(folder, key, value, said):
    found = json.loads((folder / "table.json").read_text())
    (found["parts"][1] if key == "rows" else found)[key] = value
    (folder / "table.json").write_text(json.dumps(found))
    for use in (ExpertTable.load, verify):
        with pytest.raises(TableError, match=said):
            use(folder)


def test_the_only_group_has_the_name_of_table_json(folder):
    text = (folder / "table.json").read_text()
    (folder / "table.json").write_text(text.replace('"all"', '"validation"'))
    assert ExpertTable.load(folder).group_names == ("validation",)


def test_parts_of_equal_numbers_have_one_order(tmp_path):
    for names in (["part-1.npz", "part-01.npz", "part-001.npz"], ["part-001.npz", "part-01.npz", "part-1.npz"]):
        for name in names:
            (tmp_path / name).unlink(missing_ok=True)
            (tmp_path / name).write_bytes(b"")
        assert [name for name, _ in listed(tmp_path)] == ["part-001.npz", "part-01.npz", "part-1.npz"]
