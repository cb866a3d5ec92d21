"""Elementwise loops of the Gaussian process, compiled by Numba: Matern-5/2 values and slopes from scaled distances.

Import this module inside functions only: Numba takes a second to load. The exponential is our own, because Numba's is
called once per element and not vectorised: `exp(x) = 2^n exp(r)`, `n` found by adding 1.5 * 2^52, whose low bits then
hold the integer, `exp(r)` by its Taylor polynomial on |r| <= log(2)/2, which is right to 3e-16 at degree 12. The passes
over one row's buffer are apart so that each compiles to vector instructions without fast-math.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector

_LOG2E = 1.0 / math.log(2.0)
_SHIFT = 6755399441055744.0  # 1.5 * 2^52
# log(2) in two parts: the first has so few bits that n times it is exact.
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_LOWEST = -700.0
_C = tuple(1.0 / math.factorial(k) for k in range(13))
_C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9, _C10, _C11, _C12 = _C[2:]


@njit(cache=True, nogil=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _decay(
    gram: Vector, norm: float, norms: Vector, s: Vector, e: Vector, scale: Vector, bits: NDArray[np.int64]
) -> None:
    """One row: s = sqrt(5) r and e = exp(-s) from inner products; `bits` is `scale` seen as integers."""
    for j in range(gram.shape[0]):
        s[j] = math.sqrt(5.0 * max(norm + norms[j] - 2.0 * gram[j], 0.0))
    for j in range(gram.shape[0]):
        x = max(-s[j], _LOWEST)
        shifted = x * _LOG2E + _SHIFT
        scale[j] = shifted
        n = shifted - _SHIFT
        r = (x - n * _LN2_HIGH) - n * _LN2_LOW
        p = _C12
        p = p * r + _C11
        p = p * r + _C10
        p = p * r + _C9
        p = p * r + _C8
        p = p * r + _C7
        p = p * r + _C6
        p = p * r + _C5
        p = p * r + _C4
        p = p * r + _C3
        p = p * r + _C2
        p = p * r + 1.0
        e[j] = p * r + 1.0
    for j in range(gram.shape[0]):
        bits[j] = (bits[j] + 1023) << 52
    for j in range(gram.shape[0]):
        e[j] *= scale[j]


@njit(cache=True, nogil=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def covariance(
    gram: Matrix, norms: Vector, linear: Matrix, amplitude: float, slope: float, noise: float, k: Matrix, h: Matrix
) -> None:
    """Lower triangles of the covariance of runs, and of `-2 dk/d(r^2)` of the Matern part, 0 above and on the diagonal."""
    runs = gram.shape[0]
    s, e, scale = np.empty(runs), np.empty(runs), np.empty(runs)
    bits = scale.view(np.int64)
    for i in range(runs):
        _decay(gram[i, :i], norms[i], norms[:i], s[:i], e[:i], scale[:i], bits[:i])
        for j in range(i):
            k[i, j] = amplitude * (1.0 + s[j] + s[j] * s[j] * (1.0 / 3.0)) * e[j] + slope * linear[i, j]
        for j in range(i):
            h[i, j] = (5.0 / 3.0) * (1.0 + s[j]) * e[j]
        k[i, i] = amplitude + slope * linear[i, i] + noise
        h[i, i:] = 0.0


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})  # type: ignore[untyped-decorator]
def weigh(inverse: Matrix, alpha: Vector, linear: Matrix, h: Matrix) -> float:
    """Multiply h by `alpha alpha' - inverse`, in place; return the sum of that matrix times `linear`. Lower triangles."""
    total = 0.0
    for i in range(inverse.shape[0]):
        own = alpha[i]
        row = 0.0
        for j in range(i):
            a = own * alpha[j] - inverse[i, j]
            h[i, j] *= a
            row += a * linear[i, j]
        total += 2.0 * row + (own * own - inverse[i, i]) * linear[i, i]
    return total


@njit(cache=True, nogil=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def matern(gram: Matrix, rows: Vector, columns: Vector, k: Matrix) -> None:
    """Matern-5/2 correlations of every row with every column, from inner products, in whose place they may go."""
    n = gram.shape[1]
    s, e, scale = np.empty(n), np.empty(n), np.empty(n)
    bits = scale.view(np.int64)
    for i in range(gram.shape[0]):
        _decay(gram[i], rows[i], columns, s, e, scale, bits)
        for j in range(n):
            k[i, j] = (1.0 + s[j] + s[j] * s[j] * (1.0 / 3.0)) * e[j]


@njit(cache=True, nogil=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def matern_slope(gram: Matrix, rows: Vector, columns: Vector, alpha: Vector, k: Matrix, h: Matrix) -> None:
    """The correlations, and `-2 dk/d(r^2)` times alpha."""
    n = gram.shape[1]
    s, e, scale = np.empty(n), np.empty(n), np.empty(n)
    bits = scale.view(np.int64)
    for i in range(gram.shape[0]):
        _decay(gram[i], rows[i], columns, s, e, scale, bits)
        for j in range(n):
            k[i, j] = (1.0 + s[j] + s[j] * s[j] * (1.0 / 3.0)) * e[j]
        for j in range(n):
            h[i, j] = alpha[j] * (5.0 / 3.0) * (1.0 + s[j]) * e[j]
