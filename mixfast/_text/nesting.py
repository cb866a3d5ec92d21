"""Refuse documents that are nested too deeply, or that would become too large when their aliases are expanded."""

from __future__ import annotations

from typing import Any

MOST_LEVELS = 100
"""Maximum depth of a document. No file format here needs more than ten levels; parsers and other code are recursive."""
# Maximum number of entries after expanding aliases, unless the document itself has as many.
_MOST_REPEATED = 1_000_000

TOO_DEEP = f"nested more than {MOST_LEVELS} levels deep; no file that is read here needs more than a few"


def check_nesting(document: Any, error: type[Exception]) -> Any:
    """Return the document; raise ``error`` if its dicts and lists are nested too deeply, or repeat others too often."""
    sizes: dict[int, tuple[int, int]] = {}
    own = 0

    def measured(value: Any) -> tuple[int, int]:
        """Return the depth, and the number of entries with aliases expanded; each value is measured only once."""
        nonlocal own
        if id(value) in sizes:
            return sizes[id(value)]
        parts = value.values() if isinstance(value, dict) else value
        levels, entries = 0, len(parts)
        own += len(parts)
        for part in parts:
            if isinstance(part, (dict, list)):
                below, more = measured(part)
                levels, entries = max(levels, below), entries + more
        sizes[id(value)] = levels + 1, entries
        return levels + 1, entries

    try:
        levels, entries = measured(document) if isinstance(document, (dict, list)) else (0, 1)
    except RecursionError:
        raise error(TOO_DEEP) from None
    if levels > MOST_LEVELS:
        raise error(TOO_DEEP)
    if entries > max(_MOST_REPEATED, 2 * own):
        raise error("its aliases repeat so much that written out it would have more than a million entries")
    return document
