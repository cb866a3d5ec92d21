"""Predictions of regressors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast.errors import TableError
from mixfast.experts._models import Expert, experts_of, kind_of_model, refuse_rows, rows_of


def predictions(models: Any, X: Any, *, domains: Sequence[str] | None = None) -> NDArray[np.float64]:
    """Return the predictions of each model.

    Parameters
    ----------
    models : mapping of str to fitted model, or sequence of K fitted models
        Anything with ``predict`` that returns numbers.
    X : (n, F) array, DataFrame or sparse matrix
        Rows of features, as the models take them.
    domains : sequence of K str, optional
        Names of the models of a sequence, for messages; of a mapping, the order of the columns.

    Returns
    -------
    (n, K) or (n, K, D) float64
        D is the number of outputs, if it is above 1.

    Raises
    ------
    TableError
        If a model is not fitted, is a classifier, fails, or returns NaN or another number of rows; the message names the expert.
    """
    return predictions_of(models, X, domains)[1]


def predictions_of(models: Any, X: Any, domains: Sequence[str] | None) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return the names of the experts, and their predictions (n, K) or (n, K, D)."""
    experts = experts_of(models, domains)
    rows = rows_of(X)
    found: list[NDArray[np.float64]] = []
    for expert in experts:
        values = predicted(expert, X, rows)
        if found and values.shape != found[0].shape:
            raise TableError(
                f"{expert} predicts {values[0].size} outputs, and {experts[0]} {found[0][0].size}: all experts must predict the same ones"
            )
        found.append(values)
    return tuple(expert.name for expert in experts), np.stack(found, axis=1)


def predicted(expert: Expert, X: Any, rows: int) -> NDArray[np.float64]:
    """Return the predictions of one expert, (n,) or (n, D), finite."""
    model = expert.model
    if not hasattr(model, "predict"):
        raise TableError(
            f"{expert} has no predict: give fitted regressors by domain, or the predictions of other models to ExpertTable.from_predictions"
        )
    kind = kind_of_model(model)
    if kind == "classifier" or (kind == "" and hasattr(model, "predict_proba") and expert.classes() is not None):
        raise TableError(
            f"{expert} is a classifier: mix its probabilities, with ExpertTable.from_classifiers, not its labels"
        )
    if kind not in ("", "regressor"):
        raise TableError(
            f"{expert} is of the kind {kind!r}, whose predict returns no values of the target: give a fitted regressor"
        )
    values = expert.call("predict", X, rows)
    if values.dtype.kind not in "iuf":
        raise TableError(f"{expert}: predict returns {values.dtype}, expected numbers")
    values = values.astype(np.float64)
    if values.ndim > 2:
        raise TableError(f"{expert}: predict returns shape {values.shape}, expected ({rows},) or ({rows}, outputs)")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    wrong = ~np.isfinite(values)
    refuse_rows(
        wrong if values.ndim == 1 else wrong.any(axis=1),
        values,
        f"{expert} predicts NaN or infinity",
        "drop those rows, or fit the expert again",
    )
    return values
