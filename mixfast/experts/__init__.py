"""Fitted models as experts: arrays of probabilities and predictions, temperatures, and the ensemble of a mixture.

An expert is a fitted model of one domain: anything with ``predict_proba`` and ``classes_`` (a classifier of scikit-learn, XGBoost or LightGBM,
or a pipeline), or anything with ``predict`` (a regressor). `ExpertTable.from_classifiers` and `ExpertTable.from_regressors` make tables of them;
`mixfast.solve` finds the mixture, and `Ensemble` predicts with it.

Classes and functions:

- `Ensemble`: a scikit-learn estimator that mixes fitted models. It needs scikit-learn, which is imported when it is first accessed.
- `true_class_probabilities`: the probability of the true class of each row under each expert, (n, K).
- `predictions`: the predictions of each expert, (n, K), or (n, K, D) for D outputs.

Models are given as a mapping of domain to model, or as a sequence. Errors name the expert.

Read the files in this order: `_arrays` (what is given as arrays), `_models` (models by domain; every call of a model), `_labels` (labels as positions in a list of classes),
`_probabilities` (arrays of probabilities), `_classifiers`, `_temperature` (one temperature for each expert, fitted on held-out rows), `_regressors`, `_ensemble`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mixfast.experts._arrays import array_of as array_of
from mixfast.experts._arrays import numbers_of as numbers_of
from mixfast.experts._classifiers import of_models as of_models
from mixfast.experts._classifiers import true_class_probabilities
from mixfast.experts._probabilities import TrueClass as TrueClass
from mixfast.experts._probabilities import of_arrays as of_arrays
from mixfast.experts._regressors import predictions
from mixfast.experts._regressors import predictions_of as predictions_of

if TYPE_CHECKING:
    from mixfast.experts._ensemble import Ensemble

__all__ = ["Ensemble", "predictions", "true_class_probabilities"]

_LATER = {"Ensemble": "_ensemble"}


def __getattr__(name: str) -> Any:
    from mixfast._text.optional import needed
    from mixfast.errors import BackendError

    if name not in _LATER:
        raise AttributeError(f"module 'mixfast.experts' has no attribute {name!r}")
    with needed(name, "scikit-learn", "mixfast[experts]", BackendError):
        module = import_module(f"mixfast.experts.{_LATER[name]}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
