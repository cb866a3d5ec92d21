"""Objectives of small tables are kept from one solve to the next."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from mixfast import ExpertTable, Region, solve
from mixfast._engine.backend.rows import fingerprint
from mixfast._engine.objectives import rows
from mixfast.solver._problem import Problem


def table_of(seed: int = 0, n: int = 50, k: int = 3) -> ExpertTable:
    return ExpertTable.from_loglik(np.random.default_rng(seed).normal(-5.0, 1.0, size=(n, k)))


def test_a_second_solve_uses_the_exponentials_of_the_first() -> None:
    table = table_of()
    one, other = Problem.of(table, threads=1), Problem.of(table, threads=1)
    assert one.objective is other.objective
    assert Problem.of(table, threads=2).objective is not one.objective
    assert Problem.of(table_of(), threads=1).objective is not one.objective
    capped = Problem.of(table, Region(table.domains, cap={"domain_0": 0.0}), threads=1)
    assert capped.objective is not one.objective
    assert solve(table, capped.region).mixture["domain_0"] == 0.0
    assert solve(table).value <= solve(table, capped.region).value


def test_a_table_that_is_dropped_is_freed_with_its_objectives() -> None:
    table = table_of(1)
    objective = weakref.ref(Problem.of(table, threads=1).objective)
    freed = weakref.ref(table)
    del table
    gc.collect()
    assert freed() is None
    assert objective() is None


def test_few_tables_keep_their_objectives() -> None:
    tables = [table_of(seed) for seed in range(10)]
    for table in tables:
        solve(table)
    assert len(rows._small_tables) <= rows._SMALL_TABLES


def test_a_mapped_table_is_read_again(tmp_path: Path) -> None:
    np.save(tmp_path / "loglik.npy", table_of(2).loglik)
    table = ExpertTable.from_loglik(np.load(tmp_path / "loglik.npy", mmap_mode="r"))
    assert table.is_watched
    assert Problem.of(table, threads=1).objective is not Problem.of(table, threads=1).objective


@pytest.mark.parametrize("changed", ["values", "weight"])
def test_a_change_of_the_callers_array_is_seen(changed: str) -> None:
    """Tables may share the memory of the arrays that they are made from."""
    rng = np.random.default_rng(6)
    values, weight = rng.normal(-5.0, 1.0, size=(50, 3)), rng.random(50)
    table = ExpertTable.from_loglik(values, weight=weight)
    before = solve(table)
    if changed == "values":
        values[:, 0] -= 1.0
    else:
        weight[:25] *= 4.0
    after = solve(table)
    anew = solve(ExpertTable.from_loglik(table.loglik.copy(), weight=table.row_weight.copy()))
    assert after.value == anew.value
    assert np.array_equal(after.mixture.weights, anew.mixture.weights)
    if np.shares_memory(
        table.values if changed == "values" else table.row_weight, values if changed == "values" else weight
    ):
        assert after.value != before.value


@pytest.mark.parametrize("size", [1, 3, 127, 128, 129, 5000])
def test_fingerprints_tell_arrays_apart(size: int) -> None:
    rng = np.random.default_rng(size)
    given = rng.integers(0, 256, size, dtype=np.uint8)
    known = fingerprint(given)
    assert fingerprint(given.copy()) == known
    for place in {0, size // 2, size - 1}:
        changed = given.copy()
        changed[place] ^= 0x80
        assert fingerprint(changed) != known


def test_fingerprints_see_the_signs_of_all_values() -> None:
    """Two changes of the highest bit of a word would cancel in a product alone."""
    values = np.random.default_rng(0).normal(size=512)
    assert fingerprint((-values).view(np.uint8)) != fingerprint(values.view(np.uint8))
    assert fingerprint(values[::-1].copy().view(np.uint8)) != fingerprint(values.view(np.uint8))


def test_an_objective_that_is_made_after_a_change_is_not_kept() -> None:
    values = np.random.default_rng(0).normal(-5.0, 1.0, size=(50, 3))
    given = values.copy()
    table = ExpertTable.from_loglik(values)
    solution = solve(table, Region(table.domains, cap={"domain_2": 0.0}), threads=1)
    values[:, 0] -= 1.0
    assert solution.unconstrained.value > 0.0  # makes an objective of all domains
    values[:] = given
    assert solve(table, threads=1).value == solve(ExpertTable.from_loglik(given), threads=1).value


def test_solves_in_threads_share_the_objectives() -> None:
    tables = [table_of(seed) for seed in range(6)]
    wanted = [solve(table, threads=1).value for table in tables]
    wrong: list[object] = []

    def work(first: int) -> None:
        try:
            for step in range(60):
                b = (first + step) % len(tables)
                region = Region(tables[b].domains, cap={"domain_0": 1.0 - 0.01 * (step % 5)})
                if solve(tables[b], threads=1).value != wanted[b] or solve(tables[b], region, threads=1).gap > 1e-8:
                    wrong.append(b)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong


@pytest.mark.parametrize("weighted", [False, True])
def test_group_weights_have_objectives_of_their_own(weighted: bool) -> None:
    loglik = np.random.default_rng(4).normal(-5.0, 1.0, size=(40, 3))
    weight = np.random.default_rng(5).random(40) if weighted else None
    table = ExpertTable.from_loglik(loglik, group=np.arange(40) // 20, weight=weight)
    first, second, both = (solve(table, objective=what).value for what in ("group_0", "group_1", None))
    assert first != second
    again = [solve(table, objective=what).value for what in ("group_0", "group_1", None)]
    assert again == [first, second, both]
