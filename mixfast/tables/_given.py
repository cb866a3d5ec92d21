"""What a table says about its rows besides their values, whatever kind of table it is."""

from __future__ import annotations

from mixfast.tables._sharded import ShardedTable
from mixfast.tables._table import ExpertTable

_KEYS = ("weight", "length", "sequence", "bytes")


def given(table: ExpertTable | ShardedTable) -> tuple[str, ...]:
    """Return which of "weight", "length", "sequence" and "bytes" a table has."""
    if isinstance(table, ShardedTable):
        return tuple(key for key in _KEYS if getattr(table, f"has_{key}"))
    return tuple(key for key in _KEYS if getattr(table, key) is not None)
