"""What speaks against training on a proposed mixture as it is, a sentence each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mixfast._text.audience import either, setting
from mixfast._text.names import listing
from mixfast.mixture import Mixture
from mixfast.proposers._outcome import Gain
from mixfast.proposers._task import Task
from mixfast.swarm import doubts_of_directions

# 90 % intervals that hold less than this of unseen runs are too narrow.
_HELD = 0.75
# A share is beyond those of the runs when it is larger by this.
_BEYOND = 1e-3
# Between the best and the worst of some hundred runs lie about five standard deviations.
_IMPLAUSIBLE = 10.0


def doubts(task: Task, mixture: Mixture, gain: Gain) -> tuple[str, ...]:
    """List what speaks against training on the mixture: unknown epochs, laws that do not predict, shares beyond those of runs."""
    found, region, w = [], task.region, mixture.weights
    if not region.counted:
        found.append(
            "no token counts were given, so how often this repeats a domain is unknown. Proxy runs repeat little and cannot tell what "
            f"that costs, which can be more than a mixture gains. Give tokens and a budget ({either('Region.from_tokens', '--tokens and --budget')})."
        )
    reasons = getattr(task.law, "doubted_directions", {})
    counted = [task.target.metrics[j] for j in task.target.used]
    found += doubts_of_directions({name: reasons[name] for name in counted if name in reasons})
    found += _of_the_laws(task, gain.metrics)
    largest = getattr(task.law, "largest", None)
    if largest is not None:
        beyond = [k for k in np.argsort(-w, kind="stable").tolist() if 0.0 < largest[k] < w[k] - _BEYOND]
        if beyond:
            named = listing(f"{mixture.domains[k]} {w[k]:.1%}, in runs at most {largest[k]:.1%}" for k in beyond)
            found.append(f"shares beyond those of any run, where the law is only extended: {named}.")
    constant = getattr(task.law, "constant", {})
    if never := [name for name in task.held if name not in constant]:
        found.append(f"no run had a share of {listing(never)}: kept at the prior share, for nothing is known of it.")
    if same := [name for name in task.held if name in constant]:
        named = listing(f"{name} ({constant[name]:.3g})" for name in same)
        found.append(f"all runs had the same share of {named}: kept there, for nothing is known of other shares.")
    if gain.sd is not None and gain.value < gain.sd:
        found.append("the gain is smaller than its uncertainty: the runs do not tell this mixture and the prior apart.")
    if task.weight > 0.0 and not region.has_prior:
        found.append(
            f"{setting('kl', task.weight)} pulls towards equal shares, because no prior was given: "
            f"{either('Region(domains, prior=...)', '--prior FILE or --tokens FILE')}."
        )
    if task.weight == 0.0:
        pull = setting("kl", 0.05)
        needed = pull if region.has_prior else f"a prior, such as token counts give, and {pull}"
        found.append(
            "nothing pulls towards a prior (kl = 0). Laws err most far from the mixtures that were run, and a search goes there: "
            f"{needed} made better models with every law that was tried (benchmarks/lab)."
        )
    return tuple(found)


def _of_the_laws(task: Task, changes: Mapping[str, float]) -> list[str]:
    """What the laws' predictions of unseen runs say against those of the metrics that count."""
    known = {one.metric: one for one in getattr(task.law, "reports", ())}
    used = [known[name] for name in (task.target.metrics[j] for j in task.target.used) if name in known]
    found = []
    counted = [task.target.metrics[j] for j in task.target.used]
    if wrong := [name for name in counted if name in getattr(task.law, "misfits", ())]:
        found.append(f"the law of {listing(wrong)} is worse than a constant on its own runs: fit another law.")
    bad = [one.metric for one in used if one.runs and not one.r2 > 0.0]
    if bad:
        found.append(f"of runs they had not seen, laws that count predict no more than the mean does: {listing(bad)}.")
    far = [
        f"{one.metric} by {abs(changes[one.metric]) / one.sd:.3g} standard deviations of the runs"
        for one in used
        if one.sd > 0.0 and abs(changes[one.metric]) > _IMPLAUSIBLE * one.sd
    ]
    if far:
        found.append(
            f"laws expect changes from the prior that no run comes near, so their coefficients may have run away: {listing(far)}."
        )
    narrow = [f"{one.metric} {one.coverage:.0%}" for one in used if one.coverage < _HELD]
    if narrow:
        found.append(
            f"the gain is less sure than it says: 90 % intervals held fewer of the runs that laws had not seen: {listing(narrow)}."
        )
    return found
