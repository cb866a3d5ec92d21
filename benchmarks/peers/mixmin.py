"""The loop of the MixMin paper in numpy: 100 exponentiated-gradient steps of size 1 on the unscaled loss, last iterate."""

import numpy as np

name, job = "MixMin's loop, 100 steps", "solve"


def reason():
    """It needs numpy only."""


def prepare(task):
    """Probabilities and row weights."""
    return task.problem.prob, task.problem.row_weight


def run(ready):
    """Shares (K,)."""
    prob, weight = ready
    w = np.full(prob.shape[1], 1.0 / prob.shape[1])
    for _ in range(100):
        slope = -((weight / (prob @ w)) @ prob)
        w = w * np.exp(slope.min() - slope)  # the same ratios as exp(-slope), without overflow
        w = w / w.sum()
    return w
