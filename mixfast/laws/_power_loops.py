"""Inner loops of the power laws, compiled by Numba: values with derivatives, and a descent within bounds.

Private: `power` imports this module only when it fits, because it loads Numba. The loops call no BLAS and use no threads, so the same
runs give the same bits in every process.
"""

from __future__ import annotations

import numpy as np

from mixfast._engine.backend.compiled import compiled

AUTOSCALE, BIMIX = 0, 1
# Limits the exponent of a term, so that trial points stay finite; no real metric is this large.
_HIGHEST = 300.0
# The initial damping of a step, and the largest; with the largest, a step changes nothing.
_FIRST_DAMP, _LAST_DAMP = 1.0, 1e12
# Keeps the damping positive for parameters without effect on any run.
_LEAST_SCALE = 1e-12
# A descent ends after this many consecutive steps that reduce the loss by less than the tolerance.
_QUIET = 4


@compiled()
def residuals(kind, u, x, tokens, y, r, jacobian):  # type: ignore[no-untyped-def]
    """Fill the residuals ``f(u) - y`` and the Jacobian (P, R) of a law; return half the sum of squares.

    AutoScale: u is level, log scale, log alpha (K), log gamma (K), and x are shares. BiMix: u is factor (K), alpha (K), and x are the
    negative logarithms of the clipped shares.
    """
    runs, domains = x.shape
    for i in range(runs):
        r[i] = -y[i]
    if kind == AUTOSCALE:
        for i in range(runs):
            r[i] += u[0]
            jacobian[0, i] = 1.0
            jacobian[1, i] = 0.0
        scale = np.exp(u[1])
        for k in range(domains):
            alpha, gamma = np.exp(u[2 + k]), np.exp(u[2 + domains + k])
            for i in range(runs):
                base = alpha + x[i, k]
                log = np.log(tokens * base)
                power = scale * np.exp(min(-gamma * log, _HIGHEST))
                r[i] += power
                jacobian[1, i] += power
                jacobian[2 + k, i] = -gamma * alpha / base * power
                jacobian[2 + domains + k, i] = -gamma * log * power
    else:
        for k in range(domains):
            factor, alpha = u[k], u[domains + k]
            for i in range(runs):
                power = np.exp(min(alpha * x[i, k], _HIGHEST))
                r[i] += factor * power
                jacobian[k, i] = power
                jacobian[domains + k, i] = factor * x[i, k] * power
    total = 0.0
    for i in range(runs):
        total += r[i] * r[i]
    return 0.5 * total


@compiled()
def _normal(jacobian, r, h, g):  # type: ignore[no-untyped-def]
    """Fill J'J (lower triangle) and J'r from the Jacobian (P, R)."""
    size, runs = jacobian.shape
    for p in range(size):
        a = jacobian[p]
        total = 0.0
        for i in range(runs):
            total += a[i] * r[i]
        g[p] = total
    # Eight independent sums: in a single sum, each addition must wait for the previous one.
    for p in range(size):
        a = jacobian[p]
        for q in range(p + 1):
            b = jacobian[q]
            s0, s1, s2, s3, s4, s5, s6, s7 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            even = runs - runs % 8
            for i in range(0, even, 8):
                s0 += a[i] * b[i]
                s1 += a[i + 1] * b[i + 1]
                s2 += a[i + 2] * b[i + 2]
                s3 += a[i + 3] * b[i + 3]
                s4 += a[i + 4] * b[i + 4]
                s5 += a[i + 5] * b[i + 5]
                s6 += a[i + 6] * b[i + 6]
                s7 += a[i + 7] * b[i + 7]
            for i in range(even, runs):
                s0 += a[i] * b[i]
            h[p, q] = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))


@compiled()
def _step(h, g, damp, scale, low, high, u, free, l, step):  # type: ignore[no-untyped-def]
    """Fill the damped Gauss-Newton step within bounds: parameters that would leave them stay at the bound, and the others are solved again.

    Return False if the matrix is not safely positive definite.
    """
    size = g.shape[0]
    for p in range(size):
        held = (u[p] <= low[p] and g[p] >= 0.0) or (u[p] >= high[p] and g[p] <= 0.0)
        free[p] = not held
        step[p] = 0.0
    for _ in range(size + 1):
        for p in range(size):
            if not free[p]:
                continue
            s = h[p, p] + damp * scale[p]
            whole = s
            for q in range(p):
                if free[q]:
                    t = h[p, q]
                    for o in range(q):
                        if free[o]:
                            t -= l[p, o] * l[q, o]
                    l[p, q] = t / l[q, q]
                    s -= l[p, q] * l[p, q]
            if not s > 1e-14 * whole:
                return False
            l[p, p] = np.sqrt(s)
        for p in range(size):
            if free[p]:
                t = -g[p]
                for q in range(size):
                    if not free[q] and step[q] != 0.0:
                        t -= (h[p, q] if p > q else h[q, p]) * step[q]
                for q in range(p):
                    if free[q]:
                        t -= l[p, q] * step[q]
                step[p] = t / l[p, p]
        for p in range(size - 1, -1, -1):
            if free[p]:
                t = step[p]
                for q in range(p + 1, size):
                    if free[q]:
                        t -= l[q, p] * step[q]
                step[p] = t / l[p, p]
        beyond = False
        for p in range(size):
            if free[p]:
                if u[p] + step[p] < low[p]:
                    step[p] = low[p] - u[p]
                    free[p] = False
                    beyond = True
                elif u[p] + step[p] > high[p]:
                    step[p] = high[p] - u[p]
                    free[p] = False
                    beyond = True
        if not beyond:
            return True
    return True


@compiled()
def descend(kind, u, x, tokens, y, low, high, steps, tol, even):  # type: ignore[no-untyped-def]
    """Descend from u, in place, within bounds; return half the sum of squares.

    Levenberg and Marquardt's method: the damping of J'J is proportional to its largest diagonal so far (More 1978), or the same for all
    parameters with ``even`` (Levenberg 1944). It is updated by how well the last step matched its predicted gain (Nielsen 1999).
    """
    runs, size = x.shape[0], u.shape[0]
    r, r_new = np.empty(runs), np.empty(runs)
    jacobian, jacobian_new = np.empty((size, runs)), np.empty((size, runs))
    h, l = np.zeros((size, size)), np.zeros((size, size))
    g, scale, step, trial = np.empty(size), np.full(size, _LEAST_SCALE), np.empty(size), np.empty(size)
    free = np.empty(size, np.bool_)
    for p in range(size):
        u[p] = min(max(u[p], low[p]), high[p])
    loss = residuals(kind, u, x, tokens, y, r, jacobian)
    damp, grow, quiet, done, fresh = _FIRST_DAMP, 2.0, 0, 0, True
    if even:
        _normal(jacobian, r, h, g)
        for p in range(size):
            scale[p] = 1.0
            damp = max(damp, 1e-3 * h[p, p])
    while done < steps and loss > 0.0:
        done += 1
        if fresh:
            _normal(jacobian, r, h, g)
            for p in range(0 if even else size):
                scale[p] = max(scale[p] if kind == AUTOSCALE else _LEAST_SCALE, h[p, p])
        solved = _step(h, g, damp, scale, low, high, u, free, l, step)
        promised = 0.0
        if solved:
            for p in range(size):
                t = 0.0
                for q in range(size):
                    t += (h[p, q] if p >= q else h[q, p]) * step[q]
                promised -= step[p] * (g[p] + 0.5 * t)
                trial[p] = min(max(u[p] + step[p], low[p]), high[p])
        fresh = False
        won = -1.0
        if promised > 0.0:
            loss_new = residuals(kind, trial, x, tokens, y, r_new, jacobian_new)
            won = loss - loss_new
        if won > 0.0:
            quiet = quiet + 1 if won <= tol * loss else 0
            loss = loss_new
            u[:] = trial
            r, r_new = r_new, r
            jacobian, jacobian_new = jacobian_new, jacobian
            fresh = True
            damp = max(damp * max(1.0 / 3.0, 1.0 - (2.0 * won / promised - 1.0) ** 3), 1e-15)
            grow = 2.0
            if quiet >= _QUIET:
                break
        else:
            if solved and promised <= tol * loss:
                break
            damp, grow = max(damp, 1e-12) * grow, 2.0 * grow
            if damp > _LAST_DAMP:
                break
    return loss


@compiled()
def backfit(kind, u, x, tokens, y, low, high, first, second, passes):  # type: ignore[no-untyped-def]
    """Replace single terms in place by the best of a grid of shapes while the other terms stay; return half the sum of squares.

    AutoScale: ``first`` holds logarithms of alpha, ``second`` of gamma; the level is fitted again with each shape. BiMix: ``first`` holds
    exponents, ``second`` holds one unused number; the factor is fitted again with each exponent.
    """
    runs, domains = x.shape
    rest, term, best_term = np.empty(runs), np.empty(runs), np.empty(runs)
    values = np.zeros((domains, runs))
    total = np.zeros(runs)
    scale = np.exp(u[1]) if kind == AUTOSCALE else 1.0
    for k in range(domains):
        for i in range(runs):
            if kind == AUTOSCALE:
                log = np.log(tokens * (np.exp(u[2 + k]) + x[i, k]))
                values[k, i] = scale * np.exp(min(-np.exp(u[2 + domains + k]) * log, _HIGHEST))
            else:
                values[k, i] = u[k] * np.exp(min(u[domains + k] * x[i, k], _HIGHEST))
            total[i] += values[k, i]
    level = u[0] if kind == AUTOSCALE else 0.0
    loss = 0.0
    for i in range(runs):
        loss += 0.5 * (total[i] + level - y[i]) ** 2
    for _ in range(passes):
        before = loss
        for k in range(domains):
            for i in range(runs):
                rest[i] = y[i] - (total[i] - values[k, i])
            found = False
            for a in first:
                for b in second:
                    if kind == AUTOSCALE:
                        alpha, gamma, mean = np.exp(a), np.exp(b), 0.0
                        for i in range(runs):
                            term[i] = scale * np.exp(min(-gamma * np.log(tokens * (alpha + x[i, k])), _HIGHEST))
                            mean += rest[i] - term[i]
                        own = min(max(mean / runs, low[0]), high[0])
                    else:
                        top, under, own = 0.0, 0.0, 0.0
                        for i in range(runs):
                            term[i] = np.exp(min(a * x[i, k], _HIGHEST))
                            top += term[i] * rest[i]
                            under += term[i] * term[i]
                        factor = max(top / under, 0.0)
                        for i in range(runs):
                            term[i] *= factor
                    new = 0.0
                    for i in range(runs):
                        new += 0.5 * (rest[i] - term[i] - own) ** 2
                    if new < loss * (1.0 - 1e-6):
                        loss, found = new, True
                        best_term[:] = term
                        if kind == AUTOSCALE:
                            u[0], u[2 + k], u[2 + domains + k] = own, a, b
                        else:
                            u[k], u[domains + k] = factor, a
            if found:
                for i in range(runs):
                    total[i] += best_term[i] - values[k, i]
                    values[k, i] = best_term[i]
        if not loss < 0.99 * before:
            break
    return loss
