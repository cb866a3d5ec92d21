"""`fit`: fit one law to each metric of a swarm, and measure out of fold how well the laws predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import chain
from time import perf_counter
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Vector
from mixfast._engine.backend.blas import single_blas
from mixfast._text.audience import setting
from mixfast._text.names import listing, misspelt
from mixfast._text.progress import working
from mixfast.laws import _table
from mixfast.laws._candidate import Candidate
from mixfast.laws._doubts import misfits, no_better_than_the_mean, told_misfits, told_weak
from mixfast.laws._fitted import Fit
from mixfast.laws._foreign import Foreign
from mixfast.laws._left_out import Progress
from mixfast.laws._problem import Problem
from mixfast.laws._protocol import FeatureMap, Law, Regressor
from mixfast.laws._report import MetricReport
from mixfast.laws._robust import without_diverged
from mixfast.laws._target_run import common_rate
from mixfast.swarm import Noise, Swarm

# The law of one metric, and the ways to name the laws of all metrics.
One = str | Law | Regressor
Choice = One | Sequence[One] | Mapping[str, One]

# The laws that "auto" chooses from. They are fitted in seconds, and each was the best on some metric of the published swarms. Boosted
# trees were not, and comparing them takes minutes.
_AUTO = ("linear", "log_linear", "gp")
# The cost of a Gaussian process grows as the cube of the runs: "auto" leaves it out if there are more runs than this.
_MOST_FOR_GP = 2048


def fit(
    swarm: Swarm,
    law: Choice = "auto",
    *,
    metrics: Sequence[str] | None = None,
    features: FeatureMap | None = None,
    seed: int = 0,
    folds: int = 5,
    progress: Progress | None = None,
    **options: object,
) -> Fit:
    """Fit laws from mixtures to metrics, one for each metric.

    Parameters
    ----------
    swarm : Swarm
        R runs; missing values are allowed. Runs that were chosen after looking at data are used for the fit but never scored.
    law : str, object, list of them, or mapping of metric to one of them; default "auto"
        "linear", "log_linear", "lightgbm", "gp", "autoscale", "bimix", "epochs", or an object with ``fit(x, y)`` and ``predict(x)``, such as
        a scikit-learn regressor. From a list, each metric takes the law with the smallest out-of-fold error. "auto" is the
        list linear, log_linear and, for up to 2048 runs, gp; and epochs if the swarm knows its tokens and Numba is installed.
    metrics : sequence of str, optional
        Fit only these metrics; names as in the swarm, or without the prefix that all of them share.
    features : optional
        Features of mixtures that laws use besides the shares, as `mixfast.mde.features` makes them. "linear", "gp", "lightgbm" and
        objects of your own use them; other laws in a choice fit the shares alone. Features that no law uses are refused.
    seed : int, default 0
        Seed of the folds, and of the laws that use random numbers.
    folds : int, default 5
        Number of parts that the runs are divided into to measure out-of-fold errors; 0 for none, which "auto" does not allow.
    progress : function of str, optional
        Called with a text on what is being fitted, such as "gp, fold 2 of 5".
    options
        Passed to the law, if one law is named.

    Returns
    -------
    Fit

    Raises
    ------
    TypeError
        If `swarm` is not a Swarm.
    ValueError
        For unknown laws, metrics or options, too few runs to fit any law, or values beyond 1e100.

    Notes
    -----
    If a run looks diverged, `Fit.notes` names it and says how to leave it out. The errors, and the choice between laws, come from laws that
    were fitted without its value, so they do not depend on it. The law that is returned sees the value at most 3 usual residuals away from
    the prediction of a law that was fitted without it. All laws are treated alike: Huber's loss, which log_linear has for every run, would
    bound the residual in the same way, and the other laws minimise squared errors, which a single far value can dominate. A run looks
    diverged in a metric if two conditions hold: its value is more than 10 (robust) standard deviations from the median; and the out-of-fold
    error of every law that was tried is more than 10 times the law's usual error and at least half of that distance. The robust standard
    deviation is 1.4826 times the median absolute deviation. With fewer than 8 runs, no run is judged.

    The rule of "auto" and of lists is the smallest out-of-fold rmse. Rules by what a law picks (`MetricReport.regret`, `optimism` and
    `self_optimism`) were compared by the proposals that follow from them, on 480 synthetic swarms and on published runs. Alone they choose
    worse; as a tie-break among laws within one standard error of the smallest rmse they change nothing significant, so they are reported
    but do not choose (docs/explanation/choosing-a-law.md, ``python -m benchmarks.studies choose_law``).

    Out-of-fold errors: each run is predicted by a law that was fitted without it, but five laws reuse something from the fit to all runs.
    "gp" starts its hyperparameters there, "lightgbm" keeps the number of rounds, "epochs" keeps the shapes, the depth of the
    floor and the ridge, and "autoscale" and "bimix" descend both from its parameters and from an independent start. On 30 synthetic swarms of 30 to 80 runs and 3 to 8 domains, this changed the
    reported rmse by +0.6 % (gp), -1.0 % (lightgbm), -0.9 % (autoscale) and +0.6 % (bimix) on average, compared with folds fitted from
    scratch. Single swarms changed by -15 to +50 %. Reported errors were 1, 11, 8 and 5 % above the rmse on 400 new runs on average,
    because a fold has fewer runs to learn from. bimix was measured on 17 of the swarms: on the others its errors exceed 1000 in a fold or
    on new runs, because the default floor makes it nearly infinite at small shares.

    The result depends only on the data, the arguments and the seed.
    References: Ye et al. (2403.16952) and Olmix (2602.12237) for log_linear, RegMix (2407.01492) for linear and lightgbm.
    """
    began = perf_counter()
    problem = Problem.of(swarm, metrics, features, seed, folds, warned=2)
    chosen, y, notes = problem.metrics, problem.y, problem.notes
    auto, untried = _auto(swarm)
    plan = _plan(law, chosen, auto, options)
    notes += untried if isinstance(law, str) and law == "auto" else []
    _check_features(features, plan)
    if not problem.scored and any(len(rivals) > 1 for rivals in plan):
        raise ValueError(
            f"choosing between laws needs out-of-fold errors: 2 or more folds, and at least 2 runs that were not chosen after "
            f"looking at data; got {folds} folds and {problem.testable} such runs: name one law, as {setting('law', 'linear')}"
        )
    notes += _fit_all(plan, problem, progress)
    counted = without_diverged(problem, plan)
    noise = problem.noise(counted)
    winners, reports = _choose(plan, problem, counted, noise)
    notes += [*problem.diverged(counted), *told_weak(noise, chosen)]
    bad: list[str] = []
    parts = [candidate.part(own) for candidate, own in winners.items()]
    for candidate, part in zip(winners, parts, strict=True):
        notes += candidate.notes(part, chosen, swarm.domains)
        predicted = part.law.predict(problem.inputs(candidate))[:, part.own]
        columns = list(part.columns)
        found = misfits(y[:, columns], predicted, counted[:, columns], [chosen[j] for j in columns])
        notes += told_misfits(candidate.law.name, found)
        bad += found
    notes += no_better_than_the_mean(reports)
    constant = problem.seen.constant
    return Fit(
        domains=tuple(swarm.domains),
        metrics=chosen,
        direction=tuple(swarm.direction[j] for j in problem.columns),
        unit=tuple(swarm.unit[j] for j in problem.columns),
        largest=swarm.ratios.max(axis=0),
        parts=tuple(parts),
        features=features,
        reports=tuple(reports),
        notes=tuple(dict.fromkeys(notes)),
        seconds=perf_counter() - began,
        constant={swarm.domains[k]: share for k, share in constant.items() if swarm.ratios[:, k].any()},
        spread={name: _spread(y[counted[:, j], j]) for j, name in enumerate(chosen)},
        doubted_directions=problem.doubted,
        misfits=tuple(name for name in chosen if name in bad),
        noise={name: sd for name, sd in noise.sd.items() if name in set(chosen)},
        rate=common_rate(swarm.rate),
        most_epochs=None if swarm.epochs is None else swarm.epochs.max(axis=0),
        run_rates=None if swarm.rate is None else np.stack([swarm.rate.min(axis=0), swarm.rate.max(axis=0)]),
        diverged=_named(counted, swarm.runs, chosen),
    )


def _fit_all(plan: Sequence[Sequence[Candidate]], problem: Problem, progress: Progress | None) -> list[str]:
    """Fit every candidate once, to all its metrics. Return notes on the laws that could not be fitted to some metrics."""
    refused: dict[int, list[tuple[str, str]]] = {}
    y, metrics = problem.y, problem.metrics
    candidates = dict.fromkeys(chain.from_iterable(plan))
    with working("fitting laws", len(candidates) * (1 + len(problem.splits)), "fit"), single_blas():
        for candidate in candidates:
            for j, why in problem.fit(candidate, progress).items():
                refused.setdefault(j, []).append((candidate.law.name, why))
    for j, reasons in sorted(refused.items()):
        if not any(j in candidate.columns for candidate in plan[j]):
            known = int(np.isfinite(y[:, j]).sum())
            folds = ", in folds fewer" if problem.splits else ""
            few = f", of which {known} of {len(y)} runs have a value{folds}" if known < len(y) else ""
            raise ValueError(
                f"no law can be fitted to {metrics[j]}{few}: {'; '.join(f'{name}: {why}' for name, why in reasons)}"
            )
    return told_refused(refused, metrics)


def _choose(
    plan: Sequence[Sequence[Candidate]], problem: Problem, counted: NDArray[np.bool_], noise: Noise
) -> tuple[dict[Candidate, list[int]], list[MetricReport]]:
    """Choose the law of each metric by its out-of-fold error over the runs (R, J) that count. Return the metrics of each law, and reports."""
    winners: dict[Candidate, list[int]] = {}
    reports = []
    for j, candidates in enumerate(plan):
        rivals = [candidate for candidate in candidates if j in candidate.columns]
        errors = [candidate.error(j, problem.y, counted[:, j]) if problem.scored else 0.0 for candidate in rivals]
        best = rivals[int(np.argmin(errors))]
        winners.setdefault(best, []).append(j)
        if problem.scored:
            told = {rival.law.name: error for rival, error in zip(rivals, errors, strict=True)}
            reports.append(problem.report(j, best, counted[:, j], told, noise))
    return winners, reports


def told_refused(refused: Mapping[int, Sequence[tuple[str, str]]], metrics: Sequence[str]) -> list[str]:
    """Write one note for all metrics (given by position) that one law refused for the same reason."""
    told: dict[tuple[str, str], list[str]] = {}
    for j, reasons in sorted(refused.items()):
        for reason in reasons:
            told.setdefault(reason, []).append(metrics[j])
    return [f"{listing(names)}: a law was left out: {law}: {why}" for (law, why), names in told.items()]


def _auto(swarm: Swarm) -> tuple[list[str], list[str]]:
    """Return the laws that "auto" chooses from for these runs, and notes on those that it cannot try."""
    names = [name for name in _AUTO if name != "gp" or len(swarm) <= _MOST_FOR_GP]
    # The law in epochs needs the tokens of the runs, and Numba.
    if swarm.rate is None:
        return names, []
    if find_spec("numba") is None:
        return names, [
            "the law in epochs was not tried, because it needs Numba; install with: pip install 'mixfast[laws]'"
        ]
    return [*names, "epochs"], []


def _plan(
    law: Choice, metrics: tuple[str, ...], auto: Sequence[str], options: dict[str, object]
) -> list[list[Candidate]]:
    """List the candidate laws of each metric. Every law is one candidate, shared by all its metrics."""
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
        several = auto if isinstance(law, str) and law == "auto" else law if isinstance(law, (list, tuple)) else (law,)
        if options and len(several) > 1:
            raise ValueError(
                f"options of single laws cannot be given for a choice between laws; got {listing(options)}"
            )
        rivals = [Candidate(_one(each, options)) for each in several]
        plan = [list(rivals) for _ in metrics]
    for j, candidates in enumerate(plan):
        for candidate in candidates:
            candidate.columns.append(j)
    return plan


def _check_features(features: FeatureMap | None, plan: Sequence[Sequence[Candidate]]) -> None:
    """Refuse features that no law of the plan uses."""
    laws = {candidate.law.name: candidate.law.uses_features for rivals in plan for candidate in rivals}
    if features is not None and not any(laws.values()):
        raise ValueError(
            f"features have no effect with {', '.join(laws)}: name a law that uses features, as {setting('law', 'linear')}, "
            f"or leave the features out"
        )


def _one(law: One, options: dict[str, object]) -> Law:
    """Make the law from its name, or wrap an object with fit and predict."""
    if isinstance(law, str):
        return _table.make(law, **options)
    if hasattr(law, "uses_features") and hasattr(law, "state"):
        return cast("Law", law)
    return Foreign(cast("Regressor", law))


def _named(counted: NDArray[np.bool_], runs: Sequence[str], metrics: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the runs (R, J) that do not count, by metric."""
    lost = {name: np.flatnonzero(~counted[:, j]).tolist() for j, name in enumerate(metrics)}
    return {name: tuple(runs[i] for i in rows) for name, rows in lost.items() if rows}


def _spread(values: Vector) -> float:
    """Return the standard deviation of a metric over runs that did not diverge; exactly 0 if all have the same value."""
    known = values[np.isfinite(values)]
    largest = float(np.abs(known).max(initial=0.0))
    # Divide first: squares of very large numbers overflow.
    return 0.0 if largest == 0.0 or known.min() == known.max() else largest * float(np.std(known / largest))
