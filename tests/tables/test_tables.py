"""ExpertTable: accepted input, refusals with their messages, and files."""

from __future__ import annotations

import copy
import io
import math
import os
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mixfast.errors import BackendError, MixfastWarning, TableError
from mixfast.tables import ExpertTable
from mixfast.tables import _values as checks
from mixfast.tables.formats import _npz as files

FLOATS = (np.float16, np.float32, np.float64)


def make_loglik(n: int = 12, n_domains: int = 3, dtype: type = np.float64, seed: int = 0) -> np.ndarray:
    return (-np.random.default_rng(seed).exponential(2.0, (n, n_domains))).astype(dtype)


def same(left: ExpertTable, right: ExpertTable) -> None:
    """Compare every field, types included; whether the values are in memory or in a file is no property of a table."""
    ours, theirs = left.__getstate__(), right.__getstate__()
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        if isinstance(value, np.ndarray):
            assert value.dtype == theirs[key].dtype, key
            np.testing.assert_array_equal(value, theirs[key], err_msg=key)
        elif key not in ("_extremes", "_file"):
            assert value == theirs[key], key


def loss(table: ExpertTable, mixture: np.ndarray) -> np.ndarray:
    """Return the loss of each group, directly from the definition."""
    row = -np.log(np.exp(table.loglik.astype(np.float64)) @ mixture) * table.row_weight
    return np.add.reduceat(row, table.group_offsets[:-1])


# --- accepted input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_from_loglik_keeps_the_array_without_a_copy(dtype: type) -> None:
    loglik = make_loglik(dtype=dtype)
    table = ExpertTable.from_loglik(loglik)
    assert np.shares_memory(table.loglik, loglik)
    assert table.dtype == dtype
    assert table.kind == "ce"
    assert table.shape == (table.n_rows, table.n_domains) == (12, 3)
    assert len(table) == 12
    assert table.domains == ("domain_0", "domain_1", "domain_2")
    assert (table.n_groups, table.group_names, table.group) == (1, ("all",), None)
    np.testing.assert_array_equal(table.group_offsets, [0, 12])
    assert table.uniform_weight == 1 / 12
    np.testing.assert_array_equal(table.row_weight, np.full(12, 1 / 12))
    assert table.nbytes == loglik.nbytes + 16
    assert loglik.flags.writeable
    assert table.loglik.flags.c_contiguous


def test_a_table_cannot_be_changed() -> None:
    table = ExpertTable.from_loglik(make_loglik(), length=np.arange(1, 13), group=["a"] * 5 + ["b"] * 7)
    for name in ("loglik", "length", "row_weight", "group", "group_offsets"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(table, name)[0] = 1
    with pytest.raises(AttributeError, match="immutable"):
        table.domains = ("x",)  # type: ignore[misc]
    with pytest.raises(AttributeError, match="immutable"):
        del table.length
    with pytest.raises(AttributeError, match="immutable"):
        table.something = 1
    with pytest.raises(TypeError, match="from_loglik"):
        ExpertTable()


def test_an_array_given_to_the_class_is_sent_to_from_loglik() -> None:
    for values, named in (((make_loglik(),), {}), ((), {"loglik": make_loglik()})):
        with pytest.raises(TypeError, match=r"ExpertTable\.from_loglik\(array, domains="):
            ExpertTable(*values, **named)


def test_pickle_and_copy_keep_everything_read_only() -> None:
    table = ExpertTable.from_loglik(make_loglik(), length=np.arange(1, 13), group=["a"] * 5 + ["b"] * 7)
    for other in (pickle.loads(pickle.dumps(table)), copy.deepcopy(table), copy.copy(table)):
        same(table, other)
        assert not other.loglik.flags.writeable
        assert not other.length.flags.writeable


@pytest.mark.parametrize(
    "make",
    [
        lambda a: np.asfortranarray(a),
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: a.astype(a.dtype.newbyteorder(">")),
        lambda a: np.frombuffer(b"x" + a.tobytes(), dtype=np.uint8)[1:].view(a.dtype).reshape(a.shape),
        lambda a: a.tolist(),
        lambda a: np.ma.MaskedArray(a),
        lambda a: np.asmatrix(a),
    ],
    ids=["fortran", "strided", "big-endian", "misaligned", "list", "masked-nothing", "matrix"],
)
def test_other_layouts_are_copied_to_ours(make) -> None:  # type: ignore[no-untyped-def]
    loglik = make_loglik()
    table = ExpertTable.from_loglik(make(loglik))
    assert type(table.loglik) is np.ndarray
    assert table.loglik.flags.c_contiguous
    assert table.loglik.flags.aligned
    assert table.dtype.isnative
    np.testing.assert_array_equal(table.loglik, loglik)


def test_a_memory_map_stays_on_disk(tmp_path: Path) -> None:
    loglik = make_loglik(dtype=np.float32)
    np.save(tmp_path / "t.npy", loglik)
    table = ExpertTable.from_loglik(np.load(tmp_path / "t.npy", mmap_mode="r"))
    assert checks.is_mapped(table.loglik)
    assert "mapped" in repr(table)
    np.testing.assert_array_equal(table.loglik, loglik)


class _Exported:
    """An array that only supports DLPack, with the device that it claims."""

    def __init__(self, array: np.ndarray, device: int = 1) -> None:
        self.array, self.device = array, device

    def __dlpack__(self, **options: object) -> object:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0


def test_dlpack_is_shared_and_other_devices_are_refused() -> None:
    loglik = make_loglik(dtype=np.float32)
    assert np.shares_memory(ExpertTable.from_loglik(_Exported(loglik)).loglik, loglik)
    with pytest.raises(BackendError, match=r"DLPack device type 2.*\.cpu\(\)"):
        ExpertTable.from_loglik(_Exported(loglik, device=2))


def test_array_protocol() -> None:
    class Convertible:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return make_loglik()

    np.testing.assert_array_equal(ExpertTable.from_loglik(Convertible()).loglik, make_loglik())


def test_torch_tensors() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(make_loglik(dtype=np.float32))
    table = ExpertTable.from_loglik(tensor, length=torch.arange(1, 13))
    assert np.shares_memory(table.loglik, tensor.numpy())
    wanted = tensor.clone().requires_grad_()
    np.testing.assert_array_equal(ExpertTable.from_loglik(wanted).loglik, table.loglik)
    with pytest.raises(TableError, match=r"tensor\.float\(\)"):
        ExpertTable.from_loglik(tensor.to(torch.bfloat16))
    flipped = ExpertTable.from_loglik(torch._neg_view(-tensor))
    np.testing.assert_array_equal(flipped.loglik, tensor.numpy())
    with pytest.raises(BackendError, match="loglik is a Tensor in memory that cannot be read"):
        ExpertTable.from_loglik(tensor.to("meta"))


def test_default_weights_make_every_group_a_mean() -> None:
    loglik = make_loglik()
    table = ExpertTable.from_loglik(loglik, group=[0] * 4 + [1] * 8)
    assert table.uniform_weight is None
    np.testing.assert_array_equal(table.row_weight, [1 / 4] * 4 + [1 / 8] * 8)
    mixture = np.array([0.5, 0.3, 0.2])
    row = -np.log(np.exp(loglik) @ mixture)
    np.testing.assert_allclose(loss(table, mixture), [row[:4].mean(), row[4:].mean()], rtol=1e-14)
    assert ExpertTable.from_loglik(loglik, group=[0] * 6 + [1] * 6).uniform_weight == 1 / 6


def test_lengths_divide_the_weight() -> None:
    loglik, length = make_loglik(), np.arange(1, 13)
    table = ExpertTable.from_loglik(loglik, length=length)
    np.testing.assert_allclose(table.row_weight, 1 / (12 * length), rtol=1e-15)
    assert table.length is not None
    assert table.length.dtype == length.dtype
    assert ExpertTable.from_loglik(loglik, length=np.full(12, 255)).uniform_weight == 1 / (12 * 255)
    raw = np.arange(12.0)
    np.testing.assert_array_equal(ExpertTable.from_loglik(loglik, weight=raw).row_weight, raw)
    np.testing.assert_allclose(
        ExpertTable.from_loglik(loglik, weight=raw, length=length).row_weight, raw / length, rtol=1e-15
    )
    assert ExpertTable.from_loglik(loglik, weight=np.full(12, 3)).uniform_weight == 3.0


def test_groups_are_sorted_with_everything_that_belongs_to_a_row() -> None:
    loglik, length = make_loglik(), np.arange(1, 13)
    group = np.array([2, 0, 1] * 4)
    table = ExpertTable.from_loglik(
        loglik, group=group, group_names=["x", "y", "z"], length=length, sequence=np.arange(12), weight=length * 2.0
    )
    order = np.argsort(group, kind="stable")
    np.testing.assert_array_equal(table.loglik, loglik[order])
    np.testing.assert_array_equal(table.length, length[order])
    np.testing.assert_array_equal(table.sequence, order)
    np.testing.assert_array_equal(table.weight, 2.0 * length[order])
    np.testing.assert_array_equal(table.group, np.repeat([0, 1, 2], 4))
    assert table.group is not None
    assert table.group.dtype == np.int32
    np.testing.assert_array_equal(table.group_offsets, [0, 4, 8, 12])
    assert table.group_names == ("x", "y", "z")


def test_sorted_groups_are_not_copied() -> None:
    loglik = make_loglik()
    for group in (["web"] * 5 + ["code"] * 7, [3] * 5 + [7] * 7):
        assert np.shares_memory(ExpertTable.from_loglik(loglik, group=group).loglik, loglik)


@pytest.mark.parametrize(
    ("group", "group_names", "expected"),
    [
        (["web", "code", "web"], None, ("web", "code")),
        (["web", "code", "web"], ["code", "web"], ("code", "web")),
        (np.array(["web", "code", "web"], dtype=object), None, ("web", "code")),
        (np.array([b"web", b"code", b"web"]), None, ("web", "code")),
        ([5, -1, 5], None, ("group_-1", "group_5")),
        ([5, -1, 5], {5: "five", -1: "minus"}, ("five", "minus")),
        ([True, False, True], None, ("group_0", "group_1")),
        (np.array([1, 0, 1], dtype=np.uint8), np.array(["a", "b"]), ("a", "b")),
    ],
)
def test_group_names(group: object, group_names: object, expected: tuple[str, ...]) -> None:
    table = ExpertTable.from_loglik(make_loglik(3, 2), group=group, group_names=group_names)  # type: ignore[arg-type]
    assert table.group_names == expected
    assert all(type(name) is str for name in table.group_names)
    # The two equal entries are next to each other, the other one is alone.
    assert sorted(np.diff(table.group_offsets).tolist()) == [1, 2]
    alone = table.loglik[table.group_offsets[np.argmin(np.diff(table.group_offsets))]]
    np.testing.assert_array_equal(alone, make_loglik(3, 2)[1])


def test_condition_is_subtracted() -> None:
    whole, prompt = make_loglik(seed=1) - 3.0, make_loglik(seed=2) / 100
    table = ExpertTable.from_loglik(whole, condition=prompt)
    np.testing.assert_array_equal(table.loglik, whole - prompt)
    whole[3, 1] = -math.inf
    assert ExpertTable.from_loglik(whole, condition=prompt).loglik[3, 1] == -math.inf


def test_one_domain_and_one_row_are_legal() -> None:
    table = ExpertTable.from_loglik(np.array([[-1.0]]), domains=["only"])
    assert table.shape == (1, 1)
    assert repr(table) == "ExpertTable(ce, 1 row x 1 domain, float64, 8 B; domains: only)"


def test_partial_minus_infinity_is_legal() -> None:
    loglik = make_loglik()
    loglik[:, 1] = -math.inf
    assert ExpertTable.from_loglik(loglik).loglik[4, 1] == -math.inf


def test_repr_shows_groups_and_what_was_given() -> None:
    table = ExpertTable.from_loglik(make_loglik(12, 8), group=[0] * 6 + [1] * 6, length=np.ones(12))
    assert "domains: domain_0, domain_1, domain_2, domain_3, domain_4, ... (8 in all)" in repr(table)
    assert "groups: group_0, group_1; with length)" in repr(table)


# --- refused input ----------------------------------------------------------------------------------------------------


def with_value(value: float, *rows: int) -> np.ndarray:
    loglik = make_loglik(20, 3)
    for row in rows:
        loglik[row, 1] = value
    return loglik


REFUSED = {
    "nan": (with_value(math.nan, 4, 17), {}, r"NaN or \+inf in 2 of 20 rows: row 4 \(domain_1 = nan\), row 17 "),
    "inf": (with_value(math.inf, 0), {}, r"in 1 of 20 rows: row 0 \(domain_1 = inf\);"),
    "many": (with_value(math.nan, *range(9)), {}, r"row 4 \(domain_1 = nan\), \.\.\. \(9 in all\)"),
    "dead": (np.vstack([make_loglik(3), [[-math.inf] * 3]]), {}, r"-inf for every domain in 1 of 4 rows: row 3;"),
    "no rows": (np.empty((0, 3)), {}, r"empty: shape \(0, 3\)"),
    "no domains": (np.empty((3, 0)), {}, r"empty: shape \(3, 0\)"),
    "1-D": (np.zeros(3), {}, r"\(rows, domains\), got \(3,\); for a single domain use values\[:, None\]"),
    "3-D": (np.zeros((2, 2, 2)), {}, r"got \(2, 2, 2\)"),
    "scalar": (-1.0, {}, r"got \(\)"),
    "integers": (
        np.zeros((3, 2), dtype=np.int64),
        {},
        r"int64: log-likelihoods are not whole numbers.*astype\(float\)",
    ),
    "integer list": ([[-1, -2], [-3, -4]], {}, "int64"),
    "bool": (np.zeros((3, 2), dtype=bool), {}, "bool: log-likelihoods are not whole numbers"),
    "complex": (np.zeros((3, 2), dtype=complex), {}, "complex128"),
    "object": (np.zeros((3, 2), dtype=object), {}, "object"),
    "text": (np.array([["a", "b"]]), {}, "got <U1"),
    "longdouble": (np.zeros((3, 2), dtype=np.longdouble), {}, r"astype\(np.float64\)"),
    "ragged": ([[-1.0], [-1.0, -2.0]], {}, "cannot be read as a numpy array"),
    "None": (None, {}, "got object"),
    "masked": (np.ma.MaskedArray(make_loglik(), mask=make_loglik() < -2), {}, "masked entries"),
    "duplicates": (make_loglik(), {"domains": ["a", "b", "a"]}, r"duplicated: 'a' \(2 times\)"),
    "too few names": (make_loglik(), {"domains": ["a", "b"]}, r"2 domains are named \('a', 'b'\), but loglik has 3"),
    "empty name": (make_loglik(), {"domains": ["a", "b", ""]}, "must not be empty"),
    "NUL in name": (make_loglik(), {"domains": ["a", "b", "c\0"]}, "NUL"),
    "number as name": (make_loglik(), {"domains": ["a", "b", 3]}, "got 3 of type int"),
    "one string": (make_loglik(), {"domains": "abc"}, "sequence of names, got 'abc'"),
    "bytes": (make_loglik(), {"domains": np.array([b"\xff", b"a", b"b"])}, "not UTF-8"),
    "length 0": (
        make_loglik(),
        {"length": [0] + [1] * 11},
        r"length is not a positive number in 1 of 12 .*row 0 \(0\)",
    ),
    "length nan": (make_loglik(), {"length": [1.0] * 11 + [math.nan]}, r"row 11 \(nan\)"),
    "length inf": (make_loglik(), {"length": [1.0] * 11 + [math.inf]}, r"row 11 \(inf\)"),
    "length -1": (make_loglik(), {"length": [-1] * 12}, r"row 4 \(-1\), \.\.\. \(12 in all\)"),
    "length shape": (make_loglik(), {"length": np.ones((12, 1))}, r"shape \(12, 1\), expected \(12,\)"),
    "length text": (make_loglik(), {"length": ["1"] * 12}, "must be numbers, got <U1"),
    "length tiny": (make_loglik(), {"length": np.full(12, 5e-324)}, "sum to inf"),
    "weight -1": (make_loglik(), {"weight": [1.0] * 11 + [-1.0]}, r"negative or not finite in 1 of 12 .*row 11 \(-1"),
    "weight nan": (make_loglik(), {"weight": [math.nan] + [1.0] * 11}, r"row 0 \(nan\)"),
    "weight inf": (make_loglik(), {"weight": [math.inf] + [1.0] * 11}, r"row 0 \(inf\)"),
    "weight 0": (make_loglik(), {"weight": np.zeros(12)}, "weight is 0 in every row"),
    "weight huge": (make_loglik(), {"weight": np.full(12, 1e308)}, "sum to inf"),
    "weight shape": (make_loglik(), {"weight": [1.0]}, r"shape \(1,\), expected \(12,\)"),
    "sequence float": (make_loglik(), {"sequence": np.zeros(12)}, "sequence must be integers, got float64"),
    "sequence shape": (make_loglik(), {"sequence": [1]}, r"shape \(1,\)"),
    "group shape": (make_loglik(), {"group": [1]}, r"shape \(1,\)"),
    "group float": (make_loglik(), {"group": np.zeros(12)}, "group must be .*float64"),
    "group mixed": (make_loglik(), {"group": np.array([1, "a"] * 6, dtype=object)}, "all of one type"),
    "group unnamed": (make_loglik(), {"group": [0] * 11 + [2], "group_names": ["a", "b"]}, "group holds 2"),
    "group negative": (make_loglik(), {"group": [0] * 11 + [-1], "group_names": ["a"]}, "group holds -1"),
    "group empty": (make_loglik(), {"group": [0] * 12, "group_names": ["a", "b"]}, "has 'b', but no row"),
    "group twice": (make_loglik(), {"group": [0, 1] * 6, "group_names": ["a", "a"]}, "'a' \\(2 times"),
    "group map of names": (make_loglik(), {"group": ["a"] * 12, "group_names": {0: "a"}}, "already holds names"),
    "only group names": (make_loglik(), {"group_names": ["a"]}, "group is not"),
    "condition shape": (make_loglik(), {"condition": make_loglik(12, 2)}, r"shape \(12, 2\), loglik \(12, 3\)"),
    "condition nan": (make_loglik(20), {"condition": with_value(math.nan, 2)}, "condition has NaN .*row 2"),
    "condition +inf": (make_loglik(20), {"condition": with_value(math.inf, 2)}, "condition has NaN .*row 2"),
    "condition -inf": (make_loglik(20), {"condition": with_value(-math.inf, 2)}, "loglik - condition .*row 2"),
    "both -inf": (with_value(-math.inf, 2), {"condition": with_value(-math.inf, 2)}, "loglik - condition .*row 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    loglik, options, message = REFUSED[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TableError, match=message):
            ExpertTable.from_loglik(loglik, **options)


def test_a_refused_table_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        ExpertTable.from_loglik(np.empty((0, 2)))


def test_positive_log_likelihoods_warn_beyond_rounding() -> None:
    loglik = make_loglik()
    loglik[3, 2] = 5e-4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ExpertTable.from_loglik(loglik)
    loglik[3, 2] = 7.5
    with pytest.warns(MixfastWarning, match=r"goes up to 7\.5") as caught:
        ExpertTable.from_loglik(loglik)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("dtype", FLOATS)
def test_probabilities_are_refused_as_log_likelihoods(dtype: type, tmp_path: Path) -> None:
    proba = np.random.default_rng(0).random((20, 3)).astype(dtype)
    proba[0] = [0.0, 1.0, 0.5]
    with pytest.raises(TableError, match=r"values from 0 to 1, which look like probabilities.*from_probabilities"):
        ExpertTable.from_loglik(proba)
    np.savez(tmp_path / "p.npz", loglik=proba)
    with pytest.raises(TableError, match=r"p\.npz: loglik has values.*key proba"):
        ExpertTable.load(tmp_path / "p.npz")
    # Log densities differ from them by a value outside [0, 1], or by the constant that the message names.
    ExpertTable.from_loglik(proba - dtype(1.0))
    proba[3, 1] = -0.25
    with pytest.warns(MixfastWarning, match="fine for log densities"):
        ExpertTable.from_loglik(proba)


def test_more_domains_than_rows_warns() -> None:
    with pytest.warns(MixfastWarning, match="3 rows and 12 domains .*transpose"):
        assert ExpertTable.from_loglik(make_loglik().T).n_domains == 12


# --- the scan ---------------------------------------------------------------------------------------------------------

ODD = [math.nan, math.inf, -math.inf, -math.inf, -math.inf, 0.0, -1.5, -65504.0, 3.0]


@settings(deadline=None)
@given(
    data=st.data(),
    shape=hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
    dtype=st.sampled_from(FLOATS),
    n_blocks=st.integers(1, 4),
)
def test_refused_rows_agree_with_their_definition(
    data: st.DataObject, shape: tuple[int, int], dtype: type, n_blocks: int
) -> None:
    values = data.draw(hnp.arrays(dtype, shape, elements=st.sampled_from(ODD)))
    block = max(1, shape[0] // n_blocks) * shape[1] * values.itemsize
    with pytest.MonkeyPatch.context() as patch:
        # Small blocks, so that invalid rows are in several of them.
        patch.setattr(checks, "_BLOCK_BYTES", block)
        n_bad, bad, n_dead, dead = checks.find_refused(values)
    is_bad = (np.isnan(values) | (values == math.inf)).any(axis=1)
    is_dead = (values == -math.inf).all(axis=1)
    assert (n_bad, n_dead) == (is_bad.sum(), is_dead.sum())
    np.testing.assert_array_equal(bad, np.flatnonzero(is_bad)[:5])
    np.testing.assert_array_equal(dead, np.flatnonzero(is_dead)[:5])
    assert bad.dtype == dead.dtype == np.int64


@settings(deadline=None)
@given(
    values=hnp.arrays(
        st.sampled_from(FLOATS),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(width=16, allow_subnormal=True),
    )
)
def test_whatever_comes_is_kept_exactly_or_refused_by_name(values: np.ndarray) -> None:
    is_bad = (np.isnan(values) | (values == math.inf)).any(axis=1)
    is_dead = (values == -math.inf).all(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixfastWarning)
        if is_bad.any():
            with pytest.raises(TableError, match=rf"in {is_bad.sum()} of .*row {np.argmax(is_bad)} "):
                ExpertTable.from_loglik(values)
        elif is_dead.any():
            with pytest.raises(TableError, match=rf"in {is_dead.sum()} of .*row {np.argmax(is_dead)}[;,]"):
                ExpertTable.from_loglik(values)
        elif values.min() >= 0.0 and 1e-3 < values.max() <= 1.0:
            with pytest.raises(TableError, match="look like probabilities"):
                ExpertTable.from_loglik(values)
        else:
            table = ExpertTable.from_loglik(values)
            np.testing.assert_array_equal(table.loglik, values)
            assert table.extremes == (values.min(), values.max(), values.max(axis=1).min())


def test_validation_allocates_no_second_table() -> None:
    import tracemalloc

    loglik = np.zeros((400_000, 16), dtype=np.float32)
    tracemalloc.start()
    ExpertTable.from_loglik(loglik)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < loglik.nbytes / 10


# --- predictions ------------------------------------------------------------------------------------------------------


def test_predictions_of_one_output() -> None:
    rng = np.random.default_rng(0)
    prediction = rng.normal(size=(10, 3)).astype(np.float32)
    table = ExpertTable.from_predictions(prediction, np.arange(10), domains=["a", "b", "c"])
    assert (table.kind, table.shape, table.n_outputs, table.uniform_weight) == ("mse", (10, 3), 1, 0.1)
    assert np.shares_memory(table.prediction, prediction)
    assert table.values is table.prediction
    np.testing.assert_array_equal(table.target, np.arange(10.0))
    assert table.target.dtype == np.float64
    with pytest.raises(AttributeError, match='kind "mse" has no loglik; it has prediction'):
        _ = table.loglik
    ce = ExpertTable.from_loglik(make_loglik())
    assert not hasattr(ce, "prediction")
    assert not hasattr(ce, "target")
    for target in (np.arange(10.0)[:, None], list(range(10))):
        same(table, ExpertTable.from_predictions(prediction[:, :, None], target, domains=["a", "b", "c"]))


def test_outputs_become_rows() -> None:
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(size=(7, 3, 2)), rng.normal(size=(7, 2))
    group = np.array([1, 0, 1, 0, 1, 1, 1])
    table = ExpertTable.from_predictions(prediction, target, group=group)
    assert (table.shape, table.n_outputs) == ((14, 3), 2)
    mixture = np.array([0.2, 0.5, 0.3])
    squared = ((np.einsum("nkd,k->nd", prediction, mixture) - target) ** 2).sum(axis=1) / 2
    row = 0.5 * (table.prediction @ mixture - table.target) ** 2 * table.row_weight
    np.testing.assert_allclose(
        np.add.reduceat(row, table.group_offsets[:-1]),
        [squared[group == 0].mean(), squared[group == 1].mean()],
        rtol=1e-13,
    )
    np.testing.assert_array_equal(table.sequence, np.repeat([1, 3, 0, 2, 4, 5, 6], 2))
    part = table.rows([0, 3])
    assert part.shape == (4, 3)
    np.testing.assert_array_equal(part.sequence, [1, 1, 2, 2])
    raw = ExpertTable.from_predictions(prediction, target, weight=np.arange(7.0))
    np.testing.assert_array_equal(raw.row_weight, np.repeat(np.arange(7.0), 2))
    fit, held_out = table.split(0.5, seed=0)
    assert fit.sequence is not None
    assert held_out.sequence is not None
    assert sorted([*fit.sequence, *held_out.sequence]) == sorted([*range(7)] * 2)
    assert not set(fit.sequence.tolist()) & set(held_out.sequence.tolist())
    even = ExpertTable.from_predictions(prediction[:6], target[:6], group=[0, 1] * 3)
    assert even.uniform_weight == 1 / 3


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (np.zeros((3, 2)), np.zeros(4), r"target has shape \(4,\), expected \(3,\)"),
        (np.zeros((3, 2, 4)), np.zeros(3), r"target has shape \(3,\), expected \(3, 4\)"),
        (np.zeros(3), np.zeros(3), r"got \(3,\)"),
        (np.zeros((3, 2), dtype=int), np.zeros(3), "prediction must be float16"),
        (np.zeros((0, 2)), np.zeros(0), "empty"),
        (np.zeros((3, 2, 0)), np.zeros((3, 0)), "empty"),
        (np.zeros((3, 2)), [0.0, math.nan, 0.0], r"target is not finite in 1 entries: row 1 \(nan\)"),
        (np.zeros((3, 2)), ["a", "b", "c"], "target must be numbers"),
        (with_value(-math.inf, 2, 5), np.zeros(20), r"not finite in 2 rows: row 2 \(domain_1 = -inf\), row 5"),
        (with_value(math.nan, 2).reshape(10, 2, 3).transpose(0, 2, 1), np.zeros((10, 2)), r"row 1 \(domain_1 = nan"),
    ],
)
def test_refused_predictions(prediction: object, target: object, message: str) -> None:
    with pytest.raises(TableError, match=message):
        ExpertTable.from_predictions(prediction, target)  # type: ignore[arg-type]


# --- subsets ----------------------------------------------------------------------------------------------------------


def grouped() -> ExpertTable:
    return ExpertTable.from_loglik(
        make_loglik(30, 4),
        domains=["a", "b", "c", "d"],
        group=np.repeat(["x", "y", "z"], [6, 10, 14]),
        length=np.arange(1, 31),
        sequence=np.arange(30) // 2,
    )


@pytest.mark.parametrize(
    "index",
    [
        np.arange(30) % 3 == 0,
        [3, 1, 7, 1, 29],
        slice(4, 12),
        slice(None, None, 3),
        slice(None, None, -1),
        slice(-5, None),
        [-1],
        np.array([2], dtype=np.uint8),
    ],
)
def test_rows(index: object) -> None:
    table = grouped()
    part = table.rows(index)  # type: ignore[arg-type]
    chosen = np.arange(30)[index]  # type: ignore[index]
    assert table.group is not None
    chosen = chosen[np.argsort(table.group[chosen], kind="stable")]
    np.testing.assert_array_equal(part.loglik, table.loglik[chosen])
    assert part.loglik.flags.c_contiguous
    assert not part.loglik.flags.writeable
    np.testing.assert_array_equal(part.length, np.arange(1, 31)[chosen])
    np.testing.assert_array_equal(part.sequence, (np.arange(30) // 2)[chosen])
    kept = [table.group_names[code] for code in table.group[chosen]]
    assert part.group is not None
    assert [part.group_names[code] for code in part.group] == kept
    sizes = np.array([kept.count(name) for name in kept])
    np.testing.assert_allclose(part.row_weight, 1 / (sizes * (chosen + 1)), rtol=1e-15)


def test_rows_keep_raw_weights() -> None:
    table = ExpertTable.from_loglik(make_loglik(), weight=np.arange(12.0))
    np.testing.assert_array_equal(table.rows([5, 2]).row_weight, [5.0, 2.0])
    with pytest.raises(TableError, match="weight is 0 in every row"):
        table.rows([0])


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (np.ones(29, dtype=bool), r"mask has shape \(29,\), expected \(30,\)"),
        (np.zeros(30, dtype=bool), "none of the 30 rows"),
        ([], "none of the 30 rows"),
        ([30], "from 30 to 30, but the table has 30 rows"),
        ([-31], "from -31"),
        ([0.5], "float64"),
        ([[1]], r"\(1, 1\)"),
        (3, r"\(\)"),
        (slice(5, 5), "none of the 30 rows"),
    ],
)
def test_refused_rows(index: object, message: str) -> None:
    with pytest.raises(TableError, match=message):
        grouped().rows(index)  # type: ignore[arg-type]


def test_select() -> None:
    table = grouped()
    part = table.select(["d", "a"])
    assert part.domains == ("d", "a")
    np.testing.assert_array_equal(part.loglik, table.loglik[:, [3, 0]])
    assert part.loglik.flags.c_contiguous
    assert not part.loglik.flags.writeable
    np.testing.assert_array_equal(part.row_weight, table.row_weight)
    assert table.select(table.domains) is table
    with pytest.raises(TableError, match=r"the table has no domain 'q'; its domains are \['a', 'b', 'c', 'd'\]"):
        table.select(["a", "q"])
    with pytest.raises(TableError, match="duplicated"):
        table.select(["a", "a"])
    with pytest.raises(TableError, match="at least one"):
        table.select([])
    loglik = make_loglik()
    loglik[4, :2] = -math.inf
    with pytest.raises(TableError, match=r"selected domains is -inf .* row 4"):
        ExpertTable.from_loglik(loglik).select(["domain_1", "domain_0"])


@settings(deadline=None)
@given(
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(2, 8), min_size=1, max_size=4),
    rows_each=st.integers(1, 3),
)
def test_split_keeps_sequences_whole_and_groups_alike(
    share: float, seed: int, sizes: list[int], rows_each: int
) -> None:
    sequence = np.repeat(np.arange(sum(sizes)), rows_each)
    group = np.repeat(np.arange(len(sizes)), np.array(sizes) * rows_each)
    shuffled = np.random.default_rng(1).permutation(sequence.size)
    table = ExpertTable.from_loglik(
        make_loglik(sequence.size, 2), group=group[shuffled], sequence=sequence[shuffled], domains=["a", "b"]
    )
    fit, held_out = table.split(share, seed=seed)
    assert fit.sequence is not None
    assert held_out.sequence is not None
    assert not set(fit.sequence.tolist()) & set(held_out.sequence.tolist())
    assert fit.n_rows + held_out.n_rows == table.n_rows
    assert fit.group_names == held_out.group_names == table.group_names
    for size, count in zip(sizes, np.diff(fit.group_offsets), strict=True):
        assert count == min(max(round(share * size), 1), size - 1) * rows_each
    same(fit, table.split(share, seed=seed)[0])


def test_split_draws_rows_without_sequences_and_depends_on_the_seed() -> None:
    table = ExpertTable.from_loglik(make_loglik(100, 2))
    fit, held_out = table.split(0.8, seed=3)
    assert (fit.n_rows, held_out.n_rows) == (80, 20)
    assert fit.uniform_weight == 1 / 80
    both = np.vstack([fit.loglik, held_out.loglik])
    np.testing.assert_array_equal(np.sort(both[:, 0]), np.sort(table.loglik[:, 0]))
    assert not np.array_equal(held_out.loglik, table.split(0.8, seed=4)[1].loglik)


def test_split_keeps_a_sequence_of_several_groups_whole() -> None:
    table = ExpertTable.from_loglik(make_loglik(40, 2), group=np.arange(40) % 2, sequence=np.arange(40) // 2)
    fit, held_out = table.split(0.5, seed=0)
    assert fit.sequence is not None
    assert held_out.sequence is not None
    assert not set(fit.sequence.tolist()) & set(held_out.sequence.tolist())
    assert fit.n_rows == held_out.n_rows == 20


def test_refused_splits() -> None:
    table = grouped()
    for share in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(TableError, match="between 0 and 1"):
            table.split(share, seed=0)
    lone = ExpertTable.from_loglik(make_loglik(), group=["x"] * 11 + ["y"])
    with pytest.raises(TableError, match="cannot split group 'y'"):
        lone.split(0.5, seed=0)


# --- files ------------------------------------------------------------------------------------------------------------


def tables_to_save() -> dict[str, ExpertTable]:
    rng = np.random.default_rng(5)
    return {
        "plain": ExpertTable.from_loglik(make_loglik(dtype=np.float16)),
        "named": ExpertTable.from_loglik(make_loglik(dtype=np.float32), domains=["a b", "ü: yes", "1e3"]),
        "all": ExpertTable.from_loglik(
            make_loglik(),
            weight=np.arange(12.0) / 7,
            length=np.arange(1, 13, dtype=np.int32),
            group=["x", "y"] * 6,
            sequence=np.arange(12, dtype=np.uint16),
        ),
        "one group": ExpertTable.from_loglik(make_loglik(), group=["x"] * 12, length=np.full(12, 0.1, np.float32)),
        "mse": ExpertTable.from_predictions(rng.normal(size=(9, 2)).astype(np.float32), rng.normal(size=9)),
        "outputs": ExpertTable.from_predictions(
            rng.normal(size=(9, 2, 3)), rng.normal(size=(9, 3)), group=[1, 0, 0] * 3, weight=np.arange(9) + 1.0
        ),
    }


@pytest.mark.parametrize("case", tables_to_save())
@pytest.mark.parametrize("map_above", [0, 1 << 40], ids=["mapped", "read"])
def test_npz_round_trip_is_exact(case: str, map_above: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_MAP_ABOVE", map_above)
    table = tables_to_save()[case]
    table.save(tmp_path / "t.npz")
    again = ExpertTable.load(tmp_path / "t.npz")
    same(table, again)
    if case != "outputs":  # outputs are rearranged when they are read, which copies them
        assert checks.is_mapped(again.values) == (map_above == 0)
    again.save(tmp_path / "u.npz")
    assert (tmp_path / "t.npz").read_bytes() == (tmp_path / "u.npz").read_bytes()
    with np.load(tmp_path / "t.npz") as plain:
        np.testing.assert_array_equal(plain["loglik" if table.kind == "ce" else "prediction"], table.values)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_npz_round_trip_of_anything(tmp_path: Path, data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=5))
    n, n_domains = shape
    elements = st.floats(max_value=0.0, width=16, allow_infinity=False)
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
    name = text.map(lambda drawn: drawn if drawn.strip() else f"{drawn}x")

    def maybe(strategy: st.SearchStrategy) -> object:  # type: ignore[type-arg]
        return data.draw(st.none() | strategy)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixfastWarning)
        table = ExpertTable.from_loglik(
            data.draw(hnp.arrays(data.draw(st.sampled_from(FLOATS)), shape, elements=elements)),
            domains=maybe(st.lists(name, min_size=n_domains, max_size=n_domains, unique=True)),  # type: ignore[arg-type]
            weight=maybe(hnp.arrays(np.float64, n, elements=st.floats(1e-3, 1e3))),  # type: ignore[arg-type]
            length=maybe(hnp.arrays(np.int64, n, elements=st.integers(1, 1000))),  # type: ignore[arg-type]
            group=maybe(st.lists(name, min_size=n, max_size=n)),  # type: ignore[arg-type]
            sequence=maybe(hnp.arrays(np.int32, n)),  # type: ignore[arg-type]
        )
        table.save(tmp_path / "t.npz")
        same(table, ExpertTable.load(tmp_path / "t.npz"))


def test_npy_is_mapped_and_loses_nothing(tmp_path: Path) -> None:
    table = ExpertTable.from_loglik(make_loglik(dtype=np.float32))
    table.save(tmp_path / "t.npy")
    again = ExpertTable.load(tmp_path / "t.npy")
    same(table, again)
    assert checks.is_mapped(again.loglik)
    with pytest.raises(TableError, match=r"would lose length, domains; save as \.npz"):
        ExpertTable.from_loglik(make_loglik(), domains=["a", "b", "c"], length=np.ones(12)).save(tmp_path / "u.npy")
    assert not (tmp_path / "u.npy").exists()


def test_a_mapped_table_can_be_saved_over_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_MAP_ABOVE", 0)
    for name in ("t.npy", "t.npz"):
        path = tmp_path / name
        ExpertTable.from_loglik(make_loglik(5000, 4)).save(path)
        table = ExpertTable.load(path)
        table.rows(slice(10)).save(path)
        np.testing.assert_array_equal(table.loglik, make_loglik(5000, 4))
        assert ExpertTable.load(path).n_rows == 10
    assert sorted(os.listdir(tmp_path)) == ["t.npy", "t.npz"]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.npz"
    table = ExpertTable.from_loglik(make_loglik())
    table.save(path)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(OSError, match="disk full"):
        table.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["t.npz"]


@pytest.mark.parametrize("name", ["t.csv", "t", "t.npz.gz"])
def test_unknown_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TableError, match=r"ends in \.npz or \.npy"):
        ExpertTable.from_loglik(make_loglik()).save(tmp_path / name)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", FLOATS)
def test_npz_of_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: object, dtype: type) -> None:
    monkeypatch.setattr(files, "_MAP_ABOVE", 0)
    loglik = make_loglik(dtype=dtype)
    names = np.array(["a", "b", "c"])
    save(tmp_path / "t.npz", loglik=np.asfortranarray(loglik), experts=names, sequence=np.arange(12))  # type: ignore[operator]
    table = ExpertTable.load(str(tmp_path / "t.npz"))
    assert table.domains == ("a", "b", "c")
    np.testing.assert_array_equal(table.loglik, loglik)
    np.testing.assert_array_equal(table.sequence, np.arange(12))


def test_npz_keys_of_predictions_and_conditions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(size=(6, 2, 3)), rng.normal(size=(6, 3))
    np.savez(tmp_path / "p.npz", prediction=prediction, target=target)
    same(ExpertTable.load(tmp_path / "p.npz"), ExpertTable.from_predictions(prediction, target))
    whole, prompt = make_loglik() - 1, make_loglik(seed=3) / 50
    np.savez(tmp_path / "c.npz", loglik=whole, condition=prompt)
    np.testing.assert_array_equal(ExpertTable.load(tmp_path / "c.npz").loglik, whole - prompt)


def test_keys_that_are_not_used_are_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", loglik=make_loglik(), lengths=np.ones(12), experts=["a"] * 3, domains=["a", "b", "c"])
    with pytest.warns(MixfastWarning, match="keys not used: experts, lengths") as caught:
        assert ExpertTable.load(tmp_path / "t.npz").domains == ("a", "b", "c")
    assert caught[0].filename == __file__


class _Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def test_pickles_are_refused_and_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    bombs = np.array([[_Bomb(marker)]], dtype=object)
    np.save(tmp_path / "array.npy", bombs, allow_pickle=True)
    np.savez(tmp_path / "main.npz", loglik=bombs)
    np.savez(tmp_path / "side.npz", loglik=make_loglik(1, 1), domains=bombs[0])
    (tmp_path / "bare.npy").write_bytes(pickle.dumps(bombs))
    folder = tmp_path / "folder" / "group_0"
    folder.mkdir(parents=True)
    np.save(folder / "t_log_prob.npy", bombs[0], allow_pickle=True)
    for name in ("array.npy", "main.npz", "side.npz", "bare.npy", "folder"):
        with pytest.raises(TableError, match=r"pickle.*never loaded"):
            ExpertTable.load(tmp_path / name)
    assert not marker.exists()


def _broken_files() -> dict[str, tuple[bytes, str]]:
    buffer = io.BytesIO()
    np.savez(buffer, loglik=make_loglik(100, 3))
    npz = buffer.getvalue()
    buffer = io.BytesIO()
    np.save(buffer, make_loglik(100, 3))
    npy = buffer.getvalue()

    def archive(**members: bytes) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as handle:
            for name, content in members.items():
                handle.writestr(name + ".npy", content)
        return out.getvalue()

    flipped = bytearray(npz)
    flipped[1000] ^= 1
    empty = io.BytesIO()
    np.save(empty, np.empty((0, 3)))
    structured = io.BytesIO()
    np.save(structured, np.zeros(3, dtype=[("a", "f4")]))
    return {
        "empty": (b"", "is empty"),
        "text": (
            b"domain,loglik\n1,2\n",
            r"is a csv file \('domain,loglik'\), expected a table of experts .*mixfast fit RATIOS.csv METRICS.csv",
        ),
        "npz cut": (npz[: len(npz) // 2], "truncated or damaged"),
        "npz flipped": (bytes(flipped), "key loglik .*CRC"),
        "npz of nothing": (archive(), "must hold either loglik or prediction"),
        "npz other keys": (archive(logits=npy, x=npy), r"loglik or prediction .*holds logits, x"),
        "npz both": (archive(loglik=npy, prediction=npy), "either loglik or prediction"),
        "npz no target": (archive(prediction=npy), "no target"),
        "npz short member": (archive(loglik=npy[:-8]), "key loglik is truncated"),
        "npz no npy": (archive(loglik=b"hello"), "key loglik is no readable npy"),
        "npz bad outputs": (archive(prediction=npy, target=npy, n_outputs=npy), "n_outputs must be one integer"),
        "npy cut": (npy[:-1], "truncated: its header promises float64"),
        "npy header": (npy[:20], "no readable npy array"),
        "npy magic": (npy[:6], "no readable npy array"),
        "npy empty": (empty.getvalue(), r"empty array of shape \(0, 3\)"),
        "npy structured": (structured.getvalue(), "must be float16"),
        "npy version": (npy[:6] + b"\x09\x00" + npy[8:], "no readable npy array"),
    }


@pytest.mark.parametrize("case", _broken_files())
def test_broken_files_are_named(case: str, tmp_path: Path) -> None:
    content, message = _broken_files()[case]
    path = tmp_path / "table.npz"
    path.write_bytes(content)
    with pytest.raises(TableError, match=message) as caught:
        ExpertTable.load(path)
    assert str(path) in str(caught.value)


def test_bad_values_in_a_file_name_the_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", loglik=with_value(math.nan, 3), domains=["a", "b", "c"])
    with pytest.raises(TableError, match=r"t\.npz: loglik has NaN .*row 3 \(b = nan\)"):
        ExpertTable.load(tmp_path / "t.npz")
    np.savez(tmp_path / "u.npz", prediction=np.zeros((6, 2)), target=np.zeros(5), n_outputs=2)
    with pytest.raises(TableError, match=r"u\.npz: target has shape \(5,\), which does not hold 2 outputs"):
        ExpertTable.load(tmp_path / "u.npz")
    with pytest.raises(FileNotFoundError):
        ExpertTable.load(tmp_path / "none.npz")
    with pytest.raises(TableError, match="task and conditional are for a folder"):
        ExpertTable.load(tmp_path / "t.npz", task="x")


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_refused_or_hold_a_table(tmp_path: Path, data: st.DataObject) -> None:
    buffer = io.BytesIO()
    kind = data.draw(st.sampled_from(["npz", "compressed", "npy"]))
    loglik = make_loglik(4, 2)
    if kind == "npy":
        np.save(buffer, loglik)
    else:
        save = np.savez if kind == "npz" else np.savez_compressed
        save(buffer, loglik=loglik, length=np.arange(1, 5), domains=["a", "b"])
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]
    path = tmp_path / "t"
    path.write_bytes(content)
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(files, "_MAP_ABOVE", data.draw(st.sampled_from([0, 1 << 26])))
        table, refusal = None, ""
        try:
            table = ExpertTable.load(path)
        except TableError as error:
            refusal = str(error)
    # Any other exception is a failure of this test.
    if table is None:
        assert str(path) in refusal
    else:
        assert np.isfinite(table.loglik).any(axis=1).all()


# --- folders ----------------------------------------------------------------------------------------------------------


def write_folder(folder: Path, n_experts: int = 12, n: int = 20, task: str = "sciq", seed: int = 0) -> np.ndarray:
    """Write the files of the MixMin code, and its folder of results, which is not an expert."""
    loglik = 50 * make_loglik(n, n_experts, seed=seed) - 5
    for k in range(n_experts):
        sub = folder / f"group_{k}"
        sub.mkdir(parents=True, exist_ok=True)
        np.save(sub / f"{task}_log_prob.npy", loglik[:, k])
        np.save(sub / f"{task}_lengths.npy", np.arange(10, 10 + n))
        np.save(sub / f"{task}_input_log_prob.npy", loglik[:, k] / 4)
        np.save(sub / f"{task}_input_lengths.npy", np.arange(n) % 5 + 1)
    (folder / task).mkdir(exist_ok=True)
    np.save(folder / task / "uncond_weights_0.npy", np.ones(n_experts))
    return loglik


def test_mixmin_folder(tmp_path: Path) -> None:
    loglik = write_folder(tmp_path)
    table = ExpertTable.load(tmp_path)
    assert table.domains == tuple(f"group_{k}" for k in range(12))
    np.testing.assert_array_equal(table.loglik, loglik)
    np.testing.assert_allclose(table.row_weight, 1 / (20 * np.arange(10, 30)), rtol=1e-15)
    same(table, ExpertTable.load(tmp_path, task="sciq"))
    answer = ExpertTable.load(tmp_path, conditional=True)
    np.testing.assert_array_equal(answer.loglik, loglik - loglik / 4)
    np.testing.assert_array_equal(answer.length, np.arange(10, 30) - (np.arange(20) % 5 + 1))
    assert answer.length is not None
    assert answer.length.dtype == np.int64


def test_mixmin_folder_with_several_tasks(tmp_path: Path) -> None:
    first, second = write_folder(tmp_path), write_folder(tmp_path, n=25, task="piqa", seed=1)
    with pytest.raises(TableError, match="several tasks, piqa, sciq: choose with task="):
        ExpertTable.load(tmp_path)
    np.testing.assert_array_equal(ExpertTable.load(tmp_path, task="piqa").loglik, second)
    both = ExpertTable.load(tmp_path, task=["sciq", "piqa"])
    assert both.group_names == ("sciq", "piqa")
    np.testing.assert_array_equal(both.group_offsets, [0, 20, 45])
    np.testing.assert_array_equal(both.loglik, np.vstack([first, second]))
    with pytest.raises(TableError, match=r"no arc_log_prob\.npy in group_0.*tasks found are piqa, sciq"):
        ExpertTable.load(tmp_path, task="arc")
    with pytest.raises(TableError, match="each once"):
        ExpertTable.load(tmp_path, task=["sciq", "sciq"])


def test_flat_folder(tmp_path: Path) -> None:
    loglik = make_loglik(6, 3, dtype=np.float32)
    for k, name in enumerate(["code", "web", "web_input"]):
        np.save(tmp_path / f"{name}_log_prob.npy", loglik[:, k])
    np.save(tmp_path / "code_lengths.npy", np.arange(1, 7))
    table = ExpertTable.load(tmp_path)
    assert table.domains == ("code", "web")  # web_input contains the prompts of web
    np.testing.assert_array_equal(table.loglik, loglik[:, :2])
    np.testing.assert_array_equal(table.length, np.arange(1, 7))
    with pytest.raises(TableError, match="no task to choose"):
        ExpertTable.load(tmp_path, task="x")
    with pytest.raises(TableError, match=r"code_input_log_prob\.npy is missing"):
        ExpertTable.load(tmp_path, conditional=True)


def test_folders_that_do_not_fit_together(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="holds no table: expected one sub-folder per expert"):
        ExpertTable.load(tmp_path)
    write_folder(tmp_path, n_experts=3)
    odd = tmp_path / "group_1" / "sciq_lengths.npy"
    np.save(odd, np.arange(1, 21))
    with pytest.warns(MixfastWarning, match="lengths of group_1 differ from those of group_0"):
        ExpertTable.load(tmp_path)
    for sub in tmp_path.glob("group_*"):
        (sub / "sciq_lengths.npy").unlink()
    with pytest.warns(MixfastWarning, match="not divided by their length"):
        assert ExpertTable.load(tmp_path).uniform_weight == 1 / 20
    with (
        pytest.warns(MixfastWarning, match="not divided by their length"),
        pytest.raises(TableError, match="lengths of the whole and of the prompt do not match"),
    ):
        ExpertTable.load(tmp_path, conditional=True)
    file = tmp_path / "group_2" / "sciq_log_prob.npy"
    for content, message in (
        (np.zeros(19), r"differ in the number of rows of sciq_log_prob\.npy .*'group_1': 20, 'group_2': 19"),
        (np.zeros(20, dtype=int), "floating log-probabilities, got int64"),
        (np.zeros((20, 1)), r"one value per row, got shape \(20, 1\)"),
    ):
        np.save(file, content)
        with pytest.raises(TableError, match=message):
            ExpertTable.load(tmp_path)
    file.write_bytes(b"")
    with pytest.raises(TableError, match=r"sciq_log_prob\.npy is empty"):
        ExpertTable.load(tmp_path)
    file.unlink()
    (tmp_path / "group_2" / "piqa_log_prob.npy").touch()
    with pytest.raises(TableError, match=r"no sciq_log_prob\.npy in group_2"):
        ExpertTable.load(tmp_path, task="sciq")


def test_a_prompt_longer_than_the_whole_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, n_experts=2)
    np.save(tmp_path / "group_0" / "sciq_lengths.npy", np.full(20, 2, dtype=np.uint8))
    np.save(tmp_path / "group_0" / "sciq_input_lengths.npy", np.full(20, 5, dtype=np.uint8))
    with (
        pytest.warns(MixfastWarning, match="lengths of group_1 differ"),
        pytest.raises(TableError, match=r"length is not a positive number in 20 of 20 rows: row 0 \(-3\)"),
    ):
        ExpertTable.load(tmp_path, conditional=True)


# --- real tables ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_real_tables_load_as_they_are(level: str, shared_data: Path) -> None:
    paths = sorted((shared_data / "tables" / level).glob("val_*.npz"))
    assert paths
    for path in paths:
        with np.load(path) as archive:
            table = ExpertTable.load(path)
            np.testing.assert_array_equal(table.loglik, archive["loglik"])
            assert table.domains == tuple(archive["experts"].tolist())
            assert table.dtype == archive["loglik"].dtype
            # Every window is 255 bytes long, so one number is the weight of every row.
            assert table.uniform_weight == pytest.approx(1 / (table.n_rows * (255 if level == "sequence" else 1)))
    if level == "token":
        fit, held_out = table.split(0.8, seed=0)
        assert (fit.n_rows, held_out.n_rows) == (160 * 255, 40 * 255)
