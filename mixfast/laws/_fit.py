"""`fit`: one law for each metric of a swarm, all metrics at once, and an honest account of how well they predict."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import chain
from time import perf_counter
from typing import cast

import numpy as np

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.audience import setting
from mixfast._text.names import listing, misspelt
from mixfast.errors import MixfastWarning
from mixfast.laws import _table
from mixfast.laws._candidate import Candidate, Splits
from mixfast.laws._fitted import Fit, aligned
from mixfast.laws._foreign import Foreign
from mixfast.laws._protocol import FeatureMap, Law, Regressor
from mixfast.laws._report import measure
from mixfast.laws._threads import single_blas
from mixfast.swarm import Identifiable, Swarm, doubts_of_directions

# The law of one metric, and the choice of laws for all.
One = str | Law | Regressor
Choice = One | Sequence[One] | Mapping[str, One]

# What "auto" chooses from: laws that are fitted in seconds and came first on some metric of the published swarms. Trees did not, and
# take minutes to compare.
_AUTO = ("linear", "log_linear", "gp")
# A Gaussian process costs the cube of the runs: with more than this "auto" does without it.
_MOST_FOR_GP = 2048


def fit(
    swarm: Swarm,
    law: Choice = "auto",
    *,
    metrics: Sequence[str] | None = None,
    features: FeatureMap | None = None,
    seed: int = 0,
    folds: int = 5,
    **options: object,
) -> Fit:
    """Fit laws from mixtures to metrics, one for each metric.

    Parameters
    ----------
    swarm : Swarm
        R runs; missing values are allowed. Runs that were chosen after looking at data are fitted but never scored.
    law : str, object, list of them, or mapping of metric to one of them; default "auto"
        "linear", "log_linear", "lightgbm", "gp", "autoscale", "bimix", or an object with ``fit(x, y)`` and ``predict(x)``, as
        scikit-learn's regressors are. Of a list, each metric takes the law with the least out-of-fold error; "auto" is the
        list linear, log_linear and, up to 2048 runs, gp.
    metrics : sequence of str, optional
        Only these; names as in the swarm, or without the prefix they share.
    features : optional
        Features of mixtures to fit on besides the shares, as `mixfast.mde.features` makes them.
    seed : int, default 0
        Of the folds, and of the laws that draw.
    folds : int, default 5
        Parts into which runs are cut to measure out-of-fold errors; 0 for none, which "auto" does not allow.
    options
        Handed to the law, where it is one.

    Returns
    -------
    Fit

    Raises
    ------
    TypeError
        Something that is no swarm.
    ValueError
        Unknown laws, metrics or options, too few runs to fit anything.

    Notes
    -----
    Deterministic by seed. Compiled loops are built at first use and cached.
    References: Ye et al. (2403.16952) and Olmix (2602.12237) for log_linear, RegMix (2407.01492) for linear and lightgbm.
    """
    began = perf_counter()
    if not isinstance(swarm, Swarm):
        raise TypeError(
            f"swarm is {type(swarm).__name__}, expected a Swarm: Swarm(ratios, metrics, ...) or Swarm.from_csv(ratios, metrics)"
        )
    chosen = tuple(swarm.metrics) if metrics is None else _known(swarm, metrics)
    columns = [swarm.metrics.index(name) for name in chosen]
    y = np.ascontiguousarray(swarm.values[:, columns])
    direction, unit = tuple(swarm.direction[j] for j in columns), tuple(swarm.unit[j] for j in columns)
    seen = swarm.identifiable
    # Where runs differ by rounding only, laws would take it for what made the losses differ.
    x = np.ascontiguousarray(seen.shares)
    doubted = {name: why for name, why in swarm.report.doubted_directions.items() if name in chosen}
    notes = [*doubts_of_directions(doubted), *_caveats(swarm, chosen, y, seen)]
    full = x if features is None else np.hstack([x, _features_of(features, swarm)])
    plan = _plan(law, chosen, len(x), options)
    testable = int((~swarm.chosen).sum())
    scored = folds > 0 and testable >= 2
    if not scored and any(len(rivals) > 1 for rivals in plan):
        raise ValueError(
            f"a choice between laws compares them out of fold, with 2 or more folds and at least 2 runs that were not chosen after "
            f"looking at data; got {folds} folds and {testable} such runs: name one law, as {setting('law', 'linear')}"
        )
    splits = swarm.folds(min(folds, testable), seed=seed) if scored else []
    notes += _fit_all(plan, x, full, y, splits, chosen)
    winners: dict[Candidate, list[int]] = {}
    reports = []
    for j, name in enumerate(chosen):
        rivals = [candidate for candidate in plan[j] if j in candidate.columns]
        errors = [candidate.error(j, y) if scored else 0.0 for candidate in rivals]
        best = rivals[int(np.argmin(errors))]
        winners.setdefault(best, []).append(j)
        if scored:
            guess, spread = best.left_out(j)
            told = {rival.law.name: error for rival, error in zip(rivals, errors, strict=True)}
            more = direction[j] == "max"
            reports.append(measure(name, best.law.name, y[:, j], guess, sd=spread, more_is_better=more, rivals=told))
    parts = [candidate.part(own) for candidate, own in winners.items()]
    for candidate, part in zip(winners, parts, strict=True):
        notes += candidate.notes(part, chosen, swarm.domains)
    return Fit(
        domains=tuple(swarm.domains),
        metrics=chosen,
        direction=direction,
        unit=unit,
        largest=swarm.ratios.max(axis=0),
        parts=tuple(parts),
        features=features,
        reports=tuple(reports),
        notes=tuple(dict.fromkeys(notes)),
        seconds=perf_counter() - began,
        constant={swarm.domains[k]: share for k, share in seen.constant.items() if swarm.ratios[:, k].any()},
        flat=tuple(name for name in chosen if name in swarm.report.constant),
        doubted_directions=doubted,
    )


def _fit_all(
    plan: Sequence[Sequence[Candidate]], x: Matrix, full: Matrix, y: Matrix, splits: Splits, metrics: Sequence[str]
) -> list[str]:
    """Fit every candidate once, to all its metrics; return notes on the laws that metrics had to do without."""
    refused: dict[int, list[tuple[str, str]]] = {}
    with single_blas():
        for candidate in dict.fromkeys(chain.from_iterable(plan)):
            law = candidate.law
            for j, why in candidate.fit(full if law.uses_features else x, y, splits).items():
                refused.setdefault(j, []).append((law.name, why))
    for j, reasons in sorted(refused.items()):
        if not any(j in candidate.columns for candidate in plan[j]):
            raise ValueError(
                f"no law can be fitted to {metrics[j]}, of which {int(np.isfinite(y[:, j]).sum())} of {len(y)} runs have a value"
                f"{', in folds fewer' if splits else ''}: {'; '.join(f'{name}: {why}' for name, why in reasons)}"
            )
    # One line for all metrics that had to do without a law for the same reason.
    told: dict[tuple[str, str], list[str]] = {}
    for j, reasons in sorted(refused.items()):
        for reason in reasons:
            told.setdefault(reason, []).append(metrics[j])
    return [f"{listing(names)}: a law was left out: {law}: {why}" for (law, why), names in told.items()]


def _plan(law: Choice, metrics: tuple[str, ...], runs: int, options: dict[str, object]) -> list[list[Candidate]]:
    """The laws that each metric is to choose from; every law is one candidate, for all its metrics."""
    if isinstance(law, Mapping):
        unknown = [name for name in law if name not in metrics]
        missing = [name for name in metrics if name not in law]
        if unknown or missing:
            raise ValueError(
                f"law as a mapping needs every metric once; unknown: {misspelt(unknown, missing)}; missing: {listing(missing)}"
            )
        made: dict[str | int, Candidate] = {}
        plan = []
        for given in (law[name] for name in metrics):
            key = given if isinstance(given, str) else id(given)
            if key not in made:
                made[key] = Candidate(_one(given, options))
            plan.append([made[key]])
    else:
        auto = tuple(name for name in _AUTO if name != "gp" or runs <= _MOST_FOR_GP)
        several = auto if isinstance(law, str) and law == "auto" else law if isinstance(law, (list, tuple)) else (law,)
        if options and len(several) > 1:
            raise ValueError(f"a choice between laws takes no options of single laws, got {listing(options)}")
        rivals = [Candidate(_one(each, options)) for each in several]
        plan = [list(rivals) for _ in metrics]
    for j, candidates in enumerate(plan):
        for candidate in candidates:
            candidate.columns.append(j)
    return plan


def _one(law: One, options: dict[str, object]) -> Law:
    """The law of a name, or one made of an object with fit and predict."""
    if isinstance(law, str):
        return _table.make(law, **options)
    if hasattr(law, "uses_features") and hasattr(law, "state"):
        return cast("Law", law)
    return Foreign(cast("Regressor", law))


def _features_of(features: FeatureMap, swarm: Swarm) -> Matrix:
    """The features of the swarm's mixtures (R, F), whatever order of domains they were made in."""
    domains = tuple(getattr(features, "domains", swarm.domains))
    return np.asarray(features.at(aligned("the swarm", swarm.domains, swarm.ratios, domains)), dtype=np.float64)


def _known(swarm: Swarm, metrics: Sequence[str]) -> tuple[str, ...]:
    """The swarm's own names of these metrics."""
    if isinstance(metrics, str):
        raise ValueError(f"metrics must be a sequence of names, got the single string {metrics!r}; write [{metrics!r}]")
    return tuple(swarm.metric(name) for name in metrics)


def _caveats(swarm: Swarm, metrics: tuple[str, ...], y: Matrix, seen: Identifiable) -> list[str]:
    """What the runs do not say, in words; a warning for what makes a law useless."""
    out = []
    runs, domains = swarm.ratios.shape
    unseen = [swarm.domains[k] for k in np.flatnonzero(swarm.ratios.max(axis=0) == 0.0)]
    if unseen:
        out.append(
            f"no run has a share of {listing(unseen)}: no law knows what they do; a proposal keeps them at their prior share"
        )
    still = [f"{swarm.domains[k]} ({share:.3g})" for k, share in seen.constant.items() if swarm.ratios[:, k].any()]
    if still:
        out.append(
            f"all runs have the same share of {listing(still)}: no law knows what another would do; a proposal keeps it"
        )
    if seen.linked:
        out.append(
            f"{listing(swarm.domains[k] for k in seen.linked)} vary only together, as in a fixed ratio: no law can tell their effects "
            "apart; limit their shares, or train runs with other ratios"
        )
    if runs < domains + 1:
        out.append(
            f"{runs} runs for {domains} domains: fewer than {domains + 1}, so no law has a unique fit; "
            "what is predicted leans on each law's own regularisation"
        )
    for name, column in zip(metrics, y.T, strict=True):
        present = column[np.isfinite(column)]
        if present.size and np.ptp(present) == 0.0:
            out.append(
                f"{name} is {present[0]:g} in every run: nothing can be learnt about it, and it does not count in the mean of all metrics"
            )
            warnings.warn(out[-1], MixfastWarning, stacklevel=3)
    return out
