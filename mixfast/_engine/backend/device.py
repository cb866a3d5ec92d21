"""Tables whose values live on a GPU: what the nouns check and copy there, and the stream of blocks of a table that does not fit.

Values are torch tensors, and only numbers of the size of a row leave the device. torch is imported inside the functions.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._text.optional import needed
from mixfast.errors import BackendError, TableError

# DLPack device codes: CUDA, and memory that CUDA manages.
_CUDA_CODES = (2, 13)
# Values looked at at a time: large against the launch of a kernel, small against the memory.
_SCAN_ELEMENTS = 1 << 26
# Bytes of a block on its way from the host: a few milliseconds of the bus, and two of them pinned.
_BLOCK_BYTES = 128 << 20
# Part of the free memory that a table may take: the rest is for the work on it.
_SHARE_OF_MEMORY = 0.8
# Offenders a message names.
_SHOWN = 5


def cuda_device(number: str = "") -> Any:
    """That CUDA device, by default the current one; a BackendError says what is missing."""
    with needed("the cuda backend", "torch and triton", "mixfast[gpu]", BackendError):
        import torch
        import triton  # noqa: F401
    if not torch.cuda.is_available():
        why = "is built without CUDA" if torch.version.cuda is None else "finds no CUDA device or driver"
        raise BackendError(
            f"the cuda backend needs a GPU, and torch {torch.__version__} {why}: install a CUDA build of torch on a machine "
            "with an NVIDIA GPU, or use backend='cpu'"
        )
    index = int(number) if number else torch.cuda.current_device()
    if index >= torch.cuda.device_count():
        raise BackendError(f"there is no device cuda:{index}: torch sees {torch.cuda.device_count()} of them")
    return torch.device("cuda", index)


def gpu_kernels() -> Any:
    """Return the package `mixfast.kernels`; importing it takes seconds, so it is not imported before."""
    import mixfast.kernels

    return mixfast.kernels


def name(device: Any) -> str:
    """What a device calls itself."""
    import torch

    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else str(device)


def room(device: Any) -> float:
    """Bytes that a table may take on the device."""
    import torch

    return _SHARE_OF_MEMORY * float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else math.inf


def accepts(code: int) -> bool:
    """Whether an array with this DLPack device code stays where it is."""
    if code not in _CUDA_CODES:
        return False
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def is_tensor(values: Any) -> bool:
    """Whether a table's values live on a device; without importing torch."""
    return not isinstance(values, np.ndarray)


def tensor(given: Any, name: str) -> Any:
    """A contiguous floating tensor that shares the memory of what was given, where it can."""
    import torch

    out = given.detach() if isinstance(given, torch.Tensor) else torch.from_dlpack(given)
    if out.dtype not in (torch.float16, torch.float32, torch.float64):
        raise TableError(
            f"{name} must be float16, float32 or float64, got {str(out.dtype).removeprefix('torch.')}: convert it first, for "
            "a torch tensor with .float()"
        )
    # A view of negated numbers is contiguous, and its memory has the other sign.
    return out.resolve_neg().contiguous()


def upload(values: NDArray[Any], device: Any) -> Any:
    """A tensor on the device with the values of an array."""
    import torch

    start = 0
    try:
        whole = torch.empty(values.shape, dtype=_host_tensor(values[:0]).dtype, device=device)
        for block, _ in Stream(values, None, device).blocks():
            whole[start : start + len(block)] = block
            start += len(block)
    except torch.OutOfMemoryError as problem:
        raise BackendError(
            f"a table of {values.nbytes / 1e9:.3g} GB does not fit in the memory of {device}: leave it where it is, and "
            f"solve(table, backend='cuda') streams it ({problem})"
        ) from None
    return whole


def send(array: NDArray[Any], device: Any) -> Any:
    """A small array on the device, from pinned memory: without waiting for the work that was queued before."""
    import torch

    tensor = torch.from_numpy(np.array(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def weights(array: Any, device: Any) -> Any:
    """Row weights on the device; None stays None."""
    return None if array is None else _host_tensor(host(array)).to(device)


def group_weights(values: Any, weight: Any, of_group: NDArray[np.float64], offsets: NDArray[np.int64]) -> Any:
    """Row weights (n,) on the device of the values: the rows' own (or one number for all) times those of their groups."""
    import torch

    counts = torch.from_numpy(np.diff(offsets)).to(values.device)
    return weight * torch.from_numpy(of_group).to(values.device).repeat_interleave(counts, output_size=values.shape[0])


def host(values: Any) -> NDArray[Any]:
    """Values as a numpy array."""
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()


def dtype_of(values: Any) -> np.dtype[Any]:
    """The numpy type of an array or tensor."""
    return values.dtype if isinstance(values, np.ndarray) else np.dtype(str(values.dtype).removeprefix("torch."))


def take(values: Any, index: Any, axis: int) -> Any:
    """Rows (axis 0) or columns (axis 1), as a copy in C order."""
    if isinstance(values, np.ndarray):
        return values.take(index, axis=axis)
    import torch

    return values.index_select(axis, torch.as_tensor(np.asarray(index), dtype=torch.int64).to(values.device))


def scan(values: Any) -> tuple[tuple[float, float, float], tuple[int, NDArray[np.int64], int, NDArray[np.int64]]]:
    """Smallest, largest and smallest row maximum; and number and first few of the rows with NaN or +inf, and of those all -inf."""
    import torch

    low, high, lowest_top = math.inf, -math.inf, math.inf
    counts, rows = [0, 0], [[], []]  # type: tuple[list[int], list[list[int]]]
    step = max(_SCAN_ELEMENTS // values.shape[1], 1)
    for start in range(0, values.shape[0], step):
        block = values[start : start + step]
        # NaN propagates through both.
        top, least = block.amax(dim=1), block.amin()
        facts = torch.stack([least.double(), top.amax().double(), top.amin().double()]).tolist()
        low, high, lowest_top = min(low, facts[0]), max(high, facts[1]), min(lowest_top, facts[2])
        if not facts[1] < math.inf or facts[2] == -math.inf:
            for kind, wrong in enumerate((~(top < math.inf), top == -math.inf)):
                counts[kind] += int(wrong.sum())
                found = wrong.nonzero()[:_SHOWN, 0] + start
                rows[kind] = (rows[kind] + found.tolist())[:_SHOWN]
    bad, dead = (np.array(shown, dtype=np.int64) for shown in rows)
    return (low, high, lowest_top), (counts[0], bad, counts[1], dead)


def dead_rows(values: Any, columns: NDArray[np.int32]) -> NDArray[np.int64]:
    """Rows that are -inf in all of the columns."""
    import torch

    chosen = torch.from_numpy(columns.astype(np.int64)).to(values.device)
    step = max(_SCAN_ELEMENTS // chosen.numel(), 1)
    found = [
        host((values[start : start + step].index_select(1, chosen).amax(dim=1) == -math.inf).nonzero()[:, 0] + start)
        for start in range(0, values.shape[0], step)
    ]
    return np.concatenate(found)


def _host_tensor(array: NDArray[Any]) -> Any:
    """A tensor that shares an array's memory; it is only read, whatever torch thinks of read-only arrays."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


class Whole:
    """A table on the device, as the one block it is."""

    def __init__(self, values: Any, weight: Any) -> None:
        self.values, self.weight = values, weight

    def blocks(self) -> Iterator[tuple[Any, Any]]:
        """Yield (r, K) values and (r,) weights or None."""
        yield self.values, self.weight


class Stream:
    """A table in host memory, in blocks whose copies to the device run ahead of the work on them.

    Two pinned buffers take turns with two on the device: while the GPU works on one block, the next is on the bus, and the one after
    that is copied to pinned memory (which is left out where the table lies in such).
    """

    def __init__(self, values: NDArray[Any], weight: NDArray[np.float64] | None, device: Any) -> None:
        self.values, self.weight, self.device = values, weight, device
        row_bytes = values.shape[1] * values.itemsize + (0 if weight is None else weight.itemsize)
        self.step = min(max(_BLOCK_BYTES // row_bytes, 1), values.shape[0])

    def blocks(self) -> Iterator[tuple[Any, Any]]:
        """Yield (r, K) values and (r,) weights or None; a block may be overwritten when the next but one is asked for."""
        import torch

        cuda = self.device.type == "cuda"
        sources = [_host_tensor(array) for array in (self.values, self.weight) if array is not None]
        pinned = [cuda and source.is_pinned() for source in sources]

        def buffers(**where: Any) -> list[list[Any]]:
            return [[torch.empty((self.step, *s.shape[1:]), dtype=s.dtype, **where) for s in sources] for _ in range(2)]

        staged, near = buffers(pin_memory=cuda), buffers(device=self.device)
        copies: Any = torch.cuda.Stream(self.device) if cuda else None
        current: Any = torch.cuda.current_stream(self.device) if cuda else None
        if cuda:
            # The memory of the buffers may still be in use by work that was queued before.
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
            # The buffers go back to the allocator, which knows of the current stream only.
            current.wait_stream(copies)
