"""The history of a run: the values of each tag by step, from rows as trackers log them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mixfast.readers.results._contents import Measure
from mixfast.readers.results._numbers import as_number, as_step
from mixfast.readers.results._tags import Tags, told

# Names of the training step, the most reliable first: W&B's own _step counts calls of log.
STEPS = ("trainer/global_step", "train/global_step", "global_step", "_step")

# Values by step, by tag, in the order of writing.
History = dict[str, dict[int | None, float]]


def training_step(row: Mapping[str, Any]) -> int | None:
    """Return the training step of a row, None if it has none."""
    found = (as_step(row[name]) for name in STEPS if name in row)
    return next((step for step in found if step is not None), None)


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dictionaries, named by their keys joined by dots, as W&B does."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else str(key))
    elif name:
        yield name, value


def without_media(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was logged without histograms, tables and images, whose parts include a key ``_type``."""
    media = tuple(tag.removesuffix("_type") for tag in row if tag.endswith("._type"))
    return {tag: value for tag, value in row.items() if not (media and tag.startswith(media))}


def add_row(history: History, row: Mapping[str, Any], text: dict[str, None], step: int | None = None) -> None:
    """Add the values of one call of log. Empty and null cells are skipped, and the names of text are added to ``text``.

    If ``step`` is None, it is taken from the row. A row without a training step, as what is logged after training, is of the last one before it: W&B's
    own step counts something else.
    """
    if step is None:
        step = training_step(row)
        if step is not None and all(as_step(row.get(name)) is None for name in STEPS[:-1]):
            before = next((history[name] for name in STEPS[:-1] if history.get(name)), None)
            step = step if before is None else next(reversed(before))
    for tag, value in without_media(row).items():
        if value is None or value == "":
            continue
        number = as_number(value)
        if number is None:
            text[tag] = None
        else:
            history.setdefault(tag, {})[step] = number


def measures_of(
    history: Mapping[str, Mapping[int | None, float]], run: str = "", n: int | None = None
) -> tuple[list[Measure], list[str]]:
    """Return the measures of a history, and the tags that are no metrics.

    Of a tag that is left out, only the last value is returned.
    """
    measures, bookkeeping = [], []
    beside = Tags(history)
    for tag, values in history.items():
        what = told(tag, beside)
        if what is None:
            bookkeeping.append(tag)
            continue
        points: Iterable[tuple[int | None, float]] = values.items()
        if what.left_out or what.against:
            last = max(values, key=lambda step: -1 if step is None else step)
            points = [(None if what.against else last, values[last])]
        measures += [
            Measure(tag, value, run, n=n, unit=what.unit, direction=what.direction, step=step, left_out=what.left_out)
            for step, value in points
        ]
    return measures, bookkeeping
