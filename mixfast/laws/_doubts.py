"""Detect runs that look diverged, and laws that predict no better than the mean of the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.audience import either
from mixfast._text.names import counted, listing
from mixfast._text.numbers import LARGEST
from mixfast._text.visible import quote
from mixfast.laws._report import MetricReport
from mixfast.swarm import FEWEST as _FEWEST
from mixfast.swarm import NORMAL as NORMAL
from mixfast.swarm import Noise, far_from_others

# A run looks diverged in a metric if three conditions hold. Deviations are measured in units of 1.4826 times the median absolute
# deviation, which is the standard deviation for a normal distribution. First, its value is far from the median (`far_from_others`).
# Second, the residual of every law that was tried is this many times larger than for the other runs.
_FAR_RESIDUAL = 10.0
# Third, no law explains more than this fraction of the distance. Metrics with long tails have far values that laws do explain.
_EXPLAINED = 0.5
# Squares of smaller values underflow, so a metric with only such values is in the wrong unit. Squares of values above `LARGEST` overflow.
_VANISHING = 1e-100
# Most metrics shown in the note on weak metrics.
_SHOWN = 5


def refuse_absurd(y: Matrix, runs: Sequence[str], metrics: Sequence[str]) -> None:
    """Raise `ValueError` for values that no law can be fitted to: too large, or all too small. Name the first run and metric."""
    where = np.argwhere(np.abs(y) > LARGEST)
    if len(where):
        i, j = where[0].tolist()
        more = f", and {len(where) - 1} more values are as large" if len(where) > 1 else ""
        raise ValueError(
            f"the run {runs[i]} is {y[i, j]:g} in {metrics[j]}{more}: no law can be fitted to such a value. If the run diverged, {_without([runs[i]])}"
        )
    largest = np.where(np.isfinite(y), np.abs(y), 0.0).max(axis=0, initial=0.0)
    small = np.flatnonzero((largest > 0.0) & (largest < _VANISHING)).tolist()
    if small:
        j = small[0]
        i = int(np.nanargmax(np.abs(y[:, j])))
        raise ValueError(
            f"all values of {listing([metrics[j] for j in small])} are below {_VANISHING:g} in magnitude (the largest of {metrics[j]} is "
            f"{y[i, j]:g}, in the run {runs[i]}): no law can be fitted to them. Give them in another unit, or leave the metrics out"
        )


def diverged(y: Vector, guesses: Sequence[Vector]) -> NDArray[np.bool_]:
    """Return which runs (R,) look diverged, from their values y (R,) and the guess of every law; NaN where a law made no guess.

    The guesses are best made by laws that were fitted without the `suspects`: otherwise, one diverged run can make all residuals large.
    """
    found = suspects(y, guesses)
    for guess in _useful(y, guesses):
        missed = np.abs(y - guess)
        others = np.isfinite(missed) & ~found
        found &= missed > _FAR_RESIDUAL * NORMAL * float(np.median(missed[others])) if others.any() else False
    return found


def suspects(y: Vector, guesses: Sequence[Vector]) -> NDArray[np.bool_]:
    """Return which runs (R,) have values far from the others, and guesses that explain too little of the distance."""
    none = np.zeros(len(y), dtype=bool)
    found = far_from_others(y)
    if not found.any() or not guesses:
        return none
    far = np.abs(y - np.median(y[np.isfinite(y)]))
    for guess in _useful(y, guesses) or guesses:
        if not found.any():
            break
        missed = np.abs(y - guess)
        known = np.isfinite(missed)
        if known.sum() < _FEWEST:
            return none
        found &= known & (missed > (1.0 - _EXPLAINED) * far)
    return found


def _useful(y: Vector, guesses: Sequence[Vector]) -> list[Vector]:
    """Return the guesses that are better than the mean over the runs whose values are not far from the others.

    A law whose guesses are wild may come near the value of a diverged run by chance, which explains nothing.
    """
    near = np.isfinite(y) & ~far_from_others(y)
    found = []
    for guess in guesses:
        known = near & np.isfinite(guess)
        if known.sum() < _FEWEST:
            found.append(guess)  # too few to judge the law
            continue
        with np.errstate(over="ignore"):
            error = float(np.mean((y - guess)[known] ** 2))
        if error < np.var(y[known]):
            found.append(guess)
    return found


def told_diverged(
    found: NDArray[np.bool_], y: Matrix, runs: Sequence[str], metrics: Sequence[str], scored: bool
) -> list[str]:
    """Write one note for each run (R,) that looks diverged in some metric (R, J)."""
    out = []
    for i in np.flatnonzero(found.any(axis=1)).tolist():
        columns = np.flatnonzero(found[i]).tolist()
        first = columns[0]
        others = y[~found[:, first] & np.isfinite(y[:, first]), first]
        more = f", and as far off in {listing([metrics[j] for j in columns[1:]])}" if len(columns) > 1 else ""
        limited = "the fit limits its residual to 3 usual ones"
        counted = f"{limited}, and the errors and the choice of laws ignore it" if scored else limited
        out.append(
            f"the run {runs[i]} looks diverged: it is {y[i, first]:.4g} in {metrics[first]}, the other runs are {others.min():.4g} to "
            f"{others.max():.4g}, and no law that was tried predicts it{more}; {counted}. If it diverged, {_without([runs[i]])}"
        )
    return out


def _without(runs: Sequence[str]) -> str:
    """Say how to leave runs out: as a command option or as a Python call."""
    options = " ".join(f"--without {quote(run)}" for run in runs)
    call = f"swarm.without({', '.join(map(repr, runs))})"
    return f"leave it out: {either(call, options)}"


def told_weak(noise: Noise, metrics: Sequence[str]) -> list[str]:
    """Write a note on those of these metrics that cannot rank the runs, because they differ as much between seeds as between mixtures."""
    weak = [name for name in noise.weak if name in set(metrics)]
    if not weak:
        return []
    worst = listing((f"{name} ({noise.snr[name]:.2g})" for name in weak), limit=_SHOWN)
    they, them = ("it", "it") if len(weak) == 1 else ("they", "them")
    return [
        f"signal/noise is below 1 for {worst}: {they} cannot rank the runs, because runs of one mixture differ at least as much as mixtures do "
        f"({counted(len(noise.repeats), 'repeated mixture')}). An objective counts {them} like any other metric; to leave {them} out: "
        f"{either('swarm.select(swarm.noise.strong)', '--drop-weak')}"
    ]


def misfits(y: Matrix, predicted: Matrix, counted: NDArray[np.bool_], metrics: Sequence[str]) -> list[str]:
    """Return metrics (R, J) for which the fitted law has a larger error than the mean, even on the runs that it was fitted to."""
    found = []
    for j, name in enumerate(metrics):
        keep = counted[:, j] & np.isfinite(y[:, j])
        truth, guess = y[keep, j], predicted[keep, j]
        if (
            len(truth) > 1
            and np.ptp(truth) > 0.0
            and ((truth - guess) ** 2).sum() > ((truth - truth.mean()) ** 2).sum()
        ):
            found.append(name)
    return found


def told_misfits(law: str, metrics: Sequence[str]) -> list[str]:
    """Write a note on metrics for which a law is worse than a constant on its own runs."""
    return (
        [f"{law} is worse than a constant for {listing(metrics)}, even on the runs it was fitted to: use another law"]
        if metrics
        else []
    )


def no_better_than_the_mean(reports: Sequence[MetricReport]) -> list[str]:
    """Write a note on metrics that no law predicts better out of fold than the mean does."""
    found = [one.metric for one in reports if one.r2 <= 0.0]
    if not found:
        return []
    return [
        f"no law that was tried predicts {listing(found)} better than the mean of the runs does (r2 at most 0): "
        "do not rely on a proposal for such a metric"
    ]


def told_worse(reports: Mapping[str, Mapping[str, MetricReport]]) -> list[str]:
    """Write one note for each law that predicts metrics worse out of fold than their mean does, although another law predicts them better."""
    told = []
    for law, ones in reports.items():
        worse = [
            one.metric
            for one in ones.values()
            if one.r2 < 0.0 and any(rival.get(one.metric, one).r2 > 0.0 for rival in reports.values())
        ]
        if worse:
            told.append(f"{law} predicts {listing(worse)} worse than the mean of the runs does (r2 below 0)")
    return told
