"""Predictions of runs that a law has not seen, for the figure of predicted against measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.names import shown
from mixfast.proposers import ASTRONOMIC

if TYPE_CHECKING:
    from mixfast.laws import Fit, MetricReport
    from mixfast.swarm import Swarm


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Measured metrics, and predictions by laws that had not seen the run.

    Attributes
    ----------
    metrics, unit : tuple of str, length J
    measured, predicted, sd : (R, J) float64
        NaN if a run has no value or was never left out; runs chosen after looking at data never are.
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
        """The column of a metric; ValueError with the names there are for another."""
        if metric not in self.metrics:
            raise ValueError(f"no metric {shown(metric)}; there are: {', '.join(self.metrics)}")
        return self.metrics.index(metric)


def out_of_fold(law: Fit, swarm: Swarm, *, folds: int = 5, seed: int = 0) -> OutOfFold:
    """Predict every run of a swarm by the same laws, refitted without it.

    Parameters
    ----------
    law : Fit
        Which law each metric has, with its settings.
    swarm : Swarm
        The runs it was fitted to; aligned by name.
    folds : int, default 5
        Parts into which the runs are cut, fewer where there are fewer runs.
    seed : int, default 0
        Of the folds; with that of the fit these are the same.

    Returns
    -------
    OutOfFold

    Raises
    ------
    AlignmentError
        Law and swarm name different domains.
    ValueError
        Fewer than two runs that may be left out, or too few for a law; a metric that the swarm lacks.

    Notes
    -----
    Costs a fit for each fold; above 256 runs none, for laws that know what they would have said.
    """
    from mixfast.laws import diverged, measure

    open_runs = int((~swarm.chosen).sum())
    if open_runs < 2 or folds < 2:
        raise ValueError(
            f"{open_runs} runs may be left out in {folds} folds: predictions out of fold need at least 2 of both; runs marked "
            "as chosen are never left out"
        )
    measured, guess, spread = law.out_of_fold(swarm, folds=folds, seed=seed)
    scores = tuple(
        measure(
            name,
            law.laws[name],
            # As in the report of the fit, a run that looks diverged does not count.
            np.where(diverged(measured[:, j], [guess[:, j]]), np.nan, measured[:, j]),
            guess[:, j],
            sd=spread[:, j],
            more_is_better=law.direction[j] == "max",
            rivals={},
        )
        for j, name in enumerate(law.metrics)
    )
    return OutOfFold(tuple(law.metrics), tuple(law.unit), measured, guess, spread, scores)
