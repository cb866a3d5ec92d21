"""What the log-probability kernels refuse: wrong devices, dtypes, shapes and targets, and results that are not finite."""

import math

import torch
import triton

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
# Names enough to see a pattern; the message has the count of the rest.
_SHOWN = 5


def is_interpreted(kernel: object) -> bool:
    """Whether triton runs this kernel in its interpreter, which it decides when it is first imported."""
    return not isinstance(kernel, triton.JITFunction)


def listing(numbers: torch.Tensor) -> str:
    """Return the first few of (m,) integers, and how many more there are."""
    shown = ", ".join(str(number) for number in numbers[:_SHOWN].tolist())
    more = len(numbers) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def check_device(kernel: object, **tensors: torch.Tensor | None) -> None:
    """Refuse tensors of several devices, and CPU tensors unless triton interprets."""
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
    """Refuse what the kernels cannot read."""
    if tensor.dtype not in DTYPES:
        raise TypeError(f"{name} is {tensor.dtype}; expected torch.float16, torch.bfloat16 or torch.float32")


def check_numbers(scale: float, softcap: float | None) -> None:
    """Refuse a scale or a softcap that is not positive and finite."""
    for name, number in (("scale", scale), ("softcap", softcap)):
        if number is not None and not (math.isfinite(number) and number > 0):
            raise ValueError(f"{name} is {number}; expected a positive finite number")


def used_columns(vocab: int | None, width: int, name: str) -> int:
    """Return the number of columns that count."""
    if vocab is None:
        return width
    if not 1 <= vocab <= width:
        raise ValueError(f"vocab is {vocab}; expected 1 to {width}, the tokens that {name} has")
    return vocab


def check_target(target: torch.Tensor, n_rows: int, vocab: int, ignore_index: int) -> None:
    """Refuse targets of the wrong shape or dtype, and those outside the vocabulary: one reduction, one wait."""
    if target.shape != (n_rows,):
        raise ValueError(f"target has shape {tuple(target.shape)}; expected ({n_rows},), one token for each row")
    if target.dtype.is_floating_point or target.dtype.is_complex or target.dtype == torch.bool:
        raise TypeError(f"target is {target.dtype}; expected an integer dtype")
    wrong = ((target < 0) | (target >= vocab)) & (target != ignore_index)
    if bool(wrong.any()):
        rows = wrong.nonzero()[:, 0]
        raise ValueError(
            f"target[{int(rows[0])}] is {int(target[rows[0]])}; expected 0 to {vocab - 1} or ignore_index={ignore_index}; "
            f"rows out of range: {listing(rows)}"
        )


def checked_out(out: torch.Tensor | None, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Return the caller's table once its shape, dtype and device are right, or a new one."""
    if out is None:
        return torch.empty(shape, dtype=torch.float32, device=device)
    if tuple(out.shape) != shape or out.dtype != torch.float32 or out.device != device:
        raise ValueError(
            f"out has shape {tuple(out.shape)}, {out.dtype} on {out.device}; expected {shape}, torch.float32 on {device}"
        )
    return out


def not_a_logprob(result: torch.Tensor, *, masked: bool) -> torch.Tensor:
    """Mark the values that no log-probability has; -inf is one where a bias of -inf may have banned the target."""
    wrong = ~torch.isfinite(result)
    return wrong & (result != -math.inf) if masked else wrong
