"""Find collected values that may not be comparable: different steps, numbers of examples or versions, and copies of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mixfast._text.audience import either
from mixfast._text.names import counted, listing, shown
from mixfast._text.visible import quote
from mixfast.readers.collect._merged import Value
from mixfast.readers.collect._patterns import covering
from mixfast.readers.collect._runs import Piece
from mixfast.swarm import is_bookkeeping, is_by_product

Table = Mapping[str, Mapping[str, Value]]

# Fewer equal metrics may be a coincidence: accuracies take few values.
_COPIED = 3


def unread(names: Sequence[str]) -> list[str]:
    """Return a line on metrics that `fit` will leave out when it reads the csv file, because of their names."""
    lost = [name for name in names if is_bookkeeping(name) or is_by_product(name, names)]
    if not lost:
        return []
    how = either("metric_names=[NAME]", "--metric NAME")
    return [
        f"metrics named like columns of a tracker, which are read from a csv file only if asked for ({how}): {listing(lost)}"
    ]


def steps(table: Table, names: Sequence[str]) -> list[str]:
    """Return a line on runs that end at another step than most, and one on metrics that end before the last step of a run."""
    last: dict[str, int] = {}
    behind: dict[str, set[str]] = {}
    for run, row in table.items():
        found = {name: step for name in names if name in row and (step := row[name].measure.step) is not None}
        if found:
            last[run] = max(found.values())
            for name, step in found.items():
                if step < last[run]:
                    behind.setdefault(name, set()).add(run)
    lines = []
    if len(set(last.values())) > 1:
        common = _commonest(last.values())
        how = either(
            "step=N takes one step of all runs, and Swarm.subset leaves runs out",
            "--step N takes one step of all runs, and mixfast fit --without RUN leaves a run out",
        )
        others = [f"{run} ({step})" for run, step in last.items() if step != common]
        lines.append(
            f"runs end at different steps, most at {common}: {listing(others)}; values of different steps are not comparable: {how}"
        )
    if behind:
        shown_names = (f"{name} ({counted(len(runs), 'run')})" for name, runs in behind.items())
        lines.append(
            f"metrics without a value at the last step of the run, whose last value is used: {listing(shown_names)}"
        )
    return lines


def sizes(table: Table, names: Sequence[str]) -> list[str]:
    """Return lines on metrics whose number of examples or task version differs between runs."""
    lines = []
    for what, field in (("numbers of examples", "n"), ("versions of the task", "version")):
        odd: dict[str, dict[str, object]] = {}
        for name in names:
            told = {
                run: value
                for run, row in table.items()
                if name in row and (value := getattr(row[name].measure, field)) not in (None, "")
            }
            if len(set(told.values())) > 1:
                common = _commonest(told.values())
                odd[name] = {run: value for run, value in told.items() if value != common}
        if odd:
            first, runs = next(iter(odd.items()))
            which = listing((f"{run} ({value})" for run, value in runs.items()), limit=3)
            lines.append(
                f"{what} differ between runs: {counted(len(odd), 'metric')}, {listing(odd, limit=3)}; {first} in {which}"
            )
    return lines


def copies(values: NDArray[np.float64], runs: Sequence[str]) -> list[str]:
    """Return a line for each group of runs with the same values (R, J) of all metrics."""
    groups: dict[bytes, list[str]] = {}
    for run, row in zip(runs, values, strict=True):
        if np.count_nonzero(~np.isnan(row)) >= _COPIED:
            groups.setdefault(row.tobytes(), []).append(run)
    several = [group for group in groups.values() if len(group) > 1]
    return [
        f"all metrics have the same values, so one run may be a copy of another: runs {listing(group)}"
        for group in several[:3]
    ] + ([f"and {len(several) - 3} more such groups"] if len(several) > 3 else [])


def halves(table: Table, names: Sequence[str], *, several: bool) -> list[str]:
    """Return a line on runs of one name in several folders without a common metric: they may be one run.

    ``several`` says whether several folders were given, so that names begin with a given folder.
    """
    groups: dict[str, list[str]] = {}
    for run in table:
        name = run.partition("/")[2]
        if name and "/" not in name:
            groups.setdefault(name, []).append(run)
    wanted = set(names)
    apart = []
    for runs in groups.values():
        found = [wanted.intersection(table[run]) for run in runs]
        if len(runs) > 1 and all(found) and len(set().union(*found)) == sum(map(len, found)):
            apart.append(runs)
    if not apart:
        return []
    pattern = "{run}/*" if several else "*/{run}/*"
    how = either(f"id={pattern!r}", f"--id {quote(pattern)}")
    return [
        f"runs {listing(apart[0])} have no metric in common, as if they were one run in several folders ({counted(len(apart), 'such name')}): {how} "
        "joins them"
    ]


def twins(values: NDArray[np.float64], names: Sequence[str]) -> list[str]:
    """Return a line on metrics with the same values (R, J) as another one in all runs, such as acc and acc_norm of answers of one length."""
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    # Event files of TensorBoard have float32, other files of the same run float64.
    with np.errstate(over="ignore"):
        rounded = values.T.astype(np.float32)
    for name, column in zip(names, rounded, strict=True):
        known = column[~np.isnan(column)]
        if len(set(known.tolist())) >= _COPIED:
            other = first.setdefault(column.tobytes(), name)
            if other != name:
                same[name] = other
    if not same:
        return []
    patterns = covering(list(same), set(names) - set(same))
    how = either(
        f"ignore={patterns[:_COPIED]}", " ".join(f"--ignore {quote(pattern)}" for pattern in patterns[:_COPIED])
    )
    pairs = listing((f"{name} repeats {other}" for name, other in same.items()), limit=1)
    return [
        f"equal in all runs, so that a task counts twice, {counted(len(same), 'metric')}: {pairs}; {how} leaves out repeats"
    ]


def models(groups: Mapping[str, Sequence[Piece]]) -> list[str]:
    """Return a line for each model that the files of several runs name, if the others name different ones."""
    of_run: dict[str, str] = {}
    for run, pieces in groups.items():
        if named := next((piece.results.model for piece in pieces if piece.results.model), ""):
            of_run[run] = named
    owners: dict[str, list[str]] = {}
    for run, named in of_run.items():
        owners.setdefault(named, []).append(run)
    if 2 * len(owners) <= len(of_run):
        return []
    return [
        f"runs {listing(several)} have results of one model, {shown(named)}"
        for named, several in list(owners.items())
        if len(several) > 1
    ][:3]


def repeats(mixtures: Mapping[str, Mapping[str, float]]) -> list[tuple[str, ...]]:
    """Return the groups of runs with one mixture."""
    groups: dict[tuple[tuple[str, float], ...], list[str]] = {}
    for run, mixture in mixtures.items():
        key = tuple(sorted((name, round(share, 9)) for name, share in mixture.items() if share))
        groups.setdefault(key, []).append(run)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _commonest(values: object) -> object:
    return Counter(values).most_common(1)[0][0]  # type: ignore[call-overload]
