"""Ranks: the processes of one run, as `torchrun` starts them; each does a part of the jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from mixfast._text.names import shown
from mixfast.errors import ScoreError

# A rank may finish hours before another. A rank that dies is still noticed at once, because its connection breaks.
_PATIENCE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process is number `rank` of `world`."""

    rank: int
    world: int
    group: object = None

    def mine(self, jobs: int) -> range:
        """Return the jobs of this rank: consecutive ones, so that each rank loads few experts."""
        return range(jobs * self.rank // self.world, jobs * (self.rank + 1) // self.world)

    def wait(self) -> None:
        """Wait until every rank has called this."""
        if self.world == 1:
            return
        import torch.distributed as distributed

        try:
            distributed.barrier(group=self.group)
        except RuntimeError as problem:
            raise ScoreError(
                f"rank {self.rank}: another rank ended early and has printed the reason ({problem})"
            ) from None


@contextmanager
def ranks() -> Iterator[Ranks]:
    """Join the ranks given by the environment variables RANK and WORLD_SIZE; without them there is one rank."""
    found = Ranks(_number("RANK", 0), _number("WORLD_SIZE", 1))
    if not 0 <= found.rank < found.world:
        raise ScoreError(f"RANK is {found.rank} and WORLD_SIZE {found.world}; start the ranks with torchrun")
    if found.world == 1:
        yield found
        return
    import torch.distributed as distributed

    # A training script may have a process group already. It stays unchanged; its timeout would be too short.
    joined = distributed.is_initialized()
    if joined:
        found = replace(found, group=distributed.new_group(backend="gloo", timeout=_PATIENCE))
    else:
        distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield found
    finally:
        distributed.destroy_process_group(found.group)


def _number(key: str, default: int) -> int:
    value = os.environ.get(key, str(default))
    if not value.isdigit():
        raise ScoreError(f"{key} is {shown(value)}, expected a number; start the ranks with torchrun")
    return int(value)
