"""Fit: the fitted laws of a swarm's metrics, their predictions, and their measured quality."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.backend.blas import single_blas
from mixfast._text.frames import data_frame
from mixfast._text.frozen import Frozen, locked
from mixfast._text.names import counted, domain_names, listing, positions
from mixfast._text.notebook import html_table
from mixfast._text.visible import visible
from mixfast.errors import BackendError, MixfastError
from mixfast.laws import _files, _report
from mixfast.laws._joint import Joint
from mixfast.laws._left_out import predict_left_out
from mixfast.laws._mixtures_in import Mixtures, aligned, shares_in
from mixfast.laws._part import Part
from mixfast.laws._protocol import Correlated, FeatureMap, Law, Smooth, uses_epochs
from mixfast.laws._report import MetricReport
from mixfast.laws._target_run import common_rate, rate_of
from mixfast.swarm import Swarm, find_name


@dataclass(frozen=True, eq=False, repr=False)
class Fit(Frozen):
    """The fitted laws of the metrics of a swarm.

    Attributes
    ----------
    domains : tuple of str
        Names of the domains, in the order that `predict` expects for arrays.
    metrics : tuple of str
    direction : tuple of str
        "min" or "max" for each metric.
    unit : tuple of str
    largest : (K,) float
        Largest share of each domain in any run. Predictions beyond it extrapolate; a domain that is in no run is unknown.
    constant : dict of str to float
        Domains with the same share in all runs (up to rounding), and that share: the laws cannot tell the effect of other shares.
    spread : dict of str to float
        Standard deviation of each metric over the runs that did not diverge. Metrics with 0 (one value in all runs) do not count in the mean of all metrics.
    doubted_directions : dict of str to str
        Metrics to minimise that may be better when larger, with the reason; as in the report of the swarm.
    misfits : tuple of str
        Metrics whose law is worse than a constant, even on the runs that it was fitted to.
    noise : dict of str to float
        Standard deviation of each metric between seeds, from runs that repeat a mixture (`Swarm.noise`); metrics without repeats are missing.
    rate : (K,) float, or None
        Epochs of each domain for each unit of its share, in the run that laws in epochs predict: budget / tokens available. By default
        that of the runs; None if their tokens are unknown or their rates differ. `for_run` sets it.
    most_epochs : (K,) float, or None
        Largest number of epochs of each domain in any run; None if the tokens of the runs are unknown.
    run_rates : (2, K) float, or None
        Smallest and largest rate of the runs that the laws were fitted to; None if their tokens are unknown.
    diverged : dict of str to tuple of str
        Runs that look diverged in a metric; metrics without such runs are missing.
    laws : dict of str to str
        Name of the law of each metric.
    reports : tuple of MetricReport
        Out-of-fold quality of each metric; empty after a fit without folds.
    notes : tuple of str
        Problems with the runs and laws that the user should know about.
    seconds : float
    """

    domains: tuple[str, ...]
    metrics: tuple[str, ...]
    direction: tuple[str, ...]
    unit: tuple[str, ...]
    largest: Vector
    parts: tuple[Part, ...] = field(repr=False)
    features: FeatureMap | None = field(repr=False)
    reports: tuple[MetricReport, ...] = field(repr=False)
    notes: tuple[str, ...]
    seconds: float
    constant: dict[str, float]
    spread: dict[str, float] = field(default_factory=dict)
    doubted_directions: dict[str, str] = field(default_factory=dict)
    misfits: tuple[str, ...] = ()
    noise: dict[str, float] = field(default_factory=dict)
    diverged: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rate: Vector | None = None
    most_epochs: Vector | None = None
    run_rates: Matrix | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "largest", locked(self.largest))
        for name in ("rate", "most_epochs", "run_rates"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, locked(getattr(self, name)))

    def __repr__(self) -> str:
        kinds = [f"{list(self.laws.values()).count(kind)} {kind}" for kind in dict.fromkeys(self.laws.values())]
        return (
            f"Fit({counted(len(self.metrics), 'metric')}: {listing(self.metrics, limit=4)}; laws: {', '.join(kinds)}; "
            f"{counted(len(self.domains), 'domain')}: {listing(self.domains, limit=4)})"
        )

    def __str__(self) -> str:
        return self.summary()

    def summary(self) -> str:
        """Return the out-of-fold quality of each law and the notes, as `mixfast fit` prints them."""
        return "\n".join([self.report, *(f"note: {visible(note)}" for note in self.notes)])

    def _repr_html_(self) -> str:
        """Show the law of each metric, and how well it predicts runs that it has not seen, in a notebook."""
        laws, reports = self.laws, {one.metric: one for one in self.reports}
        rows = [
            (
                name,
                laws[name],
                *([_report.known(self.noise.get(name))] if self.noise else []),
                *([] if not reports else _report.cells(reports.get(name))),
            )
            for name in self.metrics
        ]
        floor = ["noise"] if self.noise else []
        header = ["metric", "law", *floor, *(["rmse out of fold", "Spearman", "r2"] if reports else [])]
        title = f"Fit: {counted(len(self.metrics), 'metric')}, {counted(len(self.domains), 'domain')}"
        return html_table(title, header, rows, lines=self.notes, left=(0, 1), what="metrics")

    def to_pandas(self) -> Any:
        """Return one row for each metric as a pandas DataFrame.

        Returns
        -------
        pandas.DataFrame
            Labels: the metrics. Columns: "law", "direction", "unit", "noise" (missing where no mixture is repeated), and those of `MetricReport` without "rivals", which are missing after a fit
            without folds.

        Raises
        ------
        BackendError
            If pandas is missing: ``pip install 'mixfast[pandas]'``.
        """
        known = {one.metric: one for one in self.reports}
        columns: dict[str, Any] = {"law": list(self.laws.values()), "direction": self.direction, "unit": self.unit}
        columns["noise"] = [self.noise.get(metric, float("nan")) for metric in self.metrics]
        for name in (
            ("runs", "rmse", "sd", "spearman", "r2", "optimism", "coverage", "regret", "self_optimism") if known else ()
        ):
            columns[name] = [getattr(known.get(metric), name, float("nan")) for metric in self.metrics]
        return data_frame(columns, self.metrics, "metric", BackendError)

    def predict_pandas(self, ratios: Mixtures) -> Any:
        """Predict the metrics of mixtures, as `predict` does, and return them as a pandas DataFrame.

        Returns
        -------
        pandas.DataFrame
            One column for each metric; the labels are the ids of the runs of a `Swarm` or a `Design`, else numbers from 0.

        Raises
        ------
        BackendError
            If pandas is missing: ``pip install 'mixfast[pandas]'``.
        """
        found = self.predict(ratios)
        runs = getattr(ratios, "runs", range(len(found)))
        return data_frame(dict(zip(self.metrics, found.T.copy(), strict=True)), runs, "run", BackendError)

    @cached_property
    def _place(self) -> dict[str, tuple[Law, int]]:
        """The law of each metric, and the column of the metric in its predictions."""
        return {
            self.metrics[j]: (part.law, i) for part in self.parts for i, j in zip(part.own, part.columns, strict=True)
        }

    @property
    def identified(self) -> NDArray[np.bool_]:
        """Which domains (K,) have different shares in the runs, and more than 0 in at least one."""
        return (self.largest > 0.0) & np.array([name not in self.constant for name in self.domains])

    @property
    def laws(self) -> dict[str, str]:
        """The name of the law of each metric."""
        return {metric: self._place[metric][0].name for metric in self.metrics}

    def law_of(self, metric: str) -> tuple[Law, int]:
        """Return the fitted law object of a metric, and the column of the metric in its predictions."""
        return self._place[metric if metric in self._place else find_name(self.metrics, metric, "metric")]

    @property
    def report(self) -> str:
        """The out-of-fold quality of each metric, as a text table."""
        one_unit = len(set(self.unit)) == 1
        return (
            _report.table(self.reports, one_unit=one_unit)
            if self.reports
            else "fitted without folds: nothing was held out"
        )

    def predict(self, ratios: Mixtures) -> Matrix:
        """Predict the metrics of mixtures.

        Parameters
        ----------
        ratios : (M, K) or (K,) array in the order of `domains`, Mixture, mapping of str to float, or Swarm
            Shares; each row sums to 1 within 5e-3. Mixtures, mappings and swarms are aligned by name. Laws in epochs predict the run of
            `rate`, also for a swarm whose own runs have other tokens or budgets: give those by `for_run`.

        Returns
        -------
        (M, J) float64, in the metrics' units.
        """
        return self._gather(ratios, lambda law, x: law.predict(x))

    def for_run(self, tokens: Mapping[str, float] | ArrayLike, budget: float) -> Fit:
        """Return the same laws, used to predict a run with this budget and these tokens available. Only laws in epochs change.

        Parameters
        ----------
        tokens : mapping of str to float, or (K,) array in the order of `domains`
            Tokens available of each domain, above 0; `math.inf` for a domain that never repeats.
        budget : float
            Tokens that the run reads, above 0.

        Raises
        ------
        ValueError
            If a number is not positive, or the number of domains differs.
        AlignmentError
            If domains are missing or unknown.
        """
        return replace(self, rate=rate_of(tokens, budget, self.domains))

    @property
    def uses_epochs(self) -> bool:
        """Whether a law of some metric is a function of epochs, so that predictions depend on the run."""
        return any(uses_epochs(part.law) for part in self.parts)

    def sd(self, ratios: Mixtures) -> Matrix:
        """Return predictive standard deviations (M, J) of a new run's metrics; `ratios` as in `predict`."""
        return self._gather(ratios, lambda law, x: law.sd(x))

    @cached_property
    def smooth(self) -> bool:
        """Whether the gradients of all laws and of the features are known."""
        known = self.features is None or self._smooth_features is not None
        return known and all(part.smooth is not None for part in self.parts)

    @cached_property
    def _smooth_features(self) -> Smooth | None:
        return self.features if self.features is not None and isinstance(self.features, Smooth) else None

    def slopes(self, ratios: Mixtures) -> tuple[Matrix, NDArray[np.float64]]:
        """Return metrics (M, J) and gradients (M, J, K) with respect to the shares, ignoring that shares must sum to 1."""
        w = shares_in(ratios, self.domains)
        values = np.empty((len(w), len(self.metrics)))
        gradients = np.empty((len(w), len(self.metrics), len(self.domains)))
        for part in self.parts:
            found = part.slopes(w, self.features, self._smooth_features, self.rate)
            values[:, part.columns], gradients[:, part.columns] = found
        return values, gradients

    def joint(self, ratios: Mixtures, metrics: Sequence[str]) -> list[Joint] | None:
        """Return the joint uncertainty of each of these metrics at M mixtures: covariances, samples, and the effect of new runs.

        Parameters
        ----------
        ratios : as in `predict`
        metrics : sequence of str

        Returns
        -------
        list of Joint, one for each metric. None if one of the laws knows no covariances between mixtures: trees, foreign regressors,
        and a Gaussian process with tasks above 0.
        """
        w = shares_in(ratios, self.domains)
        owner = [self.law_of(metric) for metric in metrics]
        out: dict[int, Joint] = {}
        with single_blas():
            for part in self.parts:
                places = [i for i, (law, _) in enumerate(owner) if law is part.law]
                if not places:
                    continue
                if not isinstance(part.law, Correlated):
                    return None
                found = part.law.joint(part.inputs(w, self.features, self.rate), [owner[i][1] for i in places])
                if found is None:
                    return None
                out.update(zip(places, found, strict=True))
        return [out[i] for i in range(len(metrics))]

    def out_of_fold(self, swarm: Swarm, *, folds: int = 5, seed: int = 0) -> tuple[Matrix, Matrix, Matrix]:
        """Predict every run of a swarm out of fold, by the same kinds of laws.

        Parameters
        ----------
        swarm : Swarm
            The runs that the laws were fitted to. Domains and metrics are aligned by name.
        folds : int, default 5
            Number of parts that the runs are divided into; fewer if there are fewer runs.
        seed : int, default 0
            Seed of the folds. The seed of the fit gives the same folds as the fit.

        Returns
        -------
        measured, predicted, sd : (R, J) float64
            NaN where a run has no value, or is in no test fold because it was chosen after looking at data.
        """
        # As in `fit`: remove differences that are only rounding errors.
        shares = aligned("the swarm", swarm.domains, swarm.identifiable.shares, self.domains)
        known = set(swarm.metrics)
        columns = positions((name if name in known else swarm.metric(name) for name in self.metrics), swarm.metrics)
        measured = np.ascontiguousarray(swarm.values[:, columns])
        lost = [[run in self.diverged.get(name, ()) for name in self.metrics] for run in swarm.runs]
        # As in `fit`: runs that look diverged are predicted, but no law is fitted to them.
        seen = np.where(np.array(lost, dtype=np.bool_), np.nan, measured)
        guess, spread = np.full(measured.shape, np.nan), np.full(measured.shape, np.nan)
        splits = swarm.folds(min(folds, int((~swarm.chosen).sum())), seed=seed)
        # Without tokens, the rate of the runs that were fitted; `rate` may be that of another run.
        rate = common_rate(self.run_rates)
        if swarm.rate is not None:
            rate = aligned("the swarm", swarm.domains, swarm.rate, self.domains)
        elif rate is None and self.uses_epochs:
            raise ValueError(
                "the laws are functions of epochs, the runs have different rates, and this swarm does not know its tokens: give them by with_tokens"
            )
        with single_blas():
            for part in self.parts:
                into, x = list(part.columns), np.ascontiguousarray(part.inputs(shares, self.features, rate))
                guess[:, into], spread[:, into] = predict_left_out(
                    part.law, x, seen[:, into], splits, own=list(part.own)
                )
        return measured, guess, spread

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the fit as .json or .npz. The file does not hold the features: give them to `load` again.

        Raises
        ------
        ValueError
            For another file ending; or, without ``force``, if it would replace a file of another kind, such as a table of experts.
        OSError
            If the file cannot be written. An existing file stays unchanged.
        """
        _files.save(
            path,
            {
                **{name: getattr(self, name) for name in _files.NAMES},
                "largest": self.largest.tolist(),
                "constant": self.constant,
                "spread": self.spread,
                "doubted_directions": self.doubted_directions,
                "misfits": self.misfits,
                "noise": self.noise,
                "diverged": self.diverged,
                "rate": None if self.rate is None else self.rate.tolist(),
                "most_epochs": None if self.most_epochs is None else self.most_epochs.tolist(),
                "run_rates": None if self.run_rates is None else self.run_rates.tolist(),
                "features": getattr(self.features, "names", ()),
                "reports": [vars(one) for one in self.reports],
            },
            [(part.law, part.own, part.columns) for part in self.parts],
            force=force,
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, features: FeatureMap | None = None) -> Fit:
        """Read a fit that `save` wrote."""
        arguments, parts = _files.load(path, getattr(features, "names", ()))
        found = cls(**arguments, parts=tuple(Part(*one) for one in parts), features=features, seconds=0.0)
        try:
            found._try()
        except (MixfastError, MemoryError):
            raise
        except Exception as problem:
            raise ValueError(
                f"{os.fspath(path)} is not a fit that mixfast saved: its parts are inconsistent: {problem}"
            ) from problem
        return found

    def _try(self) -> None:
        """Use everything that was read from a file once, so that a damaged file is refused when it is loaded."""
        for what in (self.domains, self.metrics):
            domain_names(what, ValueError)
        counts = {len(each) for each in (self.metrics, self.direction, self.unit)}
        if len(counts) > 1 or self.largest.shape != (len(self.domains),):
            raise ValueError("the number of domains or metrics differs from the number of their attributes")
        if not {*self.direction} <= {"min", "max"}:
            raise ValueError("a direction is neither min nor max")
        if sorted(j for part in self.parts for j in part.columns) != list(range(len(self.metrics))):
            raise ValueError("there is not exactly one law for each metric")
        if not {*self.constant} <= {*self.domains} or not {*self.spread, *self.noise, *self.doubted_directions} <= {
            *self.metrics
        }:
            raise ValueError("it names a domain or metric that it does not have")
        for number in (*self.constant.values(), *self.spread.values(), *self.noise.values()):
            float(number)
        for known in (self.rate, self.most_epochs, *(() if self.run_rates is None else self.run_rates)):
            if known is not None and (known.shape != self.largest.shape or not (known >= 0.0).all()):
                raise ValueError("the number of epochs of a domain is missing or negative")
        self.summary()
        w = np.full((1, len(self.domains)), 1.0 / len(self.domains))
        for part in self.parts:
            # Trees were checked when they were read, and evaluating them needs a compiler.
            asked = (part.law.sd,) if part.law.name == "lightgbm" else (part.law.predict, part.law.sd)
            for ask in asked:
                if ask(part.inputs(w, self.features, np.ones_like(w)))[:, part.own].shape != (1, len(part.columns)):
                    raise ValueError("a law predicts a different number of metrics than the file says")

    def _gather(self, ratios: Mixtures, ask: Callable[[Law, Matrix], Matrix]) -> Matrix:
        """Evaluate the law of each metric at mixtures by `ask`; return (M, J)."""
        w = shares_in(ratios, self.domains)
        out = np.empty((len(w), len(self.metrics)))
        with single_blas():
            for part in self.parts:
                out[:, part.columns] = ask(part.law, part.inputs(w, self.features, self.rate))[:, part.own]
        return out
