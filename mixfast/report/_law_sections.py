"""Sections about a law: how well it predicts, how it responds to each share, and which domain affects which metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mixfast._text.audience import either
from mixfast._text.numbers import decimals
from mixfast.proposers import ASTRONOMIC, GuardReport, LeastChange, Proposal, cost_of_guards
from mixfast.report import _axes as draw
from mixfast.report import _head as head
from mixfast.report import _html as html
from mixfast.report import _law_figures as laws
from mixfast.report._answer import base_of, percentage, target_of
from mixfast.report._head import number
from mixfast.report._html import Figures, Why

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mixfast.laws import Fit, Target
    from mixfast.mixture import Mixture
    from mixfast.report._answer import Answer
    from mixfast.report._folds import OutOfFold
    from mixfast.report._parts import Parts
    from mixfast.swarm import Swarm

# A section shows at most this many panels; all numbers are in its table.
_METRICS, _DOMAINS = 24, 12
_ENDLESS = "The law predicts infinite or astronomically large numbers there: its coefficients diverged. Fit another law, and see the warnings."


def _no_law() -> str:
    return f"There is no law. {either('Pass mixfast.fit(swarm) or laws.Fit.load(path).', 'Give RATIOS METRICS, or --law law.json.')}"


def predicted(parts: Parts, figures: Figures, found: OutOfFold | None, why: str) -> str | Why:
    """Show predicted against measured metrics, for runs that the law was not fitted to."""
    if parts.law is None:
        return Why(_no_law())
    scores = head.scores_of(parts, found)
    if not scores:
        return Why(why)
    body = ""
    if found is not None and not found.finite:
        found, why = None, _ENDLESS
    if found is not None:
        some = found
        shown = some.metrics[:_METRICS]
        more = len(some.metrics) - len(shown)
        body += figures.panels(
            lambda: [laws.predicted(some, metric) for metric in shown],
            f"Predicted against measured for {len(shown)} metrics; points on the diagonal are predicted exactly.",
            "Each point is a run that the law was not fitted to. Bars are 90 % intervals; triangles at the edge are predictions further out."
            + (f" {more} more metrics are in the table only." if more else ""),
        )
    noise = parts.law.noise
    rows = [
        [one.metric, one.law, str(one.runs), number(one.rmse, 4), *([number(noise.get(one.metric), 4)] if noise else []), number(one.sd, 4), number(one.spearman, 3), _r2(one.r2),
         *(number(getattr(one, name), 2) for name in ("optimism", "regret", "self_optimism")), "-" if np.isnan(one.coverage) else f"{100 * one.coverage:.0f} %"]
        for one in scores
    ]  # fmt: skip
    header = [
        "metric",
        "law",
        "runs",
        "rmse",
        *(["noise"] if noise else []),
        "sd of runs",
        "Spearman",
        "R²",
        "optimism",
        "regret",
        "self-optimism",
        "90 % hit",
    ]
    caption = (
        "For runs left out of the fit. "
        + (
            "Noise: standard deviation between seeds; no law has a smaller rmse on new runs, except by chance. "
            if noise
            else ""
        )
        + "Optimism: predicted minus measured gain of the runs predicted best. "
        "Regret: how much worse the run that the law picks from a fold is than the best run of the fold. Self-optimism: predicted minus "
        "measured gain of these picks. "
        "90 % hit: how many measured values lie inside their interval."
    )
    listed = _without_constants(header, rows, [1], caption)
    if len(rows) <= _METRICS:
        body += html.side_by_side(f"<h3>Scores</h3>{listed}", _expected(parts.law, parts.answer))
    else:
        body += html.folded("Scores", listed) + _expected(parts.law, parts.answer)
    return body + (html.paragraph(f"No figure: {why}", "soft") if found is None else "")


def response(parts: Parts, figures: Figures) -> str | Why:
    """Show how the predicted objective changes when one share changes."""
    law, swarm = parts.law, parts.swarm
    if law is None:
        return Why(_no_law())
    target = target_of(law, parts.answer)
    at = None if parts.answer is None else parts.answer.mixture
    base, words = base_of(law, at)
    reach = [laws.reach(law, swarm, k, float(base[k])) for k in range(len(law.domains))]
    rows, spread, finite = [], [], True
    for k, name in enumerate(law.domains):
        x = np.array([0.0, base[k], min(2.0 * base[k], 1.0), reach[k]])
        value, sd = laws.curve(law, target, base, k, x)
        spread.append(float(np.ptp(value)))
        error = "-" if sd is None else number(float(draw.Z90 * sd[1]), 2)
        finite &= bool((np.abs(value) < ASTRONOMIC).all())
        rows.append([name, percentage(float(base[k])), number(value[1]), error,
                     *(f"{gain:+.3g}" for gain in (value[1] - value[[0, 2, 3]]).tolist()), percentage(reach[k])])  # fmt: skip
    if not finite:
        return Why(_ENDLESS)
    order = np.argsort(-np.array(spread), kind="stable")
    shown = [law.domains[k] for k in order[:_DOMAINS]]
    more = len(law.domains) - len(shown)
    body = html.paragraph(
        f"The prediction of the law for {_objective(target)} when the share of one domain changes from {words} and the others keep their "
        "proportions. Lower is better."
    )
    header = ["domain", "share", "predicted", "± 90 %", "gain at 0", "gain at twice", "gain at the end", "end"]
    drawn = figures.panels(
        lambda: _responses(law, swarm, at, target, shown),
        f"Curves of the predicted objective over the share of {len(shown)} domains, with 90 % bands.",
        "Across: share of the domain. Up: predicted objective, lower is better. The ring is the mixture; ticks are the shares of the runs; "
        "dashed lines extrapolate beyond them. Bands: 90 % for a new run if the errors of all metrics are fully correlated."
        + (f" Shown: the {len(shown)} domains with the largest effect; {more} more are in the table." if more else ""),
    )
    listed = html.table(
        header, [rows[k] for k in order.tolist()], caption="Gains over the present share; end: the largest share that is drawn."
    )  # fmt: skip
    return body + html.with_numbers(drawn, "All responses as numbers", listed)


def coefficients(parts: Parts, figures: Figures) -> str | Why:
    """Show how much each domain affects each metric."""
    law = parts.law
    if law is None:
        return Why(_no_law())
    at = None if parts.answer is None else parts.answer.mixture
    base, words = base_of(law, at)
    slopes = laws.effects(law, base)
    if not (np.abs(slopes) < ASTRONOMIC).all():
        return Why(_ENDLESS)
    body = html.paragraph(
        f"The gain in each metric as one domain gets more and the others keep their proportions, at {words}. "
        + ("" if law.smooth else "The law has no gradient: slopes are means over the next five points. ")
        + "For log-linear laws these are the coefficients around their mean, up to a factor for each metric."
    )
    gains = -slopes * laws.signs(law)[:, None]
    rows = [[name, *(f"{value / 100.0:+.2g}" for value in gains[:, k])] for k, name in enumerate(law.domains)]
    caption = "Gain in the metric, in its unit, for one percentage point more of the domain: + is better, - is worse."
    drawn = figures.html(
        lambda: laws.coefficients(law, at),
        f"Squares for {len(law.domains)} domains and {len(law.metrics)} metrics: filled if more of the domain helps.",
        "Filled: more of the domain makes the metric better. Hollow: worse. Areas are relative to the largest in each metric.",
    )
    body += html.with_numbers(
        drawn, "All gains as numbers", html.table(["domain", *law.metrics], rows, caption=caption)
    )
    own = [name for name in law.metrics if law.law_of(name)[0].name == "log_linear"]
    if own:
        fitted: list[tuple[Any, int]] = [law.law_of(name) for name in own]
        lines = [[name, *(f"{one.a[j, k]:.4g}" for one, j in fitted)] for k, name in enumerate(law.domains)]
        lines.append(["gamma", *(f"{one.gamma[j]:.4g}" for one, j in fitted)])
        caption = "f(w) = exp(gamma) + exp(a . w): the coefficients a of each domain, and gamma in the last row."
        body += html.folded("Coefficients of the log-linear laws", html.table(["domain", *own], lines, caption=caption))
    return body


def _r2(value: float) -> str:
    return "-" if np.isnan(value) else decimals(value, 3)


def controls(parts: Parts) -> str | Why:
    """Show what the law predicts for cheap baselines, beside the proposal."""
    proposal = None if parts.answer is None else parts.answer.source
    if not isinstance(proposal, Proposal):
        return Why("Only a proposal is compared with cheap baselines metric by metric.")
    found, predicted = proposal.controls, proposal.predicted
    if not found:
        return Why("The domains are groups of domains, for which baselines mean nothing.")
    worse = {name: 1.0 if sign > 0.0 else -1.0 for name, sign in zip(predicted, proposal.target.sign, strict=True)}
    body = html.paragraph(
        "Baselines that need no runs, under the same law. A proposal that gains little over them is not worth its runs. "
        + ("" if proposal.region.available is not None else "Natural, temperature and UniMax need token counts.")
    )
    rows = [["objective", "", *(f"{one.gain:+.3g}" for one in found)]]
    for name, here in predicted.items():
        gains = [(one.predicted[name] - here) * worse[name] for one in found]
        cells = [f"{number(one.predicted[name])} ({gain:+.2g})" for one, gain in zip(found, gains, strict=True)]
        rows.append([name, number(here), *cells])
    outside = [one.name for one in found if one.violation > 0.0]
    caption = "In parentheses, and for the objective: gain of this mixture over the control; + is better, - is worse."
    caption += f" Outside the limits: {', '.join(outside)}." if outside else ""
    return body + html.table(["metric", "this mixture", *(one.name for one in found)], rows, caption=caption)


def guards(parts: Parts) -> str | Why:
    """Show the limits of metrics: which guards and goals bind, and what they cost."""
    proposal = None if parts.answer is None else parts.answer.source
    if not isinstance(proposal, Proposal):
        return Why("Only a proposal from laws has limits of metrics.")
    found = proposal.guards
    if not found:
        how = either("mixfast.propose(law, region, guard={'*': '1 sd'})", "--guard '*=1 sd'")
        return Why(f"No metric has a guard, which says how much worse it may get: {how}.")
    cost = cost_of_guards(proposal)
    body = ""
    if cost is not None:
        unit = parts.answer.unit if parts.answer is not None else "the objective's unit"
        body = html.paragraph(
            f"All guards together cost {cost:.4g} {unit}: without them, the minimised objective is {proposal.value - cost:.6g}."
        )
    unit = "nats" if isinstance(proposal, LeastChange) else "objective"
    rows = [
        [one.metric, one.kind, one.given, number(one.limit), number(one.reference), number(one.predicted), _room(one),
         "violated" if one.violated else "binds" if one.binds else "holds", number(one.price, 3), number(one.price_per_sd, 3)]
        for one in sorted(found, key=lambda one: (not one.violated, not one.binds, -(one.price or 0.0)))
    ]  # fmt: skip
    caption = (
        f"Price: {unit} saved for each unit of the metric by which the limit is relaxed, and for one seed standard deviation; it holds for small "
        "changes. Reference: the prediction at the mixture that guards compare with. To spare: negative if the limit is violated."
        + (" A search gives no prices." if proposal.gap is None else "")
    )
    header = [
        "metric",
        "kind",
        "allowed",
        "limit",
        "reference",
        "predicted",
        "to spare",
        "state",
        "price",
        "price per sd",
    ]
    return body + _without_constants(header, rows, [1, 2, 7], caption)


def _room(guard: GuardReport) -> str:
    """Return how far a metric is from its limit; rounding is 0."""
    rounding = abs(guard.slack) <= 1e-9 * max(1.0, abs(guard.limit))
    return number(0.0 if rounding else guard.slack, 3)


def _objective(target: Target) -> str:
    used = [target.metrics[j] for j in target.used]
    if target.worst:
        return f"the largest of {len(used)} metrics"
    return used[0] if len(used) == 1 else f"the objective, a weighted mean of {len(used)} metrics"


def _expected(law: Fit, answer: Answer | None) -> str:
    """Return a table of the expected metrics at the mixture and at the prior."""
    if answer is None or set(answer.mixture.domains) != set(law.domains):
        return ""
    base, _ = base_of(law, answer.mixture)
    prior, words = base_of(law, answer.prior)
    words = "prior" if answer.prior else words
    values, sd = law.predict(np.stack([base, prior])), law.sd(base[None, :])[0]
    gains = (values[1] - values[0]) * laws.signs(law)
    rows = [
        [name, law.unit[j], number(float(values[0, j])), number(float(sd[j]), 2), number(float(values[1, j])),
         f"{float(gains[j]):+.3g}", "higher" if law.direction[j] == "max" else "lower"]
        for j, name in enumerate(law.metrics)
    ]  # fmt: skip
    header = ["metric", "unit", "at this mixture", "± sd", f"at {words}", "gain", "better is"]
    listed = _without_constants(header, rows, [1, 6], f"Gain over {words}: + is better, - is worse.")
    title = "Expected metrics under the law"
    return f"<h3>{title}</h3>{listed}" if len(rows) <= _METRICS else html.folded(title, listed)


def _without_constants(header: list[str], rows: list[list[str]], words: list[int], caption: str) -> str:
    """Return a table whose columns of `words` stand in its caption if they say the same in every row."""
    same = [place for place in words if len(rows) > 1 and len({row[place] for row in rows}) == 1]
    kept = [place for place in range(len(header)) if place not in same]
    caption = " ".join([caption, *(f"{header[place].capitalize()}: {rows[0][place]}." for place in same)])
    return html.table(
        [header[place] for place in kept],
        [[row[place] for place in kept] for row in rows],
        words=[kept.index(place) for place in words if place in kept],
        caption=caption,
    )


def _responses(law: Fit, swarm: Swarm | None, at: Mixture | None, target: Target, shown: list[str]) -> list[Axes]:
    made = [laws.respond(law, name, target, at, swarm, None) for name in shown]
    # One scale for all panels, so that they can be compared.
    low, high = (pick(ax.get_ylim()[side] for ax in made) for side, pick in ((0, min), (1, max)))
    for ax in made:
        ax.set_ylim(low, high)
    return made
