"""Which measurements are for training, validation and testing: by molecule, or by assay as in the MixMin paper.

By molecule, a molecule has the same part in all assays, so no model has seen a molecule of the test. By assay, each assay is split alone, so that a source may
have seen the target's test molecules, with its own labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KINDS = ("molecule", "assay")
ABSENT, TRAIN, VALIDATION, TEST = -1, 0, 1, 2
FOLDS = 5
# 20 % for the test, then 20 % of the rest for validation.
_TEST, _VALIDATION = 0.2, 0.2 + 0.2 * 0.8


@dataclass(frozen=True)
class Split:
    """The part of each measurement, and the fold of each training measurement."""

    part: NDArray[np.int8]  # (M, A)
    fold: NDArray[np.int8]  # (M, A)

    @classmethod
    def of(cls, measured: NDArray[np.bool_], kind: str, seed: int) -> Split:
        """Split measurements (M, A) at random; the same seed gives the same split."""
        rng = np.random.default_rng([seed, KINDS.index(kind)])
        shape = (len(measured), 1) if kind == "molecule" else measured.shape
        place, fold = rng.random(shape), rng.integers(FOLDS, size=shape, dtype=np.int8)
        part = np.select([place < _TEST, place < _VALIDATION], [TEST, VALIDATION], TRAIN).astype(np.int8)
        return cls(np.where(measured, part, ABSENT).astype(np.int8), np.broadcast_to(fold, measured.shape))
