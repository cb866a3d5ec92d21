"""Write log-likelihoods in a smaller type: what is refused, and a bound on the change of every loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast.errors import TableError

# Elements that are compared at a time, in float64.
_CHUNK = 1 << 19


@dataclass
class Rounding:
    """What is lost when values are written in another type.

    Attributes
    ----------
    n_groups : int
    dtype : dtype
        The type that is written.
    to_minus_inf : bool
        Whether values below the smallest finite number become -inf; by default they are refused.
    largest : float
        Largest change of a value, in nats.
    infinite : int
        Number of values that became -inf.
    """

    n_groups: int
    dtype: np.dtype[Any]
    to_minus_inf: bool = False
    largest: float = 0.0
    infinite: int = 0
    _changes: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self._changes = np.zeros(self.n_groups)

    def cast(
        self,
        values: NDArray[Any],
        codes: NDArray[np.int32] | None,
        weights: NDArray[np.float64] | None,
        refuse: Callable[[int, str], TableError],
        domains: tuple[str, ...],
    ) -> NDArray[Any]:
        """Return (n, K) values in the new type; raise ``refuse(row, text)`` for one that it cannot hold.

        ``codes`` are the groups of the rows (None: one group), and ``weights`` their weights before division by the rows of the group
        (None: 1).
        """
        if np.can_cast(values.dtype, self.dtype):
            return values.astype(self.dtype, copy=False)
        out = np.empty(values.shape, dtype=self.dtype)
        step = max(_CHUNK // values.shape[1], 1)
        for start in range(0, len(values), step):
            window = slice(start, start + step)
            old = values[window]
            with np.errstate(over="ignore", under="ignore"):
                new = out[window] = old.astype(self.dtype)
            lost = np.isinf(new) & ~np.isinf(old)
            if lost.any():
                self._refuse_overflow(old, lost, start, refuse, domains)
            self._note(
                old, new, lost, None if codes is None else codes[window], None if weights is None else weights[window]
            )
        return out

    def _refuse_overflow(
        self,
        old: NDArray[Any],
        lost: NDArray[np.bool_],
        start: int,
        refuse: Callable[[int, str], TableError],
        domains: tuple[str, ...],
    ) -> None:
        """Raise for the first value beyond the range of the type that may not become -inf."""
        limit = float(np.finfo(self.dtype).max)
        for rows, columns in (
            np.nonzero(lost & (old > 0)),
            np.nonzero(lost if not self.to_minus_inf else lost & False),
        ):
            if rows.size:
                row, column = int(rows[0]), int(columns[0])
                value = float(old[row, column])
                what = (
                    f"{domains[column]} = {value:.6g} does not fit into {self.dtype.name} (-{limit:.6g} to {limit:.6g})"
                )
                if value > 0:
                    raise refuse(start + row, f"{what}; write a larger type")
                raise refuse(
                    start + row,
                    f"{what}; write float32, or give --to-minus-inf to write such values as -inf (a probability of 0)",
                )
        dead = np.flatnonzero((lost | np.isneginf(old)).all(axis=1))
        if dead.size:
            raise refuse(
                start + int(dead[0]),
                f"every domain is below -{limit:.6g}, so that the row would be -inf for every domain in {self.dtype.name}; write float32",
            )
        self.infinite += int(np.count_nonzero(lost))

    def _note(
        self,
        old: NDArray[Any],
        new: NDArray[Any],
        lost: NDArray[np.bool_],
        codes: NDArray[np.int32] | None,
        weights: NDArray[np.float64] | None,
    ) -> None:
        # inf - inf is NaN: what was infinite has not changed.
        with np.errstate(invalid="ignore"):
            change = np.abs(new.astype(np.float64) - old)
        change[lost | np.isinf(old)] = 0.0
        row_change = change.max(axis=1)
        self.largest = max(self.largest, float(row_change.max()))
        if weights is not None:
            row_change = row_change * weights
        if codes is None:
            self._changes[0] += row_change.sum()
        else:
            self._changes += np.bincount(codes, weights=row_change, minlength=self.n_groups)

    def loss_change(self, divisors: NDArray[np.float64]) -> float:
        """Return a bound on the change of every loss of every mixture, in its unit, without the values that became -inf.

        ``divisors`` are the rows of each group, or 1 if rows have their own weights. The bound holds because ``-log(sum_k w_k exp(l_k))``
        changes by at most the largest change of an ``l_k``.
        """
        return float((self._changes / divisors).max())
