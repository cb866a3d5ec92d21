"""Olmix's fit of the log-linear law: torch's L-BFGS from 300 starts, 100 outer steps each; a few starts are timed, and scaled up.

Settings as published (Olmix, arXiv:2602.12237, and its code): Huber loss with delta 0.02, float32, gamma on a grid, learning rate 0.01, history 10,
at most 20 inner iterations with a strong Wolfe search, and a stop rule that never fires.
"""

import time

import numpy as np

from benchmarks.facts import threads
from benchmarks.peers import lacks, reported

name, job, timer = "Olmix's fit in torch, 300 starts", "log_linear", reported

STARTS, MEASURED, STEPS, DELTA = 300, 2, 100, 0.02


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("torch")


def run(runs):
    """Smallest summed Huber loss of each metric among the timed starts, (J,)."""
    import torch

    torch.set_num_threads(threads())
    rng = np.random.default_rng(42)
    x = torch.from_numpy(np.asarray(runs[0], dtype=np.float32))
    best, began = [], time.perf_counter()
    for column in runs[1].T:
        y = torch.from_numpy(column.astype(np.float32))
        best.append(min(_start(torch, x, y, rng, start) for start in range(MEASURED)))
    reported.add((time.perf_counter() - began) * STARTS / MEASURED)
    return np.array(best)


def _start(torch, x, y, rng, start):
    gamma = np.linspace(-2.0, 1.5, 10)[start * 10 // MEASURED % 10]
    theta = torch.tensor(np.r_[gamma, rng.uniform(0.0, 0.1, x.shape[1])], dtype=torch.float32, requires_grad=True)
    search = torch.optim.LBFGS([theta], lr=0.01, history_size=10, max_iter=20, line_search_fn="strong_wolfe")

    def loss():
        predicted = torch.exp(theta[0]) + torch.exp(x @ theta[1:])
        return torch.nn.functional.huber_loss(predicted, y, delta=DELTA, reduction="sum")

    def closure():
        search.zero_grad()
        value = loss()
        value.backward()
        return value

    for _ in range(STEPS):
        search.step(closure)
    return float(loss().detach())
