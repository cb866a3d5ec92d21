"""Squared error of the experts' mixed predictions."""

from __future__ import annotations

import numpy as np

from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.objectives.base import Objective, Sum, Sums
from mixfast.tables import ExpertTable


class SquaredError(Objective):
    """``L(w) = 1/2 sum_i c_i (p_i.w - y_i)^2``, as ``1/2 w'Gw - b.w + a``: one Gram matrix, then K-dimensional work only."""

    def __init__(self, gram: Matrix, moment: Vector, constant: float, rows: int) -> None:
        self.gram, self.moment, self.constant = gram, moment, constant
        self.rows, self.columns = rows, moment.size

    @classmethod
    def from_table(cls, table: ExpertTable, which: Sum) -> SquaredError:
        """Sum c p p', c p y and c y^2 over blocks of rows, in float64."""
        weight, scale, usable, _, window = which
        window = window or slice(0, table.n_rows)
        prediction, target = table.prediction[window], table.target[window]
        columns = table.n_domains if usable is None else usable.size
        gram, moment, constant = np.zeros((columns, columns)), np.zeros(columns), 0.0
        step = max(1, (4 << 20) // columns)
        for start in range(0, prediction.shape[0], step):
            p = prediction[start : start + step].astype(np.float64)
            p = p if usable is None else p[:, usable]
            y = target[start : start + step]
            c = np.full(y.size, scale) if weight is None else weight[start : start + step]
            scaled = p * c[:, None]
            gram += scaled.T @ p
            moment += scaled.T @ y
            constant += 0.5 * float(c @ (y * y))
        return cls(gram, moment, constant, prediction.shape[0])

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        gram, moment = self.gram, self.moment
        if columns is not None:
            gram, moment = gram[np.ix_(columns, columns)], moment[columns]
        image = gram @ w
        return float(0.5 * (w @ image) - moment @ w) + self.constant, image - moment, gram.copy() if hessian else None

    def losses(self, mixtures: Matrix) -> Vector:
        return 0.5 * np.einsum("mk,mk->m", mixtures @ self.gram, mixtures) - mixtures @ self.moment + self.constant
