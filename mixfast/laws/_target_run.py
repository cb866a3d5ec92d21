"""The run that laws in epochs predict: its rate, that is, the epochs of each domain for each unit of share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.audience import either
from mixfast._text.names import listing, shown
from mixfast.laws._mixtures_in import aligned
from mixfast.laws._protocol import uses_epochs
from mixfast.region import Region

L = TypeVar("L")


def in_run_of(law: L, region: Region) -> L:
    """Return the law as it predicts the run that a region describes; the law itself if it is no function of epochs.

    If the region knows token counts, these and its budget decide how often a share is read. Otherwise, the law predicts the run that it
    was fitted to, or for which `for_run` was called.

    Raises
    ------
    ValueError
        Neither the region nor the law knows how often a share is read.
    """
    if not uses_epochs(law):
        return law
    fitted: Any = law
    if region.available is not None and region.target_tokens is not None and hasattr(fitted, "for_run"):
        # A domain without tokens gets no share, and its epochs do not matter.
        counts = zip(region.domains, region.available.tolist(), strict=True)
        run: L = fitted.for_run({name: count or math.inf for name, count in counts}, region.target_tokens)
        return run
    if getattr(fitted, "rate", None) is None:
        raise ValueError(
            "the laws are functions of epochs, and neither the region nor the runs tell how often a share is read in the target run: the runs "
            "have different budgets or pools. "
            + either(
                "Give the region token counts (Region.from_tokens(available, target_tokens)), or the law a run (fit.for_run(tokens, budget))",
                "Give the tokens available to the target run and its budget: --tokens FILE --budget TOKENS",
            )
        )
    return law


def rate_of(tokens: Mapping[str, float] | ArrayLike, budget: float, domains: Sequence[str]) -> Vector:
    """Return the rate (K,) of a run with this budget and these tokens available; arguments and errors as for `Fit.for_run`."""
    try:
        held = np.asarray(list(tokens.values()) if isinstance(tokens, Mapping) else tokens, dtype=np.float64)
        read = float(budget)
    except (TypeError, ValueError) as problem:
        raise ValueError(f"tokens and budget must be numbers of tokens: {problem}") from None
    if isinstance(tokens, Mapping):
        held = aligned("the tokens", tuple(tokens), held[None, :], domains)[0]
    if held.shape != (len(domains),):
        raise ValueError(
            f"tokens must be {len(domains)} numbers above 0, one for each domain; got {shown(held.tolist())}"
        )
    if wrong := [f"{domains[k]}={held[k]:g}" for k in np.flatnonzero(~(held > 0.0)).tolist()]:
        raise ValueError(
            f"tokens must be numbers above 0, math.inf for a domain that never repeats; got {listing(wrong)}"
        )
    if not 0.0 < read < np.inf:
        raise ValueError(f"budget is {shown(budget)}; expected the number of tokens that the run reads, above 0")
    rate: Vector = read / held
    return rate


def common_rate(rates: Matrix | None) -> Vector | None:
    """Return the rate (K,) that all runs (R, K) share, up to rounding; None if they differ or are unknown."""
    if rates is None or not np.allclose(rates, rates[0], rtol=1e-9, atol=0.0):
        return None
    return np.array(rates[0])


def known_rate(rate: Matrix | Vector | None) -> Matrix | Vector:
    """Return the rate; `ValueError` if it is unknown."""
    if rate is None:
        raise ValueError(
            "the laws are functions of epochs, and the runs have different rates (budget / tokens available): "
            + either(
                "say which run is predicted: fit.for_run(tokens, budget)",
                "say which run is predicted: --tokens FILE --budget TOKENS",
            )
        )
    return rate


def how_to_give_tokens() -> str:
    """Say how to give the tokens and the budget of the runs: as Python arguments or as command options."""
    return either(
        "give Swarm(..., tokens={domain: tokens in the pool of the runs}, budget=tokens that a run reads)",
        "add --run-tokens FILE and --run-budget TOKENS",
    )
