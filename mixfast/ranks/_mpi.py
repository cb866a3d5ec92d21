"""Processes of MPI."""

from __future__ import annotations

import atexit
import sys
from typing import Any

from mixfast.errors import BackendError


class MpiRanks:
    """Use the processes of a communicator of mpi4py.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The communicator, for example ``MPI.COMM_WORLD``. No other thread may use it at the same time.

    Raises
    ------
    BackendError
        If MPI was initialised for use by the main thread only.
    """

    def __init__(self, comm: Any) -> None:
        self.comm = comm
        self.rank: int = int(comm.Get_rank())
        self.size: int = int(comm.Get_size())
        self._abandoned = False
        mpi = sys.modules.get("mpi4py.MPI")
        if mpi is not None and mpi.Query_thread() < mpi.THREAD_SERIALIZED:
            raise BackendError(
                "MPI was initialised for one thread, and ranks communicate from a thread of their own: leave "
                "mpi4py.rc.thread_level at 'multiple', its default"
            )

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

    def abandon(self) -> None:
        """Let the end of this process end all others: MPI cannot cancel an operation, and would wait for it."""
        if not self._abandoned:
            self._abandoned = True
            atexit.register(self.comm.Abort, 1)
