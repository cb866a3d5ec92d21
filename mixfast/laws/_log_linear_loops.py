"""Inner loops of the log-linear law, compiled by Numba: descend from a start, and search many starts for many metrics.

The residual of run i is ``r = y_i - c - exp(z_i . b)``; the loss is Huber's, summed, plus ``b' quad b / 2``. Private:
`log_linear` imports this module when it fits, for it loads Numba.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Beyond e^50 a trial point is no candidate; refusing it here keeps infinities out of the sums.
_HIGHEST = 50.0


@njit(cache=True, nogil=True)
def value(z, y, delta, quad, floor, c, b, m, r):  # type: ignore[no-untyped-def]
    """Return the loss at (c, b), and leave exp(z.b) in `m` and the residuals in `r`; infinite outside the domain."""
    runs, width = z.shape
    if not c >= floor:
        return np.inf
    total = 0.0
    np.dot(z, b, m)
    for i in range(runs):
        if not m[i] < _HIGHEST:
            return np.inf
        m[i] = np.exp(m[i])
        r[i] = y[i] - c - m[i]
        size = abs(r[i])
        total += 0.5 * size * size if size <= delta else delta * (size - 0.5 * delta)
    for k in range(width):
        for l in range(width):
            total += 0.5 * b[k] * quad[k, l] * b[l]
    return total


@njit(cache=True, nogil=True)
def _solve(h, g, step):  # type: ignore[no-untyped-def]
    """Solve ``h step = -g`` by Cholesky in place of `h`; False where h is not safely positive definite."""
    n = g.shape[0]
    for j in range(n):
        s = h[j, j]
        whole = s
        for k in range(j):
            s -= h[j, k] * h[j, k]
        if not s > 1e-13 * abs(whole):
            return False
        pivot = np.sqrt(s)
        h[j, j] = pivot
        for i in range(j + 1, n):
            t = h[i, j]
            for k in range(j):
                t -= h[i, k] * h[j, k]
            h[i, j] = t / pivot
    for j in range(n):
        t = -g[j]
        for k in range(j):
            t -= h[j, k] * step[k]
        step[j] = t / h[j, j]
    for j in range(n - 1, -1, -1):
        t = step[j]
        for k in range(j + 1, n):
            t -= h[k, j] * step[k]
        step[j] = t / h[j, j]
    return True


@njit(cache=True, nogil=True)
def descend(z, y, delta, quad, floor, c, b, steps, tol):  # type: ignore[no-untyped-def]
    """Descend from (c, b), `b` in place; return the loss, c and the number of steps.

    Newton's matrix of this loss can be indefinite, and between its kinks it sees only the runs within delta. The matrix
    of iterated weights (those of Huber: delta / |r| beyond delta) majorises, so ``newton + damp * weights`` goes from one to
    the other as `damp` grows from 0, and one that fails is damped more.
    """
    runs, width = z.shape
    m, r = np.empty(runs), np.empty(runs)
    m_new, r_new = np.empty(runs), np.empty(runs)
    cross, bend = np.empty(runs), np.empty(runs)
    zb = np.empty((runs, width))
    g, step = np.empty(width + 1), np.empty(width + 1)
    h = np.empty((width + 1, width + 1))
    b_new = np.empty(width)
    loss = value(z, y, delta, quad, floor, c, b, m, r)
    damp, quiet, done = 1.0, 0, 0
    while done < steps and loss < np.inf:
        done += 1
        top = 0.0
        sum_psi = 0.0
        for i in range(runs):
            size = abs(r[i])
            if size <= delta:
                psi, inside, weight = r[i], 1.0, 1.0
            else:
                psi = delta if r[i] > 0.0 else -delta
                inside, weight = 0.0, delta / size
            sum_psi += psi
            s = inside + damp * weight
            top += s
            m_new[i] = psi * m[i]
            cross[i] = s * m[i]
            bend[i] = s * m[i] * m[i] - m_new[i]
        for i in range(runs):
            for k in range(width):
                zb[i, k] = bend[i] * z[i, k]
        h[1:, 1:] = np.dot(z.T, zb)
        g[1:] = np.dot(quad, b) - np.dot(m_new, z)
        h[1:, 0] = np.dot(cross, z)
        g[0] = -sum_psi
        h[0, 0] = top
        for k in range(width):
            for l in range(width):
                h[k + 1, l + 1] += quad[k, l]
            h[k + 1, k + 1] *= 1.0 + 1e-12
        if c <= floor and g[0] > 0.0:  # held at its limit
            h[1:, 0] = 0.0
            g[0] = 0.0
        if not _solve(h, g, step):
            damp = max(4.0 * damp, 1e-3)
            if damp > 1e12:
                break
            continue
        promised = 0.0
        for k in range(width + 1):
            promised -= g[k] * step[k]
        c_new = max(c + step[0], floor)
        for k in range(width):
            b_new[k] = b[k] + step[k + 1]
        loss_new = value(z, y, delta, quad, floor, c_new, b_new, m_new, r_new)
        won = loss - loss_new
        if won > 0.0:
            small = won <= tol * loss
            loss, c = loss_new, c_new
            b[:] = b_new
            m, m_new = m_new, m
            r, r_new = r_new, r
            ratio = won / promised
            if ratio > 0.4:
                damp = damp * 0.2 if damp > 1e-6 else 0.0
            elif ratio < 0.1:
                damp = max(2.0 * damp, 1e-3)
            quiet = quiet + 1 if small else 0
            # Nearly undamped, Newton's step is the whole way to the minimum; a damped one may just have been short.
            if quiet >= 2 or (small and damp <= 1e-3):
                break
        else:
            if promised <= tol * loss:
                break
            damp = max(4.0 * damp, 1e-3)
            if damp > 1e12:
                break
    return loss, c, done
