"""Small quadratic programs: the Newton step under group limits, and the step for the worst of several losses.

Both are ``min c.x + 1/2 x'Qx`` over ``lower <= (x, Ax) <= upper``; equal limits are equations. A primal-dual
active set usually solves one with a few dense systems. If it cycles, an interior point method (any limits, any
semidefinite Q) guesses the active limits, and an active-set walk makes the result exact. With many domains,
the walk may be abandoned. Problems are scaled so that Q, c and A are at most 1, so the tolerances below are absolute.

References: Mehrotra, "On the implementation of a primal-dual interior point method" (SIAM J. Optim. 2, 1992);
Hintermueller, Ito, Kunisch, "The primal-dual active set strategy as a semismooth Newton method" (SIAM J. Optim. 13,
2003); Friedlander, Orban, "A primal-dual regularized interior-point method for convex quadratic programs" (Math. Prog.
Comp. 4, 2012).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.geometry.unfinished import MANY_DOMAINS, MOST_WORK, UnfinishedStep

State = NDArray[np.int8]
Groups = tuple[Matrix, Vector, Vector]  # rows (B, K), and the limits (B,) of rows @ w

# Limits closer than this are treated as equal: rounding errors would dominate so narrow an interior.
_NARROW = 1e-13
# The interior point method needs at least this distance between limits.
_THIN = 1e-8
# A share outside its limits by less than this is a rounding error. So is a multiplier with the wrong sign if it is below this
# fraction of the terms in its sum (Q is far larger than c if the start has a small share of an important domain).
_SLACK = 1e-14
# Largest accepted residual of any equation.
_EXACT = 1e-12
# Proximal terms: Q may be singular (experts that are copies of one another), and rows of A may be repeated. The first term is
# below the rounding error of Q; the second causes an error that two refinements remove.
_PRIMAL, _DUAL = 1e-13, 1e-8


@dataclass(frozen=True)
class _Problem:
    """min c.x + 1/2 x'Qx over lower <= (x, Ax) <= upper; `fixed` marks the equations among these limits."""

    quadratic: Matrix  # (n, n)
    linear: Vector  # (n,)
    rows: Matrix  # (m, n)
    lower: Vector  # (n + m,)
    upper: Vector
    fixed: NDArray[np.bool_]

    @classmethod
    def of(cls, quadratic: Matrix, linear: Vector, rows: Matrix, lower: Vector, upper: Vector) -> _Problem:
        return cls(quadratic, linear, rows, lower, upper, upper - lower <= _NARROW)


@dataclass(frozen=True)
class _Point:
    x: Vector  # (n,)
    y: Vector  # (m,), the multipliers of the rows: c + Qx + A'y is 0 where x is free, >= 0 at lower, <= 0 at upper
    state: State  # (n + m,): -1 at lower, 0 free, +1 at upper


def newton(
    hessian: Matrix,
    gradient: Vector,
    w: Vector,
    *,
    low: Vector,
    high: Vector,
    groups: Groups | None = None,
    whole: bool = False,
) -> Vector:
    """Return the step d (K,) that minimises ``gradient.d + 1/2 d'Hd`` and keeps w + d within its limits.

    The limits are ``sum d = 0``, ``low <= w + d <= high`` and ``rows_low <= rows @ (w + d) <= rows_high`` for `groups`
    (rows, rows_low, rows_high) with B rows, infinite if there is no limit; w satisfies them up to rounding. H is symmetric positive
    semidefinite; directions without curvature and gradient are not moved along. Cost: a few dense systems of K + B unknowns.

    With `whole`, raise `UnfinishedStep` if the step is not found within its work limit; otherwise return a partial step.
    """
    units = _units(hessian, w)
    a, lower, upper = _limits(w, units, low=low, high=high, groups=groups)
    # A constant added to the gradient only changes the multiplier of the sum.
    linear = (gradient - gradient @ w / w.sum()) * units
    quadratic = _centred(hessian, w) * np.outer(units, units)
    scale = max(float(np.abs(quadratic).max()), float(np.abs(linear).max())) or 1.0
    problem = _Problem.of(quadratic / scale, linear / scale, a, lower, upper)
    point = _solve(problem, np.zeros(w.size), whole=whole)
    return np.zeros(w.size) if point is None else _step(point.x, units, w, low, high)


def minimax(
    hessian: Matrix,
    losses: Vector,
    gradients: Matrix,
    w: Vector,
    *,
    low: Vector,
    high: Vector,
    groups: Groups | None = None,
    whole: bool = False,
) -> tuple[Vector, Vector]:
    """Return the step d (K,) that minimises ``max_g (losses_g + gradients_g.d) + 1/2 d'Hd``, and the weights (G,) of g.

    The limits and `whole` are those of `newton`. The weights are the multipliers of the G pieces: >= 0, sum 1, and 0 for pieces
    below the maximum. ``H d + weights @ gradients`` is the gradient that the multipliers of the limits balance.
    """
    n, pieces = w.size, losses.size
    units = _units(hessian, w)
    a, lower, upper = _limits(w, units, low=low, high=high, groups=groups)
    slopes = (gradients - gradients @ w[:, None] / w.sum()) * units
    steep = np.abs(slopes).max(axis=1)
    size = float(steep[losses.argmax()]) or float(steep.max()) or 1.0
    # A steep piece far below the maximum must not cost the others precision: each piece has its own unit.
    unit = np.maximum(steep, size)
    hessian = _centred(hessian, w) * np.outer(units, units)
    scale = max(float(np.abs(hessian).max()), size)
    # One more variable: how far the maximum lies above the current one, in units of `size`.
    quadratic = np.zeros((n + 1, n + 1))
    quadratic[:n, :n] = hessian / scale
    linear = np.zeros(n + 1)
    linear[n] = size / scale
    table = np.zeros((a.shape[0] + pieces, n + 1))
    table[: a.shape[0], :n] = a
    table[a.shape[0] :, :n] = slopes / unit[:, None]
    table[a.shape[0] :, n] = -size / unit
    room = (losses.max() - losses) / unit
    infinite = np.full(1, np.inf)
    lower = np.concatenate([lower[:n], -infinite, lower[n:], np.full(pieces, -np.inf)])
    upper = np.concatenate([upper[:n], infinite, upper[n:], room])
    point = _solve(_Problem.of(quadratic, linear, table, lower, upper), np.zeros(n + 1), whole=whole)
    if point is None:
        return np.zeros(n), (losses == losses.max()) / np.count_nonzero(losses == losses.max())
    weights = np.maximum(point.y[a.shape[0] :], 0.0) / unit
    return _step(point.x[:n], units, w, low, high), weights / weights.sum()


def _units(hessian: Matrix, w: Vector) -> Vector:
    """Return a unit (K,) of at most 1 for each domain's step, so that no curvature is far above that of domains with a normal share.

    Without units, the KL term's curvature kl / w of an almost-zero share would make all other curvatures lose precision.
    """
    diagonal = np.diagonal(hessian)
    fair = float(diagonal[w >= 0.01 / w.size].max(initial=0.0))
    if fair <= 0.0:
        return np.ones(w.size)
    return np.sqrt(fair / np.maximum(diagonal, fair))


def _centred(hessian: Matrix, w: Vector) -> Matrix:
    """Return H minus the part that no step d with sum 0 depends on; if all experts are nearly alike, that is almost all of H.

    At a mixture, H is a matrix of second moments and the result is the covariance. A rounding allowance is added to the diagonal.
    """
    shares = w / w.sum()
    image = hessian @ shares
    centred = hessian - image[:, None] - image + shares @ image
    centred.flat[:: w.size + 1] += np.finfo(np.float64).eps * np.abs(np.diagonal(hessian))
    return centred


def _step(x: Vector, units: Vector, w: Vector, low: Vector, high: Vector) -> Vector:
    return np.minimum(np.maximum(x * units, low - w), np.maximum(high - w, low - w))


def _limits(
    w: Vector, units: Vector, *, low: Vector, high: Vector, groups: Groups | None
) -> tuple[Matrix, Vector, Vector]:
    """Return the row sum d = 0 and those of the limited groups, scaled to at most 1, and the limits of (d, these rows @ d) in units."""
    rows, rows_low, rows_high = groups or (np.zeros((0, w.size)), np.zeros(0), np.zeros(0))
    limited = np.isfinite(rows_low) | np.isfinite(rows_high)
    rows, rows_low, rows_high = rows[limited], rows_low[limited], rows_high[limited]
    here = rows @ w
    rows = rows * units
    scale = np.abs(rows).max(axis=1, initial=0.0)
    scale[scale == 0.0] = 1.0
    a = np.concatenate([units[None, :], rows / scale[:, None]])
    zero = np.zeros(1)
    lower = np.concatenate([(low - w) / units, zero, (rows_low - here) / scale])
    upper = np.concatenate([(high - w) / units, zero, (rows_high - here) / scale])
    return a, lower, upper


def _solve(problem: _Problem, start: Vector, *, whole: bool) -> _Point | None:
    """Return the optimum, or else a feasible point close to it; None if neither is found. `start` is feasible.

    With `whole`, return the optimum or, if there are many unknowns, raise `UnfinishedStep`.
    """
    u = np.concatenate([start, problem.rows @ start])
    state = np.where(u <= problem.lower + _SLACK, -1, np.where(u >= problem.upper - _SLACK, 1, 0)).astype(np.int8)
    point = _active_set(problem, _Point(start, np.zeros(problem.rows.shape[0]), state), 10)
    if point is None:
        inner = _interior_point(problem, start)
        point = _active_set(problem, inner, 50 + u.size, careful=True)
        if point is None:
            if whole and start.size > MANY_DOMAINS:
                raise UnfinishedStep
            # The feasible point nearest to the result of the interior point method.
            nearest = _Problem.of(np.eye(start.size), -inner.x, problem.rows, problem.lower, problem.upper)
            point = _active_set(nearest, _Point(inner.x, np.zeros_like(inner.y), inner.state), 50 + u.size)
            point = None if point is None else _Point(point.x, inner.y, point.state)
    return point


def _active_set(problem: _Problem, at: _Point, rounds: int, *, careful: bool = False) -> _Point | None:
    """Primal-dual active set from `at`: all violated limits and all multipliers with the wrong sign change side at once.

    With `careful`, only one changes side at a time: the first limit reached on the way from `at` (then feasible), or the
    worst multiplier (Nocedal and Wright, "Numerical Optimization", algorithm 16.3). Return None if the state does not settle within
    `rounds` and `MOST_WORK`. If the active limits do not determine x or y, they stay close to `at`.
    """
    q, c, a, n = problem.quadratic, problem.linear, problem.rows, problem.linear.size
    lower, upper, terms, sizes = problem.lower, problem.upper, np.abs(q), np.abs(a)
    # Scale each variable by about the size of its column.
    unit = sizes.max(axis=0, initial=0.0)
    state = np.where(problem.fixed, -1, at.state).astype(np.int8)
    here, seen, work = at.x, set(), 0.0
    for _ in range(rounds):
        if work > MOST_WORK:
            break
        free, active = np.flatnonzero(state[:n] == 0), np.flatnonzero(state[n:])
        held = np.where(state < 0, lower, upper)
        here = np.where(state[:n] == 0, here, held[:n])
        x, y = here.copy(), np.zeros(a.shape[0])
        y[active] = at.y[active]
        work += (free.size + active.size) ** 3 / 3.0
        border = a[np.ix_(active, free)]
        # With only the free variables, a row may be far below 1 and small compared with the proximal term. `careful` rescales such rows;
        # the fast rounds do not, because they cycle less without.
        size = np.abs(border).max(axis=1, initial=0.0) if careful else np.ones(active.size)
        size[size == 0.0] = 1.0
        border /= size[:, None]
        matrix = _saddle(q[np.ix_(free, free)], border, np.full(free.size, _PRIMAL), np.full(active.size, _DUAL))
        # Refine only after the state has settled.
        for _ in range(3):
            rest = np.concatenate([-(c + q @ x + y @ a)[free], (held[n:][active] - a[active] @ x) / size])
            try:
                change = np.linalg.solve(matrix, rest)
            except np.linalg.LinAlgError:
                return None
            x[free] += change[: free.size]
            y[active] += change[free.size :] / size
            u, price = np.concatenate([x, a @ x]), np.concatenate([c + q @ x + y @ a, -y])
            # The violation of each limit, and of the sign of each multiplier.
            broken = np.where(state == 0, np.maximum(lower - u, u - upper), 0.0)
            noise = _SLACK * np.concatenate([unit * np.abs(c).max() + terms @ np.abs(x) + np.abs(y) @ sizes, np.abs(y)])
            wrong = np.where((state == 0) | problem.fixed, 0.0, state * price - noise)
            settled = broken.max() <= _SLACK and wrong.max() <= 0.0
            if not settled:
                break
        rest = np.concatenate([(c + q @ x + y @ a)[free], a[active] @ x - held[n:][active]])
        if settled and np.abs(rest).max(initial=0.0) <= _EXACT:
            return _Point(np.minimum(np.maximum(x, lower[:n]), np.maximum(lower, upper)[:n]), y, state)
        if careful:
            if broken.max() > _SLACK:
                before = np.concatenate([here, a @ here])
                out = np.flatnonzero(broken > _SLACK)
                beyond, moved = broken[out], np.abs(u - before)[out]
                reach = 1.0 - beyond / np.maximum(moved, beyond)
                first = out[reach.argmin()]
                here = here + reach.min() * (x - here)
                state[first] = -1 if u[first] < lower[first] else 1
            else:
                here = x
                state[wrong.argmax()] = 0
        else:
            here = x
            state = np.where(broken > _SLACK, np.where(u < lower, -1, 1), np.where(wrong > 0.0, 0, state)).astype(
                np.int8
            )
            if state.tobytes() in seen:
                return None
            seen.add(state.tobytes())
    return None


def _saddle(block: Matrix, border: Matrix, add: Vector, subtract: Vector) -> Matrix:
    """[block + diag(add), border'; border, -diag(subtract)]"""
    n, m = block.shape[0], border.shape[0]
    matrix = np.zeros((n + m, n + m))
    matrix[:n, :n] = block
    matrix[n:, :n] = border
    matrix[:n, n:] = border.T
    matrix.flat[:: n + m + 1] += np.concatenate([add, -subtract])
    return matrix


def _interior_point(problem: _Problem, start: Vector) -> _Point:
    """Mehrotra's predictor-corrector method, from near the feasible `start`. Its state is a guess of the active limits.

    It uses slacks s >= 0 and multipliers z >= 0 of all one-sided limits of u = (x, v), with v = Ax.
    """
    n, m = start.size, problem.rows.shape[0]
    # Variables with almost no interior keep their start value, which leaves a feasible problem.
    still = problem.upper - problem.lower <= _THIN
    moving = np.flatnonzero(~still[:n])
    full = start.copy()
    q, a = problem.quadratic[np.ix_(moving, moving)], problem.rows[:, moving]
    full[moving] = 0.0
    c, offset = problem.linear[moving] + problem.quadratic[moving] @ full, problem.rows @ full
    k = moving.size
    keep = np.concatenate([moving, np.arange(n, n + m)])
    shift = np.concatenate([np.zeros(k), offset])
    lower, upper, equation = problem.lower[keep] - shift, problem.upper[keep] - shift, still[keep]
    below, above = np.flatnonzero(np.isfinite(lower) & ~equation), np.flatnonzero(np.isfinite(upper) & ~equation)
    which = np.concatenate([below, above])
    sign = np.concatenate([np.ones(below.size), -np.ones(above.size)])
    limit = np.concatenate([lower[below], upper[above]])

    # Start at a tenth of an even share from the limits, or a tenth of the distance between them if that is less.
    margin = 0.1 * np.minimum(upper - lower, 1.0 / max(k, 1))
    inner, outer = lower + margin, upper - margin
    x = np.minimum(np.maximum(start[moving], inner[:k]), outer[:k])
    v = np.where(still[n:], a @ start[moving], np.minimum(np.maximum(a @ x, inner[k:]), outer[k:]))
    u = np.concatenate([x, v])
    s = sign * (u[which] - limit)
    z = np.full(which.size, 1.0)
    y = np.zeros(m)
    for _ in range(60):
        pull = np.bincount(which, sign * z, k + m)
        dual: Vector = np.concatenate([c + q @ u[:k] + y @ a, np.where(equation[k:], 0.0, -y)]) - pull
        primal = a @ u[:k] - u[k:]
        mean = float(s @ z) / max(which.size, 1)
        error = max(np.abs(dual).max(), np.abs(primal).max(initial=0.0))
        if mean <= 1e-13 and error <= 1e-11:
            break
        stiff = np.bincount(which, z / s, k + m).astype(np.float64)
        give = np.where(equation[k:], 0.0, 1.0 / np.where(equation, 1.0, stiff)[k:])
        matrix = _saddle(q, a, stiff[:k] + _PRIMAL, give + _DUAL)

        centre = ds = dz = np.zeros(which.size)
        try:
            # The first direction has no centring; how far it reaches determines centring and curvature correction of the second.
            for corrects in (False, True):
                if corrects:
                    ahead = float((s + _reach(s, ds) * ds) @ (z + _reach(z, dz) * dz)) / max(which.size, 1)
                    centre = mean * (ahead / mean) ** 3 - ds * dz if mean > 0.0 else centre
                right = np.bincount(which, sign * (centre / s - z), k + m) - dual
                step = np.linalg.solve(matrix, np.concatenate([right[:k], give * right[k:] - primal]))
                du, dy = np.concatenate([step[:k], give * (right[k:] + step[k:])]), step[k:]
                ds = sign * du[which]
                dz = (centre - z * ds) / s - z
        except np.linalg.LinAlgError:
            break
        if not (np.isfinite(du).all() and np.isfinite(dz).all() and np.isfinite(dy).all()):
            break
        # Primal and dual steps of different length are wrong for a quadratic objective, so both use the same length.
        length = min(1.0, 0.995 * min(_reach(s, ds, 2.0), _reach(z, dz, 2.0)))
        u, y, s, z = u + length * du, y + length * dy, s + length * ds, z + length * dz
        if length < 1e-10:
            break
    state = np.zeros(k + m, dtype=np.int8)
    # If both limits of a variable look active, the stronger is assigned last and wins.
    tight = np.flatnonzero(z > s)
    tight = tight[np.argsort(z[tight])]
    state[which[tight]] = -sign[tight]
    full[moving] = u[:k]
    everywhere = np.full(n + m, -1, dtype=np.int8)
    everywhere[keep] = np.where(equation, -1, state)
    return _Point(full, y, everywhere)


def _reach(value: Vector, change: Vector, most: float = 1.0) -> float:
    """Return the longest step, up to `most`, that keeps value + step * change >= 0."""
    shrinks = change < 0.0
    return min(most, float((value[shrinks] / -change[shrinks]).min(initial=np.inf)))
