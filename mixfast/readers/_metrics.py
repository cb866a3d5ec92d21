"""metrics: collect the metrics of runs from the files that evaluations and trackers write."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mixfast._text.names import counted, listing
from mixfast._text.progress import working
from mixfast.readers._collect_report import CollectReport
from mixfast.readers._collected import Collected
from mixfast.readers._results_found import Search, roots_of
from mixfast.readers._results_judged import chosen, directions, diverged
from mixfast.readers._results_merged import Conflict, Value, merged
from mixfast.readers._results_read import Key, Reader, Results
from mixfast.readers._results_runs import folder_of, grouped
from mixfast.readers.results._contents import ResultsError, Wanted
from mixfast.readers.results._formats import FORMATS as RESULTS

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Mapping[str, object]


def metrics(
    paths: Paths,
    *,
    format: str | None = None,
    id: str | None = None,
    metric: str | Iterable[str] | None = None,
    ignore: str | Iterable[str] = (),
    more: str | Iterable[str] = (),
    less: str | Iterable[str] = (),
    samples: bool = False,
    step: int | None = None,
    domains: str | Iterable[str] | None = None,
) -> Collected:
    """Collect the metrics of runs from the files that evaluations and trackers write."""
    is_pattern = id is not None and "{run}" in id
    wanted = Wanted(samples, _several(domains), "" if id is None or is_pattern else id)
    reader = Reader(format, wanted, step=step, left_out=metric is not None)
    roots = roots_of(paths)
    search = Search(reader.searched())
    skipped: list[tuple[str, str]] = []
    files: list[Results] = []
    formats: Counter[str] = Counter()
    with working("collecting"):
        found = list(search.files(roots))
    with working("reading results", len(found), "file") as work:
        for one in found:
            try:
                results = reader.read(one)
            except ResultsError as problem:
                skipped.append((str(one.path), str(problem)))
            else:
                formats[results[0].form if results else ""] += 1
                files += results
            work.advance()
    groups = grouped(files, id, len(roots))
    skipped = [*search.skipped, *skipped, *groups.refused]
    values: dict[str, dict[Key, Value]] = {}
    conflicts: list[Conflict] = []
    for run, pieces in groups.runs.items():
        values[run], found_conflicts = merged(run, pieces)
        conflicts += found_conflicts
    mixtures = {
        run: mixture
        for run, pieces in groups.runs.items()
        if (mixture := next((piece.results.mixture for piece in pieces if piece.results.mixture), {}))
    }
    table = _renamed(values)
    kept, left_out = _selected(table, metric, ignore)
    if not any(kept_one in row for row in table.values() for kept_one in kept):
        raise ResultsError(_nothing(skipped, len(found), search.seen))
    left_out = {**{why: tuple(names) for why, names in reader.left_out.items()}, **left_out}
    runs = tuple(run for run, row in table.items() if row or run in mixtures)
    matrix = np.full((len(runs), len(kept)), np.nan)
    for at, run in enumerate(runs):
        row = table[run]
        for column, name in enumerate(kept):
            if name in row and np.isfinite(row[name].measure.value):
                matrix[at, column] = row[name].measure.value
    told: dict[str, set[str]] = {}
    units: dict[str, set[str]] = {}
    for row in table.values():
        for name, one in row.items():
            if one.measure.direction:
                told.setdefault(name, set()).add(one.measure.direction)
            if one.measure.unit:
                units.setdefault(name, set()).add(one.measure.unit)
    ways = directions(kept, told, units, matrix, more, less)
    far = {runs[row]: score for row, score in diverged(matrix, [ways.ways.get(name) for name in kept])}
    entries = [(run, name, table[run][name]) for run in runs for name in kept if name in table[run]]
    lacking = np.isnan(matrix)
    report = CollectReport(
        runs=len(runs),
        metrics=len(kept),
        files=len(found),
        formats=dict(formats),
        skipped=tuple(skipped),
        without_results=search.without_results(roots, found),
        left_out=left_out,
        conflicts=tuple(one for one in conflicts),
        missing={
            name: tuple(runs[row] for row in np.flatnonzero(lacking[:, at]))
            for at, name in enumerate(kept)
            if lacking[:, at].any()
        },
        diverged=far,
        unknown=tuple(ways.unknown),
        told_by=ways.by,
        doubted=ways.doubted,
        notes=tuple(groups.notes),
    )
    return Collected(
        run=tuple(run for run, _, _ in entries),
        metric=tuple(name for _, name, _ in entries),
        value=np.array([one.measure.value if np.isfinite(one.measure.value) else np.nan for _, _, one in entries]),
        stderr=np.array([np.nan if one.measure.stderr is None else one.measure.stderr for _, _, one in entries]),
        n=tuple(one.measure.n for _, _, one in entries),
        unit=tuple(ways.units.get(name, "") for _, name, _ in entries),
        direction=tuple(ways.ways.get(name, "") for _, name, _ in entries),
        step=tuple(one.measure.step for _, _, one in entries),
        source=tuple(one.source.where for _, _, one in entries),
        mark=tuple("diverged" if run in far else "" for run, _, _ in entries),
        runs=runs,
        metrics=tuple(kept),
        directions=ways.ways,
        units=ways.units,
        mixtures=mixtures,
        folders={run: str(folder_of(pieces)) for run, pieces in groups.runs.items()},
        report=report,
    )


def _several(given: str | Iterable[str] | None) -> tuple[str, ...]:
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)


def _renamed(values: Mapping[str, Mapping[Key, Value]]) -> dict[str, dict[str, Value]]:
    """Return the values by name; a metric that was measured with several settings has a name for each."""
    settings: dict[str, set[str]] = {}
    for row in values.values():
        for name, apart in row:
            settings.setdefault(name, set()).add(apart)
    return {
        run: {(apart or name) if len(settings[name]) > 1 else name: one for (name, apart), one in row.items()}
        for run, row in values.items()
    }


def _selected(
    table: Mapping[str, Mapping[str, Value]], metric: str | Iterable[str] | None, ignore: str | Iterable[str]
) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Return the metrics to keep, and those left out on request."""
    plain: dict[str, None] = {}
    others: dict[str, None] = {}
    for row in table.values():
        for name, one in row.items():
            (others if one.measure.left_out else plain)[name] = None
    others = {name: None for name in others if name not in plain}
    kept = list(plain)
    if metric is not None:
        kept = []
        for one in _several(metric):
            try:
                kept += chosen(list(plain), [one], "metric")
            except ResultsError:
                kept += chosen([*plain, *others], [one], "metric")
        kept = list(dict.fromkeys(kept))
    ignored = set(chosen([*plain, *others], _several(ignore), "ignore"))
    out = {"ignored": tuple(name for name in kept if name in ignored)}
    kept = [name for name in kept if name not in ignored]
    return kept, {why: names for why, names in out.items() if names}


def _nothing(skipped: Sequence[tuple[str, str]], files: int, seen: int) -> str:
    known = "; ".join(
        f"{form.name} ({form.looks}: {', '.join(form.files) or 'given by name'})" for form in RESULTS.values()
    )
    why = f"; skipped: {listing((f'{where}: {reason}' for where, reason in skipped), limit=3)}" if skipped else ""
    return f"no metrics were found in {counted(files, 'file')} with known names, of {seen} looked at{why}. Results are read in the formats: {known}"
