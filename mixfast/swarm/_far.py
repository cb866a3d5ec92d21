"""Values of a metric that are far from those of all other runs, as those of diverged runs are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Vector

NORMAL = 1.4826
"""The standard deviation of a normal distribution, in median absolute deviations."""
FEWEST = 8
"""With fewer runs, one far value cannot be distinguished from the others."""
# A value is far if its distance from the median is this many standard deviations.
_FAR = 10.0


def far_from_others(y: Vector) -> NDArray[np.bool_]:
    """Return which runs (R,) have values far from the median, in robust standard deviations; none if there are too few runs.

    NaN stands for runs without a value.
    """
    seen = np.isfinite(y)
    if seen.sum() < FEWEST:
        return np.zeros(len(y), dtype=np.bool_)
    far = np.abs(np.where(seen, y, 0.0) - np.median(y[seen]))
    spread = NORMAL * float(np.median(far[seen]))
    return seen & (far > _FAR * spread) & (spread > 0.0)
