"""Linear programs over a region: many domains, few limits on groups of them.

The region is the box of caps and floors, cut by ``sum s = 1`` and B rows ``row_lower <= rows @ s <= row_upper``. B is
small (a few group limits), K may be 20 000. The method is the dual simplex for bounded variables:

- every share has finite bounds, so the greedy solution without the rows is dual feasible and no phase 1 is needed;
- the ratio test skips shares that can jump from one bound to the other (bound flipping; Maros 2003, "A
  generalized dual phase-2 simplex algorithm"), so a step moves thousands of domains at once;
- a row that cannot be repaired proves that the limits contradict each other, and identifies them.

Each step solves two dense systems of B + 1 unknowns from scratch: without update formulas, errors do not accumulate.

`check` decides whether the region has any point, `minimise` returns the best vertex of a region that was checked, and `duality_gap` bounds
how far a point may be above the minimum. The bound holds for any multipliers, so rounding errors in them cannot make it too small.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mixfast._engine.backend import simplex
from mixfast._engine.backend.arrays import Matrix, Vector

# How far a basic variable may lie outside its bounds. Rows are scaled to a largest coefficient of 1 and shares sum to
# 1, so this is an absolute share: a thousand rounding errors, and a thousandth of the tolerance of any caller.
FEASIBLE = 1e-13
# Smaller pivots are rounding errors: rows are scaled to 1, and the basis is solved from scratch at each step.
_PIVOT = 1e-10


_EPS = float(np.finfo(np.float64).eps)
# A rounding margin below this fraction of the gap is added without computing a smaller one.
_NEGLIGIBLE = 1e-4
# Shares whose upper limit is below the first number are scaled by their own unit, at least the second: see `units_of`.
_LITTLE, _LEAST = 1e-3, 1e-100
# (tolerance, own units): if limits leave almost no room, rounding makes them contradict each other in one basis and not in another.
# Therefore a region that was checked is solved with increasing tolerances, up to a share that every caller treats as rounding. The first
# attempt scales each share by its own unit (see `units_of`); a share that is the remainder of large ones may then miss its limits by rounding.
_LENIENT = ((FEASIBLE, True), (FEASIBLE, False), (1e-12, False), (1e-11, False), (1e-10, False))


class Contradiction(Exception):
    """No point satisfies all limits; ``rows`` are the indices of the contradicting rows.

    ``vertex`` (K,) and ``dual`` (1 + B,) are the point and the multipliers where the search ended.
    """

    def __init__(self, rows: tuple[int, ...], vertex: Vector, dual: Vector) -> None:
        super().__init__(f"rows {rows} contradict each other within the box and the sum")
        self.rows, self.vertex, self.dual = rows, vertex, dual


class Equations(NamedTuple):
    """The rows as equations. Each row has one more variable, its activity: ``[units 0; rows -1] (s, activity) = (total, 0)``."""

    units: Vector  # (K,), units of the shares
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
    """Raise `Contradiction` if no point satisfies all limits to within half of `FEASIBLE`."""
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
    ``row_lower <= rows @ s <= row_upper`` ((B,), infinite if there is no limit). Of equal candidates, the one with the lowest
    index enters. The region must have a point: see `check`. `equations` are those of the rows, if already known.
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
    """Return the price of one more unit of the total, and of each row's activity (B,), at the vertex of `minimise`.

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
    """Return an upper bound of ``cost @ w`` minus the minimum over the region with the same total as w; w (K,) is in the region.

    The bound sums the products of multipliers and slacks. All are >= 0, so nothing cancels. It holds for any multipliers of the
    rows, including those of the simplex. A margin for the rounding of reduced costs and row sums is added.
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
        # Treat every priced limit as a lower limit. A limit beyond the reach of the box is replaced by that reach.
        side = np.where(price > 0.0, 1.0, -1.0)
        signed, dear, sizes = rows_used * side[:, None], np.abs(price), np.abs(rows_used)
        inside = signed @ w
        reach = (signed * np.where(signed > 0.0, lower, upper)).sum(axis=1)
        groups = float(dear @ np.minimum(inside - side * limit, np.maximum(inside - reach, 0.0)))
        priced, moments = priced + dear @ sizes, float(dear @ (sizes @ w))
    # From w to any other mixture, shares of at most 2 in total move (removed and added), and of no domain more than it can have.
    moved = 2.0 * float(priced.max())
    if _EPS * moved > _NEGLIGIBLE * (box + groups):
        moved = min(moved, float(priced @ _most(upper, rows, row_lower, row_upper)))
    return box + groups + _EPS * (moved + moments)


def greedy_level(cost: Vector, lower: Vector, upper: Vector, total: float = 1.0) -> float:
    """Return the cost of the domain at which a greedy fill, cheapest first, ends; the mean of two if it ends between them."""
    s = simplex.linear_min(cost, lower, upper, total)
    below, above = cost[s > lower].max(initial=-math.inf), cost[s < upper].min(initial=math.inf)
    if math.isinf(below) and math.isinf(above):
        return float(cost @ s)
    return float(below if math.isinf(above) else above if math.isinf(below) else 0.5 * (below + above))


def units_of(upper: Vector, rows: Matrix, row_lower: Vector, row_upper: Vector) -> Vector:
    """Return a unit (K,) for each share: if its bound and the rows allow only a small share, about that share, else 1.

    Without units, a row with coefficients of very different sizes would be satisfied only relative to its largest coefficient. That error
    may exceed everything that the row allows the other shares.
    """
    most = _most(upper, rows, row_lower, row_upper)
    little = (most < _LITTLE) & (most > 0.0)
    return np.where(little, np.ldexp(1.0, np.frexp(np.maximum(most, _LEAST))[1]), 1.0)


def _most(upper: Vector, rows: Matrix, row_lower: Vector, row_upper: Vector) -> Vector:
    """Return an upper bound (K,) of each share from its cap and from each row alone; shares are not negative."""
    most = upper
    for sign, limit in ((1.0, row_upper), (-1.0, -row_lower)):
        signed = sign * rows
        # What the row allows one share if the others reduce its activity as far as possible, each with a share of at most 1.
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
    """Return vertex and multipliers of `_simplex` with the smallest tolerance that works, or else those of the last attempt."""
    # Scaling by a power of two changes no digits, and prevents overflow of extreme costs.
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
    """Return the vertex (K,) and the multipliers (1 + B,) of the total and of the rows. Limits hold to within `tolerance`.

    The tolerance is in units of each share, and relative to the largest coefficient of a row in these units.
    """
    units, system, scale = equations
    n_rows, n_domains = scale.size, units.size
    right = np.zeros(n_rows + 1)
    right[0] = total
    with np.errstate(over="ignore"):  # a limit that overflows float64 is no limit
        low = np.concatenate([lower / units, row_lower / scale])
        high = np.concatenate([upper / units, row_upper / scale])
    price = np.concatenate([cost * units, np.zeros(n_rows)])

    # Greedy start: the cheapest domains at their upper bound until the total is reached; the domain that reaches it is basic.
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
    # Far more than the dual simplex needs; it only prevents an endless loop if there is a defect.
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

            # Ties in the reduced costs can make the dual simplex cycle. After a stall, use Bland's rule, which cannot cycle.
            objective = float(price @ values)
            progress = objective > best + 1e-14 * (1.0 + abs(objective))
            best = max(best, objective)
            stall = patience if progress else stall - 1
            bland = stall <= 0
            # The variable that leaves the basis for the bound that it violates: the worst one, or the first by Bland's rule.
            leaving = int(np.where(outside > tolerance, basis, n_domains + n_rows).argmin()) if bland else worst
            must_rise = below[leaving] > above[leaving]
            sides = np.zeros((n_rows + 1, 2))
            sides[:, 0], sides[leaving, 1] = price[basis], 1.0
            dual, combination = np.linalg.solve(square.T, sides).T
        except np.linalg.LinAlgError:  # two rows are equal to the last digit
            break
        reduced = price - dual @ system

        # Nonbasic variables that can reduce the violation, in the order in which their reduced costs reach 0.
        pivots = combination @ system
        toward = -pivots if must_rise else pivots
        helps = np.where(at_high, -toward, toward) > _PIVOT
        helps &= high > low
        helps[basis] = False
        candidates = np.flatnonzero(helps)
        ratios = np.abs(reduced[candidates] / pivots[candidates])
        candidates = candidates[np.argsort(ratios, kind="stable")]
        repaired = np.cumsum(np.abs(pivots[candidates]) * (high - low)[candidates])
        # Even all candidates at their better bounds do not repair this row: the rows combined in it contradict each other.
        if not candidates.size or repaired[-1] < outside[leaving] - tolerance:
            culprits = tuple(int(row) for row in np.flatnonzero(np.abs(combination[1:]) > _PIVOT))
            break
        # Candidates that reach 0 before the violation is used up jump to their other bound; the next one enters the basis.
        enters = 0 if bland else min(int(np.searchsorted(repaired, outside[leaving])), candidates.size - 1)
        at_high[candidates[:enters]] ^= True
        at_high[basis[leaving]] = not must_rise
        basis[leaving] = candidates[enters]
    dual[1:] /= scale
    raise Contradiction(culprits, vertex, dual)
