"""Bootstrap and hold-out of tables in folders of parts: those of the same rows in memory, to the last bit for every number of ranks."""

import numpy as np
import pytest
from makers import parts, tokens
from thread_ranks import led_by, on_ranks

from mixfast import ExpertTable, Region, mde, solver
from mixfast.solver import _replicates, _resample
from mixfast.solver._block_units import block_units

pytestmark = pytest.mark.filterwarnings("ignore::mixfast.errors.MixfastWarning")

N, CUTS = 30_000, (18_000, 19_000, 30_000)


def facts(kind):
    rng = np.random.default_rng(0)
    sequence = np.repeat(np.arange(N), rng.integers(1, 30, N))[:N]
    for cut in CUTS[:-1]:
        sequence[cut:] += 1
    group = (np.arange(N) % 18_000 >= 7_000) * 1
    return {
        "rows": {},
        "sequences": {"sequence": sequence},
        "groups": {"sequence": sequence, "group": group},
        "weights": {"sequence": sequence, "group": group, "weight": (sequence % 4) / N},
        "lengths": {"length": 1 + np.arange(N) % 50},
    }[kind]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Return a function that makes both tables of a kind, once."""
    made = {}

    def of(kind):
        if kind not in made:
            made[kind] = parts(tmp_path_factory.mktemp(kind), CUTS, tokens(N, 5), **facts(kind))
        return made[kind]

    return of


def units_of(block, units):
    columns = slice(None) if block.columns is None else block.columns
    group = np.repeat(np.arange(block.table.n_groups), np.diff(block.table.group_offsets))
    return group, block.table.loglik[:, columns], units.bins(block)


@pytest.mark.parametrize("kind", ["rows", "sequences", "groups", "weights"])
def test_units_are_those_of_the_rows_in_memory(tables, kind):
    table, whole = tables(kind)
    units, group, merged = block_units(table, 4096 // whole.n_groups)
    of_row, loglik, bins = (np.concatenate(arrays) for arrays in zip(*table.collect(units_of, units), strict=True))
    order = np.argsort(of_row, kind="stable")
    want, groups, together = _resample._units(whole)
    np.testing.assert_array_equal(loglik[order], whole.loglik)
    np.testing.assert_array_equal(bins[order], want)
    np.testing.assert_array_equal(group, groups)
    assert merged == together


def test_sequences_whose_rows_are_apart_stay_whole(tmp_path):
    sequence = np.random.default_rng(1).integers(0, 500, N)
    table, _ = parts(tmp_path, CUTS, tokens(N, 5), sequence=sequence)
    units, group, _ = block_units(table, 4096)
    assert 800 < group.size <= 1500
    seen = {}
    for block, (_, _, bins) in zip(table.collect(ids_of), table.collect(units_of, units), strict=True):
        for part, number, unit in zip(*block, bins, strict=True):
            assert seen.setdefault((part, number), unit) == unit
    assert len(seen) > 1000
    assert set(seen.values()) == set(range(group.size))


def ids_of(block):
    return np.full(block.table.n_rows, block.start - block.first), block.table.sequence


@pytest.mark.parametrize("kind", ["rows", "groups", "weights", "lengths"])
def test_intervals_are_those_of_the_rows_in_memory(tables, kind):
    table, whole = tables(kind)
    region = Region(table.domains, cap=0.4)
    found, want = (solver.bootstrap(one, region, replicates=20, seed=3) for one in (table, whole))
    assert (found.units, found.merged) == (want.units, want.merged)
    spread = want.shares.std(axis=0, ddof=1)
    assert np.abs(found.shares - want.shares).max() <= 0.02 * spread.max()
    assert max(found.error, want.error) <= 0.1
    assert str(found).splitlines()[-1].startswith("time")


def test_one_newton_step_is_checked_and_kept_if_it_is_close(tables, monkeypatch):
    table, _ = tables("groups")
    want = solver.bootstrap(table, replicates=20)
    monkeypatch.setattr(_replicates, "_MANY_ROWS", 1)
    near = solver.bootstrap(table, replicates=20, solution=want.solution)
    spread = want.shares.std(axis=0, ddof=1)
    assert near.error <= 0.05
    assert np.abs(near.shares - want.shares).max() <= 0.1 * spread.max()
    monkeypatch.setattr(_replicates, "_ONE_STEP", 1e-4)
    monkeypatch.setattr(_replicates, "_CLOSE", 1e-4)
    again = solver.bootstrap(table, replicates=20, solution=want.solution)
    assert again.error <= 1e-3


def test_a_replicate_that_does_not_come_close_is_solved_on_its_own(tables, monkeypatch):
    table, _ = tables("weights")
    want = solver.bootstrap(table, replicates=4)
    monkeypatch.setattr(_replicates, "_SWEEPS", 0)
    found = solver.bootstrap(table, replicates=4, solution=want.solution)
    assert np.abs(found.shares - want.shares).max() <= 0.02 * want.shares.std(axis=0, ddof=1).max()


def test_wear_and_kl_are_resampled_too(tables):
    table, whole = tables("sequences")
    region = Region.from_tokens(dict.fromkeys(table.domains, 10**9), 4 * 10**9, max_epochs=8)
    found, want = (solver.bootstrap(one, region, kl=0.02, wear=5.0, replicates=8) for one in (table, whole))
    assert np.abs(found.shares - want.shares).max() <= 0.02 * want.shares.std(axis=0, ddof=1).max()


def test_one_side_of_a_split_is_resampled_and_held_out_like_its_rows(tables):
    sides = [one.select(["domain_4", "domain_1", "domain_2"]).split(0.3, seed=1)[0] for one in tables("groups")]
    region = Region(sides[0].domains, cap={"domain_1": 0.0})
    found, want = (solver.bootstrap(side, region, objective="group_1", replicates=8) for side in sides)
    assert found.units == want.units
    assert np.abs(found.shares - want.shares).max() <= 0.02 * want.shares.std(axis=0, ddof=1).max()
    fitted, expected = (solver.holdout(side, region) for side in sides)
    assert fitted.sizes == expected.sizes
    assert fitted["mixfast"].held_out_loss == pytest.approx(expected["mixfast"].held_out_loss, rel=1e-7)


@pytest.mark.parametrize("kind", ["rows", "weights"])
def test_losses_held_out_are_those_of_the_rows_in_memory(tables, kind):
    table, whole = tables(kind)
    region = Region(table.domains, cap=0.4)
    found, want = (solver.holdout(one, region, seed=1) for one in (table, whole))
    assert found.sizes == want.sizes
    assert {row.name for row in want.rows} - {row.name for row in found.rows} == {"eg-paper"}
    for row in found.rows:
        assert row.held_out_loss == pytest.approx(want[row.name].held_out_loss, rel=1e-7)
        assert row.fit_loss == pytest.approx(want[row.name].fit_loss, rel=1e-7)


def test_results_have_the_same_bits_for_every_number_of_ranks(tables):
    table, _ = tables("weights")

    def work(team):
        shared = ExpertTable.load(table.path, ranks=team)
        found = solver.bootstrap(shared, replicates=8)
        held_out = solver.holdout(shared, Region(shared.domains, cap=0.4))
        numbers = [row.held_out_loss for row in held_out.rows]
        return found.shares.tobytes(), found.gap, found.error, np.array(numbers).tobytes(), held_out.sizes

    answers = [led_by(size, work) for size in (1, 2, 3)]
    assert answers[0] == answers[1] == answers[2]


def test_every_rank_may_call_the_functions(tables):
    table, _ = tables("groups")

    def call(ranks):
        shared = ExpertTable.load(table.path, ranks=ranks)
        solution = solver.solve(shared)
        found = solution.bootstrap(replicates=4)
        fit, _ = shared.split(0.5, seed=0)
        equal = np.full(shared.n_domains, 0.2)
        return (
            found.shares.tobytes(),
            solver.holdout(shared).sizes,
            solver.solve(fit).value,
            [one.value for one in solver.path(shared, kl=[0.1, 0.01])],
            solver.losses(shared, equal).tobytes(),
            solution.losses(equal, table=fit).tobytes(),
            solution.ranges(domains=["domain_1"]),
            mde.features(shared, equal, levels=("posterior",)).values.tobytes(),
        )

    answers = on_ranks(2, call)
    assert answers[0] == answers[1] == on_ranks(1, call)[0]
