"""Objectives as sums of functions of few linear forms of the shares: what makes systems of as many unknowns as rows.

``phi_p(w) = offset_p + linear_p.w + sum_i weight_pi f(z_i)`` with ``z = shift + rows @ w`` and one convex f for all rows. Where repeats
wear out it is ``z = shift + rows @ g(w)``, with a concave g of each share alone: that adds a diagonal to the Hessian, no more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.wear import Faded

# Elements up to which the rows are copied as float64: 160 MB, and as much for each step; up to four times that where repeats wear out.
ELEMENTS = 20_000_000
# The part of the way to 0 that a number which must stay above it may go, and what an exponent may rise by in one step.
_REACH, _RISE = 0.995, 2.0
_TINY = 1e-300


class Curve(Protocol):
    """A convex function f of one number z, and a number y that belongs to z at the end of a search and may be off on the way.

    The slope at z + dz is taken to be ``slope(z) + chord(z, y) dz``.
    """

    def at(self, z: Vector) -> tuple[Vector, Vector]:
        """Values and slopes at z."""
        ...

    def dual(self, z: Vector) -> Vector:
        """The y that belongs to z."""
        ...

    def chord(self, z: Vector, y: Vector) -> Vector:
        """Curvature at z and y; the second derivative where they belong to each other."""
        ...

    def moved(self, z: Vector, y: Vector, dz: Vector) -> tuple[Vector, float]:
        """Change of y that belongs to the change dz of z, to first order, and how much of both changes may be made at most."""
        ...


class MinusLog:
    """``-log z``. y is 1 / z: ``y z = 1`` is linear in each of them, so steps are good far from where they begin."""

    def at(self, z: Vector) -> tuple[Vector, Vector]:
        return -np.log(z), -1.0 / z

    def dual(self, z: Vector) -> Vector:
        return 1.0 / z

    def chord(self, z: Vector, y: Vector) -> Vector:
        return y / z

    def moved(self, z: Vector, y: Vector, dz: Vector) -> tuple[Vector, float]:
        dy: Vector = (1.0 - y * (z + dz)) / z
        # Neither falls to 0.
        most = min(
            float((value[falls] / -change[falls]).min(initial=np.inf))
            for value, change, falls in ((z, dz, dz < 0.0), (y, dy, dy < 0.0))
        )
        return dy, _REACH * most


class Square:
    """``z^2 / 2``; y says nothing."""

    def at(self, z: Vector) -> tuple[Vector, Vector]:
        return 0.5 * z * z, z

    def dual(self, z: Vector) -> Vector:
        return np.ones_like(z)

    def chord(self, z: Vector, y: Vector) -> Vector:
        return y

    def moved(self, z: Vector, y: Vector, dz: Vector) -> tuple[Vector, float]:
        return np.zeros_like(z), math.inf


class Exponential:
    """``exp z``; y says nothing."""

    def at(self, z: Vector) -> tuple[Vector, Vector]:
        e = np.exp(z)
        return e, e

    def dual(self, z: Vector) -> Vector:
        return np.ones_like(z)

    def chord(self, z: Vector, y: Vector) -> Vector:
        out: Vector = np.exp(z)
        return out

    def moved(self, z: Vector, y: Vector, dz: Vector) -> tuple[Vector, float]:
        return np.zeros_like(z), _RISE / max(float(dz.max(initial=0.0)), _TINY)


@dataclass(frozen=True, eq=False)
class Forms:
    """P functions of n linear forms of C shares.

    Attributes
    ----------
    rows : (n, C) float64
    shift : (n,)
        Added to the forms.
    curve : Curve
    weight : (P, n), >= 0
    offset : (P,)
    linear : (P, C)
    wear : Faded, optional
        What shares are worth to the rows; f falls then.
    """

    rows: Matrix
    shift: Vector
    curve: Curve
    weight: Matrix
    offset: Vector
    linear: Matrix
    wear: Faded | None = None

    @classmethod
    def of(cls, rows: Matrix, curve: Curve, weight: Matrix) -> Forms:
        """Forms without shift, offset and linear part."""
        pieces, n = weight.shape
        return cls(rows, np.zeros(n), curve, weight, np.zeros(pieces), np.zeros((pieces, rows.shape[1])))

    @classmethod
    def of_loglik(cls, loglik: NDArray[np.floating], c: Vector) -> Forms:
        """``-sum_i c_i log sum_k w_k exp(loglik_ik)``, of rows (n, C) that some domain explains; rows of weight 0 are left out."""
        used = np.flatnonzero(c > 0.0)
        rows = loglik[used].astype(np.float64)
        top = rows.max(axis=1)
        rows -= top[:, None]
        weight = c[used][None]
        return replace(cls.of(np.exp(rows, out=rows), MinusLog(), weight), offset=-(weight @ top))

    @classmethod
    def together(cls, parts: list[Forms]) -> Forms:
        """All functions of several, which have their rows for themselves."""
        weight = np.zeros((sum(one.offset.size for one in parts), sum(one.shift.size for one in parts)))
        piece = row = 0
        for one in parts:
            pieces, n = one.weight.shape
            weight[piece : piece + pieces, row : row + n] = one.weight
            piece, row = piece + pieces, row + n
        rows, shift, offset, linear = (
            np.concatenate([getattr(one, name) for one in parts]) for name in ("rows", "shift", "offset", "linear")
        )
        return cls(rows, shift, parts[0].curve, weight, offset, linear, parts[0].wear)

    def scaled(self, unit: float) -> Forms:
        """The same functions in another unit."""
        return replace(self, weight=self.weight / unit, offset=self.offset / unit, linear=self.linear / unit)

    def with_fixed(self, moving: NDArray[np.bool_], w: Vector) -> Forms:
        """The same functions of the shares `moving`, the others being those of w (C,)."""
        if moving.all():
            return self
        still = np.where(moving, 0.0, w)
        return replace(
            self,
            rows=np.ascontiguousarray(self.rows[:, moving]),
            shift=self.forms(still),
            offset=self.offset + self.linear @ still,
            linear=self.linear[:, moving],
            wear=self.wear and self.wear.restrict(np.flatnonzero(moving).astype(np.int32)),
        )

    def forms(self, w: Vector) -> Vector:
        """The forms (n,) at w (C,)."""
        z: Vector = self.shift + self.rows @ (w if self.wear is None else self.wear.worth(w))
        return z

    def slopes(self, w: Vector) -> Matrix:
        """Derivatives (n, C) of the forms at w; without wear the rows themselves, not a copy."""
        return self.rows if self.wear is None else self.rows * self.wear.slope(w)

    def bent(self, w: Vector, gradient: Vector) -> Vector | float:
        """The diagonal (C,) that wear adds to the Hessian of a weighted sum of the functions with this gradient (C,) at w."""
        return 0.0 if self.wear is None else gradient * self.wear.bend(w)

    def at(self, z: Vector, w: Vector) -> tuple[Vector, Matrix]:
        """Values (P,) and gradients (P, C) at w, whose forms are z."""
        value, slope = self.curve.at(z)
        gradients = (self.weight * slope) @ self.rows
        if self.wear is not None:
            gradients *= self.wear.slope(w)
        gradients += self.linear
        return self.offset + self.linear @ w + self.weight @ value, gradients
