"""Liger's fused linear cross entropy: chunks of rows, logits of a chunk stored."""

from benchmarks.peers import lacks

name, job = "Liger", "head"


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("liger_kernel")


def prepare(inputs):
    """The loss, and (hidden, head, target)."""
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    return LigerFusedLinearCrossEntropyLoss(reduction="none"), inputs


def run(ready):
    """``-log p`` of the targets, (n,)."""
    loss, (hidden, head, target) = ready
    return loss(head, hidden, target)
