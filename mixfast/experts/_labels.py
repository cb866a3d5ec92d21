"""Labels of rows, and their positions in a list of classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import shown
from mixfast.errors import TableError
from mixfast.experts._arrays import array_of


class Labels(NamedTuple):
    """Labels of n rows: their distinct values (V,), and the index (n,) of each row's value."""

    values: NDArray[Any]
    codes: NDArray[np.intp]

    def among(self, classes: NDArray[Any], what: str) -> NDArray[np.intp]:
        """Return the position of each row's label in ``classes``, (n,); -1 for labels that are not there."""
        return self.positions(classes, what)[self.codes]

    def positions(self, classes: NDArray[Any], what: str) -> NDArray[np.intp]:
        """Return the position of each distinct value in ``classes``, (V,); -1 for values that are not there."""
        if (self.values.dtype.kind == "U") != (classes.dtype.kind == "U"):
            kinds = {True: "text", False: "numbers"}
            raise TableError(
                f"y holds {kinds[self.values.dtype.kind == 'U']} ({shown(self.values[0].item())}, ...), and the classes of {what} are "
                f"{kinds[classes.dtype.kind == 'U']} ({shown(classes[0].item())}, ...): give y as the labels that the expert was fitted to"
            )
        order = np.argsort(classes, kind="stable")
        place = np.minimum(np.searchsorted(classes, self.values, sorter=order), classes.size - 1)
        return np.where(classes[order[place]] == self.values, order[place], -1)


def labels(given: Any, rows: int, what: str = "y", source: str = "X") -> Labels:
    """Return the labels of the rows; raise unless there is one for each row, a number or text."""
    array = plain(given, what)
    if array.shape != (rows,):
        one_hot = array.ndim == 2 and array.shape[0] == rows and array.shape[1] > 1
        advice = "; if its columns are the classes, give the class of each row instead" if one_hot else ""
        raise TableError(
            f"{what} has shape {array.shape}, expected ({rows},): one label for each row of {source}{advice}"
        )
    values, codes = np.unique(array, return_inverse=True)
    return Labels(values, codes.reshape(-1))


def classes_of(given: Any, what: str) -> NDArray[Any]:
    """Return distinct classes (C,) in their own order."""
    array = plain(given, f"the classes of {what}")
    if array.ndim != 1 or array.size == 0:
        raise TableError(f"the classes of {what} have shape {array.shape}, expected one list of classes")
    if np.unique(array).size != array.size:
        raise TableError(f"the classes of {what} must be distinct, got {shown(array.tolist())}")
    return array


def plain(given: Any, what: str) -> NDArray[Any]:
    """Return labels as an array of numbers or of text, whatever they were stored as."""
    array = array_of(given, what)
    if array.dtype.kind in "OTSb":
        listed = array.reshape(-1).tolist()
        if array.dtype.kind == "b":
            return array.astype(np.int8)
        if array.dtype.kind == "S":
            try:
                return np.char.decode(array, "utf-8")
            except UnicodeDecodeError as problem:
                raise TableError(
                    f"{what} holds bytes that are not UTF-8 ({problem.object!r}): decode them first"
                ) from None
        for row, label in enumerate(listed):
            # NaN and pandas' NA are not equal to themselves, or the comparison has no truth.
            if label is None or not isinstance(label, (str, int, float, np.number)) or label != label:
                raise TableError(f"{what} has no label in row {row} ({label!r}): drop rows without a label")
        if len({isinstance(label, str) for label in listed}) > 1:
            raise TableError(f"{what} mixes numbers and text: give all labels as one of them")
        return np.array(listed).reshape(array.shape)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array.reshape(-1)))[0])
        raise TableError(f"{what} is not finite in row {row}: drop rows without a label")
    if array.dtype.kind not in "iufU":
        raise TableError(f"{what} has the type {array.dtype}, expected labels: numbers or text")
    return array
