"""cost_of_guards(): how much better the objective of a proposal would be without its guards."""

from __future__ import annotations

from dataclasses import replace

from mixfast.proposers._least_change import LeastChange
from mixfast.proposers._proposal import Proposal, task_of
from mixfast.proposers._propose import find


def cost_of_guards(proposal: Proposal) -> float | None:
    """Return how much better the objective would be without guards, in its unit; None if nothing certifies it.

    An exact proposal is solved once more. There is no answer for a proposal without guards, after a search, and for a `LeastChange`, whose
    goals are the problem.
    """
    task = task_of(proposal)
    if not task.guards or proposal.gap is None or isinstance(proposal, LeastChange):
        return None
    free = find(replace(task, guards=(), start=None), proposal.method)
    return max(proposal.value - free.value, 0.0)
