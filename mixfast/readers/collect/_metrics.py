"""metrics: collect the metrics of runs from the files that evaluations and trackers write."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import counted, listing, places
from mixfast._text.progress import working
from mixfast.readers.collect import _checks as checks
from mixfast.readers.collect._collected import Collected
from mixfast.readers.collect._domain_columns import columns_of, prefixed, with_domain_names
from mixfast.readers.collect._found import Search, roots_of
from mixfast.readers.collect._judged import Directions, directions, diverged, pick
from mixfast.readers.collect._merged import Conflict, Value, merged
from mixfast.readers.collect._read import Key, Reader, Results
from mixfast.readers.collect._report import CollectReport
from mixfast.readers.collect._runs import Grouping, folder_of, grouped
from mixfast.readers.results._contents import ResultsError, Wanted
from mixfast.readers.results._formats import FORMATS as RESULTS

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Mapping[str, object]
Names = str | Iterable[str]


def metrics(
    paths: Paths,
    *,
    format: str | None = None,
    id: str | None = None,
    metric: Names | None = None,
    ignore: Names = (),
    more: Names = (),
    less: Names = (),
    samples: bool = False,
    step: int | None = None,
    domains: Names | None = None,
) -> Collected:
    """Collect the metrics of runs from the files that evaluations and trackers write.

    Parameters
    ----------
    paths : path, sequence of paths, or mapping of run to path
        Files, folders, or patterns with ``*``. Each of several folders is one run, with all files of known names below it, at any depth. One
        folder without such files of its own holds one run in each sub-folder. A table of several runs names its runs itself. A mapping gives
        the path or paths of each run, or the results that ``lm_eval.simple_evaluate`` returned for it.
    format : str, optional
        The format of all files. By default it is recognised by the content of each file.
    id : str, optional
        How runs are named: by a pattern of paths, such as ``"evals/{run}/*"``, or by the name of a field of the files, such as ``"model_name"``,
        or of a column of a table. Default: the part in which the paths differ.
    metric : str or collection of str, optional
        Metrics to keep, by name or by pattern with ``*``. A metric that is left out by default is kept if its exact name is given, or a pattern
        that matches no other metric.
    ignore : str or collection of str, optional
        Metrics to leave out, by name or by pattern.
    more, less : str or collection of str, optional
        Metrics for which more, or less, is better, by name or by pattern. By default the file decides, or else the name of the metric.
    samples : bool, default False
        Whether to read the sample files of lm-evaluation-harness and compute bits per byte of multiple choice.
    step : int, optional
        The training step whose values are taken. Default: the last step at which a run has a value of the metric.
    domains : str or collection of str, optional
        Columns of a table that hold the shares of domains, by name or by pattern; ``mix.{domain}`` also leaves ``mix.`` out of their names.

    Returns
    -------
    Collected
        The metrics, without aggregates (which repeat their parts), moving averages, text, and the bookkeeping of trackers. If files of one
        folder give different values of a metric, the newest counts: by the date in the file, else in its name, else of its last change. Files
        that cannot be read are left out. The report lists all of this.

    Raises
    ------
    ResultsError
        If no metric is found, a path does not exist, or a name or pattern matches nothing.

    Notes
    -----
    Files that contradict each other are not merged into one run. Two files contradict each other if they name different models, or if they
    give different values of a metric at one step and are not versions of one file with different dates. Then the folders one level below are
    taken as the runs, or the run is left out and the report says why. A file or folder that links reach twice is read once. Sub-folders
    whose names begin with a dot are not read. ``benchmarks/test_collect.py`` measures the time for 300 and 1000 runs. Files are read one
    after another, and each value takes about 1 kB of memory.

    Examples
    --------
    >>> results = {
    ...     "a": {"results": {"arc": {"acc,none": 0.31}}, "higher_is_better": {"arc": {"acc": True}}},
    ...     "b": {"results": {"arc": {"acc,none": 0.35}}, "higher_is_better": {"arc": {"acc": True}}},
    ... }
    >>> collected = metrics(results)
    >>> collected.wide(), collected.directions
    ({'run': ['a', 'b'], 'arc/acc,none': [0.31, 0.35]}, {'arc/acc,none': 'max'})
    """
    is_pattern = id is not None and "{run}" in id
    wanted = Wanted(samples, columns_of(_several(domains)), "" if id is None or is_pattern else id)
    reader = Reader(format, wanted, step=step, left_out=metric is not None)
    state = _read_all(paths, reader, id)
    mixtures = with_domain_names(_mixtures(state), _several(domains))
    kept, left_out = _selected(state.table, metric, ignore)
    if not kept:
        raise ResultsError(_nothing(state, reader, left_out))
    return _built(state, reader, kept, left_out, mixtures, more, less)


@dataclass
class _State:
    """What was read: the values of each run by the names of metrics, and what was left out so far."""

    groups: Grouping
    table: dict[str, dict[str, Value]]
    skipped: list[tuple[str, str]]
    conflicts: list[Conflict] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    files: int = 0
    seen: int = 0
    lacking: tuple[str, ...] = ()
    several: bool = False


@dataclass(frozen=True)
class _Kept:
    """The wide table: values (R, J) of runs and metrics, NaN for missing ones."""

    runs: tuple[str, ...]
    metrics: tuple[str, ...]
    values: NDArray[np.float64]


def _read_all(paths: Paths, reader: Reader, id: str | None) -> _State:
    roots = roots_of(paths)
    search = Search(reader.searched())
    skipped: list[tuple[str, str]] = []
    files: list[Results] = []
    formats: Counter[str] = Counter()
    with working("finding results"):
        found = list(search.files(roots))
    with working("reading results", len(found), "file") as work:
        for one in found:
            try:
                results = reader.read(one)
            except ResultsError as problem:
                skipped.append((str(one.path), str(problem)))
            else:
                formats.update(result.form for result in results[:1])
                files += results
            work.advance()
    groups = grouped(files, id, len(roots))
    state = _State(
        groups, {}, [*search.skipped, *skipped, *groups.refused], formats=formats, files=len(found), seen=search.seen
    )
    values: dict[str, dict[Key, Value]] = {}
    for run, pieces in groups.runs.items():
        values[run], conflicts = merged(run, pieces, at_step=reader.step is not None)
        state.conflicts += conflicts
    state.table = _renamed(values)
    state.several = len(roots) > 1
    state.lacking = search.without_results(roots, found)
    return state


def _built(
    state: _State,
    reader: Reader,
    kept: Sequence[str],
    left_out: dict[str, tuple[str, ...]],
    mixtures: Mapping[str, Mapping[str, float]],
    more: Names,
    less: Names,
) -> Collected:
    wanted = set(kept)
    runs = tuple(run for run, row in state.table.items() if not wanted.isdisjoint(row))
    entries = [(run, name, state.table[run][name]) for run in runs for name in kept if name in state.table[run]]
    value = np.array([one.measure.value for _, _, one in entries], dtype=np.float64)
    infinite = [f"{run} {name}" for (run, name, _), cell in zip(entries, value, strict=True) if np.isinf(cell)]
    value[np.isinf(value)] = np.nan
    rows, columns = (places(names) for names in (runs, kept))
    matrix = np.full((len(runs), len(kept)), np.nan)
    matrix[[rows[run] for run, _, _ in entries], [columns[name] for _, name, _ in entries]] = value
    table = _Kept(runs, tuple(kept), matrix)
    ways = _directions(state, kept, matrix, more, less)
    far = {runs[row]: score for row, score in diverged(matrix, [ways.ways.get(name) for name in kept])}
    notes = [
        *state.groups.notes,
        *(f"{note}: {listing(files, limit=3)}" for note, files in reader.notes.items()),
        *([f"infinite values, taken as missing: {listing(infinite)}"] if infinite else []),
        *_comparable(state, table, mixtures),
        *ways.notes,
    ]
    return Collected(
        run=tuple(run for run, _, _ in entries),
        metric=tuple(name for _, name, _ in entries),
        value=value,
        stderr=np.array([_or_nan(one.measure.stderr) for _, _, one in entries], dtype=np.float64),
        n=tuple(one.measure.n for _, _, one in entries),
        unit=tuple(ways.units.get(name, "") for _, name, _ in entries),
        direction=tuple(ways.ways.get(name, "") for _, name, _ in entries),
        step=tuple(one.measure.step for _, _, one in entries),
        source=tuple(one.source.where for _, _, one in entries),
        mark=tuple("diverged" if run in far else "" for run, _, _ in entries),
        runs=runs,
        metrics=table.metrics,
        directions=ways.ways,
        units=ways.units,
        mixtures=mixtures,
        folders={run: str(folder_of(state.groups.runs[run])) for run in runs},
        report=_report(state, reader, table, left_out, mixtures, ways, far, notes),
    )


def _comparable(state: _State, table: _Kept, mixtures: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return lines on values that may not be comparable, and on names that need care."""
    kept, runs, values = table.metrics, table.runs, table.values
    return [
        *checks.unread(kept),
        *checks.halves(state.table, kept, several=state.several),
        *checks.steps(state.table, kept),
        *checks.sizes(state.table, kept),
        *prefixed(mixtures),
        *checks.copies(values, runs),
        *checks.twins(values, kept),
        *checks.models(state.groups.runs),
    ]


def _report(
    state: _State,
    reader: Reader,
    table: _Kept,
    left_out: Mapping[str, tuple[str, ...]],
    mixtures: Mapping[str, Mapping[str, float]],
    ways: Directions,
    far: Mapping[str, float],
    notes: Sequence[str],
) -> CollectReport:
    wanted, known = set(table.metrics), set(table.runs)
    lacking = np.isnan(table.values)
    reasons = {why: tuple(name for name in names if name not in wanted) for why, names in reader.left_out.items()}
    reasons |= {"text": tuple(reader.text), "bookkeeping": tuple(reader.bookkeeping), **left_out}
    return CollectReport(
        runs=len(table.runs),
        metrics=len(table.metrics),
        files=state.files,
        formats=dict(state.formats),
        skipped=tuple(state.skipped),
        without_results=state.lacking,
        without_metrics=tuple(run for run in state.table if run not in known),
        left_out={why: names for why, names in reasons.items() if names},
        conflicts=tuple(one for one in state.conflicts if one.metric in wanted),
        missing={
            name: tuple(table.runs[row] for row in np.flatnonzero(lacking[:, at]).tolist())
            for at, name in enumerate(table.metrics)
            if lacking[:, at].any()
        },
        repeats=tuple(checks.repeats(mixtures)),
        diverged=dict(far),
        unknown=tuple(ways.unknown),
        directions=dict(ways.ways),
        told_by=dict(ways.by),
        doubted=dict(ways.doubted),
        notes=tuple(notes),
    )


def _directions(
    state: _State, kept: Sequence[str], matrix: NDArray[np.float64], more: Names, less: Names
) -> Directions:
    told: dict[str, set[str]] = {name: set() for name in kept}
    units: dict[str, set[str]] = {name: set() for name in kept}
    for row in state.table.values():
        for name, one in row.items():
            if name in told:
                told[name] |= {one.measure.direction} if one.measure.direction else set()
                units[name] |= {one.measure.unit} if one.measure.unit else set()
    return directions(kept, told, units, matrix, _several(more), _several(less))


def _mixtures(state: _State) -> dict[str, Mapping[str, float]]:
    """Return the mixtures that the files of results hold."""
    out: dict[str, Mapping[str, float]] = {}
    for run, pieces in state.groups.runs.items():
        found = [piece.results for piece in pieces if piece.results.mixture]
        if found and any(dict(one.mixture) != dict(found[0].mixture) for one in found[1:]):
            state.skipped.append((run, f"its mixture differs between {listing((one.where for one in found), limit=2)}"))
        elif found:
            out[run] = found[0].mixture
    return out


def _or_nan(number: float | None) -> float:
    return float("nan") if number is None else number


def _several(given: Names | None) -> tuple[str, ...]:
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)


def _renamed(values: Mapping[str, Mapping[Key, Value]]) -> dict[str, dict[str, Value]]:
    """Return the values by name; a metric that was measured with several settings gets one name for each setting."""
    settings: dict[str, set[str]] = {}
    for row in values.values():
        for name, apart in row:
            settings.setdefault(name, set()).add(apart)
    return {
        run: {(apart or name) if len(settings[name]) > 1 else name: one for (name, apart), one in row.items()}
        for run, row in values.items()
    }


def _selected(
    table: Mapping[str, Mapping[str, Value]], metric: Names | None, ignore: Names
) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Return the metrics to keep, and those left out on request or because they have no value."""
    plain: dict[str, bool] = {}
    others: dict[str, bool] = {}
    for row in table.values():
        for name, one in row.items():
            names = others if one.measure.left_out else plain
            names[name] = names.get(name, False) or math.isfinite(one.measure.value)
    known = [*plain, *(name for name in others if name not in plain)]
    kept = list(plain)
    if metric is not None:
        kept = list(dict.fromkeys(name for one in _several(metric) for name in pick(kept, one, known, "metric")))
    ignored = {name for one in _several(ignore) for name in pick(known, one, known, "ignore")}
    empty = [name for name in kept if name not in ignored and not (plain.get(name) or others.get(name))]
    out = {"on request": tuple(name for name in kept if name in ignored), "no run has a value": tuple(empty)}
    kept = [name for name in kept if name not in ignored and name not in set(empty)]
    # Versions of a tool give one name to several quantities, such as log-likelihoods and bits per byte.
    out["its unit differs between files"] = tuple(name for name in kept if len(_units(table, name)) > 1)
    kept = [name for name in kept if name not in set(out["its unit differs between files"])]
    return kept, {why: names for why, names in out.items() if names}


def _units(table: Mapping[str, Mapping[str, Value]], name: str) -> set[str]:
    found = (row[name].measure.unit for row in table.values() if name in row)
    return {unit for unit in found if unit is not None}


def _nothing(state: _State, reader: Reader, left_out: Mapping[str, tuple[str, ...]]) -> str:
    """Return the message that there are no metrics: what was found, and which formats are read."""
    if state.groups.refused and not state.groups.runs:
        (where, why), *others = state.groups.refused
        more = f" (and {len(others)} more are left out)" if others else ""
        return f"no run was collected: {where}: {why}{more}"
    reasons = {**{why: tuple(names) for why, names in reader.left_out.items()}, **left_out}
    parts = [f"no metrics were collected from {counted(state.files, 'file')}"]
    if state.seen:
        parts[0] += f" with known names, of {state.seen} that were looked at"
    parts += [f"left out, {why}: {listing(names, limit=3)}" for why, names in reasons.items()]
    parts += list(reader.notes)[:3]
    if state.skipped:
        # Not shortened: paths must be readable to their end.
        shown = "; ".join(f"{where}: {why}" for where, why in state.skipped[:3])
        parts.append(f"not read: {shown}{f' and {len(state.skipped) - 3} more' if len(state.skipped) > 3 else ''}")
    known = "; ".join(f"{form.name} ({', '.join(form.files) or 'files given by name'})" for form in RESULTS.values())
    return f"{'; '.join(parts)}; the formats that are read, with the names of their files: {known}"
