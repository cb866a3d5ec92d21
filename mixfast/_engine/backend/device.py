"""GPUs, and tables stored as tensors on them: checks and copies that work for arrays and tensors alike.

Only results as small as one row leave the device. torch is imported inside the functions.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.blocks import Stream, host_tensor
from mixfast._text.optional import needed
from mixfast.errors import BackendError, TableError

# DLPack device codes: CUDA memory, and memory managed by CUDA.
_CUDA_CODES = (2, 13)
# Number of values that a scan reads at a time: enough to hide the launch of a kernel, and small relative to GPU memory.
_SCAN_ELEMENTS = 1 << 26
# Fraction of the free memory that a table may use; the rest is for computation.
_SHARE_OF_MEMORY = 0.8
# A message names at most this many rows.
_SHOWN = 5


def cuda_device(number: str = "") -> Any:
    """Return the CUDA device of this number, by default the current one; raise BackendError if something is missing."""
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


def device_of_rank() -> Any:
    """Return the CUDA device of this process of torchrun: its number on this machine, modulo the devices that torch sees."""
    import torch

    count = torch.cuda.device_count()
    local = os.environ.get("LOCAL_RANK", "")
    return cuda_device(str(int(local) % count) if local.isdigit() and count else "")


def gpu_kernels() -> Any:
    """Return the package `mixfast.kernels`. It is imported on first use, because that takes seconds."""
    import mixfast.kernels

    return mixfast.kernels


def name(device: Any) -> str:
    """Return a human-readable name of the device."""
    import torch

    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else str(device)


def capacity(device: Any) -> float:
    """Return how many bytes a table may take on the device."""
    import torch

    return _SHARE_OF_MEMORY * float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else math.inf


def accepts(code: int) -> bool:
    """Return whether an array with this DLPack device code is on a GPU that torch can use, and stays there."""
    if code not in _CUDA_CODES:
        return False
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def is_tensor(values: Any) -> bool:
    """Return whether the values of a table are a tensor, without importing torch."""
    return not isinstance(values, np.ndarray)


def tensor(given: Any, name: str) -> Any:
    """Return a contiguous floating-point tensor, which shares the memory of the input if possible."""
    import torch

    out = given.detach() if isinstance(given, torch.Tensor) else torch.from_dlpack(given)
    if out.dtype not in (torch.float16, torch.float32, torch.float64):
        raise TableError(
            f"{name} must be float16, float32 or float64, got {str(out.dtype).removeprefix('torch.')}: convert it first, for "
            "a torch tensor with .float()"
        )
    # A lazily negated view is contiguous, but its memory holds the numbers with the opposite sign.
    return out.resolve_neg().contiguous()


def upload(values: NDArray[Any], device: Any) -> Any:
    """Return a tensor on the device with the values of an array."""
    import torch

    start = 0
    try:
        whole = torch.empty(values.shape, dtype=host_tensor(values[:0]).dtype, device=device)
        for block, _ in Stream(values, None, device).blocks():
            whole[start : start + len(block)] = block
            start += len(block)
    except torch.OutOfMemoryError as problem:
        raise BackendError(
            f"a table of {values.nbytes / 1e9:.3g} GB does not fit in the memory of {device}: leave it in host memory, and "
            f"solve(table, backend='cuda') streams it ({problem})"
        ) from None
    return whole


def send(array: NDArray[Any], device: Any) -> Any:
    """Copy a small array to the device through pinned memory, so that the host does not wait for queued work."""
    import torch

    tensor = torch.from_numpy(np.array(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def weights(array: Any, device: Any) -> Any:
    """Copy row weights to the device; None stays None."""
    return None if array is None else host_tensor(host(array)).to(device)


def group_weights(values: Any, weight: Any, of_group: NDArray[np.float64], offsets: NDArray[np.int64]) -> Any:
    """Return row weights (n,) on the device of the values: the rows' own weights (or one number) times those of their groups."""
    import torch

    counts = torch.from_numpy(np.diff(offsets)).to(values.device)
    return weight * torch.from_numpy(of_group).to(values.device).repeat_interleave(counts, output_size=values.shape[0])


def host(values: Any) -> NDArray[Any]:
    """Return values as a numpy array."""
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()


def dtype_of(values: Any) -> np.dtype[Any]:
    """Return the numpy type of an array or tensor."""
    return values.dtype if isinstance(values, np.ndarray) else np.dtype(str(values.dtype).removeprefix("torch."))


def take(values: Any, index: Any, axis: int) -> Any:
    """Copy rows (axis 0) or columns (axis 1), in C order."""
    if isinstance(values, np.ndarray):
        return values.take(index, axis=axis)
    import torch

    return values.index_select(axis, torch.as_tensor(np.asarray(index), dtype=torch.int64).to(values.device))


def scan(values: Any) -> tuple[tuple[float, float, float], tuple[int, NDArray[np.int64], int, NDArray[np.int64]]]:
    """Return the extremes of log-likelihoods on a device, and the invalid rows.

    The first tuple is the smallest and largest value and the smallest row maximum. The second is the number and the first
    few of the rows with NaN or +inf, and then of the rows that are -inf everywhere.
    """
    import torch

    low, high, lowest_top = math.inf, -math.inf, math.inf
    counts, rows = [0, 0], [[], []]  # type: tuple[list[int], list[list[int]]]
    step = max(_SCAN_ELEMENTS // values.shape[1], 1)
    for start in range(0, values.shape[0], step):
        block = values[start : start + step]
        # Both reductions propagate NaN.
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
    """Return the rows that are -inf in all of these columns."""
    import torch

    chosen = torch.from_numpy(columns.astype(np.int64)).to(values.device)
    step = max(_SCAN_ELEMENTS // chosen.numel(), 1)
    found = [
        host((values[start : start + step].index_select(1, chosen).amax(dim=1) == -math.inf).nonzero()[:, 0] + start)
        for start in range(0, values.shape[0], step)
    ]
    return np.concatenate(found)
