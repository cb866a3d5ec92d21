"""The peers of `token_logprob`: each takes (hidden, head, target) and gives a function of no arguments for -log p, (n,).

Preparing raises where the peer is not installed. None of them is asked for gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Run = Callable[[], Any]


def cut_cross_entropy(hidden: Any, head: Any, target: Any) -> Run:
    """Apple's cut-cross-entropy."""
    from cut_cross_entropy import linear_cross_entropy

    return lambda: linear_cross_entropy(hidden, head, target, reduction="none")


def liger(hidden: Any, head: Any, target: Any) -> Run:
    """Liger's fused linear cross entropy: chunks of rows, logits of a chunk stored."""
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    loss = LigerFusedLinearCrossEntropyLoss(reduction="none")
    return lambda: loss(head, hidden, target)


def compiled(hidden: Any, head: Any, target: Any) -> Run:
    """torch.compile of the plain form: all logits stored."""
    import torch

    def plain(h: Any, w: Any, t: Any) -> Any:
        return torch.nn.functional.cross_entropy((h @ w.T).float(), t, reduction="none")

    made = torch.compile(plain, dynamic=False)
    return lambda: made(hidden, head, target)


def linear_cross_entropy(hidden: Any, head: Any, target: Any) -> Run:
    """torch's own chunked form, from 2.13 on."""
    import torch

    if not hasattr(torch.nn.functional, "linear_cross_entropy"):
        raise ImportError(f"torch {torch.__version__} has no linear_cross_entropy")
    return lambda: torch.nn.functional.linear_cross_entropy(hidden, head, target, reduction="none")


HEAD: dict[str, Callable[[Any, Any, Any], Run]] = {
    "cut-cross-entropy": cut_cross_entropy,
    "Liger": liger,
    "torch linear_cross_entropy": linear_cross_entropy,
    "torch.compile": compiled,
}
