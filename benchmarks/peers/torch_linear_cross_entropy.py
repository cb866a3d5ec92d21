"""torch's own chunked form of a language model's head, from 2.13 on."""

from benchmarks.peers import lacks

name, job = "torch linear_cross_entropy", "head"


def reason():
    """Return why this peer cannot run here, or None."""
    if missing := lacks("torch"):
        return missing
    import torch

    if not hasattr(torch.nn.functional, "linear_cross_entropy"):
        return f"torch {torch.__version__} has no linear_cross_entropy"
    return None


def run(inputs):
    """``-log p`` of the targets, (n,), from (hidden, head, target)."""
    import torch

    return torch.nn.functional.linear_cross_entropy(*inputs, reduction="none")
