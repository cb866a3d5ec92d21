"""The probability of each row's true class under each classifier."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._text.names import listing, one_of
from mixfast.errors import MixfastWarning, TableError
from mixfast.experts._labels import Labels, classes_of, labels
from mixfast.experts._models import Expert, experts_of, kind_of_model, rows_of
from mixfast.experts._probabilities import TrueClass, check_clip, raise_to, refuse_hopeless, refuse_sums
from mixfast.experts._temperature import LOWEST, fitted_temperature, tempered

_CALIBRATIONS = ("none", "temperature")


def true_class_probabilities(
    models: Any, X: Any, y: ArrayLike, *, domains: Sequence[str] | None = None
) -> NDArray[np.float64]:
    """Return the probability that each classifier gives to the true class of each row.

    Parameters
    ----------
    models : mapping of str to fitted classifier, or sequence of K fitted classifiers
        Anything with ``predict_proba`` and ``classes_``. The classes may differ between experts, in order too; a class that an expert
        has never seen has the probability 0.
    X : (n, F) array, DataFrame or sparse matrix
        Rows of features, as the models take them.
    y : (n,) numbers or text
        True classes.
    domains : sequence of K str, optional
        Names of the models of a sequence, for messages; of a mapping, the order of the columns.

    Returns
    -------
    (n, K) float64

    Raises
    ------
    TableError
        If a model is not fitted, is no classifier, fails, or returns probabilities that do not sum to 1 (the message names the expert); or
        if no expert gives the true class of a row any probability.
    """
    return of_models(models, X, y, domains, "none", None, None).probability


def of_models(
    models: Any,
    X: Any,
    y: ArrayLike,
    domains: Sequence[str] | None,
    calibration: str,
    held_out: tuple[Any, ArrayLike] | None,
    clip: float | None,
) -> TrueClass:
    """Return the probabilities of the true classes; see `ExpertTable.from_classifiers`."""
    check_clip(clip)
    experts = experts_of(models, domains)
    rows = rows_of(X)
    truth = labels(y, rows)
    apart = _held_out(calibration, held_out)
    out, temperature, raised = np.zeros((rows, len(experts))), [], 0
    for k, expert in enumerate(experts):
        found, classes = probabilities(expert, X, rows)
        place = truth.among(classes, str(expert))
        known = np.flatnonzero(place >= 0)
        if apart is not None:
            temperature.append(_temperature(expert, *apart, clip))
        own = np.zeros(rows)
        own[known] = found[known, place[known]]
        raised += raise_to(own, clip)
        if apart is not None:
            found = tempered(found if clip is None else np.maximum(found, clip), temperature[k])
            own[known] = found[known, place[known]]
        np.minimum(own, 1.0, out=out[:, k])
    refuse_hopeless(out, truth)
    if sharp := [expert.name for expert, found in zip(experts, temperature, strict=False) if found == LOWEST]:
        warnings.warn(
            f"the temperature is at its lower limit of {LOWEST:g} for {listing(sharp)}, as it is for an expert that predicts all held-out rows right: "
            "give more rows, and none that an expert was fitted to",
            MixfastWarning,
            stacklevel=3,
        )
    return TrueClass(out, tuple(expert.name for expert in experts), tuple(temperature) or None, raised)


def probabilities(expert: Expert, X: Any, rows: int) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return the checked probabilities (n, C) of one classifier, and its classes (C,)."""
    model = expert.model
    classes = expert.classes()
    if not hasattr(model, "predict_proba"):
        if kind_of_model(model) == "classifier" or classes is not None:
            raise TableError(
                f"{expert} has no predict_proba: wrap the classifier in sklearn.calibration.CalibratedClassifierCV, which gives it probabilities"
            )
        if not hasattr(model, "predict"):
            raise TableError(
                f"{expert} has neither predict_proba nor predict: give fitted models by domain, or the probabilities of other models to "
                "ExpertTable.from_probabilities"
            )
        if type(model).__name__ == "Booster":
            raise TableError(
                f"{expert} has no predict_proba: give a model of its library's scikit-learn interface, such as LGBMClassifier or XGBClassifier, or "
                "its probabilities to ExpertTable.from_probabilities"
            )
        raise TableError(
            f"{expert} has no predict_proba, as classifiers have: if it is a regressor, use ExpertTable.from_regressors"
        )
    found = expert.call("predict_proba", X, rows)
    if classes is None:
        raise TableError(
            f"{expert} has no classes_, so that the columns of its predict_proba have no meaning: set classes_"
        )
    known = classes_of(classes, str(expert))
    if found.shape != (rows, known.size) or found.dtype.kind != "f":
        raise TableError(
            f"{expert}: predict_proba returns {found.dtype} of shape {found.shape}, expected ({rows}, {known.size}): a probability for each of its "
            f"classes ({listing(known.tolist())})"
        )
    found = found.astype(np.float64)
    refuse_sums(found, str(expert))
    return found, known


def _held_out(calibration: str, held_out: Any) -> tuple[Any, Labels, int] | None:
    """Return features, labels and number of the rows that temperatures are fitted on; None without calibration."""
    if calibration not in _CALIBRATIONS:
        raise TableError(f"calibration is {one_of(calibration, _CALIBRATIONS)}")
    if calibration == "none":
        if held_out is not None:
            raise TableError('held_out is for calibration="temperature": give both, or neither')
        return None
    if not (isinstance(held_out, (tuple, list)) and len(held_out) == 2):
        raise TableError(
            'calibration="temperature" needs held_out=(X, y): rows of the target that are neither in the table nor among the rows that an '
            "expert was fitted to"
        )
    rows = rows_of(held_out[0], "X of held_out")
    return held_out[0], labels(held_out[1], rows, "y of held_out", "X of held_out"), rows


def _temperature(expert: Expert, X: Any, truth: Labels, rows: int, clip: float | None) -> float:
    """Return the temperature of an expert that suits the held-out rows best."""
    found, classes = probabilities(expert, X, rows)
    place = truth.among(classes, str(expert))
    known = place >= 0
    found, place = found[known], place[known]
    if clip is not None:
        found = np.maximum(found, clip)
    # No temperature changes a probability of 0.
    able = found[np.arange(place.size), place] > 0.0
    if not able.any():
        raise TableError(
            f"{expert} gives the true class the probability 0 in every held-out row, so it has no best temperature: give held_out rows of classes "
            "that it has seen, or clip=1e-6"
        )
    return fitted_temperature(found[able], place[able])
