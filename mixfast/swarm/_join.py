"""Join two tables, of mixtures and of metrics, or split one with both: the arguments of a Swarm."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix
from mixfast._text.names import listing, misspelt, places, shown
from mixfast.errors import MixfastWarning
from mixfast.swarm._checks import SwarmError, run_id, run_ids, shares
from mixfast.swarm._columns import (
    BOOKKEEPING,
    CHOSEN,
    ID_NAMES,
    matching,
)
from mixfast.swarm._files import Raw, Source, read_csv
from mixfast.swarm._ids import id_columns, known_ids, refuse_other_ids
from mixfast.swarm._long import is_long, widened
from mixfast.swarm._misplaced import how_to_split, refuse_shares_as_metrics, refuse_swapped
from mixfast.swarm._table import Table
from mixfast.swarm._units import as_shares
from mixfast.swarm._which_columns import Columns, Unused, columns_of_domains, columns_of_metrics

_TRUTH = dict.fromkeys(["1", "1.0", "true", "t", "yes", "y"], True) | dict.fromkeys(
    ["0", "0.0", "false", "f", "no", "n", "", "nan", "na", "n/a", "#n/a", "<na>", "nat", "null", "none"], False
)
# Most ids, names and cells shown in one message.
_SHOWN = 3


@dataclass(frozen=True)
class Joined:
    """Two tables as the arguments of Swarm, and what was left out or changed."""

    arguments: dict[str, Any]
    dropped: tuple[tuple[str, str], ...]
    unused: dict[str, tuple[str, ...]]
    read: tuple[str, ...]
    directions: Mapping[str, str]
    units: Mapping[str, str]


def join(ratios: Raw, metrics: Raw | None, want: Columns) -> Joined:
    """Join two tables on the ids of their runs; columns that are not bookkeeping are domains and metrics.

    Without ``metrics``, or if both are the same table, the domains must be named; the other columns are the metrics. A long table of
    metrics is made wide first.
    """
    if is_long(ratios):
        raise SwarmError(
            f"{ratios.where} is a long table of metrics, with columns 'metric' and 'value'; give the table of mixtures first, and this one second"
        )
    long = widened(ratios if metrics is None else metrics, want.id)
    metrics = long.raw
    if metrics is ratios and want.domains is None:
        raise SwarmError(how_to_split(ratios, want.id))
    both = ratios.names if metrics is ratios else (*ratios.names, *metrics.names)
    left_out = set(matching(both, want.ignore, "ignore"))
    keys = id_columns(ratios, metrics, want.id)
    ids = {raw: run_ids(raw.cells(raw.places[key]), raw.where) for raw, key in keys.items()}
    if want.id is None and metrics is not ratios:
        refuse_other_ids(ratios, metrics, keys, ids)
    flag, special = _flag(want, ratios, both), set(keys.values())
    if want.chosen is None or isinstance(want.chosen, str):
        special.add(flag)
    if want.pools.column is not None:
        special.add(want.pools.column)
    unused = Unused()
    mixed = columns_of_domains(ratios, special, left_out, want, ids[ratios], unused)
    taken = {*special, *mixed.names} if metrics is ratios else special
    found = columns_of_metrics(metrics, taken, left_out, want, ids[metrics], unused, mixed.names)
    rows, dropped = _matched(ids, ratios, metrics, found.values)
    mixed, given = (
        as_shares(ratios, mixed, named=want.domains is not None, normalise=want.normalise),
        mixed.values[list(rows)],
    )
    here, there = mixed.values[list(rows)], found.values[list(rows.values())]
    kept = _with_values(metrics, found, there, want, unused)
    measured = tuple(found.names[column] for column in kept)
    there = there[:, kept]
    if not want.normalise:
        refuse_swapped(ratios, metrics, here, there)
    read = [*mixed.notes, *long.notes, *found.notes]
    if want.normalise:
        here, note = _normalised(here, ids[ratios], list(rows))
        read.append(note)
    refuse_shares_as_metrics(ratios, metrics, mixed.names, (given, here), measured, there)
    if len(set(keys.values())) > 1:
        read.append(
            f"runs joined by {shown(keys[ratios])} of {ratios.where} and {shown(keys[metrics])} of {metrics.where}"
        )
    runs = [ids[ratios][row] for row in rows]
    arguments: dict[str, Any] = {
        "ratios": here,
        "metrics": there,
        "domains": mixed.names,
        "metric_names": measured,
        "runs": runs,
        "chosen": _chosen(ratios, metrics, ids, rows, want.chosen, flag),
        **want.pools.of(runs, mixed.names, _budgets(ratios, metrics, rows, want.pools.column)),
    }
    found_unused = {reason: tuple(names) for reason, names in unused.by_reason.items()}
    told = ({name: words[name] for name in measured if name in words} for words in (long.directions, long.units))
    return Joined(arguments, dropped, found_unused, tuple(dict.fromkeys(read)), *told)


def read_mixtures(source: Source) -> tuple[tuple[str, ...], tuple[str, ...], NDArray[np.float64]]:
    """Return the domains, the ids of the runs and their checked mixtures (R, K), from a file of mixtures only; warn of conversions."""
    raw = read_csv(source, "ratios")
    key = next(iter(known_ids(raw)), None)
    if key is None:
        raise SwarmError(
            f"{raw.where} needs a column with the ids of runs, {' or '.join(ID_NAMES[:3])}; it has {listing(map(repr, raw.names))}"
        )
    ids = run_ids(raw.cells(raw.places[key]), raw.where)
    found = as_shares(
        raw, columns_of_domains(raw, {key, CHOSEN}, (), Columns(), ids, Unused()), named=False, normalise=False
    )
    for note in found.notes:
        warnings.warn(note, MixfastWarning, stacklevel=2)
    return found.names, ids, shares(found.values, found.names, ids)[0]


def _flag(want: Columns, ratios: Raw, both: Collection[str]) -> str:
    """Return the column that marks chosen runs; raise if it is asked for and neither table has it."""
    if not isinstance(want.chosen, str):
        return CHOSEN
    if want.chosen not in both:
        raise SwarmError(
            f"chosen={shown(want.chosen)} is not a column of either table; {ratios.where} has {listing(ratios.names)}; "
            "to name runs, give a list of their ids"
        )
    return want.chosen


def _with_values(raw: Raw, table: Table, values: Matrix, want: Columns, unused: Unused) -> list[int]:
    """Return the columns of metrics with a value in some run that was kept; raise if a requested metric has none."""
    known = ~np.isnan(values)
    valued = np.atleast_1d(known.any(axis=0)).tolist()
    empty = [name for name, has in zip(table.names, valued, strict=True) if not has]
    if empty and want.metrics is not None:
        raise SwarmError(
            f"{raw.where}: no run has a value of {listing(empty)}; do not ask for {'it' if len(empty) == 1 else 'them'}"
        )
    unused.add("empty", empty)
    return [column for column, has in enumerate(valued) if has]


def _matched(
    ids: Mapping[Raw, tuple[str, ...]], ratios: Raw, metrics: Raw, found: NDArray[np.float64]
) -> tuple[dict[int, int], tuple[tuple[str, str], ...]]:
    """Return rows of ratios with their rows of metrics, in the order of ratios, and the dropped runs with reasons."""
    position = places(ids[metrics])
    valued = (np.isnan(found).sum(axis=1) < found.shape[1]).tolist()
    rows: dict[int, int] = {}
    dropped: list[tuple[str, str]] = []
    for row, name in enumerate(ids[ratios]):
        other = position.pop(name, None)
        if other is None:
            dropped.append((name, "no row of metrics"))
        elif not valued[other]:
            dropped.append((name, "no value of any metric"))
        else:
            rows[row] = other
    dropped += [(name, "no row of ratios") for name in position]
    if rows:
        return rows, tuple(dropped)
    if len(position) < len(ids[metrics]):
        raise SwarmError(f"{metrics.where}: no run has a value of any metric")
    hint = ""
    if set(ids[ratios]) & set(metrics.names):
        hint = f"; {metrics.where} has the ids among its columns, so it looks transposed: runs are rows"
    elif set(ids[metrics]) & set(ratios.names):
        hint = f"; {ratios.where} has the ids among its columns, so it looks transposed: runs are rows"
    elif set(ratios.names) & set(metrics.names) - BOOKKEEPING:
        hint = "; they share names of columns, so both look transposed: runs are rows"
    raise SwarmError(
        f"the two tables have no run in common: {ratios.where} has {listing(ids[ratios], limit=_SHOWN)}; {metrics.where} has "
        f"{listing(ids[metrics], limit=_SHOWN)}{hint}"
    )


def _normalised(values: Matrix, ids: tuple[str, ...], rows: list[int]) -> tuple[Matrix, str]:
    """Return mixtures (R, K) from counts or percentages, each row divided by its sum, and a note for the report."""
    with np.errstate(over="ignore", invalid="ignore"):
        sums = values.sum(axis=1)
    wrong = [
        f"run {shown(ids[row])} sums to {total:.6g}"
        for row, total in zip(rows, sums.tolist(), strict=True)
        if not 0.0 < total < np.inf
    ]
    if wrong:
        raise SwarmError(f"only rows of a positive sum can be divided by it, but {listing(wrong, limit=_SHOWN)}")
    return values / sums[:, None], f"every run was divided by its sum, {sums.min():.6g} to {sums.max():.6g}"


def _chosen(
    ratios: Raw, metrics: Raw, ids: Mapping[Raw, tuple[str, ...]], rows: Mapping[int, int], chosen: object, flag: str
) -> list[bool] | None:
    """Return a mask of the kept runs, from a column or from ids, which may also be those of dropped runs."""
    if chosen is not None and not isinstance(chosen, str):
        if not isinstance(chosen, Iterable):
            raise SwarmError(f"chosen must be the name of a column or a list of run ids, got {shown(chosen)}")
        named = set(map(run_id, chosen))
        if unknown := sorted(named - set(ids[ratios]) - set(ids[metrics])):
            raise SwarmError(
                f"chosen names unknown runs: {misspelt(unknown, ids[ratios])}; the runs are: {listing(ids[ratios])}"
            )
        return [ids[ratios][row] in named for row in rows]
    for raw, kept in ((ratios, list(rows)), (metrics, list(rows.values()))):
        if flag in raw.names:
            cells = raw.cells(raw.places[flag])
            words: list[str] = ["" if cell is None else str(cell).strip().lower() for cell in cells]
            if wrong := sorted(set(words) - set(_TRUTH)):
                raise SwarmError(
                    f"{raw.where}: column {shown(flag)} must hold 0 or 1 (true or false), got {listing(wrong)}"
                )
            return [_TRUTH[words[row]] for row in kept]
    return None


def _budgets(ratios: Raw, metrics: Raw, rows: Mapping[int, int], column: str | None) -> dict[str, list[object]]:
    """Return the cells of the column of budgets for the kept runs, by the name of each table that has it."""
    tables = ((ratios, list(rows)), (metrics, list(rows.values())))
    return {
        raw.where: [raw.cells(raw.places[column])[row] for row in kept]
        for raw, kept in tables
        if column is not None and column in raw.places
    }
