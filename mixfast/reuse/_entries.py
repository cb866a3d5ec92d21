"""What a ledger keeps, as plain names and numbers: updates that were recorded, and the one that is planned."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from mixfast.reuse._changes import ReuseError
from mixfast.reuse._plain import described, limits_of
from mixfast.reuse._reuse import Reuse


@dataclass(frozen=True)
class Entry:
    """An update that was recorded.

    Attributes
    ----------
    when, why : str
        Date (ISO 8601) and reason.
    kind : str
        "start", "full" or "partial".
    changes : tuple of dict
        Each with `change` (add, remove, partition, revise) and the domains.
    virtual : str or None
    frozen : dict of str to float
        Relative shares of the frozen domains.
    reopened : tuple of str
    runs, full_runs : int
        Advised for the update, and for a recomputation with all domains open.
    loss : float or None
        Predicted loss against that.
    warnings : tuple of str
        Why it may not have been safe.
    mixture : dict of str to float
        The mixture it ended in, over all domains.
    tokens : dict of str to int
        Tokens of the domains then, of those where they were known.
    budget : int or None
        Tokens of the whole run; None where it was not known.
    max_epochs : dict of str to float
        How often the tokens of each domain may be read; empty without a budget.
    """

    when: str
    why: str
    kind: str
    changes: tuple[dict[str, Any], ...]
    virtual: str | None
    frozen: dict[str, float]
    reopened: tuple[str, ...]
    runs: int
    full_runs: int
    loss: float | None
    warnings: tuple[str, ...]
    mixture: dict[str, float]
    tokens: dict[str, int] = field(default_factory=dict)
    budget: int | None = None
    max_epochs: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Pending:
    """An update that is planned and whose runs are being trained; `resume` builds the plan again.

    Attributes
    ----------
    when, why, kind, changes, virtual, reopened, loss, warnings
        As in `Entry`, of the day of the plan.
    objective : tuple of str
        What the update is to be good for, as the user wrote it.
    kl : float
        Weight of the KL divergence to the prior.
    region : dict
        The limits over the new domains, as plain names and numbers.
    """

    when: str
    why: str
    kind: str
    changes: tuple[dict[str, Any], ...]
    virtual: str
    reopened: tuple[str, ...]
    loss: float | None
    warnings: tuple[str, ...]
    objective: tuple[str, ...]
    kl: float
    region: dict[str, Any]

    @classmethod
    def of(cls, plan: Reuse, *, why: str, when: str, objective: tuple[str, ...], kl: float) -> Pending:
        """What to keep of a plan."""
        return cls(
            when=when,
            why=why,
            kind=plan.kind,
            changes=tuple(map(described, plan.update.changes)),
            virtual=plan.virtual,
            reopened=plan.reopened,
            loss=plan.loss,
            warnings=plan.warnings,
            objective=objective,
            kl=kl,
            region=limits_of(plan.part.full),
        )


def checked_day(when: str | None) -> str:
    """Return the ISO date of an update, by default today's."""
    if when is None:
        return date.today().isoformat()
    try:
        date.fromisoformat(when[:10])
    except (TypeError, ValueError) as problem:
        raise ReuseError(f"when is {when!r}, expected a date such as '2026-01-31'") from problem
    return when


def checked_reason(why: str) -> str:
    """Return the reason of an update, which must not be empty."""
    if not isinstance(why, str) or not why.strip():
        raise ReuseError("why is empty: say for what reason, in a sentence")
    return why
