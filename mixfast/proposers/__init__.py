"""Proposers: from a fitted law to the mixture it recommends.

``min_w sum_j omega_j f_j(w) + kl * KL(w || prior)`` over a `Region`, where ``f_j`` is the law of metric j. Metrics of log-linear and linear
laws are convex: their optimum is solved exactly and carries a gap. Everything else is searched, and the answer says so.

Nouns
    `Proposal`: the mixture, what the law expects of it, its shadow prices, the metrics that are to get worse (`worse`), and what
    speaks against training on it (`doubts`).
    `Gain`: what it is expected to gain over the prior.  `KlAdvice`, `ShareIntervals`: answers of the verbs below.

Verbs
    `propose`: the best mixture.  `path`: the same for several strengths of the pull towards the prior.
    `advise_kl`: which strength to take.  `bootstrap`: how far the shares depend on the runs at hand.

Files, in reading order
    `_propose.py`: arguments checked, and which way to solve. `_task.py`: the checked question.
    `_exact.py` and `_searched.py`: the two ways. `_outcome.py`: what both return. `_refusals.py`: laws whose numbers ran away.
    `_proposal.py`: the answer, with `_doubts.py` and `_ranges.py`.
    `_path.py`, `_kl_advice.py`, `_bootstrap.py`: one verb each.
"""

from mixfast.proposers._bootstrap import ShareIntervals, bootstrap
from mixfast.proposers._exact import solve_form as solve_form
from mixfast.proposers._kl_advice import KlAdvice, advise_kl
from mixfast.proposers._outcome import Gain
from mixfast.proposers._path import path
from mixfast.proposers._proposal import Proposal
from mixfast.proposers._proposal import tolerances_in_words as tolerances_in_words
from mixfast.proposers._proposal import worse_in_words as worse_in_words
from mixfast.proposers._propose import propose
from mixfast.proposers._refusals import ASTRONOMIC as ASTRONOMIC

__all__ = ["Gain", "KlAdvice", "Proposal", "ShareIntervals", "advise_kl", "bootstrap", "path", "propose"]
