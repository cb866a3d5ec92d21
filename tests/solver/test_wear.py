"""Repeated tokens that wear out: the optimum of a conic solver, with certificate, prices and everything built on a solve."""

import itertools
import math
import pickle

import numpy as np
import pytest
from makers import solved, tokens

from mixfast import ExpertTable, Region, reference, solve
from mixfast._engine.objectives.wear import Wear
from mixfast._engine.objectives.worn import Worn
from mixfast.errors import AlignmentError, RegionError
from mixfast.solver import bootstrap, holdout, path, solve_doubts

pytestmark = pytest.mark.filterwarnings("ignore::mixfast.errors.MixfastWarning")

NAMES = ("web", "code", "books", "maths", "wiki")
TOKENS = dict(zip(NAMES, (700, 150, 100, 30, 20), strict=True))


def table(rows=400, seed=0, groups=1, **options):
    loglik = tokens(rows, 5, seed=seed, spread=1.0, lift=2.5, level=-6.0, shares=[0.1, 0.1, 0.2, 0.25, 0.35])
    return ExpertTable.from_loglik(loglik, domains=NAMES, group=np.arange(rows) % groups, **options)


def region(**limits):
    return Region.from_tokens(TOKENS, 1000, max_epochs=limits.pop("max_epochs", 1000), **limits)


@pytest.mark.parametrize("repeats", [0.3, 2.0, 15.4])
@pytest.mark.parametrize("kl", [0.0, 0.1])
def test_the_optimum_is_that_of_a_conic_solver(repeats, kl):
    data = table(rows=150, groups=2)
    for where in (
        region(),
        region(max_epochs=3),
        region(bounds={"text": (["web", "wiki"], 0.3, 0.5)}, floor={"web": 0.1}),
    ):
        found = solved(data, where, kl=kl, wear=repeats)
        conic = reference.solve_cvxpy(data, where, kl=kl, wear=repeats)
        assert found.value == pytest.approx(conic.value, abs=2e-7)
        np.testing.assert_allclose(found.mixture.weights, conic.weights, atol=2e-3)


def test_the_worst_group_and_squares_of_weights():
    data = table(groups=3)
    for objective in ("worst", {"group_0": 1.0, "group_2": 3.0}):
        found = solved(data, region(), wear=2.0, objective=objective)
        conic = reference.solve_cvxpy(data, region(), wear=2.0, objective=objective)
        assert found.value == pytest.approx(conic.value, abs=3e-7)


def test_wear_lies_between_no_repeats_and_endless_ones():
    data = table()
    epochs = [max(solved(data, region(), wear=repeats).epochs.values()) for repeats in (0.1, 1.0, 15.4, 1e9)]
    assert epochs == sorted(epochs)
    free, endless = solved(data, region()), solved(data, region(), wear=1e12)
    assert endless.value == pytest.approx(free.value, abs=1e-8)
    assert max(free.epochs.values()) == pytest.approx(epochs[-1], abs=0.05)
    # If repeats have no value, the optimum is the natural mixture, which reads every token once.
    least = solved(data, region(), wear=1e-4)
    assert least.mixture.total_variation(region().prior) < 1e-3
    losses = [solved(data, region(), wear=repeats).loss for repeats in (0.1, 1.0, 15.4)]
    assert losses == sorted(losses, reverse=True)


def test_slopes_and_curves_are_those_of_the_shares():
    wear = Wear(np.array([0.3, 0.1, 0.05, 0.0]), np.array([2.0, 2.0, 0.5, 2.0]))
    for w in (np.array([0.2, 0.3, 0.5, 0.0]), np.array([0.31, 0.05, 0.64, 0.0])):
        step = 1e-6
        ahead, behind, here = (wear.worth(w + d) for d in (step, -step, 0.0))
        np.testing.assert_allclose((ahead.share - behind.share) / (2 * step), here.slope, atol=1e-8)
        np.testing.assert_allclose((ahead.slope - behind.slope) / (2 * step), here.curve, atol=1e-7)


def test_large_tables_sample_and_work_on_few_domains_at_a_time():
    rng = np.random.default_rng(3)
    names = [f"d{k}" for k in range(150)]
    loglik = rng.normal(-3.0, 1.0, size=(40_000, 150)).astype(np.float32)
    loglik[np.arange(40_000), rng.integers(0, 12, 40_000)] += 2.0
    where = Region.from_tokens({name: 10 + k for k, name in enumerate(names)}, 9_000, max_epochs=100)
    found = solved(ExpertTable.from_loglik(loglik, domains=names), where, wear=5.0)
    assert max(found.epochs.values()) > 2.5


def test_what_is_built_on_a_solve_wears_too():
    data = table(rows=1200, groups=2, sequence=np.arange(1200) // 4)
    where = region(max_epochs=20)
    found = solved(data, where, wear=3.0)
    # Ranges: both ends are reached, with wear.
    for low, high in found.ranges(1e-3).values():
        assert low < high
    draws = bootstrap(data, where, solution=found, replicates=40)
    assert draws.error < 0.2
    for name, (low, high) in draws.intervals.items():
        assert low - 0.02 <= found.mixture[name] <= high + 0.02
    # Groups and held-out losses use effective shares.
    worth = Wear(where.available / where.target_tokens, np.full(5, 3.0)).worth(found.mixture.weights).share
    assert [found.group_losses[name] for name in data.group_names] == pytest.approx(
        reference.group_pass(data, worth)[0].tolist(), abs=1e-9
    )
    best = holdout(data, where, wear=3.0).rows
    assert {row.name for row in best} >= {"mixfast", "uniform", "eg-paper"}
    fitted = {row.name: row.fit_loss for row in best}
    assert fitted["mixfast"] < min(fitted["uniform"], fitted["prior"], fitted["eg-paper"])
    assert found.unconstrained.value <= found.value + 1e-8
    one, two = path(data, where, kl=[0.0, 0.1], wear=3.0)
    assert one.value == pytest.approx(found.value, abs=1e-8)
    assert two.mixture.total_variation(where.prior) < one.mixture.total_variation(where.prior)


def test_prices_are_what_limits_cost_under_wear():
    data, step = table(), 1e-4
    where = region(max_epochs=5)
    found = solved(data, where, wear=4.0)
    price = next(one for one in found.shadow_prices if one.limit == "cap")
    caps = dict(zip(NAMES, where.cap.tolist(), strict=True))
    caps[price.name] += step
    loosened = solve(data, region(cap=caps), wear=4.0, tol=1e-11)
    assert (found.value - loosened.value) / step == pytest.approx(price.price, rel=0.02)


def test_backends_and_orders_agree():
    data = table(groups=2)
    found = solved(data, region(), wear=2.0)
    slow = solve(data, region(), wear=2.0, backend="reference")
    assert slow.value == pytest.approx(found.value, abs=1e-8)
    turned = Region.from_tokens(dict(reversed(TOKENS.items())), 1000, max_epochs=1000)
    assert solve(data, turned, wear=2.0).value == pytest.approx(found.value, abs=1e-12)
    wide = ExpertTable.from_loglik(np.tile(data.loglik, (400, 1)).astype(np.float32), domains=NAMES)
    assert solved(wide, region(), wear=2.0).value == pytest.approx(found.value, abs=1e-6)


def test_domains_without_tokens_stay_out():
    none = TOKENS | {"maths": 0}
    found = solve(table(), Region.from_tokens(none, 1000, max_epochs=1000), wear=2.0)
    assert found.mixture["maths"] == 0.0
    assert found.status == "optimal"


BY_DOMAIN = {"web": 0.5, "code": 2.0, "books": 15.4, "maths": math.inf, "wiki": 40.0}


@pytest.mark.parametrize("seed", range(4))
def test_the_optimum_with_wear_by_domain_is_that_of_a_conic_solver(seed):
    rng = np.random.default_rng(seed)
    wear = {name: float(10.0 ** rng.uniform(-1, 2)) for name in reversed(NAMES)}
    wear[NAMES[seed]] = math.inf
    data = table(rows=150, seed=seed, groups=2)
    where = region(bounds={"text": (["web", "wiki"], 0.3, 0.5)}) if seed % 2 else region(max_epochs=6)
    for options in ({}, {"kl": 0.1}, {"objective": "worst"}):
        found = solved(data, where, wear=wear, **options)
        conic = reference.solve_cvxpy(data, where, wear=wear, **options)
        assert found.value == pytest.approx(conic.value, abs=3e-7)
        np.testing.assert_allclose(found.mixture.weights, conic.weights, atol=3e-3)


@pytest.mark.parametrize("objective", [None, "worst"])
def test_equal_numbers_by_domain_are_the_same_bits_as_one_number(objective):
    data = table(groups=2)
    one = solve(data, region(), wear=15.4, kl=0.02, objective=objective)
    each = solve(data, region(), wear=dict.fromkeys(NAMES, 15.4), kl=0.02, objective=objective)
    np.testing.assert_array_equal(one.mixture.weights, each.mixture.weights)
    assert (one.value, one.gap, one.group_losses) == (each.value, each.gap, each.group_losses)
    assert one.wear == 15.4
    assert each.wear == each.to_dict()["wear"] == dict.fromkeys(NAMES, 15.4)


def test_repeats_that_count_fully_are_as_without_wear():
    data = table(groups=2)
    free = solved(data, region())
    endless = solved(data, region(), wear=dict.fromkeys(NAMES, math.inf))
    np.testing.assert_array_equal(endless.mixture.weights, free.mixture.weights)
    assert endless.value == free.value
    some = solved(data, region(), wear=BY_DOMAIN)
    assert some.value > free.value
    assert some.epochs["maths"] > solved(data, region(), wear=BY_DOMAIN | {"maths": 1.0}).epochs["maths"] + 0.1


def test_wear_by_domain_is_followed_by_everything_that_is_built_on_a_solve():
    data = table(rows=1200, groups=2, sequence=np.arange(1200) // 4)
    where = region(max_epochs=20)
    found = solved(data, where, wear=BY_DOMAIN)
    worth = Wear(where.available / where.target_tokens, np.array([BY_DOMAIN[name] for name in NAMES]))
    share = worth.worth(found.mixture.weights).share
    assert list(found.group_losses.values()) == pytest.approx(reference.group_pass(data, share)[0].tolist(), abs=1e-9)
    assert found.losses(found.mixture)[0] == pytest.approx(found.loss, abs=1e-12)
    assert found.losses(found.mixture, table=data)[0] == pytest.approx(found.loss, abs=1e-12)
    assert solve(data, where, wear=BY_DOMAIN, backend="reference").value == pytest.approx(found.value, abs=1e-8)
    turned = Region.from_tokens(dict(reversed(TOKENS.items())), 1000, max_epochs=20)
    assert solve(data, turned, wear=dict(reversed(BY_DOMAIN.items()))).value == pytest.approx(found.value, abs=1e-12)
    draws = bootstrap(data, where, solution=found, wear=dict(reversed(BY_DOMAIN.items())), replicates=20)
    assert draws.error < 0.2
    with pytest.raises(ValueError, match="wear"):
        bootstrap(data, where, solution=found, wear=BY_DOMAIN | {"web": 0.6}, replicates=20)
    for low, high in found.ranges(1e-3).values():
        assert low < high
    (alone,) = path(data, where, kl=[0.0], wear=BY_DOMAIN)
    assert alone.value == pytest.approx(found.value, abs=1e-8)
    assert holdout(data, where, wear=BY_DOMAIN).solution.wear == BY_DOMAIN
    assert pickle.loads(pickle.dumps(found)).wear == BY_DOMAIN
    header, *rows = found.summary().splitlines()[:6]
    assert [
        dict(zip(header.split(), row.split(), strict=False))["wear"] for row in rows if row.startswith("maths")
    ] == ["inf"]
    assert "as the column wear says" in found.summary()


def test_repeats_without_wear_are_doubted_by_domain():
    found = solve(table(), region(), wear=BY_DOMAIN)
    assert found.epochs["maths"] > 2.0
    assert [doubt for doubt in solve_doubts(found) if "repeats of maths count as much as new tokens" in doubt]
    assert not [doubt for doubt in solve_doubts(solve(table(), region(), wear=15.4)) if "as much as new" in doubt]


def test_a_mapping_has_a_number_above_0_for_every_domain():
    data = table()
    without = {name: repeats for name, repeats in BY_DOMAIN.items() if name != "books"}
    with pytest.raises(AlignmentError, match=r"no number for books.*fromkeys"):
        solve(data, region(), wear=without)
    with pytest.raises(AlignmentError, match=r"cod.*did you mean code"):
        solve(data, region(), wear=BY_DOMAIN | {"cod": 1.0})
    for bad in (0.0, -1.0, math.nan, -math.inf, "often", None):
        with pytest.raises(ValueError, match=r"web.*above 0"):
            solve(data, region(), wear=BY_DOMAIN | {"web": bad})


THRESHOLDS = {"web": 15.4, "code": "2.5 epochs", "books": "4 epochs", "maths": "6 epochs", "wiki": math.inf}


@pytest.mark.parametrize("seed", range(2))
def test_the_optimum_with_thresholds_is_that_of_a_conic_solver(seed):
    data = table(rows=150, seed=seed, groups=2)
    for options in ({}, {"kl": 0.1}, {"objective": "worst"}):
        found = solved(data, region(), wear=THRESHOLDS, **options)
        conic = reference.solve_cvxpy(data, region(), wear=THRESHOLDS, **options)
        # The corner of the solver is rounded within 0.01 epochs.
        assert conic.value - 5e-4 < found.value < conic.value + 1e-7


def test_a_threshold_is_a_cap_that_needs_no_limit():
    """Beyond it tokens are worth nothing, so the best mixture does not read more, and the caps have the same optimum."""
    data = table(groups=2)
    limits = {"web": 3.0, "code": 2.5, "books": 4.0, "maths": 6.0, "wiki": 5.0}
    found = solved(data, region(), wear={name: f"{epochs} epochs" for name, epochs in limits.items()})
    capped = solved(data, region(max_epochs=limits))
    assert found.value == pytest.approx(capped.value, abs=2e-4)
    assert all(found.epochs[name] <= epochs + 0.05 for name, epochs in limits.items())
    everywhere = solved(data, region(), wear="4 epochs")
    assert everywhere.value == pytest.approx(solved(data, region(max_epochs=4)).value, abs=2e-4)
    assert everywhere.wear == "4 epochs"
    assert "fully up to 4 epochs, and nothing beyond" in everywhere.summary()


def test_thresholds_are_followed_by_everything_that_is_built_on_a_solve(tmp_path):
    data = table(rows=1200, groups=2, sequence=np.arange(1200) // 4)
    where = region(max_epochs=20)
    found = solved(data, where, wear=THRESHOLDS)
    assert found.losses(found.mixture)[0] == pytest.approx(found.loss, abs=1e-12)
    assert solve(data, where, wear=THRESHOLDS, backend="reference").value == pytest.approx(found.value, abs=1e-8)
    assert bootstrap(data, where, solution=found, wear=THRESHOLDS, replicates=20).error < 0.2
    assert pickle.loads(pickle.dumps(found)).wear == found.to_dict()["wear"] == THRESHOLDS
    for low, high in found.ranges(1e-3).values():
        assert low < high
    assert "2.5 epochs" in found.summary()
    assert "epochs: later ones count nothing" in found.summary()
    assert [doubt for doubt in solve_doubts(found) if "repeats of wiki count as much" in doubt]
    (tmp_path / "parts").mkdir()
    for rows in (slice(0, 400), slice(400, 1200)):
        np.savez(tmp_path / "parts" / f"part-{rows.start}.npz", loglik=data.loglik[rows], domains=NAMES)
    alone = solved(ExpertTable.from_loglik(data.loglik, domains=NAMES), where, wear=THRESHOLDS)
    parts = ExpertTable.load(tmp_path / "parts")
    assert solve(parts, where, wear=THRESHOLDS).value == pytest.approx(alone.value, abs=1e-8)
    for bad in ("0 epochs", "-1 epochs", "inf epochs", "nan epochs", "many epochs", "4 tokens"):
        with pytest.raises(ValueError, match=r"web.*such as '4 epochs'"):
            solve(data, where, wear=THRESHOLDS | {"web": bad})
        with pytest.raises(ValueError, match=r"such as '4 epochs'"):
            solve(data, where, wear=bad)


def test_bad_input_says_what_is_wrong():
    data = table()
    with pytest.raises(RegionError, match="token counts"):
        solve(data, wear=15.4)
    with pytest.raises(RegionError, match="token counts"):
        solve(data, Region(NAMES, cap=0.5), wear=15.4)
    for bad in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="above 0"):
            solve(data, region(), wear=bad)
    squares = ExpertTable.from_predictions(np.ones((4, 5)), np.zeros(4), domains=NAMES)
    with pytest.raises(ValueError, match="log-likelihoods"):
        solve(squares, region(), wear=15.4)
    with pytest.raises(ValueError, match="eg-paper"):
        solve(data, region(), wear=15.4, method="eg-paper")


def test_the_objective_is_convex_along_lines():
    data = table(rows=50)
    worn = Worn(_rows(data), Wear(np.array([0.7, 0.15, 0.1, 0.03, 0.02]), np.array([1.5, 0.2, np.inf, 15.4, 3.0])))
    rng = np.random.default_rng(1)
    points = rng.dirichlet(np.full(5, 0.5), 30)
    for a, b in itertools.pairwise(points):
        ends, middle = worn.losses(np.stack([a, b])).mean(), worn.losses((0.5 * (a + b))[None])[0]
        assert middle <= ends + 1e-12


def _rows(data):
    from mixfast._engine.objectives.base import Sum
    from mixfast._engine.objectives.rows import TableRows

    return TableRows.of(data, threads=1).cross_entropy(Sum(None, 1.0 / len(data)))
