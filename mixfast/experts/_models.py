"""Fitted models by domain, and the calls of their methods: every error names the expert."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import domain_names, listing, shown
from mixfast.errors import AlignmentError, TableError
from mixfast.experts._arrays import numbers_of

# Rows named in a message.
_SHOWN = 5
# The attribute of estimators before the tags of scikit-learn 1.6.
_OLD_TYPE = "_estimator_type"
# The names of the columns that a model of LightGBM was fitted to.
_NAMES = "feature_name_"


class Expert(NamedTuple):
    """A fitted model with the name of its domain; as text, the words with which messages name it."""

    name: str
    model: Any

    def __str__(self) -> str:
        return f"the expert of {shown(self.name)} ({type(self.model).__name__})"

    def call(self, method: str, X: Any, rows: int | None) -> Any:
        """Return what a method of the model gives for X; errors of the model become a `TableError`."""
        self._refuse_moved_columns(X)
        try:
            found = getattr(self.model, method)(X)
        except MemoryError:
            raise
        except Exception as problem:
            if any(one.__name__ == "NotFittedError" for one in type(problem).__mro__):
                raise self.unfitted() from problem
            advice = ""
            if type(self.model).__name__ == "Booster":
                advice = "; give a model of its library's scikit-learn interface, such as XGBClassifier or XGBRegressor"
            raise TableError(f"{self}: {method} failed with {type(problem).__name__}: {problem}{advice}") from problem
        self._refuse_moved_classes(method, found)
        if isinstance(found, (list, tuple)) and len(found) and np.ndim(found[0]) > 1:
            raise TableError(
                f"{self}: {method} returns {len(found)} arrays, one for each output; make a table for each output, with models of that output"
            )
        values = numbers_of(found, f"{self}: what {method} returns")
        if rows is not None and (values.ndim == 0 or values.shape[0] != rows):
            raise TableError(f"{self}: {method} returns shape {values.shape} for {rows} rows of X")
        return values

    def classes(self) -> Any:
        """Return the model's `classes_`, None if it has none."""
        try:
            return getattr(self.model, "classes_", None)
        except Exception as problem:
            raise TableError(f"{self}: classes_ failed with {type(problem).__name__}: {problem}") from problem

    def _refuse_moved_classes(self, method: str, found: Any) -> None:
        # A DataFrame names its columns; by position they would be taken for other classes.
        columns, classes = getattr(found, "columns", None), self.classes()
        if method != "predict_proba" or columns is None or classes is None:
            return
        named, known = np.asarray(columns).tolist(), np.asarray(classes).tolist()
        if named != known and len(named) == len(known) and set(named) == set(known):
            raise TableError(
                f"{self}: the columns of predict_proba are {listing(map(shown, named))}, and classes_ is {listing(map(shown, known))}: return them in "
                "one order"
            )

    def _refuse_moved_columns(self, X: Any) -> None:
        # LightGBM takes columns by position, whatever their names; other libraries check the names.
        known, given = getattr(self.model, _NAMES, None), getattr(X, "columns", None)
        if known is None or given is None:
            return
        names, columns = list(known), list(given)
        if names != columns and len(names) == len(columns) and set(names) == set(columns):
            raise TableError(
                f"{self} was fitted to the columns {listing(map(shown, names))}, and X has them in another order: give X[model.{_NAMES}]"
            )

    def unfitted(self) -> TableError:
        """Return the error for a model that was not fitted."""
        return TableError(f"{self} is not fitted: call its fit on the data of the domain first")


def experts_of(models: Any, domains: Sequence[str] | None) -> tuple[Expert, ...]:
    """Return the models with their domains: those of a mapping, or of a sequence with ``domains`` ("domain_0", ... by default).

    With a mapping, ``domains`` sets the order; it must name the same domains.
    """
    if isinstance(models, Mapping):
        names = domain_names(models, TableError)
        if domains is not None:
            order = domain_names(domains, TableError)
            if set(order) != set(names):
                raise AlignmentError.between("models", names, "domains", order)
            names = order
        found = [models[name] for name in names]
    elif isinstance(models, Iterable) and not isinstance(models, (str, bytes, np.ndarray)) and not _is_model(models):
        found = list(models)
        names = tuple(f"domain_{k}" for k in range(len(found)))
        if domains is not None:
            names = domain_names(domains, TableError)
            if len(names) != len(found):
                raise TableError(f"{len(names)} domains are named ({listing(names)}) for {len(found)} models")
    else:
        raise TableError(
            f"models is {type(models).__name__}, expected a mapping of domain to fitted model, or a sequence of fitted models"
        )
    if not found:
        raise TableError("models is empty, expected a fitted model for each domain")
    experts = tuple(map(Expert, names, found))
    for expert in experts:
        if isinstance(expert.model, type):
            raise TableError(
                f"the expert of {shown(expert.name)} is the class {expert.model.__name__}, expected a fitted instance of it"
            )
    return experts


def _is_model(given: Any) -> bool:
    """Whether an iterable is itself a model: pipelines and ensembles of scikit-learn can be iterated."""
    return hasattr(given, "predict") and hasattr(given, "fit")


def kind_of_model(model: Any) -> str:
    """Return "classifier", "regressor", or an empty string if a model does not say what it is."""
    try:
        tags = model.__sklearn_tags__()
        return str(tags.estimator_type or "")
    except Exception:
        # Models outside scikit-learn, and those written for versions before 1.6, have no such method or a broken one.
        return str(getattr(model, _OLD_TYPE, None) or "")


def rows_of(X: Any, what: str = "X") -> int:
    """Return the number of rows of X: an array, a DataFrame, a sparse matrix or a list."""
    shape = getattr(X, "shape", None)
    if isinstance(shape, tuple) and shape and isinstance(shape[0], (int, np.integer)):
        rows = int(shape[0])
    elif shape != () and hasattr(X, "__len__") and not isinstance(X, (str, bytes, Mapping)):
        rows = len(X)
    elif hasattr(X, "__array__") and np.ndim(X):
        rows = len(np.asarray(X))
    else:
        raise TableError(
            f"{what} is {type(X).__name__}, expected rows of features: an array, a DataFrame or a sparse matrix"
        )
    if rows == 0:
        raise TableError(f"{what} has no rows")
    return rows


def refuse_rows(wrong: NDArray[np.bool_], shown_values: Any, what: str, advice: str) -> None:
    """Raise if rows are wrong, naming the first few with their values."""
    rows = np.flatnonzero(wrong)
    if rows.size:
        first = listing((f"row {row} ({shown_values[row]})" for row in rows[:_SHOWN].tolist()), _SHOWN)
        more = f", ... ({rows.size} in all)" if rows.size > _SHOWN else ""
        raise TableError(f"{what} in {rows.size} of {wrong.size} rows: {first}{more}; {advice}")
