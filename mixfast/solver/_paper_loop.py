"""method="eg-paper" and "eg-paper-pcba": the loop of the MixMin paper's code, step for step, in float64.

Exponentiated gradient (algorithm 1 of arXiv 2502.10510 as its code runs it): 100 steps of ``w <- w * exp(-g) / sum``, eta 1, from uniform.
The script for language models keeps the last iterate, the one for chemistry (PCBA) the one before it.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

import numpy as np

from mixfast._engine.optimise.trace import Minimum, Step
from mixfast.solver._minimise import Found
from mixfast.solver._problem import Problem

_STEPS = 100
# The code stops once no entry of the gradient is larger. This does not happen: the average of the entries, weighted by the shares, is minus the sum of the row weights.
_STOP = 1e-4


def follow_paper(problem: Problem, *, drop: int = 0) -> Found:
    """Run the paper's loop over the whole simplex and return the iterate before the last `drop` ones, with its value and gap."""
    if problem.region is not None or problem.kl > 0.0 or problem.weights.worst:
        raise ValueError(
            'the methods "eg-paper" and "eg-paper-pcba" are the loop of the MixMin code, which has no region, no kl and no "worst": leave these out'
        )
    began = perf_counter()
    problem = replace(problem, wide=True)
    objective, limits = problem.objective, problem.limits
    w = np.full(problem.table.n_domains, 1.0 / problem.table.n_domains)
    iterates, trace = [w], list[Step]()
    for _ in range(_STEPS):
        value, gradient, _ = objective.sums(w)
        trace.append(Step(objective.rows, w.size, value, limits.gap(gradient, w), perf_counter() - began))
        w = w * np.exp(-gradient)
        w /= w.sum()
        iterates.append(w)
        # As in the paper's code: the test uses the point before the step, and the step is kept.
        if np.abs(gradient).max() < _STOP:
            break
    w = iterates[-1 - drop]
    value, gradient, _ = objective.sums(w)
    # The number of steps is what ended it, so the status is "user_limit".
    minimum = Minimum(w, value, gradient, limits.gap(gradient, w), trace, None, problem.max_iter)
    where = "cpu (eg-paper)" if problem.rows.device is None else "cuda (eg-paper)"
    return Found(minimum, problem.weights.share, perf_counter() - began, where)
