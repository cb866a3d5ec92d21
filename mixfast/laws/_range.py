"""Check that a law can describe the values of a metric; used by the laws that are positive everywhere."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.names import listing
from mixfast.swarm import far_from_others


class CannotDescribe(ValueError):
    """A law cannot describe some metrics with any coefficients; `reasons` maps their columns to the reason."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        self.reasons = dict(reasons)
        told: dict[str, list[int]] = {}
        for column, why in self.reasons.items():
            told.setdefault(why, []).append(column)
        super().__init__("; ".join(f"metric {listing(columns)} has {why}" for why, columns in told.items()))


def not_negative(y: Matrix) -> Matrix:
    """Return metrics (R, J) for a law that is positive everywhere; refuse those with negative values, for which its best fit would be 0.

    A negative value far from those of all other runs is that of a diverged run: it is left out (NaN), and does not decide which laws a
    metric can have.
    """
    negative = y < 0.0
    if not negative.any():
        return y
    out = y.copy()
    for j in np.flatnonzero(negative.any(axis=0)).tolist():
        out[negative[:, j] & far_from_others(y[:, j]), j] = np.nan
    wrong = np.flatnonzero((out < 0.0).any(axis=0)).tolist()
    if wrong:
        why = "negative values, and this law is positive everywhere; linear, gp and lightgbm can describe it"
        raise CannotDescribe(dict.fromkeys(wrong, why))
    return out
