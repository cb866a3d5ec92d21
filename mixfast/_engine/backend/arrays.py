"""Array types of the engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
# Positions of a subset of the domains, ascending.
Columns = NDArray[np.int32]
# The bin of each row (n,), and how many times each of M objectives counts the rows of each bin (M, B).
Bins = NDArray[np.int32]
Counts = NDArray[np.float32]
