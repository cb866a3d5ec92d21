"""Inner loops of the law in epochs, compiled by Numba: Gram matrices of shapes, non-negative least squares, held-out errors.

Private: `_epoch_search` imports this module only when it fits, because it loads Numba. The loops call no BLAS and use no threads, so the
same runs give the same bits in every process.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Limits the exponent of a trial, so that held-out errors stay finite.
_HIGHEST = 300.0
# Harms are penalised this many times more than gains. Without this, a harm that the runs barely show grows exponentially beyond them.
_HARM = 30.0


@njit(cache=True, nogil=True)
def columns_of(gain, harm, x):  # type: ignore[no-untyped-def]
    """Fill the columns x (R, K + H) of a shape: gains (R, K) with a minus sign, then harms (R, H)."""
    runs, domains = gain.shape
    for r in range(runs):
        for k in range(domains):
            x[r, k] = -gain[r, k]
        for k in range(harm.shape[1]):
            x[r, domains + k] = harm[r, k]


@njit(cache=True, nogil=True)
def _moments(x, order, bounds, first, second):  # type: ignore[no-untyped-def]
    """Fill sums (F, P) and sums of products (F, P, P) of the columns over the runs of each fold: ``order[bounds[f] : bounds[f + 1]]``."""
    size = x.shape[1]
    first[:] = 0.0
    second[:] = 0.0
    for f in range(first.shape[0]):
        i, end = bounds[f], bounds[f + 1]
        # Four runs at a time read and write each sum once; the terms are still added in the order of the runs.
        while i + 4 <= end:
            u, v, w, z = x[order[i]], x[order[i + 1]], x[order[i + 2]], x[order[i + 3]]
            for p in range(size):
                a, b, c, d = u[p], v[p], w[p], z[p]
                first[f, p] = (((first[f, p] + a) + b) + c) + d
                into = second[f, p]
                for q in range(p + 1):
                    into[q] = (((into[q] + a * u[q]) + b * v[q]) + c * w[q]) + d * z[q]
            i += 4
        while i < end:
            row = x[order[i]]
            for p in range(size):
                value = row[p]
                first[f, p] += value
                into = second[f, p]
                for q in range(p + 1):
                    into[q] += value * row[q]
            i += 1
        for p in range(size):
            for q in range(p):
                second[f, q, p] = second[f, p, q]


@njit(cache=True, nogil=True)
def solve(gram, ridge, moment, b, g, steps, tolerance):  # type: ignore[no-untyped-def]
    """Minimise ``b'(gram + diag(ridge))b / 2 - moment'b`` over b >= 0, in place from b, by coordinate descent.

    g is work space. The descent ends when no coordinate of a sweep changes the objective by more than the tolerance, as a
    fraction of the decrease from b = 0.
    """
    size = b.shape[0]
    for p in range(size):
        g[p] = moment[p]
    for p in range(size):
        if b[p] != 0.0:
            value, row = b[p], gram[p]
            for q in range(size):
                g[q] -= value * row[q]
            g[p] -= ridge[p] * value
    for _ in range(steps):
        largest, total = 0.0, 0.0
        for p in range(size):
            bend = gram[p, p] + ridge[p]
            if bend <= 0.0:
                continue
            new = max(b[p] + g[p] / bend, 0.0)
            change = new - b[p]
            if change != 0.0:
                row = gram[p]
                for q in range(size):
                    g[q] -= change * row[q]
                g[p] -= ridge[p] * change
                b[p] = new
                largest = max(largest, bend * change * change)
            total += b[p] * moment[p]
        if largest <= tolerance * total:
            break


@njit(cache=True, nogil=True)
def _penalties(gram, domains, ridge, out):  # type: ignore[no-untyped-def]
    """Fill the penalty (P,) of each coefficient: the ridge times the mean variance of its kind of columns, gains or harms."""
    size = out.shape[0]
    for begin, end in ((0, domains), (domains, size)):
        total = 0.0
        for p in range(begin, end):
            total += gram[p, p]
        for p in range(begin, end):
            out[p] = ridge * (1.0 if begin == 0 else _HARM) * total / (end - begin)


@njit(cache=True, nogil=True)
def _by_fold(fold, folds):  # type: ignore[no-untyped-def]
    """Return the runs (R,) ordered by fold, and where each fold begins (F + 1,)."""
    order, bounds = np.empty(fold.shape[0], dtype=np.int64), np.zeros(folds + 1, dtype=np.int64)
    i = 0
    for f in range(folds):
        for r in range(fold.shape[0]):
            if fold[r] == f:
                order[i] = r
                i += 1
        bounds[f + 1] = i
    return order, bounds


@njit(cache=True, nogil=True)
def score(  # type: ignore[no-untyped-def]
    x, domains, fold, folds, deficit, target, delta, ridges, steps, tolerance, start, out
):
    """Fill held-out errors (V, L): mean Huber loss of V deficits (V, R) for L ridges, one fold of the runs left out at a time.

    The logarithms that are fitted, ``target`` (V, R), may differ from those of the deficits, because outliers are moved. ``start``
    (V, F, P) holds coefficients to start from, and those of the last ridge afterwards.
    """
    runs, size = x.shape
    variants = deficit.shape[0]
    first, second = np.empty((folds, size)), np.empty((folds, size, size))
    order, bounds = _by_fold(fold, folds)
    _moments(x, order, bounds, first, second)
    across, t = np.empty((size, runs)), np.empty(runs)
    for i in range(runs):
        row = x[order[i]]
        for p in range(size):
            across[p, i] = row[p]
    out[:] = 0.0
    gram, mean, moment, g = np.empty((size, size)), np.empty(size), np.empty(size), np.empty(size)
    penalty = np.empty(size)
    cross, level = np.empty((variants, folds, size)), np.zeros((variants, folds))
    cross[:] = 0.0
    for v in range(variants):
        for r in range(runs):
            f, value, row = fold[r], target[v, r], x[r]
            level[v, f] += value
            into = cross[v, f]
            for p in range(size):
                into[p] += value * row[p]
    for f in range(folds):
        count = 0
        for r in range(runs):
            count += fold[r] != f
        mean[:] = 0.0
        gram[:] = 0.0
        for e in range(folds):
            if e != f:
                mean += first[e]
                gram += second[e]
        mean /= count
        for p in range(size):
            for q in range(size):
                gram[p, q] = gram[p, q] / count - mean[p] * mean[q]
        for v in range(variants):
            height = 0.0
            moment[:] = 0.0
            for e in range(folds):
                if e != f:
                    height += level[v, e]
                    moment += cross[v, e]
            height /= count
            for p in range(size):
                moment[p] = moment[p] / count - mean[p] * height
            b = start[v, f]
            for l in range(ridges.shape[0]):
                _penalties(gram, domains, ridges[l], penalty)
                solve(gram, penalty, moment, b, g, steps, tolerance)
                base = height
                for p in range(size):
                    base -= mean[p] * b[p]
                begin, end = bounds[f], bounds[f + 1]
                # One column after the other, which the compiler vectorises; each sum still adds its terms in the order of the columns.
                for i in range(begin, end):
                    t[i] = 0.0
                for p in range(size):
                    if b[p] != 0.0:
                        column, slope = across[p], b[p]
                        for i in range(begin, end):
                            t[i] += column[i] * slope
                for i in range(begin, end):
                    miss = abs(deficit[v, order[i]] - np.exp(min(base + t[i], _HIGHEST)))
                    if miss <= delta[v]:
                        out[v, l] += 0.5 * miss * miss / runs
                    else:
                        out[v, l] += delta[v] * (miss - 0.5 * delta[v]) / runs


@njit(cache=True, nogil=True)
def search(gains, harms, fold, folds, deficit, target, delta, ridges, steps, tolerance, out):  # type: ignore[no-untyped-def]
    """Fill the least held-out errors (V, S, T) over the ridges, of V deficits (V, R) for every shape: gains (S, R, K) and harms (T, R, H)."""
    variants, runs = deficit.shape
    size = gains.shape[2] + harms.shape[2]
    x = np.empty((runs, size))
    start = np.zeros((variants, folds, size))
    found = np.empty((variants, ridges.shape[0]))
    for s in range(gains.shape[0]):
        for i in range(harms.shape[0]):
            # Every second row backwards, so that each shape is a neighbour of the one before it, and its start is near.
            t = i if s % 2 == 0 else harms.shape[0] - 1 - i
            columns_of(gains[s], harms[t], x)
            score(x, gains.shape[2], fold, folds, deficit, target, delta, ridges, steps, tolerance, start, found)
            for v in range(variants):
                out[v, s, t] = found[v].min()


@njit(cache=True, nogil=True)
def fitted(x, domains, target, ridge, steps, tolerance, b, penalty):  # type: ignore[no-untyped-def]
    """Fit the logarithms (R,) with coefficients b (P,) >= 0, in place from b; fill their penalties (P,), and return the intercept."""
    runs, size = x.shape
    mean, gram, moment, g = np.zeros(size), np.zeros((size, size)), np.zeros(size), np.empty(size)
    height = 0.0
    for r in range(runs):
        height += target[r] / runs
        for p in range(size):
            mean[p] += x[r, p] / runs
    row = np.empty(size)
    for r in range(runs):
        for p in range(size):
            row[p] = x[r, p] - mean[p]
        for p in range(size):
            value = row[p] / runs
            moment[p] += value * (target[r] - height)
            for q in range(size):
                gram[p, q] += value * row[q]
    _penalties(gram, domains, ridge, penalty)
    solve(gram, penalty, moment, b, g, steps, tolerance)
    for p in range(size):
        height -= mean[p] * b[p]
    return height
