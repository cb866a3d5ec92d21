"""Two tables, of mixtures and of metrics, joined on the id of the run: the arguments of a Swarm."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mixfast._text.names import listing, misspelt
from mixfast.swarm._checks import SwarmError, refuse_repeated, run_id, run_ids, shares
from mixfast.swarm._files import BOOKKEEPING, CHOSEN, ID_NAMES, Raw, Source, is_bookkeeping, is_number, read_csv

_MISSING = frozenset(["", "nan", "na", "n/a", "#n/a", "<na>", "nat", "null", "none"])


_TRUTH = dict.fromkeys(["1", "1.0", "true", "t", "yes", "y"], True) | dict.fromkeys(
    ["0", "0.0", "false", "f", "no", "n", *_MISSING], False
)


@dataclass(frozen=True)
class Joined:
    """Two tables as the arguments of Swarm, and what was left out of them."""

    arguments: dict[str, Any]
    dropped: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]


def join(
    ratios: Raw, metrics: Raw, *, id: str | None, chosen: str | Iterable[object] | None, ignore: str | Iterable[str]
) -> Joined:
    """Join two tables on the ids of their runs; columns that are not bookkeeping are domains and metrics."""
    left_out = {ignore} if isinstance(ignore, str) else set(ignore or ())
    if unknown := sorted(left_out - set(ratios.names) - set(metrics.names)):
        raise SwarmError(f"ignore names columns that neither table has: {listing(unknown)}")
    keys = _keys(ratios, metrics, id)
    ids = {raw: run_ids(raw.cells(raw.names.index(key)), raw.where) for raw, key in keys.items()}
    flag = chosen if isinstance(chosen, str) else CHOSEN
    if isinstance(chosen, str) and chosen not in ratios.names and chosen not in metrics.names:
        raise SwarmError(
            f"chosen={chosen!r} is a column of neither table; {ratios.where} has {listing(ratios.names)}; "
            "to name runs, give a list of their ids"
        )
    special = {*keys.values(), flag} if chosen is None or isinstance(chosen, str) else {*keys.values()}
    domains, ignored = _columns(ratios, special, left_out)
    measured, more = _columns(metrics, special, left_out)
    if not domains or not measured:
        raw, kind = (ratios, "domains") if not domains else (metrics, "metrics")
        raise SwarmError(f"{raw.where} has no column for {kind}: {listing(map(repr, raw.names))}")
    mixtures = _table(ratios, domains, ids[ratios])
    found = _table(metrics, measured, ids[metrics])
    rows, dropped = _matched(ids, ratios, metrics, found)
    arguments: dict[str, Any] = {
        "ratios": mixtures[list(rows)],
        "metrics": found[list(rows.values())],
        "domains": domains,
        "metric_names": measured,
        "runs": [ids[ratios][row] for row in rows],
        "chosen": _chosen(ratios, metrics, ids, rows, chosen, flag),
    }
    return Joined(arguments, dropped, tuple(dict.fromkeys(ignored + more)))


def read_mixtures(source: Source) -> tuple[tuple[str, ...], tuple[str, ...], NDArray[np.float64]]:
    """Return the domains, the ids of the runs and their mixtures (R, K), checked, of a file of mixtures alone."""
    raw = read_csv(source, "ratios")
    key = next((found for name in ID_NAMES if (found := _spelled(raw, name)) is not None), None)
    if key is None:
        raise SwarmError(
            f"{raw.where} needs a column with the ids of runs, {' or '.join(ID_NAMES)}; it has {listing(map(repr, raw.names))}"
        )
    ids = run_ids(raw.cells(raw.names.index(key)), raw.where)
    domains, _ = _columns(raw, {key, CHOSEN}, ())
    if not domains:
        raise SwarmError(f"{raw.where} has no column for domains: {listing(map(repr, raw.names))}")
    return tuple(domains), ids, shares(_table(raw, domains, ids), tuple(domains), ids)[0]


def _spelled(raw: Raw, wanted: str) -> str | None:
    """The column that is called so, or so but for capitals and spaces: "Run ID" is run_id."""
    alike = [name for name in raw.names if re.sub(r"[\s-]+", "_", name.strip().lower()) == wanted]
    return wanted if wanted in raw.names else alike[0] if len(alike) == 1 else None


def _keys(ratios: Raw, metrics: Raw, id: str | None) -> dict[Raw, str]:
    """The column of each table that names the runs."""
    for name in ID_NAMES if id is None else (id,):
        here, there = _spelled(ratios, name), _spelled(metrics, name)
        if here is not None and there is not None:
            return {ratios: here, metrics: there}
    what = f"a column {id!r}" if id is not None else "a column with the ids of runs, " + " or ".join(ID_NAMES)
    raise SwarmError(
        f"both tables need {what}; rows are never matched by position. {ratios.where} has "
        f"{listing(map(repr, ratios.names))}. {metrics.where} has {listing(map(repr, metrics.names))}. "
        "Give the column with the ids one name in both"
    )


def _columns(raw: Raw, special: Collection[str], left_out: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the names that carry numbers, and those that are ignored."""
    used: list[str] = []
    ignored: list[str] = []
    for name in raw.names:
        if name not in special:
            (ignored if name in left_out or is_bookkeeping(name) else used).append(name)
    refuse_repeated([*used, *(name for name in raw.names if name in special)], f"{raw.where}: names of columns")
    return used, ignored


def _matched(
    ids: Mapping[Raw, tuple[str, ...]], ratios: Raw, metrics: Raw, found: NDArray[np.float64]
) -> tuple[dict[int, int], tuple[tuple[str, str], ...]]:
    """Return rows of ratios with their rows of metrics, in the order of ratios, and what was dropped for which reason."""
    position = {name: row for row, name in enumerate(ids[metrics])}
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
        f"the two tables have no run in common: {ratios.where} has {listing(ids[ratios])}; {metrics.where} has "
        f"{listing(ids[metrics])}{hint}"
    )


def _chosen(
    ratios: Raw, metrics: Raw, ids: Mapping[Raw, tuple[str, ...]], rows: Mapping[int, int], chosen: object, flag: str
) -> list[bool] | None:
    """Return a mask of the kept runs, from a column or from ids, which may also be those of dropped runs."""
    if chosen is not None and not isinstance(chosen, str):
        if not isinstance(chosen, Iterable):
            raise SwarmError(f"chosen must be the name of a column or a list of run ids, got {chosen!r}")
        named = set(map(run_id, chosen))
        if unknown := sorted(named - set(ids[ratios]) - set(ids[metrics])):
            raise SwarmError(
                f"chosen names unknown runs: {misspelt(unknown, ids[ratios])}; the runs are: {listing(ids[ratios])}"
            )
        return [ids[ratios][row] in named for row in rows]
    for raw, kept in ((ratios, list(rows)), (metrics, list(rows.values()))):
        if flag in raw.names:
            cells = raw.cells(raw.names.index(flag))
            words: list[str] = ["" if cell is None else str(cell).strip().lower() for cell in cells]
            if wrong := sorted(set(words) - set(_TRUTH)):
                raise SwarmError(f"{raw.where}: column {flag!r} must hold 0 or 1 (true or false), got {listing(wrong)}")
            return [_TRUTH[words[row]] for row in kept]
    return None


def _table(raw: Raw, names: Sequence[str], ids: Sequence[str]) -> NDArray[np.float64]:
    positions = [raw.names.index(name) for name in names]
    table = None if raw.text is None else _plain_numbers(raw.text, positions)
    if table is not None:
        return table
    table = np.empty((raw.rows, len(names)))
    for column, (name, position) in enumerate(zip(names, positions, strict=True)):
        table[:, column] = _floats(raw, name, raw.cells(position), ids)
    return table


def _plain_numbers(rows: list[list[str]], positions: list[int]) -> NDArray[np.float64] | None:
    """Return the columns of a file that has nothing but numbers there, None where it has; all loops run in C."""
    # With two positions at least, the getter gives tuples.
    pick = itemgetter(*positions, positions[-1])
    width = len(positions) + 1
    try:
        numbers = np.fromiter(map(float, chain.from_iterable(map(pick, rows))), np.float64, len(rows) * width)
    except ValueError:
        return None
    # Python's float also takes 1_000, which no other reader of such files does.
    if any("_" in "".join(cells) for cells in map(pick, rows)):
        return None
    return np.ascontiguousarray(numbers.reshape(-1, width)[:, :-1])


def _floats(raw: Raw, name: str, cells: Iterable[object], ids: Sequence[str]) -> NDArray[np.float64]:
    """Return the numbers of a column, NaN where a cell is missing."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "fiu":
        return cells.astype(np.float64)
    numbers = np.empty(raw.rows)
    wrong = []
    for row, cell in enumerate(cells):
        if cell is None or _is_missing(cell):
            numbers[row] = math.nan
        elif is_number(cell):
            numbers[row] = float(cast("float", cell))
        else:
            wrong.append(f"run {ids[row]!r} has {str(cell)[:40]!r}")
    if wrong:
        raise SwarmError(
            f"{raw.where}: column {name!r} must hold numbers, but {listing(wrong, limit=1)}; if it is "
            f"neither a domain nor a metric, leave it out by ignoring {name!r}"
        )
    return numbers


def _is_missing(cell: object) -> bool:
    # The missing cells of pandas are no strings, and refuse to be compared.
    return (isinstance(cell, str) or type(cell).__name__ in ("NAType", "NaTType")) and str(
        cell
    ).strip().lower() in _MISSING
