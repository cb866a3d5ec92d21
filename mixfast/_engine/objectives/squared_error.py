"""Squared error of the experts' mixed predictions."""

from __future__ import annotations

import math

import numpy as np

from mixfast._engine.backend.arrays import Columns, Matrix, Vector
from mixfast._engine.objectives.base import Objective, Sum, Sums
from mixfast._engine.objectives.forms import ELEMENTS, Forms, Square
from mixfast.errors import TableError
from mixfast.tables import ExpertTable

# Shares that miss a sum of 1 by less than this are treated as summing to 1.
_SUM = 1e-12


class SquaredError(Objective):
    """``L(w) = 1/2 sum_i c_i (p_i.w - y_i)^2``, computed from one Gram matrix: after that, all work is K-dimensional.

    Shares sum to 1, so ``p_i.w - y_i = r_i.w`` with the residuals ``r_ik = p_ik - y_i`` of each expert, and L is ``1/2 w'Gw`` with their Gram
    matrix. A level that predictions and targets have in common cancels in the residuals, so it costs no precision.

    Parameters
    ----------
    gram : (K, K)
        ``sum_i c_i r_i r_i'``; of size 0 if `residuals` are given.
    moment : (K,)
        ``sum_i c_i y_i r_i``, needed for shares with another sum.
    constant : float
        ``1/2 sum_i c_i y_i^2``.
    rows : int
    residuals : (n, K), optional
        ``sqrt(c_i) r_i``, given if there are fewer rows than experts: it takes less memory than the Gram matrix, which is made only for Hessians.
    """

    def __init__(
        self, gram: Matrix, moment: Vector, constant: float, rows: int, residuals: Matrix | None = None
    ) -> None:
        self.gram, self.moment, self.constant, self._residuals = gram, moment, constant, residuals
        self.rows, self.columns = rows, moment.size

    @classmethod
    def from_table(cls, table: ExpertTable, which: Sum) -> SquaredError:
        """Compute the sums over blocks of rows, in float64.

        Raises
        ------
        TableError
            If squares overflow float64.
        """
        weight, scale, usable, _, window = which
        window = window or slice(0, table.n_rows)
        prediction, target = table.prediction[window], table.target[window]
        columns = table.n_domains if usable is None else usable.size
        few, kept = prediction.shape[0] < columns and prediction.shape[0] * columns <= ELEMENTS, []
        gram, moment, constant = np.zeros((0, 0) if few else (columns, columns)), np.zeros(columns), 0.0
        step, squares = max(1, (4 << 20) // columns), 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, prediction.shape[0], step):
                p = prediction[start : start + step].astype(np.float64)
                residual = p if usable is None else p[:, usable]
                y = target[start : start + step]
                residual -= y[:, None]
                if weight is None:
                    scaled, y_scaled = scale * residual, scale * y
                else:
                    c = weight[start : start + step]
                    scaled, y_scaled = residual * c[:, None], c * y
                squares += float(np.einsum("ij,ij", scaled, residual))
                if few:
                    kept.append(residual * np.sqrt(np.maximum(scale if weight is None else c[:, None], 0.0)))
                else:
                    gram += scaled.T @ residual
                moment += scaled.T @ y
                constant += 0.5 * float(y_scaled @ y)
        table.check_unchanged()
        # No other sum is larger than these.
        if not math.isfinite(constant + squares):
            raise TableError(
                "the squared errors of this table overflow float64 (above 1e308): divide predictions and targets by the same number"
            )
        return cls(gram, moment, constant, prediction.shape[0], np.concatenate(kept) if few else None)

    def forms(self) -> Forms | None:
        if self._residuals is None:
            return None
        return Forms.of(self._residuals, Square(), np.ones((1, self._residuals.shape[0])))

    def sums(self, w: Vector, columns: Columns | None = None, *, hessian: int = 0, coarse: bool = False) -> Sums:
        """Like `Objective.sums`. The part of the gradient common to all domains is left out, because no step between mixtures depends on it."""
        if self._residuals is not None:
            residuals = self._residuals if columns is None else self._residuals[:, columns]
            mixed = residuals @ w
            image = mixed @ residuals
            return 0.5 * float(mixed @ mixed), image, residuals.T @ residuals if hessian else None
        gram = self.gram if columns is None else self.gram[np.ix_(columns, columns)]
        image = gram @ w
        return 0.5 * float(w @ image), image, gram.copy() if hessian else None

    def magnitude(self, w: Vector) -> float:
        """Return a bound of the products in the gradient at w that may cancel; their rounding error stays in the gradient."""
        if self._residuals is not None:
            size = np.sqrt(np.einsum("ij,ij->j", self._residuals, self._residuals))
        else:
            size = np.sqrt(self.gram.diagonal())
        return float(size.max() * (size @ w))

    def losses(self, mixtures: Matrix) -> Vector:
        beyond = mixtures.sum(axis=1) - 1.0
        beyond[np.abs(beyond) < _SUM] = 0.0
        if self._residuals is not None:
            each = mixtures @ self._residuals.T
            mixed: Vector = 0.5 * np.einsum("mi,mi->m", each, each)
        else:
            mixed = 0.5 * np.einsum("mk,mk->m", mixtures @ self.gram, mixtures)
        return mixed + beyond * (mixtures @ self.moment) + beyond * beyond * self.constant
