"""Where the least squares of a power law are searched: many starts, two dampings, single terms tried anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.optional import needed
from mixfast.errors import BackendError

# Every start descends until a step wins less than the tolerance (of the loss); the best go on with the second pair of numbers.
_ROUGH, _FULL = (200, 1e-6), (500, 1e-8)
# So many points go on, from each of which single terms are replaced so often.
_BEST, _SWEEPS = 6, 3
# How often a start without terms is swept for the terms that lower the loss.
_FIRST_SWEEPS = 5
# The last descents, of so many steps; they end when one wins less than the third number (of the loss).
_POLISHES, _POLISH, _POLISHED = 4, (500, 1e-10), 1e-5
# What a replaced term must win to be kept.
_WON = 1e-4
# More steps than these were taken when a search has not converged.
STEPS = _POLISHES * _POLISH[0]

# Where to descend from, given the end of a descent; None where nothing is to be tried.
Again = Callable[[Vector], Vector | None]
_RETURNS = 8


def loops() -> Any:
    """The compiled loops, or a message that says how to get Numba."""
    with needed("a power law", "Numba", "mixfast[laws]", BackendError):
        from mixfast.laws import _power_loops
    return _power_loops


@dataclass
class Point:
    """Where a descent ended: half the sum of squares in the law's unit, and the numbers it moved."""

    loss: float
    u: Vector
    late: bool = False  # whether more steps would win more than `_POLISHED` of the loss


def least(points: Sequence[Point]) -> Point:
    """The point of least loss; the first of equal ones."""
    return min(points, key=lambda point: point.loss)


@dataclass
class Search:
    """The least squares of one metric: what the compiled loops are told, and how minima are found."""

    kind: int
    seen: Matrix  # (R, K), as the compiled loops take mixtures
    tokens: float
    y: Vector
    low: Vector
    high: Vector
    shapes: tuple[Vector, Vector]  # the grid of shapes that single terms are tried with

    def __post_init__(self) -> None:
        self._loops = loops()

    def down(self, u: Vector, steps: int, tol: float, even: bool = False) -> Point:
        """Where a descent from u ends; with ``even`` damping all numbers alike, else in proportion to their effects."""
        u = np.array(u)
        loss = self._loops.descend(self.kind, u, self.seen, self.tokens, self.y, self.low, self.high, steps, tol, even)
        return Point(loss, u)

    def both(self, u: Vector, steps: int, tol: float) -> Point:
        """The better end of two descents. Either damping alone ends in a long flat valley on some problems."""
        return least([self.down(u, steps, tol, even) for even in (False, True)])

    def swept(self, u: Vector, passes: int) -> Vector:
        """Numbers with single terms replaced by better ones of the grid."""
        u = np.array(u)
        self._loops.backfit(self.kind, u, self.seen, self.tokens, self.y, self.low, self.high, *self.shapes, passes)
        return u

    def minimum_near(self, known: Vector, cold: Vector) -> Point:
        """The better of two minima: of the valley of numbers that are known, and of one that is found without them."""
        return least(
            [self.down(known, *_FULL), self.down(self.both(self.swept(cold, _FIRST_SWEEPS), *_ROUGH).u, *_FULL)]
        )

    def minimum(
        self, starts: Sequence[Vector], flat: Sequence[Vector], again: Again, anew: Callable[[Point], Point]
    ) -> Point:
        """The best minimum found.

        1. Descend roughly from every start with either damping, and from starts without terms after a sweep for terms.
        2. From the best ends, replace single terms by those of the grid as long as that lowers the loss, and descend to the end.
        3. Bring back terms that came to nothing, and begin single terms anew; descend with a finer tolerance.
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
