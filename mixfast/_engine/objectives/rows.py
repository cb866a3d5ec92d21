"""Where the rows of a table are worked on: the CPU, a device, or streamed to it."""

from __future__ import annotations

from typing import Any

from mixfast._engine.backend import device as _device
from mixfast._engine.backend.arrays import Columns
from mixfast._engine.objectives.base import RowObjective
from mixfast._engine.objectives.rows_cpu import CrossEntropy
from mixfast.tables import ExpertTable


def row_objective(
    table: ExpertTable,
    weight: Any,
    scale: float,
    *,
    threads: int,
    device: Any = None,
    usable: Columns | None = None,
    wide: bool | None = None,
    window: slice | None = None,
) -> RowObjective:
    """The cross-entropy of the rows (of a window), on the device where the table lives, or on `device` (a torch device)."""
    if device is None and _device.is_tensor(table.values):
        device = table.values.device
    if device is None:
        return CrossEntropy(table, weight, scale, threads=threads, usable=usable, wide=wide, window=window)
    from mixfast._engine.objectives.rows_cuda import DeviceCrossEntropy

    return DeviceCrossEntropy(table, weight, scale, device=device, usable=usable, wide=wide, window=window)
