"""Shared by the first-order peers of the job `solve`: iterate on ready probabilities until the gap, which costs nothing extra, is reached."""

import time

import numpy as np

from benchmarks.peers import Unable


def iterate(task, step):
    """Return the shares when the gap is reached; `step` takes shares and the gradient of the loss whose weights sum to 1."""
    problem = task.problem
    prob, weight = problem.prob, problem.weight
    w = np.full(prob.shape[1], 1.0 / prob.shape[1])
    began = time.perf_counter()
    while True:
        slope = -((weight / (prob @ w)) @ prob)
        gap = (w @ slope - slope.min()) * problem.scale
        if gap <= task.gap:
            return w
        if not np.isfinite(gap) or time.perf_counter() - began > task.patience:
            raise Unable(f"gap {gap:.1e} after {task.patience:g} s, asked for {task.gap:g}")
        w = step(w, slope)
        w = w / w.sum()
