"""The folder of parts: damaged files are refused by name, and only one run at a time uses the folder. No model is needed."""

import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mixfast.errors import MixfastWarning, ScoreError
from mixfast.score import _part_file, _plan, _result, _run, _shards
from mixfast.score._part_file import Part
from mixfast.score._run_file import Description
from mixfast.score._shards import Folder
from mixfast.score._texts import Document

N = 5
FIELDS = ("count", "n_bytes", "loglik", "token_bytes")
EXPERTS = {
    "web": {"model": "11", "tokenizer": "22", "bos": 0},
    "code": {"model": "33", "tokenizer": "22", "bos": None},
}


def description(**changes):
    given = {
        "texts": "aa", "experts": EXPERTS, "level": "sequence", "dtype": "float32", "window": 8, "stride": 4, "bos": "auto",
        "shard": 100,
    }  # fmt: skip
    return Description(**{**given, **changes})


def folder(path, **changes):
    return Folder(path / "table.npz", description(**changes), [N, N])


def part(level="sequence", seed=0):
    draw = np.random.default_rng(seed)
    count = draw.integers(1, 5, N)
    by_token = level == "token"
    n_bytes, total = count * 3, int(count.sum())
    loglik = -draw.exponential(size=total if by_token else N)
    return Part(
        count,
        n_bytes,
        loglik.astype(np.float32) if by_token else loglik,
        np.full(total if by_token else 0, 3),
    )


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        and getattr(one, name).dtype == getattr(other, name).dtype
        for name in FIELDS
    )


@pytest.fixture
def kept(tmp_path):
    """Return a folder with the description of a run and a part, and the part's file."""
    made = folder(tmp_path)
    with made.opened():
        made.write("web", 0, part())
    (file,) = made.path.glob("*.npz")
    return made, file


def refused(call, file, match=""):
    """Check that a call is refused with a short message that names the file."""
    with pytest.raises(ScoreError, match=match) as caught:
        call()
    assert str(file) in str(caught.value)
    assert len(str(caught.value)) < len(str(file)) * 3 + 600
    assert str(caught.value).isprintable()
    return str(caught.value)


# Parts.


@pytest.mark.parametrize("level", ["sequence", "token"])
def test_a_part_comes_back_to_the_last_bit(tmp_path, level):
    made = folder(tmp_path, level=level)
    with made.opened():
        made.write("web", 1, part(level))
        assert same(made.read("web", 1), part(level))
        unknown = dataclasses.replace(part(level), token_bytes=np.zeros(0, np.int64))
        made.write("web", 0, unknown)
        assert same(made.read("web", 0), unknown)


def archive(file, **changes):
    """Write an archive in place of a part, with a correct digest if the arrays allow one."""
    with np.load(file) as arrays:
        members = {**arrays, **changes}
    members = {name: value for name, value in members.items() if value is not None}
    content = io.BytesIO()
    np.savez(content, **members)
    file.write_bytes(content.getvalue())


def signed(made, file, **changes):
    """Write an archive with the digest of the changed arrays, which only this program computes."""
    changed = dataclasses.replace(made.read("web", 0), **changes)
    digest = _part_file._digest(made._place("web", 0), changed)
    archive(file, digest=np.array(digest), **{name: getattr(changed, name) for name in FIELDS})


def test_archives_of_other_members(kept):
    made, file = kept
    good = file.read_bytes()
    for changes, said in (
        ({"loglik": None}, "it holds"),
        ({"more": np.zeros(3)}, "it holds"),
        ({"run": np.array("another")}, "part of another run"),
        ({"run": np.array(["a", "b"])}, "expected a string"),
        ({"run": np.array(7)}, "expected a string"),
        ({"digest": np.array(b"x")}, "expected a string"),
        ({"digest": np.array("x")}, "its digest does not match"),
        ({"loglik": -np.ones(N)}, "its digest does not match"),
        ({"count": np.array(["a"] * N)}, "type <U1"),
        ({"loglik": np.zeros((3, 3))}, "loglik is of type float64 and shape"),
        ({"loglik": np.array(1j)}, "loglik is of type complex128"),
    ):
        archive(file, **changes)
        refused(lambda: made.read("web", 0), file, said)
        file.write_bytes(good)
    assert same(made.read("web", 0), part())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"count": part().count.astype(np.int32)}, "count is of type int32"),
        ({"count": part().count.astype(float)}, "count is of type float64"),
        ({"n_bytes": part().n_bytes.astype(">i8")}, "n_bytes is of type >i8"),
        ({"loglik": part().loglik.astype(np.float32)}, "loglik is of type float32"),
        ({"loglik": np.zeros((N, 1))}, "loglik is of type float64 and shape"),
        ({"loglik": np.zeros(())}, "loglik is of type float64 and shape"),
        ({"count": part().count[:-1]}, "count has 4 documents, expected 5"),
        ({"n_bytes": np.zeros(0, np.int64)}, "n_bytes has 0 documents"),
        ({"loglik": np.zeros(N + 1)}, "loglik has 6 entries, expected 5"),
        ({"token_bytes": np.zeros(1, np.int64)}, "token_bytes has 1 entries"),
        ({"count": -part().count}, "is negative"),
        ({"loglik": np.full(N, np.nan)}, "NaN"),
        ({"loglik": np.full(N, np.inf)}, r"\+inf"),
    ],
)  # fmt: skip
def test_arrays_that_no_scoring_gives(kept, changes, said):
    """These arrays are refused even with a correct digest."""
    made, file = kept
    signed(made, file, **changes)
    refused(lambda: made.read("web", 0), file, f"is damaged .*{said}")


def test_sums_of_tokens_that_overflow(tmp_path):
    made = folder(tmp_path, level="token")
    with made.opened():
        made.write("web", 0, part("token"))
    (file,) = made.path.glob("*.npz")
    # As int64, their sum is 3.
    counts = np.array([2**62, 2**62, 2**62, 2**62, 3])
    signed(made, file, count=counts, loglik=np.zeros(3, np.float32), token_bytes=np.zeros(0, np.int64))
    refused(lambda: made.read("web", 0), file, "loglik has 3 entries, expected 18446744073709551616")


def test_a_probability_of_zero_is_kept(kept):
    made, file = kept
    signed(made, file, loglik=np.full(N, -np.inf))
    assert np.isneginf(made.read("web", 0).loglik).all()


def test_pickles_are_not_loaded(kept):
    made, file = kept

    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(made.path / "run by the pickle"),)

    bad = np.array([Runs()] * N, dtype=object)
    with np.load(file) as arrays:
        members = dict(arrays)
    with zipfile.ZipFile(file, "w") as out:
        for name, value in {**members, "count": bad}.items():
            with out.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, value, allow_pickle=True)
    refused(lambda: made.read("web", 0), file, "type object")
    assert not (made.path / "run by the pickle").exists()


def member_of(header, data=b""):
    magic = b"\x93NUMPY\x01\x00"
    return magic + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x02\x00\x01\x00\x00\x00 ",
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 60_000,
        member_of(b"{'descr': '<i8', 'fortran_order': False, 'shape': (99999999999999,), }\n"),
        member_of(b"{'descr': '<i8', 'fortran_order': False, 'shape': (-5,), }\n"),
        member_of(b"{'descr': '<i8', 'fortran_order': False, 'shape': (0,), }\n", b"more"),
        member_of(b"{'descr': '|V0', 'fortran_order': False, 'shape': (5,), }\n"),
        member_of(b"{'descr': '|O', 'fortran_order': False, 'shape': (5,), }\n"),
        member_of(b"{'descr': [('a', '<i8')], 'fortran_order': False, 'shape': (5,), }\n", bytes(40)),
        member_of(b"{'descr': '<i8', 'fortran_order': False, 'shape': 5, }\n"),
        member_of(b"[" * 3000 + b"\n"),
        member_of(b"__import__('os').getcwd()\n"),
    ],
)
def test_headers_that_numpy_does_not_write(kept, content):
    made, file = kept
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(file, "w") as out:
        for name, value in members.items():
            out.writestr(name, content if name == "count.npy" else value)
    refused(lambda: made.read("web", 0), file, "is damaged")


def test_archives_that_unpack_to_more_than_they_are(kept):
    made, file = kept
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, value in members.items():
            out.writestr(name, bytes(1 << 20) if name == "count.npy" else value)
    refused(lambda: made.read("web", 0), file, "compressed")


def test_what_is_no_file(kept, tmp_path):
    made, file = kept
    file.unlink()
    file.mkdir()
    refused(lambda: made.read("web", 0), file, "not a regular file")
    file.rmdir()
    os.mkfifo(file)
    refused(lambda: made.read("web", 0), file, "not a regular file")
    file.unlink()
    file.symlink_to(file)
    assert not made.has("web", 0)


def test_what_may_not_be_read(kept, monkeypatch):
    made, file = kept

    def refuses(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuses)
    refused(lambda: made.read("web", 0), file, r"cannot be read: Permission denied")
    refused(lambda: made.opened().__enter__(), made.path / "run.json", r"cannot be read: Permission denied")


def test_a_part_in_the_place_of_another(kept):
    made, file = kept
    with made.opened():
        made.write("code", 0, part(seed=1))
        made.write("web", 1, part(seed=2))
    other = made._file("code", 0)
    shutil.copy(made._file("web", 1), file)
    refused(lambda: made.read("web", 0), file, "its digest does not match")
    shutil.copy(other, file)
    refused(lambda: made.read("web", 0), file, "its digest does not match")
    shutil.copytree(made.path, made.path.with_name("other.npz.parts"))
    later = Folder(made.out.with_name("other.npz"), description(window=16), [N, N])
    refused(lambda: later.read("code", 0), later._file("code", 0), "a part of another run")


@pytest.mark.parametrize("level", ["sequence", "token"])
def test_mutated_parts_are_the_same_or_refused(tmp_path, level):
    """Flip bits; cut, insert, repeat, overwrite and swap bytes: never another exception, never another part."""
    made, draw = folder(tmp_path, level=level), np.random.default_rng(16)
    with made.opened():
        made.write("web", 0, part(level))
        made.write("web", 1, part(level, seed=1))
    file, good, other = made._file("web", 0), made._file("web", 0).read_bytes(), made._file("web", 1).read_bytes()
    outcomes = {"same": 0, "refused": 0}
    for turn in range(300):
        file.write_bytes(mutated(good, other, turn, draw))
        try:
            found = made.read("web", 0)
        except ScoreError as problem:
            # The message without the file name, because it differs.
            outcomes["refused" if str(file) in str(problem) else str(problem)] += 1
        else:
            assert same(found, part(level))
            outcomes["same"] += 1
    # Changes of dates and similar fields are allowed.
    assert outcomes["refused"] > 200
    file.write_bytes(good)
    for stop in range(0, len(good), max(1, len(good) // 60)):
        file.write_bytes(good[:stop])
        refused(lambda: made.read("web", 0), file, "is damaged")


def mutated(good, other, turn, draw):
    """Apply one kind of damage, chosen by the turn, at a random place."""
    data, at = bytearray(good), int(draw.integers(len(good)))
    length = int(draw.integers(1, 40))
    kind = turn % 7
    if kind == 0:
        data[at] ^= 1 << int(draw.integers(8))
    elif kind == 1:
        data[at : at + length] = draw.bytes(length)
    elif kind == 2:
        del data[at : at + length]
    elif kind == 3:
        data[at:at] = draw.bytes(length)
    elif kind == 4:
        data[at : at + length] = bytes(length)
    elif kind == 5:
        # An array from another part with the same layout.
        data[at : at + 8 * length] = other[at : at + 8 * length]
    else:
        where = int(draw.integers(len(good)))
        data[at : at + length], data[where : where + length] = data[where : where + length], data[at : at + length]
    return bytes(data)


def test_swapped_arrays_are_refused(kept):
    made, file = kept
    good = file.read_bytes()
    for one in FIELDS:
        for other in FIELDS:
            with np.load(io.BytesIO(good)) as arrays:
                swapped = {one: arrays[other], other: arrays[one]}
            file.write_bytes(good)
            archive(file, **swapped)
            if one == other:
                assert same(made.read("web", 0), part())
            else:
                refused(lambda: made.read("web", 0), file, "is damaged")


# Parts of the result.


def scored(path, n_shards, tokens=2000):
    """Return the plan and folder of a run that has scored shards of ten documents under four experts."""
    n = 10 * n_shards
    experts = [_plan.Expert(name, path, None) for name in "abcd"]
    shards = [range(start, start + 10) for start in range(0, n, 10)]
    documents = [Document("x" * 4 * tokens, group="g")] * n
    settings = _plan.Settings("token", "token", 8, 4, "auto", "cpu", "float32", None)
    plan = _plan.Plan(experts, documents, np.arange(n), ("g",), np.zeros(n, np.int32), shards, settings)
    path.mkdir()
    made = Folder(path / "table", description(level="token"), [10] * n_shards)
    count = np.full(10, tokens)
    values = -np.ones(10 * tokens, np.float32)
    with made.opened():
        for shard in range(n_shards):
            for expert in experts:
                made.write(expert.name, shard, Part(count, count, values, np.ones(10 * tokens, np.int64)))
    return plan, made


def test_joining_takes_the_memory_of_one_part(tmp_path, monkeypatch):
    monkeypatch.setattr(_result, "_PART_BYTES", 1 << 19)
    peaks, rows = [], []
    for n_shards in (4, 12):
        plan, made = scored(tmp_path / str(n_shards), n_shards)
        pieces = _result.pieces(plan)
        assert [shard for piece in pieces for shard in piece] == list(range(n_shards))
        tracemalloc.start()
        joined = [_result.write_joined(plan, made, number, piece) for number, piece in enumerate(pieces)]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        rows.append(sum(one.entry.rows for one in joined))
    assert rows == [80_000, 240_000]
    assert len(pieces) > 5
    assert peaks[1] < 1.1 * peaks[0] < 6 << 20


# The description of the run.


def opened(path, **changes):
    with folder(path, **changes).opened():
        return True


@pytest.mark.parametrize("with_parts", [True, False])
def test_a_damaged_description_is_refused(kept, tmp_path, with_parts):
    made, file = kept
    if not with_parts:
        file.unlink()
    told = made.path / "run.json"
    good = json.loads(told.read_text())
    expert = good["experts"]["web"]
    for content, said in (
        ("", "not JSON"),
        ("[1]", "it is a list"),
        ("7", "it is a int"),
        ("null", "it is a NoneType"),
        ("[" * 100_000, "levels deep"),
        ('{"a":' * 100_000, "levels deep"),
        ("9" * 5000, "5000 digits"),
        ('{"format": ' + "9" * 5000 + "}", "5000 digits"),
        ("{" + told.read_text()[1:-1] + ', "window": 8}', "given twice"),
        (told.read_text()[:-20], "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        ("{}", "its format is None"),
        ({**good, "format": 1}, "its format is 1, but this version of mixfast reads format 2"),
        ({**good, "format": True}, "its format is True"),
        ({**good, "format": "2"}, "its format is '2'"),
        ({**good, "format": 10**60}, "its format is 1000"),
        ({**good, "x\x1b": 1}, "unknown"),
        ({name: value for name, value in good.items() if name != "texts"}, "missing: texts"),
        ({**good, "texts": 5}, "texts is 5, expected a string"),
        ({**good, "window": "8"}, "window is '8', expected a whole number"),
        ({**good, "window": 8.0}, "window is 8.0"),
        ({**good, "window": True}, "window is True"),
        ({**good, "shard": None}, "shard is None"),
        ({**good, "bos": []}, "bos is"),
        ({**good, "experts": []}, "experts is"),
        ({**good, "experts": {"web": "11/22/0"}}, "expert web is '11/22/0'"),
        ({**good, "experts": {"web": {**expert, "model": 1}}}, "expert web is"),
        ({**good, "experts": {"web": {**expert, "bos": "0"}}}, "expert web is"),
        ({**good, "experts": {"web": {**expert, "more": 1}}}, "expert web is"),
        ({**good, "experts": {"w\nb" * 500: None}}, "expert w"),
    ):  # fmt: skip
        if isinstance(content, dict):
            content = json.dumps(content)
        told.write_bytes(content if isinstance(content, bytes) else content.encode())
        refused(lambda: opened(tmp_path), told, said)
    told.unlink()
    told.mkdir()
    refused(lambda: opened(tmp_path), told, "not a regular file")
    told.rmdir()
    os.mkfifo(told)
    refused(lambda: opened(tmp_path), told, "not a regular file")


def test_mutated_descriptions_are_the_same_or_refused(kept, tmp_path):
    made, _ = kept
    told, draw = made.path / "run.json", np.random.default_rng(32)
    good = told.read_bytes()
    kinds = {"same": 0, "refused": 0}
    for turn in range(200):
        told.write_bytes(mutated(good, good[::-1], turn, draw))
        try:
            kinds["same"] += opened(tmp_path)
        except ScoreError as problem:
            kinds["refused" if str(made.path) in str(problem) else str(problem)] += 1
    assert kinds["refused"] > 140
    for stop in range(0, len(good) - 1, 7):
        told.write_bytes(good[:stop])
        refused(lambda: opened(tmp_path), told, "is damaged")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"texts": "bb"}, "the texts"),
        ({"window": 16}, r"window \(then 8, now 16\)"),
        ({"level": "token"}, r"level \(then sequence, now token\)"),
        ({"shard": 200}, r"shard \(then 100, now 200\)"),
        ({"experts": {"web": EXPERTS["web"]}}, r"experts \(code\)\."),
        ({"experts": {**EXPERTS, "law": EXPERTS["web"]}}, r"experts \(law\)\."),
        ({"experts": {**EXPERTS, "web": EXPERTS["code"]}}, r"experts \(web\), their weights or config.json, BOS"),
        ({"experts": {**EXPERTS, "web": {**EXPERTS["web"], "tokenizer": "44"}}}, r"experts \(web\), their tokenizer"),
        ({"stride": 2, "bos": "none"}, r"stride \(then 4, now 2\); bos \(then auto, now none\)"),
    ],
)
def test_parts_of_a_run_with_other_arguments_are_refused(kept, tmp_path, changes, said):
    made, file = kept
    refused(lambda: opened(tmp_path, **changes), made.path, f"has parts of another run; what differs: {said}")
    # The same experts in another order are the same run.
    assert opened(tmp_path, experts=dict(reversed(EXPERTS.items())))
    file.unlink()
    assert opened(tmp_path, **changes)


def test_a_rank_that_would_score_something_else_is_named(tmp_path):
    made = folder(tmp_path)
    _run._check_alike(made, [made.description, description()])
    with pytest.raises(
        ScoreError, match=r"rank 2 and rank 0 .* differs: the texts; window \(rank 2: 16, rank 0: 8\)\. All machines"
    ):
        _run._check_alike(made, [made.description, description(), description(texts="bb", window=16)])


# One run at a time.


HOLD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_parts import folder, part
made = folder(Path(sys.argv[1]))
with made.opened():
    made.write("web", 0, part())
    print("in", flush=True)
    sys.stdin.read()
"""


def another_process(path):
    given = [sys.executable, "-c", HOLD, str(path), str(Path(__file__).parent)]
    process = subprocess.Popen(given, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"in\n"
    return process


@pytest.mark.process
def test_a_second_run_is_told_who_has_the_folder(tmp_path):
    pytest.importorskip("fcntl")
    process = another_process(tmp_path)
    try:
        said = refused(lambda: opened(tmp_path), tmp_path / "table.npz.parts", f"in use by process {process.pid} on ")
        assert f"another run writes {tmp_path / 'table.npz'}. Wait until it ends, choose another output" in said
        # A run with other texts is refused for the same reason, before its texts are compared.
        refused(lambda: opened(tmp_path, texts="bb"), tmp_path / "table.npz.parts", "in use by process")
    finally:
        process.kill()
        process.communicate()
    # A killed run holds no lock, and its parts are kept.
    made = folder(tmp_path)
    with made.opened():
        assert made.has("web", 0)
        refused(lambda: opened(tmp_path), made.path, f"in use by process {os.getpid()} on ")


def test_when_a_run_has_ended_the_next_one_begins(kept, tmp_path):
    made, _ = kept
    with made.opened():
        made.remove()
        assert not made.path.exists()
        # The lock that is held belongs to a deleted file: the next run has its own lock.
        assert opened(tmp_path)
    with made.opened(), pytest.raises(ScoreError, match="in use"):
        opened(tmp_path)


def test_what_is_not_of_a_run_is_kept(kept):
    made, _ = kept
    (made.path / ".mixfast-0011.tmp").write_bytes(b"half")
    notes = made.path / "notes.txt"
    notes.write_text("of the user")
    with made.opened(), pytest.warns(MixfastWarning, match=r"table\.npz\.parts is no longer needed"):
        made.remove()
    assert list(made.path.iterdir()) == [notes]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "table.npz.parts").write_text("a file")
    refused(lambda: opened(tmp_path), tmp_path / "table.npz.parts", "cannot be used for parts: File exists")


def test_a_folder_that_goes_while_it_is_entered_is_made_anew(tmp_path, monkeypatch):
    real, gone = Path.mkdir, []

    def goes(path, **given):
        real(path, **given)
        if not gone:
            gone.append(path)
            path.rmdir()

    monkeypatch.setattr(Path, "mkdir", goes)
    assert opened(tmp_path)
    assert gone
    monkeypatch.setattr(_shards, "_ATTEMPTS", 0)
    refused(lambda: opened(tmp_path), tmp_path / "table.npz.parts", "while this one began")
