"""Proposers: choose the mixture that a fitted law predicts to be best.

``min_w sum_j omega_j f_j(w) + kl * KL(w || prior)`` over a `Region`, where ``f_j`` is the law of metric j. Log-linear and linear
laws, and laws in epochs unless fitted with ``convex=False``, are convex: their optimum is solved exactly and has a gap. All other laws are searched, and the status of the answer says so.

Classes
    `Proposal`: the mixture, the predicted metrics, the shadow prices, the metrics expected to get worse (`worse`), and the reasons
    not to trust it (`doubts`).
    `LeastChange`: the same for `reach`.  `GuardReport`: one guard or goal of a metric: does it bind, and what does it cost.
    `Control`: a baseline under the same law.  `Gain`: the expected gain over the prior.  `KlAdvice`, `ShareIntervals`: results of the functions below.

Functions
    `propose`: the best mixture.  `path`: the same for several weights of the KL term.
    `reach`: the least change of a mixture that reaches stated metrics.
    `advise_kl`: choose the weight of the KL term.  `bootstrap`: how much the shares depend on the given runs.

Files, in reading order
    `_propose.py`: checks the arguments and chooses how to solve. `_task.py`: the checked problem. `_guards.py`: limits of metrics, as users
    write them. `_reach.py`: the inverse question.
    `_exact.py` and `_searched.py`: the two ways to solve. `_outcome.py`: what both return. `_refusals.py`: laws with infinite or
    astronomic predictions, guards that no mixture keeps. `_proposal.py`: the result, with `_guard_reports.py`, `_controls.py`, `_doubts.py`, `_ranges.py` and `_summary.py`;
    `_least_change.py`: that of `reach`.
    `_path.py`, `_kl_advice.py`, `_bootstrap.py`, `_guards_cost.py`: one verb each.
"""

from mixfast.proposers._bootstrap import ShareIntervals, bootstrap
from mixfast.proposers._controls import Control
from mixfast.proposers._exact import solve_form as solve_form
from mixfast.proposers._guard_reports import GuardReport
from mixfast.proposers._guards_cost import cost_of_guards as cost_of_guards
from mixfast.proposers._kl_advice import KlAdvice, advise_kl
from mixfast.proposers._least_change import LeastChange
from mixfast.proposers._outcome import Gain
from mixfast.proposers._path import path
from mixfast.proposers._proposal import Proposal
from mixfast.proposers._proposal import guards_in_words as guards_in_words
from mixfast.proposers._proposal import worse_in_words as worse_in_words
from mixfast.proposers._propose import propose
from mixfast.proposers._reach import reach
from mixfast.proposers._refusals import ASTRONOMIC as ASTRONOMIC

__all__ = [
    "Control",
    "Gain",
    "GuardReport",
    "KlAdvice",
    "LeastChange",
    "Proposal",
    "ShareIntervals",
    "advise_kl",
    "bootstrap",
    "path",
    "propose",
    "reach",
]
