"""Compute losses, gradients and certificates slowly and simply: the reference for every fast path of `mixfast`.

Plain numpy in float64, one formula per function. Losses are evaluated from the raw log-likelihoods by log-sum-exp, not from
probabilities, so nothing here underflows. The convex problem is also written for cvxpy (extra ``reference``), whose solvers share no code
with ours. Production code imports this room only for ``solve(..., backend="reference")``.

Losses and gradients (`_losses.py`)
    `log_mixed`, `ensemble_loss`, `gradient`, `squared_error`, `kl_divergence`, `kl_gradient` of a log-likelihood array of shape (n, K);
    `group_pass`, `group_weights`, `total_value` of an `ExpertTable`.
The backend contract (`_sweeps.py`)
    `row_pass`: value, gradient and Hessian of one mixture. `mixture_nll`: losses of many.
Certificates (`_gaps.py`)
    `linear_minimum` over a region, `frank_wolfe_gap` of a mixture, `worst_gap` for the objective "worst".
Loops of the literature (`_loops.py`)
    `eg_paper`, `eg_paper_path`: the MixMin code's exponentiated gradient. `em`: expectation maximisation.
The problem for cvxpy (`_conic.py`)
    `solve_cvxpy`: the optimum of a small problem, with the status of the conic solver.
"""

from mixfast.reference._conic import ConicSolution, solve_cvxpy
from mixfast.reference._gaps import WorstGap, frank_wolfe_gap, linear_minimum, worst_gap
from mixfast.reference._loops import eg_paper, eg_paper_path, em
from mixfast.reference._losses import (
    GroupPass,
    Pass,
    ensemble_loss,
    gradient,
    group_pass,
    group_weights,
    kl_divergence,
    kl_gradient,
    log_mixed,
    squared_error,
    total_value,
)
from mixfast.reference._sweeps import mixture_nll, row_pass

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
