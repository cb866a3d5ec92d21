"""Find the column of each table that holds the ids of runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from mixfast._text.audience import either
from mixfast._text.names import listing, shown
from mixfast._text.visible import quote
from mixfast.swarm._checks import SwarmError, run_id
from mixfast.swarm._columns import ID_NAMES, spelled
from mixfast.swarm._files import Raw


def spelled_column(raw: Raw, wanted: str) -> str | None:
    """Return the column with this name, ignoring capitals and spaces: "Run ID" is run_id."""
    if wanted in raw.places:
        return wanted
    alike = raw.spellings.get(spelled(wanted), [])
    return alike[0] if len(alike) == 1 else None


def known_ids(raw: Raw) -> list[str]:
    """Return the columns that may hold the ids, the likeliest first."""
    found = [raw.label] if raw.label is not None else []
    found += [name for known in ID_NAMES if (name := spelled_column(raw, known)) is not None]
    return list(dict.fromkeys(found))


def id_columns(ratios: Raw, metrics: Raw, id: str | None) -> dict[Raw, str]:
    """Return the column of each table that names the runs: one that both have, else one in each that usually holds ids."""
    for name in ID_NAMES if id is None else (id,):
        here, there = spelled_column(ratios, name), spelled_column(metrics, name)
        if here is not None and there is not None:
            return {ratios: here, metrics: there}
    pairs = list(itertools.product(*(id_candidates(raw, id) for raw in (ratios, metrics))))
    if pairs and (id is None or any(spelled_column(raw, id) for raw in (ratios, metrics))):
        shared = (pair for pair in pairs if _texts(ratios, pair[0]) & _texts(metrics, pair[1]))
        here, there = next(shared, pairs[0])
        return {ratios: here, metrics: there}
    what = f"a column {shown(id)}" if id is not None else "a column with the ids of runs, " + " or ".join(ID_NAMES[:3])
    raise SwarmError(
        f"both tables need {what}; rows are never matched by position. {ratios.where} has "
        f"{listing(map(repr, ratios.names))}. {metrics.where} has {listing(map(repr, metrics.names))}. "
        "Give the column with the ids the same name in both tables, and pass that name: "
        + either("id='NAME'", "--id NAME")
    )


def refuse_other_ids(ratios: Raw, metrics: Raw, keys: Mapping[Raw, str], ids: Mapping[Raw, tuple[str, ...]]) -> None:
    """Raise if the ids are numbers, which may only number rows, and both tables also have names of runs that join different rows."""
    if not all(name.isdecimal() for names in ids.values() for name in names):
        return
    for known in ID_NAMES:
        other = {raw: spelled_column(raw, known) for raw in (ratios, metrics)}
        here, there = other[ratios], other[metrics]
        if here is None or there is None or here == keys[ratios]:
            continue
        named = [list(map(run_id, raw.cells(raw.places[name]))) for raw, name in ((ratios, here), (metrics, there))]
        if any(len(set(cells)) < len(cells) or all(map(str.isdecimal, cells)) for cells in named):
            continue
        joined = dict(zip(ids[metrics], named[1], strict=True))
        for run, mine in zip(ids[ratios], named[0], strict=True):
            if run in joined and joined[run] != mine and mine in named[1]:
                first = keys[ratios]
                raise SwarmError(
                    f"the columns {shown(first)} and {shown(here)} join the tables differently: the run with {first} {shown(run)} is {shown(mine)} in "
                    f"{ratios.where} and {shown(joined[run])} in {metrics.where}; say which holds the ids: "
                    + either(f"id={shown(here)} or id={shown(first)}", f"--id {quote(here)} or --id {quote(first)}")
                )


def id_candidates(raw: Raw, id: str | None) -> list[str]:
    own = None if id is None else spelled_column(raw, id)
    return known_ids(raw) if own is None else [own]


def _texts(raw: Raw, name: str) -> set[str]:
    return {run_id(cell) for cell in raw.cells(raw.places[name]) if cell is not None}
