"""Trainers that divide a loader's batches among the processes: detect them, and refuse a stream that would be divided twice.

Accelerate, and so the Trainer of transformers, divides the batches of each loader that it prepares. A stream that already gives
each rank its part would be divided twice, and most of the run would never be read. Lightning and Fabric do not divide a loader if
its sampler is a `DistributedSampler` of torch, as `StreamSampler` is, or its data set is iterable.

Accelerate keeps a list of the loaders that are being read. When a pass begins, it looks for itself in that list.
"""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass
from typing import Any

from mixfast.errors import MixfastWarning, SamplerError


@dataclass(frozen=True)
class Division:
    """How Accelerate divides the samples of the loader that it reads.

    Attributes
    ----------
    processes : int
        Number of processes.
    workers : int
        Number of workers of the loader.
    taken : int
        Samples that the loader takes from its sampler or data set at a time; 0 (unknown) if another data set in between transforms
        them.
    step : int
        Samples of one step of all processes; 0 in the same case.
    fills : bool
        Whether an incomplete last step is filled with samples that were read before.
    """

    processes: int
    workers: int
    taken: int
    step: int
    fills: bool


def division_of(place: object) -> Division | None:
    """Return how Accelerate divides the samples of ``place``, a sampler or data set of a loader; None if it does not."""
    state, loaders = sys.modules.get("accelerate.state"), sys.modules.get("accelerate.data_loader")
    if state is None or loaders is None:
        return None
    import torch.utils.data

    for loader in state.GradientState().dataloader_references:
        if loader is not None:
            samplers = _held(torch.utils.data.Sampler, loader.batch_sampler, loader.sampler)
            data = _held(torch.utils.data.IterableDataset, loader.dataset)
            if any(part is place for part in samplers + data):
                return _division(loader, place, samplers, data, isinstance(loader, loaders.DataLoaderDispatcher))
    return None


def _division(loader: Any, place: object, samplers: list[Any], data: list[Any], sends: bool) -> Division | None:
    """Return how a loader of Accelerate divides the samples of its parts; with ``sends``, only the first process reads them."""
    shards = [part for part in samplers + data if getattr(part, "num_processes", 1) > 1]
    if sends:
        processes, taken = loader.state.num_processes, loader.batch_size or 1
        step = taken if loader.split_batches else taken * processes
        fills = not (loader.drop_last or getattr(loader.batch_sampler, "drop_last", False))
    elif shards:
        shard = shards[0]
        processes = shard.num_processes
        step = shard.batch_size if shard.split_batches else shard.batch_size * processes
        # A shard of an iterable data set reads a whole step, then takes its part.
        taken = step if shard in data else shard.batch_size
        fills = not shard.drop_last and getattr(shard, "even_batches", True)
    else:
        return None
    if any(part is not place and part not in shards for part in data):
        taken = step = 0
    return Division(processes, loader.num_workers, taken, step, fills) if processes > 1 else None


def _held(kind: type, *outer: object) -> list[Any]:
    """Return these objects and all objects in their attributes, at any depth, that are of a kind."""
    found: list[Any] = []
    waiting = list(outer)
    while waiting:
        part = waiting.pop(0)
        if isinstance(part, kind) and not any(part is other for other in found):
            found.append(part)
            waiting += getattr(part, "__dict__", {}).values()
    return found


def check_trainer(place: Any, given: bool, batch_size: int | None) -> None:
    """Refuse a loader of which Accelerate would lose or reorder samples; warn if samples would be read twice.

    Parameters
    ----------
    place : StreamSampler or StreamDataset
        At the start of a pass.
    given : bool
        Whether its rank and world size were given as arguments.
    batch_size : int or None
        Consecutive samples that each worker reads, if the workers find the samples.

    Raises
    ------
    SamplerError
        If Accelerate divides a part of the stream once more, or takes batches of another size from several workers.
    """
    import torch.utils.data

    name, division = type(place).__name__, division_of(place)
    worker = torch.utils.data.get_worker_info()
    if division is None:
        # A warning from one worker is enough.
        if place.world_size == 1 and (worker is None or worker.id == 0):
            _warn_of_the_same_samples(name, given)
        return
    if place.world_size > 1:
        raise SamplerError(
            f"Accelerate divides the batches of this loader among {division.processes} processes, and this {name} gives rank "
            f"{place.rank} of {place.world_size} its part only, so only one sample in {place.world_size} would be read. Make it "
            f"with {name}(..., rank=0, world_size=1), or do not give the loader to accelerator.prepare"
        )
    if batch_size is not None and division.workers > 1 and division.taken not in (0, batch_size):
        raise SamplerError(
            f"Accelerate takes batches of {division.taken} from each of {division.workers} workers, and this {name} was made with "
            f"batch_size={batch_size}: the samples would come in another order. Make it with batch_size={division.taken}, or use "
            "StreamSampler, which does not need it"
        )
    # The main process warned before the workers started.
    if worker is None and division.fills and division.step and place.stream.length is not None:
        _warn_of_filling(place.samples(), division)


def _warn_of_filling(samples: int, division: Division) -> None:
    """Warn if the last step is filled with samples that were read before."""
    if samples % division.step:
        warnings.warn(
            f"{samples} samples are not a multiple of a step of {division.step} ({division.processes} processes): Accelerate fills "
            "the last step with samples that were read before. Give the loader drop_last=True, or the stream another length",
            MixfastWarning,
            stacklevel=5,
        )


def _warn_of_the_same_samples(name: str, given: bool) -> None:
    """Warn if each of several processes reads the whole stream and no trainer is known to divide it."""
    import torch.distributed

    state = sys.modules.get("accelerate.state")
    processes, advice = 1, ""
    if given and state is not None and state.is_initialized():
        # With a parallelism config, some processes read the same samples on purpose.
        if getattr(state.AcceleratorState(), "parallelism_config", None) is None:
            processes = state.AcceleratorState().num_processes
        advice = "give the loader to accelerator.prepare, or leave out rank and world_size"
    elif not given and not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        words = os.environ.get("WORLD_SIZE", "")
        processes = int(words) if words.isdecimal() else 1
        advice = "call torch.distributed.init_process_group first, or give rank and world_size"
    if processes > 1:
        warnings.warn(
            f"each of {processes} processes reads all samples of this {name}: {advice}", MixfastWarning, stacklevel=5
        )
