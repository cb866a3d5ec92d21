"""Few rows in place of many: depths in one byte or half a byte each, and weights with which some rows have the losses of all rows.

A sum over some of the rows, each with the inverse of the probability that it was chosen, is right on average, but off by its sampling error.
Calibration changes these weights as little as possible so that the sum is exact for quantities that are known for all rows: here the losses of
some mixtures. Between these mixtures losses are smooth, so the sum is then nearly exact for the others as well.

References
----------
Deville and Särndal, "Calibration Estimators in Survey Sampling", JASA 87 (1992): case 6, the linear method with truncated weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.backend.blas import single_blas
from mixfast._engine.objectives import log_sum_exp

# Calibrated weights are at least this fraction of the weights before, and so positive.
_LEAST = 0.02
# Eigenvalues below one of these fractions of the largest are left out. The first leaves out losses that follow from others. If positive weights of
# few rows cannot meet the totals, the next ones are tried: they leave out directions in which all losses vary little.
_RANKS = (1e-9, 1e-7, 1e-6, 1e-5)
# Steps of each fraction; totals that are met, and those that are nearly met, relative to the largest.
_STEPS, _MET, _NEAR = 40, 1e-8, 1e-4
# Rows, and elements, that are processed at once.
_ROWS, _ELEMENTS = 4096, 1 << 21
# Probabilities of a row below this are computed by log-sum-exp: less than the smallest normal number of the type.
_SMALL = {np.dtype(np.float32): 1e-36, np.dtype(np.float64): 1e-290}


def coded(depth: Matrix, bits: int = 8) -> tuple[NDArray[np.uint8], Vector]:
    """Return depths (n, K) >= 0 in nats below the best expert of the row, as codes and the depth of each code, (2 ** bits,).

    The last code is a probability of 0.
    Steps are nearly even below 1 nat, and proportional to the depth far above: rows that few experts explain matter as well.
    """
    finite = np.isfinite(depth)
    deepest = float(depth[finite].max(initial=0.0))
    last = 2**bits - 1
    step = np.log1p(max(deepest, 1e-6)) / (last - 1)
    codes = np.where(finite, np.rint(np.log1p(np.where(finite, depth, 0.0)) / step), last).astype(np.uint8)
    return codes, np.append(np.expm1(step * np.arange(last)), np.inf)


def row_losses(depth: NDArray[Any], mixtures: Matrix, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Compute ``-log sum_k w_mk exp(-depth_ik)`` of each row and mixture, (n, M) nats, in the type of `depth`.

    The loss is infinite where a mixture gives a row the probability 0.
    """
    small = _SMALL[depth.dtype]
    out = np.empty((depth.shape[0], mixtures.shape[0]), dtype=depth.dtype) if out is None else out
    shares = np.ascontiguousarray(mixtures.T, dtype=depth.dtype)
    step = max(1, _ELEMENTS // max(depth.shape[1], mixtures.shape[0], 1))
    for start in range(0, depth.shape[0], step):
        rows = slice(start, start + step)
        mixed = np.exp(-depth[rows]) @ shares
        lost = np.flatnonzero((mixed < small).any(axis=0))
        with np.errstate(divide="ignore"):
            np.log(mixed, out=out[rows])
        np.negative(out[rows], out=out[rows])
        for m in lost.tolist():
            where = start + np.flatnonzero(mixed[:, m] < small)
            out[where, m] = -log_sum_exp.log_mixed(-depth[where], mixtures[m])
    return out


def calibrated(weight: Vector, features: NDArray[np.float32], totals: Vector) -> Vector:
    """Return weights near `weight` (n,), all positive, whose sums over the features (n, M) of the rows are `totals` (M,).

    Minimises ``sum_i (w_i - weight_i)^2 / weight_i``, with each ``w_i / weight_i`` truncated from below. If positive weights cannot meet all
    totals, more of the small eigenvalues are left out, and the best iterate is returned. Steps use the same factor, so that all but the first
    are cheap.
    """
    count, width = features.shape
    blocks = [slice(start, start + _ROWS) for start in range(0, count, _ROWS)]
    root = np.sqrt(weight).astype(np.float32)

    def summed(w: Vector) -> Vector:
        # Sums of a block are in float32, those of blocks in float64.
        out: Vector = np.zeros(width)
        for rows in blocks:
            out += w[rows].astype(np.float32) @ features[rows]
        return out

    with single_blas():
        gram = np.zeros((width, width))
        for rows in blocks:
            scaled = features[rows] * root[rows, None]
            gram += scaled.T @ scaled
        size = np.sqrt(np.maximum(np.diagonal(gram), 1e-300))
        values, vectors = np.linalg.eigh(gram / np.outer(size, size))
        scale = max(1.0, float(np.abs(totals).max()))
        best, least = weight, np.inf
        for rank in _RANKS:
            kept = values > rank * values[-1]
            inverse, basis = 1.0 / values[kept], vectors[:, kept] / size[:, None]
            change: Vector = np.zeros(count)
            found, last = weight, np.inf
            for _ in range(_STEPS):
                missing = totals - summed(found)
                off = float(np.abs(missing).max())
                if off < least:
                    best, least = found, off
                # Truncation or rounding ends the progress.
                if off <= _MET * scale or off >= 0.9 * last:
                    break
                last = min(off, last)
                step = (basis @ (inverse * (missing @ basis))).astype(np.float32)
                change = change + np.concatenate([features[rows] @ step for rows in blocks])
                found = weight * np.maximum(1.0 + change, _LEAST)
            if least <= _NEAR * scale:
                break
    return best
