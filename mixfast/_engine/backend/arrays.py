"""Types of the arrays that the engine passes around."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Columns", "Matrix", "Vector"]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
# Positions of some of the domains, ascending.
Columns = NDArray[np.int32]
