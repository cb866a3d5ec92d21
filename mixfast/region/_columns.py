"""What is known of each domain of an answer, as columns of a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mixfast.mixture import Mixture
from mixfast.region._region import Region
from mixfast.region._shadow_prices import ShadowPrice


def domain_columns(mixture: Mixture, region: Region | None, prices: Iterable[ShadowPrice]) -> dict[str, Any]:
    """Return the shares and, with a region, its prior, floors, caps, epochs and the prices of binding caps and floors, in the order of the mixture."""
    columns: dict[str, Any] = {"share": mixture.weights.copy()}
    if region is None:
        return columns
    known = {"prior": region.prior} if region.has_prior else {}
    for title, values in {**known, "floor": region.floor, "cap": region.cap}.items():
        of = region.by_name(values)
        columns[title] = [of[name] for name in mixture.domains]
    epochs = region.epochs(mixture)
    if epochs is not None:
        columns["epochs"] = [epochs[name] for name in mixture.domains]
    price = {one.name: one.price for one in prices if one.limit in ("cap", "floor")}
    columns["price"] = [price.get(name, 0.0) for name in mixture.domains]
    return columns
