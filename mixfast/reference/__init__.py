"""Slow and obviously right: what every fast path of `mixfast` is measured against.

Plain numpy in float64, one formula a function, no tricks. Losses are evaluated from the raw log-likelihoods by
log-sum-exp, never from probabilities, so nothing here can underflow. The convex problem is also written for cvxpy
(extra ``reference``), whose solvers share no line of code with ours.

The functions `row_pass` and `mixture_nll` are the backend contract; the others take a log-likelihood array of shape
(n, K), or an `ExpertTable`.
"""

from mixfast.reference._reference import (
    ConicSolution,
    GroupPass,
    Pass,
    WorstGap,
    eg_paper,
    eg_paper_path,
    em,
    ensemble_loss,
    frank_wolfe_gap,
    gradient,
    group_pass,
    group_weights,
    kl_divergence,
    kl_gradient,
    linear_minimum,
    log_mixed,
    mixture_nll,
    row_pass,
    solve_cvxpy,
    squared_error,
    total_value,
    worst_gap,
)
from mixfast.reference._reference import _limits as _limits

__all__ = [
    "ConicSolution",
    "GroupPass",
    "Pass",
    "WorstGap",
    "eg_paper",
    "eg_paper_path",
    "em",
    "ensemble_loss",
    "frank_wolfe_gap",
    "gradient",
    "group_pass",
    "group_weights",
    "kl_divergence",
    "kl_gradient",
    "linear_minimum",
    "log_mixed",
    "mixture_nll",
    "row_pass",
    "solve_cvxpy",
    "squared_error",
    "total_value",
    "worst_gap",
]
