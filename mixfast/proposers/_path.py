"""path(): proposals for several weights of the KL term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixfast.proposers._proposal import Proposal
from mixfast.proposers._propose import propose
from mixfast.region import Region


def path(law: Any, region: Region, kls: Sequence[float], **options: Any) -> list[Proposal]:
    """Propose a mixture for each of several weights of the KL term; each solve starts from the previous mixture.

    Parameters
    ----------
    law, region
        As for `propose`.
    kls : sequence of float
        Weights >= 0, solved from the largest down and returned in the order given.
    **options
        Other arguments of `propose`.

    Returns
    -------
    list of Proposal
    """
    out: dict[int, Proposal] = {}
    previous: Proposal | None = None
    for index in sorted(range(len(kls)), key=lambda i: -kls[i]):
        start = {} if previous is None else {"start": previous.mixture}
        previous = propose(law, region, **{**options, "kl": kls[index], **start})
        out[index] = previous
    return [out[index] for index in range(len(kls))]
