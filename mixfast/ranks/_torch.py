"""Processes of torch.distributed."""

from __future__ import annotations

import ctypes
import time
from datetime import timedelta
from typing import Any

from mixfast._text.optional import needed
from mixfast.errors import BackendError, RankError

# Seconds between two looks whether the operation that waits has been given up.
_LOOK = 0.2
# Operations have no time limit: a rank may need hours for its part. The team notices a rank that ends.
_NO_LIMIT = timedelta(days=365)


class TorchRanks:
    """Use the processes of an initialised process group of torch.distributed.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup, optional
        By default the group of all processes. What crosses is small, so gloo is as fast as nccl; if the group has both, gloo is used. The
        time limit of a gloo group does not apply, because a rank may need hours for its part of a table. That of a group with
        nccl alone does.

    Raises
    ------
    BackendError
        If torch is missing, no process group has been initialised, or this process is not in the group.
    """

    def __init__(self, group: Any = None) -> None:
        with needed("TorchRanks", "torch", "torch", BackendError):
            import torch
            import torch.distributed as distributed
        if not (distributed.is_available() and distributed.is_initialized()):
            raise BackendError(
                "torch.distributed has no process group: call torch.distributed.init_process_group('gloo') first, or use "
                "mixfast.ranks.from_environment() in processes that torchrun has started"
            )
        self.group = distributed.group.WORLD if group is None else group
        self.rank: int = int(distributed.get_rank(group))
        self.size: int = int(distributed.get_world_size(group))
        if self.rank < 0:
            raise BackendError("this process is not a member of the given process group: pass a group that contains it")
        # Such as "cpu:gloo,cuda:nccl". nccl alone needs tensors on the GPU of this process, in any thread.
        devices = {each.partition(":")[0] for each in str(distributed.get_backend_config(group)).split(",")}
        cpu = "cpu" in devices
        self._device = torch.device("cpu") if cpu else torch.device("cuda", torch.cuda.current_device())
        self.abandoned: bool = False
        # The last operation. If a thread of torch held the last reference to it when Python ends, the process would abort.
        self._last: Any = None

    def all_gather(self, data: bytes) -> list[bytes]:
        """Exchange equally many bytes with all ranks."""
        import torch
        from torch.distributed import distributed_c10d as c10d

        mine = self._tensor(data)
        every = [torch.empty_like(mine) for _ in range(self.size)]
        options = c10d.AllgatherOptions()
        options.timeout = _NO_LIMIT
        self._start("allgather", [every], [mine], options)
        return [each.cpu().numpy().tobytes() for each in every]

    def broadcast(self, data: bytes) -> bytes:
        """Return the bytes of rank 0."""
        from torch.distributed import distributed_c10d as c10d

        tensor = self._tensor(data)
        options = c10d.BroadcastOptions()
        options.rootRank = options.rootTensor = 0
        options.timeout = _NO_LIMIT
        self._start("broadcast", [tensor], options)
        return bytes(tensor.cpu().numpy().tobytes())

    def abandon(self) -> None:
        """Give up the operation that waits, and all later ones. The group stays until the process ends, because torch cannot cancel."""
        if not self.abandoned:
            self.abandoned = True
            # The destructor of a group waits for its operations.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.group))

    def release(self) -> None:
        """Let go of the group, so that its threads end when torch destroys it."""
        self.group = None

    def _tensor(self, data: bytes) -> Any:
        import torch

        return torch.frombuffer(bytearray(data), dtype=torch.uint8).to(self._device)

    def _start(self, name: str, *args: Any) -> None:
        """Wait for an operation in short pieces: a thread that waited inside torch when the process ends would abort it."""
        if self.abandoned:
            raise RankError("the ranks have been given up")
        self._last = work = getattr(self.group, name)(*args)
        if self._device.type == "cuda":
            while not work.is_completed():
                self._look()
                time.sleep(1e-4)
            work.wait()
            return
        while True:
            try:
                work.wait(timedelta(seconds=_LOOK))
                return
            except RuntimeError:
                if work.is_completed():
                    raise
                self._look(work)

    def _look(self, work: Any = None) -> None:
        if self.abandoned:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(work))
            raise RankError("the ranks have been given up")
