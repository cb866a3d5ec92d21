"""Check that a law can describe the values of a metric; used by the laws that are positive everywhere."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.names import listing


class CannotDescribe(ValueError):
    """A law cannot describe some metrics with any coefficients; `reasons` maps their columns to the reason."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        self.reasons = dict(reasons)
        told: dict[str, list[int]] = {}
        for column, why in self.reasons.items():
            told.setdefault(why, []).append(column)
        super().__init__("; ".join(f"metric {listing(columns)} has {why}" for why, columns in told.items()))


def require_not_negative(y: Matrix) -> None:
    """Refuse metrics (R, J) with negative values, for a law that is positive everywhere: its best fit there would be 0."""
    least = np.where(np.isnan(y), np.inf, y).min(axis=0, initial=np.inf)
    wrong = np.flatnonzero(least < 0.0).tolist()
    if wrong:
        why = "negative values, and this law is positive everywhere; linear, gp and lightgbm can describe it"
        raise CannotDescribe(dict.fromkeys(wrong, why))
