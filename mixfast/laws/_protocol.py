"""What every law is: a function of mixtures that is fitted to runs, for many metrics at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
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
        ...

    def predict(self, x: Matrix) -> Matrix:
        """Metrics (M, J) at inputs (M, K [+ F])."""
        ...

    def sd(self, x: Matrix) -> Matrix:
        """Predictive standard deviations (M, J) of a new run's metrics, noise included."""
        ...

    def state(self) -> State:
        """What the fitted law is made of: numbers, strings, lists of them, and numpy arrays; nothing else."""
        ...

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The law that `state` was taken from."""
        ...


class Closed(Protocol):
    """A law that knows, without another fit, what it would have said of its own runs had it not seen them."""

    def left_out(self, runs: NDArray[np.int64]) -> tuple[Matrix, Matrix]:
        """Values and standard deviations (M, J) of the runs with these indices, left out together; settings stay as they are."""
        ...


class Smooth(Protocol):
    """A law that knows its gradients."""

    def slopes(self, x: Matrix) -> tuple[Matrix, NDArray[np.float64]]:
        """Values (M, J) and gradients (M, J, K) with respect to the mixtures, as if they were free of their sum."""
        ...


class Correlated(Protocol):
    """A law that knows how its errors at different mixtures go together."""

    def joint(self, x: Matrix, metrics: Sequence[int]) -> list[Any] | None:
        """A `_joint.Joint` of each of these metrics at inputs (M, K [+ F]); None where the law, as it was fitted, has none."""
        ...
