"""Values of tables that are made from fitted models or from probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast.errors import TableError
from mixfast.experts import TrueClass, array_of, numbers_of, predictions_of
from mixfast.tables._made import Made
from mixfast.tables._values import Checked, checked_logs, checked_predictions


def of_true_class(found: TrueClass) -> tuple[Checked, Made | None]:
    """Return the logarithms of checked probabilities of the true classes, and how they were made."""
    made = Made(found.temperature, found.raised)
    return checked_logs(found.probability, found.domains), None if made == Made() else made


def of_regressors(models: Any, X: Any, y: ArrayLike, domains: Sequence[str] | None) -> Checked:
    """Return the predictions of fitted regressors with their targets."""
    names, values = predictions_of(models, X, domains)
    target = numbers_of(y, "y")
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
    weight = array_of(sample_weight, "sample_weight")
    if weight.dtype.kind not in "iuf" or weight.ndim != 1 or not ((weight >= 0) & (weight < np.inf)).all():
        return weight
    if group is None:
        code = np.zeros(weight.size, dtype=np.intp)
    else:
        given = array_of(group, "group")
        if given.shape != weight.shape:
            return weight
        try:
            code = np.unique(given, return_inverse=True)[1].reshape(-1)
        except TypeError:
            return weight
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.bincount(code, weights=weight.astype(np.float64))
        return weight / np.where(total > 0.0, total, 1.0)[code]
