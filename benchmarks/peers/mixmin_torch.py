"""The loop of the MixMin paper in torch: its 100 steps, gradients by autograd, float32."""

import numpy as np

from benchmarks.facts import threads
from benchmarks.peers import lacks

name, job = "MixMin's loop in torch, 100 steps", "solve"


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("torch")


def prepare(task):
    """Probabilities and row weights as tensors."""
    import torch

    torch.set_num_threads(threads())
    return torch.from_numpy(task.problem.prob32), torch.from_numpy(task.problem.row_weight.astype(np.float32))


def run(ready):
    """Shares (K,)."""
    import torch

    prob, weight = ready
    w = torch.full((prob.shape[1],), 1.0 / prob.shape[1])
    for _ in range(100):
        w.requires_grad_()
        (slope,) = torch.autograd.grad(-(weight @ torch.log(prob @ w)), w)
        with torch.no_grad():
            w = w * torch.exp(slope.min() - slope)
            w = w / w.sum()
    return w.double().numpy()
