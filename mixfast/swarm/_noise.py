"""Estimate the noise of metrics from runs that repeat a mixture: how much a metric differs between seeds, and whether it can rank mixtures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.frozen import Frozen
from mixfast._text.names import counted, listing, places
from mixfast._text.table import text_table
from mixfast.swarm._far import far_from_others
from mixfast.swarm._folds import same_mixture

# Runs whose tokens differ by this fraction are repeats: runs end at a whole batch, and pools at a whole file. A loss that falls with the power
# 0.3 of the tokens then differs by 0.03 %.
_NEARLY = 1e-3
# With a ratio of 1 a run orders 3 of 4 pairs of mixtures as their means are ordered (1/2 + atan(ratio) / pi), and two repeats of the whole
# swarm correlate by 1/2 (ratio^2 / (1 + ratio^2)). Below it, most of the differences between runs are noise.
LEAST_RATIO = 1.0
# One pair of runs does not tell the noise: half of all pairs differ by less than 0.95 and one in ten by more than 2.3 standard deviations.
_LEAST_DOF = 2
# The noise is only related to the mixture if this many mixtures are repeated, with this many degrees of freedom together.
_LEAST_MIXTURES = 4
_LEAST_DOF_RELATED = 8
# Chance of relating the noise of any metric to the mixture although it is the same everywhere.
_FALSE = 0.05
# Runs with this many equal metrics, and no different one, are copies of one run.
_COPIED = 3
_STEPS = 50


@dataclass(frozen=True, eq=False)
class Noise(Frozen):
    """How much the metrics of a swarm differ between runs of one mixture, and whether they can rank mixtures; print it.

    Attributes
    ----------
    repeats : tuple of tuple of str
        Ids of the runs that share a mixture, and the same tokens and budget if they are known; shares may differ by 2e-6, tokens by 0.1 %. Runs whose metrics all have the same
        values (three or more) are copies and count once.
    sd : dict of str to float
        Seed standard deviation of each metric, in its unit, pooled over the repeated mixtures. Metrics without two values of one mixture are
        missing.
    dof : dict of str to int
        Degrees of freedom of each standard deviation: values of repeated mixtures, minus the number of these mixtures.
    snr : dict of str to float
        Signal to noise: the standard deviation of a metric between mixtures, without the part that noise adds, over ``sd``.
    weak : tuple of str
        Metrics that cannot rank the runs: ``snr`` is below 1 with at least 2 degrees of freedom. A run then orders fewer than 3 of 4
        pairs of mixtures correctly, and two repeats of the whole swarm would correlate by less than 0.5. Repeats that look diverged, because they
        are far from all runs while another run of their mixture is not, do not decide that.
    varying : tuple of str
        Metrics whose noise depends on the mixture. It is tested with at least 4 repeated mixtures and 8 degrees of freedom: the logarithm
        of the variance is a straight line in the distance of sqrt(shares) from those of the mean mixture (a likelihood-ratio test at 5 %
        for all metrics together). Metrics with equal values in all runs of some mixture are not tested.
    """

    repeats: tuple[tuple[str, ...], ...]
    sd: dict[str, float]
    dof: dict[str, int]
    snr: dict[str, float]
    weak: tuple[str, ...]
    varying: tuple[str, ...]
    _metrics: tuple[str, ...]
    _centre: Vector = field(repr=False)
    # Smallest and largest distance of a repeated mixture, and the intercept and slope of each varying metric.
    _span: tuple[float, float] = (0.0, 0.0)
    _lines: dict[str, tuple[float, float]] = field(default_factory=dict)
    # Whether the tokens and budgets of the runs are known.
    _pooled: bool = False
    # Repeats that look diverged, of metrics that would be weak with them.
    _doubted: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def strong(self) -> tuple[str, ...]:
        """All metrics that are not weak, also those of unknown noise, for `Swarm.select`."""
        return tuple(name for name in self._metrics if name not in set(self.weak))

    def at(self, ratios: ArrayLike) -> Matrix:
        """Return the seed standard deviation (M, J) of each metric at mixtures (M, K); NaN for metrics of unknown noise.

        It is ``sd`` for metrics that are not `varying`. For the others it follows the distance from the mean mixture, and stays constant
        beyond the distances of the repeated mixtures.
        """
        if isinstance(ratios, Mapping):
            raise ValueError(
                f"at takes shares (M, {self._centre.size}) in the order of the swarm's domains, got a {type(ratios).__name__}; "
                "give Mixture.align(swarm.domains).weights"
            )
        w = np.atleast_2d(np.asarray(ratios, dtype=np.float64))
        if w.ndim != 2 or w.shape[1] != self._centre.size:
            raise ValueError(
                f"mixtures must be (M, {self._centre.size}), one column for each domain; got {np.shape(ratios)}"
            )
        out = np.tile([self.sd.get(name, math.nan) for name in self._metrics], (len(w), 1))
        z = np.clip(_distance(w, self._centre), *self._span)
        place = places(self._metrics)
        for name, (start, slope) in self._lines.items():
            out[:, place[name]] = np.exp(0.5 * (start + slope * z))
        return out

    def __str__(self) -> str:
        if not self.sd:
            twice = " with the same tokens and budget" if self._pooled else ""
            return f"no mixture was trained twice{twice}: the noise of the metrics is unknown; train one mixture with 3 or more seeds"
        repeated = sum(map(len, self.repeats))
        lines = [
            f"{counted(repeated, 'run')} of {counted(len(self.repeats), 'repeated mixture')}; the noise is the standard deviation between seeds"
        ]
        rows = [
            [
                name,
                f"{self.sd[name]:.4g}",
                _interval(self.sd[name], self.dof[name]),
                str(self.dof[name]),
                _ratio(self.snr[name]),
            ]
            for name in self._metrics
            if name in self.sd
        ]
        lines.append(text_table(["metric", "noise", "95 % interval", "dof", "signal/noise"], rows))
        if self.weak:
            lines.append(f"cannot rank the runs, signal/noise below {LEAST_RATIO:g}: {listing(self.weak)}")
        for name, runs in self._doubted.items():
            lines.append(
                f"{listing(runs)} may have diverged in {name}: far from all other runs, also of the same mixture. Without {'it' if len(runs) == 1 else 'them'} "
                f"the noise of {name} is smaller, so {name} is not named as one that cannot rank the runs"
            )
        if self.varying:
            lines.append(f"the noise depends on the mixture: {listing(self.varying)}")
        if unknown := [name for name in self._metrics if name not in self.sd]:
            lines.append(f"no two values of one mixture: {listing(unknown)}")
        return "\n".join(lines)


def noise(
    ratios: Matrix,
    values: Matrix,
    tokens: Matrix | None,
    budget: Vector | None,
    metrics: tuple[str, ...],
    runs: tuple[str, ...],
) -> Noise:
    """Return the noise of metrics (R, J) of runs with these mixtures, and tokens and budgets if they are known."""
    groups = [_without_copies(rows, values) for rows in _same_run(ratios, tokens, budget)]
    several = [rows for rows in groups if len(rows) > 1]
    centre = np.sqrt(ratios.mean(axis=0))
    z = _distance(ratios[[rows[0] for rows in groups]], centre)
    kept = np.concatenate(groups)
    label = np.repeat(np.arange(len(groups)), [len(rows) for rows in groups])
    sd: dict[str, float] = {}
    dof: dict[str, int] = {}
    snr: dict[str, float] = {}
    weak: list[str] = []
    doubted: dict[str, tuple[str, ...]] = {}
    pieces: dict[str, tuple[Vector, Vector, Vector]] = {}
    columns = zip(metrics, values[kept].T, strict=True) if several else ()
    for name, column in columns:
        known = ~np.isnan(column)
        y, of = column[known], label[known]
        squares, free, ratio = _measured(y, of, len(groups))
        if not free.any():
            continue
        sd[name], dof[name], snr[name] = math.sqrt(squares.sum() / free.sum()), int(free.sum()), ratio
        pieces[name] = (z[free > 0.0], squares[free > 0.0], free[free > 0.0])
        if ratio < LEAST_RATIO and dof[name] >= _LEAST_DOF:
            lost = _far_repeats(y, of, len(groups))
            _, left, cleaned = _measured(y[~lost], of[~lost], len(groups)) if lost.any() else (squares, free, ratio)
            if lost.any() and not (cleaned < LEAST_RATIO and left.sum() >= _LEAST_DOF):
                doubted[name] = tuple(runs[row] for row in kept[known][lost].tolist())
            else:
                weak.append(name)
    lines = _related(pieces)
    spans = [where for where, rows in zip(z.tolist(), groups, strict=True) if len(rows) > 1]
    return Noise(
        repeats=tuple(tuple(runs[row] for row in rows) for rows in several),
        sd=sd,
        dof=dof,
        snr=snr,
        weak=tuple(weak),
        varying=tuple(lines),
        _metrics=metrics,
        _centre=centre,
        _span=(min(spans, default=0.0), max(spans, default=0.0)),
        _lines=lines,
        _pooled=tokens is not None,
        _doubted=doubted,
    )


def _measured(y: Vector, of: NDArray[np.int64], groups: int) -> tuple[Vector, Vector, float]:
    """Return the squares within each mixture and their degrees of freedom (M,), and the signal to noise, of values y of the mixtures `of`."""
    count = np.bincount(of, minlength=groups).astype(np.float64)
    mean = np.bincount(of, y, minlength=groups) / np.maximum(count, 1.0)
    squares = np.bincount(of, (y - mean[of]) ** 2, minlength=groups).astype(np.float64)
    free = np.maximum(count - 1.0, 0.0)
    if not free.any():
        return squares, free, math.nan
    return squares, free, _signal(mean[count > 0.0], count[count > 0.0], float(squares.sum() / free.sum()))


def _far_repeats(y: Vector, of: NDArray[np.int64], groups: int) -> NDArray[np.bool_]:
    """Return which values are far from those of all runs although another run of their mixture is not: they look diverged."""
    far = far_from_others(y)
    near = np.bincount(of, ~far, minlength=groups) > 0
    return far & near[of]


def _same_run(ratios: Matrix, tokens: Matrix | None, budget: Vector | None) -> list[NDArray[np.int64]]:
    """Return the rows of the runs with the same mixture, tokens and budget."""
    groups = []
    for rows in same_mixture(ratios):
        pools: list[list[int]] = []
        for row in rows:
            same = (
                pool for pool in pools if tokens is None or budget is None or _as_many(tokens, budget, pool[0], row)
            )
            if (pool := next(same, None)) is None:
                pools.append([row])
            else:
                pool.append(row)
        groups += [np.array(pool) for pool in pools]
    return groups


def _as_many(tokens: Matrix, budget: Vector, one: int, other: int) -> bool:
    """Return whether two runs had nearly the same tokens available and read nearly as many."""
    available = np.abs(tokens[one] - tokens[other]) <= _NEARLY * tokens[one]
    return bool(available.all()) and abs(budget[one] - budget[other]) <= _NEARLY * budget[one]


def _without_copies(rows: NDArray[np.int64], values: Matrix) -> NDArray[np.int64]:
    """Return the rows without those whose metrics are equal to the ones of an earlier row."""
    if rows.size < 2:
        return rows
    seen: set[bytes] = set()
    kept = []
    for row in rows.tolist():
        key = values[row].tobytes()
        if key not in seen or np.count_nonzero(~np.isnan(values[row])) < _COPIED:
            kept.append(row)
        seen.add(key)
    return np.array(kept)


def _signal(means: Vector, count: Vector, variance: float) -> float:
    """Return the standard deviation of the mixtures' effect over the noise; infinite without noise, NaN for a single mixture.

    ``means`` are those of ``count`` runs of each mixture.
    """
    if len(means) < 2:
        return math.nan
    # The mean of n runs has the n-th part of the variance of the noise.
    effect = max(float(means.var(ddof=1)) - variance * float(np.mean(1.0 / count)), 0.0)
    if variance == 0.0:
        return math.inf if effect > 0.0 else 0.0
    return math.sqrt(effect / variance)


def _related(pieces: dict[str, tuple[Vector, Vector, Vector]]) -> dict[str, tuple[float, float]]:
    """Return intercept and slope of the logarithm of the variance for the metrics whose noise depends on the distance.

    Metrics with equal values of a repeated mixture are not tested: they are rounded, and a variance of 0 would decide the test.
    """
    tested = {
        name: piece
        for name, piece in pieces.items()
        if len(piece[0]) >= _LEAST_MIXTURES
        and piece[2].sum() >= _LEAST_DOF_RELATED
        and np.ptp(piece[0]) > 0.0
        and piece[1].all()
    }
    if not tested:
        return {}
    # The test statistic is the square of a standard normal number, and the chance is shared by all metrics.
    least = NormalDist().inv_cdf(1.0 - 0.5 * _FALSE / len(tested)) ** 2
    found = {}
    for name, piece in tested.items():
        line, gain = _line(*piece)
        if gain > least:
            found[name] = line
    return found


def _line(z: Vector, squares: Vector, count: Vector) -> tuple[tuple[float, float], float]:
    """Fit log variance = start + slope z to sums of squares with `count` degrees of freedom each, by maximum likelihood.

    Returns the line and twice the gain of the log-likelihood over a constant variance. Half of the negative log-likelihood's double is
    ``count * eta + squares * exp(-eta)``, which is convex in the line.
    """
    mean = float((count * z).sum() / count.sum())
    x = np.stack([np.ones_like(z), z - mean])
    flat = math.log(float(squares.sum() / count.sum()))
    line = np.array([flat, 0.0])

    def cost(line: Vector) -> float:
        eta = line @ x
        with np.errstate(over="ignore"):
            return float((count * eta + squares * np.exp(-eta)).sum())

    now = cost(line)
    first = now
    for _ in range(_STEPS):
        weight = squares * np.exp(-(line @ x))
        gradient = x @ (count - weight)
        # Add a little, because the variances of all but one mixture may vanish.
        step = np.linalg.solve((x * (weight + 1e-9 * count)) @ x.T, -gradient)
        size = 1.0
        while size > 1e-6 and not (new := cost(line + size * step)) <= now - 1e-4 * size * float(-gradient @ step):
            size *= 0.5
        if size <= 1e-6 or now - new < 1e-10:
            break
        line, now = line + size * step, new
    return (float(line[0] - line[1] * mean), float(line[1])), first - now


def _distance(ratios: Matrix, centre: Vector) -> Vector:
    """Return the distance (M,) of the square roots of mixtures (M, K) from those of the mean mixture."""
    return np.sqrt(((np.sqrt(np.maximum(ratios, 0.0)) - centre) ** 2).sum(axis=1))


def _interval(sd: float, dof: int) -> str:
    """Return the 95 % interval of a standard deviation with this many degrees of freedom, for normal noise."""
    from scipy.stats import chi2

    low, high = (sd * math.sqrt(dof / float(chi2.ppf(part, dof))) for part in (0.975, 0.025))
    return f"{low:.2g} to {high:.2g}"


def _ratio(snr: float) -> str:
    return "-" if math.isnan(snr) else f"{snr:.3g}"
