"""Minimise the least squares of a power law: many starts, two kinds of damping, and new trials of single terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.optional import needed
from mixfast.errors import BackendError

# (steps, relative tolerance): every start descends until a step gains less than the first tolerance; the best continue with the second.
_ROUGH, _FULL = (200, 1e-6), (500, 1e-8)
# How many points continue, and how often single terms are replaced at each of them.
_BEST, _SWEEPS = 6, 3
# How many sweeps replace terms for a start without terms.
_FIRST_SWEEPS = 5
# The final descents: how many, (steps, tolerance), and the relative gain below which they end.
_POLISHES, _POLISH, _POLISHED = 4, (500, 1e-10), 1e-5
# The relative gain a replaced term needs to be kept.
_WON = 1e-4
# A search that has not converged took more steps than this.
STEPS = _POLISHES * _POLISH[0]

# Returns where to descend again after a descent, or None if there is nothing to try.
Again = Callable[[Vector], Vector | None]
_RETURNS = 8


def loops() -> Any:
    """Return the compiled loops, or raise an error that says how to install Numba."""
    with needed("a power law", "Numba", "mixfast[laws]", BackendError):
        from mixfast.laws import _power_loops
    return _power_loops


@dataclass
class Point:
    """The end of a descent: half the sum of squares in the law's unit, and the parameters."""

    loss: float
    u: Vector
    late: bool = False  # whether more steps would reduce the loss by more than `_POLISHED` of the loss


def least(points: Sequence[Point]) -> Point:
    """Return the point with the smallest loss; the first of equals."""
    return min(points, key=lambda point: point.loss)


@dataclass
class Search:
    """The least-squares problem of one metric, as the compiled loops expect it, and the search for its minimum."""

    kind: int
    seen: Matrix  # (R, K), in the form that the compiled loops expect
    tokens: float
    y: Vector
    low: Vector
    high: Vector
    shapes: tuple[Vector, Vector]  # the grid of shapes to try for single terms

    def __post_init__(self) -> None:
        self._loops = loops()

    def down(self, u: Vector, steps: int, tol: float, even: bool = False) -> Point:
        """Descend from u and return the end. ``even`` damps all parameters equally, otherwise in proportion to their effects."""
        u = np.array(u)
        loss = self._loops.descend(self.kind, u, self.seen, self.tokens, self.y, self.low, self.high, steps, tol, even)
        return Point(loss, u)

    def both(self, u: Vector, steps: int, tol: float) -> Point:
        """Return the better end of two descents, one for each damping. Either one alone is very slow in flat valleys of some problems."""
        return least([self.down(u, steps, tol, even) for even in (False, True)])

    def swept(self, u: Vector, passes: int) -> Vector:
        """Return the parameters after replacing single terms by better shapes from the grid."""
        u = np.array(u)
        self._loops.backfit(self.kind, u, self.seen, self.tokens, self.y, self.low, self.high, *self.shapes, passes)
        return u

    def minimum_near(self, known: Vector, cold: Vector) -> Point:
        """Return the better of two minima: one descended from known parameters, one found from a start without them."""
        return least(
            [self.down(known, *_FULL), self.down(self.both(self.swept(cold, _FIRST_SWEEPS), *_ROUGH).u, *_FULL)]
        )

    def minimum(
        self, starts: Sequence[Vector], flat: Sequence[Vector], again: Again, anew: Callable[[Point], Point]
    ) -> Point:
        """Return the best minimum found.

        1. Descend with low accuracy from every start with either damping, and from starts without terms after sweeps over the terms.
        2. From the best ends, replace single terms by shapes of the grid as long as the loss decreases, and descend with full accuracy.
        3. Restore terms that became zero, and start single terms anew; descend with a finer tolerance.
        """
        rough = [self.down(u, *_ROUGH, even) for u in starts for even in (False, True)]
        rough += [self.both(self.swept(u, _FIRST_SWEEPS), *_ROUGH) for u in flat]
        rough.sort(key=lambda point: point.loss)
        best = least([self._returned(self._deeper(point), again) for point in rough[:_BEST]])
        return self._polished(anew(best))

    def _deeper(self, point: Point) -> Point:
        for _ in range(_SWEEPS):
            found = self.both(self.swept(point.u, 1), *_ROUGH)
            if not found.loss < (1.0 - _WON) * point.loss:
                break
            point = found
        return self.both(point.u, *_FULL)

    def _returned(self, point: Point, again: Again) -> Point:
        for _ in range(_RETURNS):
            start = again(point.u)
            if start is None:
                break
            found = self.both(start, *_FULL)
            if not found.loss < (1.0 - 1e-9) * point.loss:
                break
            point = found
        return point

    def _polished(self, best: Point) -> Point:
        for _ in range(_POLISHES):
            before = best.loss
            best = least([best, self.both(best.u, *_POLISH)])
            if not best.loss < (1.0 - _POLISHED) * before:
                return best
        return Point(best.loss, best.u, late=True)
