"""What torch's loaders know of a pass and do not tell a data set: read from their states, and from where they call."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any


def batch_size_asked() -> int | None:
    """Return how many samples the loader that is reading now asks a worker for at once; None where it is not torch's.

    A data set that is iterated is not told, but the function of torch that asks for its samples has the batch.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "fetch" and "possibly_batched_index" in frame.f_locals:
            batch = frame.f_locals["possibly_batched_index"]
            return 1 if batch is None else len(batch)
        frame = frame.f_back
    return None


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
