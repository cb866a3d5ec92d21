"""Clarabel through cvxpy."""

from functools import partial

from benchmarks.peers import _cvxpy

name, job = "cvxpy Clarabel", ("solve", "wide", "proposal")

reason = partial(_cvxpy.reason, "Clarabel")
run = _cvxpy.run


def prepare(case):
    """The problem in cvxpy."""
    return _cvxpy.prepare(case, "CLARABEL")
