"""Predictions of runs that a law was not fitted to, for the figure of predicted against measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.names import listing, shown
from mixfast.proposers import ASTRONOMIC

if TYPE_CHECKING:
    from mixfast.laws import Fit, MetricReport
    from mixfast.swarm import Swarm


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Measured metrics, and predictions by laws that were fitted without the run.

    Attributes
    ----------
    metrics, unit : tuple of str, length J
    measured, predicted, sd : (R, J) float64
        NaN if a run has no value or was never left out. Runs whose mixture was chosen from earlier results are never left out.
    scores : tuple of MetricReport
        Errors, rank correlation, optimism and coverage of each metric.
    """

    metrics: tuple[str, ...]
    unit: tuple[str, ...]
    measured: Matrix = field(repr=False)
    predicted: Matrix = field(repr=False)
    sd: Matrix = field(repr=False)
    scores: tuple[MetricReport, ...] = field(repr=False)

    @property
    def finite(self) -> bool:
        """Whether all predictions are plausible losses: finite, and not astronomically large."""
        return bool((np.isnan(self.predicted) | (np.abs(self.predicted) < ASTRONOMIC)).all())

    def column(self, metric: str) -> int:
        """Return the column of a metric; raise ValueError with the known names for an unknown one."""
        if metric not in self.metrics:
            raise ValueError(f"no metric {shown(metric)}; the metrics are {listing(self.metrics)}")
        return self.metrics.index(metric)


def out_of_fold(law: Fit, swarm: Swarm, *, folds: int = 5, seed: int = 0) -> OutOfFold:
    """Predict every run of a swarm by the same laws, fitted again without that run.

    Parameters
    ----------
    law : Fit
        Gives the law of each metric and its settings.
    swarm : Swarm
        The runs that the law was fitted to; domains are aligned by name.
    folds : int, default 5
        Number of parts into which the runs are divided; at most the number of runs.
    seed : int, default 0
        Seed of the division into folds. The seed of the fit gives the folds of the fit.

    Returns
    -------
    OutOfFold

    Raises
    ------
    AlignmentError
        Law and swarm have different domains.
    ValueError
        Fewer than two runs may be left out, a law needs more runs, or the swarm lacks a metric.

    Notes
    -----
    Costs one fit for each fold. Above 256 runs, laws with a closed form for left-out predictions need no refit.
    """
    from mixfast.laws import diverged, measure

    open_runs = int((~swarm.chosen).sum())
    if open_runs < 2 or folds < 2:
        raise ValueError(
            f"{open_runs} runs may be left out, in {folds} folds; predictions out of fold need at least 2 runs and 2 folds. Runs marked "
            "as chosen are never left out"
        )
    measured, guess, spread = law.out_of_fold(swarm, folds=folds, seed=seed)
    tests = [test for _, test in swarm.folds(min(folds, open_runs), seed=seed)]
    scores = tuple(
        measure(
            name,
            law.law_of(name)[0].name,
            # As in the report of the fit, runs that look diverged are not scored. Fits of earlier versions do not name them.
            np.where(
                diverged(measured[:, j], [guess[:, j]]) | np.isin(swarm.runs, law.diverged.get(name, ())),
                np.nan,
                measured[:, j],
            ),
            guess[:, j],
            sd=spread[:, j],
            more_is_better=law.direction[j] == "max",
            rivals={},
            tests=tests,
        )
        for j, name in enumerate(law.metrics)
    )
    return OutOfFold(tuple(law.metrics), tuple(law.unit), measured, guess, spread, scores)
