"""The run whose mixture is sought: laws in epochs predict it from its tokens and budget."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from mixfast._text.audience import either
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
