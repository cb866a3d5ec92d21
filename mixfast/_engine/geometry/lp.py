"""Linear programs over a region: many domains, few limits on groups of them.

The region is the box of caps and floors, cut by ``sum s = 1`` and B rows ``row_lower <= rows @ s <= row_upper``. B is
small (a handful of group limits), K may be 20 000. The method is the dual simplex for bounded variables:

- every share has finite bounds, so the greedy solution without the rows is dual feasible and no phase 1 is needed;
- the ratio test passes over shares that can jump from one bound to the other (bound flipping; Maros 2003, "A
  generalized dual phase-2 simplex algorithm"), so a step moves thousands of domains at once;
- a row that nothing can repair proves that the limits contradict each other, and names them.

Each step solves two dense systems of B + 1 unknowns from scratch: no update formulas, no drift.

`check` says whether there is a point at all, `minimise` gives the best vertex of a region that was checked, and `duality_gap` bounds what
a point may be above the minimum. The bound holds for any multipliers, so no rounding on the way to them can make it too small.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mixfast._engine.backend import simplex
from mixfast._engine.backend.arrays import Matrix, Vector

# How far a basic variable may lie outside its bounds. Rows are scaled to a largest coefficient of 1 and shares sum to
# 1, so this is an absolute share: a thousand roundings, and a thousandth of what any caller tests for.
FEASIBLE = 1e-13
# Smaller pivots are rounding: rows are scaled to 1 and the basis is solved afresh at each step.
_PIVOT = 1e-10


_EPS = float(np.finfo(np.float64).eps)
# What of a gap may be added to it without asking whether so much is needed.
_NEGLIGIBLE = 1e-4
# A share that can be no more than this is little, and the least unit of one: see `units_of`.
_LITTLE, _LEAST = 1e-3, 1e-100
# Limits that leave next to no room contradict each other in the last digits of one basis and not of another: a region that was
# checked is taken with ever more of that, up to a share that every caller takes for rounding. First in units of what each share can
# be (see `units_of`), in which a share that is what large ones leave of 1 may miss its limits by rounding alone.
_LENIENT = ((FEASIBLE, True), (FEASIBLE, False), (1e-12, False), (1e-11, False), (1e-10, False))


class Contradiction(Exception):
    """No point meets all limits; ``rows`` are the indices of the rows that take part in the proof.

    ``vertex`` (K,) is where the search stood, and ``dual`` (1 + B,) the multipliers there.
    """

    def __init__(self, rows: tuple[int, ...], vertex: Vector, dual: Vector) -> None:
        super().__init__(f"rows {rows} contradict each other within the box and the sum")
        self.rows, self.vertex, self.dual = rows, vertex, dual


class Equations(NamedTuple):
    """The rows as equations: one more variable per row, its activity, in ``[units 0; rows -1] (s, activity) = (total, 0)``."""

    units: Vector  # (K,), of the shares
    system: Matrix  # (1 + B, K + B)
    scale: Vector  # (B,), the largest coefficient of each row in these units

    @classmethod
    def of(cls, rows: Matrix, units: Vector) -> Equations:
        n_rows, n_domains = rows.shape
        rows = rows * units
        scale = np.abs(rows).max(axis=1, initial=0.0)
        scale[scale == 0.0] = 1.0
        system = np.zeros((n_rows + 1, n_domains + n_rows))
        system[0, :n_domains] = units
        system[1:, :n_domains] = rows / scale[:, None]
        system[1:, n_domains:] = -np.eye(n_rows)
        return cls(units, system, scale)


def check(lower: Vector, upper: Vector, rows: Matrix, row_lower: Vector, row_upper: Vector) -> None:
    """Raise `Contradiction` where no point meets all limits to within half of `FEASIBLE`."""
    equations = Equations.of(rows, np.ones(lower.size))
    _simplex(np.zeros(lower.size), lower, upper, row_lower, row_upper, 1.0, 0.5 * FEASIBLE, equations)


def minimise(
    cost: Vector,
    lower: Vector,
    upper: Vector,
    rows: Matrix,
    row_lower: Vector,
    row_upper: Vector,
    total: float = 1.0,
    *,
    equations: Equations | None = None,
) -> Vector:
    """Return a vertex (K,) that minimises ``cost @ s`` over the region.

    Minimise ``cost @ s`` subject to ``sum s = total``, ``lower <= s <= upper`` (finite, (K,), feasible as such) and
    ``row_lower <= rows @ s <= row_upper`` ((B,), infinite where there is no limit). Of equal candidates the lowest
    index enters. There must be a point that meets all limits: see `check`. `equations` are those of the rows, where they are known.
    """
    return _lenient(cost, lower, upper, rows, row_lower, row_upper, total, equations)[0]


def prices(
    cost: Vector,
    lower: Vector,
    upper: Vector,
    rows: Matrix,
    row_lower: Vector,
    row_upper: Vector,
    total: float = 1.0,
    *,
    equations: Equations | None = None,
) -> tuple[float, Vector]:
    """Return what one more unit of the total costs, and of each row's activity (B,), at the vertex of `minimise`.

    ``cost - level - prices @ rows`` is >= 0 where s is at `lower`, <= 0 at `upper`, and 0 between; a row's price is >= 0 at
    `row_lower`, <= 0 at `row_upper`, and 0 between.
    """
    dual = _lenient(cost, lower, upper, rows, row_lower, row_upper, total, equations)[1]
    return float(dual[0]), dual[1:]


def duality_gap(
    cost: Vector,
    w: Vector,
    lower: Vector,
    upper: Vector,
    rows: Matrix,
    row_lower: Vector,
    row_upper: Vector,
    *,
    equations: Equations | None = None,
) -> float:
    """Return a bound of ``cost @ w`` less the minimum over the region, whose total is that of w; w (K,) is in the region.

    The sum of the products of multipliers and slacks, none of which is negative: nothing cancels. It holds for any multipliers of the
    rows, those that the simplex found included, and has on top what rounding of reduced costs and of the rows' sums may take from it.
    """
    total = math.fsum(w)
    price = prices(cost, lower, upper, rows, row_lower, row_upper, total, equations=equations)[1]
    limit = np.where(price > 0.0, row_lower, row_upper)
    used = np.flatnonzero((price != 0.0) & np.isfinite(limit))
    price, limit, rows_used = price[used], limit[used], rows[used]
    reduced = cost - price @ rows_used
    level = greedy_level(reduced, lower, upper, total)
    over = reduced - level
    box = float((over * (w - np.where(over > 0.0, lower, upper))).sum())
    groups, priced, moments = 0.0, np.abs(cost) + abs(level), 0.0
    if used.size:
        # Every priced limit as a lower one. A limit beyond what the box can reach counts as that.
        side = np.where(price > 0.0, 1.0, -1.0)
        signed, dear, sizes = rows_used * side[:, None], np.abs(price), np.abs(rows_used)
        inside = signed @ w
        reach = (signed * np.where(signed > 0.0, lower, upper)).sum(axis=1)
        groups = float(dear @ np.minimum(inside - side * limit, np.maximum(inside - reach, 0.0)))
        priced, moments = priced + dear @ sizes, float(dear @ (sizes @ w))
    # From w to any other mixture move shares of 2 at most, taken off and put on, and of no domain more than it can have.
    moved = 2.0 * float(priced.max())
    if _EPS * moved > _NEGLIGIBLE * (box + groups):
        moved = min(moved, float(priced @ _most(upper, rows, row_lower, row_upper)))
    return box + groups + _EPS * (moved + moments)


def greedy_level(cost: Vector, lower: Vector, upper: Vector, total: float = 1.0) -> float:
    """The cost of the domain at which a greedy fill from the cheapest up ends, or between the two where one is just full."""
    s = simplex.linear_min(cost, lower, upper, total)
    below, above = cost[s > lower].max(initial=-math.inf), cost[s < upper].min(initial=math.inf)
    if math.isinf(below) and math.isinf(above):
        return float(cost @ s)
    return float(below if math.isinf(above) else above if math.isinf(below) else 0.5 * (below + above))


def units_of(upper: Vector, rows: Matrix, row_lower: Vector, row_upper: Vector) -> Vector:
    """A unit (K,) for each share: about the most that its bound and the rows leave it, where that is little.

    A row whose coefficients are decades apart would else be met to a share of its largest one, which may be more than all that it
    allows the others.
    """
    most = _most(upper, rows, row_lower, row_upper)
    little = (most < _LITTLE) & (most > 0.0)
    return np.where(little, np.ldexp(1.0, np.frexp(np.maximum(most, _LEAST))[1]), 1.0)


def _most(upper: Vector, rows: Matrix, row_lower: Vector, row_upper: Vector) -> Vector:
    """A bound (K,) of what the upper bound and each row alone leave each share; shares are not negative."""
    most = upper
    for sign, limit in ((1.0, row_upper), (-1.0, -row_lower)):
        signed = sign * rows
        # What the row leaves one share where the others bring it down as far as they can, each with a share of at most 1.
        room = np.maximum(limit - np.minimum(signed, 0.0).min(axis=1), 0.0)
        left = np.full(rows.shape, np.inf)
        with np.errstate(over="ignore"):
            np.divide(room[:, None], signed, out=left, where=signed > 0.0)
        most = np.minimum(most, left.min(axis=0, initial=np.inf))
    return most


def _lenient(
    cost: Vector,
    lower: Vector,
    upper: Vector,
    rows: Matrix,
    row_lower: Vector,
    row_upper: Vector,
    total: float,
    equations: Equations | None,
) -> tuple[Vector, Vector]:
    """The vertex and the multipliers of `_simplex`, with as much room as it takes: at last those at which it gave up."""
    # A power of two changes no digit, and keeps costs at the ends of float64's range from overflowing.
    exponent = math.frexp(float(np.abs(cost).max(initial=0.0)))[1]
    unit = 2.0 ** -min(max(exponent, -1000), 1000)
    cost = cost * unit
    equations = equations or Equations.of(rows, units_of(upper, rows, row_lower, row_upper))
    for tolerance, fine in _LENIENT:
        system = equations if fine else Equations.of(rows, np.ones(cost.size))
        try:
            vertex, dual = _simplex(cost, lower, upper, row_lower, row_upper, total, tolerance, system)
            break
        except Contradiction as stuck:
            vertex, dual = stuck.vertex, stuck.dual
    return vertex, dual / unit


def _simplex(
    cost: Vector,
    lower: Vector,
    upper: Vector,
    row_lower: Vector,
    row_upper: Vector,
    total: float,
    tolerance: float,
    equations: Equations,
) -> tuple[Vector, Vector]:
    """The vertex (K,) and the multipliers (1 + B,) of the total and of the rows; limits are met to within `tolerance`.

    That is in units of each share, and of a row's largest coefficient in these.
    """
    units, system, scale = equations
    n_rows, n_domains = scale.size, units.size
    right = np.zeros(n_rows + 1)
    right[0] = total
    with np.errstate(over="ignore"):  # a limit further away than float64 goes is none
        low = np.concatenate([lower / units, row_lower / scale])
        high = np.concatenate([upper / units, row_upper / scale])
    price = np.concatenate([cost * units, np.zeros(n_rows)])

    # Greedy start: the cheapest domains at their upper bound until the total is met; the one that met it is basic.
    order = np.argsort(cost, kind="stable")
    filled = np.cumsum((upper - lower)[order])
    last = min(int(np.searchsorted(filled, total - lower.sum())), n_domains - 1)
    at_high = np.zeros(n_domains + n_rows, dtype=bool)
    at_high[order[:last]] = True
    basis = np.append(order[last], np.arange(n_domains, n_domains + n_rows))

    culprits = tuple(range(n_rows))
    vertex, dual = np.where(at_high[:n_domains], upper, lower), np.zeros(n_rows + 1)
    best = -math.inf
    patience = stall = 20 + 2 * n_rows
    # Far above what the dual simplex needs: only keeps a defect from hanging a caller.
    for _ in range(200 + 20 * (n_domains + n_rows)):
        values = np.where(at_high, high, low)
        values[basis] = 0.0
        square = system[:, basis]
        try:
            values[basis] = np.linalg.solve(square, right - system @ values)
            below, above = low[basis] - values[basis], values[basis] - high[basis]
            outside = np.maximum(below, above)
            worst = int(outside.argmax())
            vertex = np.clip(values[:n_domains] * units, lower, upper)
            if outside[worst] <= tolerance:
                dual = np.linalg.solve(square.T, price[basis])
                dual[1:] /= scale
                return vertex, dual

            # Ties in the reduced costs can make the dual simplex cycle; after a stall Bland's rule, which cannot, steps in.
            objective = float(price @ values)
            progress = objective > best + 1e-14 * (1.0 + abs(objective))
            best = max(best, objective)
            stall = patience if progress else stall - 1
            bland = stall <= 0
            # The variable that leaves the basis for the bound it violates: the worst one, or with Bland's rule the first.
            leaving = int(np.where(outside > tolerance, basis, n_domains + n_rows).argmin()) if bland else worst
            must_rise = below[leaving] > above[leaving]
            sides = np.zeros((n_rows + 1, 2))
            sides[:, 0], sides[leaving, 1] = price[basis], 1.0
            dual, combination = np.linalg.solve(square.T, sides).T
        except np.linalg.LinAlgError:  # rows that repeat each other to the last digit
            break
        reduced = price - dual @ system

        # Nonbasic variables that can repair it, in the order in which their reduced costs reach 0.
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
        if not candidates.size or repaired[-1] < outside[leaving] - tolerance:
            culprits = tuple(int(row) for row in np.flatnonzero(np.abs(combination[1:]) > _PIVOT))
            break
        # All that reach 0 before the violation is used up jump to their other bound; the next one enters the basis.
        enters = 0 if bland else min(int(np.searchsorted(repaired, outside[leaving])), candidates.size - 1)
        at_high[candidates[:enters]] ^= True
        at_high[basis[leaving]] = not must_rise
        basis[leaving] = candidates[enters]
    dual[1:] /= scale
    raise Contradiction(culprits, vertex, dual)
