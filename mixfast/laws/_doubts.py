"""Doubts about runs and laws: runs that look as if they had diverged, and laws that say less than the mean of the runs does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.audience import either
from mixfast._text.names import listing
from mixfast._text.numbers import LARGEST
from mixfast._text.visible import quote
from mixfast.laws._report import MetricReport

# A run looks diverged in a metric where three things come together, with deviations measured in 1.4826 times the median absolute
# deviation, which is a standard deviation for a normal distribution: its value is so far from the median, ...
_FAR_VALUE = 10.0
# ... every law that was tried misses it by so much more than the other runs, ...
_FAR_RESIDUAL = 10.0
# ... and none explains more than this part of its distance. Metrics with long tails have far values, which laws follow.
_EXPLAINED = 0.5
# With fewer runs a far one cannot be told from the others.
_FEWEST = 8
_NORMAL = 1.4826
# Squares of smaller values vanish: a metric without a larger one is in a wrong unit. Those of larger ones than `LARGEST` overflow.
_VANISHING = 1e-100


def refuse_absurd(y: Matrix, runs: Sequence[str], metrics: Sequence[str]) -> None:
    """Refuse values that no law can be fitted to, too large or all too small; `ValueError` names the first run and metric."""
    where = np.argwhere(np.abs(y) > LARGEST)
    if len(where):
        i, j = where[0].tolist()
        more = f", and {len(where) - 1} more values are as large" if len(where) > 1 else ""
        raise ValueError(
            f"the run {runs[i]} is {y[i, j]:g} in {metrics[j]}{more}: no law can be fitted to that. If the run diverged, {_without([runs[i]])}"
        )
    largest = np.where(np.isfinite(y), np.abs(y), 0.0).max(axis=0, initial=0.0)
    small = np.flatnonzero((largest > 0.0) & (largest < _VANISHING)).tolist()
    if small:
        j = small[0]
        i = int(np.nanargmax(np.abs(y[:, j])))
        raise ValueError(
            f"the values of {listing([metrics[j] for j in small])} are all below {_VANISHING:g} in size (the largest of {metrics[j]} is "
            f"{y[i, j]:g}, in the run {runs[i]}): no law can be fitted to that. Give them in another unit, or leave the metrics out"
        )


def diverged(y: Vector, guesses: Sequence[Vector]) -> NDArray[np.bool_]:
    """Runs (R,) that look diverged: their values y (R,), and what every law makes of them, NaN where it was not asked."""
    none = np.zeros(len(y), dtype=bool)
    seen = np.isfinite(y)
    if seen.sum() < _FEWEST or not guesses:
        return none
    far = np.abs(y - np.median(y[seen]))
    spread = _NORMAL * float(np.median(far[seen]))
    found = seen & (far > _FAR_VALUE * spread) & (spread > 0.0)
    for guess in guesses:
        if not found.any():
            break
        missed = np.abs(y - guess)
        known = np.isfinite(missed)
        if known.sum() < _FEWEST:
            return none
        usual = _NORMAL * float(np.median(missed[known]))
        found &= known & (missed > _FAR_RESIDUAL * usual) & (missed > (1.0 - _EXPLAINED) * far)
    return found


def told_diverged(
    found: NDArray[np.bool_], y: Matrix, runs: Sequence[str], metrics: Sequence[str], scored: bool
) -> list[str]:
    """One note for each run (R,) that looks diverged in some metric (R, J)."""
    out = []
    for i in np.flatnonzero(found.any(axis=1)).tolist():
        columns = np.flatnonzero(found[i]).tolist()
        first = columns[0]
        others = y[~found[:, first] & np.isfinite(y[:, first]), first]
        more = f", and as far off in {listing([metrics[j] for j in columns[1:]])}" if len(columns) > 1 else ""
        counted = "the fit counts it, the errors and the choice between laws do not" if scored else "the fit counts it"
        out.append(
            f"the run {runs[i]} looks diverged: it is {y[i, first]:.4g} in {metrics[first]}, the other runs are {others.min():.4g} to "
            f"{others.max():.4g}, and no law that was tried expects it{more}; {counted}. If it diverged, {_without([runs[i]])}"
        )
    return out


def _without(runs: Sequence[str]) -> str:
    """How runs are left out, in a command or in Python."""
    options = " ".join(f"--without {quote(run)}" for run in runs)
    call = f"swarm.without({', '.join(map(repr, runs))})"
    return f"leave it out: {either(call, options)}"


def misfits(y: Matrix, predicted: Matrix, counted: NDArray[np.bool_], metrics: Sequence[str]) -> list[str]:
    """Metrics (R, J) from which a fitted law is further than the mean on the very runs it was fitted to, of those that count."""
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
    """A note on metrics for which a law is worse than a constant on its own runs."""
    return (
        [f"{law} is worse than a constant on its own runs for {listing(metrics)}: take another law"] if metrics else []
    )


def no_better_than_the_mean(reports: Sequence[MetricReport]) -> list[str]:
    """A note on metrics that no law that was tried predicts better, out of fold, than their mean does."""
    found = [one.metric for one in reports if one.r2 <= 0.0]
    if not found:
        return []
    return [
        f"no law that was tried predicts {listing(found)} better than the mean of the runs does (r2 at most 0): "
        "a proposal has nothing to go by there"
    ]
