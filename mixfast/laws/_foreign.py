"""Any object with fit and predict, as scikit-learn's regressors have, as a law: one copy of it for each metric."""

from __future__ import annotations

import copy

import numpy as np

from mixfast._engine.backend.arrays import Matrix
from mixfast.laws._protocol import Regressor, State


class Foreign:
    """A regressor from elsewhere: `fit(x, y)` on the runs that have the metric, `predict(x)`.

    Its predictions have no standard deviation of their own: `sd` is the root mean square of its residuals on the runs it was fitted
    to, which is too small where it follows noise. It cannot be saved.
    """

    uses_features = True

    def __init__(self, regressor: Regressor) -> None:
        for needed in ("fit", "predict"):
            if not callable(getattr(regressor, needed, None)):
                raise ValueError(
                    f"a law is a name or an object with fit(x, y) and predict(x); {type(regressor).__name__} has no {needed}"
                )
        self.name = type(regressor).__name__
        self.regressor = regressor
        self.fitted: list[Regressor] = []
        self.residual: Matrix = np.zeros((1, 0))

    def fit(self, x: Matrix, y: Matrix) -> Foreign:
        """A copy of this law with a copy of the regressor fitted to each metric."""
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
        """Metrics (M, J)."""
        return np.column_stack([_predict(one, x) for one in self.fitted])

    def sd(self, x: Matrix) -> Matrix:
        """Root mean square residuals (M, J), the same everywhere."""
        return np.repeat(self.residual, len(x), axis=0)

    def state(self) -> State:
        """Refused: only the regressor's own library can store it."""
        raise ValueError(f"a law made of {self.name} cannot be saved here: save the regressor by its own means")

    @classmethod
    def from_state(cls, state: State) -> Foreign:
        """Refused, as `state` is."""
        raise ValueError("a law made of a foreign regressor cannot be loaded")


def _predict(regressor: Regressor, x: Matrix) -> Matrix:
    return np.asarray(regressor.predict(x), dtype=np.float64).reshape(len(x))
