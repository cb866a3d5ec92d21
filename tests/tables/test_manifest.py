"""Parts of a folder and their table.json: what is written is read back, and anything else is refused by name."""

import hashlib
import json

import numpy as np
import pytest

from mixfast import ExpertTable
from mixfast.errors import TableError
from mixfast.tables import Manifest, check_folder_output, manifest_of, part_name, write_part


def arrays(rows, group="a"):
    return {
        "loglik": -np.arange(1.0, 2 * rows + 1, dtype=np.float32).reshape(rows, 2),
        "domains": np.array(["web", "cöde"]),
        "group": np.zeros(rows, np.int32),
        "group_names": np.array([group]),
    }


@pytest.fixture
def written(tmp_path):
    """Return a folder of two parts and its manifest."""
    parts = [
        write_part(tmp_path / part_name(place), arrays(rows, group))
        for place, rows, group in [(0, 3, "a"), (1, 2, "b")]
    ]
    made = manifest_of(["web", "cöde"], np.float32, ["a", "b"], parts)
    made.write(tmp_path)
    return tmp_path, made


def test_a_manifest_comes_back(written):
    folder, made = written
    assert Manifest.read(folder) == made
    assert (made.rows, made.dtype, made.domains) == (5, "float32", ("web", "cöde"))
    for entry in made.parts:
        data = (folder / entry.file).read_bytes()
        assert (entry.bytes, entry.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert len(ExpertTable.load(folder / entry.file)) == entry.rows
    assert [entry.file for entry in made.parts] == ["part-00000.npz", "part-00001.npz"]
    assert Manifest.read(folder.parent) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one[:-30], "not JSON"),
        (lambda one: "[]", "it holds list"),
        (lambda one: one.replace("table 1", "table 2"), "its format is 'mixfast table 2'.* later version"),
        (lambda one: one.replace('"ce"', '"mse"'), "kind is 'mse'"),
        (lambda one: one.replace('"float32"', '"int8"'), "dtype is 'int8'"),
        (lambda one: one.replace('"cöde"', '"web"'), "domains must be distinct"),
        (lambda one: one.replace('"b"', "1"), "groups must be names"),
        (lambda one: one.replace('"kind"', '"more"'), "missing: kind; unknown: more"),
        (lambda one: one.replace("part-00001", "part-00000"), "the files of parts must be distinct"),
        (lambda one: one.replace("part-00001", "../part-00001"), "part 1 is .*expected the name of a file"),
        (lambda one: one.replace('"rows": 2', '"rows": -2'), "part 1 is .*numbers of at least 1"),
        (lambda one: one.replace('"rows": 2', '"rows": "2"'), "part 1 is .*expected an object"),
        (lambda one: json.dumps({**json.loads(one), "parts": []}), "parts is .*expected a list"),
        (lambda one: one.encode("utf-16"), "not UTF-8"),
    ],
)
def test_a_manifest_that_is_damaged_is_refused_by_name(written, change, said):
    folder, _ = written
    changed = change((folder / "table.json").read_text(encoding="utf-8"))
    (folder / "table.json").write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    with pytest.raises(TableError, match=said) as caught:
        Manifest.read(folder)
    assert str(caught.value).startswith(f"{folder / 'table.json'}: ")


def test_only_a_folder_of_parts_may_be_replaced(written, tmp_path):
    folder, _ = written
    check_folder_output(folder, TableError)
    check_folder_output(folder / "new", TableError)
    (folder / "table.json").unlink()
    with pytest.raises(TableError, match=r"is a folder of parts without table\.json, so it may not be a table"):
        check_folder_output(folder, TableError)
    (folder / "notes.txt").touch()
    (folder / "part-7.npz").mkdir()
    with pytest.raises(TableError, match=r"other files than those of a table \(notes.txt, part-7.npz\)"):
        check_folder_output(folder, TableError)
    (folder / "notes").touch()
    with pytest.raises(TableError, match=r"--out is a file, but a table of parts is a folder: .* end it in \.npz"):
        check_folder_output(folder / "notes", TableError, where="--out")
    with pytest.raises(TableError, match=r"name has no such ending, .* name it table or table\.npz"):
        check_folder_output(folder / "table.csv", TableError)
    with pytest.raises(TableError, match="is the root of a file system"):
        check_folder_output("/", TableError)
    with pytest.raises(TableError, match="there is no folder"):
        check_folder_output(folder / "no" / "table", TableError)
