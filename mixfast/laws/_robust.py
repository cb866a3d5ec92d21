"""Limit what runs that look diverged can do: errors are measured without them, and their values are pulled towards the prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.backend.blas import single_blas
from mixfast._text.progress import working
from mixfast.laws._candidate import Candidate
from mixfast.laws._doubts import NORMAL, diverged, suspects
from mixfast.laws._problem import Problem

# The largest residual of a diverged run that a fit sees, in usual residuals. Huber's psi at 3 standard deviations changes almost no
# residual of a normal distribution.
LIMIT = 3.0

Plan = Sequence[Sequence[Candidate]]
Flags = NDArray[np.bool_]


def without_diverged(problem: Problem, plan: Plan) -> Flags:
    """Return which runs (R, J) count in errors, given the candidates of each metric; fit candidates again if some runs do not count.

    1. Suspect runs with values far from the others that no law explains, and fit again without these values. One diverged run can make
       all errors of a law large, so runs are judged by these fits.
    2. If a law predicts some of them after all, fit with their values again. The out-of-fold predictions of the last fits are kept, so the
       choice between laws does not depend on the values of diverged runs.
    3. Fit with the values of diverged runs at most `LIMIT` usual residuals away from those predictions, as Huber's loss would count them.
       The laws of these fits are kept.
    """
    counted = ~_judged(problem, plan, suspects)
    if counted.all():
        return counted
    fits = 1 + len(problem.splits)
    with working("fitting without diverged runs", len(_affected(plan, counted)) * (2 * fits + 1), "fit"), single_blas():
        _fit_without(problem, ~counted, _affected(plan, counted))
        found = ~counted & _judged(problem, plan, diverged)
        if (found != ~counted).any():
            _fit_without(problem, found, _affected(plan, counted))
        counted = ~found
        for candidate in _affected(plan, counted):
            again = _fitted_again(replace(problem, y=_limited(problem, candidate, counted), splits=[]), candidate)
            if again is not None:
                candidate.fitted = again.fitted
    return counted


def _fit_without(problem: Problem, lost: Flags, candidates: Sequence[Candidate]) -> None:
    """Fit candidates again without the values (R, J) that are lost, and keep laws and out-of-fold predictions."""
    masked = replace(problem, y=np.where(lost, np.nan, problem.y))
    for candidate in candidates:
        again = _fitted_again(masked, candidate)
        if again is not None:
            candidate.fitted, candidate.settled = again.fitted, again.settled
            candidate.guess, candidate.spread = again.guess, again.spread


def _judged(problem: Problem, plan: Plan, judge: Callable[[Vector, Sequence[Vector]], Flags]) -> Flags:
    """Return what a function of a metric (R,) and the guesses of all its laws says of each run and metric (R, J)."""
    out = np.zeros(problem.y.shape, dtype=np.bool_)
    for j, several in enumerate(plan):
        rivals = [candidate for candidate in several if j in candidate.columns]
        out[:, j] = judge(problem.y[:, j], problem.guesses(j, rivals))
    return out


def _affected(plan: Plan, counted: Flags) -> list[Candidate]:
    """Return the candidates of metrics with runs that do not count."""
    wrong = [j for j, column in enumerate(counted.T) if not column.all()]
    every = dict.fromkeys(chain.from_iterable(plan[j] for j in wrong))
    return [candidate for candidate in every if any(j in candidate.columns for j in wrong)]


def _fitted_again(problem: Problem, candidate: Candidate) -> Candidate | None:
    """Return the candidate fitted to the values of this problem; None if it refuses a metric now, as with too few runs."""
    again = Candidate(candidate.law, list(candidate.columns))
    try:
        refused = problem.fit(again, None)
    except ValueError:
        return None
    return None if refused else again


def _limited(problem: Problem, candidate: Candidate, counted: Flags) -> Matrix:
    """Return the metrics (R, J), with values that do not count pulled towards the candidate's prediction."""
    out = problem.y.copy()
    for j in candidate.columns:
        far = ~counted[:, j]
        if not far.any():
            continue
        inputs = problem.inputs(candidate)
        guess = candidate.left_out(j)[0] if problem.scored else candidate.own(inputs, j)
        missed = problem.y[:, j] - guess
        known = counted[:, j] & np.isfinite(missed)
        bound = LIMIT * NORMAL * float(np.median(np.abs(missed[known])))
        out[far, j] = guess[far] + np.clip(missed[far], -bound, bound)
    return out
