"""Join the processes that torchrun, Slurm or Ray Train have started, from environment variables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from mixfast._text.names import shown
from mixfast._text.optional import needed
from mixfast.errors import BackendError, RankError
from mixfast.ranks._protocol import OneRank, Ranks
from mixfast.ranks._torch import TorchRanks

# A rank may need hours for its part. A rank that dies is still noticed at once, because its connection breaks.
_PATIENCE = timedelta(days=30)


@contextmanager
def from_environment() -> Iterator[Ranks]:
    """Join the ranks given by the variables RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, which torchrun sets.

    Without RANK and WORLD_SIZE, this process is alone. An existing process group of torch.distributed stays unchanged: the ranks get a
    group of their own.

    Yields
    ------
    Ranks
        Valid within the ``with`` block.

    Raises
    ------
    RankError
        If the variables contradict each other.
    BackendError
        If torch is missing.
    """
    rank, size = _number("RANK", 0), _number("WORLD_SIZE", 1)
    if not 0 <= rank < size:
        raise RankError(f"RANK is {rank} and WORLD_SIZE {size}: start the ranks with torchrun")
    if size == 1:
        yield OneRank()
        return
    with needed("more than one rank", "torch", "torch", BackendError):
        import torch.distributed as distributed

    joined = distributed.is_initialized()
    group = None
    if joined:
        group = distributed.new_group(backend="gloo", timeout=_PATIENCE)
    else:
        distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield TorchRanks(group)
    finally:
        distributed.destroy_process_group(group)


def _number(key: str, default: int) -> int:
    value = os.environ.get(key, str(default))
    if not value.isdigit():
        raise RankError(f"{key} is {shown(value)}, expected a number: start the ranks with torchrun")
    return int(value)
