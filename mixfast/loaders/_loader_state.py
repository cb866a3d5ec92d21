"""Find the stream and the global sample to resume from in the state of a loader, or in a part of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixfast._text.names import counted, listing, shown
from mixfast.errors import SamplerError
from mixfast.sampler import Format, State, Stream, format_of, resumed, saved_count

# The state of a worker that reads a `StreamDataset`: the position in its stream, the sample at which its pass began, how many samples
# it has read since, and the numbers that determine which samples are its own.
READER = Format(
    "mixfast-reader-2",
    "the worker's state",
    {
        "stream": "state", "origin": "count", "read": "count",
        "worker": "count", "workers": "positive", "world_size": "positive", "batch_size": "positive",
    },
    former="mixfast-reader-1",
)  # fmt: skip
# These must be the same when a worker resumes. The rank may differ: all ranks are at the same step.
LAYOUT = ("worker", "workers", "world_size", "batch_size")
# Keys of a ``StatefulDataLoader`` for the batches that it has yielded, with and without workers, and for those since its snapshot.
_STEPS_MADE, _STEPS_BEHIND = ("_snapshot_step", "_num_yielded"), "_steps_since_snapshot"
# Maximum depth; a loader's state nests only a few levels.
_DEEPEST = 100


def is_reader(state: State) -> bool:
    """Whether a state is that of a worker."""
    return format_of(state) in (READER.name, READER.former)


def sample_after(origin: int, read: int, layout: Mapping[str, int]) -> int:
    """Return the global sample after the last one that a worker has read, for a pass that began at global sample ``origin``."""
    if not read:
        return origin
    size = layout["batch_size"]
    before, last = divmod(read - 1, size)
    return origin + ((layout["worker"] + before * layout["workers"]) * size + last + 1) * layout["world_size"]


def read_worker(state: State) -> dict[str, Any]:
    """Return the fields of a worker's state; `SamplerError` if they are incomplete or contradict each other."""
    saved = READER.read(state)
    if saved["worker"] >= saved["workers"]:
        raise SamplerError(
            f"the worker's state is that of worker {saved['worker']} of {saved['workers']}, counted from 0"
        )
    position = saved_count("position of the stream in the worker's state", saved["stream"].get("position"))
    expected = sample_after(saved["origin"], saved["read"], saved)
    if position != expected:
        raise SamplerError(
            f"the worker's state contradicts itself: after {saved['read']} samples of a pass from sample {saved['origin']} its "
            f"stream is at sample {expected}, and the state says {position}"
        )
    return saved


def begin_of(state: object, stream: Stream) -> tuple[Stream, int]:
    """Return the stream of a state, with its domains numbered as in ``stream``, and the global sample to resume from.

    ``state`` is that of a stream, or of a loader that holds states of streams and workers at any depth.
    """
    found, steps = _found(state, 0)
    if not found:
        raise SamplerError(f"{shown(state)} holds no state of a stream")
    workers = [read_worker(one) for one in found if is_reader(one)]
    # The state of a loader holds both the start of its pass and its progress.
    places = [resumed(stream, one) for one in found if not is_reader(one)]
    if workers:
        _refuse_other_steps(workers)
        # The loader takes batches from its workers in turn, so all samples before the latest one have been read, too.
        places = [resumed(stream, one["stream"]) for one in workers]
    moved = any(one["read"] for one in workers) or len({position for _, position in places}) > 1
    if steps and not moved:
        raise SamplerError(
            f"the loader's state is from after {counted(steps, 'step')}, but the part with their last sample is missing; load "
            "the loader's whole state"
        )
    return max(places, key=lambda place: place[1])


def _refuse_other_steps(workers: list[dict[str, Any]]) -> None:
    """Refuse states of workers unless they are all workers of one loader after one step."""
    first = workers[0]
    if sorted(one["worker"] for one in workers) != list(range(first["workers"])):
        raise SamplerError(
            f"the state holds {len(workers)} of {first['workers']} workers; load the loader's whole state"
        )
    for name in ("workers", "world_size", "batch_size", "origin"):
        if len({one[name] for one in workers}) > 1:
            raise SamplerError(
                f"the workers in the state differ in {name} ({listing(one[name] for one in workers)}): they belong to different loaders"
            )
    # Batches are taken from the workers in turn, so each worker has yielded as many as the next one, or one more.
    workers = sorted(workers, key=lambda one: one["worker"])
    batches = [-(-one["read"] // one["batch_size"]) for one in workers]
    if sorted(batches, reverse=True) != batches or batches[0] - batches[-1] > 1:
        raise SamplerError(
            f"the workers in the state are from different steps: they have read {listing(batches)} batches, and a loader takes "
            "batches from its workers in turn; load one whole state of the loader"
        )


def _found(entry: object, depth: int) -> tuple[list[State], int]:
    """Return all states of streams and workers in the state of a loader, however it nests them, and the loader's steps."""
    if depth > _DEEPEST:
        raise SamplerError(f"the state nests more than {_DEEPEST} levels, and no state of a loader does")
    if isinstance(entry, Mapping) and format_of(entry).startswith("mixfast-"):
        return [entry], 0
    parts: Any = entry.values() if isinstance(entry, Mapping) else entry if isinstance(entry, (list, tuple)) else ()
    inside = [_found(part, depth + 1) for part in parts]
    states, steps = [one for found, _ in inside for one in found], max((steps for _, steps in inside), default=0)
    if states and isinstance(entry, Mapping):
        behind, *made = (
            saved_count(f"{name} of the loader's state", entry.get(name, 0)) for name in (_STEPS_BEHIND, *_STEPS_MADE)
        )
        if behind:
            raise SamplerError(
                f"the loader's state is {counted(behind, 'step')} old; make the loader with snapshot_every_n_steps=1"
            )
        steps = max(steps, *made)
    return states, steps
