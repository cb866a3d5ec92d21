"""Repeated tokens are worth less than new ones: the same objective over effective shares.

If one epoch of a domain fills a share u of the run, a share w reads the domain w / u times. The first epoch counts fully; later epochs wear out:

    g(w) = w                                      up to w = u
    g(w) = u + u R (1 - exp(-(w / u - 1) / R))    beyond

A share w counts as much as a share g(w) of new tokens. A threshold of T epochs is the sharp form of it: g(w) = w up to w = T u, and no more beyond. Every domain has its own R; with R infinite, repeats count fully. g is concave and increasing. The objective is convex and decreasing in every
effective share, so it stays convex: gap and prices have the same meaning as without wear.

Reference: Muennighoff et al. 2023, "Scaling Data-Constrained Language Models" (arXiv:2305.16264), equation 5.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Columns, Vector

MEASURED = 15.4
"""Repeats after which a token is worth 1/e of a new one, as measured by Muennighoff et al. on web text."""

SHARP = 0.01
"""Repeats beyond a threshold after which a token is worth 1/e of a new one: few, and not 0, so that slopes are continuous."""


def threshold(wear: Any) -> float | None:
    """Return the epochs of a text such as "4.2 epochs"; None if it is something else."""
    if not isinstance(wear, str) or not (bare := wear.strip()).endswith("epochs"):
        return None
    try:
        return float(bare.removesuffix("epochs"))
    except ValueError:
        return None


class Worth(NamedTuple):
    """Effective shares, and their first and second derivatives."""

    share: Vector
    slope: Vector
    curve: Vector


class Wear(NamedTuple):
    """The share of the run that one epoch of each domain fills (K,), and the repeats (K,) after which a token of it is worth 1/e of a new one.

    Where repeats are infinite, they count fully. `full` are the epochs (K,) that count fully before wear begins, by default 1.
    """

    epoch: Vector
    repeats: Vector
    full: Vector | None = None

    def restrict(self, columns: Columns | None) -> Wear:
        if columns is None:
            return self
        return Wear(self.epoch[columns], self.repeats[columns], None if self.full is None else self.full[columns])

    def worth(self, w: NDArray[np.float64]) -> Worth:
        """Return the effective shares of shares (..., K). A domain without tokens cannot have a share and is left unchanged."""
        whole, scale = self.faded
        passed = -np.maximum(w - whole, 0.0) / scale
        faded, beyond = np.exp(passed), w > whole
        share = np.where(beyond, whole - scale * np.expm1(passed), w)
        return Worth(share, np.where(beyond, faded, 1.0), np.where(beyond, -faded / scale, 0.0))

    @property
    def faded(self) -> Faded:
        """Return the same function for each share separately; a domain whose repeats count fully is one whose first epoch never ends."""
        endless = np.isinf(self.repeats)
        epoch = np.where(self.epoch > 0.0, self.epoch, 1.0)
        whole = np.where(endless, np.inf, epoch if self.full is None else epoch * self.full)
        return Faded(whole, np.where(endless, 1.0, self.repeats) * epoch)


class Faded(NamedTuple):
    """A function of amounts x (C,): each counts fully up to its own threshold (C,) and fades beyond it on its own scale (C,)."""

    whole: Vector
    scale: Vector

    def restrict(self, columns: Columns) -> Faded:
        return Faded(self.whole[columns], self.scale[columns])

    def worth(self, x: Vector) -> Vector:
        return np.where(x > self.whole, self.whole - self.scale * np.expm1(self._passed(x)), x)

    def slope(self, x: Vector) -> Vector:
        return np.exp(self._passed(x))

    def bend(self, x: Vector) -> Vector:
        """Return second derivatives divided by the first ones; both decay together and may underflow."""
        return np.where(x > self.whole, -1.0 / self.scale, 0.0)

    def _passed(self, x: Vector) -> Vector:
        return -np.maximum(x - self.whole, 0.0) / self.scale
