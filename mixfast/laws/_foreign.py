"""Use any object with fit and predict, such as a scikit-learn regressor, as a law: one copy of it for each metric."""

from __future__ import annotations

import copy

import numpy as np

from mixfast._engine.backend.arrays import Matrix
from mixfast.laws._protocol import Regressor, State


class Foreign:
    """Wrap a foreign regressor: `fit(x, y)` is called with the runs that have the metric, then `predict(x)`.

    Such predictions have no standard deviations. `sd` returns the root mean square of the residuals on the runs of the fit,
    which is too small if the regressor fits noise. This law cannot be saved.
    """

    uses_features = True

    def __init__(self, regressor: Regressor) -> None:
        for needed in ("fit", "predict"):
            if not callable(getattr(regressor, needed, None)):
                raise ValueError(
                    f"a law must be a name or an object with fit(x, y) and predict(x); {type(regressor).__name__} has no {needed}"
                )
        self.name = type(regressor).__name__
        self.regressor = regressor
        self.fitted: list[Regressor] = []
        self.residual: Matrix = np.zeros((1, 0))

    def fit(self, x: Matrix, y: Matrix) -> Foreign:
        """Return a copy of this law with one fitted copy of the regressor for each metric."""
        out = Foreign(self.regressor)
        residuals = []
        for column in y.T:
            has = np.isfinite(column)
            one = copy.deepcopy(self.regressor)
            fitted = one.fit(x[has], column[has])
            out.fitted.append(one if fitted is None else fitted)
            residuals.append(np.sqrt(np.mean((column[has] - _predict(out.fitted[-1], x[has])) ** 2)))
        out.residual = np.array([residuals])
        return out

    def predict(self, x: Matrix) -> Matrix:
        """Return the metrics (M, J)."""
        return np.column_stack([_predict(one, x) for one in self.fitted])

    def sd(self, x: Matrix) -> Matrix:
        """Return the root mean square residuals (M, J), the same at every input."""
        return np.repeat(self.residual, len(x), axis=0)

    def state(self) -> State:
        """Raise ValueError: only the regressor's own library can store it."""
        raise ValueError(
            f"a fit with the foreign regressor {self.name} cannot be saved: save the regressor with its own library"
        )

    @classmethod
    def from_state(cls, state: State) -> Foreign:
        """Raise ValueError, as `state` does."""
        raise ValueError("a law made of a foreign regressor cannot be loaded")


def _predict(regressor: Regressor, x: Matrix) -> Matrix:
    return np.asarray(regressor.predict(x), dtype=np.float64).reshape(len(x))
