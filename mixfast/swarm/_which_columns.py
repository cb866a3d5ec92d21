"""Which columns of a table are domains, and which are metrics; the names of the others, with the reason."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from mixfast._text.audience import either
from mixfast._text.names import did_you_mean, listing, places, shown
from mixfast._text.visible import quote
from mixfast.errors import AlignmentError
from mixfast.mixture import sum_to_one
from mixfast.swarm._amounts import COUNTS, kind_of_amounts
from mixfast.swarm._checks import SwarmError, refuse_many, refuse_repeated
from mixfast.swarm._columns import (
    is_bookkeeping,
    is_by_product,
    is_unsure,
    matching,
)
from mixfast.swarm._files import Raw
from mixfast.swarm._names import find_names
from mixfast.swarm._pools_in import Pools
from mixfast.swarm._table import Table, read_table

# Shares with all their digits sum to 1 within this.
_SUMS_TO_1 = 1e-9


@dataclass(frozen=True)
class Columns:
    """Which columns of the tables to use; names, or patterns with ``*``."""

    id: str | None = None
    domains: str | Iterable[str] | None = None
    metrics: str | Iterable[str] | None = None
    ignore: str | Iterable[str] = ()
    chosen: str | Iterable[object] | None = None
    normalise: bool = False
    pools: Pools = field(default_factory=Pools)


@dataclass
class Unused:
    """Names of columns that are not used, by reason."""

    by_reason: dict[str, dict[str, None]] = field(default_factory=dict)

    def add(self, reason: str, names: Iterable[str]) -> None:
        for name in names:
            self.by_reason.setdefault(reason, {})[name] = None


def columns_of_domains(
    raw: Raw, special: Collection[str], left_out: Collection[str], want: Columns, ids: tuple[str, ...], unused: Unused
) -> Table:
    """Return the columns of shares."""
    names = _considered(raw, special, left_out, unused)
    if want.domains is not None:
        table = read_table(raw, matching(names, want.domains, "domains"), ids, keep=True)
        _refuse_empty(raw, table, "domain", "domains")
        return table
    by_name = [name for name in names if is_bookkeeping(name)]
    table = read_table(raw, _without(names, by_name), ids)
    if want.normalise or kind_of_amounts(table.values) == COUNTS:
        # Trackers put the name of a part before their columns: trainer/global_step.
        parts = [name for name in table.names if is_by_product(re.split(r"[/.]", name)[-1])]
        _refuse_unsure(raw, [*by_name, *(parts if len(parts) < len(table.names) else ())], ids, parts)
    table, by_name = _with_named_like_trackers(raw, table, by_name, ids)
    unused.add("name", by_name)
    unused.add("text", table.text)
    unused.add("empty", table.empty)
    if not table.names:
        raise SwarmError(f"{raw.where} has no column for domains: {listing(map(repr, raw.names))}")
    return table


def _considered(raw: Raw, special: Collection[str], left_out: Collection[str], unused: Unused) -> list[str]:
    """Return the columns that may be domains or metrics: those without a special meaning that are not left out on request."""
    names = [name for name in raw.names if name not in special]
    refuse_repeated([*names, *(name for name in raw.names if name in special)], f"{raw.where}: names of columns")
    unused.add("ignored", (name for name in names if name in left_out))
    return _without(names, left_out)


def _without(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """Return the names that are not among the others."""
    left_out = set(others)
    return [name for name in names if name not in left_out]


def _refuse_unsure(raw: Raw, by_name: list[str], ids: tuple[str, ...], parts: Collection[str]) -> None:
    """Raise if a column may be a domain or bookkeeping: amounts, unlike shares, have no known sum that decides."""
    unsure = [name for name in by_name if name in parts or is_unsure(name)]
    found = read_table(raw, unsure, ids, check=False).names
    if found:
        raise SwarmError(
            f"{raw.where}: {listing(map(repr, found))} may be a domain or a column of a tracker, and amounts do not decide; leave it out, "
            f"{either(f'ignore={shown(found[0])}', f'--ignore {quote(found[0])}')}, or name the domains, "
            f"{either('domains=[NAME, ...]', '--domains NAME')}"
        )


def _with_named_like_trackers(
    raw: Raw, table: Table, by_name: list[str], ids: tuple[str, ...]
) -> tuple[Table, list[str]]:
    """Add domains with names like columns of trackers: those without which the shares do not sum to 1."""
    more = read_table(raw, by_name, ids, check=False)
    at = places(more.names)
    with np.errstate(over="ignore", invalid="ignore"):
        total = table.values.sum(axis=1)
        # The sum of percentages is 100; of shares with some column too many it is below 2.
        unit = 1.0 if total.max() < 2.0 else 100.0
        without = np.abs(total / unit - 1.0).max()
    within = [
        name
        for name, column in zip(more.names, more.values.T, strict=True)
        if ((column >= 0.0) & (column <= unit)).all()
    ]
    several = [names for names in (within, list(more.names)) if len(names) > 1]
    for names in [*([name] for name in more.names), *several]:
        with np.errstate(over="ignore", invalid="ignore"):
            whole = np.abs((total + more.values[:, [at[name] for name in names]].sum(axis=1)) / unit - 1.0).max()
        if whole <= _SUMS_TO_1 < without or (sum_to_one(1.0 + whole) and not sum_to_one(1.0 + without)):
            taken = {*table.names, *names}
            wanted = [name for name in raw.names if name in taken]
            told = ("is used as a domain", "it") if len(names) == 1 else ("are used as domains", "them")
            note = (
                f"{raw.where}: {listing(map(repr, names))} {told[0]}, because the shares sum to 1 only with {told[1]}"
            )
            found = read_table(raw, wanted, ids)
            notes = (*found.notes, note)
            return replace(found, text=table.text, empty=table.empty, notes=notes), _without(by_name, names)
    return table, by_name


def columns_of_metrics(
    raw: Raw,
    special: Collection[str],
    left_out: Collection[str],
    want: Columns,
    ids: tuple[str, ...],
    unused: Unused,
    domains: Collection[str],
) -> Table:
    """Return the columns of metrics; a column with the name of a domain is the loss of that domain, even if the name looks like bookkeeping."""
    names = _considered(raw, special, left_out, unused)
    if want.metrics is not None:
        asked = _asked_for(names, want.metrics)
        refuse_many(asked)
        return read_table(raw, asked, ids, keep=True)
    of_domains, beside = set(domains), tuple(names)
    by_name = [
        name for name in names if name not in of_domains and (is_bookkeeping(name) or is_by_product(name, beside))
    ]
    kept = _without(names, by_name)
    # The names decide: reading the cells of so many columns takes longer than anybody waits for a refusal.
    refuse_many(kept, "columns that may be metrics")
    table = read_table(raw, kept, ids)
    unused.add("name", by_name)
    unused.add("text", table.text)
    unused.add("empty", table.empty)
    if not table.names and table.empty:
        raise SwarmError(f"{raw.where}: no run has a value of any metric")
    if not table.names:
        more = (
            f"; these were left out because of their names, and {either('metric_names=[NAME]', '--metric NAME')} takes one: {listing(map(repr, by_name))}"
            if by_name
            else ""
        )
        raise SwarmError(f"{raw.where} has no column for metrics: {listing(map(repr, raw.names))}{more}")
    return table


def _asked_for(names: list[str], wanted: str | Iterable[str]) -> list[str]:
    """Return the requested columns of metrics: by name, by a pattern, or without a part that the names of metrics share."""
    beside = tuple(names)
    usual = [name for name in names if not (is_bookkeeping(name) or is_by_product(name, beside))]
    found: list[str] = []
    for name in [wanted] if isinstance(wanted, str) else wanted:
        try:
            found += matching(names, name, "metric")
        except SwarmError:
            meant = find_names(usual, [name], "metric")[0]
            if meant is None:
                raise AlignmentError(
                    f"there is no metric {shown(name)}{did_you_mean(name, usual)}; the metrics are: {listing(usual)}"
                ) from None
            found.append(meant)
    return list(dict.fromkeys(found))


def _refuse_empty(raw: Raw, table: Table, what: str, plural: str) -> None:
    if table.empty:
        raise SwarmError(
            f"{raw.where}: no run has a value of the {what if len(table.empty) == 1 else plural} {listing(table.empty)}"
        )
