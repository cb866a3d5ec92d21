"""The mixture of fitted models as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.metaestimators import available_if

from mixfast._text.names import listing, shown
from mixfast.errors import AlignmentError, MixtureError, TableError
from mixfast.experts._classifiers import probabilities
from mixfast.experts._labels import classes_of
from mixfast.experts._models import Expert, experts_of, rows_of
from mixfast.experts._regressors import predicted
from mixfast.experts._temperature import tempered
from mixfast.mixture import Mixture

if TYPE_CHECKING:

    class BaseEstimator:
        """scikit-learn has no types; with its own class, the type of `Ensemble` would be unknown."""

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def __sklearn_tags__(self) -> Any: ...

else:
    from sklearn.base import BaseEstimator


def _are_classifiers(ensemble: Ensemble) -> bool:
    return all(hasattr(expert.model, "predict_proba") for expert in ensemble._all())


class Ensemble(BaseEstimator):
    """Predict with the mixture of fitted models: ``sum_k w_k p_k(class | x)`` for classifiers, ``sum_k w_k f_k(x)`` for regressors.

    An estimator of scikit-learn, ready without `fit`, because its models are fitted. It is a classifier if all models have
    ``predict_proba``, else a regressor. Models with a share of 0 are not called.

    Parameters
    ----------
    models : mapping of str to fitted model, or sequence of K fitted models
        The experts by domain; the domains of a sequence are "domain_0", "domain_1", ...
    mixture : Mixture, or mapping of str to float
        Shares of the same domains.
    temperature : mapping of str to float, optional
        Temperature of each classifier, such as `ExpertTable.temperature`; 1 by default. Domains may be left out.

    Attributes
    ----------
    classes_ : (C,) array
        All classes that a model has seen, in ascending order. Only of classifiers.

    Raises
    ------
    TableError
        When it predicts: if a model is not fitted, fails, or returns NaN or probabilities that do not sum to 1; the message names the expert.
    AlignmentError
        When it predicts: if models and mixture have different domains.

    Notes
    -----
    `sklearn.base.clone` keeps the fitted models, as for `sklearn.frozen.FrozenEstimator`: cross-validation scores the same ensemble in every
    fold. The mixture should therefore come from rows that are not scored.

    References
    ----------
    Thudi et al., "MixMin: Finding Data Mixtures via Convex Minimization" (arXiv 2502.10510): without covariate shift, the best predictor
    for a mixture of sources is the mixture of the best predictors of the sources.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> X = np.array([[0.0], [1.0], [2.0]])
    >>> models = {"a": LinearRegression().fit(X, [0, 1, 2]), "b": LinearRegression().fit(X, [0, 3, 6])}
    >>> Ensemble(models, {"a": 0.5, "b": 0.5}).predict([[10.0]])
    array([20.])
    """

    def __init__(
        self,
        models: Any,
        mixture: Mapping[str, float],
        temperature: Mapping[str, float] | None = None,
    ) -> None:
        self.models = models
        self.mixture = mixture
        self.temperature = temperature

    def fit(self, X: Any, y: Any = None, **options: Any) -> Self:
        """Check models and mixture, and return the ensemble unchanged: nothing is fitted again.

        To retrain, fit new models and build a new ensemble; for one model on the mixture of the pooled rows, fit it with the sample weights
        `Mixture.row_weights`. For another mixture, `solve` the table of other rows.
        """
        self._experts()
        return self

    @available_if(_are_classifiers)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the mixed probabilities (n, C) of the classes in `classes_`."""
        rows = rows_of(X)
        classes = self._known_classes()
        out = np.zeros((rows, classes.size))
        for expert, share, temperature in self._experts():
            found, known = probabilities(expert, X, rows)
            out[:, np.searchsorted(classes, known)] += share * tempered(found, temperature)
        return out

    @available_if(_are_classifiers)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the logarithms of `predict_proba`, (n, C)."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row (n,); for regressors the mixed predictions, (n,) or (n, D)."""
        if _are_classifiers(self):
            best = self.predict_proba(X).argmax(axis=1)
            return self.classes_[best]
        rows = rows_of(X)
        out: Any = 0.0
        first = None
        for expert, share, _ in self._experts():
            values = predicted(expert, X, rows)
            if first is not None and values.shape[1:] != first:
                raise TableError(f"{expert} predicts outputs of shape {values.shape[1:]}, and others {first}")
            first = values.shape[1:]
            out = out + share * values
        return np.asarray(out)

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the accuracy of a classifier, or the coefficient of determination of a regressor."""
        measure = accuracy_score if _are_classifiers(self) else r2_score
        return float(measure(y, self.predict(X), sample_weight=sample_weight))

    @property
    def classes_(self) -> NDArray[Any]:
        """All classes that a model has seen, in ascending order, (C,)."""
        lists = []
        for expert in self._all():
            classes = expert.classes()
            if classes is None:
                raise AttributeError(f"an ensemble has classes_ only if all models do, and {expert} has none")
            lists.append(classes_of(classes, str(expert)))
        if len({one.dtype.kind == "U" for one in lists}) > 1:
            raise TableError("some models have classes that are text, and others classes that are numbers")
        return np.unique(np.concatenate(lists))

    @property
    def n_features_in_(self) -> int:
        """Number of features, if the models know it."""
        return int(self._all()[0].model.n_features_in_)

    def _all(self) -> tuple[Expert, ...]:
        """Return all models with their domains."""
        if isinstance(self.models, Iterator):
            raise TableError(
                f"models is {type(self.models).__name__}, which can be read only once: give a mapping or a list"
            )
        return experts_of(self.models, None)

    def _known_classes(self) -> NDArray[Any]:
        """Return `classes_`; where a model has none, raise the error that says why."""
        try:
            return self.classes_
        except AttributeError as problem:
            if (expert := self._first_unfitted()) is not None:
                raise expert.unfitted() from problem
            raise TableError(str(problem)) from problem

    def _first_unfitted(self) -> Expert | None:
        from sklearn.utils.validation import check_is_fitted

        for expert in self._all():
            if isinstance(expert.model, BaseEstimator):
                try:
                    check_is_fitted(expert.model)
                except NotFittedError:
                    return expert
        return None

    def _experts(self) -> list[tuple[Expert, float, float]]:
        """Return the experts with a share, their shares and temperatures."""
        experts = self._all()
        names = [expert.name for expert in experts]
        if not isinstance(self.mixture, Mapping):
            raise MixtureError(
                f"mixture is {type(self.mixture).__name__}, expected shares by domain: a Mixture, such as solution.mixture, or a mapping of str to float"
            )
        mixture = self.mixture if isinstance(self.mixture, Mixture) else Mixture(self.mixture)
        if set(names) != set(mixture):
            raise AlignmentError.between("the mixture", mixture, "the models", names)
        if not isinstance(self.temperature, Mapping | None):
            raise TableError(
                f"temperature is {shown(self.temperature)}, expected temperatures by domain, such as table.temperature"
            )
        warmth = dict(self.temperature or {})
        if warmth and not _are_classifiers(self):
            raise TableError("temperature is for classifiers, and these models are regressors: leave it out")
        if unknown := sorted(set(warmth) - set(names)):
            raise AlignmentError(f"temperature names {listing(unknown)}, and the models are {listing(names)}")
        for name, value in warmth.items():
            if not isinstance(value, (int, float, np.number)) or not 0.0 < value < np.inf:
                raise TableError(f"temperature of {shown(name)} is {shown(value)}, expected a number above 0")
        return [
            (expert, mixture[expert.name], float(warmth.get(expert.name, 1.0)))
            for expert in experts
            if mixture[expert.name] > 0.0
        ]

    def __sklearn_is_fitted__(self) -> bool:
        return self._first_unfitted() is None

    def __sklearn_clone__(self) -> Ensemble:
        return type(self)(**self.get_params(deep=False))

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, RegressorTags, get_tags

        tags = super().__sklearn_tags__()
        classifies = _are_classifiers(self)
        tags.estimator_type = "classifier" if classifies else "regressor"
        tags.classifier_tags = ClassifierTags() if classifies else None
        tags.regressor_tags = None if classifies else RegressorTags()
        inputs = [get_tags(expert.model).input_tags for expert in self._all()]
        tags.input_tags.sparse = all(one.sparse for one in inputs)
        tags.input_tags.allow_nan = all(one.allow_nan for one in inputs)
        return tags

    # Before version 1.6, scikit-learn reads this instead of the tags.
    @property
    def _estimator_type(self) -> str:
        return "classifier" if _are_classifiers(self) else "regressor"
