"""One law that can be chosen for some metrics, and how well it predicts them out of fold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.names import places
from mixfast._text.progress import advance
from mixfast.laws._left_out import SETTLED_RUNS, Index, Progress, predict_left_out, settled
from mixfast.laws._part import Part
from mixfast.laws._protocol import Facts, Informed, Law, Note
from mixfast.laws._range import CannotDescribe
from mixfast.laws._report import rmse

Splits = Sequence[tuple[Index, Index]]


@dataclass(eq=False)
class Candidate:
    """One law and the positions of the metrics that can choose it."""

    law: Law
    columns: list[int] = field(default_factory=list)
    fitted: Law = field(init=False)
    guess: Matrix = field(init=False)
    spread: Matrix = field(init=False)
    settled: bool = field(default=False, init=False)
    # Since the last fit: the column of each metric in the law, the inputs of the fit, and the predictions there once they are asked for.
    _place: dict[int, int] = field(init=False)
    _inputs: Matrix = field(init=False)
    _own: Matrix | None = field(default=None, init=False)

    def fit(
        self, x: Matrix, y: Matrix, splits: Splits, progress: Progress | None = None, facts: Facts | None = None
    ) -> dict[int, str]:
        """Fit the law to all runs, then predict each run out of fold.

        If the law refuses a metric, most often because it has too few runs, the metric is removed from `columns`. Return these metrics with
        the reasons.
        """
        try:
            self._fit(x, y, splits, progress, facts)
        except CannotDescribe as problem:
            reasons = {self.columns[column]: why for column, why in problem.reasons.items()}
            self.columns = [j for j in self.columns if j not in reasons]
            return reasons | (self.fit(x, y, splits, progress, facts) if self.columns else {})
        except ValueError:
            reasons = {}
            for j in self.columns:
                try:
                    Candidate(self.law, [j])._fit(x, y, splits, progress, facts)
                except ValueError as problem:
                    reasons[j] = str(problem)
            if not reasons:
                raise
            self.columns = [j for j in self.columns if j not in reasons]
            if self.columns:
                self._fit(x, y, splits, progress, facts)
            return reasons
        return {}

    def _fit(self, x: Matrix, y: Matrix, splits: Splits, progress: Progress | None, facts: Facts | None) -> None:
        if progress is not None:
            progress(self.law.name)
        own = np.ascontiguousarray(y[:, self.columns])
        law = self.law
        if facts is not None and isinstance(law, Informed):
            law = law.informed(facts.of(self.columns))
        self.fitted = law.fit(x, own)
        self._place, self._inputs, self._own = places(self.columns), x, None
        advance()
        self.settled = bool(splits) and settled(self.fitted, x)
        self.guess, self.spread = predict_left_out(self.fitted, x, own, splits, progress=progress)

    def left_out(self, j: int) -> tuple[Vector, Vector]:
        """Return out-of-fold predictions (R,) of metric j and their standard deviations."""
        column = self._place[j]
        return self.guess[:, column], self.spread[:, column]

    def own(self, j: int) -> Vector:
        """Return predictions (R,) of metric j for the runs that the law was fitted to."""
        if self._own is None:
            self._own = self.fitted.predict(self._inputs)
        return self._own[:, self._place[j]]

    def take(self, other: Candidate) -> None:
        """Use the fitted law of another candidate for the same metrics; keep the out-of-fold predictions."""
        self.fitted, self._own = other.fitted, None

    def error(self, j: int, y: Matrix, counted: NDArray[np.bool_]) -> float:
        """Return the out-of-fold root mean square error of metric j over the runs (R,) that count."""
        return rmse(y[counted, j], self.left_out(j)[0][counted])

    def part(self, columns: Iterable[int]) -> Part:
        """Return the fitted law, restricted to the metrics that chose it."""
        columns = tuple(columns)
        return Part(self.fitted, tuple(self.places(columns)), columns)

    def places(self, columns: Iterable[int]) -> list[int]:
        """Return where the fitted law has each of these metrics."""
        return [self._place[j] for j in columns]

    def notes(self, part: Part, metrics: Sequence[str], domains: Sequence[str]) -> list[str]:
        """Return notes on the metrics that chose the law. They use names; features come after the domains."""
        found = []
        if self.settled:
            found.append(
                f"out-of-fold errors of {self.law.name} are a few per cent too low: with more than {SETTLED_RUNS} runs, the folds reuse "
                "the settings that were fitted to all runs"
            )
        for note in getattr(self.fitted, "notes", ()):
            if not isinstance(note, Note):
                found.append(str(note))
            elif note.metric is None or note.metric in part.own:
                found.append(note.named([metrics[j] for j in self.columns], domains))
        return found
