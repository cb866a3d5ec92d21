"""Losses of many mixtures in torch, float32, in blocks of rows."""

from benchmarks.facts import threads
from benchmarks.peers import _blocks, lacks

name, job = "torch float32, blocks", "losses"


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("torch")


def prepare(case):
    """Tensors."""
    import torch

    torch.set_num_threads(threads())
    prob, weight, flat, constant = _blocks.arrays(case)
    return torch.from_numpy(prob), torch.from_numpy(weight), torch.from_numpy(flat), constant


def run(ready):
    """Losses (M,)."""
    import torch

    prob, weight, flat, constant = ready
    total = torch.zeros(flat.shape[1], dtype=torch.float64)
    for start in range(0, len(prob), _blocks.ROWS):
        mixed = (prob[start : start + _blocks.ROWS] @ flat).log_()
        total -= (weight[start : start + _blocks.ROWS] @ mixed).double()
    return total.numpy() - constant
