"""Exponentiated gradient in numpy with the fastest of some fixed step sizes, which is searched before the timing."""

import time
from dataclasses import replace

import numpy as np

from benchmarks.peers import Unable
from benchmarks.peers._iterations import iterate

name, job = "EG, best step", "solve"

# In units of 1 / sum of the row weights.
STEPS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


def reason():
    """It needs numpy only."""


def prepare(task):
    """The task and the fastest step."""
    failures = []
    best, shortest = None, replace(task, patience=task.patience / len(STEPS))
    for step in STEPS:
        began = time.perf_counter()
        try:
            run((shortest, step))
        except Unable as problem:
            failures.append(f"{step:g}: {problem}")
            continue
        taken = time.perf_counter() - began
        best, shortest = step, replace(task, patience=min(taken, shortest.patience))
    if best is None:
        raise Unable("no step reaches it; " + "; ".join(failures[:3]))
    return task, best


def run(ready):
    """Shares (K,)."""
    task, step = ready
    with np.errstate(over="ignore", invalid="ignore"):
        return iterate(task, lambda w, slope: w * np.exp(-step * (slope + 1.0)))
