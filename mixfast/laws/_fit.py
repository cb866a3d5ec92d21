"""`fit`: one law for each metric of a swarm, all metrics at once, and an honest account of how well they predict."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import listing
from mixfast.errors import MixfastWarning
from mixfast.laws import _report, _table
from mixfast.laws._fitted import Fit, Part, _aligned
from mixfast.laws._foreign import Foreign
from mixfast.laws._protocol import Law, Matrix, Vector
from mixfast.laws._threads import single_blas
from mixfast.swarm import Identifiable, Swarm

Index = NDArray[np.int64]
# What "auto" chooses from: laws that are fitted in seconds and came first on some metric of the published swarms. Trees did not, and
# take minutes to compare.
_AUTO = ("linear", "log_linear", "gp")
# A Gaussian process costs the cube of the runs: with more than this "auto" does without it.
_MOST_FOR_GP = 2048
# Beyond this many runs a law's own word on runs left out, with the settings that all runs gave it, is taken.
_SETTLED_RUNS = 256


def fit(
    swarm: Swarm,
    law: Any = "auto",
    *,
    metrics: Sequence[str] | None = None,
    features: Any = None,
    seed: int = 0,
    folds: int = 5,
    **options: Any,
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
    y = np.ascontiguousarray(swarm.values[:, [swarm.metrics.index(name) for name in chosen]])
    seen = swarm.identifiable
    # Where runs differ by rounding only, laws would take it for what made the losses differ.
    x = np.ascontiguousarray(seen.shares)
    notes = list(_caveats(swarm, chosen, y, seen))
    full = x if features is None else np.hstack([x, _features_of(features, swarm)])
    plan = _plan(law, chosen, len(x), options)
    scored = folds > 0 and int((~swarm.chosen).sum()) >= 2
    if not scored and any(len(rivals) > 1 for rivals in plan.values()):
        raise ValueError(
            f"a choice between laws compares them out of fold, with folds > 1 and at least 2 runs that were not chosen after "
            f"looking at data; got folds={folds} and {int((~swarm.chosen).sum())} such runs: name one law, as law='linear'"
        )
    # Every law is fitted once, to all the metrics it is a candidate for.
    parts_of = swarm.folds(min(folds, int((~swarm.chosen).sum())), seed=seed) if scored else []
    tries: dict[int, _Try] = {}
    for j, name in enumerate(chosen):
        for rival in plan[name]:
            tries.setdefault(id(rival), _Try(rival)).columns.append(j)
    refused: dict[str, list[str]] = {}
    with single_blas():
        for one in tries.values():
            for j, why in one.run(full if one.law.uses_features else x, y, parts_of).items():
                refused.setdefault(chosen[j], []).append(f"{one.law.name}: {why}")
    for j, name in enumerate(chosen):
        if name in refused and not any(j in tries[id(rival)].columns for rival in plan[name]):
            raise ValueError(
                f"no law can be fitted to {name}, of which {int(np.isfinite(y[:, j]).sum())} of {len(y)} runs have a value"
                f"{', in folds fewer' if parts_of else ''}: {'; '.join(refused[name])}"
            )
        notes += [f"{name}: a law was left out: {why}" for why in refused.get(name, ())]
    winners: dict[int, list[int]] = {}
    reports = []
    for j, name in enumerate(chosen):
        errors = (
            {id(rival): tries[id(rival)].error(j, y) for rival in plan[name] if j in tries[id(rival)].columns}
            if scored
            else {id(plan[name][0]): 0.0}
        )
        best = min(errors, key=lambda key: errors[key])
        winners.setdefault(best, []).append(j)
        if scored:
            guess, spread = tries[best].left_out(j)
            sign = -1.0 if _of(swarm.direction, swarm, name) == "max" else 1.0
            rivals = {tries[key].law.name: error for key, error in errors.items()}
            reports.append(_report.measure(name, tries[best].law.name, y[:, j], guess, spread, sign, rivals))
    parts = [
        Part(tries[key].fitted, tuple(tries[key].columns.index(j) for j in columns), tuple(columns))
        for key, columns in winners.items()
    ]
    notes += [
        f"errors of {tries[key].law.name} on runs left out are a few per cent too low: with more than {_SETTLED_RUNS} runs its settings "
        "are those that all of them gave"
        for key in winners
        if tries[key].settled
    ]
    for key, part in zip(winners, parts, strict=True):
        notes += _named(
            getattr(part.law, "notes", ()), [chosen[j] for j in tries[key].columns], part.own, swarm.domains
        )
    return Fit(
        tuple(swarm.domains),
        chosen,
        tuple(_of(swarm.direction, swarm, name) for name in chosen),
        tuple(_of(swarm.unit, swarm, name) for name in chosen),
        swarm.ratios.max(axis=0),
        tuple(parts),
        features,
        tuple(reports),
        tuple(dict.fromkeys(notes)),
        perf_counter() - began,
        {swarm.domains[k]: share for k, share in seen.constant.items() if swarm.ratios[:, k].any()},
    )


def _plan(law: Any, metrics: tuple[str, ...], runs: int, options: dict[str, Any]) -> dict[str, list[Law]]:
    """The laws that each metric is to choose from."""
    if isinstance(law, Mapping):
        unknown = [name for name in law if name not in metrics]
        missing = [name for name in metrics if name not in law]
        if unknown or missing:
            raise ValueError(
                f"law as a mapping needs every metric once; unknown: {listing(unknown)}; missing: {listing(missing)}"
            )
        made: dict[Any, Law] = {}
        for given in law.values():
            made.setdefault(given if isinstance(given, str) else id(given), _one(given, options))
        return {name: [made[law[name] if isinstance(law[name], str) else id(law[name])]] for name in metrics}
    auto = tuple(name for name in _AUTO if name != "gp" or runs <= _MOST_FOR_GP)
    several = auto if isinstance(law, str) and law == "auto" else law if isinstance(law, (list, tuple)) else (law,)
    if options and len(several) > 1:
        raise ValueError(f"a choice between laws takes no options of single laws, got {listing(options)}")
    rivals = [_one(each, options) for each in several]
    return {name: list(rivals) for name in metrics}


def _one(law: Any, options: dict[str, Any]) -> Law:
    if isinstance(law, str):
        return _table.make(law, **options)
    if hasattr(law, "uses_features") and hasattr(law, "state"):
        own: Law = law
        return own
    return Foreign(law)


@dataclass
class _Try:
    """One law, the metrics it is a candidate for, and how it does on runs it has not seen."""

    law: Law
    columns: list[int] = field(default_factory=list)
    fitted: Law = field(init=False)
    guess: Matrix = field(init=False)
    spread: Matrix = field(init=False)
    settled: bool = field(
        default=False, init=False
    )  # left-out runs were predicted with the settings that all runs gave

    def run(self, x: Matrix, y: Matrix, parts: Sequence[tuple[Index, Index]]) -> dict[int, str]:
        """Do what `_run` does; metrics that the law refuses, most often for too few runs, leave `columns`, with the reason."""
        try:
            self._run(x, y, parts)
        except ValueError:
            reasons: dict[int, str] = {}
            for j in self.columns:
                try:
                    _Try(self.law, [j])._run(x, y, parts)
                except ValueError as problem:
                    reasons[j] = str(problem)
            if not reasons:
                raise
            self.columns = [j for j in self.columns if j not in reasons]
            if self.columns:
                self._run(x, y, parts)
            return reasons
        return {}

    def _run(self, x: Matrix, y: Matrix, parts: Sequence[tuple[Index, Index]]) -> None:
        """Fit to all runs, and predict each by what the law makes of the others: NaN where a run was never left out."""
        own = np.ascontiguousarray(y[:, self.columns])
        self.fitted = self.law.fit(x, own)
        self.guess, self.spread = np.full(own.shape, np.nan), np.full(own.shape, np.nan)
        # With so many runs, what a few settings learnt from those left out is next to nothing, and refits are minutes.
        closed = getattr(self.fitted, "left_out", None) if len(x) > _SETTLED_RUNS else None
        self.settled = closed is not None and bool(parts)
        for train, test in parts:
            if closed is not None:
                self.guess[test], self.spread[test] = closed(test)
                continue
            some = self.law.fit(np.ascontiguousarray(x[train]), np.ascontiguousarray(own[train]))
            rows = np.ascontiguousarray(x[test])
            self.guess[test], self.spread[test] = some.predict(rows), some.sd(rows)

    def left_out(self, j: int) -> tuple[Vector, Vector]:
        """Predictions (R,) of metric j and their standard deviations, out of fold."""
        column = self.columns.index(j)
        return self.guess[:, column], self.spread[:, column]

    def error(self, j: int, y: Matrix) -> float:
        """Out-of-fold root mean square error of metric j."""
        return float(_report.rmse(y[:, [j]], self.left_out(j)[0][:, None])[0])


def _features_of(features: Any, swarm: Swarm) -> Matrix:
    """The features of the swarm's mixtures (R, F), whatever order of domains they were made in."""
    domains = tuple(getattr(features, "domains", swarm.domains))
    return np.asarray(features.at(_aligned("the swarm", swarm.domains, swarm.ratios, domains)), dtype=np.float64)


def _known(swarm: Swarm, metrics: Sequence[str]) -> tuple[str, ...]:
    if isinstance(metrics, str):
        raise ValueError(f"metrics must be a sequence of names, got the single string {metrics!r}; write [{metrics!r}]")
    return tuple(swarm.metric(name) for name in metrics)


def _of(values: Any, swarm: Swarm, metric: str) -> str:
    """The direction or unit of a metric."""
    return str(values[metric] if isinstance(values, Mapping) else values[swarm.metrics.index(metric)])


def _named(notes: Iterable[Any], metrics: Sequence[str], own: Sequence[int], domains: Sequence[str]) -> list[str]:
    """A law's notes with names for the positions that laws know, those on metrics it was not chosen for left out."""
    out = []
    for note in map(str, notes):
        about = re.match(r"metric (\d+)\b", note)
        if about is not None:
            if int(about[1]) not in own:
                continue
            note = metrics[int(about[1])] + note[about.end() :]
        out.append(re.sub(r"\[([\d, ]+)\]", lambda found: listing(_names(found[1], domains)), note))
    return out


def _names(positions: str, domains: Sequence[str]) -> list[str]:
    """Names of the inputs at these positions; features stand behind the domains."""
    return [domains[k] if k < len(domains) else f"feature {k - len(domains)}" for k in map(int, positions.split(","))]


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
            out.append(f"{name} is {present[0]:g} in every run: nothing can be learnt about it")
            warnings.warn(out[-1], MixfastWarning, stacklevel=3)
    return out
