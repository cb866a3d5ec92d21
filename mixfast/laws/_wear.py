"""fit_wear(): how fast repeated tokens of each domain wear out, from runs whose epochs are known."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.backend.blas import single_blas
from mixfast._engine.objectives.wear import MEASURED
from mixfast._engine.optimise import wear_fit
from mixfast._text.audience import either
from mixfast._text.names import listing, shown
from mixfast._text.numbers import LARGEST
from mixfast.laws._doubts import diverged
from mixfast.laws._fitted_wear import FORMS, LEAST, FittedWear
from mixfast.laws._target_run import how_to_give_tokens
from mixfast.region import DEFAULT_MAX_EPOCHS, MOST_EPOCHS
from mixfast.swarm import Swarm

# Exponents of the value of tokens that are tried: 1 is the log-linear law, smaller ones let new tokens lose value too.
_POWERS = (1.0, 0.75, 0.5, 0.35)
# From where v is searched, for all domains together: the published repeats; thresholds of 4 epochs and others, as runs beyond a threshold tell
# nothing of where it is.
_FIRST = {"fade": (1.0 / (1.0 + MEASURED),), "threshold": (1.0 / DEFAULT_MAX_EPOCHS, 0.6, 0.08, 0.01)}
# Values are bounded at this many median distances from the median before the guess that says which runs diverged.
_FAR = 10.0
# A domain is told only if this many runs read it at least twice, ...
_RUNS, _TWICE = 5, 2.0
# ... and its interval ends below this multiple of the most repeats of a run: beyond, wear cannot be seen in these runs.
_BEYOND = 20.0


def fit_wear(
    swarm: Swarm,
    *,
    metrics: str | Sequence[str] | None = None,
    form: str = "fade",
    level: float = 0.9,
) -> FittedWear:
    """Fit how fast repeated tokens of each domain wear out, from runs that repeat them.

    Each metric is ``c + exp(b - sum_k a_k g(E_k)^p)``, or c minus it if more is better, with ``g(E) = E`` up to one epoch and
    ``g(E) = 1 + R_k (1 - exp(-(E - 1) / R_k))`` beyond, or, with thresholds, ``g(E) = min(E, T_k)``. The number R_k or T_k of a domain is common to
    all metrics; c, b and a at least 0 belong to each. The power p, common to all, lets new tokens lose value too, which would otherwise be taken
    for wear.

    Parameters
    ----------
    swarm : Swarm
        R runs whose tokens and budget are known. The more their epochs of a domain differ, also above 2, the better they tell its wear.
    metrics : str or sequence of str, optional
        Metrics to use; all that vary by default.
    form : {"fade", "threshold"}
        Whether repeated tokens fade, or count fully up to a number of epochs and nothing beyond. `FittedWear.residual` says which form fits better.
    level : float, default 0.9
        Coverage of the intervals.

    Returns
    -------
    FittedWear
        Its `mapping` is for ``solve(wear=...)``.

    Raises
    ------
    ValueError
        The tokens of the runs are unknown, they repeat nothing, a metric or form is unknown, there are fewer than 10 runs, or numbers are out of range.

    Notes
    -----
    Least squares by damped Gauss-Newton steps; metrics count by one over the variance of their noise. An interval has the repeats at which
    the sum of squares, with everything else fitted again, rises by less than a chi-squared quantile; noise that metrics of one run share
    widens it. In planted worlds with noise of a tenth of the effects, 90 % intervals held the truth in 85 % of domains (120 runs, 10 domains) and
    95 % (320 runs, 20 domains); intervals of thresholds in 91 % and 94 %. A domain is not told if fewer than 5 runs read it at least twice, if no metric gains from it, if some metric
    has too few values to tell noise from effects, or if the interval ends above 20 times the most repeats of a run. Wear was fitted at the size of the runs, and may differ for larger models.

    References
    ----------
    Muennighoff et al., "Scaling Data-Constrained Language Models" (arXiv 2305.16264).
    """
    began = perf_counter()
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}, expected a number between 0 and 1")
    if form not in FORMS:
        raise ValueError(f"form is {shown(form)}, expected one of {listing(FORMS)}")
    if metrics is not None:
        swarm = swarm.select(metrics)
    epochs = _epochs(swarm)
    sign = np.array([-1.0 if way == "max" else 1.0 for way in swarm.direction])
    used = [j for j in range(len(swarm.metrics)) if _varies(swarm.values[:, j])]
    if not used:
        raise ValueError("no metric has different values in at least 10 runs: there is nothing to fit wear to")
    values = swarm.values[:, used] * sign[used]
    repeated, most = (epochs >= _TWICE).sum(axis=0), epochs.max(axis=0)
    height = NormalDist().inv_cdf(0.5 + 0.5 * level) ** 2
    # Where hardly any run repeats, the profile is flat.
    ends = np.tile([wear_fit.LEAST, wear_fit.MOST], (len(swarm.domains), 1))
    with single_blas():
        values, apart = _without_diverged(epochs, values, _FIRST[form][0])
        fitted = wear_fit.fit(epochs, values, _POWERS, _FIRST[form], threshold=form == "threshold")
        pooled_ends = wear_fit.pooled_interval(fitted, height)
        enough = bool(wear_fit.spare(fitted).all())
        if enough:
            worth = np.flatnonzero((repeated >= _RUNS) & wear_fit.valued(fitted.single)).tolist()
            fitted, found = wear_fit.intervals(fitted, worth, height)
            for k, own in found.items():
                ends[k] = own
    high, low = _ends(ends, form).T
    pooled_high, pooled_low = _ends(pooled_ends, form)
    few = "" if enough else f"{len(swarm)} runs do not tell noise from the effects of {len(swarm.domains)} domains"
    why = _reasons(swarm.domains, repeated, most, high, wear_fit.valued(fitted.single), few)
    return FittedWear(
        domains=swarm.domains,
        form=form,
        fitted=_numbers(fitted.single.v, form),
        low=low,
        high=high,
        told={name: name not in why for name in swarm.domains},
        why=why,
        pooled=float(_numbers(fitted.pooled.v[0], form)),
        pooled_low=float(pooled_low),
        pooled_high=float(pooled_high),
        power=fitted.runs.power,
        residual=wear_fit.residual(fitted),
        level=float(level),
        metrics=tuple(swarm.metrics[j] for j in used),
        runs=len(swarm),
        diverged=tuple(swarm.runs[i] for i in np.flatnonzero(apart.any(axis=1))),
        repeated=repeated,
        most=most,
        seconds=perf_counter() - began,
    )


def _epochs(swarm: Swarm) -> Any:
    epochs = swarm.epochs
    if epochs is None:
        raise ValueError(
            "wear is a matter of epochs, and the tokens available to the runs are unknown: " + how_to_give_tokens()
        )
    if len(swarm) < 10:
        raise ValueError(f"wear is fitted to at least 10 runs, got {len(swarm)}")
    if not (epochs >= _TWICE).any():
        raise ValueError(
            f"no run reads a domain twice (at most {epochs.max():.2f} epochs): these runs cannot tell wear. Train proxies on smaller pools, as "
            f"{either('design(..., proxy_budget=)', 'mixfast design --proxy-budget')} plans them"
        )
    if not epochs.max() <= MOST_EPOCHS:
        raise ValueError(
            f"a run reads a domain {epochs.max():.3g} times: check that the tokens and the budgets of the runs have one unit; wear is fitted to at "
            f"most {MOST_EPOCHS:g} epochs"
        )
    return epochs


def _without_diverged(epochs: Matrix, values: Matrix, v: float) -> tuple[Matrix, NDArray[np.bool_]]:
    """Return the values (R, J) without those of runs that look diverged, and which these are."""
    middle = np.nanmedian(values, axis=0)
    reach = _FAR * np.nanmedian(np.abs(values - middle), axis=0)
    guess = wear_fit.guess(epochs, np.clip(values, middle - reach, middle + reach), v)
    apart = np.column_stack([diverged(own, [of]) for own, of in zip(values.T, guess.T, strict=True)])
    return np.where(apart, np.nan, values), apart


def _varies(values: Vector) -> bool:
    seen = values[np.isfinite(values)]
    return len(seen) >= 10 and bool(np.abs(seen).max() < LARGEST) and bool(np.ptp(seen) > 1e-12 * np.abs(seen).max())


def _numbers(v: Any, form: str) -> Any:
    """Return the repeats, or the epochs of a threshold, of v."""
    given = np.asarray(v, dtype=np.float64)
    with np.errstate(divide="ignore"):
        epochs = np.where(given > 0.0, 1.0 / given, np.inf)
    return epochs - 1.0 if form == "fade" else epochs


def _ends(v: Any, form: str) -> Any:
    """Return ends of intervals; where the search ended, the runs do not exclude less."""
    return np.where(np.asarray(v) >= wear_fit.MOST, LEAST[form], _numbers(v, form))


def _reasons(
    domains: tuple[str, ...], repeated: Any, most: Vector, high: Vector, valued: Any, few: str
) -> dict[str, str]:
    why: dict[str, str] = {}
    for k, name in enumerate(domains):
        if repeated[k] < _RUNS:
            seldom = (
                "no run reads it twice"
                if not repeated[k]
                else f"only {repeated[k]} of the {_RUNS} needed runs read it twice"
            )
            why[name] = f"{seldom} (most {most[k]:.1f} epochs)"
        elif not valued[k]:
            why[name] = "no metric gains from it"
        elif few:
            why[name] = few
        elif not high[k] <= _BEYOND * (most[k] - 1.0):
            why[name] = "the interval has no upper end in these runs"
    return why
