"""The baselines that a report shows beside a proposal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mixfast.baselines._heuristics import MULTILINGUAL, natural, temperature, uniform, unimax
from mixfast.mixture import Mixture
from mixfast.region import Region

# Controls this close to each other, in total variation, are one.
_SAME = 1e-9


def controls(region: Region) -> dict[str, Mixture]:
    """Return the baselines that the region allows to compute, by name; equal ones are one with all names, "uniform = UniMax".

    Natural and temperature need token counts. "UniMax" is the mixture of the region nearest to equal shares: with caps from token
    counts only, it is UniMax. There are none for domains that `reuse` put together, because equal shares of them mean nothing.
    """
    if region.counted and region.available is None:
        return {}
    found: dict[str, Mixture] = {}
    if region.available is not None:
        found["natural"] = natural(region)
        found[f"temperature {MULTILINGUAL:.3g}"] = temperature(region)
    found["uniform"] = uniform(region)
    if region.available is not None:
        found["UniMax"] = unimax(region)
    elif region.limited:
        found["nearest to uniform"] = unimax(region)
    joined: dict[str, Mixture] = {}
    for name, mixture in found.items():
        same = next((other for other in joined if mixture.total_variation(joined[other]) <= _SAME), None)
        if same is None:
            joined[name] = mixture
        else:
            joined = {f"{one} = {name}" if one == same else one: kept for one, kept in joined.items()}
    return joined


def different(mixtures: Mapping[str, Mixture], known: Iterable[Mixture] = ()) -> dict[str, Mixture]:
    """Return the mixtures that differ from those known and from each other, over the same domains."""
    kept: dict[str, Mixture] = {}
    for name, mixture in mixtures.items():
        if all(mixture.total_variation(other) > _SAME for other in (*known, *kept.values())):
            kept[name] = mixture
    return kept
