"""solve_many(): every problem has the answer and the certificate of its own solve."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from certificate import check

from mixfast import ExpertTable, Region, solve, solver
from mixfast._engine.optimise import in_cache
from mixfast.errors import AlignmentError, InfeasibleError, NotConvergedWarning, TableError

pytestmark = pytest.mark.filterwarnings("ignore:.* rows and .* domains")


def table_of(n: int = 200, k: int = 5, seed: int = 0, **options: Any) -> ExpertTable:
    rng = np.random.default_rng(seed)
    return ExpertTable.from_loglik(rng.normal(-12.0, 1.5, size=(n, k)), domains=[f"d{i}" for i in range(k)], **options)


def resampled(table: ExpertTable, count: int, seed: int = 0) -> np.ndarray:
    n = table.n_rows
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1.0 / n), size=count).astype(np.float64)


LIMITS: dict[str, Any] = {
    "none": None,
    "caps": {"cap": 0.3},
    "floors and caps": {"cap": 0.5, "floor": 0.05},
    "a cap of zero": {"cap": {"d0": 0.0}},
    "groups": {"bounds": {"pair": (["d0", "d1"], None, 0.2)}},
}


def region_of(name: str) -> Region | None:
    return None if LIMITS[name] is None else Region([f"d{i}" for i in range(5)], **LIMITS[name])


@pytest.mark.parametrize("kl", [0.0, 0.02])
@pytest.mark.parametrize("limits", LIMITS)
def test_weights_give_the_answers_of_reweighted_tables(limits: str, kl: float) -> None:
    table, region = table_of(), region_of(limits)
    weights = resampled(table, 6)
    found = solver.solve_many(table, region, weights=weights, kl=kl)
    assert len(found) == 6
    assert found.statuses == ("optimal",) * 6
    assert found.shares.shape == (6, 5)
    for b, row in enumerate(weights):
        own = ExpertTable.from_loglik(table.loglik, domains=table.domains, weight=row / table.n_rows)
        alone, one = solve(own, region, kl=kl), found[b]
        assert one.status == "optimal"
        assert one.gap == found.gaps[b] <= 1e-8
        assert one.value == found.values[b] == pytest.approx(alone.value, abs=2e-8)
        np.testing.assert_allclose(one.mixture.weights, found.shares[b], rtol=0.0, atol=1e-15)
        check(own, region, one, kl=kl)
        if region is not None:
            assert one.shadow_prices is not None


def test_groups_of_rows_and_their_weights() -> None:
    table = table_of(group=np.arange(200) % 3)
    objective = {"group_0": 1.0, "group_2": 3.0}
    weights = resampled(table, 4)
    found = solver.solve_many(table, weights=weights, objective=objective)
    for b, row in enumerate(weights):
        own = ExpertTable.from_loglik(
            table.loglik, domains=table.domains, weight=row * table.row_weight, group=table.group
        )
        assert found.values[b] == pytest.approx(solve(own, objective=objective).value, abs=2e-8)


@pytest.mark.parametrize("options", [{}, {"kl": 0.1}, {"objective": "worst"}])
def test_many_tables(options: dict[str, Any]) -> None:
    tables = [table_of(n, seed=n, group=np.arange(n) % 2) for n in (50, 300, 41)]
    found = solver.solve_many(tables, **options)
    for b, table in enumerate(tables):
        assert found[b].table is table
        assert found[b].status == "optimal"
        assert found.values[b] == solve(table, threads=1, **options).value
        assert np.array_equal(found.shares[b], found[b].mixture.weights)


def test_predictions() -> None:
    rng = np.random.default_rng(0)
    tables = [ExpertTable.from_predictions(rng.normal(size=(30, 3)), rng.normal(size=30)) for _ in range(3)]
    found = solver.solve_many(tables)
    assert found.values.tolist() == [solve(table, threads=1).value for table in tables]
    with pytest.raises(TableError, match="log-likelihoods"):
        solver.solve_many(tables[0], weights=np.ones((2, 30)))


def hard(seed: int) -> tuple[ExpertTable, Region | None, np.ndarray]:
    """Return a table with extreme values, limits without room, and weights that span many orders of magnitude."""
    rng = np.random.default_rng(seed)
    n, k = int(rng.choice([1, 2, 30, 400])), int(rng.choice([1, 2, 5, 12]))
    loglik = rng.normal(size=(n, k)) * rng.choice([0.1, 1.0, 900.0]) - 5.0
    if k > 1 and rng.random() < 0.3:
        loglik[:, -1] = loglik[:, 0]
    if rng.random() < 0.3:
        keep = rng.integers(k, size=n)  # rows of -inf but one
        loglik[np.arange(n)[:, None] * np.ones(k, dtype=int) < n // 2] = -np.inf
        loglik[np.arange(n), keep] = -2.0
    names = [f"d{i}" for i in range(k)]
    kind = rng.integers(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = ExpertTable.from_loglik(np.minimum(loglik, -1e-2), domains=names)
    region = None
    if kind == 1:
        region = Region(names, cap=1.0 / k)
    elif kind == 2:
        region = Region(names, floor=dict(zip(names, rng.dirichlet(np.ones(k)), strict=True)))
    elif kind == 3:
        region = Region(names, cap=min(2.0 / k, 1.0), floor=0.1 / k)
    weights = rng.random((5, n)) * 10.0 ** rng.choice([0, -300, 90])
    weights *= rng.choice([0.0, 1.0, 1e-12], size=(5, n), p=[0.3, 0.6, 0.1])
    weights[:, 0] = np.maximum(weights[:, 0], 10.0**-299)
    return table, region, weights


@pytest.mark.parametrize("seed", range(150))
def test_hard_problems(seed: int) -> None:
    table, region, weights = hard(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConvergedWarning)
        found = solver.solve_many(table, region, weights=weights)
    low = np.zeros(table.n_domains) if region is None else region.floor
    high = np.ones(table.n_domains) if region is None else region.cap
    prob = np.exp(table.loglik - table.loglik.max(axis=1, keepdims=True))
    for b, (w, row) in enumerate(zip(found.shares, weights, strict=True)):
        c = row * table.row_weight
        scale = max(1.0, c.sum())
        assert found.statuses[b] == "optimal"
        assert w.sum() == pytest.approx(1.0, abs=1e-12)
        assert (w >= low - 1e-15).all()
        assert (w <= high + 1e-15).all()
        counted = c > 0.0
        slope = -(c[counted] / (prob[counted] @ w)) @ prob[counted]
        best = np.zeros(w.size)
        left = 1.0 - low.sum()
        for j in np.argsort(slope):
            best[j] = low[j] + min(max(left, 0.0), high[j] - low[j])
            left -= best[j] - low[j]
        assert slope @ (w - best) <= 1.01e-8 * scale + 1e-14 * c.sum() * w.size


def test_the_number_of_threads_changes_no_bit() -> None:
    table = table_of(1000, 8, seed=1)
    weights = resampled(table, 300)
    one, two = (solver.solve_many(table, weights=weights, threads=threads) for threads in (1, 2))
    assert np.array_equal(one.shares, two.shares)
    assert np.array_equal(one.gaps, two.gaps)
    # Nor do the other problems of the call.
    assert np.array_equal(solver.solve_many(table, weights=weights[7:9]).shares, one.shares[7:9])


def test_answers_are_a_sequence() -> None:
    table = table_of()
    found = solver.solve_many(table, weights=resampled(table, 3))
    assert [one.value for one in found] == found.values.tolist()
    assert found[-1].value == found.values[2]
    assert "3 problems" in repr(found)
    with pytest.raises(IndexError):
        found[3]
    with pytest.raises(ValueError, match="read-only"):
        found.shares[0, 0] = 1.0


@pytest.mark.parametrize("options", [{}, {"kl": 0.1}, {"objective": "worst"}])
def test_answers_keep_what_the_table_says_and_the_weights_of_the_call(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    given = ExpertTable.from_probabilities(
        np.clip(rng.random((60, 3)), 0.0, None) * (rng.random((60, 3)) < 0.9), rng.integers(2, size=60), clip=1e-6
    )
    assert given.clipped > 0
    weights = resampled(given, 2)
    found = solver.solve_many(given, weights=weights, **options)
    loss = found[0].losses(found.shares[:1])
    weights[:] = 5.0
    assert found[0].losses(found.shares[:1]) == loss
    assert found[0].table.clipped == given.clipped
    sized = table_of(length=np.arange(1, 201))
    one = solver.solve_many(sized, weights=resampled(sized, 1), **options)[0]
    assert one.table.length is not None
    assert one.table.length.tolist() == list(range(1, 201))


def test_errors_name_the_problem() -> None:
    table = table_of(20)
    bad = np.ones((4, 20))
    bad[2, 7] = -1.0
    with pytest.raises(ValueError, match="problem 2: the weight of row 7 is -1"):
        solver.solve_many(table, weights=bad)
    bad[2, 7] = np.nan
    with pytest.raises(ValueError, match="problem 2: the weight of row 7 is nan"):
        solver.solve_many(table, weights=bad)
    bad[2] = 0.0
    with pytest.raises(ValueError, match="problem 2: all rows of group all have weight 0"):
        solver.solve_many(table, weights=bad)
    with pytest.raises(ValueError, match=r"expected \(B, 20\)"):
        solver.solve_many(table, weights=np.ones(20))
    with pytest.raises(AlignmentError, match="problem 1"):
        solver.solve_many([table, table_of(20, 4)])
    with pytest.raises(TypeError, match="problem 1"):
        solver.solve_many([table, 3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="empty"):
        solver.solve_many([])
    with pytest.raises(TypeError, match="method"):
        solver.solve_many([table], method="newton")
    lost = np.array(table.loglik)
    lost[3, 1:] = -np.inf
    closed = Region(table.domains, cap={"d0": 0.0})
    with pytest.raises(InfeasibleError, match="problem 1: 1 rows have probability 0"):
        solver.solve_many([table, ExpertTable.from_loglik(lost, domains=table.domains)], closed)


def test_a_warning_names_the_problems() -> None:
    table = table_of()
    with pytest.warns(NotConvergedWarning, match="3 of 3 .*problems 0, 1"):
        found = solver.solve_many(table, weights=resampled(table, 3), max_iter=0, tol=1e-12)
    assert set(found.statuses) == {"user_limit"}
    assert found[0].status == "user_limit"


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs an unused signal")
def test_a_signal_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call ends while its threads still solve."""

    class Alarm(Exception):
        pass

    def ring(number: int, frame: object) -> None:
        raise Alarm

    table = table_of(1000, 8)
    weights = np.random.default_rng(0).random((20_000, 1000))
    going, goes_on = threading.Event(), threading.Event()
    waited_in_vain: list[bool] = []
    solved = in_cache.minimise_many

    def held(*given: Any, **options: Any) -> Any:
        going.set()
        waited_in_vain.append(not goes_on.wait(60.0))
        return solved(*given, **options)

    monkeypatch.setattr(in_cache, "minimise_many", held)
    old = signal.signal(signal.SIGUSR1, ring)

    def send() -> None:
        going.wait(60.0)
        os.kill(os.getpid(), signal.SIGUSR1)

    sender = threading.Thread(target=send)
    try:
        sender.start()
        with pytest.raises(Alarm):
            solver.solve_many(table, weights=weights, threads=2)
        assert waited_in_vain == []
    finally:
        signal.signal(signal.SIGUSR1, old)
        goes_on.set()
        sender.join()
    assert solver.solve_many(table, weights=weights[:2]).statuses == ("optimal", "optimal")


@pytest.mark.parametrize("kl", [0.0, 0.1])
def test_answers_can_be_stored(kl: float) -> None:
    table = table_of()
    found = solver.solve_many(table, weights=resampled(table, 2), kl=kl)
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    assert again[1].value == found[1].value
