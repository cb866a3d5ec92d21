"""Split shares into their first epoch and the rest: the objective is smooth in each part, but has a kink in the slope of their sum.

The first part counts fully and the second less, so at an optimum no share has a second part unless its first is full.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._engine.objectives.forms import Forms
from mixfast._engine.objectives.wear import Faded

# Parts with less room than this are not made unknowns.
_ROOM = 1e-8


class Halves(NamedTuple):
    """The domains (H,) with split shares, and the capacity (H,) of their first parts. The unknowns are all C shares, then H second parts."""

    domains: NDArray[np.intp]
    most: Vector

    @classmethod
    def of(cls, wear: Faded | None, limits: Limits) -> Halves:
        """Select the domains whose limits leave room on both sides of one epoch."""
        if wear is None:
            return cls(np.zeros(0, dtype=np.intp), np.zeros(0))
        domains = np.flatnonzero(np.minimum(limits.high - wear.whole, wear.whole - limits.low) > _ROOM)
        return cls(domains, wear.whole[domains])

    def split(self, w: Vector) -> Vector:
        """Convert shares (C,) to unknowns (C + H,)."""
        if not self.domains.size:
            return w
        out = w.copy()
        out[self.domains] = np.minimum(w[self.domains], self.most)
        return np.concatenate([out, w[self.domains] - out[self.domains]])

    def join(self, x: Vector) -> Vector:
        """Convert unknowns (C + H,) to shares (C,)."""
        out = x[: x.size - self.domains.size].copy()
        out[self.domains] += x[out.size :]
        return out

    def limits(self, limits: Limits) -> Limits:
        """Return the limits of the unknowns."""
        if not self.domains.size:
            return limits
        high = limits.high.copy()
        high[self.domains] = self.most
        groups = limits.groups and limits.groups._replace(rows=self._wider(limits.groups.rows))
        return replace(
            limits,
            low=np.concatenate([limits.low, np.zeros(self.domains.size)]),
            high=np.concatenate([high, limits.high[self.domains] - self.most]),
            groups=groups,
        )

    def forms(self, forms: Forms) -> Forms:
        """Return the functions in terms of the unknowns."""
        wear = forms.wear
        if wear is None or not self.domains.size:
            return forms
        whole = wear.whole.copy()
        whole[self.domains] = np.inf
        scale = np.concatenate([wear.scale, wear.scale[self.domains]])
        faded = Faded(np.concatenate([whole, np.zeros(self.domains.size)]), scale)
        return replace(forms, rows=self._wider(forms.rows), linear=self._wider(forms.linear), wear=faded)

    def _wider(self, rows: Matrix) -> Matrix:
        return np.concatenate([rows, rows[:, self.domains]], axis=1)
