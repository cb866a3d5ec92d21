"""The protocol between processes: four members, so that any means of communication can be adapted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mixfast.errors import RankError


class LeaderLost(RankError):
    """Rank 0 has ended without a word, so another rank must say it."""


class Ranks(Protocol):
    """Processes that compute together: the number of this one, and two collective operations on bytes.

    `TorchRanks` and `MpiRanks` adapt torch.distributed and mpi4py; any class with these members works. All ranks call the same
    operations in the same order. An operation may wait for hours, because a rank may need that long to read its part of a table.
    """

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        ...

    @property
    def size(self) -> int:
        """Number of processes."""
        ...

    def all_gather(self, data: bytes) -> list[bytes]:
        """Exchange bytes; all ranks give equally many and get one entry for each rank, in order of rank."""
        ...

    def broadcast(self, data: bytes) -> bytes:
        """Return the bytes of rank 0; all ranks give equally many."""
        ...


@dataclass(frozen=True, slots=True)
class OneRank:
    """Be the only rank: this process alone."""

    rank: int = 0
    size: int = 1

    def all_gather(self, data: bytes) -> list[bytes]:
        """Return the given bytes as the only entry."""
        return [data]

    def broadcast(self, data: bytes) -> bytes:
        """Return the given bytes."""
        return data
