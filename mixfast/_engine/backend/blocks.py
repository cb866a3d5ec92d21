"""The rows of a table as blocks on a GPU: for a table in GPU memory, or one in host memory that is streamed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Stream", "Whole", "host_tensor"]

# Bytes of a block: a few milliseconds of transfer. Two blocks are in pinned memory and two on the device.
_BLOCK_BYTES = 128 << 20


def host_tensor(array: NDArray[Any]) -> Any:
    """Return a tensor that shares the memory of an array. Nothing writes to it, so the array may be read-only."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


class Whole:
    """A table on the device, as one block."""

    def __init__(self, values: Any, weight: Any) -> None:
        self.values, self.weight = values, weight

    def blocks(self) -> Iterator[tuple[Any, Any]]:
        """Yield (r, K) values and (r,) weights or None."""
        yield self.values, self.weight


class Stream:
    """A table in host memory, copied to the device in blocks while the GPU processes earlier ones.

    There are two pinned buffers and two on the device. While the GPU processes one block, the next is being transferred and the one
    after that is copied to pinned memory (unless the table is pinned already).
    """

    def __init__(self, values: NDArray[Any], weight: NDArray[np.float64] | None, device: Any) -> None:
        self.values, self.weight, self.device = values, weight, device
        row_bytes = values.shape[1] * values.itemsize + (0 if weight is None else weight.itemsize)
        self.step = min(max(_BLOCK_BYTES // row_bytes, 1), values.shape[0])

    def blocks(self) -> Iterator[tuple[Any, Any]]:
        """Yield (r, K) values and (r,) weights or None. A block is valid until the second block after it is requested."""
        import torch

        cuda = self.device.type == "cuda"
        sources = [host_tensor(array) for array in (self.values, self.weight) if array is not None]
        pinned = [cuda and source.is_pinned() for source in sources]

        def buffers(**where: Any) -> list[list[Any]]:
            return [[torch.empty((self.step, *s.shape[1:]), dtype=s.dtype, **where) for s in sources] for _ in range(2)]

        staged, near = buffers(pin_memory=cuda), buffers(device=self.device)
        copies: Any = torch.cuda.Stream(self.device) if cuda else None
        current: Any = torch.cuda.current_stream(self.device) if cuda else None
        if cuda:
            # Work queued earlier may still use the memory of the buffers.
            copies.wait_stream(current)
        sent: list[Any] = [torch.cuda.Event() if cuda else None for _ in range(2)]
        worked: list[Any] = [torch.cuda.Event() if cuda else None for _ in range(2)]
        for i, start in enumerate(range(0, self.values.shape[0], self.step)):
            turn, rows = i % 2, min(self.step, self.values.shape[0] - start)
            if cuda and i >= 2:
                sent[turn].synchronize()
            parts = [source[start : start + rows] for source in sources]
            for k, part in enumerate(parts):
                if not pinned[k]:
                    parts[k] = staged[turn][k][:rows].copy_(part)
            with torch.cuda.stream(copies):
                if cuda and i >= 2:
                    copies.wait_event(worked[turn])
                for target, part in zip(near[turn], parts, strict=True):
                    target[:rows].copy_(part, non_blocking=True)
                if cuda:
                    sent[turn].record(copies)
            if cuda:
                current.wait_event(sent[turn])
            yield near[turn][0][:rows], near[turn][1][:rows] if len(sources) > 1 else None
            if cuda:
                worked[turn].record(current)
        if cuda:
            # The allocator reuses the buffers, and it only knows the current stream.
            current.wait_stream(copies)
