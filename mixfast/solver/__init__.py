"""Solve for the mixture that minimises the loss of the experts' ensemble, with a certificate.

``min_w sum_g omega_g L_g(w) + kl * KL(w || prior)`` over a `Region`, where ``L_g`` is the loss of one group of rows of an `ExpertTable`.
Every answer has a Frank-Wolfe gap: the objective is above its minimum by at most this much.

Classes
    `Solution`: the mixture, status, value, gap, shadow prices and trace, with methods for ranges, intervals and losses.
    `Bootstrap`: intervals of the shares.  `HeldOut`: losses of mixtures on held-out sequences.

Functions
    `solve`: the certified optimum.  `path`: the same along KL weights or caps.  `solve_many`: many small problems in one call, as `Solutions`.  `losses`: the loss of given mixtures.
    `bootstrap`: how much the shares depend on the sequences in the table.  `holdout`: fit on some sequences, compare on the others.

Files, in reading order
    `_problem.py`: the arguments, checked and aligned by name. `_start.py`: the mixture that a solve starts from.
    `_minimise.py`: which loop of `mixfast._engine.optimise` runs. `_paper_loop.py` and `_by_reference.py`: the other methods and backends.
    `_solution.py`: the answers. `_summary.py`: the answers as text. `_doubts.py`: reasons to doubt them. `_multipliers.py`: the gradient behind the shadow prices.
    `_solve.py`, `_path.py`, `_many.py`, `_losses.py`, `_holdout.py`, `_bootstrap.py`: one verb each.
    `_resample.py` and `_replicates.py`: which rows a replicate contains, and the solve of all replicates in the same sweeps. `_block_units.py`: the same rows in a
    folder of parts.

The table's rows are packed once (`mixfast._engine.objectives.rows.TableRows`) and shared by all computations on a solution.
"""

from mixfast.solver._bootstrap import bootstrap
from mixfast.solver._doubts import solve_doubts as solve_doubts
from mixfast.solver._holdout import HeldOut, HeldOutRow, holdout
from mixfast.solver._losses import group_losses as group_losses
from mixfast.solver._losses import lone_losses as lone_losses
from mixfast.solver._losses import losses
from mixfast.solver._many import Solutions, solve_many
from mixfast.solver._path import path
from mixfast.solver._problem import GroupWeights as GroupWeights
from mixfast.solver._solution import MOST_RANGED as MOST_RANGED
from mixfast.solver._solution import Bootstrap, Solution
from mixfast.solver._solve import PAPER_LOOPS as PAPER_LOOPS
from mixfast.solver._solve import solve
from mixfast.solver._summary import MOST_LINES as MOST_LINES
from mixfast.solver._summary import is_limited as is_limited
from mixfast.solver._summary import solve_summary as solve_summary
from mixfast.solver._summary import span as span
from mixfast.solver._wear import worn as worn

__all__ = [
    "Bootstrap",
    "HeldOut",
    "HeldOutRow",
    "Solution",
    "Solutions",
    "bootstrap",
    "holdout",
    "losses",
    "path",
    "solve",
    "solve_many",
]
