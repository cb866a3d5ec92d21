"""The interface of a law (a function from mixtures to metrics, fitted to runs), and the interfaces that only some laws have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.names import listing
from mixfast.laws._joint import Joint

State = dict[str, Any]


class Law(Protocol):
    """A law: `fit` returns the fitted law and does not change the object itself.

    R runs, K domains, F features, J metrics, M mixtures. Inputs x are mixtures (R, K), or (R, K + F) with the features of each
    mixture after its shares if `uses_features`; all float64. A law with the attribute ``uses_epochs = True`` gets epochs (R, K)
    instead of shares: how often each run reads the tokens of each domain. y is (R, J), NaN where a run has no value of a metric.
    """

    name: str
    uses_features: bool

    def fit(self, x: Matrix, y: Matrix) -> Self:
        """Return the law fitted to runs; every metric uses the runs that have it."""

    def predict(self, x: Matrix) -> Matrix:
        """Return the metrics (M, J) at inputs (M, K [+ F])."""

    def sd(self, x: Matrix) -> Matrix:
        """Return predictive standard deviations (M, J) of a new run's metrics, noise included."""

    def state(self) -> State:
        """Return everything that the fitted law consists of, as numbers, strings, lists of them and numpy arrays only."""

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Rebuild the law from what `state` returned."""


def uses_epochs(law: object) -> bool:
    """Whether a law is a function of epochs instead of shares."""
    return bool(getattr(law, "uses_epochs", False))


def has_slopes(law: object) -> bool:
    """Whether a law knows its gradients. A fit of trees or of a foreign regressor has the method, but no gradients."""
    return bool(getattr(law, "smooth", hasattr(law, "slopes")))


def epochs_of(shares: Matrix, rate: Matrix | Vector) -> Matrix:
    """Return epochs (M, K) of mixtures (M, K) at rates (K,) or (M, K); 0 for a share of 0, even of a domain without tokens."""
    with np.errstate(invalid="ignore"):
        return np.where(shares > 0.0, shares * rate, 0.0)


class Note(str):
    """A remark on a fit. Its text gives metrics and inputs by position; `named` gives them by name."""

    metric: int | None
    _template: str
    _inputs: Mapping[str, Sequence[int]]

    def __new__(
        cls, template: str, *, metric: int | None = None, inputs: Mapping[str, Sequence[int]] | None = None
    ) -> Self:
        """Fill ``{metric}`` and the named lists of inputs into the template."""
        inputs = inputs or {}
        note = super().__new__(cls, template.format(metric=f"metric {metric}", **inputs))
        note.metric, note._template, note._inputs = metric, template, inputs
        return note

    def named(self, metrics: Sequence[str], domains: Sequence[str]) -> str:
        """Return the remark with names; inputs after the domains are features."""
        known = {
            key: listing([domains[k] if k < len(domains) else f"feature {k - len(domains)}" for k in places])
            for key, places in self._inputs.items()
        }
        return self._template.format(metric="" if self.metric is None else metrics[self.metric], **known)


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of R runs and J metrics besides their values.

    Sign is 1 (minimise) or -1 (maximise), noise the standard deviation of seeds or NaN. Runs with the same number have the same mixture,
    perhaps with other budgets or pools.
    """

    sign: NDArray[np.float64]  # (J,)
    noise: NDArray[np.float64]  # (J,), NaN if unknown
    mixture: NDArray[np.int64] | None = None  # (R,), None if unknown

    @classmethod
    def unknown(cls, metrics: int) -> Self:
        """Return the defaults for this many metrics: minimise, noise unknown."""
        return cls(np.ones(metrics), np.full(metrics, np.nan))

    def of(self, columns: Sequence[int]) -> Facts:
        """Return the facts of these metrics."""
        return Facts(self.sign[list(columns)], self.noise[list(columns)], self.mixture)


@runtime_checkable
class Informed(Protocol):
    """A law that uses facts on the metrics besides their values."""

    def informed(self, facts: Facts) -> Self:
        """Return the law, not fitted yet, for metrics with these facts; J as in the next `fit`."""


@runtime_checkable
class Closed(Protocol):
    """A fitted law that can predict its own runs as if it had been fitted without them, without another fit."""

    def left_out(self, runs: NDArray[np.int64]) -> tuple[Matrix, Matrix]:
        """Return values and standard deviations (M, J) of the runs with these indices, left out together. Settings stay fixed."""

    def fitted_to(self, x: Matrix) -> bool:
        """Whether these inputs (R, K [+ F]) are the law's own runs."""


@runtime_checkable
class Refitted(Protocol):
    """A fitted law that can be fitted to some of its own runs at a lower cost than from scratch."""

    def refit(self, x: Matrix, y: Matrix, columns: Sequence[int]) -> Self:
        """Fit the law to some of its own runs: inputs (R', K [+ F]) and metrics (R', len(columns)), which are these of its columns.

        The fit reuses results of the fit to all runs: the start of a search, or a setting that hardly depends on a few runs.
        """


@runtime_checkable
class Kept(Protocol):
    """A fitted law with settings that the values of a few runs hardly change."""

    def kept(self, columns: Sequence[int]) -> Self:
        """Return the law with the settings of these of its metrics, to be fitted to the same runs with other values of a few."""


@runtime_checkable
class Packaged(Protocol):
    """A law that needs optional packages for its fit."""

    packages: tuple[str, ...]


@runtime_checkable
class Smooth(Protocol):
    """A law with known gradients."""

    def slopes(self, x: Matrix) -> tuple[Matrix, NDArray[np.float64]]:
        """Return values (M, J) and gradients (M, J, K) with respect to the shares, ignoring that they must sum to 1."""


@runtime_checkable
class Correlated(Protocol):
    """A law that knows the covariance of its errors at different mixtures."""

    def joint(self, x: Matrix, metrics: Sequence[int]) -> list[Joint] | None:
        """Return a `Joint` of each of these metrics at inputs (M, K [+ F]); None if the law, as it was fitted, has no covariances."""


class Regressor(Protocol):
    """A law of one metric with the interface of scikit-learn's regressors."""

    def fit(self, x: Matrix, y: Matrix) -> Any:
        """Fit to runs (R, K [+ F]) and one metric (R,). Return the fitted regressor, or None if `fit` changes the object itself."""

    def predict(self, x: Matrix) -> ArrayLike:
        """Return the metric (M,) at inputs (M, K [+ F])."""


class FeatureMap(Protocol):
    """Features of mixtures, as `mixfast.mde.features` makes them. Other attributes are optional."""

    def at(self, ratios: Matrix) -> Matrix:
        """Return features (M, F) at mixtures (M, K)."""


class Predictor(Protocol):
    """Laws of named metrics over named domains, such as a `Fit`. Proposals are computed from it."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the K domains."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the J metrics."""

    def predict(self, ratios: Matrix) -> Matrix:
        """Return metrics (M, J) at mixtures (M, K)."""


@runtime_checkable
class Runs(Protocol):
    """Several mixtures (R, K) of named domains, such as a `Swarm` or a `Design`."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the K domains."""

    @property
    def ratios(self) -> Matrix:
        """Shares (R, K)."""


@runtime_checkable
class Shares(Protocol):
    """One mixture (K,) of named domains, such as a `Mixture`."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the K domains."""

    @property
    def weights(self) -> ArrayLike:
        """Shares (K,)."""
