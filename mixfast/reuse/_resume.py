"""resume: an open plan of a ledger, built again."""

from __future__ import annotations

from dataclasses import replace

from mixfast.reuse._changes import ReuseError
from mixfast.reuse._ledger import Ledger
from mixfast.reuse._plain import change_of, region_of
from mixfast.reuse._plan import partial
from mixfast.reuse._reuse import Reuse


def resume(ledger: Ledger) -> Reuse:
    """Return the plan that `Ledger.begin` noted, as it was: what is frozen, its limits, and what was predicted of it.

    Raises
    ------
    ReuseError
        If no update is planned.

    Examples
    --------
    >>> from mixfast.region import Region
    >>> from mixfast.reuse import Add, full
    >>> ledger = Ledger.start({"web": 0.75, "code": 0.25}, why="first swarm")
    >>> plan = full(ledger.mixture, Add(["math"]), Region(["web", "code", "math"]))
    >>> resume(ledger.begin(plan, why="maths came")).frozen == plan.frozen
    True
    """
    pending = ledger.pending
    if pending is None:
        raise ReuseError("the ledger has no open plan: plan an update first")
    changes = [change_of(change) for change in pending.changes]
    plan = partial(ledger.mixture, changes, region_of(pending.region), reopen=pending.reopened, virtual=pending.virtual)
    return replace(plan, kind=pending.kind, loss=pending.loss, warnings=pending.warnings, notes=())
