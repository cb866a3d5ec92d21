"""Expectation maximisation in numpy: ``w <- w * (P' (c / P w))``."""

from benchmarks.peers._iterations import iterate

name, job = "EM", "solve"


def reason():
    """It needs numpy only."""


def prepare(task):
    """Ready probabilities."""
    _ = task.problem.prob, task.problem.weight
    return task


def run(task):
    """Shares (K,)."""
    return iterate(task, lambda w, slope: w * -slope)
