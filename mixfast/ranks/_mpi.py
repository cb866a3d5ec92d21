"""Processes of MPI."""

from __future__ import annotations

from typing import Any


class MpiRanks:
    """Use the processes of a communicator of mpi4py.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The communicator, for example ``MPI.COMM_WORLD``.
    """

    def __init__(self, comm: Any) -> None:
        self.comm = comm
        self.rank = int(comm.Get_rank())
        self.size = int(comm.Get_size())

    def all_gather(self, data: bytes) -> list[bytes]:
        """Exchange equally many bytes with all ranks."""
        every = bytearray(len(data) * self.size)
        self.comm.Allgather(bytearray(data), every)
        return [bytes(every[i * len(data) : (i + 1) * len(data)]) for i in range(self.size)]

    def broadcast(self, data: bytes) -> bytes:
        """Return the bytes of rank 0."""
        buffer = bytearray(data)
        self.comm.Bcast(buffer, root=0)
        return bytes(buffer)
