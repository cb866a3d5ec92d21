"""What torch's loaders know of a pass and do not tell a data set: read from their states, and from where they call."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any


def batch_size_asked(batches: object) -> int | None:
    """Return how many samples torch's loader asks for at once; to be called by what iterates over the ``batches`` of a pass.

    A data set that is iterated is not told, but the function that asks for its samples has the batch. None where something
    else asks, such as what packs samples of any length before the loader sees them.
    """
    known = sys._getframe(2).f_locals
    if getattr(getattr(known.get("self"), "dataset_iter", None), "batches", None) is not batches:
        return None
    batch = known.get("possibly_batched_index")
    return 1 if batch is None else len(batch)


def states(entry: Any) -> Iterator[Mapping[str, Any]]:
    """All states of streams and readers in the state of a loader, however it nests them."""
    if isinstance(entry, Mapping):
        if str(entry.get("format", "")).startswith("mixfast-"):
            yield entry
            return
        entry = entry.values()
    elif not isinstance(entry, (list, tuple)):
        return
    for part in entry:
        yield from states(part)


def steps_behind(entry: Any) -> int:
    """Batches that a StatefulDataLoader gave after the snapshot in its state."""
    if not isinstance(entry, Mapping):
        return 0
    return entry.get("_steps_since_snapshot", 0) + sum(steps_behind(part) for part in entry.values())
