"""Choose the next runs by their expected gain: information about the coefficients of log-linear laws, or improvement."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.progress import advance
from mixfast.designs import _candidates, _cover
from mixfast.laws import Joint, Target
from mixfast.region import Region

Places = NDArray[np.int64]

# Candidates in each half of the pool: all over the region, and around the best mixture.
_HALF = 2048
# Dirichlet strengths of the second half. At the largest, a share of 0.1 has a standard deviation of about 0.01.
_NEAR = (16.0, 64.0, 256.0, 1024.0)

# Smallest noise, as a fraction of a metric's standard deviation: laws fitted to few runs report no noise.
_LEAST_NOISE = 1e-3

# Most candidates of joint draws; the cost for a Gaussian process grows with the cube of their number.
_DRAWN = 1024
# They are the candidates with the smallest mean minus this many standard deviations; 1 draw in 44 is lower.
_OPTIMISM = 2.0
# Largest standard deviation of the logarithm of the distance from a limit.
_WIDEST = 1.0


def pool(region: Region, best: Vector, *, seed: int) -> Matrix:
    """Return candidates (M, K) from the whole region and from around its ``best`` mixture (K,)."""
    seeds = np.random.SeedSequence(seed).generate_state(len(_NEAR) + 1).tolist()
    # Mix in a little of the prior, so that domains absent from the best mixture get some share.
    centre = 0.95 * best + 0.05 * region.prior
    near = [
        _candidates.sample(region, _HALF // len(_NEAR), centre=centre, strength=strength, seed=own)
        for strength, own in zip(_NEAR, seeds[1:], strict=True)
    ]
    return np.concatenate([_cover.pool(region, _HALF, seeds[0]), *near])


def spread(values: Matrix, target: Target, joints: list[Joint]) -> Matrix:
    """Return standard deviations (M, J) of a new run's metrics from the joint laws; 0 for metrics that do not count."""
    out = np.zeros_like(values)
    for j, joint in zip(target.used, joints, strict=True):
        out[:, j] = np.sqrt(joint.variance + joint.noise)
    return out


def informative(weight: Vector, values: Matrix, joints: list[Joint], count: int) -> tuple[Places, Vector]:
    """Choose ``count`` of M points that give the most information about the coefficients of log-linear laws.

    Greedy D-optimality: each run adds ``1/2 log(1 + v_j / noise_j^2)`` nats for metric j, where v_j is the variance of the
    law at the run that comes from its coefficients. The run then reduces this variance. The weighted sum over the metrics is
    submodular, so the greedy choice reaches at least 63 % of the optimum (Nemhauser 1978).

    Parameters
    ----------
    weight : (J,)
        Weights of the metrics that count.
    values : (M, J)
        Their predictions.
    joints : list of Joint
        Their uncertainties at the points.
    count : int

    Returns
    -------
    positions (count,), and information in nats (count,), each given those before it
    """
    for joint, reach in zip(joints, values.std(axis=0).tolist(), strict=True):
        joint.noise = np.maximum(joint.noise, max(_LEAST_NOISE * reach, 1e-150) ** 2)
    chosen, nats = np.empty(count, dtype=np.int64), np.empty(count)
    taken = np.zeros(len(values), dtype=bool)
    for place in range(count):
        gain = sum(
            0.5 * share * np.log1p(joint.variance / joint.noise) for share, joint in zip(weight, joints, strict=True)
        )
        row = int(np.where(taken, -1.0, gain).argmax())
        chosen[place], nats[place], taken[row] = row, gain[row], True
        for joint in joints:
            joint.choose(row)
        advance()
    return chosen, nats


class Covariances:
    """Uncertainty of the objective at each of M points, from the law's covariances between points.

    The errors of different metrics count as independent. If the objective is the worst metric, the uncertainty at a point is that of the
    metric predicted to be worst there. This is right to first order, and somewhat too small if two metrics are about equally bad.
    """

    def __init__(self, target: Target, values: Matrix, joints: list[Joint]) -> None:
        used = target.used
        if target.worst:
            self._share = np.eye(len(used))[(values * target.sign)[:, used].argmax(axis=1)]
        else:
            self._share = np.tile(target.weight[used], (len(values), 1))
        self._joints = joints

    @property
    def sd(self) -> Vector:
        """Standard deviations (M,)."""
        variance = np.stack([joint.variance for joint in self._joints], axis=1)
        return np.sqrt(np.einsum("mj,mj->m", self._share**2, variance))

    def choose(self, row: int) -> None:
        """Update the uncertainty as if this point had been run."""
        for joint in self._joints:
            joint.choose(row)


class Nearness:
    """Uncertainty of the objective at each of M points, reduced by distance, for laws without covariances (local penalisation, González et al. 2016).

    The length scale is the median Hellinger distance of the ``known`` runs (R, K) to the nearest other run.
    """

    def __init__(self, sd: Vector, points: Matrix, known: Matrix) -> None:
        self.sd = sd.copy()
        self._roots, seen = np.sqrt(np.maximum(points, 0.0)), np.sqrt(known)
        squares = np.maximum(2.0 - 2.0 * seen @ seen.T, 0.0)
        np.fill_diagonal(squares, np.inf)
        self._length = float(np.median(squares.min(axis=1))) if len(known) > 1 else 0.0

    def choose(self, row: int) -> None:
        """Update the uncertainty as if this point had been run."""
        apart = np.maximum(2.0 - 2.0 * self._roots @ self._roots[row], 0.0)
        alike = np.exp(-apart / self._length) if self._length > 0.0 else (apart <= 0.0).astype(np.float64)
        self.sd *= np.sqrt(np.maximum(1.0 - alike, 0.0))


def limit(target: Target, joints: list[Joint] | None) -> float:
    """Return the value that the objective approaches if all metrics that count approach one, else -inf."""
    limits = [None] if joints is None else [joint.limit for joint in joints]
    known = [float(value) for value in limits if value is not None]
    if len(known) < len(limits):
        return -math.inf
    values = np.zeros((1, len(target.metrics)))
    values[0, target.used] = known
    return float(target.score(values)[0])


def improving(
    mean: Vector,
    uncertainty: Covariances | Nearness,
    best: float,
    count: int,
    order: Places | None = None,
    limit: float = -math.inf,
) -> tuple[Places, Vector]:
    """Choose ``count`` of M points with the largest expected improvement on ``best``, an objective to minimise.

    If the law has a ``limit`` below all means, errors are normal on the scale of the logarithm of the distance from it, and `bounded`.

    Each point is the one with the largest expected improvement. The next is chosen as if the result had been as predicted (the
    kriging believer of Ginsbourger et al. 2010), which also reduces the uncertainty of correlated points. If an ``order`` (count,) is given,
    its points are taken, and only their improvements are computed.

    Returns
    -------
    positions (count,), and expected improvements (count,) in the unit of the objective, each given those before it
    """
    chosen, gains = np.empty(count, dtype=np.int64), np.empty(count)
    taken = np.zeros(len(mean), dtype=bool)
    for place in range(count):
        sd = uncertainty.sd
        gain = expected_improvement(mean, bounded(mean, sd, limit), best, limit)
        # Equal improvements, such as 0 everywhere, are ordered by uncertainty.
        row = int(np.lexsort((sd, np.where(taken, -1.0, gain)))[-1]) if order is None else int(order[place])
        chosen[place], gains[place], taken[row] = row, gain[row], True
        best = min(best, float(mean[row]))
        uncertainty.choose(row)
        advance()
    return chosen, gains


def bounded(mean: Vector, sd: Vector, limit: float) -> Vector:
    """Return standard deviations (M,) of at most the distance from the limit, if it lies below all means.

    The delta method takes the law as linear in its coefficients, and cannot tell larger errors. A law that may be wrong by a factor of e^100
    would come near its limit with a probability of one half, wherever it predicts a huge loss.
    """
    return np.minimum(sd, _WIDEST * (mean - limit)) if math.isfinite(limit) and limit < mean.min() else sd


def hopeful(mean: Vector, sd: Vector, limit: float = -math.inf) -> Places:
    """Return the positions, in ascending order, of the points where a draw may have its minimum; as many as can be drawn jointly."""
    if len(mean) <= _DRAWN:
        return np.arange(len(mean))
    low = mean - _OPTIMISM * sd
    if math.isfinite(limit) and limit < mean.min():
        distance, spread = _relative(mean - limit, sd)
        low = limit + distance * np.exp(-_OPTIMISM * spread)
    return np.sort(np.argsort(low, kind="stable")[:_DRAWN])


def thompson(target: Target, joints: list[Joint], count: int, *, seed: int) -> Places:
    """Draw the objective at M points ``count`` times, and return the best point of each draw that no earlier draw has chosen."""
    rng = np.random.default_rng(seed)
    points = len(joints[0].variance)
    values = np.zeros((count, points, len(target.metrics)))
    for j, joint in zip(target.used, joints, strict=True):
        values[:, :, j] = joint.draw(count, rng)
    chosen = np.empty(count, dtype=np.int64)
    taken = np.zeros(points, dtype=bool)
    for place in range(count):
        row = int(np.where(taken, np.inf, target.score(values[place])).argmin())
        chosen[place], taken[row] = row, True
    return chosen


def expected_improvement(mean: Vector, sd: Vector, best: float, limit: float = -math.inf) -> Vector:
    """``E max(best - f, 0)`` for f normal (M,); Jones, Schonlau and Welch 1998.

    If ``limit`` is below all means, ``f - limit`` is lognormal with median ``mean - limit``, and the improvement cannot exceed ``best - limit``.
    A normal f would have a large improvement wherever an exponential law is very uncertain, also where it predicts a very large loss.
    """
    if math.isfinite(limit) and limit < mean.min():
        return _above_limit(mean - limit, sd, best - limit)
    safe = np.maximum(sd, 1e-300)
    z = np.clip((best - mean) / safe, -38.0, 38.0)
    density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    below = np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in z.tolist()])
    return np.where(sd > 0.0, np.maximum(safe * (z * below + density), 0.0), np.maximum(best - mean, 0.0))


def _above_limit(median: Vector, sd: Vector, best: float) -> Vector:
    """``E max(best - f, 0)`` for f lognormal (M,) with these medians; by the delta method its logarithm has the deviation sd / median."""
    from scipy.special import log_ndtr

    if best <= 0.0:
        return np.zeros_like(median)
    median, spread = _relative(median, sd)
    z = (math.log(best) - np.log(median)) / spread
    # In logarithms, because the exponential of a large variance overflows.
    gain = np.exp(math.log(best) + log_ndtr(z)) - np.exp(np.log(median) + 0.5 * spread**2 + log_ndtr(z - spread))
    return np.where(sd > 0.0, np.maximum(gain, 0.0), np.maximum(best - median, 0.0))


def _relative(distance: Vector, sd: Vector) -> tuple[Vector, Vector]:
    """Return distances from a limit and the deviations of their logarithms, finite and above 0."""
    distance = np.clip(distance, 1e-300, 1e300)
    return distance, np.clip(np.minimum(sd, 1e300) / distance, 1e-300, 1e150)
