"""How well a law predicts runs it has not seen: one line for each metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixfast.laws._protocol import Matrix, Vector

# The best-predicted share of the runs, at which a proposal would be looked for.
_BEST = 0.05


@dataclass(frozen=True)
class MetricReport:
    """Out-of-fold quality of the law of one metric.

    Attributes
    ----------
    metric, law : str
    runs : int
        Runs with a value of the metric that were left out once.
    rmse, sd : float
        Root mean square error, in the metric's unit, and the metric's own standard deviation.
    spearman, r2 : float
        Rank correlation and share of the variance explained; NaN with fewer than 3 runs or a constant metric.
    optimism : float
        How much better the law thought the best-predicted runs (one in twenty, at least one) to be than they were, in the metric's
        unit: what a proposal must expect to lose to the winner's curse.
    coverage : float
        Share of the runs within the central 90 % interval; NaN where no standard deviations were made out of fold.
    rivals : dict of str to float
        Out-of-fold rmse of every law that was tried.
    """

    metric: str
    law: str
    runs: int
    rmse: float
    sd: float
    spearman: float
    r2: float
    optimism: float
    coverage: float
    rivals: dict[str, float]


def measure(
    metric: str, law: str, y: Vector, predicted: Vector, sd: Vector | None, sign: float, rivals: dict[str, float]
) -> MetricReport:
    """The report of predictions (R,) for values y (R,), NaN where a run was not predicted or has no value; sign -1: more is better."""
    seen = np.isfinite(y) & np.isfinite(predicted)
    truth, guess = y[seen], predicted[seen]
    count = int(truth.size)
    if not count:
        nan = float("nan")
        return MetricReport(metric, law, 0, nan, nan, nan, nan, nan, nan, rivals)
    error = truth - guess
    rmse = float(np.sqrt(np.mean(error**2)))
    spread = float(truth.std())
    best = np.argsort(sign * guess, kind="stable")[: max(1, round(_BEST * count))]
    covered = float("nan")
    if sd is not None:
        covered = float(np.mean(np.abs(error) <= 1.6448536269514722 * sd[seen]))
    return MetricReport(
        metric,
        law,
        count,
        rmse,
        spread,
        spearman(truth, guess),
        1.0 - (rmse / spread) ** 2 if spread > 0.0 else float("nan"),
        float(sign * np.mean(error[best])),
        covered,
        rivals,
    )


def rmse(y: Matrix, predicted: Matrix) -> Vector:
    """Root mean square errors (J,) over the runs that have both; inf where none has."""
    error = y - predicted
    seen = np.isfinite(error)
    total = np.where(seen, error, 0.0)
    count = seen.sum(axis=0)
    return np.where(count > 0, np.sqrt((total**2).sum(axis=0) / np.maximum(count, 1)), np.inf)


def spearman(a: Vector, b: Vector) -> float:
    """Spearman's rank correlation with averaged ties; NaN for fewer than 3 values or where one side is constant."""
    if a.size < 3:
        return float("nan")
    x, y = _ranks(a), _ranks(b)
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0.0 else float("nan")


def mean_known(values: Sequence[float]) -> float:
    """Mean of the values that are not NaN; NaN where none is."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _ranks(values: Vector) -> Vector:
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[starts, values.size])
    ranks = np.empty(values.size)
    ranks[order] = np.repeat(starts + 0.5 * (sizes - 1), sizes)
    return ranks


def table(reports: tuple[MetricReport, ...]) -> str:
    """The reports as text, a line each and their means."""
    width = max([len(one.metric) for one in reports] + [6])
    lines = [f"{'metric':<{width}}  {'law':<10}  runs      rmse  spearman      r2  optimism  90 % hit"]
    lines += [
        f"{one.metric:<{width}}  {one.law:<10}  {one.runs:>4}  {one.rmse:>8.4g}  {one.spearman:>8.4f}  "
        f"{one.r2:>6.3f}  {one.optimism:>8.2g}  {one.coverage:>8.2f}"
        for one in reports
    ]
    if len(reports) > 1:
        mean = [mean_known([getattr(one, key) for one in reports]) for key in ("rmse", "spearman", "r2", "optimism")]
        lines.append(
            f"{'mean':<{width}}  {'':<10}  {'':>4}  {mean[0]:>8.4g}  {mean[1]:>8.4f}  {mean[2]:>6.3f}  {mean[3]:>8.2g}"
        )
    return "\n".join(lines)
