"""Entries of a ledger, as plain names and numbers: recorded updates, and the planned one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np

from mixfast._text.names import shown
from mixfast.errors import AlignmentError
from mixfast.region import Bound, Region
from mixfast.reuse._changes import Add, Change, Partition, Remove, ReuseError, Revise
from mixfast.reuse._reuse import Reuse


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A recorded update.

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
        Runs advised for the update, and for a recomputation with all domains open.
    loss : float or None
        Predicted loss against the recomputation.
    warnings : tuple of str
        Why the update may not have been safe.
    mixture : dict of str to float
        The resulting mixture over all domains.
    tokens : dict of str to int
        Tokens of the domains at that time, if known.
    budget : int or None
        Tokens of the whole run; None if unknown.
    max_epochs : dict of str to float
        How often the tokens of each domain may be read; empty without a budget.
    """

    when: str
    why: str
    kind: str
    changes: tuple[dict[str, Any], ...] = ()
    virtual: str | None = None
    frozen: dict[str, float] = field(default_factory=dict)
    reopened: tuple[str, ...] = ()
    runs: int = 0
    full_runs: int = 0
    loss: float | None = None
    warnings: tuple[str, ...] = ()
    mixture: dict[str, float]
    tokens: dict[str, int] = field(default_factory=dict)
    budget: int | None = None
    max_epochs: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Pending:
    """A planned update whose runs are being trained; `resume` rebuilds the plan.

    Attributes
    ----------
    when, why, kind, changes, virtual, reopened, loss, warnings
        As in `Entry`, on the day of the plan.
    objective : tuple of str
        The objective of the update, as the user wrote it.
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
        """Return the part of a plan that a ledger stores."""
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
    """Check the ISO date of an update; by default today's."""
    if when is None:
        return date.today().isoformat()
    try:
        date.fromisoformat(when[:10])
    except (TypeError, ValueError) as problem:
        raise ReuseError(f"when is {shown(when)}, expected a date such as '2026-01-31'") from problem
    return when


def checked_reason(why: str) -> str:
    """Check the reason of an update, which must not be empty."""
    if not isinstance(why, str) or not why.strip():
        raise ReuseError("why is empty, expected the reason of the update, in a sentence")
    return why


def described(change: Change) -> dict[str, Any]:
    """Return a change as plain names."""
    if isinstance(change, Partition):
        return {"change": "partition", "parent": change.parent, "parts": list(change.parts)}
    if isinstance(change, (Add, Remove)):
        return {"change": "add" if isinstance(change, Add) else "remove", "domains": list(change.domains)}
    return {"change": "revise", "domains": dict(change.renamed)}


def change_of(document: Mapping[str, Any]) -> Change:
    """Return the change that `described` wrote."""
    kind = document["change"]
    if kind == "partition":
        return Partition(document["parent"], document["parts"])
    if kind in ("add", "remove"):
        return (Add if kind == "add" else Remove)(document["domains"])
    if kind == "revise":
        return Revise(document["domains"])
    raise ReuseError(f"the ledger has an unknown change: {shown(kind)}")


def limits_of(region: Region) -> dict[str, Any]:
    """Return a region as plain names and numbers; `region_of` is the inverse."""

    def named(values: Any, leave_out: float | None = None) -> dict[str, Any] | None:
        if values is None:
            return None
        pairs = zip(region.domains, values.tolist(), strict=True)
        return {name: value for name, value in pairs if value != leave_out}

    # Files cannot hold infinity; this many epochs are no limit either.
    epochs = None if region.max_epochs is None else np.minimum(region.max_epochs, 1e300)
    out: dict[str, Any] = {
        "domains": list(region.domains),
        "target_tokens": region.target_tokens,
        "available": named(region.available),
        "max_epochs": named(epochs),
        "prior": named(region.prior) if region.has_prior else None,
        "cap": named(region.cap, leave_out=1.0),
        "floor": named(region.floor, leave_out=0.0),
    }
    out["bounds"] = [
        {
            "name": bound.name,
            "domains": list(bound.domains),
            "coefficients": list(bound.coefficients or ()),
            "lower": _finite(float(low)),
            "upper": _finite(float(high)),
        }
        for bound, low, high in zip(region.bounds, region.bound_lower, region.bound_upper, strict=True)
    ]
    return out


def region_of(document: Mapping[str, Any]) -> Region:
    """Return the region that `limits_of` wrote."""
    bounds = [
        Bound(each["name"], tuple(each["domains"]), each["lower"], each["upper"], tuple(each["coefficients"]))
        for each in document["bounds"]
    ]
    limits = {name: document[name] for name in ("prior", "cap", "floor")} | {"bounds": bounds or None}
    if document["available"] is None:
        return Region(document["domains"], **limits)
    if set(document["available"]) != set(document["domains"]):
        raise AlignmentError.between("the available tokens", document["available"], "the domains", document["domains"])
    supply = {name: document["available"][name] for name in document["domains"]}
    return Region.from_tokens(supply, document["target_tokens"], max_epochs=document["max_epochs"], **limits)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
