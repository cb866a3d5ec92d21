"""Problems that are hard in floating point, and an independent check of their solutions."""

import warnings
from dataclasses import dataclass
from typing import Any

from certificate import inspect

from mixfast import ExpertTable, Region

# How much share a solution may be outside a limit: see `Region.violation`.
_FEASIBLE = 1e-11


@dataclass(frozen=True)
class Problem:
    table: ExpertTable
    region: Region | None
    kl: float
    objective: Any
    wear: float | dict[str, float] | None

    @property
    def scale(self) -> float:
        """The tolerance is relative to the sum of the row weights if that is above 1."""
        return max(1.0, float(self.table.row_weight.sum()))

    def judged(self, name: object, solution: Any) -> str | None:
        """Return what is wrong with a solution, or None."""
        with warnings.catch_warnings():  # an overflow in the check is not an error of the solver
            warnings.simplefilter("ignore")
            found = inspect(
                self.table,
                self.region,
                solution,
                kl=self.kl,
                objective=self.objective,
                wear=self.wear,
                tol=1e-7 * self.scale,
                feasible_tol=_FEASIBLE,
                multipliers=False,
            )
        if not found.failures:
            return None
        told = f"{name}: {solution.status}, claimed {solution.gap:.3g}, true {float(found.gap):.3g}"
        return f"{told}: {'; '.join(found.failures)}"
