"""path(): solutions along a sequence of KL weights, or of caps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixfast.region import Region
from mixfast.solver._solution import Solution
from mixfast.solver._solve import PAPER_LOOPS, checked_problem, found_by
from mixfast.tables import ExpertTable

# A little of everything for the next start, so that no domain that may come back starts out with nothing.
_OTHERS = 0.001


def path(
    table: ExpertTable,
    region: Region | None = None,
    *,
    kl: Sequence[float] | None = None,
    cap: Sequence[float | Mapping[str, float]] | None = None,
    **options: Any,
) -> list[Solution]:
    """Solve along a sequence of KL weights, or of caps, each from the answer before.

    Parameters
    ----------
    table, region
        As in `solve`.
    kl : sequence of float, optional
        KL weights, nats.
    cap : sequence of number or dict of domain to number, optional
        Caps that replace those of the region. Give `kl` or `cap`, not both.
    options
        Further arguments of `solve` (a single `kl` beside `cap`: as ``base_kl``).

    Returns
    -------
    list of Solution
        In the order given. Each is certified on its own, so a bad start costs time only.

    Raises
    ------
    ValueError
        Neither or both of `kl` and `cap`.
    """
    if (kl is None) == (cap is None):
        raise ValueError("path sweeps over kl or over cap: give exactly one of them")
    base_kl = options.pop("base_kl", 0.0)
    method, backend = options.get("method", "auto"), options.get("backend", "auto")
    steps: list[tuple[float, Region | None]]
    if kl is not None:
        steps = [(float(value), region) for value in kl]
    else:
        base = region if region is not None else Region(table.domains)
        steps = [(base_kl, base.replace(cap=value)) for value in cap or ()]
    # The rows are made ready once; wear takes its token counts from the region, which caps do not change.
    whole = checked_problem(table, region, **options)
    out: list[Solution] = []
    for weight, where in steps:
        start = whole.start if not out else (1.0 - _OTHERS) * out[-1].mixture.weights + _OTHERS / table.n_domains
        problem = whole.within(where, weight, start)
        out.append(Solution.of(problem, found_by(problem, method, backend), warn=method not in PAPER_LOOPS))
    return out
