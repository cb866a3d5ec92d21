"""bootstrap(): every replicate is the optimum of its own re-weighted table, and the reported numbers are correct."""

import numpy as np
import pytest
from makers import tokens

from mixfast import ExpertTable, Region, reference, solve
from mixfast.errors import MixfastWarning
from mixfast.solver import _replicates, _resample, bootstrap

pytestmark = pytest.mark.filterwarnings("ignore::mixfast.errors.MixfastWarning")

REGIONS = {
    "simplex": lambda d: None,
    "caps": lambda d: Region(d, cap=0.3),
    "floors": lambda d: Region(d, floor=0.05),
    "groups": lambda d: Region(d, bounds={"first": (d[:2], 0.1, 0.2), "last": (d[4:], None, 0.25)}),
    "prior": lambda d: Region(d, prior=[1, 2, 3, 4, 5, 6], cap=0.4),
    "fixed": lambda d: Region(d, cap={d[1]: 0.25, d[2]: 0.0}, floor={d[1]: 0.25}),
}


def weights_of(table, replicates, seed=0):
    """Return row weights (R, n) of each replicate that `bootstrap` samples with that seed."""
    unit, group, _ = _resample._units(table)
    counts = _resample._draw(np.random.default_rng(seed), unit, group, table, replicates)
    return counts.astype(np.float64)[:, unit] * table.row_weight


def check(table, region, kl, checked=8, replicates=60, **options):
    """Check that the shares of some replicates are those of separate solves; return the bootstrap."""
    found = bootstrap(table, region, kl=kl, replicates=replicates, **options)
    weights = weights_of(table, replicates)
    spread = found.shares.std(axis=0, ddof=1)
    unit = np.maximum(spread, 0.01 * spread.max())
    errors = []
    for shares, weight in zip(found.shares[:checked], weights, strict=False):
        assert (region or Region(table.domains)).contains(shares, 1e-9)
        again = ExpertTable.from_loglik(table.loglik, weight=np.maximum(weight, 1e-12 * weight.max()))
        own = solve(again, region, kl=kl, tol=1e-10).mixture.weights
        errors.append(np.abs(shares - own) / unit)
    assert np.sqrt(np.mean(np.square(errors), axis=0)).max() <= 0.02
    assert np.max(errors) <= 0.1
    assert found.error <= 0.1
    return found


@pytest.mark.parametrize("kl", [0.0, 0.05])
@pytest.mark.parametrize("limits", REGIONS)
def test_replicates_are_solves_of_the_resampled_table(limits, kl):
    table = ExpertTable.from_loglik(tokens(600), sequence=np.arange(600) // 2)
    few = {"checked": 4, "replicates": 16} if limits == "groups" else {}
    assert check(table, REGIONS[limits](table.domains), kl, **few).units == 300


def test_replicates_under_a_faint_kl():
    """Shares that are almost zero in one replicate and large in another."""
    table = ExpertTable.from_loglik(tokens(400, 8, seed=3))
    check(table, None, 1e-4)


@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_replicates_of_a_large_table(dtype):
    table = ExpertTable.from_loglik(tokens(40_000, 8).astype(dtype))
    assert check(table, None, 0.0, checked=4).units == 4096


def test_replicates_of_near_copies():
    """Shares that move between two experts that are almost identical."""
    loglik = tokens(800, 6)
    loglik[:, 5] = loglik[:, 0] + 1e-3 * np.random.default_rng(1).normal(size=800)
    check(ExpertTable.from_loglik(loglik), None, 0.0)


def test_replicates_of_rows_that_one_expert_explains():
    """A replicate without any row of an expert gives the expert no share, and its rows no probability."""
    rng = np.random.default_rng(0)
    loglik = -1000.0 * rng.random((120, 5)) - 2000.0
    best = np.minimum(rng.geometric(0.5, size=120) - 1, 4)
    loglik[np.arange(120), best] = -100.0
    found = check(ExpertTable.from_loglik(loglik, length=np.full(120, 100)), None, 0.0)
    unit, group, _ = _resample._units(found.solution.table)
    counts = _resample._draw(np.random.default_rng(0), unit, group, found.solution.table, 60)
    shares = np.array([np.bincount(best, weights=row, minlength=5) for row in counts]) / 120
    np.testing.assert_allclose(found.shares, shares, atol=1e-3)


def test_a_replicate_that_does_not_come_close_is_solved_on_its_own(monkeypatch):
    monkeypatch.setattr(_replicates, "_SWEEPS", 0)
    table = ExpertTable.from_loglik(tokens(300))
    check(table, Region(table.domains, cap=0.3), 0.0, replicates=12)


@pytest.mark.parametrize(("limits", "kl"), [("simplex", 0.0), ("caps", 0.0), ("prior", 0.05), ("groups", 0.0)])
def test_the_gap_is_that_of_the_shares(limits, kl):
    """If all replicates are checked, the reported gap is the largest of their gaps."""
    table = ExpertTable.from_loglik(tokens(500))
    region = REGIONS[limits](table.domains)
    found = bootstrap(table, region, kl=kl, replicates=8)
    where = region or Region(table.domains)
    gaps = []
    for shares, weight in zip(found.shares, weights_of(table, 8), strict=True):
        slope = reference.gradient(table.loglik, weight, shares)
        slope = slope + kl * (np.log(shares / where.prior) + 1.0) if kl else slope
        gaps.append(reference.frank_wolfe_gap(slope, shares, where))
    assert found.gap == pytest.approx(max(gaps), rel=1e-3, abs=1e-9)


def test_units_are_sequences_or_blocks_of_them():
    rng = np.random.default_rng(0)
    sequence, group = rng.integers(0, 40, size=500), rng.integers(0, 2, size=500)
    table = ExpertTable.from_loglik(tokens(500), sequence=sequence, group=group)
    unit, groups, _ = _resample._units(table)
    rows = [slice(*table.group_offsets[g : g + 2]) for g in range(2)]
    for g in range(2):
        pairs = set(zip(unit[rows[g]].tolist(), table.sequence[rows[g]].tolist(), strict=True))
        assert len(pairs) == np.unique(unit[rows[g]]).size == np.unique(table.sequence[rows[g]]).size
        assert set(unit[rows[g]]) == set(np.flatnonzero(groups == g))
    blocks, groups, _ = _resample._units(ExpertTable.from_loglik(tokens(10_000)))
    assert groups.size == 4096
    assert np.all(np.diff(blocks) >= 0)
    assert np.bincount(blocks).max() == 3


def test_a_draw_keeps_the_weight_of_each_group():
    rng = np.random.default_rng(0)
    table = ExpertTable.from_loglik(
        tokens(700), weight=rng.exponential(size=700), group=rng.integers(0, 3, size=700), sequence=np.arange(700) // 3
    )
    weights = weights_of(table, 9)
    for g in range(3):
        rows = slice(*table.group_offsets[g : g + 2])
        np.testing.assert_allclose(weights[:, rows].sum(axis=1), table.row_weight[rows].sum(), rtol=1e-6)
    unit, group, _ = _resample._units(ExpertTable.from_loglik(tokens(500)))
    counts = _resample._draw(rng, unit, group, ExpertTable.from_loglik(tokens(500)), 4000)
    assert np.all(counts.sum(axis=1) == 500)
    assert counts.mean() == 1.0
    assert counts.var() == pytest.approx(1.0 - 1 / 500, abs=0.01)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"kl": 0.2}, "kl=0.2"),
        ({"wear": 3.0}, "wear=3.0"),
        ({"objective": "worst"}, "objective"),
        ({"region": Region(["domain_0", "domain_1", "domain_2", "domain_3"], cap=0.5)}, "region"),
        ({"table": "other"}, "table"),
    ],
)
def test_what_contradicts_the_solution_is_refused(given, named):
    rows = np.log(np.random.default_rng(0).dirichlet(np.ones(4), 200))
    data = ExpertTable.from_loglik(rows)
    found = solve(data, kl=0.1, backend="cpu")
    given = dict(given)
    table = ExpertTable.from_loglik(rows[::-1].copy()) if given.pop("table", None) else data
    with pytest.raises(ValueError, match=named):
        bootstrap(table, given.pop("region", None), solution=found, **given)
    again = ExpertTable.from_loglik(rows.copy())
    same = bootstrap(again, Region(data.domains), solution=found, kl=0.1, replicates=20)
    np.testing.assert_array_equal(same.shares, found.bootstrap(replicates=20).shares)


def test_too_few_sequences_are_warned_of_where_the_user_called():
    few = ExpertTable.from_loglik(np.log(np.random.default_rng(0).dirichlet(np.ones(3), 10)))
    found = solve(few)
    for call in (lambda: bootstrap(few, solution=found, replicates=5), lambda: found.bootstrap(replicates=5)):
        with pytest.warns(MixfastWarning, match="too narrow") as caught:
            call()
        assert caught[0].filename == __file__


@pytest.mark.parametrize("limits", ["simplex", "caps", "floors", "groups"])
@pytest.mark.parametrize("rows", [40, 400])
def test_replicates_of_squared_errors_are_solves_of_the_resampled_table(limits, rows):
    rng = np.random.default_rng(rows)
    prediction = rng.normal(size=(rows, 1)) + rng.normal(size=(rows, 120))
    target = prediction[:, :6].mean(axis=1) + 0.5 * rng.normal(size=rows)
    table = ExpertTable.from_predictions(prediction, target, domains=[f"d{k}" for k in range(120)])
    region = None
    if limits == "groups":
        region = Region(table.domains, bounds={"first": (table.domains[:2], 0.1, 0.2)})
    elif limits != "simplex":
        region = Region(table.domains, **({"cap": 0.1} if limits == "caps" else {"floor": 0.002}))
    found = bootstrap(table, region, replicates=8)
    for shares, weight in zip(found.shares, weights_of(table, 8), strict=True):
        again = ExpertTable.from_predictions(prediction, target, domains=table.domains, weight=weight)
        own = solve(again, region, tol=1e-12)
        assert own.losses(shares[None])[0] == pytest.approx(own.value, abs=1e-9)
        assert shares == pytest.approx(own.mixture.weights, abs=1e-4)
        assert (region or Region(table.domains)).contains(shares, 1e-9)
    assert found.gap <= 1e-8
