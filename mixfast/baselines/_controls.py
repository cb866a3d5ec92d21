"""The baselines that a report shows beside a proposal."""

from __future__ import annotations

from mixfast.baselines._heuristics import MULTILINGUAL, natural, temperature, uniform, unimax
from mixfast.mixture import Mixture
from mixfast.region import Region

# Controls this close to each other, in total variation, are one.
_SAME = 1e-9


def controls(region: Region) -> dict[str, Mixture]:
    """Return the baselines that the region allows to compute, by name; those equal to an earlier one are left out.

    Natural and temperature need token counts. "UniMax" is the mixture of the region nearest to equal shares: with caps from token
    counts only, it is UniMax.
    """
    found: dict[str, Mixture] = {}
    if region.available is not None:
        found["natural"] = natural(region)
        found[f"temperature {MULTILINGUAL:.3g}"] = temperature(region)
    found["uniform"] = uniform(region)
    if region.available is not None:
        found["UniMax"] = unimax(region)
    elif region.limited:
        found["nearest to uniform"] = unimax(region)
    kept: dict[str, Mixture] = {}
    for name, mixture in found.items():
        if all(mixture.total_variation(other) > _SAME for other in kept.values()):
            kept[name] = mixture
    return kept
