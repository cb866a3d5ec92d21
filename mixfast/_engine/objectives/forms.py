"""Objectives as sums of functions of few linear forms of the shares. They lead to systems with as many unknowns as rows.

``phi_p(w) = offset_p + linear_p.w + sum_i weight_pi f(z_i)`` with ``z = shift + rows @ w`` and one convex f for all rows. If repeated
tokens wear out, ``z = shift + rows @ g(w)`` with a concave g of each share alone, which only adds a diagonal to the Hessian.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.wear import Faded

# Largest number of elements copied as float64: 160 MB, and another 160 MB during each step; four times as much at most if repeated tokens
# count less.
ELEMENTS = 20_000_000
# The fraction of the way to 0 that a positive number may move in one step, and the largest increase of an exponent in one step.
_REACH, _RISE = 0.995, 2.0
_TINY = 1e-300


class Curve(Protocol):
    """A convex function f of one number z, and a dual number y. At the end of a search y matches z; on the way it may differ.

    The slope at z + dz is approximated by ``slope(z) + chord(z, y) dz``.
    """

    def at(self, z: Vector) -> tuple[Vector, Vector]:
        """Return values and slopes at z."""
        ...

    def dual(self, z: Vector) -> Vector:
        """Return the y that matches z."""
        ...

    def chord(self, z: Vector, y: Vector) -> Vector:
        """Return the curvature at z and y; the second derivative if they match."""
        ...

    def moved(self, z: Vector, y: Vector, dz: Vector) -> tuple[Vector, float]:
        """Return the first-order change of y for the change dz of z, and the largest fraction of both changes that may be made."""
        ...


class MinusLog:
    """``-log z``. y is 1 / z: ``y z = 1`` is linear in each, so steps are good far from the optimum too."""

    def at(self, z: Vector) -> tuple[Vector, Vector]:
        return -np.log(z), -1.0 / z

    def dual(self, z: Vector) -> Vector:
        return 1.0 / z

    def chord(self, z: Vector, y: Vector) -> Vector:
        return y / z

    def moved(self, z: Vector, y: Vector, dz: Vector) -> tuple[Vector, float]:
        dy: Vector = (1.0 - y * (z + dz)) / z
        # Neither z nor y may fall to 0.
        most = min(
            float((value[falls] / -change[falls]).min(initial=np.inf))
            for value, change, falls in ((z, dz, dz < 0.0), (y, dy, dy < 0.0))
        )
        return dy, _REACH * most


class Square:
    """``z^2 / 2``; y is not used."""

    def at(self, z: Vector) -> tuple[Vector, Vector]:
        return 0.5 * z * z, z

    def dual(self, z: Vector) -> Vector:
        return np.ones_like(z)

    def chord(self, z: Vector, y: Vector) -> Vector:
        return y

    def moved(self, z: Vector, y: Vector, dz: Vector) -> tuple[Vector, float]:
        return np.zeros_like(z), math.inf


class Exponential:
    """``exp z``; y is not used."""

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
        Added to the linear forms.
    curve : Curve
    weight : (P, n), >= 0
    offset : (P,)
    linear : (P, C)
    wear : Faded, optional
        Effective shares if repeated tokens wear out; f must decrease in that case.
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
        """Make forms without shift, offset and linear part."""
        pieces, n = weight.shape
        return cls(rows, np.zeros(n), curve, weight, np.zeros(pieces), np.zeros((pieces, rows.shape[1])))

    @classmethod
    def of_loglik(cls, loglik: NDArray[np.floating], c: Vector) -> Forms:
        """Make ``-sum_i c_i log sum_k w_k exp(loglik_ik)``, of rows (n, C) that some domain explains; rows of weight 0 are left out."""
        used = np.flatnonzero(c > 0.0)
        rows = loglik[used].astype(np.float64)
        top = rows.max(axis=1)
        rows -= top[:, None]
        weight = c[used][None]
        return replace(cls.of(np.exp(rows, out=rows), MinusLog(), weight), offset=-(weight @ top))

    @classmethod
    def together(cls, parts: list[Forms]) -> Forms:
        """Combine the functions of several forms; each keeps its own rows."""
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
        """Return the same functions in another unit."""
        return replace(self, weight=self.weight / unit, offset=self.offset / unit, linear=self.linear / unit)

    def with_fixed(self, moving: NDArray[np.bool_], w: Vector) -> Self:
        """Return the same functions of the shares `moving`, with the other shares fixed to those of w (C,)."""
        if moving.all():
            return self
        still = np.where(moving, 0.0, w)
        return replace(
            self,
            rows=np.ascontiguousarray(self.rows[:, moving]),
            shift=self.linear_forms(still),
            offset=self.offset + self.linear @ still,
            linear=self.linear[:, moving],
            wear=self.wear and self.wear.restrict(np.flatnonzero(moving).astype(np.int32)),
        )

    def linear_forms(self, w: Vector) -> Vector:
        """Return ``shift + rows @ w`` (n,) at shares w (C,), or at their effective shares if there is wear."""
        z: Vector = self.shift + self.rows @ (w if self.wear is None else self.wear.worth(w))
        return z

    def forms(self, w: Vector) -> Vector:
        """Return the forms (n,) at w (C,): the linear ones, unless a subclass adds to them."""
        return self.linear_forms(w)

    def slopes(self, w: Vector) -> Matrix:
        """Return derivatives (n, C) of the forms at w; without wear these are the rows themselves, not a copy."""
        return self.rows if self.wear is None else self.rows * self.wear.slope(w)

    def bent(self, w: Vector, z: Vector, weight: Vector, gradients: Matrix) -> Vector | float:
        """Return the diagonal (C,) that forms which are not linear add to the Hessian of the sum of the functions with weights (P,).

        At w, where the forms are z and the functions have these gradients (P, C).
        """
        return 0.0 if self.wear is None else (weight @ gradients) * self.wear.bend(w)

    @property
    def power(self) -> Vector | float:
        """Exponents (C,): near share 0, the infinite part of the slope grows as ``w^-power``, or as ``-log w`` for power 0."""
        return 0.0

    def at(self, z: Vector, w: Vector) -> tuple[Vector, Matrix]:
        """Return values (P,) and gradients (P, C) at w, whose forms are z."""
        value, slope = self.curve.at(z)
        gradients = (self.weight * slope) @ self.rows
        if self.wear is not None:
            gradients *= self.wear.slope(w)
        gradients += self.linear
        return self.offset + self.linear @ w + self.weight @ value, gradients
