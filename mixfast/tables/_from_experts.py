"""Values of tables that are made from fitted models or from probabilities, and what a table remembers of how they were made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast.errors import TableError
from mixfast.experts import TrueClass, predictions_of
from mixfast.tables._values import Checked, checked_logs, checked_predictions


class Made(NamedTuple):
    """How the values were made: the temperature of each expert (K,) or None, and the number of probabilities that were raised."""

    temperature: tuple[float, ...] | None = None
    clipped: int = 0

    def selected(self, columns: Sequence[int]) -> Made:
        """The same for some of the experts; the number of raised probabilities remains that of all."""
        kept = None if self.temperature is None else tuple(self.temperature[k] for k in columns)
        return self._replace(temperature=kept)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a file stores."""
        found: dict[str, NDArray[Any]] = {} if self.temperature is None else {"temperature": np.array(self.temperature)}
        return found | ({"clipped": np.array(self.clipped)} if self.clipped else {})

    def words(self) -> list[str]:
        """Return the parts of a table's repr."""
        found = []
        if self.temperature is not None:
            found.append(f"temperatures {min(self.temperature):.3g} to {max(self.temperature):.3g}")
        if self.clipped:
            found.append(f"{self.clipped} probabilities clipped")
        return found


def popped(arrays: dict[str, Any], n_domains: int) -> Made | None:
    """Remove what `Made.arrays` stores from the arrays of a file, and return it."""
    temperature, clipped = arrays.pop("temperature", None), arrays.pop("clipped", None)
    if temperature is None and clipped is None:
        return None
    if temperature is not None:
        valid = temperature.shape == (n_domains,) and temperature.dtype.kind == "f"
        if not valid or not ((temperature > 0.0) & (temperature < math.inf)).all():
            raise TableError(f"temperature must be {n_domains} numbers above 0, one for each domain")
    if clipped is not None and (clipped.ndim or clipped.dtype.kind not in "iu" or clipped < 0):
        raise TableError(f"clipped must be one integer of at least 0, got {clipped.dtype} {clipped.shape}")
    return Made(None if temperature is None else tuple(temperature.tolist()), 0 if clipped is None else int(clipped))


def of_true_class(found: TrueClass) -> tuple[Checked, Made | None]:
    """Return the logarithms of checked probabilities of the true classes, and how they were made."""
    made = Made(found.temperature, found.raised)
    return checked_logs(found.probability, found.domains), None if made == Made() else made


def of_regressors(models: Any, X: Any, y: ArrayLike, domains: Sequence[str] | None) -> Checked:
    """Return the predictions of fitted regressors with their targets."""
    names, values = predictions_of(models, X, domains)
    target = np.asarray(y)
    if target.dtype.kind == "O":
        try:
            target = target.astype(np.float64)
        except (TypeError, ValueError) as problem:
            raise TableError(f"y must be numbers: {problem}") from None
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if target.shape != (values.shape[0], *values.shape[2:]):
        raise TableError(
            f"y has shape {target.shape}, expected {(values.shape[0], *values.shape[2:])}: a value for each row of X and each output that the "
            "experts predict"
        )
    return checked_predictions(values, target, names, may_be_wide=True)


def relative(sample_weight: ArrayLike | None, group: ArrayLike | None) -> NDArray[Any] | None:
    """Return sample weights divided by their sum in each group, so that the loss of a group is a weighted mean.

    Weights that are not valid are returned as they are, and refused with the other facts about rows.
    """
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight)
    if weight.dtype.kind not in "iuf" or weight.ndim != 1:
        return weight
    if group is None:
        code = np.zeros(weight.size, dtype=np.intp)
    else:
        given = np.asarray(group)
        if given.shape != weight.shape:
            return weight
        code = np.unique(given, return_inverse=True)[1].reshape(-1)
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.bincount(code, weights=weight.astype(np.float64))
        return weight / np.where(total > 0.0, total, 1.0)[code]
