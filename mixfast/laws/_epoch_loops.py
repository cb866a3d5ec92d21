"""Inner loops of the law in epochs, compiled by Numba: held-out errors of many non-negative regressions, and the end of a single one.

Private: `_epoch_search` imports this module only when it fits, because it loads Numba. The loops use no threads.
"""

from __future__ import annotations

import numpy as np

from mixfast._engine.backend.compiled import compiled
from mixfast.laws._non_negative_loops import exchange, invert, newton

# Limits the exponent of a trial, so that held-out errors stay finite.
_HIGHEST = 300.0
# Harms are penalised this many times more than gains. Without this, a harm that the runs barely show grows exponentially beyond them.
_HARM = 300.0
# With at least this many deficits, the inverse of a Gram matrix costs less than it saves.
_SHARED = 8
# Most sweeps at the end of a fit; they stop earlier if no coefficient changes the objective by more than the tolerance, as a fraction of
# its decrease from b = 0.
_SWEEPS, _TOLERANCE = 100, 1e-22


@compiled()
def penalties(variance, domains, ridge, out):  # type: ignore[no-untyped-def]
    """Fill the penalty (P,) of each coefficient: the ridge times the mean variance of its kind of columns, gains or harms."""
    size = out.shape[0]
    for begin, end in ((0, domains), (domains, size)):
        total = 0.0
        for p in range(begin, end):
            total += variance[p]
        for p in range(begin, end):
            out[p] = ridge * (1.0 if begin == 0 else _HARM) * total / (end - begin)


@compiled()
def scaled(gram, domains, ridge, penalty, scale, out):  # type: ignore[no-untyped-def]
    """Fill the Gram matrix with its penalties, scaled to a diagonal of 1; a column without variance and penalty is left out."""
    size = gram.shape[0]
    for p in range(size):
        scale[p] = gram[p, p]
    penalties(scale, domains, ridge, penalty)
    for p in range(size):
        bend = gram[p, p] + penalty[p]
        scale[p] = 1.0 / np.sqrt(bend) if bend > 0.0 else 0.0
    for p in range(size):
        for q in range(size):
            out[p, q] = gram[p, q] * scale[p] * scale[q]
        out[p, p] = 1.0


@compiled()
def _huber(deficit, height, t, begin, end, delta):  # type: ignore[no-untyped-def]
    """Return the summed Huber loss of the runs ``begin : end`` whose logarithms are predicted to be ``height + t``."""
    total = 0.0
    for i in range(begin, end):
        miss = abs(deficit[i] - np.exp(min(height + t[i], _HIGHEST)))
        total += 0.5 * miss * miss if miss <= delta else delta * (miss - 0.5 * delta)
    return total


@compiled()
def _without(fold, first, second, count, mean, gram):  # type: ignore[no-untyped-def]
    """Fill the means (P,) and covariances (P, P) of the columns over the runs of the other folds, which are ``count``."""
    size = mean.shape[0]
    for p in range(size):
        mean[p] = 0.0
        for q in range(size):
            gram[p, q] = 0.0
    for e in range(first.shape[0]):
        if e != fold:
            for p in range(size):
                mean[p] += first[e, p] / count
                row, into = second[e, p], gram[p]
                for q in range(size):
                    into[q] += row[q]
    for p in range(size):
        for q in range(size):
            gram[p, q] = gram[p, q] / count - mean[p] * mean[q]


@compiled()
def _predicted(across, b, scale, begin, end, t):  # type: ignore[no-untyped-def]
    """Fill the sums t[begin:end] of the columns ``across`` (P, R) times b * scale (P,)."""
    for i in range(begin, end):
        t[i] = 0.0
    # One column after the other, which the compiler vectorises; each sum still adds its terms in the order of the columns.
    for p in range(b.shape[0]):
        if b[p] > 0.0:
            column, value, into = across[p, begin:end], b[p] * scale[p], t[begin:end]
            for i in range(into.size):
                into[i] += column[i] * value


@compiled()
def held_out(  # type: ignore[no-untyped-def]
    across, domains, bounds, first, second, level, cross, deficit, delta, limit, ridges, passive, out
):
    """Fill held-out errors (V, L): mean Huber loss of V deficits (V, R) for L ridges, one fold of the runs left out at a time.

    Fold f is the runs ``bounds[f] : bounds[f + 1]``. The moments of the columns ``across`` (P, R) in each fold are sums (F, P), products
    (F, P, P), sums of the logarithms (F, V) and their products with the columns (F, V, P). ``passive`` (V or 1, F, L, P) starts the
    searches; if there is one for all deficits, each search starts from the solution of the one before it. An error above ``limit``
    (V,) may lack some folds.
    """
    size, runs = across.shape
    folds, variants = bounds.shape[0] - 1, deficit.shape[0]
    gram, a, penalty, scale = np.empty((size, size)), np.empty((size, size)), np.empty(size), np.empty(size)
    inverse, small, some = np.empty((size, size)), np.empty((size, size)), np.empty(size, dtype=np.int64)
    mean, moment, b, free, slope = np.empty(size), np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    t = np.empty(runs)
    for v in range(variants):
        for l in range(ridges.shape[0]):
            out[v, l] = 0.0
    for f in range(folds):
        begin, end = bounds[f], bounds[f + 1]
        count = runs - (end - begin)
        _without(f, first, second, count, mean, gram)
        for l in range(ridges.shape[0]):
            left = 0
            for v in range(variants):
                left += out[v, l] <= limit[v]
            if left == 0:
                continue
            scaled(gram, domains, ridges[l], penalty, scale, a)
            shared = left >= _SHARED
            if shared:
                for p in range(size):
                    for q in range(size):
                        inverse[p, q] = a[p, q]
                invert(inverse)
            for v in range(variants):
                if out[v, l] > limit[v]:
                    continue
                height = 0.0
                for p in range(size):
                    moment[p] = 0.0
                for e in range(folds):
                    if e != f:
                        height += level[e, v] / count
                        row = cross[e, v]
                        for p in range(size):
                            moment[p] += row[p]
                for p in range(size):
                    moment[p] = (moment[p] / count - mean[p] * height) * scale[p]
                start = passive[v % passive.shape[0], f, l]
                exchange(a, inverse, shared, moment, start, b, free, slope, some, small)
                _predicted(across, b, scale, begin, end, t)
                for p in range(size):
                    height -= mean[p] * b[p] * scale[p]
                out[v, l] += _huber(deficit[v], height, t, begin, end, delta[v]) / runs


@compiled()
def held_out_wide(across, domains, bounds, target, deficit, delta, limit, ridges, out):  # type: ignore[no-untyped-def]
    """Fill the held-out errors (V, L) if there are more columns than runs; see `held_out`."""
    size, runs = across.shape
    folds, variants = bounds.shape[0] - 1, deficit.shape[0]
    mean, variance, penalty = np.empty(size), np.empty(size), np.empty(size)
    b, t = np.empty(size), np.empty(runs)
    for v in range(variants):
        for l in range(ridges.shape[0]):
            out[v, l] = 0.0
    for f in range(folds):
        begin, end = bounds[f], bounds[f + 1]
        count = runs - (end - begin)
        x, rows, y, system = np.empty((size, count)), np.empty((size, count)), np.empty(count), np.empty((count, count))
        duals = np.zeros((variants, count))
        for p in range(size):
            mean[p] = variance[p] = 0.0
            for i in range(count):
                x[p, i] = across[p, i if i < begin else i + end - begin]
                mean[p] += x[p, i] / count
            for i in range(count):
                x[p, i] -= mean[p]
                variance[p] += x[p, i] * x[p, i] / count
        for l in range(ridges.shape[0]):
            penalties(variance, domains, ridges[l], penalty)
            for p in range(size):
                penalty[p] = 1.0 / np.sqrt(count * penalty[p]) if penalty[p] > 0.0 else 0.0
                for i in range(count):
                    rows[p, i] = x[p, i] * penalty[p]
            for v in range(variants):
                if out[v, l] > limit[v]:
                    continue
                height = 0.0
                for i in range(count):
                    y[i] = target[v, i if i < begin else i + end - begin]
                    height += y[i] / count
                for i in range(count):
                    y[i] -= height
                newton(rows, y, duals[v], b, system)
                _predicted(across, b, penalty, begin, end, t)
                for p in range(size):
                    height -= mean[p] * b[p] * penalty[p]
                out[v, l] += _huber(deficit[v], height, t, begin, end, delta[v]) / runs


@compiled()
def descend(gram, ridge, moment, b, g):  # type: ignore[no-untyped-def]
    """Minimise ``b'(gram + diag(ridge))b / 2 - moment'b`` over b >= 0, in place from a b near the solution, by coordinate descent."""
    size = b.shape[0]
    for p in range(size):
        g[p] = moment[p]
    for p in range(size):
        if b[p] != 0.0:
            value, row = b[p], gram[p]
            for q in range(size):
                g[q] -= value * row[q]
            g[p] -= ridge[p] * value
    for _ in range(_SWEEPS):
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
        if largest <= _TOLERANCE * total:
            break
