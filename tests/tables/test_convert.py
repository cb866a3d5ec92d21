"""Tables in another form are the same tables: one file or parts, any format, any type that holds the values, several as one."""

import tracemalloc

import numpy as np
import pytest

from mixfast import ExpertTable
from mixfast.errors import AlignmentError, TableError
from mixfast.tables import _convert, convert, read_inputs
from mixfast.tables._names import default_names
from mixfast.tables.formats._manifest import Manifest

RNG = np.random.default_rng(3)
N = 3000
LOGLIK = -8.0 * RNG.random((N, 3)).astype("f4")
VECTORS = {
    "length": RNG.integers(1, 90, N),
    "bytes": RNG.integers(0, 400, N),
    "weight": RNG.random(N),
    "sequence": np.arange(N) // 7,
}
DOMAINS = ["web", "code", "books"]


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(_convert, "_PIECE", 512 * 3)
    monkeypatch.chdir(tmp_path)


def table(**changes):
    given = {"domains": DOMAINS, **VECTORS, "group": np.repeat(["news", "talk"], [1300, N - 1300]), **changes}
    return ExpertTable.from_loglik(LOGLIK, **{key: value for key, value in given.items() if value is not None})


def converted(paths, out, **options):
    convert(read_inputs([paths] if isinstance(paths, str) else paths), out, **options)
    return out


def back(folder):
    """Return the table of a folder in memory."""
    return ExpertTable.load(converted(folder, f"{folder}.back.npz"))


@pytest.mark.parametrize("parts", [1, 4, 9])
def test_a_table_that_is_split_and_packed_is_the_same(parts):
    table().save("a.npz")
    converted("a.npz", "a", parts=parts)
    manifest = Manifest.read(ExpertTable.load("a").path)
    assert len(manifest.parts) == parts
    assert manifest.rows == N
    assert max(p.rows for p in manifest.parts) - min(p.rows for p in manifest.parts) <= 14
    assert back("a") == table()


@pytest.mark.parametrize("form", ["a.parquet", "a"])
def test_parquet_holds_the_same_table(form):
    pytest.importorskip("pyarrow")
    table().save("a.npz")
    converted("a.npz", form, parts=None if "." in form else 4, format=None if "." in form else "parquet")
    assert ExpertTable.load(converted(form, "b.npz")) == table()
    converted("a.npz", "c", parts=2)
    converted([form, "c"], "both")
    assert ExpertTable.load("both").group_rows.tolist() == [2600, 2 * N - 2600]


def test_the_bytes_do_not_depend_on_how_often_a_table_was_converted():
    table().save("a.npz")
    converted("a.npz", "one.npz")
    converted("a.npz", "a", parts=3)
    converted("a", "b", parts=5)
    converted("b", "two.npz")
    with open("one.npz", "rb") as one, open("two.npz", "rb") as two:
        assert one.read() == two.read()


def test_no_part_ends_inside_a_sequence():
    table().save("a.npz")
    converted("a.npz", "a", parts=5)
    seen = set()
    for part in ExpertTable.load("a").parts:
        here = set(ExpertTable.load(part).sequence.tolist())
        assert not here & seen
        seen |= here


@pytest.mark.parametrize("shuffled", [False, True])
def test_sequences_in_no_order_are_kept_whole_or_refused(shuffled):
    ids = np.random.default_rng(0).permutation(N)[VECTORS["sequence"]]
    if shuffled:
        ids[-1] = ids[0]
    np.savez("a.npz", loglik=LOGLIK, sequence=ids)
    if shuffled:
        with pytest.raises(TableError, match=r"cannot be divided into 3 parts, .* one holds up to 3,000 of the 3,000"):
            converted("a.npz", "a", parts=3)
        return
    converted("a.npz", "a", parts=3)
    found = back("a").sequence
    # The ids of the parts overlap, so they are new ones, but for the same sequences.
    assert len(set(zip(found.tolist(), ids.tolist(), strict=True))) == np.unique(found).size == np.unique(ids).size


@pytest.mark.parametrize("names", ["codes", "integers", "names"])
def test_rows_in_any_order_of_groups_are_sorted_as_in_memory(names):
    codes = np.random.default_rng(1).integers(0, 3, N)
    group = {
        "codes": {"group": codes, "group_names": np.array(["z", "a", "m"])},
        "integers": {"group": codes * 5 - 4},
        "names": {"group": np.array(["z", "a", "m"])[codes]},
    }[names]
    np.savez("a.npz", loglik=LOGLIK, length=VECTORS["length"], **group)
    wanted = ExpertTable.load("a.npz")
    assert ExpertTable.load(converted("a.npz", "b.npz")) == wanted
    assert not (np.diff(np.load("b.npz")["group"]) < 0).any()
    converted("a.npz", "a", parts=4)
    assert ExpertTable.load("a").group_names == wanted.group_names
    if names != "names":
        # Rows of one group keep their order in any case.
        assert back("a") == wanted


def test_integers_without_names_are_sorted_over_all_parts(tmp_path):
    (tmp_path / "a").mkdir()
    for number, group in enumerate([7, 2]):
        np.savez(f"a/part-{number}.npz", loglik=LOGLIK[:5], group=np.full(5, group))
    converted("a", "b", parts=2)
    assert ExpertTable.load("a").group_names == ExpertTable.load("b").group_names == ("group_2", "group_7")


def test_a_part_names_the_groups_that_it_has():
    table().save("a.npz")
    converted("a.npz", "a", parts=3)
    found = [ExpertTable.load(part).group_names for part in ExpertTable.load("a").parts]
    assert found == [("news",), ("news", "talk"), ("talk",)]


@pytest.mark.parametrize("kind", ["compressed", "fortran", "swapped", "condition", "npy", "npy fortran"])
def test_what_cannot_be_mapped_is_packed(kind):
    arrays = {
        "loglik": LOGLIK,
        "domains": np.array(DOMAINS),
        "length": VECTORS["length"],
        "sequence": VECTORS["sequence"],
    }
    wanted = ExpertTable.from_loglik(**arrays)
    if kind == "fortran":
        arrays["loglik"] = np.asfortranarray(LOGLIK)
    if kind == "swapped":
        arrays["loglik"] = LOGLIK.astype(">f4")
        arrays["length"] = VECTORS["length"].astype(">i8")
    if kind == "condition":
        wanted = ExpertTable.from_loglik(LOGLIK * 2 - LOGLIK, **{k: v for k, v in arrays.items() if k != "loglik"})
        arrays |= {"loglik": LOGLIK * 2, "condition": LOGLIK}
    if kind.startswith("npy"):
        wanted = ExpertTable.from_loglik(LOGLIK)
        np.save("a.npy", np.asfortranarray(LOGLIK) if kind.endswith("fortran") else LOGLIK)
    else:
        (np.savez_compressed if kind == "compressed" else np.savez)("a.npz", **arrays)
    given = "a.npy" if kind.startswith("npy") else "a.npz"
    assert ExpertTable.load(converted(given, "b.npz")) == wanted
    converted(given, "b", parts=3)
    assert back("b") == wanted


@pytest.mark.parametrize(
    "options", [{"task": "quiz"}, {"task": ["quiz", "chat"]}, {"task": "quiz", "conditional": True}]
)
def test_a_folder_of_the_mixmin_code_is_packed(tmp_path, options):
    for k, name in enumerate(["web", "code"]):
        (tmp_path / "runs" / name).mkdir(parents=True)
        for task, values in (("quiz", LOGLIK[:1400]), ("chat", LOGLIK[1400:])):
            np.save(f"runs/{name}/{task}_log_prob.npy", values[:, k])
            np.save(f"runs/{name}/{task}_lengths.npy", np.arange(9, 9 + len(values)))
            np.save(f"runs/{name}/{task}_input_log_prob.npy", values[:, k] / 2)
            np.save(f"runs/{name}/{task}_input_lengths.npy", np.full(len(values), 4))
    convert(read_inputs(["runs"], **options), "b.npz")
    assert ExpertTable.load("b.npz") == ExpertTable.load("runs", **options)


def test_parts_that_no_solve_reads_are_packed(tmp_path):
    """Parts of several types, formats, orders of domains and compressions make one folder."""
    (tmp_path / "a").mkdir()
    np.savez_compressed("a/part-0.npz", loglik=LOGLIK[:1000], domains=DOMAINS)
    np.savez("a/part-1.npz", loglik=LOGLIK[1000:1700].astype("f2"), domains=DOMAINS)
    np.savez("a/part-2.npz", loglik=LOGLIK[1700:, ::-1], domains=DOMAINS[::-1])
    converted("a", "b")
    found = back("b")
    wanted = LOGLIK.copy()
    wanted[1000:1700] = wanted[1000:1700].astype("f2")
    np.testing.assert_array_equal(found.loglik, wanted)
    assert found.domains == tuple(DOMAINS)
    assert len(ExpertTable.load("b").parts) == 3


def test_a_smaller_type_tells_what_it_loses():
    table(weight=None).save("a.npz")
    (one,) = read_inputs(["a.npz"])
    found = convert([one], "b.npz", dtype="float16")
    after = ExpertTable.load("b.npz")
    assert after.dtype == np.float16
    change = np.abs(after.loglik.astype("f8") - LOGLIK)
    assert found.largest_change == change.max()
    group = np.repeat([0, 1], [1300, N - 1300])
    bound = np.bincount(group, change.max(axis=1) / VECTORS["length"]) / [1300, N - 1300]
    assert found.loss_change == pytest.approx(bound.max(), rel=1e-12)
    w = np.full(3, 1 / 3)
    for part in range(2):
        rows = group == part

        def loss(values, rows=rows):
            return np.mean(-np.log(np.exp(values[rows].astype("f8")) @ w) / VECTORS["length"][rows])

        assert abs(loss(after.loglik) - loss(LOGLIK)) <= bound[part]
    # A larger type loses nothing.
    assert convert(read_inputs(["b.npz"]), "c.npz", dtype="float64").largest_change == 0.0


def test_values_beyond_float16_are_refused_or_become_minus_infinity():
    values = LOGLIK.copy()
    values[2500, 1] = -70_000.0
    values[2600, 2] = -np.inf
    np.save("a.npy", values)
    with pytest.raises(TableError, match=r"a.npy, row 2500: domain_1 = -70000 does not fit .* --to-minus-inf"):
        converted("a.npy", "b.npy", dtype="float16")
    found = convert(read_inputs(["a.npy"]), "b.npy", dtype="float16", to_minus_inf=True)
    assert found.infinite == 1
    assert np.load("b.npy")[2500, 1] == -np.inf
    assert np.isfinite(found.loss_change)
    values[2500] = -70_000.0
    np.save("a.npy", values)
    with pytest.raises(TableError, match="row 2500: every domain is below -65504"):
        converted("a.npy", "b.npy", dtype="float16", to_minus_inf=True)
    values[2500] = 70_000.0
    np.save("a.npy", values)
    with pytest.raises(TableError, match=r"row 2500: domain_0 = 70000 does not fit .* write a larger type"):
        converted("a.npy", "b.npy", dtype="float16", to_minus_inf=True)


def test_merged_tables_are_aligned_by_name_and_keep_their_groups():
    table(weight=None).save("a.npz")
    other = ExpertTable.from_loglik(
        LOGLIK[:70, [2, 0, 1]].astype("f2"),
        domains=["books", "web", "code"],
        length=VECTORS["length"][:70],
        bytes=VECTORS["bytes"][:70],
        group=np.repeat(["talk", "quiz"], 35),
    )
    other.save("b.npz")
    converted(["a.npz", "b.npz"], "all")
    found = ExpertTable.load("all")
    assert found.group_names == ("news", "talk", "quiz")
    assert found.group_rows.tolist() == [1300, N - 1300 + 35, 35]
    packed = back("all")
    assert packed.dtype == np.float32
    np.testing.assert_array_equal(packed.loglik[-35:], LOGLIK[35:70].astype("f2"))
    # Every row of the table without ids is a sequence of its own, and no id is shared.
    assert np.unique(packed.sequence).size == np.unique(VECTORS["sequence"]).size + 70


def test_merged_tables_become_groups():
    for name, rows in (("a", slice(0, 100)), ("b", slice(100, 300))):
        np.savez(f"{name}.npz", loglik=LOGLIK[rows], group=np.zeros(len(LOGLIK[rows]), int))
    convert(read_inputs(["a.npz", "b.npz"]), "all", group_names=["quiz", "chat"])
    found = back("all")
    assert found.group_names == ("quiz", "chat")
    assert found.group_offsets.tolist() == [0, 100, 300]


def test_tables_that_do_not_belong_together_are_refused():
    table().save("a.npz")
    table(weight=None).save("b.npz")
    with pytest.raises(TableError, match=r"a.npz has weight, but b.npz has not: give all tables the same keys"):
        converted(["a.npz", "b.npz"], "all")
    table(group=None).save("c.npz")
    with pytest.raises(TableError, match=r"a.npz has group, but c.npz has not: give --group-by-file"):
        converted(["a.npz", "c.npz"], "all")
    table(domains=["web", "code", "maths"]).save("d.npz")
    with pytest.raises(AlignmentError, match=r"d.npz and a.npz name different domains"):
        converted(["a.npz", "d.npz"], "all")


def test_sequences_with_ids_like_hashes_stay_apart():
    for name in "ab":
        ids = np.array([-(2**62) - 5, 2**62 + 5, 2**62 + 5, 0])
        np.savez(f"{name}.npz", loglik=LOGLIK[:4], sequence=ids)
    found = convert(read_inputs(["a.npz", "b.npz"]), "all")
    assert found.renumbered
    assert back("all").sequence.tolist() == [0, 2, 2, 1, 3, 5, 5, 4]


@pytest.mark.parametrize("types", [("i4", "i4"), ("u8", "i8"), ("i1", "u2")])
def test_ids_of_any_integer_type_stay_apart(types):
    for name, dtype in zip("ab", types, strict=True):
        limits = np.iinfo(dtype)
        ids = np.array([limits.min, limits.max, limits.max, limits.min + 1], dtype)
        np.savez(f"{name}.npz", loglik=LOGLIK[:4], sequence=ids)
    convert(read_inputs(["a.npz", "b.npz"]), "all")
    found = back("all").sequence
    assert [np.flatnonzero(found == value).tolist() for value in dict.fromkeys(found.tolist())] == [
        [0], [1, 2], [3], [4], [5, 6], [7],
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["npz", "compressed", "npy"])
def test_bad_rows_are_named_and_nothing_is_left(tmp_path, kind):
    values = LOGLIK.copy()
    values[1234, 1] = np.nan
    np.save("a.npy", values)
    (np.savez_compressed if kind == "compressed" else np.savez)("a.npz", loglik=values)
    given = "a.npy" if kind == "npy" else "a.npz"
    before = sorted(tmp_path.iterdir())
    for out in ("b.npz", "b"):
        with pytest.raises(TableError, match=rf"{given}, row 1234: .*nan"):
            converted(given, out)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("weight", -1.0, "finite number of at least 0"),
        ("length", 0, "finite number above 0"),
        ("bytes", -3, "number of at least 0"),
    ],
)
def test_bad_entries_of_a_vector_are_named(key, value, said):
    vector = VECTORS[key].copy()
    vector[777] = value
    np.savez("a.npz", loglik=LOGLIK, **{key: vector})
    with pytest.raises(TableError, match=rf"a.npz, row 777: {key} is .*, expected a {said}"):
        converted("a.npz", "b.npz")


@pytest.mark.parametrize("kind", ["npy", "npz", "compressed", "folder", "mixmin"])
@pytest.mark.parametrize("out", ["b.npz", "b.npy", "parts"])
def test_memory_does_not_grow_with_the_rows(tmp_path, kind, out):
    n, k = 400_000, 3
    values = np.full((n, k), -1.5, "f4")
    if kind == "npy":
        np.save("a.npy", values)
    elif kind == "npz":
        np.savez("a.npz", loglik=values)
    elif kind == "compressed":
        np.savez_compressed("a.npz", loglik=values)
    elif kind == "folder":
        (tmp_path / "a").mkdir()
        for number in range(2):
            np.savez(f"a/part-{number}.npz", loglik=values[: n // 2])
    else:
        (tmp_path / "a").mkdir()
        for name in default_names(k):
            np.save(f"a/{name}_log_prob.npy", values[:, 0])
            np.save(f"a/{name}_lengths.npy", np.ones(n, "i4"))
        out = out.replace("npy", "npz")
    given = {"npy": "a.npy", "folder": "a", "mixmin": "a"}.get(kind, "a.npz")
    tracemalloc.start()
    try:
        converted(given, out, dtype="float16")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Lengths of a folder of the MixMin code are checked whole: 1.6 MB for each copy. The values are 4.8 MB.
    assert peak < (4.2e6 if kind == "mixmin" else 1.5e6)
