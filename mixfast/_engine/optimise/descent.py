"""Local minima of a score over a region, from many points at once.

Three kinds of steps are tried from each point, and the best is kept if it improves the point: along the projected gradient, by
exponentiated gradient, and towards the vertex that the gradient prefers. Each kind has its own step size, which grows when it helps.

Reference: Beck and Teboulle, "Mirror descent" (2003).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast.region import Region

_STEPS = 60
# First and smallest step sizes; growth after a step that helped, and shrinking after one that did not.
_FIRST, _LEAST, _GROW, _SHRINK = 0.1, 1e-9, 1.6, 0.3
# Largest change of the logarithm of a share in one step of exponentiated gradient, whose size may grow without limit.
_LOGARITHM = 300.0


def descend(
    region: Region,
    score: Callable[[Matrix], Vector],
    slope: Callable[[Matrix], Matrix],
    points: Matrix,
    values: Vector,
) -> tuple[Matrix, Vector]:
    """Return local minima reached from the points. Each step is the best of the three kinds, each with its own size."""
    points, values = points.copy(), values.copy()
    sizes = np.full((3, len(points)), _FIRST)
    for _ in range(_STEPS):
        gradient = np.nan_to_num(slope(points), nan=0.0, posinf=1e6, neginf=-1e6)
        gradient -= (gradient * points).sum(axis=1, keepdims=True)
        tries = np.empty((3, *points.shape))
        for m, (w, g) in enumerate(zip(points, gradient, strict=True)):
            g = g / max(float(np.abs(g).max()), 1e-300)
            tries[0, m] = region.project(w - sizes[0, m] * g)
            pushed = w * np.exp(np.clip(-10.0 * sizes[1, m] * g, -_LOGARITHM, _LOGARITHM))
            tries[1, m] = region.project(pushed / max(float(pushed.sum()), 1e-300))
            tries[2, m] = w + min(sizes[2, m], 1.0) * (region.linear_min(g) - w)
        found = score(tries.reshape(-1, points.shape[1])).reshape(3, -1)
        better = found < values
        sizes *= np.where(better, _GROW, _SHRINK)
        kind = found.argmin(axis=0)
        rows = np.flatnonzero(better.any(axis=0))
        points[rows], values[rows] = tries[kind[rows], rows], found[kind[rows], rows]
        if (sizes < _LEAST).all():
            break
        sizes = np.maximum(sizes, 0.1 * _LEAST)
    return points, values
