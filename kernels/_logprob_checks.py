"""Checks of the log-probability kernels: devices, dtypes, shapes, targets and results that are not finite."""

import math
from collections.abc import Sequence

import torch
import triton

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
# Enough numbers to see a pattern; the message counts the rest.
_SHOWN = 5


def is_interpreted(kernel: object) -> bool:
    """Return whether triton runs this kernel in its interpreter; it decides when it is first imported."""
    return not isinstance(kernel, triton.JITFunction)


def listing(numbers: torch.Tensor) -> str:
    """Return text with the first few of (m,) integers and the number of the rest."""
    shown = ", ".join(str(number) for number in numbers[:_SHOWN].tolist())
    more = len(numbers) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def check_device(kernel: object, **tensors: torch.Tensor | None) -> None:
    """Refuse tensors on several devices, and CPU tensors unless triton runs in its interpreter."""
    devices = {name: tensor.device for name, tensor in tensors.items() if tensor is not None}
    if len(set(devices.values())) > 1:
        where = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise ValueError(f"the tensors are on different devices: {where}; move them to one")
    device = next(iter(devices.values()))
    if device.type != "cuda" and not is_interpreted(kernel):
        raise ValueError(
            f"the tensors are on {device}, and the kernels run on a CUDA device; mixfast.kernels.reference has the same "
            "functions in plain torch for any device (for tests, TRITON_INTERPRET=1 in the environment runs kernels on the CPU)"
        )


def check_dtype(name: str, tensor: torch.Tensor) -> None:
    """Refuse dtypes that the kernels cannot read."""
    if tensor.dtype not in DTYPES:
        raise TypeError(f"{name} is {tensor.dtype}; expected torch.float16, torch.bfloat16 or torch.float32")


def check_numbers(scale: float, softcap: float | None) -> None:
    """Refuse a scale or a softcap that is not positive and finite."""
    for name, number in (("scale", scale), ("softcap", softcap)):
        if number is not None and not (math.isfinite(number) and number > 0):
            raise ValueError(f"{name} is {number}; expected a positive finite number")


def used_columns(vocab: int | None, width: int, name: str) -> int:
    """Return the number of columns that belong to the vocabulary."""
    if not width:
        raise ValueError(f"{name} has no tokens; expected at least 1")
    if vocab is not None and not 1 <= vocab <= width:
        raise ValueError(f"vocab is {vocab}; expected 1 to {width}, the tokens that {name} has")
    return width if vocab is None else vocab


def check_target(target: torch.Tensor, n_rows: int) -> None:
    """Refuse targets of the wrong shape or dtype; their values are checked if a result is not a log-probability."""
    if target.shape != (n_rows,):
        raise ValueError(f"target has shape {tuple(target.shape)}; expected ({n_rows},), one token for each row")
    if target.dtype.is_floating_point or target.dtype.is_complex or target.dtype == torch.bool:
        raise TypeError(f"target is {target.dtype}; expected an integer dtype")


def checked_out(out: torch.Tensor | None, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Return the caller's table once its shape, dtype and device are right, or a new one."""
    if out is None:
        return torch.empty(shape, dtype=torch.float32, device=device)
    if tuple(out.shape) != shape or out.dtype != torch.float32 or out.device != device:
        raise ValueError(
            f"out has shape {tuple(out.shape)}, {out.dtype} on {out.device}; expected {shape}, torch.float32 on {device}"
        )
    return out


def all_finite(result: torch.Tensor) -> bool:
    """Return whether the sum of all values is finite: one small kernel, one wait. The sum may overflow though all values are finite."""
    return math.isfinite(float(result.sum()))


def not_a_logprob(result: torch.Tensor, *, masked: bool) -> torch.Tensor:
    """Mark values that are not log-probabilities; -inf is one if a bias of -inf may have banned the target."""
    wrong = ~torch.isfinite(result)
    return wrong & (result != -math.inf) if masked else wrong


def explain_targets(wrong: torch.Tensor, target: torch.Tensor, vocab: int, ignore_index: int) -> None:
    """Raise if targets outside the vocabulary caused wrong results, and name them."""
    if not bool(wrong.any()):
        return
    outside = ((target < 0) | (target >= vocab)) & (target != ignore_index)
    rows = outside.nonzero()[:, 0]
    if len(rows):
        raise ValueError(
            f"target[{int(rows[0])}] is {int(target[rows[0]])}; expected 0 to {vocab - 1} or ignore_index={ignore_index}; "
            f"rows out of range: {listing(rows)}"
        )


def explain_inputs(wrong: torch.Tensor, hiddens: list[torch.Tensor], heads: list[torch.Tensor]) -> None:
    """Raise for the first expert with wrong results (n, E), and name the input that caused them."""
    for e, (hidden, head) in enumerate(zip(hiddens, heads, strict=True)):
        rows = wrong[:, e].nonzero()[:, 0]
        if not len(rows):
            continue
        where = f"expert {e}" if len(hiddens) > 1 else "the result"
        broken = rows[~torch.isfinite(hidden[rows]).all(dim=1)]
        if len(broken):
            raise ValueError(
                f"{where}: hidden is NaN or infinite in rows {listing(broken)}; log p is not a number there"
            )
        tokens = (~torch.isfinite(head).all(dim=1)).nonzero()[:, 0]
        if len(tokens):
            raise ValueError(
                f"{where}: head is NaN or infinite for tokens {listing(tokens)}; every row depends on them"
            )
        raise ValueError(
            f"{where}: log p is not finite in rows {listing(rows)} though hidden and head are; their products overflow "
            "float32, or the bias is not finite"
        )


def as_lists(
    hidden: torch.Tensor | Sequence[torch.Tensor],
    head: torch.Tensor | Sequence[torch.Tensor],
    bias: torch.Tensor | Sequence[torch.Tensor | None] | None,
) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor | None]]:
    """Return the inputs of each launch: lists of (E, n, D), (E, V, D) and (E, V) tensors, with one entry for tensor input."""
    if isinstance(hidden, torch.Tensor) and isinstance(head, torch.Tensor):
        if hidden.ndim not in (2, 3) or head.ndim != hidden.ndim:
            raise ValueError(
                f"hidden has shape {tuple(hidden.shape)} and head {tuple(head.shape)}; expected (n, D) and (V, D), "
                "or (E, n, D) and (E, V, D)"
            )
        if bias is not None and not isinstance(bias, torch.Tensor):
            raise TypeError("bias is a list and hidden one tensor; give a tensor of shape (V,) or (E, V)")
        if hidden.ndim == 3:
            return [hidden], [head], [bias]
        return [hidden[None]], [head[None]], [None if bias is None else bias[None]]
    if isinstance(hidden, torch.Tensor) or isinstance(head, torch.Tensor):
        raise TypeError("hidden and head must both be tensors, or both lists with one tensor for each expert")
    biases = [None] * len(hidden) if bias is None else list(bias)
    if not len(hidden) == len(head) == len(biases) or not len(hidden):
        raise ValueError(
            f"hidden lists {len(hidden)} experts, head {len(head)}, bias {len(biases)}; expected the same, at least 1"
        )
    for e, pair in enumerate(zip(hidden, head, strict=True)):
        if pair[0].ndim != 2 or pair[1].ndim != 2:
            raise ValueError(
                f"expert {e}: hidden has shape {tuple(pair[0].shape)} and head {tuple(pair[1].shape)}; expected (n, D) and (V, D)"
            )
    return [h[None] for h in hidden], [h[None] for h in head], [None if b is None else b[None] for b in biases]


def check_expert(e: int, hidden: torch.Tensor, head: torch.Tensor, bias: torch.Tensor | None, n_rows: int) -> None:
    """Refuse an expert, or a batch of them, whose tensors do not fit together."""
    check_dtype(f"hidden of expert {e}", hidden)
    if head.dtype != hidden.dtype:
        raise TypeError(f"expert {e}: hidden is {hidden.dtype} and head {head.dtype}; give both the same dtype")
    if hidden.shape[0] != head.shape[0] or hidden.shape[2] != head.shape[2] or not hidden.shape[2]:
        raise ValueError(
            f"expert {e}: hidden has shape {tuple(hidden.shape)} and head {tuple(head.shape)} as (experts, rows, depth); "
            "their experts and depths must be equal, and the depth at least 1"
        )
    if hidden.shape[1] != n_rows:
        raise ValueError(f"expert {e}: hidden has {hidden.shape[1]} rows, the first expert {n_rows}")
    if bias is not None and tuple(bias.shape) != tuple(head.shape[:2]):
        raise ValueError(
            f"expert {e}: bias has shape {tuple(bias.shape)}; expected {tuple(head.shape[:2])}, (experts, tokens)"
        )
