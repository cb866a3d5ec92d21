"""Reasons not to train on a proposed mixture as it is, one sentence each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mixfast._text.audience import either, setting
from mixfast._text.names import listing
from mixfast.laws import Fit
from mixfast.mixture import Mixture
from mixfast.proposers._doubts_of_epochs import doubts_of_epochs
from mixfast.proposers._outcome import Gain
from mixfast.proposers._task import Task
from mixfast.swarm import LEAST_RATIO, doubts_of_directions

# 90 % intervals that contain less than this fraction of held-out runs are too narrow.
_HELD = 0.75
# A share is above those of all runs if it exceeds the largest by this.
_BEYOND = 1e-3
# The best and the worst of some hundred runs are about five standard deviations apart.
_IMPLAUSIBLE = 10.0
# Weak metrics are named if they have more than this part of the expected gain.
_MOST = 0.5


def doubts(task: Task, mixture: Mixture, gain: Gain) -> tuple[str, ...]:
    """List the reasons to doubt the mixture: unknown epochs, laws that do not predict, shares above those of all runs."""
    found, region, w = [], task.region, mixture.weights
    if not region.counted and getattr(task.law, "uses_epochs", False):
        found.append(
            "no token counts of the target run were given, so the laws in epochs predict a run that repeats each domain as the runs of the fit do. "
            f"If their pools do not match the target run, give its tokens and budget ({either('Region.from_tokens', '--tokens and --budget')})."
        )
    elif not region.counted:
        found.append(
            "no token counts were given, so it is unknown how often this mixture repeats a domain. Proxy runs repeat little and cannot show the "
            f"cost of repetition, which can exceed the gain. Give tokens and a budget ({either('Region.from_tokens', '--tokens and --budget')})."
        )
    reasons = getattr(task.law, "doubted_directions", {})
    counted = [task.target.metrics[j] for j in task.counted.used]
    found += doubts_of_directions({name: reasons[name] for name in counted if name in reasons})
    found += _of_the_laws(task, gain.metrics)
    found += _of_weak_metrics(task, gain)
    largest = getattr(task.law, "largest", None)
    if largest is not None:
        beyond = [k for k in np.argsort(-w, kind="stable").tolist() if 0.0 < largest[k] < w[k] - _BEYOND]
        if beyond:
            named = listing(f"{mixture.domains[k]} {w[k]:.1%}, in the runs at most {largest[k]:.1%}" for k in beyond)
            found.append(f"shares above those of all runs, where the law extrapolates: {named}.")
    found += doubts_of_epochs(task.law, region, mixture)
    constant = getattr(task.law, "constant", {})
    if never := [name for name in task.held if name not in constant]:
        found.append(
            f"no run had a share of {listing(never)}, so the law knows nothing about it: kept at {_share(task)}."
        )
    if same := [name for name in task.held if name in constant]:
        named = listing(f"{name} ({constant[name]:.3g})" for name in same)
        found.append(
            f"all runs had the same share of {named}, so the law knows nothing about other shares: kept at that share."
        )
    unclear = _uncertainty(task, mixture, gain)
    if unclear is not None and gain.value < unclear:
        found.append(
            "the gain is smaller than its uncertainty: the runs cannot distinguish this mixture from the prior."
        )
    if task.weight > 0.0 and not region.has_prior:
        found.append(
            f"{setting('kl', task.weight)} pulls towards equal shares, because no prior was given: "
            f"{either('Region(domains, prior=...)', '--prior FILE or --tokens FILE')}."
        )
    laws = getattr(task.law, "laws", {})
    # In the laboratory, a KL term made the models of laws of shares better, and those of laws in epochs worse.
    if task.weight == 0.0 and any(laws.get(name) != "epochs" for name in counted):
        kl = setting("kl", 0.05)
        needed = kl if region.has_prior else f"a prior, for example from token counts, and {kl}"
        found.append(
            "no KL term keeps the mixture near the prior (kl = 0). Laws err most far from the trained mixtures, and the optimum is often there: "
            f"{needed} gave better models with every law of shares that was tried (benchmarks/lab)."
        )
    return tuple(found)


def _of_weak_metrics(task: Task, gain: Gain) -> list[str]:
    """Say that most of the gain is in metrics that differ as much between seeds as between mixtures."""
    law, target = task.law, task.target
    noise, spread = getattr(law, "noise", None) or {}, getattr(law, "spread", None) or {}
    if target.worst or not gain.value > 0.0:
        return []
    # The spread over the runs contains the noise: the effect of the mixtures is smaller than the noise below sqrt(2) times the noise.
    weak = [
        target.metrics[j]
        for j in target.used
        if 0.0
        < spread.get(target.metrics[j], np.inf)
        < np.sqrt(1.0 + LEAST_RATIO**2) * noise.get(target.metrics[j], 0.0)
    ]
    each = dict(zip(target.metrics, target.weight.tolist(), strict=True))
    part = sum(each[name] * gain.metrics[name] for name in weak) / gain.value
    if not part > _MOST:
        return []
    return [
        f"{min(part, 1.0):.0%} of the expected gain is in metrics that cannot rank the runs, because runs of one mixture differ at least as much as "
        f"mixtures do: {listing(weak)}. Leave them out of the objective ({either('swarm.select(swarm.noise.strong)', 'mixfast fit --drop-weak')}), or "
        f"divide metrics by their noise ({setting('scale', 'noise')})."
    ]


def _uncertainty(task: Task, mixture: Mixture, gain: Gain) -> float | None:
    """Return the standard deviation of the expected gain, which has no noise of new runs; that of two new runs if covariances are unknown."""
    points = np.stack([mixture.weights, task.region.prior])
    found = task.law.joint(points, task.target.metrics) if isinstance(task.law, Fit) else None
    if found is None:
        return gain.sd
    both = [one.variance[0] + one.variance[1] - 2.0 * float(one.column(0)[1]) for one in found]
    expected = np.asarray(task.law.predict(points[:1]), dtype=np.float64)
    return float(task.target.spread(expected, np.sqrt(np.maximum([both], 0.0)))[0])


def _share(task: Task) -> str:
    return "the prior share" if task.base == "the prior" else f"its share in {task.base}"


def _of_the_laws(task: Task, changes: Mapping[str, float]) -> list[str]:
    """Reasons to doubt the laws of the metrics that count, from their predictions of held-out runs."""
    known = {one.metric: one for one in getattr(task.law, "reports", ())}
    counted = [task.target.metrics[j] for j in task.counted.used]
    used = [known[name] for name in counted if name in known]
    where = [*(["the objective"] if task.target.used else []), *(["the limits of metrics"] if task.guards else [])]
    found = []
    if wrong := [name for name in counted if name in getattr(task.law, "misfits", ())]:
        found.append(f"the law of {listing(wrong)} predicts its own runs worse than a constant does: fit another law.")
    bad = [one.metric for one in used if one.runs and not one.r2 > 0.0]
    if bad:
        found.append(
            f"laws in {' and '.join(where)} predict held-out runs no better than the mean does: {listing(bad)}. "
            "Leave such metrics out of the objective and the guards."
        )
    far = [
        f"{one.metric} by {abs(changes[one.metric]) / one.sd:.3g} standard deviations of the runs"
        for one in used
        if one.sd > 0.0 and abs(changes[one.metric]) > _IMPLAUSIBLE * one.sd
    ]
    if far:
        found.append(
            f"laws predict changes from {task.base} far larger than in any run, so their coefficients may have diverged: {listing(far)}."
        )
    narrow = [f"{one.metric} {one.coverage:.0%}" for one in used if one.coverage < _HELD]
    if narrow:
        found.append(
            f"the uncertainty of the gain is too small: 90 % intervals contained fewer of the held-out runs: {listing(narrow)}."
        )
    return found
