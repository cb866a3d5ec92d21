"""Why a plan of reuse may not be safe, in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from mixfast._text.names import listing
from mixfast.reuse._collapse import Collapse
from mixfast.reuse._coupling import Coupling


def doubts(
    part: Collapse,
    *,
    above: Mapping[str, tuple[float, float]],
    opened: Iterable[str],
    coupling: Coupling | None,
    loss: float | None,
    kl: float,
    allowed: float,
) -> tuple[str, ...]:
    """Say why this reuse may not be safe; ``above`` has the share and the cap of each frozen domain beyond its cap."""
    out = []
    if above:
        over = [f"{name} ({share:.4g} > {cap:.4g})" for name, (share, cap) in above.items()]
        out.append(
            f"frozen shares above their new caps: {listing(over)}; the caps hold, but by keeping all of {part.virtual!r} at most "
            f"{part.cap[0]:.4g}: reopen these domains"
        )
    if kl > 0.0 and not math.isfinite(part.divergence):
        out.append("the prior gives a frozen domain no share: a KL term forbids the virtual domain; change the prior")
    if coupling is None or loss is None:
        if part.others:
            out.append("no law was given, so what freezing costs is not known")
        return tuple(out)
    if coupling.assumed:
        twin = coupling.like[coupling.assumed[0]]
        out.append(
            f"nothing is known about {listing(coupling.assumed)}: taken to act like {twin}, the worst case for freezing; say "
            "which old domain each is like"
        )
    if coupling.gap > max(0.1 * allowed * coupling.gain, 1e-6):
        out.append(
            f"the old law is too steep for its optimum to be found: loss and gain may be off by {coupling.gap:.2g}; fit it to more runs, "
            "or with its penalty chosen by cross-validation"
        )
    if loss > max(allowed * coupling.gain, 1e-6):
        more = [name for name in coupling.reopen if name not in set(opened)]
        out.append(
            f"freezing is predicted to lose {loss:.3g}, more than {allowed:.0%} of the gain of {coupling.gain:.3g}; "
            + (f"reopen {listing(more)}" if more else "recompute with all domains open")
        )
    return tuple(out)
