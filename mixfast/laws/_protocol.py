"""What a law is: a function of mixtures that is fitted to runs, for many metrics at once, and what some laws know besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.names import listing
from mixfast.laws._joint import Joint

State = dict[str, Any]


class Law(Protocol):
    """Fitted by `fit`, which returns the fitted law and leaves itself as it was.

    R runs, K domains, F features, J metrics, M mixtures. Inputs x are (R, K) mixtures, or (R, K + F) with the features of each
    mixture behind it where `uses_features`; all float64. y is (R, J), NaN where a run has no value of a metric.
    """

    name: str
    uses_features: bool

    def fit(self, x: Matrix, y: Matrix) -> Self:
        """The law fitted to runs, every metric on the runs that have it."""

    def predict(self, x: Matrix) -> Matrix:
        """Metrics (M, J) at inputs (M, K [+ F])."""

    def sd(self, x: Matrix) -> Matrix:
        """Predictive standard deviations (M, J) of a new run's metrics, noise included."""

    def state(self) -> State:
        """What the fitted law is made of: numbers, strings, lists of them, and numpy arrays; nothing else."""

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The law that `state` was taken from."""


class Note(str):
    """A remark on a fit that tells metrics and inputs by position, and can tell them by name."""

    metric: int | None
    _template: str
    _inputs: Mapping[str, Sequence[int]]

    def __new__(
        cls, template: str, *, metric: int | None = None, inputs: Mapping[str, Sequence[int]] | None = None
    ) -> Self:
        """Fill ``{metric}`` and the named lists of inputs into a template."""
        inputs = inputs or {}
        note = super().__new__(cls, template.format(metric=f"metric {metric}", **inputs))
        note.metric, note._template, note._inputs = metric, template, inputs
        return note

    def named(self, metrics: Sequence[str], domains: Sequence[str]) -> str:
        """The remark with names; features stand behind the domains."""
        known = {
            key: listing([domains[k] if k < len(domains) else f"feature {k - len(domains)}" for k in places])
            for key, places in self._inputs.items()
        }
        return self._template.format(metric="" if self.metric is None else metrics[self.metric], **known)


@runtime_checkable
class Closed(Protocol):
    """A fitted law that knows, without another fit, what it would have said of its own runs had it not seen them."""

    def left_out(self, runs: NDArray[np.int64]) -> tuple[Matrix, Matrix]:
        """Values and standard deviations (M, J) of the runs with these indices, left out together; settings stay as they are."""

    def fitted_to(self, x: Matrix) -> bool:
        """Whether these inputs (R, K [+ F]) are those of its own runs."""


@runtime_checkable
class Refitted(Protocol):
    """A fitted law that is cheaper to fit to a part of its own runs than from nothing."""

    def refit(self, x: Matrix, y: Matrix, columns: Sequence[int]) -> Self:
        """The law fitted to fewer runs, inputs (R', K [+ F]) and metrics (R', len(columns)), which are these of its own.

        It begins with what all runs gave it: where a search begins, or a setting that hardly depends on a few runs.
        """


@runtime_checkable
class Packaged(Protocol):
    """A law that needs optional packages to be fitted."""

    packages: tuple[str, ...]


@runtime_checkable
class Smooth(Protocol):
    """A law that knows its gradients."""

    def slopes(self, x: Matrix) -> tuple[Matrix, NDArray[np.float64]]:
        """Values (M, J) and gradients (M, J, K) with respect to the mixtures, as if they were free of their sum."""


@runtime_checkable
class Correlated(Protocol):
    """A law that knows how its errors at different mixtures are correlated."""

    def joint(self, x: Matrix, metrics: Sequence[int]) -> list[Joint] | None:
        """A `Joint` of each of these metrics at inputs (M, K [+ F]); None where the law, as it was fitted, has none."""


class Regressor(Protocol):
    """What scikit-learn's regressors have: a law of one metric."""

    def fit(self, x: Matrix, y: Matrix) -> Any:
        """Fit to runs (R, K [+ F]) and one metric (R,); returns the fitted regressor, or None where that is this one."""

    def predict(self, x: Matrix) -> ArrayLike:
        """The metric (M,) at inputs (M, K [+ F])."""


class FeatureMap(Protocol):
    """Features of mixtures, as `mixfast.mde.features` makes them; further attributes are looked up where there are any."""

    def at(self, ratios: Matrix) -> Matrix:
        """Features (M, F) at mixtures (M, K)."""


class Predictor(Protocol):
    """Laws of named metrics over named domains, as a `Fit` is: what mixtures are proposed from."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the K domains."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the J metrics."""

    def predict(self, ratios: Matrix) -> Matrix:
        """Metrics (M, J) at mixtures (M, K)."""


@runtime_checkable
class Runs(Protocol):
    """Many mixtures (R, K) of named domains, as a `Swarm` or a `Design` has."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the K domains."""

    @property
    def ratios(self) -> Matrix:
        """Shares (R, K)."""


@runtime_checkable
class Shares(Protocol):
    """One mixture (K,) of named domains, as a `Mixture` is."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the K domains."""

    @property
    def weights(self) -> ArrayLike:
        """Shares (K,)."""
