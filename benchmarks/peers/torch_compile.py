"""torch.compile of the plain form of a language model's head: all logits stored."""

from benchmarks.peers import lacks

name, job = "torch.compile", "head"


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("torch")


def prepare(inputs):
    """The compiled function, and (hidden, head, target)."""
    import torch

    def plain(hidden, head, target):
        return torch.nn.functional.cross_entropy((hidden @ head.T).float(), target, reduction="none")

    return torch.compile(plain, dynamic=False), inputs


def run(ready):
    """``-log p`` of the targets, (n,)."""
    compiled, inputs = ready
    return compiled(*inputs)
