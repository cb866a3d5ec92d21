"""Linear programs over a region: many domains, few limits on groups of them.

The region is the box of caps and floors, cut by ``sum s = 1`` and B rows ``row_lower <= rows @ s <= row_upper``. B is
small (a handful of group limits), K may be 20 000. The method is the dual simplex for bounded variables:

- every share has finite bounds, so the greedy solution without the rows is dual feasible and no phase 1 is needed;
- the ratio test passes over shares that can jump from one bound to the other (bound flipping; Maros 2003, "A
  generalized dual phase-2 simplex algorithm"), so a step moves thousands of domains at once;
- a row that nothing can repair proves that the limits contradict each other, and names them.

Each step solves two dense systems of B + 1 unknowns from scratch: no update formulas, no drift.
"""

from __future__ import annotations

import math

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast.errors import MixfastError

# How far a basic variable may lie outside its bounds. Rows are scaled to a largest coefficient of 1 and shares sum to
# 1, so this is an absolute share: a thousand roundings, and a thousandth of what any caller tests for.
FEASIBLE = 1e-13
# Smaller pivots are rounding: rows are scaled to 1 and the basis is solved afresh at each step.
_PIVOT = 1e-10


class Contradiction(Exception):
    """No point meets all limits; ``rows`` are the indices of the rows that take part in the proof."""

    def __init__(self, rows: tuple[int, ...]) -> None:
        super().__init__(f"rows {rows} contradict each other within the box and the sum")
        self.rows = rows


def minimise(
    cost: Vector, lower: Vector, upper: Vector, rows: Matrix, row_lower: Vector, row_upper: Vector, total: float = 1.0
) -> Vector:
    """Return a vertex (K,) that minimises ``cost @ s`` over the region.

    Minimise ``cost @ s`` subject to ``sum s = total``, ``lower <= s <= upper`` (finite, (K,), feasible as such) and
    ``row_lower <= rows @ s <= row_upper`` ((B,), infinite where there is no limit). Of equal candidates the lowest
    index enters.

    Raises
    ------
    Contradiction
        If no point meets all limits.
    """
    return _simplex(cost, lower, upper, rows, row_lower, row_upper, total)[0]


def prices(
    cost: Vector, lower: Vector, upper: Vector, rows: Matrix, row_lower: Vector, row_upper: Vector, total: float = 1.0
) -> tuple[float, Vector]:
    """Return what one more unit of the total costs, and of each row's activity (B,), at the vertex of `minimise`.

    ``cost - level - prices @ rows`` is >= 0 where s is at `lower`, <= 0 at `upper`, and 0 between; a row's price is >= 0 at
    `row_lower`, <= 0 at `row_upper`, and 0 between.
    """
    dual = _simplex(cost, lower, upper, rows, row_lower, row_upper, total)[1]
    return float(dual[0]), dual[1:]


def _simplex(
    cost: Vector, lower: Vector, upper: Vector, rows: Matrix, row_lower: Vector, row_upper: Vector, total: float
) -> tuple[Vector, Vector]:
    """The vertex (K,) and the multipliers (1 + B,) of the total and of the rows."""
    n_rows, n_domains = rows.shape
    scale = np.abs(rows).max(axis=1, initial=0.0)
    scale[scale == 0.0] = 1.0
    # One more variable per row, its activity, turns the rows into equations: [1 0; rows -1] (s, activity) = (total, 0).
    system = np.zeros((n_rows + 1, n_domains + n_rows))
    system[0, :n_domains] = 1.0
    system[1:, :n_domains] = rows / scale[:, None]
    system[1:, n_domains:] = -np.eye(n_rows)
    right = np.zeros(n_rows + 1)
    right[0] = total
    low = np.concatenate([lower, row_lower / scale])
    high = np.concatenate([upper, row_upper / scale])
    price = np.concatenate([cost, np.zeros(n_rows)])

    # Greedy start: the cheapest domains at their upper bound until the total is met; the one that met it is basic.
    order = np.argsort(cost, kind="stable")
    filled = np.cumsum((upper - lower)[order])
    last = min(int(np.searchsorted(filled, total - lower.sum())), n_domains - 1)
    at_high = np.zeros(n_domains + n_rows, dtype=bool)
    at_high[order[:last]] = True
    basis = np.append(order[last], np.arange(n_domains, n_domains + n_rows))

    best = -math.inf
    patience = stall = 20 + 2 * n_rows
    # Far above what the dual simplex needs: only keeps a defect from hanging a caller.
    for _ in range(200 + 20 * (n_domains + n_rows)):
        values = np.where(at_high, high, low)
        values[basis] = 0.0
        square = system[:, basis]
        values[basis] = np.linalg.solve(square, right - system @ values)
        dual = np.linalg.solve(square.T, price[basis])
        reduced = price - dual @ system

        below, above = low[basis] - values[basis], values[basis] - high[basis]
        outside = np.maximum(below, above)
        if outside.max() <= FEASIBLE:
            dual[1:] /= scale
            return np.clip(values[:n_domains], lower, upper), dual

        # Ties in the reduced costs can make the dual simplex cycle; after a stall Bland's rule, which cannot, steps in.
        objective = float(price @ values)
        progress = objective > best + 1e-14 * (1.0 + abs(objective))
        best = max(best, objective)
        stall = patience if progress else stall - 1
        bland = stall <= 0
        # The variable that leaves the basis for the bound it violates: the worst one, or with Bland's rule the first.
        lowest = int(np.where(outside > FEASIBLE, basis, n_domains + n_rows).argmin())
        leaving = lowest if bland else int(outside.argmax())
        must_rise = below[leaving] > above[leaving]

        # Nonbasic variables that can repair it, in the order in which their reduced costs reach 0.
        unit = np.zeros(n_rows + 1)
        unit[leaving] = 1.0
        combination = np.linalg.solve(square.T, unit)
        pivots = combination @ system
        toward = -pivots if must_rise else pivots
        helps = np.where(at_high, -toward, toward) > _PIVOT
        helps &= high > low
        helps[basis] = False
        candidates = np.flatnonzero(helps)
        ratios = np.abs(reduced[candidates] / pivots[candidates])
        candidates = candidates[np.argsort(ratios, kind="stable")]
        repaired = np.cumsum(np.abs(pivots[candidates]) * (high - low)[candidates])
        # Not even every candidate at its better bound repairs this row: the rows combined in it contradict each other.
        if not candidates.size or repaired[-1] < outside[leaving] - FEASIBLE:
            raise Contradiction(tuple(int(row) for row in np.flatnonzero(np.abs(combination[1:]) > _PIVOT)))
        # All that reach 0 before the violation is used up jump to their other bound; the next one enters the basis.
        enters = 0 if bland else min(int(np.searchsorted(repaired, outside[leaving])), candidates.size - 1)
        at_high[candidates[:enters]] ^= True
        at_high[basis[leaving]] = not must_rise
        basis[leaving] = candidates[enters]
    raise MixfastError(
        f"the linear program over {n_domains} domains and {n_rows} limits did not finish: please report it"
    )
