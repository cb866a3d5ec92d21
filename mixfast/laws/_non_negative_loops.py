"""Non-negative ridge regressions, solved to rounding by exchanging coefficients between "positive" and "zero"; compiled by Numba.

Coordinate descent that stops early depends on the order of the columns; these solutions do not. The methods are block principal pivoting
(Kim and Park, 2011) if there are no more columns than rows, and Newton's method for the dual problem otherwise. Private: it is imported
only by compiled loops.
"""

from __future__ import annotations

import numpy as np

from mixfast._engine.backend.compiled import compiled

# Below this fraction of the largest value, a coefficient or slope of the wrong sign is a rounding error.
_ROUNDING = 1e-10
# Exchanges of all coefficients of the wrong sign that may fail to reduce their number, before they are exchanged one by one.
_PATIENCE = 3
_NEWTON, _HALVINGS = 60, 40


@compiled()
def factorise(a, n):  # type: ignore[no-untyped-def]
    """Replace the upper triangle of the positive definite matrix a[:n, :n] by its Cholesky factor U, a = U'U."""
    for k in range(n):
        row = a[k, k:n]
        pivot = 1.0 / np.sqrt(max(row[0], 1e-300))
        for j in range(row.size):
            row[j] *= pivot
        # Slices from 0 are vectorised; loops that begin elsewhere are not.
        for i in range(1, row.size):
            value, into, rest = row[i], a[k + i, k + i : n], row[i:]
            for j in range(into.size):
                into[j] -= value * rest[j]


@compiled()
def substitute(u, n, b):  # type: ignore[no-untyped-def]
    """Solve ``U'U x = b`` in place, for the upper triangle of u[:n, :n]."""
    for k in range(n):
        row = u[k]
        b[k] /= row[k]
        value = b[k]
        for j in range(k + 1, n):
            b[j] -= value * row[j]
    for k in range(n - 1, -1, -1):
        row, total = u[k], b[k]
        for j in range(k + 1, n):
            total -= row[j] * b[j]
        b[k] = total / row[k]


@compiled()
def invert(a):  # type: ignore[no-untyped-def]
    """Replace a positive definite matrix by its inverse, by sweeps of its lower triangle."""
    n = a.shape[0]
    column = np.empty(n)
    for k in range(n):
        for j in range(k):
            column[j] = a[k, j]
        for i in range(k, n):
            column[i] = a[i, k]
        pivot = 1.0 / column[k]
        for i in range(n):
            value, into = column[i] * pivot, a[i]
            for j in range(i + 1):
                into[j] -= value * column[j]
        for j in range(k):
            a[k, j] = column[j] * pivot
        for i in range(k + 1, n):
            a[i, k] = column[i] * pivot
        a[k, k] = -pivot
    for i in range(n):
        for j in range(i + 1):
            a[i, j] = -a[i, j]
            a[j, i] = a[i, j]


@compiled()
def _restricted(gram, inverse, known, moment, free, passive, b, slope, some, small):  # type: ignore[no-untyped-def]
    """Solve the regression with the coefficients that are not passive fixed at 0. Fill b and the slopes of those at 0.

    ``free`` holds the solution without bounds if the inverse is ``known``. The system has the size of the passive coefficients, or of the
    others if the inverse is known and these are fewer.
    """
    size = b.shape[0]
    held = 0
    for p in range(size):
        held += not passive[p]
    if known and held < size - held:
        n = 0
        for p in range(size):
            b[p], slope[p] = free[p], 0.0
            if not passive[p]:
                some[n] = p
                n += 1
        if n == 0:
            return
        for i in range(n):
            row = inverse[some[i]]
            for j in range(i, n):
                small[i, j] = row[some[j]]
            slope[i] = -free[some[i]]
        factorise(small, n)
        substitute(small, n, slope)
        for i in range(n):
            row, value = inverse[some[i]], slope[i]
            for p in range(size):
                b[p] += value * row[p]
        for i in range(n - 1, -1, -1):
            value = slope[i]
            slope[i] = 0.0
            slope[some[i]] = value
            b[some[i]] = 0.0
        return
    n = 0
    for p in range(size):
        slope[p] = -moment[p]
        if passive[p]:
            some[n] = p
            b[n] = moment[p]
            n += 1
    for i in range(n):
        row = gram[some[i]]
        for j in range(i, n):
            small[i, j] = row[some[j]]
    if n > 0:
        factorise(small, n)
        substitute(small, n, b)
    for i in range(n):
        row, value = gram[some[i]], b[i]
        for p in range(size):
            slope[p] += value * row[p]
    for p in range(n, size):
        b[p] = 0.0
    for i in range(n - 1, -1, -1):
        value = b[i]
        b[i] = 0.0
        b[some[i]] = value
        slope[some[i]] = 0.0


@compiled()
def exchange(gram, inverse, known, moment, passive, b, free, slope, some, small):  # type: ignore[no-untyped-def]
    """Minimise ``b'gram b / 2 - moment'b`` over b >= 0, for a positive definite gram (P, P); ``passive`` (P,) starts the search.

    ``inverse`` is that of gram, if it is ``known``. ``free``, ``slope``, ``some`` (P,) and ``small`` (P, P) are work space.
    """
    size = b.shape[0]
    if known:
        for p in range(size):
            free[p] = 0.0
        for p in range(size):
            value, row = moment[p], inverse[p]
            for q in range(size):
                free[q] += value * row[q]
    steep = 0.0
    for p in range(size):
        steep = max(steep, abs(moment[p]))
    fewest, left = size + 1, _PATIENCE
    for _ in range(20 * size + 20):
        _restricted(gram, inverse, known, moment, free, passive, b, slope, some, small)
        largest = 0.0
        for p in range(size):
            largest = max(largest, abs(b[p]))
        wrong, last = 0, -1
        for p in range(size):
            if (passive[p] and b[p] < -_ROUNDING * largest) or (not passive[p] and slope[p] < -_ROUNDING * steep):
                wrong += 1
                last = p
        if wrong == 0:
            break
        if wrong < fewest:
            fewest, left = wrong, _PATIENCE
        else:
            left -= 1
        if left >= 0:
            for p in range(size):
                if passive[p]:
                    passive[p] = not b[p] < -_ROUNDING * largest
                elif slope[p] < -_ROUNDING * steep:
                    passive[p] = True
        else:
            passive[last] = not passive[last]
    for p in range(size):
        b[p] = max(b[p], 0.0)


@compiled()
def newton(x, target, dual, b, system):  # type: ignore[no-untyped-def]
    """Minimise ``|x'b - target|^2 + |b|^2`` over b >= 0, for rows x (P, R), by Newton's method for the dual variables (R,).

    These minimise ``|dual|^2 / 2 + |max(x dual, 0)|^2 / 2 - target'dual``, and b is max(x dual, 0). ``dual`` starts the search;
    ``system`` (R, R) is work space.
    """
    size, runs = x.shape
    step, before, moved = np.empty(runs), np.empty(runs), np.empty(runs)
    steep = 0.0
    for r in range(runs):
        steep = max(steep, abs(target[r]))
    value = _dual(x, target, dual, b, step)
    for _ in range(_NEWTON):
        largest = 0.0
        for r in range(runs):
            largest = max(largest, abs(step[r]))
        if largest <= 1e-13 * steep:
            break
        for r in range(runs):
            for q in range(runs):
                system[r, q] = 0.0
            system[r, r] = 1.0
        for p in range(size):
            if b[p] > 0.0:
                row = x[p]
                for r in range(runs):
                    height, into = row[r], system[r]
                    for q in range(r, runs):
                        into[q] += height * row[q]
        factorise(system, runs)
        slope = 0.0
        for r in range(runs):
            before[r] = step[r]
        substitute(system, runs, step)
        for r in range(runs):
            slope += before[r] * step[r]
            moved[r], before[r] = step[r], dual[r]
        length, found = 1.0, value
        for _ in range(_HALVINGS):
            for r in range(runs):
                dual[r] = before[r] + length * moved[r]
            found = _dual(x, target, dual, b, step)
            if found <= value - 1e-4 * length * slope or abs(slope) <= 1e-14 * abs(value):
                break
            length *= 0.5
        value = found


@compiled(fastmath={"reassoc"})
def _dual(x, target, dual, b, descent):  # type: ignore[no-untyped-def]
    """Return the dual objective; fill b and the direction of steepest descent (R,)."""
    size, runs = x.shape
    value = 0.0
    for r in range(runs):
        descent[r] = target[r] - dual[r]
        value += dual[r] * (0.5 * dual[r] - target[r])
    for p in range(size):
        row, total = x[p], 0.0
        for r in range(runs):
            total += row[r] * dual[r]
        b[p] = max(total, 0.0)
        if b[p] > 0.0:
            value += 0.5 * b[p] * b[p]
            for r in range(runs):
                descent[r] -= b[p] * row[r]
    return value
