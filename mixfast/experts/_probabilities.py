"""Probabilities of the true classes: from arrays of probabilities, with the checks that arrays of models share."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._text.audience import either
from mixfast._text.names import domain_names, listing, shown
from mixfast.errors import MixfastWarning, TableError
from mixfast.experts._arrays import numbers_of
from mixfast.experts._labels import Labels, classes_of, labels
from mixfast.experts._models import refuse_rows

# Probabilities of a row may miss a sum of 1 by this much: float16 has three digits.
_SUM_SLACK = 5e-3
_NOT_PROBABILITIES = "has values that are not probabilities"
_EXPECTED = "expected numbers from 0 to 1, not logarithms or scores"


class TrueClass(NamedTuple):
    """Probabilities of the true classes (n, K), with names and temperatures of the experts (K,), if known, and the number of probabilities that `clip` raised."""

    probability: NDArray[np.float64]
    domains: tuple[str, ...] | None
    temperature: tuple[float, ...] | None
    raised: int


def of_arrays(
    proba: Any,
    y: ArrayLike | None,
    domains: Sequence[str] | None,
    classes: ArrayLike | None,
    clip: float | None,
) -> TrueClass:
    """Return the probabilities of the true classes; see `ExpertTable.from_probabilities`."""
    check_clip(clip)
    values = numbers_of(proba, "proba")
    if values.dtype.kind != "f" or values.ndim not in (2, 3) or 0 in values.shape:
        raise TableError(
            f"proba has shape {values.shape} and type {values.dtype}, expected floating (rows, domains) or (rows, classes, domains)"
        )
    values = values.astype(np.float64, copy=False)
    names = None if domains is None else domain_names(domains, TableError)
    if names is not None and len(names) != values.shape[-1]:
        raise TableError(
            f"{len(names)} domains are named ({listing(names)}), but the last axis of proba has {values.shape[-1]} entries: it is that of the "
            "domains"
        )
    called = [f"the expert of {shown(name)}" for name in names or [f"domain_{k}" for k in range(values.shape[-1])]]
    if values.ndim == 2:
        for k, name in enumerate(called):
            wrong = ~((values[:, k] >= 0.0) & (values[:, k] <= 1.0 + _SUM_SLACK))
            refuse_rows(wrong, values[:, k], f"{name} {_NOT_PROBABILITIES}", _EXPECTED)
    else:
        for k, name in enumerate(called):
            refuse_sums(values[:, :, k], name, _swapped(values, y))
    truth = None
    if y is None:
        if values.ndim == 3 or classes is not None:
            raise TableError("proba has classes but y is not given: give the label of each row")
        out = values.copy()
    else:
        truth = labels(y, values.shape[0], source="proba")
        out = _of_labels(values, truth, classes)
    np.minimum(out, 1.0, out=out)
    raised = raise_to(out, clip)
    refuse_hopeless(out, truth)
    return TrueClass(out, names, None, raised)


def _of_labels(values: NDArray[np.float64], truth: Labels, classes: Any) -> NDArray[np.float64]:
    """Return the probabilities (n, K) of the rows' labels from checked probabilities (n, K) of the second of two classes, or (n, C, K)."""
    listed = _listed_classes(classes, truth, 2 if values.ndim == 2 else values.shape[1], values.shape)
    positions = truth.positions(listed, "proba")
    if (positions < 0).any():
        unknown = truth.values[positions < 0].tolist()
        raise TableError(
            f"y holds {listing(map(shown, unknown))}, which is not one of the classes {listing(map(shown, listed.tolist()))}"
        )
    place = positions[truth.codes]
    if classes is None and (positions > 0).all():
        _warn_if_from_1(values, place, listed)
    out = _at(values, place)
    if values.ndim == 3:
        return out
    chance = np.log(0.5)
    with np.errstate(divide="ignore"):
        as_read, as_true = (np.log(np.maximum(one, 1e-9)).mean(axis=0) for one in (out, values))
    if (as_read < chance).all() and (as_true > chance).all():
        warnings.warn(
            f"every expert is worse than chance if proba (rows, domains) is the probability of the class {shown(listed[1].item())}: if it is the "
            f"probability of the true class of each row, {either('give y=None', 'leave out label')}",
            MixfastWarning,
            stacklevel=5,
        )
    return out


def _at(values: NDArray[np.float64], place: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the probabilities (n, K) of the classes at these positions (n,)."""
    if values.ndim == 3:
        return values[np.arange(place.size), place]
    return np.where(place[:, None] == 1, values, 1.0 - values)


def _warn_if_from_1(values: NDArray[np.float64], place: NDArray[np.intp], listed: NDArray[Any]) -> None:
    """Warn if no label is the first class, and every expert fits labels that count from 1 better."""
    as_read, from_1 = (np.log(np.maximum(_at(values, at), 1e-9)).mean(axis=0) for at in (place, place - 1))
    if (from_1 > as_read).all():
        first = (listed + 1).tolist()
        warnings.warn(
            f"no label in y is {shown(listed[0].item())}, and every expert fits y better if its labels count from 1: if they do, give "
            + either(f"classes={first}", f"the key classes, {first}"),
            MixfastWarning,
            stacklevel=6,
        )


def _listed_classes(given: Any, truth: Labels, count: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the classes in the order of the axis: as given, else 0 .. C-1, else the distinct labels of y in ascending order, if these are C."""
    if given is not None:
        known = classes_of(given, "proba")
        if known.size != count:
            raise TableError(f"classes has {known.size} entries, but proba of shape {shape} has {count} classes")
        return known
    if truth.values.dtype.kind != "U" and np.isin(truth.values, np.arange(count)).all():
        return np.arange(count)
    if truth.values.size == count:
        return truth.values
    raise TableError(
        f"y holds {truth.values.size} labels ({listing(map(shown, truth.values.tolist()))}), and proba of shape {shape} has {count} classes: "
        f"name the classes in their order with {either('classes=[...]', 'the key classes')}"
    )


def check_clip(clip: float | None) -> None:
    """Raise unless ``clip`` is None or a small probability."""
    number = isinstance(clip, (int, float, np.floating)) and not isinstance(clip, bool)
    if clip is not None and not (number and 0.0 < clip < 0.5):
        raise TableError(f"clip is {shown(clip)}, expected a small probability above 0, such as 1e-6")


def raise_to(out: NDArray[np.float64], clip: float | None) -> int:
    """Raise probabilities below ``clip`` to it, in place; return how many there were."""
    if clip is None:
        return 0
    low = out < clip
    out[low] = clip
    return int(np.count_nonzero(low))


def refuse_sums(found: NDArray[np.float64], name: str, advice: str = "") -> None:
    """Raise unless the rows (n, C) are probabilities that sum to 1."""
    # Written so that NaN is wrong.
    wrong = np.asarray(~((found >= 0.0) & (found <= 1.0 + _SUM_SLACK)).all(axis=1))
    refuse_rows(wrong, found, f"{name} {_NOT_PROBABILITIES}", _EXPECTED)
    total = found.sum(axis=1)
    wrong = np.asarray(np.abs(total - 1.0) > _SUM_SLACK)
    said = f"{name} gives classes probabilities that do not sum to 1"
    refuse_rows(
        wrong,
        [f"sum {one:.4g}" for one in total.tolist()],
        said,
        advice or "divide the probabilities of a row by their sum",
    )


def _swapped(values: NDArray[np.float64], y: Any) -> str:
    """Return advice if another axis than the second sums to 1."""
    # A list of the predict_proba of each expert has the domains first.
    by_domain = len(values) != values.shape[1] == np.size(y)
    for axis, order in ((2, "1, 2, 0" if by_domain else "0, 2, 1"), (0, "1, 0, 2")):
        if np.abs(values.sum(axis=axis) - 1.0).max() <= _SUM_SLACK:
            return f"the axes must be (rows, classes, domains), and axis {axis} sums to 1: if it is that of the classes, give proba.transpose({order})"
    return ""


def refuse_hopeless(probability: NDArray[np.float64], truth: Labels | None) -> None:
    """Refuse rows whose true class has the probability 0 under every expert: the loss of every mixture would be infinite."""
    wrong = np.asarray(~(probability > 0.0).any(axis=1))
    if wrong.any():
        classes: Any = np.full(wrong.size, "0")
        if truth is not None:
            classes = [f"class {shown(truth.values[code].item())}" for code in truth.codes.tolist()]
        refuse_rows(
            wrong,
            classes,
            "the true class has the probability 0 under every expert",
            "no mixture explains such a row: leave it out, add an expert that has seen its class, or give "
            + either("clip=1e-6", "the key clip, such as 1e-6"),
        )
