"""How messages of the tables name the rows, domains or groups that are to blame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Offenders listed in a message; the rest is counted.
SHOWN = 5


def some(items: Sequence[Any], *, quote: bool = True) -> str:
    """Write the first few of some things, and how many there are."""
    return counted([repr(item) if quote else str(item) for item in items[:SHOWN]], len(items))


def counted(shown: Sequence[str], count: int) -> str:
    """Write the offenders that are shown, and how many there are if that is more."""
    more = f", ... ({count} in all)" if count > len(shown) else ""
    return ", ".join(shown) + more


def bytes_text(count: int) -> str:
    """Write a number of bytes for people."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
