"""`fit`: one law for each metric of a swarm, all metrics at once, and an honest account of how well they predict."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import listing
from mixfast.errors import MixfastWarning
from mixfast.laws import _report, _table
from mixfast.laws._foreign import Foreign
from mixfast.laws._joint import Joint
from mixfast.laws._protocol import Law, Matrix, Vector
from mixfast.laws._report import MetricReport
from mixfast.laws._threads import single_blas
from mixfast.swarm import Swarm
from mixfast.swarm import _names as _swarm_names
from mixfast.swarm._rank import Tried, tried

Index = NDArray[np.int64]
# What "auto" chooses from: laws that are fitted in seconds and came first on some metric of the published swarms. Trees did not, and
# take minutes to compare.
_AUTO = ("linear", "log_linear", "gp")
# A Gaussian process costs the cube of the runs: with more than this "auto" does without it.
_MOST_FOR_GP = 2048
# Beyond this many runs a law's own word on runs left out, with the settings that all runs gave it, is taken.
_SETTLED_RUNS = 256
# Shares that sum to 1 within this are what published swarms hold.
_SUM = 5e-3


@dataclass(frozen=True)
class Part:
    """One fitted law, those of its own columns that are used, and the places of these metrics in the fit."""

    law: Law
    own: tuple[int, ...]
    columns: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Fit:
    """Laws of the metrics of a swarm.

    Attributes
    ----------
    domains : tuple of str
        What the shares of a mixture are shares of, in the order `predict` takes arrays in.
    metrics : tuple of str
    direction : tuple of str
        "min" or "max" for each metric.
    unit : tuple of str
    largest : (K,) float
        Largest share of each domain in a run. Of larger ones the laws know less, and nothing of a domain that no run has.
    constant : dict of str to float
        Domains with one and the same share in all runs but for rounding, and that share: the laws know nothing of other shares.
    laws : dict of str to str
        The law of each metric.
    reports : tuple of MetricReport
        Out-of-fold quality of each metric; empty after a fit without folds.
    notes : tuple of str
        What the user should know.
    seconds : float
    """

    domains: tuple[str, ...]
    metrics: tuple[str, ...]
    direction: tuple[str, ...]
    unit: tuple[str, ...]
    largest: Vector
    parts: tuple[Part, ...] = field(repr=False)
    features: Any = field(repr=False)
    reports: tuple[MetricReport, ...] = field(repr=False)
    notes: tuple[str, ...]
    seconds: float
    constant: dict[str, float]

    @cached_property
    def _place(self) -> dict[str, tuple[Law, int]]:
        return {
            self.metrics[j]: (part.law, i) for part in self.parts for i, j in zip(part.own, part.columns, strict=True)
        }

    @property
    def identified(self) -> NDArray[np.bool_]:
        """Domains (K,) that some run has a share of, and not all the same."""
        return (self.largest > 0.0) & np.array([name not in self.constant for name in self.domains])

    @property
    def laws(self) -> dict[str, str]:
        """The law of each metric."""
        return {metric: self._place[metric][0].name for metric in self.metrics}

    def law_of(self, metric: str) -> tuple[Law, int]:
        """The fitted law object of a metric, and the metric's column in what it predicts."""
        return self._place[metric if metric in self._place else _swarm_names.one(self.metrics, metric, "metric")]

    @property
    def report(self) -> str:
        """Out-of-fold quality as a table of text."""
        return _report.table(self.reports) if self.reports else "fitted without folds: nothing was held out"

    def predict(self, ratios: Any) -> Matrix:
        """Predict the metrics of mixtures.

        Parameters
        ----------
        ratios : (M, K) or (K,) array in the order of `domains`, Mixture, mapping of str to float, or Swarm
            Shares; rows sum to 1 within 5e-3. Mixtures, mappings and swarms are aligned by name.

        Returns
        -------
        (M, J) float64, in the metrics' units.
        """
        return self._gather(ratios, "predict")

    def sd(self, ratios: Any) -> Matrix:
        """Predictive standard deviations (M, J) of a new run's metrics; `ratios` as in `predict`."""
        return self._gather(ratios, "sd")

    @property
    def smooth(self) -> bool:
        """Whether every metric's law knows its gradient, and none has features without one."""
        features = self.features is None or hasattr(self.features, "slopes")
        return features and all(hasattr(part.law, "slopes") for part in self.parts)

    def slopes(self, ratios: Any) -> tuple[Matrix, NDArray[np.float64]]:
        """Metrics (M, J) and their gradients (M, J, K) in nats per unit of share, as if shares were free of their sum."""
        w = self._shares(ratios)
        values = np.empty((len(w), len(self.metrics)))
        gradients = np.empty((len(w), len(self.metrics), len(self.domains)))
        for part in self.parts:
            if not hasattr(part.law, "slopes"):
                raise ValueError(f"the law {part.law.name} has no gradient")
            value, gradient = part.law.slopes(self._inputs(part.law, w))
            value, gradient = value[:, part.own], gradient[:, part.own]
            chain = gradient[:, :, : w.shape[1]]
            if gradient.shape[2] > w.shape[1]:
                chain = chain + np.einsum("mjf,mfk->mjk", gradient[:, :, w.shape[1] :], self.features.slopes(w)[1])
            values[:, part.columns], gradients[:, part.columns] = value, chain
        return values, gradients

    def joint(self, ratios: Any, metrics: Sequence[str]) -> list[Joint] | None:
        """What is open of each of these metrics at M mixtures jointly: covariances, draws, and what runs would tell.

        Parameters
        ----------
        ratios : as in `predict`
        metrics : sequence of str

        Returns
        -------
        list of Joint, one for each metric; None where the law of one knows no covariances between mixtures, as trees, regressors
        from elsewhere and a Gaussian process of tasks above 0 do not.
        """
        w = self._shares(ratios)
        owner = [self.law_of(metric) for metric in metrics]
        out: list[Any] = [None] * len(metrics)
        with single_blas():
            for part in self.parts:
                places = [i for i, (law, _) in enumerate(owner) if law is part.law]
                if not places:
                    continue
                joint = getattr(part.law, "joint", None)
                found = joint(self._inputs(part.law, w), [owner[i][1] for i in places]) if joint is not None else None
                if found is None:
                    return None
                for i, one in zip(places, found, strict=True):
                    out[i] = one
        return out

    def save(self, path: Any) -> None:
        """Write the fit as .json or .npz. Features are not in the file: give them again to `load`."""
        from mixfast.laws import _files

        _files.save(self, path)

    @classmethod
    def load(cls, path: Any, *, features: Any = None) -> Fit:
        """Read a fit that `save` wrote."""
        from mixfast.laws import _files

        return _files.load(path, features)

    def _gather(self, ratios: Any, what: str) -> Matrix:
        w = self._shares(ratios)
        out = np.empty((len(w), len(self.metrics)))
        with single_blas():
            for part in self.parts:
                out[:, part.columns] = getattr(part.law, what)(self._inputs(part.law, w))[:, part.own]
        return out

    def _inputs(self, law: Law, w: Matrix) -> Matrix:
        if self.features is None or not law.uses_features:
            return w
        return np.hstack([w, self.features.at(w)])

    def _shares(self, ratios: Any) -> Matrix:
        if hasattr(ratios, "ratios"):
            ratios = _aligned("the swarm", ratios.domains, ratios.ratios, self.domains)
        elif hasattr(ratios, "weights") and hasattr(ratios, "domains"):
            ratios = _aligned("the mixture", ratios.domains, np.atleast_2d(ratios.weights), self.domains)
        elif isinstance(ratios, Mapping):
            ratios = _aligned(
                "the mixture", tuple(ratios), np.array([list(ratios.values())], dtype=np.float64), self.domains
            )
        w = np.ascontiguousarray(np.atleast_2d(np.asarray(ratios, dtype=np.float64)))
        if w.ndim != 2 or w.shape[1] != len(self.domains):
            raise ValueError(
                f"mixtures must be (M, {len(self.domains)}), one column for each domain; got {np.shape(ratios)}"
            )
        if not np.isfinite(w).all() or (w.size and w.min() < -1e-12):
            raise ValueError("shares must be finite and not negative")
        wrong = np.flatnonzero(np.abs(w.sum(axis=1) - 1.0) > _SUM)
        if wrong.size:
            raise ValueError(
                f"shares must sum to 1 within {_SUM}; rows {listing(wrong)} sum to {listing(w.sum(axis=1)[wrong].round(4))}"
            )
        return w


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
    seen = tried(swarm.ratios)
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


def _aligned(what: str, names: Sequence[str], values: Matrix, domains: Sequence[str]) -> Matrix:
    """Columns of values (R, K), named by `names`, in the order of `domains`."""
    if tuple(names) == tuple(domains):
        return values
    return np.ascontiguousarray(values[:, _swarm_names.pairing(names, domains, what, "the fit")])


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


def _caveats(swarm: Swarm, metrics: tuple[str, ...], y: Matrix, seen: Tried) -> list[str]:
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
