"""Limit what runs that look diverged can do: errors are measured without them, and their values are pulled towards the prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from mixfast.laws._protocol import Kept

# The largest residual of a diverged run that a fit sees, in usual residuals. Huber's psi at 3 standard deviations changes almost no
# residual of a normal distribution.
LIMIT = 3.0

Plan = Sequence[list[Candidate]]
Flags = NDArray[np.bool_]


def without_diverged(problem: Problem, plan: Plan) -> Flags:
    """Return which runs (R, J) count in errors, given the candidates of each metric; replace candidates if some runs do not count.

    1. Suspect runs with values far from the others that no law explains, and fit their metrics again without these values. One diverged
       run can make all errors of a law large, so runs are judged by these fits.
    2. If a law predicts some of them after all, fit with their values again. The out-of-fold predictions of the last fits are kept, so the
       choice between laws does not depend on the values of diverged runs.
    3. Fit with the values of diverged runs at most `LIMIT` usual residuals away from those predictions, as Huber's loss would count them.
       The laws of these fits are kept.
    """
    suspected = _judged(problem, plan, suspects)
    doubted = np.flatnonzero(suspected.any(axis=0)).tolist()
    if not doubted:
        return ~suspected
    original = {j: list(plan[j]) for j in doubted}
    fits = sum(len(several) for several in original.values()) * (1 + len(problem.splits))
    with working("fitting without diverged runs", fits, "fit"), single_blas():
        found = _confirmed(problem, plan, suspected, original)
        restored = np.flatnonzero((found != suspected).any(axis=0)).tolist()
        _fit_without(problem, plan, found, original, restored)
        for candidate in dict.fromkeys(chain.from_iterable(plan[j] for j in doubted if found[:, j].any())):
            limited = replace(problem, y=_limited(problem, candidate, ~found), splits=[], counted=~found)
            again = _fitted_again(limited, candidate, candidate.columns, keep=True)
            if again is not None:
                candidate.take(again)
    return ~found


def _confirmed(problem: Problem, plan: Plan, suspected: Flags, original: Mapping[int, Sequence[Candidate]]) -> Flags:
    """Fit the laws again without the suspects, those first that missed them least. Return the suspects that no law explains (R, J).

    Once a law explains all suspects of a metric, the other laws are not fitted to it again, because its values will be used after all.
    """
    found, tried = suspected.copy(), {j: list[Candidate]() for j in original}
    masked = replace(problem, y=np.where(suspected, np.nan, problem.y), counted=~suspected)
    candidates = dict.fromkeys(chain.from_iterable(original.values()))
    for candidate in sorted(candidates, key=lambda one: _missed(problem, one, suspected, original)):
        own = [j for j in original if j in candidate.columns and candidate in original[j]]
        if not found[:, own].any():
            continue
        again = _fitted_again(masked, candidate, own)
        for j in own:
            tried[j].append(again or candidate)
            plan[j][plan[j].index(candidate)] = tried[j][-1]
            found[:, j] &= diverged(problem.y[:, j], problem.guesses(j, tried[j]))
    return found


def _missed(
    problem: Problem, candidate: Candidate, suspected: Flags, metrics: Mapping[int, Sequence[Candidate]]
) -> float:
    """Return the mean error of a candidate at the suspects, as a fraction of their distance from the median."""
    missed = []
    for j in metrics:
        if j in candidate.columns and candidate in metrics[j]:
            y, far = problem.y[:, j], suspected[:, j]
            (guess,) = problem.guesses(j, [candidate])
            missed += (np.abs(y - guess)[far] / np.abs(y - np.nanmedian(y))[far]).tolist()
    return float(np.mean(missed)) if missed else 1.0


def _fit_without(
    problem: Problem, plan: Plan, lost: Flags, original: Mapping[int, Sequence[Candidate]], metrics: Sequence[int]
) -> None:
    """Replace the candidates of these metrics by the original ones, or where values are lost, by ones fitted without these values."""
    masked = replace(problem, y=np.where(lost, np.nan, problem.y), counted=~lost)
    for j in metrics:
        plan[j][:] = original[j]
    for candidate in dict.fromkeys(chain.from_iterable(original[j] for j in metrics)):
        own = [j for j in metrics if lost[:, j].any() and j in candidate.columns and candidate in original[j]]
        again = _fitted_again(masked, candidate, own) if own else None
        if again is not None:
            for j in own:
                plan[j][plan[j].index(candidate)] = again


def _judged(problem: Problem, plan: Plan, judge: Callable[[Vector, Sequence[Vector]], Flags]) -> Flags:
    """Return what a function of a metric (R,) and the guesses of all its laws says of each run and metric (R, J)."""
    out = np.zeros(problem.y.shape, dtype=np.bool_)
    for j, several in enumerate(plan):
        rivals = [candidate for candidate in several if j in candidate.columns]
        out[:, j] = judge(problem.y[:, j], problem.guesses(j, rivals))
    return out


def _fitted_again(
    problem: Problem, candidate: Candidate, columns: Sequence[int], *, keep: bool = False
) -> Candidate | None:
    """Return the candidate fitted to these metrics of this problem; None if it refuses a metric now, as with too few runs.

    If asked, it keeps the settings that the values of a few runs hardly change.
    """
    law, fitted = candidate.law, candidate.fitted
    if keep and isinstance(fitted, Kept):
        law = fitted.kept(candidate.places(columns))
    again = Candidate(law, list(columns))
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
        guess = candidate.left_out(j)[0] if problem.scored else candidate.own(j)
        missed = problem.y[:, j] - guess
        known = counted[:, j] & np.isfinite(missed)
        bound = LIMIT * NORMAL * float(np.median(np.abs(missed[known])))
        out[far, j] = guess[far] + np.clip(missed[far], -bound, bound)
    return out
