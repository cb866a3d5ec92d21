"""Read one file of results: recognise its format, and keep the last value of each metric."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from mixfast._text.audience import either
from mixfast._text.names import listing, one_of
from mixfast.readers.collect._found import Found
from mixfast.readers.results._contents import Contents, Format, Measure, ResultsError, Wanted
from mixfast.readers.results._formats import FORMATS
from mixfast.readers.results._source import Source

# Numbers of metrics and steps whose histories are kept, to find out whether two files are from one run.
_COMPARED, _STEPS_COMPARED = 4, 64
_STEP = re.compile(
    r"(?:^|[^a-z])(?:global_?)?(?:step|checkpoint|ckpt|iteration|iter(?=_\d{7}))s?[-_=]?(\d+)(?![\d.]*[a-z])",
    re.IGNORECASE,
)
_DATE = re.compile(r"(?:19|20)\d\d-?[01]\d-?[0-3]\d(?:[T_-]?[0-2]\d[-:]?[0-5]\d(?:[-:]?[0-5]\d(?:\.\d+)?)?)?")
# Fields that name the evaluated model.
_MODEL = ("model_name", "model", "run_name", "run_id")

# A metric, and the name to use if files measured it with different settings.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Results:
    """The content of one file about one run.

    Attributes
    ----------
    found : Found
    form : str
        The format.
    run : str
        The run, if the file names it; empty otherwise.
    measures : dict of (str, str) to Measure
        The value of each metric at the last step, or at the step that was asked for.
    early : dict of (str, int) to float
        Values of a few metrics by step, to compare files.
    mixture : mapping of str to float
        Empty if the file has none.
    fields : mapping of str to str
    written : str
    """

    found: Found
    form: str
    run: str
    measures: dict[Key, Measure]
    early: Mapping[tuple[str, int], float] = field(default_factory=dict)
    mixture: Mapping[str, float] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    written: str = ""

    @property
    def model(self) -> str:
        """The model that the file names, without a training step; empty if it names none."""
        return _STEP.sub("", next((self.fields[name] for name in _MODEL if self.fields.get(name)), ""))

    @property
    def where(self) -> str:
        """The path, for messages."""
        return str(self.found.path)

    @property
    def date(self) -> str:
        """The digits of the date in the name of the file; empty if it has none."""
        told = _DATE.search(self.found.path.name)
        return re.sub(r"\D", "", told[0]) if told else ""


def stem_of(name: str) -> str:
    """Return the name of a file without its endings, a date and a training step.

    >>> stem_of("results_2026-11-02T10-11-12.123456.json"), stem_of("metrics_step1000.json"), stem_of("run1.json.gz")
    ('results', 'metrics', 'run1')

    Each start of a run writes an event file of TensorBoard with a time, a host and a process of its own.

    >>> stem_of("events.out.tfevents.1764000000.host.71.0")
    'events.out.tfevents'
    """
    if (found := name.find("tfevents")) >= 0:
        return name[: found + len("tfevents")]
    plain = re.sub(r"\.(?:gz|zst|jsonl?|ndjson|csv|tsv|parquet)\b", "", name)
    return bare(plain) or plain


def bare(name: str) -> str:
    """Return a name without a date and a training step; empty if it is nothing else."""
    return _STEP.sub("", _DATE.sub("", name)).strip("-_. ")


def is_step(name: str) -> bool:
    """Return whether the name of a folder is only a training step, such as checkpoint-100 or step500."""
    return not _STEP.sub("", name).strip("-_. ")


class Reader:
    """Reads files of results in known formats.

    Attributes
    ----------
    notes : dict of str to list of str
        Remarks, each with the paths of the files that it concerns.
    text, bookkeeping : dict of str to None
        Columns and keys that are no metrics.
    """

    def __init__(self, form: str | None, wanted: Wanted, *, step: int | None, left_out: bool) -> None:
        if form is not None and form not in FORMATS:
            raise ResultsError(f"format {one_of(form, FORMATS)}")
        self.formats = [FORMATS[form]] if form is not None else list(FORMATS.values())
        self._forced = form is not None
        # A caller who asks for a format of samples wants samples.
        self._wanted = replace(wanted, samples=wanted.samples or (self._forced and self.formats[0].samples))
        self.step, self._left_out = step, left_out
        self.notes: dict[str, list[str]] = {}
        self.text: dict[str, None] = {}
        self.bookkeeping: dict[str, None] = {}
        self.left_out: dict[str, dict[str, None]] = {}

    def searched(self) -> list[Format]:
        """Return the formats whose files are looked for in folders."""
        return [form for form in self.formats if self._wanted.samples or not form.samples]

    def read(self, found: Found) -> list[Results]:
        """Return the results of a file, one for each run.

        Raises
        ------
        ResultsError
            If it cannot be read, or is in no known format; the message does not name the file.
        """
        source = Source(found.path, found.document)
        form = self._format_of(source)
        try:
            if form.samples and not self._wanted.samples:
                raise ResultsError(f"{form.looks}; they are read with {either('samples=True', '--samples')}")
            contents = form.read(source, self._wanted)
            return self._results(found, form.name, contents, source.notes)
        except ResultsError:
            raise
        except (OSError, EOFError, ValueError) as problem:
            raise ResultsError(_said(problem)) from problem
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError) as problem:
            # One file with unexpected content must not end the collection.
            raise ResultsError(
                f"unexpected content for the format {form.name}: {type(problem).__name__}: {_said(problem)}"
            ) from problem

    def _format_of(self, source: Source) -> Format:
        if self._forced:
            return self.formats[0]
        named = [form for form in self.formats if _names(form, source)]
        try:
            for form in [*named, *(form for form in self.formats if form not in named)]:
                if form.fits(source):
                    return form
            raise ResultsError(f"in no known format{_seen(source)}")
        except ResultsError:
            raise
        except (OSError, EOFError, ValueError, RecursionError) as problem:
            raise ResultsError(_said(problem)) from problem
        except (ArithmeticError, AttributeError, LookupError, TypeError) as problem:
            raise ResultsError(f"in no known format: {type(problem).__name__}: {_said(problem)}") from problem

    def _results(self, found: Found, form: str, contents: Contents, notes: Sequence[str]) -> list[Results]:
        for note in (*contents.notes, *notes):
            self.notes.setdefault(note, []).append(str(found.path))
        self.text.update(dict.fromkeys(contents.text))
        self.bookkeeping.update(dict.fromkeys(contents.bookkeeping))
        runs: dict[str, dict[Key, Measure]] = {run: {} for run in contents.mixtures}
        early: dict[str, dict[tuple[str, int], float]] = {}
        followed: dict[str, set[str]] = {}
        twice: dict[str, None] = {}
        told = None if contents.mixtures else _step_of(found, contents.fields)
        stepless = False
        for one in contents.measures:
            if one.left_out:
                self.left_out.setdefault(one.left_out, {})[one.metric] = None
                if not self._left_out:
                    continue
            if one.step is None and told is not None:
                one = replace(one, step=told)
            kept = runs.setdefault(one.run, {})
            if one.step is not None and not one.left_out:
                names = followed.setdefault(one.run, set())
                if one.metric in names or len(names) < _COMPARED:
                    names.add(one.metric)
                    steps = early.setdefault(one.run, {})
                    if len(steps) < _COMPARED * _STEPS_COMPARED:
                        steps[one.metric, one.step] = one.value
            if self.step is not None and one.step != self.step:
                if one.step is not None:
                    continue
                stepless = True
            key = (one.metric, one.told_apart)
            before = kept.get(key)
            if before is not None and before.step == one.step and not same_value(before.value, one.value):
                twice.setdefault(one.metric)
            if before is None or before.step is None or (one.step is not None and one.step >= before.step):
                kept[key] = one
        if twice:
            note = f"several values in one file, the last is used: {listing(twice, limit=3)}"
            self.notes.setdefault(note, []).append(str(found.path))
        if stepless:
            note = f"the training step is not known, so the values are kept although step {self.step} was asked for"
            self.notes.setdefault(note, []).append(str(found.path))
        return [
            Results(
                found,
                form,
                run,
                kept,
                early.get(run, {}),
                contents.mixtures.get(run, {}),
                contents.fields,
                contents.written,
            )
            for run, kept in runs.items()
        ]


def same_value(one: float, other: float) -> bool:
    """Return whether two numbers are equal to a relative 1e-6, about the precision of float32, or both are missing."""
    return one == other or (one != one and other != other) or math.isclose(one, other, rel_tol=1e-6)


def _names(form: Format, source: Source) -> bool:
    return any(fnmatchcase(source.name, pattern.rpartition("/")[2]) for pattern in form.files)


def _step_of(found: Found, fields: Mapping[str, str]) -> int | None:
    """Return the training step in the path of the file or in the name of the model; None if there is none."""
    named = next((fields[name] for name in _MODEL if fields.get(name)), "")
    for text in (*reversed(found.parts[found.base :]), *reversed(named.split("/"))):
        if told := _STEP.findall(text):
            return int(told[-1])
    return None


def _said(problem: BaseException) -> str:
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    # Messages of tables begin with the name of the file, which the report names already.
    return (
        re.sub(r"^results file .*?(?=: | (?:is|has|holds) )", "the table", str(problem), flags=re.DOTALL)
        or type(problem).__name__
    )


def _seen(source: Source) -> str:
    """Return what a file holds, for the message that it is in no known format."""
    if source.kind == "json":
        document = source.document
        if isinstance(document, Mapping):
            return f": JSON with the keys {listing(document, limit=5)}"
        return f": JSON that is a {'list' if isinstance(document, list) else type(document).__name__}"
    if source.kind == "jsonl":
        first = next((line for _, line in source.lines()), None)
        return (
            f": lines of JSON with the keys {listing(first, limit=5)}"
            if isinstance(first, Mapping)
            else ": lines of JSON"
        )
    if source.kind == "table":
        return f": a table with the columns {listing(source.columns, limit=5)}"
    return {"events": ": events of TensorBoard", "empty": ": the file is empty"}.get(source.kind, "")
