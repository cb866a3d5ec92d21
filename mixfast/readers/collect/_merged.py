"""Merge the measures of the files of one run: the last step is used, then the newest file; different values are conflicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mixfast.readers.collect._read import Key, Results, same_value
from mixfast.readers.collect._runs import Piece
from mixfast.readers.results._contents import Measure


class Value(NamedTuple):
    """A measure of a run, and the file that holds it."""

    measure: Measure
    source: Results


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two files with different values of one metric of a run.

    Attributes
    ----------
    run, metric : str
    kept, dropped : float
    kept_from, dropped_from : str
        The newer file and the other one.
    """

    run: str
    metric: str
    kept: float
    dropped: float
    kept_from: str
    dropped_from: str


def merged(run: str, pieces: Sequence[Piece], *, at_step: bool = False) -> tuple[dict[Key, Value], list[Conflict]]:
    """Return the values of a run, and the conflicts; ``at_step`` says that the caller asked for one step, so values with a step are preferred."""
    if len(pieces) == 1:
        results = pieces[0].results
        return {key: Value(measure, results) for key, measure in results.measures.items()}, []
    values: dict[Key, Value] = {}
    conflicts: dict[Key, Conflict] = {}
    for piece in pieces:
        for key, measure in piece.results.measures.items():
            new = Value(measure, piece.results)
            old = values.get(key)
            if old is None:
                values[key] = new
                continue
            kept, dropped = (new, old) if _is_better(new, old, at_step) else (old, new)
            values[key] = kept
            is_void = _is_restart(kept, dropped) and not _is_restart(dropped, kept)
            if (
                not _is_final(new, old)
                and not _is_final(old, new)
                and _conflict(kept.measure, dropped.measure, is_void)
            ):
                conflicts[key] = Conflict(
                    run, key[0], kept.measure.value, dropped.measure.value, kept.source.where, dropped.source.where
                )
    return values, list(conflicts.values())


def _conflict(one: Measure, other: Measure, is_void: bool) -> bool:
    """Whether a value contradicts the dropped one: at the same step, or, if a restart made the dropped one void, at a later step."""
    steps_differ = one.step is not None and other.step is not None and one.step != other.step
    is_later = one.step is not None and other.step is not None and other.step > one.step
    missing = one.value != one.value or other.value != other.value
    return (not steps_differ or (is_void and is_later)) and not missing and not same_value(one.value, other.value)


def _is_final(one: Value, other: Value) -> bool:
    """Return whether a value is from the end of training: its file has no step, and another of its format in the same folder has one."""
    return (
        one.measure.step is None
        and other.measure.step is not None
        and one.source.form == other.source.form
        and one.source.found.parts[:-1] == other.source.found.parts[:-1]
    )


def _is_restart(one: Value, other: Value) -> bool:
    """Whether a file of TensorBoard is of a later start of the run, which was before the step of the other value: that one is void then."""
    first, second = one.source, other.source
    steps = [step for _, step in first.early]
    return (
        first.form == second.form == "tensorboard"
        and first.found.parts[:-1] == second.found.parts[:-1]
        and first.written > second.written > ""
        and other.measure.step is not None
        and bool(steps)
        and min(steps) <= other.measure.step
    )


def _is_better(new: Value, old: Value, at_step: bool) -> bool:
    """Return whether a value replaces another one of the same run and metric."""
    one, other = new.measure, old.measure
    if one.step is not None and other.step is not None and one.step != other.step:
        if _is_restart(new, old) or _is_restart(old, new):
            return _is_restart(new, old)
        return one.step > other.step
    if (one.value != one.value) != (other.value != other.value):
        return one.value == one.value
    if _is_final(new, old) or _is_final(old, new):
        return _is_final(new, old) is not at_step
    # Of equal values, the one with more details.
    if same_value(one.value, other.value):
        return (one.step is not None, one.stderr is not None, one.n is not None) > (
            other.step is not None,
            other.stderr is not None,
            other.n is not None,
        )
    return is_newer(new.source, old.source)


def is_newer(one: Results, other: Results) -> bool:
    """Return whether a file is newer: by the date in it, then by the date in its name, which may have more digits, then by its last change."""
    if one.form == other.form and one.written and other.written and one.written != other.written:
        return one.written > other.written
    if one.date and other.date and one.date != other.date:
        return one.date > other.date
    return one.found.changed > other.found.changed
