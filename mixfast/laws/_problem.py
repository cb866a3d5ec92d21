"""The common start of `fit` and `compare`: check the runs and metrics, and divide the runs to measure out-of-fold errors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.names import listing, positions, shown
from mixfast.errors import MixfastWarning
from mixfast.laws._candidate import Candidate, Splits
from mixfast.laws._doubts import refuse_absurd, told_diverged
from mixfast.laws._left_out import Progress
from mixfast.laws._mixtures_in import aligned
from mixfast.laws._protocol import Facts, FeatureMap, epochs_of, uses_epochs
from mixfast.laws._report import MetricReport, measure
from mixfast.laws._target_run import how_to_give_tokens
from mixfast.swarm import Identifiable, Noise, Swarm, doubts_of_directions, mixture_of

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Problem:
    """Metrics (R, J) of R runs, and the inputs for the laws."""

    swarm: Swarm
    metrics: tuple[str, ...]
    columns: list[int]
    seen: Identifiable
    x: Matrix  # (R, K), shares
    full: Matrix  # (R, K + F), shares followed by features
    y: Matrix  # (R, J)
    splits: Splits
    testable: int
    doubted: dict[str, str]
    notes: list[str] = field(default_factory=list)
    # Values (R, J) that do not count as noise are False; None if all count.
    counted: Flags | None = None

    @classmethod
    def of(
        cls,
        swarm: Swarm,
        metrics: Sequence[str] | None,
        features: FeatureMap | None,
        seed: int,
        folds: int,
        *,
        warned: int,
    ) -> Problem:
        """Check the runs. Warnings point at the caller this many calls above."""
        if not isinstance(swarm, Swarm):
            raise TypeError(
                f"swarm is {type(swarm).__name__}, expected a Swarm: Swarm(ratios, metrics, ...) or Swarm.from_csv(ratios, metrics)"
            )
        chosen = tuple(swarm.metrics) if metrics is None else _known(swarm, metrics)
        columns = positions(chosen, swarm.metrics)
        y = np.ascontiguousarray(swarm.values[:, columns])
        refuse_absurd(y, swarm.runs, chosen)
        seen = swarm.identifiable
        # Shares without rounding differences; otherwise laws would take these as the cause of different losses.
        x = np.ascontiguousarray(seen.shares)
        wanted = set(chosen)
        doubted = {name: why for name, why in swarm.report.doubted_directions.items() if name in wanted}
        full = x if features is None else np.hstack([x, _features_of(features, swarm)])
        testable = int((~swarm.chosen).sum())
        splits = swarm.folds(min(folds, testable), seed=seed) if folds > 0 and testable >= 2 else []
        notes = [
            *doubts_of_directions(doubted),
            *([swarm.report.doubted_epochs] if swarm.report.doubted_epochs else []),
            *_caveats(swarm, chosen, y, seen, warned + 1),
        ]
        return cls(swarm, chosen, columns, seen, x, full, y, splits, testable, doubted, notes)

    @property
    def scored(self) -> bool:
        """Whether errors are measured out of fold."""
        return bool(self.splits)

    def inputs(self, candidate: Candidate) -> Matrix:
        """Return the inputs that a candidate's law is fitted to."""
        if uses_epochs(candidate.law):
            return epochs_of(self.x, self._rate)
        return self.full if candidate.law.uses_features else self.x

    @property
    def _rate(self) -> Matrix:
        """The epochs of each run for each unit of share (R, K)."""
        if self.swarm.rate is None:
            raise ValueError(
                "this law is a function of epochs, and the tokens available to the runs are unknown: "
                + how_to_give_tokens()
            )
        return self.swarm.rate

    @property
    def facts(self) -> Facts:
        """What laws may know of the metrics besides their values."""
        sign = np.array([-1.0 if self.swarm.direction[j] == "max" else 1.0 for j in self.columns])
        found = self.swarm.noise if self.counted is None else self.noise(self.counted)
        # One degree of freedom says too little: half of all pairs differ by less than 0.95 standard deviations.
        told = {name: sd for name, sd in found.sd.items() if found.dof[name] > 1}
        return Facts(sign, np.array([told.get(name, np.nan) for name in self.metrics]), mixture_of(self.x))

    def fit(self, candidate: Candidate, progress: Progress | None) -> dict[int, str]:
        """Fit a candidate to its metrics, and predict each run out of fold. Return the metrics it refuses, with the reasons."""
        return candidate.fit(self.inputs(candidate), self.y, self.splits, progress, self.facts)

    def guesses(self, j: int, rivals: Sequence[Candidate]) -> list[Vector]:
        """Return the guesses (R,) of metric j by laws that were not fitted to the run, or, without folds, by the fitted laws."""
        if self.scored:
            return [rival.left_out(j)[0] for rival in rivals]
        return [rival.own(j) for rival in rivals]

    def noise(self, counted: Flags) -> Noise:
        """Return the noise of the metrics, from the runs (R, J) that look diverged in none."""
        kept = counted.all(axis=1)
        return self.swarm.noise if kept.all() or not kept.any() else self.swarm.subset(kept).noise

    def diverged(self, counted: Flags) -> list[str]:
        """Write notes on the runs (R, J) that do not count."""
        return told_diverged(~counted, self.y, self.swarm.runs, self.metrics, self.scored)

    def report(
        self, j: int, candidate: Candidate, counted: Flags, rivals: dict[str, float], noise: Noise
    ) -> MetricReport:
        """Report how well a candidate predicts metric j out of fold, over the runs that count."""
        guess, spread = candidate.left_out(j)
        more = self.swarm.direction[self.columns[j]] == "max"
        y = np.where(counted, self.y[:, j], np.nan)
        tests = [test for _, test in self.splits]
        name = candidate.law.name
        floor = noise.sd.get(self.metrics[j])
        return measure(
            self.metrics[j], name, y, guess, sd=spread, more_is_better=more, rivals=rivals, tests=tests, noise=floor
        )


def _features_of(features: FeatureMap, swarm: Swarm) -> Matrix:
    """Return the features of the swarm's mixtures (R, F); domains are aligned by name."""
    domains = tuple(getattr(features, "domains", swarm.domains))
    return np.asarray(features.at(aligned("the swarm", swarm.domains, swarm.ratios, domains)), dtype=np.float64)


def _known(swarm: Swarm, metrics: Sequence[str]) -> tuple[str, ...]:
    """Return the full names of these metrics in the swarm."""
    if isinstance(metrics, str):
        raise ValueError(
            f"metrics must be a sequence of names; got the single string {shown(metrics)}, write [{shown(metrics)}]"
        )
    return tuple(swarm.metric(name) for name in metrics)


def _caveats(swarm: Swarm, metrics: tuple[str, ...], y: Matrix, seen: Identifiable, warned: int) -> list[str]:
    """Write notes on what the runs cannot determine, and warn about metrics for which no law is useful."""
    out = []
    runs, domains = swarm.ratios.shape
    unseen = [swarm.domains[k] for k in np.flatnonzero(swarm.ratios.max(axis=0) == 0.0)]
    if unseen:
        out.append(
            f"no run has a share of {listing(unseen)}: no law can learn their effect; a proposal keeps them at their prior share"
        )
    still = [f"{swarm.domains[k]} ({share:.3g})" for k, share in seen.constant.items() if swarm.ratios[:, k].any()]
    if still:
        out.append(
            f"all runs have the same share of {listing(still)}: no law can learn the effect of another share; a proposal keeps this one"
        )
    if seen.linked:
        out.append(
            f"{listing(swarm.domains[k] for k in seen.linked)} vary only together, in a fixed ratio: no law can separate their "
            "effects; limit their shares, or train runs with other ratios"
        )
    if runs < domains + 1:
        out.append(
            f"{runs} runs for {domains} domains: fewer than {domains + 1}, so no law has a unique fit; "
            "predictions depend on each law's own regularisation"
        )
    for name, column in zip(metrics, y.T, strict=True):
        present = column[np.isfinite(column)]
        if present.size and np.ptp(present) == 0.0:
            out.append(
                f"{name} is {present[0]:g} in every run: no law can learn from it, and it does not count in the mean of all metrics"
            )
            warnings.warn(out[-1], MixfastWarning, stacklevel=warned + 1)
    return out
