"""A hash of integers, which decides without a list of rows where a sequence belongs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Constants of the hash "splitmix64" (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the hash of each integer: every bit of it depends on all bits of the integer."""
    x = x + np.uint64(_STEP)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_FIRST)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_SECOND)
    return x ^ (x >> np.uint64(31))
