"""Changes and regions as plain names and numbers, which files hold, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mixfast.region import Bound, Region
from mixfast.reuse._changes import Add, Change, Partition, Remove, ReuseError, Revise


def described(change: Change) -> dict[str, Any]:
    """A change as plain names."""
    if isinstance(change, Partition):
        return {"change": "partition", "parent": change.parent, "parts": list(change.parts)}
    if isinstance(change, (Add, Remove)):
        return {"change": "add" if isinstance(change, Add) else "remove", "domains": list(change.domains)}
    return {"change": "revise", "domains": dict(change.renamed)}


def change_of(document: Mapping[str, Any]) -> Change:
    """The change that `described` wrote."""
    kind = document["change"]
    if kind == "partition":
        return Partition(document["parent"], document["parts"])
    if kind in ("add", "remove"):
        return (Add if kind == "add" else Remove)(document["domains"])
    if kind == "revise":
        return Revise(document["domains"])
    raise ReuseError(f"the ledger has an unknown change: {kind!r}")


def limits_of(region: Region) -> dict[str, Any]:
    """A region as plain names and numbers; `region_of` builds it again."""

    def named(values: Any, leave_out: float | None = None) -> dict[str, Any] | None:
        if values is None:
            return None
        pairs = zip(region.domains, values.tolist(), strict=True)
        return {name: value for name, value in pairs if value != leave_out}

    # Files hold no infinity; so many epochs are no limit either.
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
    """The region that `limits_of` wrote."""
    bounds = [
        Bound(each["name"], tuple(each["domains"]), each["lower"], each["upper"], tuple(each["coefficients"]))
        for each in document["bounds"]
    ]
    limits = {name: document[name] for name in ("prior", "cap", "floor")} | {"bounds": bounds or None}
    if document["available"] is None:
        return Region(document["domains"], **limits)
    supply = {name: document["available"][name] for name in document["domains"]}
    return Region.from_tokens(supply, document["target_tokens"], max_epochs=document["max_epochs"], **limits)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
