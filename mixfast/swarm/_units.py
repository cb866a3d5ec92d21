"""Convert the shares of a table to one unit, and refuse columns that have another one or are totals."""

from __future__ import annotations

import re
from dataclasses import replace

from mixfast._text.audience import either
from mixfast._text.names import listing, shown
from mixfast._text.visible import quote
from mixfast.swarm._amounts import (
    COUNTS,
    PERCENTAGES,
    doubt_of_counts,
    in_shares,
    kind_of_amounts,
    setting_beside_percentages,
    total_column,
)
from mixfast.swarm._checks import SwarmError
from mixfast.swarm._files import Raw
from mixfast.swarm._table import Table

# Words in the name of a column of totals.
_TOTAL_NAMES = frozenset(["total", "totals", "sum", "all", "overall"])
# Most names shown in one message.
_SHOWN = 3


def as_shares(raw: Raw, table: Table, *, named: bool, normalise: bool) -> Table:
    """Return a table of shares; amounts on which all rows agree are divided, unless a column may not be a domain."""
    if normalise or named:
        table = _with_total_told(raw, table)
    if table.percent and (normalise or kind_of_amounts(table.values) == PERCENTAGES):
        columns = zip(table.names, table.values.T, strict=True)
        plain = [name for name, column in columns if name not in table.percent and column.any()]
        if plain:
            raise SwarmError(
                f"{raw.where}: {listing(map(shown, table.percent), limit=_SHOWN)} {'has' if len(table.percent) == 1 else 'have'} percent signs and "
                f"{listing(map(shown, plain), limit=_SHOWN)} {'has' if len(plain) == 1 else 'have'} none; write all shares in one unit"
            )
    if normalise or (
        not named and kind_of_amounts(table.values) == COUNTS and doubt_of_counts(table.names, table.values)[0]
    ):
        return table
    is_percent = kind_of_amounts(table.values) == PERCENTAGES
    if not named and is_percent and (found := setting_beside_percentages(table.names, table.values)):
        raise SwarmError(
            f"{raw.where}: {shown(found)} is below 0.001% in every run, and the percentages sum to 100 without it: it looks like a setting of "
            f"the runs; leave it out, {either(f'ignore={shown(found)}', f'--ignore {quote(found)}')}, or name the domains, "
            f"{either('domains=[NAME, ...]', '--domains NAME')}"
        )
    values, note = in_shares(raw.where, table.values)
    return replace(table, values=values, notes=(*table.notes, note)) if note else table


def _with_total_told(raw: Raw, table: Table) -> Table:
    """Raise if a column is the total of the others by name and by value; if only by value, add a note."""
    found = total_column(table.names, table.values)
    if found is None:
        return table
    told = f"{raw.where}: {shown(found)} is the sum of the other columns in every run"
    if _TOTAL_NAMES.isdisjoint(re.findall(r"[a-z]+", found.lower())):
        return replace(table, notes=(*table.notes, told))
    raise SwarmError(
        f"{told}, not a domain; leave it out: {either(f'ignore={shown(found)}', f'--ignore {quote(found)}')}, or name the others"
    )
