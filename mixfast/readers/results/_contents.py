"""What a format returns: the numbers of one file, and what was left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mixfast.errors import MixfastError
from mixfast.readers.results._source import Source


class ResultsError(MixfastError, ValueError):
    """A file of results cannot be read, or is in no known format; the message names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number that a file holds.

    Attributes
    ----------
    metric : str
        Name of the metric in the table: ``task/metric,filter`` for lm-evaluation-harness, else the key of the file.
    value : float
        NaN if the file has the metric without a value ("N/A", null, NaN).
    run : str
        The run, if the file holds several; empty otherwise.
    stderr : float or None
    n : int or None
        Number of examples on which the metric was measured.
    unit, direction : str or None
        As the file says or its format defines; a direction is "min" or "max". None if neither does: then the name decides.
    step : int or None
        Training step of the value. Files with a history return every step.
    left_out : str
        Why the measure is left out by default, such as "aggregate of mmlu" or "moving average of the weights"; empty for a metric to keep.
        The caller can ask for such a measure by its exact name.
    told_apart : str
        The name to use if other files measured this metric with other settings, such as ``arc_easy|5/acc,none`` with 5 examples in the
        prompt; empty if the format has no such settings.
    version : str
        Version of the task; empty if the file does not tell. The report lists differing versions, because their values may not be comparable.
    """

    metric: str
    value: float
    run: str = ""
    stderr: float | None = None
    n: int | None = None
    unit: str | None = None
    direction: str | None = None
    step: int | None = None
    left_out: str = ""
    told_apart: str = ""
    version: str = ""


@dataclass(frozen=True)
class Contents:
    """The content of one file.

    Attributes
    ----------
    measures : sequence of Measure
    mixtures : mapping of str to mapping of str to float
        Shares by domain for each run, if the file holds mixtures; the key is empty for a file of one run.
    fields : mapping of str to str
        Fields of the file that may name its run, such as ``model_name``; for ``id``.
    written : str
        When the results were written, as sortable text; empty if the file does not tell. The newest file is used.
    text : tuple of str
        Columns and keys that hold no numbers.
    bookkeeping : tuple of str
        Columns and keys that are known not to be metrics: steps, times, seeds, learning rates.
    notes : tuple of str
        What a user must know about this file; the text does not name the file.
    """

    measures: Sequence[Measure]
    mixtures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    written: str = ""
    text: tuple[str, ...] = ()
    bookkeeping: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What the caller asks of a format.

    Attributes
    ----------
    samples : bool
        Whether files of samples are read, to compute bits per byte of multiple choice.
    domains : tuple of str
        Patterns of the columns with shares, for tables that hold mixtures and metrics.
    id : str
        Name of the column or field with the ids of runs; empty for the usual names.
    """

    samples: bool = False
    domains: tuple[str, ...] = ()
    id: str = ""


@dataclass(frozen=True)
class Format:
    """A format of results.

    Attributes
    ----------
    name : str
        The value of ``format=`` and ``--format``.
    looks : str
        What its files contain, for messages.
    files : tuple of str
        Patterns of the names under which its files are looked for in folders, relative to any folder.
    fits : callable
        Return whether a `Source` has this format. It must read no more than what the `Source` has already read, or one line.
    read : callable
        Return the `Contents` of a `Source`. It raises ResultsError with a message that does not name the file.
    samples : bool
        Whether its files hold samples, which are read only if the caller asks for them.
    """

    name: str
    looks: str
    files: tuple[str, ...]
    fits: Callable[[Source], bool]
    read: Callable[[Source, Wanted], Contents]
    samples: bool = False
