"""Archives with false contents are refused by name; none is executed or makes the reader allocate memory that it does not fill."""

import io
import itertools
import pickle
import random
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from mixfast import ExpertTable
from mixfast._text import arrays as arrays_in_files
from mixfast.errors import MixfastWarning, TableError

LOGLIK = -np.arange(1.0, 13.0).reshape(6, 2)
# More than any of these small files needs, and far less than the sizes that they claim.
MOST_MEMORY = 8 << 20

pytestmark = pytest.mark.filterwarnings("ignore::mixfast.errors.MixfastWarning", "ignore:Duplicate name")


def npy(array=LOGLIK):
    """Return an array in numpy's format."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=True)
    return buffer.getvalue()


def raw(header, data=b"", version=(1, 0), length=None):
    """Return an npy file with any header."""
    text = header.encode("latin1") + b"\n"
    size = len(text) if length is None else length
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", size) + text + data


def described(descr="'<f8'", order="False", shape="(6, 2)"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


def zipped(*members, method=zipfile.ZIP_STORED):
    """Return an archive of members, which may share a name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def central(data, **fields):
    """Return an archive whose directory contradicts the header of the first member."""
    places = {
        "flags": (8, "<H", 6),
        "method": (10, "<H", 8),
        "crc": (16, "<I", 14),
        "packed": (20, "<I", 18),
        "size": (24, "<I", 22),
    }
    found = bytearray(data)
    at = data.index(b"PK\x01\x02")
    for name, value in fields.items():
        place, form, local = places[name]
        struct.pack_into(form, found, at + place, value)
        struct.pack_into(form, found, local, value)
    return bytes(found)


class Bomb:
    """An object that runs code when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle of a file was run",))


def malformed():
    """Return about a hundred archives and arrays, by what is wrong with them."""
    good = zipped(("loglik.npy", npy()))
    packed = zipped(("loglik.npy", npy()), method=zipfile.ZIP_DEFLATED)
    huge = [
        "(2**40, 2)",
        "(1099511627776, 2)",
        "(9223372036854775807, 9223372036854775807)",
        "(0, 9223372036854775808)",
        f"({10**30}, 2)",
    ]
    shapes = [
        "(-1, 2)", "(6, -2)", "(6, 2.0)", "(True, 12)", "6", "[6, 2]", "()", "(6,)", "(6, 2, 1)", "(0, 2)", "(6, 0)", "(7, 2)", "(5, 2)",
        "('6', 2)", "None", "(6, 2", "(6, (2,))", f"({'1, ' * 70})", f"({'(' * 200}6{')' * 200}, 2)", *huge,
    ]  # fmt: skip
    types = [
        "'|O'", "'O'", "'<U0'", "'|S0'", "'|V0'", "'<U3'", "'|V8'", "'<c16'", "'<i8'", "'|b1'", "'<M8[s]'", "'<f16'", "'f8' * 10**9", "''",
        "'<f9'", "('<f8', (10**9,))", "('<f8', (1000000000,))", "[('a', '<f8')]", "[('a', '|O')]", "[('a', '<f8', (2,))]", "None", "5",
        "'<f8\\x00'", "__import__('os').system('true')", "[" * 400 + "]" * 400,
    ]  # fmt: skip
    for shape in shapes:
        yield f"shape {shape[:40]}", raw(described(shape=shape), LOGLIK.tobytes())
    for descr in types:
        yield f"type {descr[:40]}", raw(described(descr), LOGLIK.tobytes())
        yield f"many of type {descr[:40]}", raw(described(descr, shape="(1000000000000, 2)"), LOGLIK.tobytes())
    for order in ("None", "1", "'True'", "[]"):
        yield f"order {order}", raw(described(order=order), LOGLIK.tobytes())
    for text in (
        "{}",
        "",
        "[]",
        "{'descr': '<f8'}",
        described()[:-4],
        described() + "x",
        "{1: 2}",
        "(" * 9_000,
        "\x00" * 100,
    ):
        yield f"header {text[:40]}", raw(text, LOGLIK.tobytes())
    yield "header longer than the file", raw(described(), LOGLIK.tobytes(), length=60_000)
    yield "header of 4 GB", raw(described(), LOGLIK.tobytes(), version=(2, 0), length=0xFFFFFFFF)
    yield "header of 20 kB", raw(described() + " " * 20_000, LOGLIK.tobytes(), version=(2, 0))
    for version in ((0, 0), (3, 0), (9, 9)):
        yield f"version {version}", raw(described(), LOGLIK.tobytes(), version=version)
    for cut in (0, 1, 5, 6, 8, 9, 10, 40, 127, 128, 129, len(npy()) - 1):
        yield f"array cut at {cut}", npy()[:cut]
    for more in (b"\x00", b"x" * 8, npy(), good):
        yield f"array and {len(more)} bytes", npy() + more
    yield "array of bombs", npy(np.array([[Bomb()]], dtype=object))
    yield "bare pickle", pickle.dumps(Bomb())

    for cut in (4, 20, 29, 40, 60, 128, 200, len(good) - 30, len(good) - 21, len(good) - 1):
        yield f"archive cut at {cut}", good[:cut]
        yield f"packed archive cut at {cut}", packed[: min(cut, len(packed) - 1)]
    yield "nothing but an end", zipped()
    yield "empty member", zipped(("loglik.npy", b""))
    yield "archive in an archive", zipped(("loglik.npy", good))
    yield "text", zipped(("loglik.npy", b"web,code\n1,2\n"))
    yield "twice", zipped(("loglik.npy", npy()), ("loglik.npy", npy(2 * LOGLIK)))
    yield "twice, by two names", zipped(("loglik.npy", npy()), ("loglik", npy(2 * LOGLIK)))
    yield "twice, what is not used", zipped(("loglik.npy", npy()), ("x.npy", npy()), ("x.npy", npy()))
    for name in (
        "../loglik.npy",
        "/loglik.npy",
        "a/../loglik.npy",
        "LOGLIK.npy",
        "loglik.npy/",
        "loglik.npz",
        "\x1b[2J",
        "loglik.npy\x00x",
        "n" * 2000,
    ):
        yield f"name {name}", zipped((name, npy()))
    for flag in (0x1, 0x20, 0x40, 0x41, 0x2000):
        yield f"flag {flag}", central(good, flags=flag)
    for method in (1, 6, 8, 9, 12, 14, 93, 98, 99):
        yield f"method {method}", central(good, method=method)
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        yield f"packed by {method}", zipped(("loglik.npy", npy()), method=method)
    yield "packed that says it is stored", central(packed, method=0)
    for size in (0, 1, 127, 223, 225, 10_000, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF):
        yield f"size {size}", central(good, size=size)
        yield f"size of packed {size}", central(packed, size=size)
        yield f"packed size {size}", central(good, packed=size)
        yield f"packed size of packed {size}", central(packed, packed=size)
        yield f"both sizes {size}", central(good, size=size, packed=size)
    for crc in (0, 1, 0xFFFFFFFF):
        yield f"checksum {crc}", central(good, crc=crc)
        yield f"checksum of packed {crc}", central(packed, crc=crc)
    for descr, shape in itertools.product(
        ("'<f8'", "'<U0'", "'|S1'"), ("(100000000, 2)", "(2**40, 2)", "(1000000000000,)")
    ):
        member = raw(described(descr, shape=shape))
        yield f"packed {descr} {shape}", zipped(("loglik.npy", member), method=zipfile.ZIP_DEFLATED)
        yield f"names {descr} {shape}", zipped(("loglik.npy", npy()), ("domains.npy", member))
    for key in ("weight", "length", "group", "sequence", "domains", "condition", "bytes"):
        for array in (
            np.zeros((0,)),
            np.zeros(5),
            np.full(6, np.nan),
            np.array(None, dtype=object),
            np.array("x"),
            -np.ones((6, 2, 2)),
        ):
            yield f"{key} {array.dtype} {array.shape}", zipped(("loglik.npy", npy()), (f"{key}.npy", npy(array)))


def outcome(path):
    """Return the table of a file, or its refusal; check that little memory was allocated."""
    tracemalloc.start()
    try:
        return ExpertTable.load(path)
    except TableError as problem:
        return str(problem)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST_MEMORY


def test_malformed_archives_are_refused_by_name(tmp_path):
    """Three hundred of them, each as a separate file and, if it is an array, also as a member of an archive."""
    path, told, read = tmp_path / "table.npz", 0, []
    for what, data in malformed():
        files = {what: data}
        if data.startswith(b"\x93NUMPY"):
            files = {what: data, f"{what}, in an archive": zipped(("loglik.npy", data)), f"{what}, packed": zipped(
                ("loglik.npy", data), method=zipfile.ZIP_DEFLATED)}  # fmt: skip
        for name, content in files.items():
            path.write_bytes(content)
            found = outcome(path)
            if isinstance(found, ExpertTable):
                read.append(name)
                np.testing.assert_array_equal(found.loglik, LOGLIK)
            else:
                told += 1
                assert str(path) in found, name
                assert len(found) < 1000, name
    assert told > 300
    # The oddities of these files do not affect the table.
    assert len(read) < 6, read


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_with_random_bytes_are_read_as_they_were_or_refused(method, tmp_path):
    """Change, cut out, double and insert bytes: the result is never another table."""
    rng, path = random.Random(int(method)), tmp_path / "table.npz"
    good = zipped(("loglik.npy", npy()), ("domains.npy", npy(np.array(["web", "code"]))), method=method)
    for _ in range(300):
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at, length = rng.randrange(len(data)), rng.randrange(1, 9)
            change = rng.randrange(4)
            if change == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif change == 1:
                del data[at : at + length]
            elif change == 2:
                data[at:at] = data[at : at + length]
            else:
                data[at : at + length] = rng.randbytes(length)
        path.write_bytes(bytes(data))
        try:
            found = outcome(path)
        except MixfastWarning:
            continue
        if isinstance(found, ExpertTable):
            np.testing.assert_array_equal(found.loglik, LOGLIK)


def test_a_zip64_archive_is_read(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "t.npz", "w") as archive,
        archive.open("loglik.npy", "w", force_zip64=True) as member,
    ):
        member.write(npy())
    np.testing.assert_array_equal(ExpertTable.load(tmp_path / "t.npz").loglik, LOGLIK)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ((("loglik.npy", 1), ("loglik", 2)), "given twice: loglik"),
        ((("loglik.npy", 1), ("loglik.npy", 1)), "given twice: loglik"),
        ((("loglik.npy", 1), ("note.npy", 1), ("note", 1)), "given twice: note"),
    ],
)
def test_a_key_that_is_given_twice_is_refused(members, message, tmp_path):
    path = tmp_path / "twice.npz"
    path.write_bytes(zipped(*((name, npy(times * LOGLIK)) for name, times in members)))
    with pytest.raises(TableError, match=message):
        ExpertTable.load(path)


def test_what_does_not_fit_in_memory_is_not_called_truncated(tmp_path, monkeypatch):
    path = tmp_path / "t.npz"
    np.savez_compressed(path, loglik=LOGLIK)
    monkeypatch.setattr(arrays_in_files, "available_memory", lambda: 95)
    with pytest.raises(
        TableError, match=r"t\.npz, key loglik does not fit in memory: float64 \(6, 2\) takes 96 B, and 95 B are free"
    ):
        ExpertTable.load(path)
    monkeypatch.setattr(arrays_in_files, "available_memory", lambda: None)
    np.testing.assert_array_equal(ExpertTable.load(path).loglik, LOGLIK)

    def none_left(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np.lib.format, "read_array", none_left)
    with pytest.raises(TableError, match="does not fit in memory: float64"):
        ExpertTable.load(path)
    np.save(tmp_path / "t.npy", LOGLIK.T.astype(">f8").T)
    monkeypatch.setattr("mixfast.tables._from_arrays.checked_loglik", none_left)
    with pytest.raises(TableError, match=r"t\.npy does not fit in memory; save it uncompressed"):
        ExpertTable.load(tmp_path / "t.npy")


def test_a_small_file_that_promises_much_is_called_truncated(tmp_path):
    """Sizes that deflate cannot reach are refused before any memory is allocated."""
    path = tmp_path / "t.npz"
    member = raw(described(shape="(1000000000, 2)"))
    path.write_bytes(central(zipped(("loglik.npy", member), method=zipfile.ZIP_DEFLATED), size=0x7FFFFFFF))
    assert "truncated or damaged: its" in outcome(path)
    path.write_bytes(raw(described(shape="(1000000000, 2)")))
    assert (
        "is truncated: its header promises float64 (1000000000, 2), 16000000000 bytes, and 0 bytes follow"
        in outcome(path)
    )


def test_packed_zeros_are_measured_against_the_memory_that_is_free(tmp_path, monkeypatch):
    """16 MB of zeros in 16 kB: they are read if they fit into memory, otherwise refused before they are unpacked."""
    path, zeros = tmp_path / "t.npz", np.zeros((1 << 20, 2))
    np.savez_compressed(path, loglik=zeros)
    assert path.stat().st_size < zeros.nbytes / 500
    assert ExpertTable.load(path).n_rows == 1 << 20
    monkeypatch.setattr(arrays_in_files, "available_memory", lambda: zeros.nbytes - 1)
    assert "does not fit in memory" in outcome(path)
