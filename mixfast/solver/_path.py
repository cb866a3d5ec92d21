"""path(): solutions along a sequence of KL weights, or of caps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixfast._text.progress import tracked
from mixfast.ranks import led
from mixfast.region import Region
from mixfast.solver._solution import Solution
from mixfast.solver._solve import PAPER_LOOPS, checked_problem, found_by
from mixfast.tables import ExpertTable, ShardedTable

# Share that all domains together get in the next start, so that every domain can gain a share again.
_OTHERS = 0.001


@led
def path(
    table: ExpertTable | ShardedTable,
    region: Region | None = None,
    *,
    kl: Sequence[float] | None = None,
    cap: Sequence[float | Mapping[str, float]] | None = None,
    **options: Any,
) -> list[Solution]:
    """Solve along a sequence of KL weights, or of caps; each solve starts at the previous answer.

    Parameters
    ----------
    table, region
        As in `solve`.
    kl : sequence of float, optional
        KL weights, nats.
    cap : sequence of number or dict of domain to number, optional
        Caps that replace those of the region. Give `kl` or `cap`, not both.
    options
        Further arguments of `solve`. To combine a constant `kl` with a sequence of caps, give it as ``base_kl``.

    Returns
    -------
    list of Solution
        In the given order. Each has its own certificate, so a bad start only costs time.

    Raises
    ------
    ValueError
        Neither or both of `kl` and `cap`.
    """
    if (kl is None) == (cap is None):
        raise ValueError("path varies kl or cap: give exactly one of them")
    base_kl = options.pop("base_kl", 0.0)
    method, backend = options.get("method", "auto"), options.get("backend", "auto")
    steps: list[tuple[float, Region | None]]
    if kl is not None:
        steps = [(float(value), region) for value in kl]
    else:
        base = region if region is not None else Region(table.domains)
        steps = [(base_kl, base.replace(cap=value)) for value in cap or ()]
    # The rows are prepared once; wear takes its token counts from the region, and caps do not change these.
    whole = checked_problem(table, region, **options)
    out: list[Solution] = []
    for weight, where in tracked(steps, "solving along a path", len(steps), "solve"):
        start = whole.start if not out else (1.0 - _OTHERS) * out[-1].mixture.weights + _OTHERS / table.n_domains
        problem = whole.within(where, weight, start)
        out.append(Solution.of(problem, found_by(problem, method, backend), warn=method not in PAPER_LOOPS))
    return out
