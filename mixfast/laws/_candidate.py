"""A law that some metrics may take, and how well it predicts them out of fold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast.laws._fitted import Part
from mixfast.laws._left_out import SETTLED_RUNS, Index, Progress, predict_left_out, settled
from mixfast.laws._protocol import Law, Note
from mixfast.laws._range import CannotDescribe
from mixfast.laws._report import rmse

Splits = Sequence[tuple[Index, Index]]


@dataclass(eq=False)
class Candidate:
    """One law and the metrics, by position, that may take it."""

    law: Law
    columns: list[int] = field(default_factory=list)
    fitted: Law = field(init=False)
    guess: Matrix = field(init=False)
    spread: Matrix = field(init=False)
    settled: bool = field(default=False, init=False)

    def fit(self, x: Matrix, y: Matrix, splits: Splits, progress: Progress | None = None) -> dict[int, str]:
        """Fit the law to all runs, and predict each out of fold.

        Metrics that the law refuses, most often for too few runs, leave `columns`; they are returned with the reason.
        """
        try:
            self._fit(x, y, splits, progress)
        except CannotDescribe as problem:
            reasons = {self.columns[column]: why for column, why in problem.reasons.items()}
            self.columns = [j for j in self.columns if j not in reasons]
            return reasons | (self.fit(x, y, splits, progress) if self.columns else {})
        except ValueError:
            reasons = {}
            for j in self.columns:
                try:
                    Candidate(self.law, [j])._fit(x, y, splits, progress)
                except ValueError as problem:
                    reasons[j] = str(problem)
            if not reasons:
                raise
            self.columns = [j for j in self.columns if j not in reasons]
            if self.columns:
                self._fit(x, y, splits, progress)
            return reasons
        return {}

    def _fit(self, x: Matrix, y: Matrix, splits: Splits, progress: Progress | None) -> None:
        if progress is not None:
            progress(self.law.name)
        own = np.ascontiguousarray(y[:, self.columns])
        self.fitted = self.law.fit(x, own)
        self.settled = bool(splits) and settled(self.fitted, x)
        self.guess, self.spread = predict_left_out(self.fitted, x, own, splits, progress=progress)

    def left_out(self, j: int) -> tuple[Vector, Vector]:
        """Predictions (R,) of metric j and their standard deviations, out of fold."""
        column = self.columns.index(j)
        return self.guess[:, column], self.spread[:, column]

    def own(self, x: Matrix, j: int) -> Vector:
        """What the law says (R,) of metric j in the runs it was fitted to."""
        return self.fitted.predict(x)[:, self.columns.index(j)]

    def error(self, j: int, y: Matrix, counted: NDArray[np.bool_]) -> float:
        """Out-of-fold root mean square error of metric j over the runs (R,) that count."""
        return rmse(y[counted, j], self.left_out(j)[0][counted])

    def part(self, columns: Iterable[int]) -> Part:
        """The fitted law for the metrics that took it."""
        columns = tuple(columns)
        return Part(self.fitted, tuple(self.columns.index(j) for j in columns), columns)

    def notes(self, part: Part, metrics: Sequence[str], domains: Sequence[str]) -> list[str]:
        """What was unusual about the metrics that took the law, by name; features stand behind the domains."""
        found = []
        if self.settled:
            found.append(
                f"errors of {self.law.name} on runs left out are a few per cent too low: with more than {SETTLED_RUNS} runs its "
                "settings are those that all of them gave"
            )
        for note in getattr(self.fitted, "notes", ()):
            if not isinstance(note, Note):
                found.append(str(note))
            elif note.metric is None or note.metric in part.own:
                found.append(note.named([metrics[j] for j in self.columns], domains))
        return found
