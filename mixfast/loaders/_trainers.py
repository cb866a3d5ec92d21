"""Trainers that divide a loader's batches among the processes themselves: what they do with a stream, and what is refused.

Accelerate, and so the Trainer of transformers, cuts the batches of each loader that it prepares. A stream that already gives
each rank its part would be cut twice, and most of the run would never be read. Lightning and Fabric leave a loader alone whose
sampler is torch's `DistributedSampler`, as `StreamSampler` is, or whose data set is iterable.
"""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch.distributed
import torch.utils.data

from mixfast.errors import MixfastWarning, SamplerError


@dataclass(frozen=True)
class Cut:
    """How Accelerate divides the loader that is being read.

    Attributes
    ----------
    processes : int
        Among how many processes it divides the samples.
    batch : int
        Samples that the loader takes from its sampler or data set before it divides them; 0 if another data set in between
        makes something else of them.
    step : int
        Samples of one step of all processes; 0 likewise.
    fills : bool
        Whether it fills up a last step that is not full with samples that it has read before.
    """

    processes: int
    batch: int
    step: int
    fills: bool


def cut_of(place: object) -> Cut | None:
    """Return how the loader that Accelerate reads divides what ``place``, its sampler or data set, gives; None if none does."""
    state = sys.modules.get("accelerate.state")
    loaders = sys.modules.get("accelerate.data_loader")
    if state is None or loaders is None:
        return None
    for loader in state.GradientState().dataloader_references:
        if loader is None:
            continue
        samplers = [_wrapped(outer, torch.utils.data.Sampler) for outer in (loader.batch_sampler, loader.sampler)]
        parts = [*samplers[0], *samplers[1], *_wrapped(loader.dataset, torch.utils.data.IterableDataset)]
        if not any(part is place for part in parts):
            continue
        shards = [part for part in parts if getattr(part, "num_processes", 1) > 1]
        own = [part for part in parts if part is place or part in shards or isinstance(part, torch.utils.data.Sampler)]
        direct = len(own) == len(parts)
        if isinstance(loader, loaders.DataLoaderDispatcher):
            processes, size = loader.state.num_processes, loader.batch_size or 1
            step = size if loader.split_batches else size * processes
            cut = Cut(processes, size, step, not loader._drop_last)
        elif shards:
            shard = shards[0]
            step = shard.batch_size if shard.split_batches else shard.batch_size * shard.num_processes
            fills = not shard.drop_last and getattr(shard, "even_batches", True)
            # A shard of an iterable data set reads a whole step before it takes its part.
            size = step if isinstance(shard, torch.utils.data.IterableDataset) else shard.batch_size
            cut = Cut(shard.num_processes, size, step, fills)
        else:
            return None
        if cut.processes == 1:
            return None
        return cut if direct else replace(cut, batch=0, step=0)
    return None


def _wrapped(outer: object, kind: type) -> list[Any]:
    """Return an object and all of a kind that it holds, directly or in one that it holds."""
    found: list[Any] = []
    waiting = [outer]
    while waiting:
        part = waiting.pop(0)
        if isinstance(part, kind) and not any(part is other for other in found):
            found.append(part)
            waiting += vars(part).values()
    return found


def check_trainer(place: Any, given: bool) -> Cut | None:
    """Refuse a place that gives a rank's part to a trainer that divides it again; warn where samples would be read twice.

    Parameters
    ----------
    place : StreamSampler or StreamDataset
        At the start of a pass.
    given : bool
        Whether its rank and world size were given, not found.
    """
    name, cut = type(place).__name__, cut_of(place)
    worker = torch.utils.data.get_worker_info()
    first = worker is None or worker.id == 0
    if cut is None:
        if first and place.world_size == 1:
            _warn_of_the_same_samples(name, given)
        return None
    if place.world_size > 1:
        raise SamplerError(
            f"Accelerate divides the batches of this loader among {cut.processes} processes, and this {name} gives rank "
            f"{place.rank} of {place.world_size} its part only, so only one sample in {place.world_size} would be read. Make it "
            f"with {name}(..., rank=0, world_size=1), or do not give the loader to accelerator.prepare"
        )
    if first and cut.fills and cut.step and place.stream.length is not None and place.samples() % cut.step:
        warnings.warn(
            f"{place.samples()} samples are no multiple of a step of {cut.step} ({cut.processes} processes): Accelerate fills up "
            "the last step with samples that were read before. Give the loader drop_last=True, or the stream another length",
            MixfastWarning,
            stacklevel=3,
        )
    return cut


def _warn_of_the_same_samples(name: str, given: bool) -> None:
    """Warn if each of several processes reads the whole stream and no trainer is known to divide it."""
    processes, how = 1, ""
    state = sys.modules.get("accelerate.state")
    if given and state is not None and state.is_initialized():
        # With a parallelism config some processes are to read the same samples.
        if getattr(state.AcceleratorState(), "parallelism_config", None) is None:
            processes = state.AcceleratorState().num_processes
        how = "give the loader to accelerator.prepare, or leave out rank and world_size"
    elif not given and not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        words = os.environ.get("WORLD_SIZE", "")
        processes = int(words) if words.isdecimal() else 1
        how = "call torch.distributed.init_process_group first, or give rank and world_size"
    if processes > 1:
        warnings.warn(
            f"each of {processes} processes reads all samples of this {name}: {how}", MixfastWarning, stacklevel=4
        )
