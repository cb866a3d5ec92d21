"""Line: the shares of a part of the stream, constant or linear in small steps of constant shares."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np

from mixfast._engine.backend import stream
from mixfast.sampler._numbers import Integers


@dataclass(frozen=True)
class Line:
    """Shares of all domains in units of 2^-62 from sample ``start`` on: ``share + slope (2u + 1)`` in step u, or constant."""

    start: int
    share: Integers
    slope: Integers | None = None
    step: int = 0
    steps: int = 0

    def middle(self) -> Integers:
        """Return the mean shares, from which the tree is built."""
        return self.share if self.slope is None else self.share + self.steps * self.slope

    def later(self, step: int, steps: int) -> Line:
        """Return the ``steps`` steps of a ramp from its step number ``step`` on."""
        if self.slope is None:
            return self
        share = self.share + 2 * step * self.slope
        if steps == 1:
            return Line(self.start + step * self.step, share + self.slope)
        return Line(self.start + step * self.step, share, self.slope, self.step, steps)

    def at(self, sample: int) -> Integers:
        """Return the shares in the step that holds a sample."""
        if self.slope is None:
            return self.share
        u = min((sample - self.start) // self.step, self.steps - 1)
        return self.share + self.slope * (2 * u + 1)


def ramp(start: int, stop: int, begin: Integers, end: Integers) -> Line:
    """Return the line from shares ``begin`` at ``start`` to ``end`` at ``stop``.

    The length of a step is a quarter of the root of the ramp's length. The steps then stay within 1/128 of a sample of
    the straight line's exact counts, and the rounding of the slopes adds less than that on ramps of up to 2^36 samples.
    """
    length = stop - start
    step = max(1, isqrt(length) // 4)
    steps = length // step
    slope = stream.blend_slopes(begin, end, step, length)
    # Slopes are rounded towards 0, which keeps every share positive; the domains with the largest shares absorb the difference.
    lacking = -int(slope.sum())
    smallest = np.minimum(begin, end)
    for k in np.argsort(-smallest, kind="stable")[: abs(lacking)]:
        if smallest[k] > 4 * steps:
            slope[k] += 1 if lacking > 0 else -1
    # A share that rises from 0 to less than 2^-40 would be 0 in some steps, but a tree needs a positive share for each leaf.
    share = np.where((begin + slope > 0) & (begin + (2 * steps - 1) * slope > 0), begin, 0)
    return Line(start, share, np.where(share + slope > 0, slope, 0), step, steps)
