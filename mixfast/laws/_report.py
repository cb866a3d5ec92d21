"""Measure how well a law predicts runs that it was not fitted to: one line for each metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Vector
from mixfast._text.numbers import decimals
from mixfast._text.table import text_table

# Optimism is measured on this fraction of the runs, those with the best predictions, because proposals lie near them.
_BEST = 0.05
# 90 % of a normal distribution lies within this many standard deviations of the mean.
_NORMAL_90 = 1.6448536269514722
# The square of a larger ratio of error to spread overflows.
_HOPELESS = 1e150
# With fewer values, a rank correlation is meaningless.
_FEWEST = 3
# A fold with fewer runs leaves no choice.
_FEWEST_TO_PICK = 2


@dataclass(frozen=True)
class MetricReport:
    """Out-of-fold quality of the law of one metric.

    Attributes
    ----------
    metric, law : str
    runs : int
        Number of runs with a value of the metric that were left out once.
    rmse, sd : float
        Root mean square error and standard deviation of the metric, both in its unit.
    spearman, r2 : float
        Rank correlation, and fraction of the variance explained; NaN with fewer than 3 runs or for a constant metric.
    optimism : float
        How much better the law predicted the runs with the best predictions (one in twenty, at least one) than they were, in the
        metric's unit. A proposal loses about as much to the winner's curse.
    coverage : float
        Fraction of the runs within the central 90 % interval; NaN if no out-of-fold standard deviations were computed.
    rivals : dict of str to float
        Out-of-fold rmse of every law that was tried.
    regret : float
        Replay of a choice between runs: of each fold, the law that was fitted to the other folds picks the run with the best prediction.
        By how much these picks were worse than the best run of their fold, on average, in the metric's unit. The best run of a fold is partly
        luck, so noise alone makes the regret of a perfect law positive. NaN if no fold has 2 runs.
    self_optimism : float
        How much better the law predicted its picks than they were, on average, in the metric's unit.
    noise : float or None
        Standard deviation of the metric between seeds, from runs that repeat a mixture; None if there are none. Not even the true means predict
        new runs with a smaller rmse.
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
    # Files of earlier versions lack these three.
    regret: float = math.nan
    self_optimism: float = math.nan
    noise: float | None = None

    def in_sds(self, name: str) -> float:
        """Return an attribute in the metric's unit as a multiple of the metric's standard deviation; NaN for a constant metric."""
        return float(getattr(self, name)) / self.sd if self.sd > 0.0 else math.nan


def measure(
    metric: str,
    law: str,
    y: Vector,
    predicted: Vector,
    *,
    sd: Vector,
    more_is_better: bool,
    rivals: dict[str, float],
    tests: Sequence[NDArray[np.int64]] = (),
    noise: float | None = None,
) -> MetricReport:
    """Compare predictions (R,) with values y (R,) and standard deviations; NaN where a run has no prediction or no value.

    ``tests`` has the positions of the runs of each fold.
    """
    seen = np.isfinite(y) & np.isfinite(predicted)
    truth, guess = y[seen], predicted[seen]
    count = int(truth.size)
    nan = float("nan")
    if not count:
        return MetricReport(metric, law, 0, nan, nan, nan, nan, nan, nan, rivals, noise=noise)
    error = truth - guess
    rmse = float(np.sqrt(np.mean(error**2)))
    spread = float(truth.std())
    sign = -1.0 if more_is_better else 1.0
    best = np.argsort(sign * guess, kind="stable")[: max(1, round(_BEST * count))]
    regret, self_optimism = _replayed(sign * y, sign * predicted, [test[seen[test]] for test in tests])
    return MetricReport(
        metric,
        law,
        runs=count,
        rmse=rmse,
        sd=spread,
        spearman=spearman(truth, guess),
        r2=1.0 - (rmse / spread) ** 2
        if spread > 0.0 and rmse / spread < _HOPELESS
        else -math.inf
        if spread > 0.0
        else nan,
        optimism=float(sign * np.mean(error[best])),
        coverage=float(np.mean(np.abs(error) <= _NORMAL_90 * sd[seen])),
        rivals=rivals,
        regret=regret,
        self_optimism=self_optimism,
        noise=noise,
    )


def _replayed(y: Vector, predicted: Vector, tests: Sequence[NDArray[np.int64]]) -> tuple[float, float]:
    """Return regret and self-optimism of the run with the smallest prediction in each fold, averaged over folds."""
    lost, promised = [], []
    for test in tests:
        if len(test) >= _FEWEST_TO_PICK:
            pick = test[int(predicted[test].argmin())]
            lost.append(float(y[pick] - y[test].min()))
            promised.append(float(y[pick] - predicted[pick]))
    return mean_known(lost), mean_known(promised)


def table(reports: tuple[MetricReport, ...], *, one_unit: bool = True) -> str:
    """Format the reports as text, one line each, and their means. Errors are averaged only if the metrics have ``one_unit``.

    The noise stands beside the error if it is known for some metric.
    """
    floors = [one.noise for one in reports if one.noise is not None]
    rows = [
        [
            one.metric,
            one.law,
            str(one.runs),
            f"{one.rmse:.4g}",
            *([known(one.noise)] if floors else []),
            f"{one.spearman:.4f}",
            decimals(one.r2, 3),
            f"{one.optimism:.2g}",
            f"{one.coverage:.2f}",
        ]
        for one in reports
    ]
    if len(reports) > 1:
        mean = [mean_known([getattr(one, key) for one in reports]) for key in ("rmse", "spearman", "r2", "optimism")]
        error, optimism = (f"{mean[0]:.4g}", f"{mean[3]:.2g}") if one_unit else ("", "")
        floor = [known(mean_known(floors)) if one_unit else ""] if floors else []
        rows.append(["mean", "", "", error, *floor, f"{mean[1]:.4f}", decimals(mean[2], 3), optimism, ""])
    header = ["metric", "law", "runs", "rmse", *(["noise"] if floors else []), "spearman", "r2", "optimism", "90 % hit"]
    return text_table(header, rows, left=(0, 1))


def cells(report: MetricReport | None) -> list[str]:
    """Return error, rank correlation and r2 of a report as cells of a table; dashes for a metric without a report."""
    return ["-"] * 3 if report is None else [f"{report.rmse:.4g}", f"{report.spearman:.4f}", decimals(report.r2, 3)]


def known(value: float | None) -> str:
    """Return a number with four digits, or a dash if it is not known."""
    return "-" if value is None else f"{value:.4g}"


def rmse(y: Vector, predicted: Vector) -> float:
    """Return the root mean square error over the runs that have both; inf if there are none."""
    error = y - predicted
    error = error[np.isfinite(error)]
    return float(np.sqrt(np.mean(error**2))) if error.size else math.inf


def spearman(a: Vector, b: Vector) -> float:
    """Return Spearman's rank correlation with averaged ties; NaN for fewer than 3 values or if one side is constant."""
    if a.size < _FEWEST:
        return float("nan")
    x, y = _ranks(a), _ranks(b)
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0.0 else float("nan")


def _ranks(values: Vector) -> Vector:
    """Return ranks from 0; equal values share the mean of their ranks."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - 0.5 * (count + 1))[place.reshape(-1)]


def mean_known(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none."""
    found = [value for value in values if not math.isnan(value)]
    return math.fsum(found) / len(found) if found else math.nan
