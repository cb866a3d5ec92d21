"""Processes of torch.distributed."""

from __future__ import annotations

from typing import Any

from mixfast._text.optional import needed
from mixfast.errors import BackendError


class TorchRanks:
    """Use the processes of an initialised process group of torch.distributed.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup, optional
        By default the group of all processes. Its timeout must be longer than the time that the slowest rank needs for its part
        of a table. What crosses is small, so gloo is as fast as nccl.

    Raises
    ------
    BackendError
        If torch is missing, or no process group has been initialised.
    """

    def __init__(self, group: Any = None) -> None:
        with needed("TorchRanks", "torch", "torch", BackendError):
            import torch.distributed as distributed
        if not (distributed.is_available() and distributed.is_initialized()):
            raise BackendError(
                "torch.distributed has no process group: call torch.distributed.init_process_group('gloo') first, or use "
                "mixfast.ranks.from_environment() in processes that torchrun has started"
            )
        self.group = group
        self.rank = int(distributed.get_rank(group))
        self.size = int(distributed.get_world_size(group))
        if self.rank < 0:
            raise BackendError("this process is not a member of the given process group: pass a group that contains it")
        self._root = 0 if group is None else distributed.get_global_rank(group, 0)
        # A group with nccl alone needs tensors on the GPU of its process.
        kinds = str(distributed.get_backend_config(group))
        self._device = "cpu" if "cpu:" in kinds or "gloo" in kinds or "mpi" in kinds else "cuda"

    def all_gather(self, data: bytes) -> list[bytes]:
        """Exchange equally many bytes with all ranks."""
        import torch
        import torch.distributed as distributed

        mine = self._tensor(data)
        every = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(every, mine, group=self.group)
        return [each.cpu().numpy().tobytes() for each in every]

    def broadcast(self, data: bytes) -> bytes:
        """Return the bytes of rank 0."""
        import torch.distributed as distributed

        tensor = self._tensor(data)
        distributed.broadcast(tensor, src=self._root, group=self.group)
        return bytes(tensor.cpu().numpy().tobytes())

    def _tensor(self, data: bytes) -> Any:
        import torch

        return torch.frombuffer(bytearray(data), dtype=torch.uint8).to(self._device)
