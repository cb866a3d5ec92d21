"""Candidates: RegMix's simulation and samples inside limits: positions, distribution and exactness."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mixfast.designs import _candidates
from mixfast.errors import InfeasibleError, RegionError
from mixfast.region import Region

pytest.importorskip("numba")
hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, pytest.importorskip("hypothesis.strategies")

LOW, HIGH = np.array([0.0, 0.05, 0.0, 0.1, 0.0]), np.array([0.3, 0.4, 0.25, 0.5, 1.0])


@st.composite
def limits(draw):
    """Draw floors and caps around a mixture, loose or tight: caps may sum to 1, shares may be fixed."""
    size = draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    point = rng.dirichlet(np.full(size, draw(st.sampled_from([0.2, 1.0, 10.0]))))
    down, up = draw(st.sampled_from([0.0, 1e-9, 0.3, 1.0])), draw(st.sampled_from([0.0, 1e-9, 0.3, 10.0]))
    low = np.maximum(point - down * rng.random(size), 0.0)
    return low, np.minimum(point + up * rng.random(size), 1.0)


def check_inside(rows, low, high):
    # Limits that sum to 1 only up to rounding can be satisfied only up to rounding.
    slack = 1e-14 if math.fsum(high) < 1.0 + 1e-12 or math.fsum(low) > 1.0 - 1e-12 else 0.0
    assert np.all(rows >= low - slack)
    assert np.all(rows <= high + max(slack, 2.0**-52 * (high - low < 2.0**-51).any()))
    assert np.all(rows >= 0.0)
    assert np.all(rows.sum(axis=1) == 1.0)
    assert np.all(rows[:, ::-1].cumsum(axis=1)[:, -1] == 1.0)


@settings(max_examples=60)
@given(limits(), st.integers(0, 5))
def test_every_sample_is_a_mixture_within_the_limits(pair, seed):
    low, high = pair
    check_inside(_candidates.uniform(low, high, 20, seed=seed), low, high)
    centre = np.random.default_rng(seed).dirichlet(np.full(low.size, 0.3))
    for strength in (0.1, 3.0, 1000.0):
        check_inside(_candidates.around(centre, strength, low, high, 20, seed=seed), low, high)


def test_uniform_is_uniform_on_the_whole_simplex():
    rows = _candidates.uniform(np.zeros(4), np.ones(4), 40_000, seed=1)
    # Under the flat Dirichlet distribution, each share is Beta(1, 3).
    for power in (1, 2, 3):
        exact = np.prod([(1 + i) / (4 + i) for i in range(power)])
        assert (rows**power).mean(axis=0) == pytest.approx(np.full(4, exact), rel=0.03)
    assert np.cov(rows.T)[0, 1] == pytest.approx(-1 / 80, rel=0.06)


def test_uniform_within_limits_has_the_law_of_rejection():
    flat = np.random.default_rng(5).dirichlet(np.ones(5), 400_000)
    kept = flat[np.all((flat >= LOW) & (flat <= HIGH), axis=1)]
    rows = _candidates.uniform(LOW, HIGH, 40_000, seed=2)
    assert len(kept) > 20_000
    assert rows.mean(axis=0) == pytest.approx(kept.mean(axis=0), abs=0.003)
    assert np.cov(rows.T) == pytest.approx(np.cov(kept.T), abs=6e-4)
    tails = np.array([0.05, 0.5, 0.95])
    assert np.quantile(rows, tails, axis=0) == pytest.approx(np.quantile(kept, tails, axis=0), abs=0.006)


def test_neighbouring_rows_are_nearly_independent():
    rows = _candidates.uniform(np.zeros(17), np.full(17, 0.2), 20_000, seed=3)
    moved = rows - rows.mean(axis=0)
    lag = (moved[1:] * moved[:-1]).mean(axis=0) / moved.var(axis=0)
    assert np.abs(lag).max() < 0.06


def test_wide_ranges_move_though_most_are_narrow():
    low, high = np.zeros(202), np.full(202, 1e-5)
    high[:2] = 1.0
    rows = _candidates.uniform(low, high, 4000, seed=4)
    assert rows[:, 0].mean() == pytest.approx(0.5, abs=0.03)
    assert rows[:, 0].std() == pytest.approx(1 / math.sqrt(12), abs=0.02)


def test_around_is_dirichlet_where_the_limits_are_far():
    centre = np.array([0.5, 0.3, 0.2, 0.0])
    rows = _candidates.around(centre, 20.0, np.zeros(4), np.ones(4), 40_000, seed=6)
    assert rows.mean(axis=0) == pytest.approx(centre, abs=0.003)
    assert rows.std(axis=0) == pytest.approx(np.sqrt(centre * (1 - centre) / 21.0), rel=0.02)


def test_around_moves_draws_to_the_nearest_mixture_within_the_limits():
    scipy = pytest.importorskip("scipy.optimize")
    centre, low, high = np.array([0.6, 0.2, 0.15, 0.05]), np.array([0.0, 0.0, 0.1, 0.0]), np.array([0.3, 0.5, 0.6, 0.2])
    moved = _candidates.around(centre, 2.0, low, high, 12, seed=7)
    free = _candidates.around(centre, 2.0, np.zeros(4), np.ones(4), 12, seed=7)
    for x, w in zip(free, moved, strict=True):

        def total(shift, x=x):
            return np.clip(x + shift * centre, low, high).sum() - 1.0

        shift = scipy.brentq(total, -100.0, 100.0, xtol=1e-14)
        assert w == pytest.approx(np.clip(x + shift * centre, low, high), abs=1e-12)


def test_a_domain_outside_the_centre_gets_only_what_no_other_can_take():
    rows = _candidates.around([0.7, 0.3, 0.0], 5.0, np.zeros(3), [0.5, 0.5, 1.0], 50, seed=0)
    assert np.all(rows[:, 2] == 0.0)
    rows = _candidates.around([0.7, 0.3, 0.0], 5.0, np.zeros(3), [0.5, 0.2, 1.0], 50, seed=0)
    assert rows == pytest.approx(np.tile([0.5, 0.2, 0.3], (50, 1)), abs=1e-12)


def test_the_same_seed_gives_the_same_rows_and_another_one_others():
    for draw in (
        lambda seed: _candidates.uniform(LOW, HIGH, 50, seed=seed),
        lambda seed: _candidates.around(np.ones(5), 1.0, LOW, HIGH, 50, seed=seed),
    ):
        assert np.array_equal(draw(3), draw(3))
        assert not np.array_equal(draw(3), draw(4))


def test_a_region_with_bounds_on_groups():
    region = Region(["web", "code", "books", "wiki"], cap={"web": 0.5}, bounds={("code", "wiki"): (0.4, 0.6)})
    for rows in (_candidates.sample(region, 300, seed=1), _candidates.sample(region, 300, centre=region.prior, seed=1)):
        assert max(region.violation(row) for row in rows) < 1e-12
        assert rows[:, 0].std() > 0.05


def test_a_region_without_bounds_keeps_its_limits_to_the_last_bit():
    region = Region([f"d{k}" for k in range(5)], cap=HIGH, floor=LOW)
    assert max(region.violation(row) for row in _candidates.sample(region, 300)) == 0.0
    assert np.array_equal(_candidates.sample(region, 9, seed=2), _candidates.uniform(LOW, HIGH, 9, seed=2))


@pytest.mark.parametrize(
    ("low", "high", "error", "words"),
    [
        ([0.0, 0.0], [0.4, 0.4], InfeasibleError, "high to 0.8"),
        ([0.6, 0.6], [1.0, 1.0], InfeasibleError, "low sums to 1.2"),
        ([0.3, 0.5], [1.0, 0.4], InfeasibleError, r"positions \[1\]"),
        ([0.0, math.nan], [1.0, 1.0], InfeasibleError, r"positions \[1\]"),
        ([0.0], [1.0, 1.0], RegionError, "one length"),
    ],
)
def test_limits_that_leave_nothing_are_refused(low, high, error, words):
    with pytest.raises(error, match=words):
        _candidates.uniform(low, high, 3)


def test_a_centre_that_is_none_is_refused():
    for centre in ([0.0] * 5, [1.0, -1.0, 0.0, 0.0, 0.0], [1.0]):
        with pytest.raises(RegionError, match="centre must hold 5"):
            _candidates.around(centre, 1.0, LOW, HIGH, 3)
    with pytest.raises(RegionError, match="strength is 0"):
        _candidates.around(np.ones(5), 0.0, LOW, HIGH, 3)
