"""Sections about a law: how well it predicts, how it responds to each share, and which domain affects which metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mixfast._text.audience import either
from mixfast.proposers import ASTRONOMIC
from mixfast.report import _axes as draw
from mixfast.report import _head as head
from mixfast.report import _html as html
from mixfast.report import _law_figures as laws
from mixfast.report._answer import base_of, target_of
from mixfast.report._head import number
from mixfast.report._html import Figures, Why

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mixfast.laws import Fit, Target
    from mixfast.mixture import Mixture
    from mixfast.report._answer import Answer
    from mixfast.report._folds import OutOfFold
    from mixfast.report._parts import Parts
    from mixfast.swarm import Swarm

# A section shows at most this many panels; the rest is in a table.
_METRICS, _DOMAINS, _COLUMNS = 24, 12, 3
_ENDLESS = "The law gives infinite or astronomic numbers there: its coefficients ran away. Fit another law, and see the warnings."


def _no_law() -> str:
    return f"There is no law. {either('Pass mixfast.fit(swarm) or laws.Fit.load(path).', 'Give RATIOS METRICS, or --law law.json.')}"


def predicted(parts: Parts, figures: Figures, found: OutOfFold | None, why: str) -> str | Why:
    """Predicted against measured metrics, on runs that the law had not seen."""
    if parts.law is None:
        return Why(_no_law())
    scores = head.scores_of(parts, found)
    if not scores:
        return Why(why)
    body = ""
    if found is not None and not found.finite:
        found, why = None, _ENDLESS
    if found is not None:
        shown = found.metrics[:_METRICS]
        more = len(found.metrics) - len(shown)
        body += figures.html(
            lambda: _grid_of_metrics(found, shown),
            f"Predicted against measured for {len(shown)} metrics; points on the diagonal are predicted exactly.",
            "Each point is a run that the law had not seen; bars are 90 % intervals, triangles at the edge predictions further out."
            + (f" {more} more metrics are in the table only." if more else ""),
        )
    rows = [
        [one.metric, one.law, str(one.runs), number(one.rmse, 4), number(one.sd, 4), number(one.spearman, 3), number(one.r2, 3),
         number(one.optimism, 2), "-" if np.isnan(one.coverage) else f"{100 * one.coverage:.0f} %"]
        for one in scores
    ]  # fmt: skip
    header = ["metric", "law", "runs", "rmse", "its sd", "Spearman", "R²", "optimism", "90 % hit"]
    caption = "On runs left out. Optimism: how much better than true the best-predicted runs looked. 90 % hit: how often the interval held."
    body += _opened("Scores", html.table(header, rows, words=[1], caption=caption), len(rows) <= _METRICS)
    if found is None:
        body += html.paragraph(f"No figure: {why}", "soft")
    return body + _expected(parts.law, parts.answer)


def response(parts: Parts, figures: Figures) -> str | Why:
    """How the predicted objective changes when one share moves."""
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
        rows.append([name, draw.share(float(base[k])), number(value[1]), error,
                     *(f"{change:+.3g}" for change in (value[[0, 2, 3]] - value[1]).tolist()), draw.share(reach[k])])  # fmt: skip
    if not finite:
        return Why(_ENDLESS)
    order = np.argsort(-np.array(spread), kind="stable")
    shown = [law.domains[k] for k in order[:_DOMAINS]]
    more = len(law.domains) - len(shown)
    body = html.paragraph(
        f"What the law predicts of {_objective(target)} when one domain's share moves away from {words} and the others keep their "
        "proportions. Less is better."
    )
    header = ["domain", "share", "predicted", "± 90 %", "change at 0", "at twice", "at the far end", "far end"]
    return body + figures.with_numbers(
        lambda: _grid_of_domains(law, swarm, at, target, shown),
        f"Curves of the predicted objective over the share of {len(shown)} domains, with 90 % bands.",
        "The ring is where the mixture is now; ticks are the shares of the runs; dashed lines are beyond them, extrapolated. Bands: "
        "90 % for a new run, as if all metrics erred together."
        + (f" The {len(shown)} domains that matter most; {more} more are in the table." if more else ""),
        summary="All responses as numbers",
        listed=html.table(header, [rows[k] for k in order.tolist()]),
    )


def coefficients(parts: Parts, figures: Figures) -> str | Why:
    """How much each domain affects each metric."""
    law = parts.law
    if law is None:
        return Why(_no_law())
    at = None if parts.answer is None else parts.answer.mixture
    base, words = base_of(law, at)
    slopes = laws.effects(law, base)
    if not (np.abs(slopes) < ASTRONOMIC).all():
        return Why(_ENDLESS)
    body = html.paragraph(
        f"How each metric changes as one domain gets more and the others keep their proportions, at {words}. "
        + ("" if law.smooth else "The law has no gradient: mean slopes over the next five points. ")
        + "For log-linear laws this is the map of their coefficients around their mean."
    )
    rows = [[name, *(f"{value / 100.0:+.2g}" for value in slopes[:, k])] for k, name in enumerate(law.domains)]
    listed = html.table(
        ["domain", *law.metrics], rows, caption="Change of the metric, in its unit, for one point more of share."
    )
    body += figures.with_numbers(
        lambda: laws.coefficients(law, at),
        f"Squares for {len(law.domains)} domains and {len(law.metrics)} metrics: filled where more of the domain helps.",
        "Filled: more of the domain makes the metric better. Hollow: worse. Areas are to the scale of each metric.",
        summary="All slopes as numbers",
        listed=listed,
    )
    own = [name for name in law.metrics if law.laws[name] == "log_linear"]
    if own:
        fitted: list[tuple[Any, int]] = [law.law_of(name) for name in own]
        lines = [[name, *(f"{one.a[j, k]:.4g}" for one, j in fitted)] for k, name in enumerate(law.domains)]
        lines.append(["gamma", *(f"{one.gamma[j]:.4g}" for one, j in fitted)])
        caption = "f(w) = exp(gamma) + exp(a . w); the coefficients a of each domain, and gamma in the last line."
        body += html.folded("Coefficients of the log-linear laws", html.table(["domain", *own], lines, caption=caption))
    return body


def _objective(target: Target) -> str:
    used = [target.metrics[j] for j in target.used]
    if target.worst:
        return f"the largest of {len(used)} metrics"
    return used[0] if len(used) == 1 else f"the objective, a weighted mean of {len(used)} metrics"


def _expected(law: Fit, answer: Answer | None) -> str:
    """Table of the expected metrics at the mixture and at the prior."""
    if answer is None or set(answer.mixture.domains) != set(law.domains):
        return ""
    base, _ = base_of(law, answer.mixture)
    prior, words = base_of(law, answer.prior)
    words = "prior" if answer.prior else words
    values, sd = law.predict(np.stack([base, prior])), law.sd(base[None, :])[0]
    rows = [
        [name, law.unit[j], number(float(values[0, j])), number(float(sd[j]), 2), number(float(values[1, j])),
         f"{float(values[0, j] - values[1, j]):+.3g}", "more" if law.direction[j] == "max" else "less"]
        for j, name in enumerate(law.metrics)
    ]  # fmt: skip
    header = ["metric", "unit", "at this mixture", "± sd", f"at {words}", "difference", "better is"]
    listed = html.table(header, rows, words=[1, 6])
    return _opened("What the law expects of each metric", listed, len(rows) <= _METRICS)


def _opened(title: str, listed: str, short: bool) -> str:
    """A table under a title; collapsed if it is long."""
    return f"<h3>{html.text(title)}</h3>{listed}" if short else html.folded(title, listed)


def _grid_of_metrics(found: OutOfFold, shown: tuple[str, ...]) -> Figure:
    with draw.style():
        figure, axes = _grid(len(shown), 2.9)
        for place, (ax, metric) in enumerate(zip(axes, shown, strict=True)):
            laws.predicted(found, metric, ax=ax)
            # Labels stand only at the edge of the grid.
            if place % _COLUMNS:
                ax.set_ylabel("")
            if place + _COLUMNS < len(shown):
                ax.set_xlabel("")
    return figure


def _grid_of_domains(law: Fit, swarm: Swarm | None, at: Mixture | None, target: Target, shown: list[str]) -> Figure:
    with draw.style():
        figure, axes = _grid(len(shown), 2.3)
        for ax, name in zip(axes, shown, strict=True):
            laws.respond(law, name, target, at, swarm, ax)
        # One scale for all panels, so that they can be compared.
        low, high = (pick(ax.get_ylim()[side] for ax in axes) for side, pick in ((0, min), (1, max)))
        for ax in axes:
            ax.set_ylim(low, high)
    return figure


def _grid(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a new figure with so many Axes, three in a row."""
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    figure, axes = draw.panels(
        rows, columns, height * rows, draw.WIDTH * columns / _COLUMNS + (0.6 if columns < _COLUMNS else 0.0)
    )
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes[:count]
