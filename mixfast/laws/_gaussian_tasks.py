"""One Gaussian process for all metrics (intrinsic coregionalisation), fitted to runs that have every metric.

The covariance of metric j in run r with metric j' in run r' is ``B[j, j'] K[r, r'] + noise_j [both equal]`` with
``B = W W' + diag(kappa)``. With ``noise^-1/2 B noise^-1/2 = U diag(u) U'`` and ``K = Q diag(s) Q'`` it is diagonal in the
basis of U and Q. A likelihood then costs R^3 + J^3, not (R J)^3 (Bonilla, Chai and Williams 2008).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import laws as loops
from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.audience import either
from mixfast.laws._gaussian_fit import maximise
from mixfast.laws._gaussian_inputs import correlations, squares
from mixfast.laws._gaussian_process import Process

# Fewer runs do not determine a process.
LEAST_RUNS = 3
_ITERATIONS = 100
# A weak prior keeps the shared length scales near the average of those fitted to each metric alone.
_LENGTH_PRECISION = 1.0


@dataclass(frozen=True, eq=False)
class Shared:
    """The process of all metrics that vary, given the runs that have all of them."""

    z: Matrix  # (R, D), features of the process
    t: Matrix  # (R, D), features of the trend
    lengths: Vector  # (D,), logarithms
    slope: float  # variance of the trend's coefficients, in units of the process
    between: Matrix  # B (J, J)
    noise: Vector  # (J,)

    def variance(self, z: Matrix, t: Matrix) -> Matrix:
        """Return predictive variances (M, J) of standardised targets at candidates (M, D)."""
        inverse, middle = np.exp(-self.lengths), self.z.mean(axis=0)
        zs, scaled = (self.z - middle) * inverse, (z - middle) * inverse
        k = correlations(zs, zs) + self.slope * (self.t @ self.t.T)
        k_new = correlations(scaled, zs) + self.slope * (t @ self.t.T)
        own = 1.0 + self.slope * squares(t)
        _, q, u, rotation, spread = decompose(k, self.between, self.noise)
        known = (k_new @ q) ** 2 @ (u * u / spread)
        return self.noise + self.noise * ((u * own[:, None] - known) @ (rotation**2).T)


class JointLikelihood:
    """Minus the log marginal likelihood of targets (R, J), with its gradient.

    Hyper-parameters: ``log l (D), log slope [where there is a trend], W (J rank), log kappa (J), log noise (J)``.
    """

    def __init__(self, z: Matrix, x: Matrix | None, targets: Matrix, rank: int) -> None:
        self.z, self.targets, self.rank = z, targets, rank
        self.trend = x is not None
        self.linear = x @ x.T if x is not None else np.zeros((len(z), len(z)))
        self.k, self.h = np.zeros((len(z), len(z))), np.zeros((len(z), len(z)))

    def parts(self, theta: Vector) -> tuple[Vector, float, Matrix, Vector, Vector]:
        """Split hyper-parameters into length scales (logarithms), slope, W, kappa and noise."""
        dims, metrics = self.z.shape[1], self.targets.shape[1]
        after = dims + self.trend
        slope = math.exp(theta[dims]) if self.trend else 0.0
        loadings = theta[after : after + metrics * self.rank].reshape(metrics, self.rank)
        kappa, noise = np.exp(theta[after + metrics * self.rank :]).reshape(2, metrics)
        return theta[:dims], slope, loadings, kappa, noise

    def covariance(self, lengths: Vector, slope: float) -> tuple[Matrix, Matrix]:
        """Return the full covariance K of the runs, and the scaled features; put the slopes of its Matern part into `h`."""
        zs = self.z * np.exp(-lengths)
        gram = zs @ zs.T
        loops.covariance(gram, np.diagonal(gram).copy(), self.linear, 1.0, slope, 0.0, self.k, self.h)
        return np.tril(self.k) + np.tril(self.k, -1).T, zs

    def __call__(self, theta: Vector) -> tuple[float, Vector]:
        """Return the value and the gradient."""
        lengths, slope, loadings, kappa, noise = self.parts(theta)
        runs, metrics = self.targets.shape
        k, zs = self.covariance(lengths, slope)
        between = loadings @ loadings.T + np.diag(kappa)
        s, q, u, rotation, spread = decompose(k, between, noise)
        rotated = q.T @ (self.targets / np.sqrt(noise)) @ rotation
        value = 0.5 * float((rotated**2 / spread).sum() + np.log(spread).sum() + runs * np.log(noise).sum())
        value += 0.5 * runs * metrics * math.log(2.0 * math.pi)

        alpha = q @ (rotated / spread) @ rotation.T / np.sqrt(noise)
        on_k = alpha @ between @ alpha.T - (q * (u / spread).sum(axis=1)) @ q.T
        h = self.h * on_k
        sums = h.sum(axis=1) + h.sum(axis=0)
        on_length = sums @ (zs * zs) - 2.0 * np.einsum("rd,rd->d", zs, h @ zs)
        back = rotation / np.sqrt(noise)[:, None]
        on_between = alpha.T @ k @ alpha - (back * (s[:, None] / spread).sum(axis=0)) @ back.T
        on_noise = noise * (alpha**2).sum(axis=0) - rotation**2 @ (1.0 / spread).sum(axis=0)
        pieces = [-on_length]
        if self.trend:
            pieces.append(np.array([-0.5 * slope * float((on_k * self.linear).sum())]))
        pieces += [-(on_between @ loadings).ravel(), -0.5 * np.diagonal(on_between) * kappa, -0.5 * on_noise]
        return value, np.concatenate(pieces)


def decompose(k: Matrix, between: Matrix, noise: Vector) -> tuple[Vector, Matrix, Vector, Matrix, Matrix]:
    """Return eigenvalues and eigenvectors of K, those of B divided by the noise, and the variances (R, J) in their basis."""
    s, q = np.linalg.eigh(k)
    scale = 1.0 / np.sqrt(noise)
    u, rotation = np.linalg.eigh(scale[:, None] * between * scale)
    s, u = np.maximum(s, 0.0), np.maximum(u, 0.0)
    return s, q, u, rotation, s[:, None] * u + 1.0


def complete(processes: Sequence[Process], y: Matrix) -> NDArray[np.bool_]:
    """Return which runs have every metric that varies."""
    return np.asarray(np.isfinite(y[:, [not process.is_still for process in processes]]).all(axis=1))


def fit_together(
    processes: Sequence[Process], y: Matrix, z: Matrix, t: Matrix | None, *, rank: int, prior: float
) -> tuple[list[Process], Shared]:
    """Replace the processes of metrics y (R, J) by one joint process of all metrics that vary, with features z and t (R, D).

    1. Standardise the targets of the runs that have every metric, as defined by the processes of single metrics.
    2. Find the hyper-parameters, starting from the average length scales of the single processes.
    3. Compute the weights of the runs in every metric's prediction.
    """
    which, rows = [j for j, process in enumerate(processes) if not process.is_still], complete(processes, y)
    if rows.sum() < LEAST_RUNS:
        raise ValueError(
            f"{rows.sum()} runs have every metric, and a joint law of all metrics (tasks above 0) needs {LEAST_RUNS} or more: "
            f"leave out the metrics that are missing in most runs, or {either('set tasks=0', 'fit another --law')}"
        )
    targets = np.array(
        [np.log(y[rows, j] - processes[j].floor) if processes[j].logged else y[rows, j] for j in which]
    ).T
    middle, spread = targets.mean(axis=0), targets.std(axis=0)
    if not spread.all():
        raise ValueError(
            f"metric columns {np.array(which)[spread == 0.0].tolist()} are constant on the {rows.sum()} runs that have every "
            f"metric: leave them out, or {either('set tasks=0', 'fit another --law')}"
        )
    targets = (targets - middle) / spread
    dims = z.shape[1]
    apart = np.mean([processes[j].theta[1 : 1 + dims] for j in which], axis=0)
    model = JointLikelihood(z[rows], None if t is None else t[rows], targets, min(rank, len(which)))
    found, value = _maximise(model, apart, prior)
    lengths, slope, loadings, kappa, noise = model.parts(found)
    between = loadings @ loadings.T + np.diag(kappa)
    weights = _weights(model, lengths, slope, between, noise)

    together = list(processes)
    for i, j in enumerate(which):
        theta, own = np.full(dims + 4, np.nan), np.zeros(len(processes[j].z))
        theta[0], theta[1 : 1 + dims], theta[1 + dims] = 0.0, lengths, math.log(noise[i])
        theta[2 + dims] = np.nan if t is None else math.log(slope)
        own[rows[np.isfinite(y[:, j])]] = weights[i]
        together[j] = replace(
            processes[j], theta=theta, weights=own, constant=float(middle[i]), scale=float(spread[i]), widen=1.0,
            # The joint likelihood divided evenly; one metric has no likelihood of its own.
            likelihood=-value / len(which),
        )  # fmt: skip
    return together, Shared(z[rows], z[rows] if t is None else t[rows], lengths, slope, between, noise)


def _maximise(model: JointLikelihood, lengths: Vector, prior: float) -> tuple[Vector, float]:
    """Maximise the posterior with a prior around these length scales (logarithms); return hyper-parameters and minus its logarithm."""
    targets, rank = model.targets, model.rank
    runs, metrics = targets.shape
    # Start from the leading correlations of the targets, reduced so that the search can still rotate them.
    values, vectors = np.linalg.eigh(targets.T @ targets / runs)
    loadings = vectors[:, ::-1][:, :rank] * np.sqrt(np.maximum(values[::-1][:rank], 0.0))
    start = np.concatenate(
        [lengths, [0.0] * model.trend, loadings.ravel(), np.full(metrics, -1.0), np.full(metrics, -3.0)]
    )
    dims = len(lengths)
    bounds = [(-4.0, 6.0)] * dims + [(-12.0, 8.0)] * model.trend + [(-30.0, 30.0)] * (metrics * rank)
    bounds += [(-12.0, 8.0)] * metrics + [(-12.0, 2.0)] * metrics

    def objective(theta: Vector) -> tuple[float, Vector]:
        value, gradient = model(theta)
        off = theta[:dims] - lengths
        gradient[:dims] += prior * _LENGTH_PRECISION * off
        return value + 0.5 * prior * _LENGTH_PRECISION * float(off @ off), gradient

    return maximise(objective, start, bounds, iterations=_ITERATIONS, slope=1e-5)


def _weights(model: JointLikelihood, lengths: Vector, slope: float, between: Matrix, noise: Vector) -> Matrix:
    """Return weights (J, R) of the runs in every metric's prediction."""
    k, _ = model.covariance(lengths, slope)
    _, q, _, rotation, spread = decompose(k, between, noise)
    rotated = q.T @ (model.targets / np.sqrt(noise)) @ rotation
    alpha = q @ (rotated / spread) @ rotation.T / np.sqrt(noise)
    return between @ alpha.T
