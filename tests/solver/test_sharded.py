"""Solves of folders of parts: the answers of the same rows in memory, the same bits for every number of ranks, and few sweeps."""

import numpy as np
import pytest

from mixfast import ExpertTable, Region, solve
from mixfast._engine.objectives import guide
from mixfast.errors import InfeasibleError
from mixfast.solver import losses, path
from mixfast.tables import ShardedTable
from tests.thread_ranks import led_by

K, ROWS = 6, 48_000
NAMES = [f"d{k}" for k in range(K)]


def planted(n=ROWS, seed=0, spread=1.0, lift=1.2):
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.full(K, 0.7))
    values = spread * rng.standard_normal((n, K))
    values[np.arange(n), rng.choice(K, n, p=share)] += lift
    return values - 9.0


def write(folder, values, parts=3, **vectors):
    folder.mkdir()
    for number in range(parts):
        rows = slice(len(values) * number // parts, len(values) * (number + 1) // parts)
        np.savez(
            folder / f"part-{number}.npz",
            loglik=values[rows],
            domains=NAMES,
            **{key: array[rows] for key, array in vectors.items()},
        )
    return folder


def both(folder, values, **vectors):
    return ExpertTable.load(write(folder, values, **vectors)), ExpertTable.from_loglik(values, domains=NAMES, **vectors)


@pytest.fixture
def guided(monkeypatch):
    """Make tables of 48 000 rows count as very large."""
    monkeypatch.setattr(guide, "_LARGE_ROWS", 20_000)
    monkeypatch.setattr(guide, "_ROWS", 8192)


@pytest.fixture
def sweeps(monkeypatch):
    """The names of the functions that were summed over all rows."""
    seen = []
    reduce = ShardedTable.reduce

    def counted(table, function, *args, size):
        if not table.sampled:
            seen.append(function.__name__)
        return reduce(table, function, *args, size=size)

    monkeypatch.setattr(ShardedTable, "reduce", counted)
    return seen


CAPPED = Region(NAMES, cap={"d0": 0.1, "d1": 0.2}, floor={"d2": 0.05})
SUPPLIED = Region.from_tokens(dict(zip(NAMES, (1e9, 2e9, 4e9, 8e9, 1e9, 5e8), strict=True)), 1e10, max_epochs=30)
PROBLEMS = {
    "plain": (None, {}),
    "caps": (CAPPED, {}),
    "excluded": (Region(NAMES, cap={"d0": 0.0}), {}),
    "limits": (Region(NAMES, bounds=[({"d0": 1.0, "d1": 1.0}, 0.0, 0.15)]), {}),
    "kl": (CAPPED, {"kl": 0.05}),
    "wear": (SUPPLIED, {"wear": 15.4}),
    "wear by domain": (SUPPLIED, {"wear": dict(zip(NAMES, (1.0, 4.0, 15.4, np.inf, 0.3, 8.0), strict=True))}),
    "worst": (CAPPED, {"objective": "worst"}),
    "weights": (None, {"objective": {"easy": 3.0, "hard": 1.0}}),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_folder_gives_the_answer_of_the_rows_in_memory_in_few_sweeps(name, tmp_path, guided, sweeps):
    region, options = PROBLEMS[name]
    values = planted()
    group = np.repeat(["easy", "hard"], [ROWS // 3, ROWS - ROWS // 3])
    parts, whole = both(tmp_path / "table", values, group=group)
    sweeps.clear()  # loading counts the rows of the groups
    expected, found = solve(whole, region, **options), solve(parts, region, **options)
    assert found.status == "optimal"
    assert len(sweeps) <= 3
    assert abs(found.value - expected.value) <= found.gap + expected.gap + 1e-9
    before = len(sweeps)
    assert found.group_losses == pytest.approx(expected.group_losses, abs=1e-6)
    assert len(sweeps) == before
    for mine, other in zip(found.shadow_prices, expected.shadow_prices, strict=True):
        assert (mine.name, mine.price) == (other.name, pytest.approx(other.price, rel=1e-4, abs=1e-6))


@pytest.mark.parametrize(
    "change",
    [
        lambda values, rng: np.where(rng.random(values.shape) < 0.2, -np.inf, values + 0.0 * rng.random()),
        lambda values, rng: np.repeat(values[:, ::2], 2, axis=1) + 1e-3 * rng.standard_normal(values.shape),
        lambda values, rng: 100.0 * values,
        lambda values, rng: values - 20.0 * rng.exponential(size=(len(values), 1)),
    ],
    ids=["impossible", "duplicates", "far", "tokens"],
)
def test_few_sweeps_for_unusual_values(change, tmp_path, guided, sweeps):
    values = change(planted(), np.random.default_rng(1))
    values[:, 0] = np.where(np.isneginf(values).all(axis=1), -9.0, values[:, 0])
    parts, whole = both(tmp_path / "table", values)
    expected, found = solve(whole), solve(parts)
    assert found.status == expected.status == "optimal"
    assert len(sweeps) <= 3
    assert found.value == pytest.approx(expected.value, rel=1e-10, abs=2e-8)


def bits(team, folder, region, options):
    table = ExpertTable.load(folder, ranks=team)
    found = solve(table, region, **options)
    prices = [(price.name, price.price.hex()) for price in found.shadow_prices]
    mixtures = np.random.default_rng(0).dirichlet(np.ones(K), 3)
    return found.mixture.weights.tobytes(), found.value, found.gap, prices, losses(table, mixtures).tobytes()


@pytest.mark.parametrize("name", ["caps", "kl", "wear", "wear by domain", "worst"])
def test_answers_have_the_same_bits_for_every_number_of_ranks_and_threads(name, tmp_path, guided):
    region, options = PROBLEMS[name]
    folder = write(tmp_path / "table", planted(), group=np.arange(ROWS) % 2, length=np.arange(ROWS) % 7 + 1)
    one = bits(None, folder, region, options | {"threads": 1})
    assert bits(None, folder, region, options | {"threads": 3}) == one
    for size in (2, 3, 8):
        assert led_by(size, lambda team: bits(team, folder, region, options)) == one


def test_earlier_answer_is_certified_by_one_sweep(tmp_path, guided, sweeps):
    parts = ExpertTable.load(write(tmp_path / "table", planted()))
    first = solve(parts, CAPPED)
    sweeps.clear()
    again = solve(parts, CAPPED, start=first.mixture)
    assert sweeps == ["sums_of_block"]
    assert again.mixture == first.mixture
    sweeps.clear()
    far = solve(parts, CAPPED, start={name: float(name == "d5") for name in NAMES})
    assert far.status == "optimal"
    assert len(sweeps) <= 4


def test_later_solves_need_fewer_sweeps(tmp_path, guided, sweeps):
    parts, whole = both(tmp_path / "table", planted())
    found, expected = solve(parts, CAPPED), solve(whole, CAPPED)
    sweeps.clear()
    assert found.unconstrained.value == pytest.approx(expected.unconstrained.value, abs=2e-8)
    assert len(sweeps) <= 2
    sweeps.clear()
    ranges, exact = found.ranges(1e-3), expected.ranges(1e-3)
    assert sweeps == ["losses_of_block"]
    for name in NAMES:
        assert ranges[name] == pytest.approx(exact[name], abs=2e-3)
    sweeps.clear()
    answers = path(parts, kl=[0.2, 0.1, 0.05])
    assert all(answer.status == "optimal" for answer in answers)
    assert len(sweeps) <= 9


def test_ends_of_ranges_are_within_eps_on_all_rows(tmp_path, guided):
    parts = ExpertTable.load(write(tmp_path / "table", planted()))
    found = solve(parts)
    for name, (low, high) in found.ranges(1e-3).items():
        for share in (low, high):
            pinned = Region(NAMES, cap={name: min(share + 1e-9, 1.0)}, floor={name: max(share - 1e-9, 0.0)})
            assert solve(parts, pinned).value <= found.value + 1e-3 + 1e-7


def test_row_that_no_usable_domain_explains_is_named_with_its_file(tmp_path):
    values = planted(600)
    values[450, 1:] = -np.inf
    parts = ExpertTable.load(write(tmp_path / "table", values))
    assert solve(parts).status == "optimal"
    with pytest.raises(InfeasibleError, match=r"part-2\.npz, row 50: probability 0"):
        solve(parts, Region(NAMES, cap={"d0": 0.0}))


def test_prices_of_an_excluded_expert_that_is_far_better_do_not_overflow(tmp_path):
    values = planted(600)
    values[:, 0] += 600.0
    parts, whole = both(tmp_path / "table", values)
    region = Region(NAMES, cap={"d0": 0.0})
    found, expected = solve(parts, region).shadow_prices, solve(whole, region).shadow_prices
    assert [price.name for price in found] == [price.name for price in expected]
    assert found[0].price == pytest.approx(expected[0].price, rel=1e-9)


def test_table_in_memory_with_very_many_rows_takes_three_sweeps(guided, monkeypatch):
    from mixfast._engine.objectives.rows_cpu import CrossEntropy

    full, sums = [], CrossEntropy.sums

    def counted(self, w, columns=None, **options):
        if self.rows == ROWS:
            full.append(options)
        return sums(self, w, columns, **options)

    monkeypatch.setattr(CrossEntropy, "sums", counted)
    table = ExpertTable.from_loglik(planted(), domains=NAMES)
    for region, options in (PROBLEMS[name] for name in ("plain", "caps", "kl", "wear")):
        full.clear()
        assert solve(table, region, **options).status == "optimal"
        assert len(full) <= 3
