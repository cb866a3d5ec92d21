"""The next runs by what they are expected to buy: information on a log-linear law's coefficients, or improvement."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast import _candidates, _design_cover
from mixfast._target import Target
from mixfast.region import Region

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
Places = NDArray[np.int64]

# Candidates of each half: all over the region, and around the best mixture.
_HALF = 2048
# Concentrations of the second half, up to where a share of 0.1 moves by 0.01.
_NEAR = (16.0, 64.0, 256.0, 1024.0)

# Noise is taken to be at least this part of a metric's spread: laws fitted to few runs say they have none.
_LEAST_NOISE = 1e-3


def pool(region: Region, best: Vector, *, seed: int) -> Matrix:
    """Return candidates (M, K) all over the region and around its ``best`` mixture (K,)."""
    seeds = np.random.SeedSequence(seed).generate_state(len(_NEAR) + 1).tolist()
    # A little of the prior, so that a domain that the best mixture lacks may come back.
    centre = 0.95 * best + 0.05 * region.prior
    near = [
        _candidates.sample(region, _HALF // len(_NEAR), centre=centre, strength=strength, seed=own)
        for strength, own in zip(_NEAR, seeds[1:], strict=True)
    ]
    return np.concatenate([_design_cover.pool(region, _HALF, seeds[0]), *near])


def informative(law: Any, target: Target, points: Matrix, count: int) -> tuple[Places, Vector]:
    """Choose ``count`` of the points (M, K) that say most of the coefficients of log-linear laws.

    Greedy D-optimality: each run adds ``1/2 log(1 + g' C_j g / noise_j^2)`` nats on metric j, g the gradient of the
    law with respect to its coefficients and C_j their covariance, which the run then reduces. The sum over metrics,
    weighed by the objective, is submodular, so that greedy choices reach 63 % of the best at least (Nemhauser 1978).

    Returns
    -------
    positions (count,), and nats of information of each, given those before it
    """
    gain = np.zeros(len(points))
    parts = []
    for j in target.used:
        fitted, column = law.law_of(target.metrics[j])
        excess = np.exp(np.minimum(points @ fitted.a[column], 700.0))
        gradient = np.column_stack([np.ones(len(points)), excess[:, None] * points])
        covariance = fitted.covariance[column].copy()
        noise = max(float(fitted.noise[column]), _LEAST_NOISE * float(np.std(excess)), 1e-300) ** 2
        variance = np.einsum("mk,mk->m", gradient @ covariance, gradient)
        parts.append((float(target.weight[j]), gradient, covariance, noise, variance))
    chosen, nats = np.empty(count, dtype=np.int64), np.empty(count)
    taken = np.zeros(len(points), dtype=bool)
    for place in range(count):
        gain[:] = sum(0.5 * weight * np.log1p(np.maximum(v, 0.0) / noise) for weight, _, _, noise, v in parts)
        row = int(np.where(taken, -1.0, gain).argmax())
        chosen[place], nats[place], taken[row] = row, gain[row], True
        for _, gradient, covariance, noise, variance in parts:
            known = covariance @ gradient[row]
            scale = noise + max(float(gradient[row] @ known), 0.0)
            variance -= (gradient @ known) ** 2 / scale
            covariance -= np.outer(known, known) / scale
    return chosen, nats


def improving(
    mean: Vector, sd: Vector, best: float, points: Matrix, known: Matrix, count: int
) -> tuple[Places, Vector]:
    """Choose ``count`` of the points (M, K) that are expected to improve most on ``best``, an objective to minimise.

    Each is the point of largest expected improvement; the next is chosen as if it had come out as predicted, which
    takes the uncertainty of the points near it away. How far "near" goes is told by the runs (R, K) that are
    ``known``: the median Hellinger distance to the nearest other, as the law's own covariances between points are not
    to be had of every law (local penalisation, González et al. 2016).

    Returns
    -------
    positions (count,), and expected improvements (count,) in the unit of the objective, each given those before it
    """
    roots, seen = np.sqrt(np.maximum(points, 0.0)), np.sqrt(known)
    squares = np.maximum(2.0 - 2.0 * seen @ seen.T, 0.0)
    np.fill_diagonal(squares, np.inf)
    length = float(np.median(squares.min(axis=1))) if len(known) > 1 else 0.0
    sd = sd.copy()
    chosen, gains = np.empty(count, dtype=np.int64), np.empty(count)
    taken = np.zeros(len(points), dtype=bool)
    for place in range(count):
        gain = expected_improvement(mean, sd, best)
        # Where no improvement can be told from 0, the most uncertain point is the next best.
        order = np.lexsort((sd, np.where(taken, -1.0, gain)))
        row = int(order[-1])
        chosen[place], gains[place], taken[row] = row, gain[row], True
        best = min(best, float(mean[row]))
        apart = np.maximum(2.0 - 2.0 * roots @ roots[row], 0.0)
        alike = np.exp(-apart / length) if length > 0.0 else (apart <= 0.0).astype(np.float64)
        sd *= np.sqrt(np.maximum(1.0 - alike, 0.0))
    return chosen, gains


def expected_improvement(mean: Vector, sd: Vector, best: float) -> Vector:
    """``E max(best - f, 0)`` for f normal (M,); Jones, Schonlau and Welch 1998."""
    safe = np.maximum(sd, 1e-300)
    z = np.clip((best - mean) / safe, -38.0, 38.0)
    density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    below = np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in z.tolist()])
    return np.where(sd > 0.0, np.maximum(safe * (z * below + density), 0.0), np.maximum(best - mean, 0.0))
