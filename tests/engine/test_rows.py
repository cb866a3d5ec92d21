"""The compiled sweeps over rows against the plain numpy of `mixfast.reference`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mixfast import reference
from mixfast._engine.backend.rows import Rows, resample, scan
from mixfast._engine.objectives import rows_cpu

SHAPES = [(1, 1), (1, 7), (2, 3), (5, 12), (17, 16), (33, 31), (64, 8), (100, 33), (511, 5), (513, 70), (40, 300)]
DTYPES = ["f2", "f4", "f8"]
# Relative error of a sum over rows: rounding errors of float64 and float32 panels.
TOLERANCE = {True: 1e-12, False: 3e-6}


def rows_of(n, k, dtype, seed=0, spread=2.0):
    rng = np.random.default_rng([seed, n, k])
    return (spread * rng.normal(size=(n, k)) - 4.0).astype(dtype), rng


def expected(loglik, c, w):
    table = loglik.astype(np.float64)
    top = table.max(axis=1)
    top = np.where(np.isfinite(top), top, 0.0)
    return reference.row_pass(np.exp(table - top[:, None]), top, c, w)


def close(found, wanted, tol):
    found, wanted = np.asarray(found), np.asarray(wanted)
    scale = max(float(np.abs(wanted).max(initial=0.0)), 1e-300)
    return bool(np.abs(found - wanted).max(initial=0.0) <= tol * scale)


def poison():
    """Leave NaN in freed memory, so that a kernel that reads memory it has not written gives NaN."""
    trash = [np.full(size, np.nan) for size in (8, 64, 512, 2048, 8192, 30000)]
    del trash


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("wide", [True, False])
def test_sums(shape, dtype, wide):
    loglik, rng = rows_of(*shape, dtype)
    n, k = shape
    w = rng.dirichlet(np.ones(k))
    weight = rng.exponential(size=n) / n
    for c, shift, packed, bounded in [
        (None, False, False, True),
        (weight, True, False, False),
        (weight, False, True, True),
        (None, True, True, False),
    ]:
        poison()
        rows = Rows(loglik, c, 1.0 / n, shift, wide, None, bounded)
        if packed:
            rows = rows.pack(None, c, 1.0 / n, wide, 2)
        wanted = expected(loglik, np.full(n, 1.0 / n) if c is None else c, w)
        poison()
        value, gradient, hessian = rows.sums(w, True, True)
        assert abs(value - wanted.value) <= TOLERANCE[wide] * max(1.0, abs(wanted.value))
        assert close(gradient, wanted.gradient, TOLERANCE[wide])
        assert close(hessian, wanted.hessian, TOLERANCE[wide])
        assert np.array_equal(hessian, hessian.T)
        value, gradient, nothing = rows.sums(w)
        assert nothing is None
        assert abs(value - wanted.value) <= TOLERANCE[wide] * max(1.0, abs(wanted.value))
        assert close(gradient, wanted.gradient, TOLERANCE[wide])
        assert close(rows.losses(w[None])[0], wanted.value, TOLERANCE[wide])
        assert close(rows.gradients(w[None])[0], wanted.gradient, 20 * TOLERANCE[wide])


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("k", [3, 16, 37])
def test_coarse_sums_are_close(k, packed, wide):
    n = 3001
    loglik, rng = rows_of(n, k, "f4")
    w, weight = rng.dirichlet(np.ones(k)), rng.exponential(size=n) / n
    rows = Rows(loglik, weight, 1.0 / n, False, wide, None, True)
    rows = rows.pack(None, weight, 1.0 / n, wide, 1) if packed else rows
    poison()
    value, gradient, hessian = rows.sums(w, True, 1, 1, True)
    wanted = expected(loglik, weight, w)
    assert close(value, wanted[0], 1e-5)
    assert close(gradient, wanted[1], 1e-5)
    assert close(hessian, wanted[2], 1e-5)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("k", [5, 16, 32])
def test_the_low_parts_of_the_shares_count(k, packed):
    """Rounding the shares to float32 would move all rows in the same direction: an error of the gradient of about 1e-8, ten times that of random rounding."""
    n = 100_000
    rng = np.random.default_rng(1)
    loglik = -1.5 * rng.exponential(size=(n, k)).astype("f4")
    for w in rng.dirichlet(np.ones(k), size=4):
        rows = Rows(loglik, None, 1.0 / n, False, False)
        wanted = Rows(loglik, None, 1.0 / n, False, True).sums(w)[1]
        found = (rows.pack(None, None, 1.0 / n, False) if packed else rows).sums(w)[1]
        # Without fused products, these digits are lost; solves then end in float64.
        assert np.abs(found / wanted - 1.0).max() < (2e-9 if rows_cpu.fuses() else 2e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 12), (33, 31), (513, 70)], ids=str)
@pytest.mark.parametrize("shift", [True, False])
def test_influence(shape, dtype, shift):
    """max_k p_ik / (p_i . w) of each row."""
    loglik, rng = rows_of(*shape, dtype)
    w = rng.dirichlet(np.ones(shape[1]))
    p = np.exp(loglik.astype(np.float64))
    for wide in (True, False):
        for threads in (1, 3):
            poison()
            found = np.full(shape[0], np.nan, dtype=np.float32)
            rows = Rows(loglik, None, 1.0 / shape[0], shift, wide, None, not shift)
            value, gradient, _ = rows.sums(w, True, 0, threads, True, found)
            plain = rows.sums(w, True, 0, threads, True)
            assert value == plain[0]
            assert np.array_equal(gradient, plain[1])
            np.testing.assert_allclose(found, p.max(axis=1) / (p @ w), rtol=1e-5)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("count", [1, 4, 7, 19])
def test_a_hessian_over_some_columns(count, wide):
    """That of all columns, and 0 elsewhere."""
    n, k = 9000, 19  # several chunks
    loglik, rng = rows_of(n, k, "f4")
    w = rng.dirichlet(np.ones(k))
    rows = Rows(loglik, None, 1.0 / n, True, wide)
    curved = np.sort(rng.choice(k, count, replace=False)).astype(np.int32)
    whole = rows.sums(w, True, 1, 1)
    poison()
    value, gradient, hessian = rows.sums(w, True, 1, 1, False, None, curved)
    assert np.array_equal(rows.sums(w, True, 1, 3, False, None, curved)[2], hessian)
    assert value == whole[0]
    assert np.array_equal(gradient, whole[1])
    wanted = np.zeros((k, k))
    wanted[np.ix_(curved, curved)] = whole[2][np.ix_(curved, curved)]
    np.testing.assert_allclose(hessian, wanted, rtol=1e-5, atol=0.0)


def test_influence_and_columns_of_a_hessian_are_checked():
    loglik, _ = rows_of(20, 4, "f4")
    rows, w = Rows(loglik, None, 0.05, False, False), np.full(4, 0.25)
    room, some = np.zeros(20, dtype=np.float32), np.array([1, 3], dtype=np.int32)
    for wrong, message in [
        ((0, 1, True, room[1:], None), "shape"),
        ((0, 1, False, room, None), "coarse"),
        ((1, 1, False, None, some[:0]), "shape"),
        ((2, 1, False, None, some), "hessian is 2"),
        ((1, 1, False, None, some + 1), "out of range"),
        ((1, 1, False, None, some[::-1].copy()), "ascending"),
    ]:
        with pytest.raises(ValueError, match=message):
            rows.sums(w, True, *wrong)
    packed = rows.pack(None, None, 0.05, False, 1)
    for given in ((0, 1, True, room, None), (1, 1, False, None, some)):
        with pytest.raises(ValueError, match="packed"):
            packed.sums(w, True, *given)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_a_hessian_from_some_of_the_rows(packed, weighted):
    """It is close to that of all rows, has exactly their diagonal, and is positive semidefinite."""
    n, k = 40_000, 6
    loglik, rng = rows_of(n, k, "f4", spread=0.5)
    w = rng.dirichlet(np.ones(k))
    weight = rng.exponential(size=n) / n if weighted else None
    rows = Rows(loglik, weight, 1.0 / n, False, False, None, True)
    rows = rows.pack(None, weight, 1.0 / n, False, 1) if packed else rows
    value, gradient, hessian = rows.sums(w, True, 1, 1)
    for step in (2, 8, 64):
        poison()
        some = rows.sums(w, True, step, 1)
        assert some[0] == value
        assert np.array_equal(some[1], gradient)
        assert close(np.diagonal(some[2]), np.diagonal(hessian), 3e-6)
        assert close(some[2], hessian, 5.0 * np.sqrt(step / n))
        assert np.array_equal(some[2], some[2].T)
        assert np.linalg.eigvalsh(some[2])[0] > 0.0
        assert close(rows.sums(w, True, step, 1, True)[2], hessian, 10.0 * np.sqrt(step / n))
        for threads in (2, 5):
            assert np.array_equal(rows.sums(w, True, step, threads)[2], some[2])


def test_no_period_of_the_rows_hides_from_a_sampled_hessian():
    """Every second group of 16 rows is of another kind: both kinds are sampled."""
    n = 16 * 4096
    loglik = np.where((np.arange(n) // 16 % 2 == 0)[:, None], [0.0, -3.0], [-3.0, 0.0]).astype(np.float32)
    rows = Rows(loglik, None, 1.0 / n, False, False, None, True)
    w = np.full(2, 0.5)
    wanted = rows.sums(w, True, 1, 1)[2]
    for step in (2, 4, 16):
        for coarse in (False, True):
            assert close(rows.sums(w, True, step, 1, coarse)[2], wanted, 0.1)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("n", range(1, 40))
def test_rows_past_the_end_of_a_packed_panel_do_not_count(n, wide):
    loglik, rng = rows_of(n, 3, "f4")
    w = rng.dirichlet(np.ones(3))
    wanted = expected(loglik, np.full(n, 1.0 / n), w)
    for _ in range(3):
        poison()
        packed = Rows(loglik, None, 1.0 / n, False, wide, None, True).pack(None, None, 1.0 / n, wide, 1)
        value, gradient, hessian = packed.sums(w, True, True)
        assert np.isfinite(hessian).all()
        assert close(gradient, wanted.gradient, TOLERANCE[wide])
        assert close(packed.gradients(w[None])[0], wanted.gradient, 20 * TOLERANCE[wide])
        assert close([value, packed.losses(w[None])[0]], [wanted.value] * 2, TOLERANCE[wide])


@pytest.mark.parametrize("m", [1, 2, 3, 5, 17, 64])
@pytest.mark.parametrize("products", [1, 2, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_mixture_nll_of_many_candidates(m, products, dtype):
    loglik, rng = rows_of(301, 13, dtype, spread=0.7)
    weight = rng.exponential(size=301)
    mixtures = rng.dirichlet(np.ones(13), size=m)
    mixtures[0] = np.eye(13)[4]
    table = loglik.astype(np.float64)
    wanted = reference.mixture_nll(np.exp(table), np.zeros(301), weight, [0, 301], mixtures)[:, 0]
    for wide in (True, False):
        for c in (None, weight):
            found = Rows(loglik, c, 1.0, False, wide, None, True).losses(mixtures, products, 2)
            right = (
                wanted
                if c is not None
                else reference.mixture_nll(np.exp(table), np.zeros(301), np.ones(301), [0, 301], mixtures)[:, 0]
            )
            np.testing.assert_allclose(found, right, rtol=TOLERANCE[wide])


@pytest.mark.parametrize("m", [1, 3, 4, 9])
@pytest.mark.parametrize("k", [1, 2, 5, 16, 33])
def test_gradients_of_many_objectives(m, k):
    loglik, rng = rows_of(203, k, "f4")
    mixtures = rng.dirichlet(np.ones(k), size=m)
    weight = rng.exponential(size=203)
    scattered = rng.integers(0, 7, size=203)
    # Random bins, one bin for each row, long runs, and short ones.
    for bins in (scattered, np.arange(203), np.arange(203) // 50, np.sort(rng.integers(0, 60, size=203))):
        bins = bins.astype(np.int32)
        multiplicity = rng.integers(0, 4, size=(m, int(bins.max()) + 1)).astype(np.float32)
        for wide, packed in [(True, False), (False, False), (True, True), (False, True)]:
            poison()
            rows = Rows(loglik, weight, 1.0, True, wide, None, False)
            rows = rows.pack(None, weight, 1.0, wide, 1) if packed else rows
            found = rows.gradients(mixtures, bins, multiplicity, 2)
            shared = rows.gradients(mixtures[:1], bins, multiplicity, 2)
            assert shared.shape == (m, k)
            for j in range(m):
                wanted = reference.gradient(loglik, weight * multiplicity[j, bins], mixtures[j])
                assert close(found[j], wanted, 20 * TOLERANCE[wide])
                wanted = reference.gradient(loglik, weight * multiplicity[j, bins], mixtures[0])
                assert close(shared[j], wanted, 20 * TOLERANCE[wide])


def test_a_row_that_does_not_count_may_have_no_mass():
    loglik = np.array([[-1.0, -np.inf], [-np.inf, -1.0], [-1.0, -2.0]])
    bins, multiplicity = np.arange(3, dtype=np.int32), np.array([[1, 0, 1]] * 5, dtype=np.float32)
    for wide in (True, False):
        rows = Rows(loglik, None, 1.0, True, wide, None, False)
        found = rows.gradients(np.array([[1.0, 0.0]] * 5), bins, multiplicity)
        np.testing.assert_allclose(found, [[-2.0, -np.exp(-1.0)]] * 5, rtol=1e-6)


def test_draws_are_counted():
    bits = np.random.default_rng(0).integers(0, 2**32, size=(5, 9), dtype=np.uint32)
    bits[0, :2] = [0, 2**32 - 1]
    counts = np.full((5, 12), np.nan, dtype=np.float32)
    resample(bits, counts, 2)
    drawn = (bits.astype(np.uint64) * 9) >> 32
    wanted = np.array([np.bincount(row.astype(int), minlength=9) for row in drawn])
    assert np.array_equal(counts[:, 2:11], wanted)
    assert np.isnan(counts[:, [0, 1, 11]]).all()
    for first in (-1, 4):
        with pytest.raises(ValueError, match=r"first is|the others require"):
            resample(bits, counts, first)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("wide", [True, False])
def test_columns_rows_and_strides(dtype, wide):
    loglik, rng = rows_of(400, 23, dtype)
    w = rng.dirichlet(np.ones(6))
    cols = np.sort(rng.choice(23, 6, replace=False)).astype(np.int32)
    index = rng.integers(0, 400, size=77)
    chosen = loglik[:, cols]
    whole = Rows(loglik, None, 1.0, True, wide, None, False)

    def same(rows, table):
        wanted = expected(table, np.ones(table.shape[0]), w)
        value, gradient, hessian = rows.sums(w, True, True)
        assert close([value], [wanted.value], TOLERANCE[wide])
        assert close(gradient, wanted.gradient, TOLERANCE[wide])
        assert close(hessian, wanted.hessian, TOLERANCE[wide])
        assert close(rows.sums(w)[1], wanted.gradient, TOLERANCE[wide])
        assert close(rows.losses(w[None]), [wanted.value], TOLERANCE[wide])

    same(whole.with_columns(cols), chosen)
    same(Rows(loglik, None, 1.0, True, wide, cols, False).pack(index, None, 1.0, wide, 2), chosen[index])
    packed = whole.pack(None, None, 1.0, wide, 2)
    same(packed.take(cols), chosen)
    same(packed.take(np.arange(23, dtype=np.int32)).take(cols), chosen)
    for step in (2, 3, 7):
        same(Rows(loglik[::step], None, 1.0, True, wide, cols, False), chosen[::step])
        full = Rows(loglik[::step, :6], None, 1.0, True, wide, None, False)
        same(full, loglik[::step, :6])


def test_a_row_without_mass_is_infinite_not_nan():
    loglik = np.array([[-1.0, -np.inf], [-np.inf, -2.0], [-3.0, -3.0]])
    for wide, dtype in [(True, "f8"), (False, "f4")]:
        for packed in (False, True):
            rows = Rows(loglik.astype(dtype), None, 1.0, True, wide, None, False)
            rows = rows.pack(None, None, 1.0, wide, 1) if packed else rows
            assert rows.sums(np.array([1.0, 0.0]))[0] == np.inf
            assert rows.losses(np.array([[1.0, 0.0], [0.5, 0.5]]))[0] == np.inf
            value, gradient, _ = rows.sums(np.array([0.5, 0.5]))
            np.testing.assert_allclose(value, 6.0 + 2 * np.log(2), rtol=1e-6)
            np.testing.assert_allclose(gradient, [-3.0, -3.0], rtol=1e-6)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_a_row_of_weight_zero_may_have_no_mass(packed, wide):
    loglik = np.full((40, 3), -1.0)
    loglik[5] = [-np.inf, -np.inf, 0.0]
    c = np.full(40, 1 / 40)
    c[5] = 0.0
    w = np.array([0.5, 0.5, 0.0])
    rows = Rows(loglik, c, 1 / 40, False, wide, None, False)
    rows = rows.pack(None, c, 1 / 40, wide, 1) if packed else rows
    for coarse in (False, True):
        value, gradient, hessian = rows.sums(w, True, 1, 1, coarse)
        assert value == pytest.approx(39 / 40, rel=1e-6)
        np.testing.assert_allclose(gradient, -39 / 40, rtol=1e-6)
        np.testing.assert_allclose(hessian, 39 / 40, rtol=1e-6)
    assert rows.losses(w[None])[0] == pytest.approx(39 / 40, rel=1e-6)


def test_thousands_of_nats_apart():
    rng = np.random.default_rng(5)
    loglik = -rng.uniform(0, 4000, size=(200, 9))
    w = rng.dirichlet(np.ones(9))
    c = 1.0 / (200 * rng.integers(1, 300, 200))
    value, gradient, _ = Rows(loglik, c, float(c.mean()), True, True).sums(w)
    assert value == pytest.approx(reference.ensemble_loss(loglik, c, w), rel=1e-13)
    assert close(gradient, reference.gradient(loglik, c, w), 1e-12)


@pytest.mark.parametrize("threads", [2, 3, 5])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_any_number_of_threads_gives_the_same_bits(threads, dtype):
    n, k = 60000, 37
    loglik, rng = rows_of(n, k, dtype)
    w = rng.dirichlet(np.ones(k))
    mixtures = rng.dirichlet(np.ones(k), size=5)
    bins = rng.integers(0, 50, size=n).astype(np.int32)
    multiplicity = rng.integers(0, 3, size=(5, 50)).astype(np.float32)
    rows = Rows(loglik, None, 1.0 / n, True, dtype == "f8", None, False)

    def run(count):
        value, gradient, hessian = rows.sums(w, True, True, count)
        plain = rows.sums(w, True, False, count)
        packed = rows.pack(None, None, 1.0 / n, dtype == "f8", count).sums(w, True, False, count)
        return [
            value, gradient, hessian, plain[0], plain[1], packed[0], packed[1],
            rows.losses(mixtures, 1, count), rows.gradients(mixtures, bins, multiplicity, count),
            rows.gradients(w[None], bins, multiplicity, count),
            scan(rows, count),
        ]  # fmt: skip

    for one, many in zip(run(1), run(threads), strict=True):
        assert np.array_equal(one, many)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 20), (1000, 7), (70000, 3)], ids=str)
def test_facts(shape, dtype):
    loglik, _ = rows_of(*shape, dtype)
    rows = Rows(loglik, None, 1.0, False, dtype == "f8")
    table = loglik.astype(np.float64)
    assert scan(rows, 2) == (table.max(), table.min(), table.max(axis=1).min(), False)
    loglik[-1, -1] = np.nan
    largest, _, _, has_nan = scan(rows, 2)
    # A half-precision NaN is read as larger than the largest half, so the table is checked more closely.
    assert has_nan or (dtype == "f2" and largest >= 65536)


@pytest.mark.parametrize("wide", [False, True])
def test_every_half_is_read_as_the_same_number(wide):
    # 17 columns: whole vectors and a remainder.
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    for half, exact in zip(halves, halves.astype(np.float64), strict=True):
        largest, smallest, _, _ = scan(Rows(np.full((1, 17), half), None, 1.0, False, wide))
        if np.isfinite(exact):
            assert largest == smallest == exact
        else:  # infinities are read as +-65536, and NaN as something that a table refuses
            assert abs(largest if exact > 0 else smallest) >= 65536
            assert largest == smallest or np.isnan(exact)


def test_mixtures_of_the_wrong_size_are_refused():
    loglik, _ = rows_of(5, 3, "f4")
    rows = Rows(loglik, None, 1.0, False, False)
    with pytest.raises(ValueError, match="2 shares for 3"):
        rows.sums(np.ones(2))
    with pytest.raises(ValueError, match="4 shares for 3"):
        rows.losses(np.ones((1, 4)))


def test_rows_refuse_weights_and_bins_of_another_length():
    loglik = np.zeros((20, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="the others require"):
        Rows(loglik, np.ones(19), 1.0, False, False)
    rows = Rows(loglik, None, 1.0, False, False)
    with pytest.raises(ValueError, match="the others require"):
        rows.pack(None, np.ones(21), 1.0, False)
    with pytest.raises(ValueError, match="the others require"):
        rows.gradients(np.full((1, 3), 1 / 3), np.zeros(19, dtype=np.int32), np.ones((1, 1), dtype=np.float32))


ISA_CHECK = """
import json, sys
import numpy as np
from mixfast import reference
from mixfast._engine.backend.rows import Rows, isa, resample, scan

worst = 0.0
for n, k in [(1, 1), (7, 3), (33, 16), (100, 17), (513, 33), (64, 70), (20, 300)]:
    for dtype in ("f2", "f4", "f8"):
        rng = np.random.default_rng([n, k])
        loglik = (2 * rng.normal(size=(n, k)) - 4).astype(dtype)
        w, c = rng.dirichlet(np.ones(k)), rng.exponential(size=n) / n
        top = loglik.astype("f8").max(axis=1)
        want = reference.row_pass(np.exp(loglik.astype("f8") - top[:, None]), top, c, w)
        for wide in (True, False):
            for shift in (True, False):
                for packed in (True, False):
                    trash = [np.full(s, np.nan) for s in (8, 64, 512, 2048, 8192)]
                    del trash
                    rows = Rows(loglik, c, 1 / n, shift, wide, None, not shift)
                    rows = rows.pack(None, c, 1 / n, wide, 1) if packed else rows
                    value, gradient, hessian = rows.sums(w, True, True)
                    scale = 1e-12 if wide else 3e-6
                    for found, right in [
                        (value, want.value), (gradient, want.gradient), (hessian, want.hessian),
                        (rows.sums(w)[1], want.gradient), (rows.losses(w[None])[0], want.value),
                        (rows.gradients(w[None])[0] / 20, want.gradient / 20),
                        (rows.sums(w, True, 1, 1, True)[1] / 4, want.gradient / 4),
                        (rows.sums(w, True, 1, 1, True)[2] / 4, want.hessian / 4),
                    ]:
                        size = max(np.abs(right).max(), 1.0 if np.ndim(right) == 0 else 0.0)
                        error = np.abs(found - right).max() / size / scale
                        worst = max(worst, error if error == error else np.inf)
json.dump({"isa": isa(), "worst": float(worst)}, sys.stdout)
"""


@pytest.mark.process
@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_every_instruction_set(isa, tmp_path):
    import mixfast

    root = str(Path(mixfast.__file__).parent.parent)
    environment = {**os.environ, "MIXFAST_ISA": isa, "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", ISA_CHECK], env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["worst"] < 1.0, result
    order = ["baseline", "avx2", "avx512"]
    assert order.index(result["isa"]) <= order.index(isa)
