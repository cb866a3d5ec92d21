"""What is wrong with a folder of parts, or goes wrong while it is read or written, ends a command with one line that names it and status 2."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from rank_processes import ended, started

from mixfast import ExpertTable, Mixture
from mixfast.tables import _parts

LOGLIK = -6.0 * np.random.default_rng(5).random((3000, 3)).astype("f4")
DOMAINS = ("web", "code", "books")
ARRAYS = {"domains": np.array(DOMAINS), "length": np.arange(1, 1001), "group": np.repeat([0, 1], 500)}
NAMES = np.array(["news", "talk"])


def write_part(number, **changes):
    """Write a part of 1000 rows; a change of None leaves a key out."""
    arrays = {"loglik": LOGLIK[1000 * number : 1000 * (number + 1)], **ARRAYS, "group_names": NAMES, **changes}
    np.savez(f"big/part-{number}.npz", **{key: value for key, value in arrays.items() if value is not None})


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "big").mkdir()
    for number in range(3):
        write_part(number)
    return tmp_path


def listed():
    """Give the folder a table.json."""
    subprocess.run([sys.executable, "-c", _MANIFEST], check=True)


_MANIFEST = """
import pathlib
from mixfast.tables import PartEntry, manifest_of
parts = [PartEntry.of(path, 1000) for path in sorted(pathlib.Path("big").glob("part-*"))]
manifest_of(("web", "code", "books"), "f4", ("news", "talk"), parts).write(pathlib.Path("big"))
"""


def with_value(value, row=317, column=1):
    values = LOGLIK[1000:2000].copy()
    values[row, column] = value
    return values


def cut(name, size):
    with open(name, "r+b") as file:
        file.truncate(size)


# A fault of part 1, and what the line says.
FAULTS = {
    "cut short": (lambda: cut("big/part-1.npz", 9000), "big/part-1.npz is truncated or damaged"),
    "empty": (lambda: cut("big/part-1.npz", 0), "big/part-1.npz"),
    "a folder": (lambda: (os.remove("big/part-1.npz"), os.mkdir("big/part-1.npz")), "big/part-1.npz"),
    "a link to nothing": (lambda: (os.remove("big/part-1.npz"), os.symlink("none", "big/part-1.npz")), "big/part-1.npz"),
    "other domains": (
        lambda: write_part(1, domains=np.array(["web", "code", "maths"])),
        "big/part-1.npz has other domains than the table: it lacks 'books' and has 'maths'",
    ),
    "more domains": (
        lambda: write_part(1, loglik=np.ones((1000, 4), "f4"), domains=np.array([*DOMAINS, "maths"])),
        "big/part-1.npz has 4 domains, but part-0.npz has 3",
    ),
    "another type": (
        lambda: write_part(1, loglik=LOGLIK[1000:2000].astype("f2")),
        "big/part-1.npz holds float16, but part-0.npz holds float32: all parts need one type; write the folder again with mixfast table cast",
    ),
    "NaN": (lambda: write_part(1, loglik=with_value(np.nan)), "big/part-1.npz, row 317: code is nan, expected a log-likelihood"),
    "infinity": (lambda: write_part(1, loglik=with_value(np.inf)), "big/part-1.npz, row 317: code is inf"),
    "no probability": (lambda: write_part(1, loglik=with_value(-np.inf, column=slice(None))), "big/part-1.npz, row 317: -inf for every domain"),
    "no lengths": (lambda: write_part(1, length=None), "big/part-0.npz has length, but part-1.npz does not"),
    "a length of 0": (lambda: write_part(1, length=np.arange(1000)), "big/part-1.npz, row 0"),
    "few lengths": (lambda: write_part(1, length=np.arange(1, 900)), "big/part-1.npz, key length has shape (899,), expected (1000,)"),
    "an unknown group": (lambda: write_part(1, group=np.repeat([0, 2], 500)), "big/part-1.npz: group holds 2"),
    "compressed": (
        lambda: np.savez_compressed("big/part-1.npz", loglik=LOGLIK[1000:2000], **ARRAYS, group_names=NAMES),
        "big/part-1.npz, key loglik is compressed, so that it cannot be mapped: write the folder again with mixfast table pack big --parts N --out NEW",
    ),
    "predictions": (
        lambda: np.savez("big/part-1.npz", prediction=LOGLIK[:9], target=np.ones(9)),
        "big/part-1.npz must hold loglik",
    ),
    "another format": (
        lambda: np.save("big/part-1.npy", LOGLIK[:9]),
        "big holds parts of several formats (.npy, .npz), expected one",
    ),
    "pickled objects": (lambda: write_part(1, domains=np.array([{}, {}, {}], object)), "holds pickled Python objects"),
}  # fmt: skip
LISTED = {
    "cut short": (lambda: cut("big/part-1.npz", 9000), "big/part-1.npz has 9000 bytes, but table.json lists"),
    "missing": (lambda: os.remove("big/part-1.npz"), "big lacks part-1.npz, which table.json lists"),
    "one more": (lambda: write_part(7), "big holds part-7.npz, which table.json does not list"),
    "a damaged list": (lambda: cut("big/table.json", 99), "big/table.json: "),
    "a later format": (lambda: changed(format="mixfast table 2"), "written by a later version?"),
    "other rows": (lambda: changed(parts=lambda found: [{**one, "rows": 999} for one in found]), "has 1000 rows, but table.json lists 999"),
    "another type": (lambda: changed(dtype="float64"), "holds float32, but table.json says float64"),
    "other groups": (lambda: changed(groups=["news", "quiz"]), "has the groups 'talk', which table.json does not name"),
}  # fmt: skip


def changed(**keys):
    with open("big/table.json") as file:
        found = json.load(file)
    with open("big/table.json", "w") as file:
        json.dump(
            {**found, **{key: value(found[key]) if callable(value) else value for key, value in keys.items()}}, file
        )


@pytest.mark.parametrize("command", ["solve", "info", "report"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_part_that_cannot_be_used_is_named(refused, folder, command, fault):
    break_, said = FAULTS[fault]
    break_()
    out = {"solve": ["--out", "m.yaml"], "info": [], "report": ["--out", "page.html"]}[command]
    assert said in refused(command, "big", *out)
    assert sorted(os.listdir()) == ["big"]


@pytest.mark.parametrize(
    ("command", "fault"),
    # Hashes say nothing of the content.
    [*(("solve", fault) for fault in LISTED), *(("table verify", fault) for fault in list(LISTED)[:5])],
)
def test_parts_that_are_not_those_of_table_json_are_named(refused, good, command, fault):
    listed()
    good("table", "verify", "big")
    break_, said = LISTED[fault]
    break_()
    assert said in refused(*command.split(), "big")


@pytest.mark.parametrize("fault", ["another type", "compressed"])
@pytest.mark.parametrize("step", ["pack big --parts 3", "cast big --dtype float32"])
def test_the_advice_of_a_refusal_works(good, refused, fault, step):
    FAULTS[fault][0]()
    refused("solve", "big")
    good("table", *step.split(), "--out", "again")
    good("solve", "again", "--no-intervals", "--no-ranges")


def test_a_folder_without_parts_is_refused(refused):
    os.mkdir("empty")
    assert "empty holds no " in refused("solve", "empty")
    assert "none: No such file" in refused("solve", "none")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_part_without_permission_is_named(refused):
    os.chmod("big/part-1.npz", 0)
    assert "big/part-1.npz: Permission denied" in refused("solve", "big")


def rewritten(part):
    os.utime(part, ns=(1, 1))


def replaced(part):
    shutil.copy(part, "other")
    os.replace("other", part)


def shortened(part):
    cut(part, os.path.getsize(part) - 5000)


@pytest.mark.parametrize("change", [rewritten, replaced, shortened])
@pytest.mark.parametrize("command", ["solve", "table pack"])
def test_a_part_that_changes_while_it_is_read_is_named(refused, folder, monkeypatch, command, change):
    opened = _parts.OpenPart.__init__

    def change_later(self, part):
        opened(self, part)
        if part.path.name == "part-2.npz":
            change(part.path)

    monkeypatch.setattr(_parts.OpenPart, "__init__", change_later)
    out = "m.yaml" if command == "solve" else "t.npz"
    said = refused(*command.split(), "big", "--out", out)
    assert "big/part-2.npz" in said
    assert "has changed since the table was loaded" in said or "cut short" in said
    assert sorted(os.listdir()) == ["big"]


@pytest.mark.parametrize("out", ["t.npz", "t.npy", "t.parquet", "parts"])
def test_a_full_disk_leaves_nothing_of_the_output(folder, out):
    """The limit of the size of a file stands for the end of the disk."""
    pytest.importorskip("pyarrow")
    for number in range(3):
        write_part(number, length=None, group=None, group_names=None, domains=None)
    code = (
        "import resource, sys; from mixfast.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)); sys.exit(main(sys.argv[1:]))"
    )
    words = ["table", "pack", "big", "--out", out, *(["--parts", "2"] if out == "parts" else [])]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    where = f"{out}/part-00000.npz" if out == "parts" else out
    assert (done.returncode, done.stderr) == (2, f"mixfast: error: {where}: File too large\n")
    assert os.listdir() == ["big"]


def test_an_interrupted_conversion_leaves_nothing(folder):
    np.save("large.npy", np.full((4_000_000, 2), -1.0))
    code = (
        "import os, signal, sys; from mixfast.tables import _convert; from mixfast.__main__ import main\n"
        "real = _convert.write_rows\n"
        "def write(path, rows):\n"
        "    if '00001' in path.name: os.kill(os.getpid(), signal.SIGTERM)\n"
        "    real(path, rows)\n"
        "_convert.write_rows = write; sys.exit(main())"
    )
    words = ["table", "split", "large.npy", "--parts", "3", "--out", "parts"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (143, "")
    assert sorted(os.listdir()) == ["big", "large.npy"]


@pytest.mark.slow
@pytest.mark.process
def test_a_fault_that_one_rank_finds_is_said_once_with_its_rank(folder):
    pytest.importorskip("torch")
    write_part(2, loglik=with_value(np.nan))
    (folder / "elsewhere" / "big").mkdir(parents=True)
    shutil.copy("big/part-0.npz", "elsewhere/big")
    words = ("-m", "mixfast", "solve", "big", "--no-intervals", "--no-ranges", "--out", "m.yaml")
    here, there = str(folder), str(folder / "elsewhere")
    said = {
        (here, here): "rank 1: big/part-2.npz, row 317: code is nan",
        (here, there): "rank 1 sees other parts in big than rank 0: part-1.npz",
    }
    for folders, line in said.items():
        ranks = ended(started(2, *words, folders=folders))
        assert [status for status, _, _ in ranks] == [2, 2]
        assert ranks[0][2].startswith(f"mixfast: error: {line}")
        assert ranks[0][2].count("\n") == 1
        assert ranks[1][1:] == ("", "")
    assert sorted(os.listdir()) == ["big", "elsewhere"]


def test_a_folder_is_the_same_table_whatever_its_parts(good):
    good("table", "pack", "big", "--out", "one.npz")
    good("solve", "one.npz", "--no-intervals", "--no-ranges", "--out", "one.json")
    good("solve", "big", "--no-intervals", "--no-ranges", "--out", "big.json")
    good("table", "pack", "big", "--out", "five", "--parts", "5")
    good("solve", "five", "--no-intervals", "--no-ranges", "--out", "five.json")
    found = [Mixture.load(f"{name}.json") for name in ("one", "big", "five")]
    shares = [[one.get(name, 0.0) for name in DOMAINS] for one in found]
    np.testing.assert_allclose(shares[1:], [shares[0]] * 2, atol=1e-7)
    assert ExpertTable.load("big").group_rows.tolist() == [1500, 1500]
