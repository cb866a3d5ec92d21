"""Fit: the laws of a swarm's metrics, what they predict and how well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import listing
from mixfast.laws import _files, _report
from mixfast.laws._joint import Joint
from mixfast.laws._protocol import Law, Matrix, Vector
from mixfast.laws._report import MetricReport
from mixfast.laws._threads import single_blas
from mixfast.swarm import align_names, find_name

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
        return self._place[metric if metric in self._place else find_name(self.metrics, metric, "metric")]

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
        _files.save(
            path,
            {
                "domains": self.domains,
                "metrics": self.metrics,
                "direction": self.direction,
                "unit": self.unit,
                "largest": self.largest.tolist(),
                "constant": self.constant,
                "features": getattr(self.features, "names", ()),
                "notes": self.notes,
                "reports": [vars(one) for one in self.reports],
            },
            [(part.law, part.own, part.columns) for part in self.parts],
        )

    @classmethod
    def load(cls, path: Any, *, features: Any = None) -> Fit:
        """Read a fit that `save` wrote."""
        arguments, parts = _files.load(path, getattr(features, "names", ()))
        return cls(**arguments, parts=tuple(Part(*one) for one in parts), features=features, seconds=0.0)

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


def _aligned(what: str, names: Sequence[str], values: Matrix, domains: Sequence[str]) -> Matrix:
    """Columns of values (R, K), named by `names`, in the order of `domains`."""
    if tuple(names) == tuple(domains):
        return values
    return np.ascontiguousarray(values[:, align_names(names, domains, what, "the fit")])
