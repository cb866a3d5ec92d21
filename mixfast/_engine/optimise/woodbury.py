"""Linear systems ``D + V' diag(h) V`` with few rows V and many unknowns, where D is easy to invert.

If T are the rows in units in which D is 1, the system is ``I + T' T`` of the C unknowns. Its inverse follows from that of ``I + T T'`` of the
n rows (Golub and Van Loan, "Matrix Computations", section 2.1.4: Woodbury's formula). The smaller of the two is factored.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector

# Domains next to a bound hardly change the matrix. Domains that together contribute less than the first number, relative to 1, are left to
# the refinement if they are more than the second number as a fraction of all.
_DROPPED, _WORTH = 1e-6, 0.1
# Maximum number of refinements of a solution, and the relative residual at which they stop.
_REFINEMENTS, _SOLVED = 4, 1e-6
_TINY = 1e-100


class Diagonal:
    """A diagonal D (C,) > 0, as ``L L'``; with `coupling` q (H,) also ``q (1 1; 1 1)`` on H pairs of unknowns, the last H being one of each."""

    def __init__(self, own: Vector, first: NDArray[np.intp], coupling: Vector) -> None:
        self.first, self.second, self.coupling = first, own.size - first.size, coupling
        self.own, self.root = own, own
        if first.size:
            p = own[first]
            self.root = own.copy()
            self.root[first] += coupling
            self.root[self.second :] += coupling * p / (p + coupling)
        self.root = 1.0 / np.sqrt(self.root)
        self.below = coupling * self.root[first]

    def forward(self, x: Matrix) -> Matrix:
        """``L^-1 x``, (C, m)."""
        out = self.root[:, None] * x
        if self.first.size:
            root = self.root[self.second :, None]
            out[self.second :] -= root * (self.below[:, None] * out[self.first])
        return out

    def back(self, x: Matrix) -> Matrix:
        """``L'^-1 x``, (C, m)."""
        out = self.root[:, None] * x
        if self.first.size:
            out[self.first] -= self.root[self.first, None] * (self.below[:, None] * out[self.second :])
        return out

    def times(self, x: Matrix) -> Matrix:
        """``D x``, (C, m)."""
        out = self.own[:, None] * x
        if self.first.size:
            both = self.coupling[:, None] * (x[self.first] + x[self.second :])
            out[self.first] += both
            out[self.second :] += both
        return out


class System:
    """``D + V' diag(h) V`` with a D that is easy to invert, solved in the smaller of its two forms."""

    def __init__(self, rows: Matrix, h: Vector, diagonal: Diagonal) -> None:
        self.rows, self.h, self.diagonal = rows, h, diagonal
        t = diagonal.forward(rows.T).T
        t *= np.sqrt(h)[:, None]
        self.columns = _counting(np.einsum("ij,ij->j", t, t))
        if self.columns is not None:
            t = np.ascontiguousarray(t[:, self.columns])
        self.t, self.few = t, t.shape[0] <= t.shape[1]
        small = t @ t.T if self.few else t.T @ t
        small.flat[:: small.shape[0] + 1] += 1.0
        self.inverse = np.linalg.inv(small)

    def solve(self, right: Matrix) -> tuple[Matrix, float]:
        """Return refined solutions (C, m) for right-hand sides (C, m), and the relative residual."""
        x = self._once(right)
        size = np.maximum(np.abs(self.diagonal.forward(right)).max(axis=0), _TINY)
        left = np.inf
        for _ in range(_REFINEMENTS):
            rest = right - self.rows.T @ (self.h[:, None] * (self.rows @ x)) - self.diagonal.times(x)
            now = float((np.abs(self.diagonal.forward(rest)).max(axis=0) / size).max())
            if not now < left:
                break
            left = now
            if left <= _SOLVED:
                break
            x = x + self._once(rest)
        return x, left

    def _once(self, right: Matrix) -> Matrix:
        scaled = self.diagonal.forward(right)
        part = scaled if self.columns is None else scaled[self.columns]
        part = part - self.t.T @ (self.inverse @ (self.t @ part)) if self.few else self.inverse @ part
        if self.columns is None:
            scaled = part
        else:
            scaled[self.columns] = part
        return self.diagonal.back(scaled)


def _counting(squares: Vector) -> NDArray[np.intp] | None:
    """Return the columns of T (given their sums of squares) that matter for ``I + T T'``; refinement corrects the others. None for all."""
    order = np.argsort(squares, kind="stable")
    first = int(np.searchsorted(np.cumsum(squares[order]), _DROPPED))
    return None if first < _WORTH * squares.size else np.sort(order[first:])
