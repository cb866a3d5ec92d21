"""The table that row kernels take, its probabilities in plain torch, and the precision of torch's products."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

# The most domains that a tile of a kernel holds; tables with more use torch's matrix product.
MAX_TILE_EXPERTS = 256
# Elements of the pieces in which torch processes a table without a kernel.
TORCH_ELEMENTS = 1 << 24


class Table(NamedTuple):
    """Log-likelihoods (n, K), their weights and columns in use; `shift`, `bounded` and `wide` as in `row_pass`."""

    loglik: torch.Tensor
    weight: torch.Tensor | float
    columns: torch.Tensor | None
    shift: bool
    bounded: bool
    wide: bool

    def pointers(self, unread: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return log-likelihoods, columns and weights; `unread` replaces those that a kernel does not read."""
        return (
            self.loglik,
            unread if self.columns is None else self.columns,
            self.weight if isinstance(self.weight, torch.Tensor) else unread,
        )

    def flags(self) -> dict[str, Any]:
        """Return the constants by which a kernel is compiled for this kind of table."""
        return {
            "SHIFT": self.shift,
            "BOUNDED": self.bounded,
            "WEIGHTED": isinstance(self.weight, torch.Tensor),
            "GATHER": self.columns is not None,
        }

    def common_weight(self) -> float:
        """Return the factor of a kernel's sums: the weight that all rows share, or 1 if rows have their own."""
        return 1.0 if isinstance(self.weight, torch.Tensor) else self.weight

    def probabilities(self, rows: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return probabilities (r, C), weights (r,) and subtracted maxima (r,), in plain torch; probabilities are 1 in rows of weight 0."""
        part = self.loglik[rows]
        part = part if self.columns is None else part.index_select(1, self.columns)
        part = part.double() if self.wide else part.float()
        if isinstance(self.weight, torch.Tensor):
            c = self.weight[rows].double()
            # Rows of weight 0 may hold any value. Selecting the other rows would make the host wait for their number.
            part = torch.where(c[:, None] > 0.0, part, 0.0)
        else:
            c = torch.full((part.shape[0],), self.weight, dtype=torch.float64, device=part.device)
        if not self.shift or not part.shape[0]:
            return part.exp(), c, None
        top = part.amax(dim=1)
        return (part - top[:, None]).exp(), c, top.double()


def checked(mixtures: torch.Tensor, table: Table) -> Table:
    """Return the table for the kernels; refuse shapes and devices that would make them read memory outside it."""
    loglik, weight, columns = table.loglik, table.weight, table.columns
    if loglik.ndim != 2 or not loglik.is_floating_point():
        raise TypeError(f"loglik is {loglik.dtype} of shape {tuple(loglik.shape)}; expected floating (n, K)")
    for name, tensor, length in (
        ("weight", weight, loglik.shape[0]),
        ("columns", columns, mixtures.shape[-1]),
        ("mixtures", mixtures, None),
    ):
        if not isinstance(tensor, torch.Tensor):
            continue
        if tensor.device != loglik.device:
            raise ValueError(f"loglik is on {loglik.device} and {name} on {tensor.device}; move them to one device")
        if length is not None and tuple(tensor.shape) != (length,):
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected ({length},)")
    if columns is None and mixtures.shape[-1] != loglik.shape[1]:
        raise ValueError(f"the mixtures have {mixtures.shape[-1]} shares and loglik {loglik.shape[1]} experts")
    return table._replace(
        loglik=loglik if loglik.stride(1) == 1 else loglik.contiguous(),
        weight=weight.contiguous() if isinstance(weight, torch.Tensor) else weight,
        columns=None if columns is None else columns.contiguous(),
    )


def split(shares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float64 shares as two float32 tensors; with one, the rounding of p.w would have the same sign in every row."""
    high = shares.float()
    return high, (shares - high.double()).float()


@contextmanager
def full_float32() -> Iterator[None]:
    """Let torch multiply float32 at full precision, even if a training script allows TF32 (10 bits of mantissa)."""
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:
        # The newer setting was used, and torch then refuses to read the older one.
        matmul = torch.backends.cuda.matmul
        said, matmul.fp32_precision = matmul.fp32_precision, "ieee"
        try:
            yield
        finally:
            matmul.fp32_precision = said
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
