"""The compiled loop for tables in cache (csrc/rows/newton.c) takes the steps of the Python loop (newton.py)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.base import Sum
from mixfast._engine.objectives.rows_cpu import CrossEntropy
from mixfast._engine.optimise import expectation, in_cache
from mixfast._engine.optimise.newton import Newton
from mixfast._engine.optimise.trace import Minimum, Trace
from mixfast.tables import ExpertTable

pytestmark = pytest.mark.filterwarnings("ignore:.* rows and .* domains")


def drawn(rng: np.random.Generator) -> tuple[CrossEntropy, Limits]:
    """Return the rows and limits of a random small problem, easy or hard."""
    n, k = int(rng.choice([1, 2, 7, 64, 300, 1000])), int(rng.choice([1, 2, 3, 8, 17, 50]))
    loglik = rng.normal(size=(n, k)) * rng.choice([0.01, 1.0, 10.0, 400.0]) - rng.choice([0.0, 3.0, 500.0])
    if k > 1 and rng.random() < 0.3:
        loglik[:, -1] = loglik[:, 0]
    if k > 1 and rng.random() < 0.3:
        loglik[rng.random((n, k)) < 0.5] = -np.inf
        loglik[np.isneginf(loglik).all(axis=1), 0] = -1.0
    weight = None
    if rng.random() < 0.4:
        weight = rng.choice([0.0, 1e-6, 1.0, 5.0], size=n)
        weight[0] = 1.0
    table = ExpertTable.from_loglik(np.minimum(loglik, -1e-3), weight=weight)
    rows = CrossEntropy(table, _sum(table), threads=1)
    low, high = np.zeros(k), np.ones(k)
    kind = rng.integers(4)
    if kind == 1:
        high = np.full(k, 1.0 / k) if rng.random() < 0.3 else np.maximum(rng.random(k), 1.5 / k)
    elif kind == 2:
        low = rng.dirichlet(np.ones(k)) * rng.choice([0.5, 1.0])
    elif kind == 3:
        low, high = np.full(k, 0.2 / k), np.full(k, min(3.0 / k, 1.0))
    return rows, Limits(low, high)


def _sum(table: ExpertTable) -> Sum:
    weight = table.row_weight
    return Sum(np.ascontiguousarray(weight), float(weight.mean()), None, True)


def middle(limits: Limits) -> np.ndarray:
    room = limits.high - limits.low
    return limits.low + room * ((1.0 - limits.low.sum()) / max(room.sum(), 1e-300))


def by_python(rows: CrossEntropy, limits: Limits, w: np.ndarray, tol: float, most: int) -> Minimum:
    with np.errstate(invalid="ignore", over="ignore"):
        w, done = expectation.settle_to(tol, rows, limits, w)
        trace, here = Trace(), rows.sums(w) if done else None
        if here is not None:
            trace.add(rows.rows, w.size, here[0], limits.gap(here[1], w))
        return Newton(rows, limits, None, tol=tol, trace=trace).minimise(w, here, most)


@pytest.mark.parametrize("seed", range(300))
def test_both_loops_take_the_same_steps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, limits = drawn(rng)
    tol = float(rng.choice([1e-4, 1e-8, 1e-10])) * max(1.0, rows.total)
    most = int(rng.choice([0, 1, 3, 200], p=[0.05, 0.05, 0.1, 0.8]))
    start = middle(limits)
    settled = in_cache.settle(rows, limits, start)
    np.testing.assert_allclose(settled, expectation.settle(rows, limits, start), rtol=1e-9, atol=1e-13)

    compiled = in_cache.minimise(rows, limits, start, tol=tol, max_iter=most, trace=Trace(), settled=False)
    assert compiled is not None
    python = by_python(rows, limits, start, tol, most)
    assert compiled.steps == python.steps
    assert len(compiled.trace) == len(python.trace)
    for mine, theirs in zip(compiled.trace, python.trace, strict=True):
        assert (mine.rows, mine.domains) == (theirs.rows, theirs.domains)
        assert mine.value == pytest.approx(theirs.value, rel=1e-9, abs=1e-12 * rows.total)
        assert mine.gap == pytest.approx(theirs.gap, rel=1e-3, abs=1e-9 * rows.total)
    assert compiled.value == pytest.approx(python.value, rel=1e-12, abs=1e-13 * rows.total)
    assert compiled.gap == limits.gap(compiled.gradient, compiled.w) or math.isclose(
        compiled.gap, limits.gap(compiled.gradient, compiled.w), abs_tol=1e-15 * rows.total
    )
