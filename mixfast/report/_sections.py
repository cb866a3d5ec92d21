"""Sections about a mixture: shares, near-optimal set, shadow prices, convergence, held-out losses, history and schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from mixfast._text.audience import either
from mixfast._text.names import counted
from mixfast.region import cap_in_words
from mixfast.report import _axes as draw
from mixfast.report import _html as html
from mixfast.report import _share_figures, _solve_figures, _timeline_figures
from mixfast.report._answer import Answer, ends_of, percentage
from mixfast.report._head import number, points
from mixfast.report._html import Figures, Missing, Why
from mixfast.solver import MOST_RANGED, Solution, worn

if TYPE_CHECKING:
    from mixfast.report._parts import Parts


def _solve() -> str:
    """Return how to get a mixture that is solved for or proposed."""
    return either(
        "Solve a table (mixfast.solve) or fit and propose (mixfast.fit, mixfast.propose), and pass the result.",
        "Give a TABLE, which is solved; or RATIOS METRICS, to which laws are fitted; or --law.",
    )


def shares(parts: Parts, figures: Figures) -> str | Why:
    """Show the shares next to those of the mixtures that they are compared with."""
    answer = parts.answer
    if answer is None:
        return Why(f"There is no mixture. {_solve()}")
    order = answer.order()
    largest = ", ".join(f"{name} {percentage(answer.mixture[name])}" for name in order[:3])
    columns = _columns(answer, parts)
    rows = [[show(name) for show in columns.values()] for name in order]

    def rest(shown: int) -> list[str]:
        total = math.fsum(answer.mixture[name] for name in order[shown:])
        return [f"other {len(order) - shown} domains", percentage(total), *[""] * (len(columns) - 2)]

    words = answer.common_cap_words
    drawn = figures.html(
        lambda: _share_figures.shares(
            answer.source or answer.mixture, parts.intervals, region=answer.region, present=parts.present
        ),
        f"Bars of the shares of {len(order)} domains, largest first: {largest}.",
        _key(parts),
    )
    listed = html.table(list(columns), rows, rest=rest, caption=f"{words[:1].upper()}{words[1:]}." if words else "")
    return html.with_numbers(drawn, "All shares as numbers", listed)


def _columns(answer: Answer, parts: Parts) -> dict[str, Callable[[str], str]]:
    """Return the columns of the table of shares, by title."""
    mixture, present, caps, common = answer.mixture, parts.present, answer.caps, answer.common_cap
    ends, prior, epochs = ends_of(parts.intervals), answer.prior, answer.epochs
    columns: dict[str, Callable[[str], str]] = {"domain": str, "share": lambda name: percentage(mixture[name])}
    if ends:
        level = f"{100 * parts.intervals.level:.0f} % interval" if parts.intervals is not None else "interval"
        columns[level] = lambda name: _span(ends.get(name))
    if prior:
        columns["prior"] = lambda name: percentage(prior[name])
        columns["points"] = lambda name: points(mixture[name] - prior[name])
    if present is not None:
        columns["present"] = lambda name: percentage(present.get(name, 0.0))
    # A cap of all domains stands once, above the table.
    if caps and not (common is not None and all(caps.get(name) == common for name in mixture)):
        columns["cap"] = lambda name: percentage(caps[name]) if name in caps else ""
    if epochs:
        columns["epochs"] = lambda name: f"{epochs[name]:.2f}"
    if isinstance(answer.source, Solution) and isinstance(wear := answer.source.wear, dict):
        columns["wear"] = lambda name: worn(wear[name])
    return columns


def lacking(parts: Parts) -> list[Missing]:
    """Return the columns that the section on shares lacks because their inputs are missing."""
    out: list[Missing] = []
    answer = parts.answer
    if answer is None:
        return out
    if parts.intervals is None:
        solved = "solver.bootstrap(table, region, solution=solution)"
        proposed = "proposers.bootstrap(swarm, law, region, fit=mixfast.fit), which refits on halves of the runs"
        how = solved if answer.source is None or isinstance(answer.source, Solution) else proposed
        why = f"A single answer has no intervals. {either(f'Pass {how}.', '--replicates 200 for a table, --replicates 30 for runs.')}"
        out.append(Missing("intervals", "Intervals of the shares", why))
    if answer.epochs is None:
        why = f"No token counts were given. {either('Build the region by Region.from_tokens(tokens, budget).', 'Give --tokens FILE --budget N.')}"
        out.append(Missing("epochs", "Epochs", why))
    if answer.prior is None:
        why = f"No prior was given; equal shares are used instead. {either('Region(domains, prior=...) or Region.from_tokens.', '--prior FILE, or --tokens FILE --budget N.')}"
        out.append(Missing("prior", "Prior", why))
    return out


def near_optimal(parts: Parts, figures: Figures, eps: float | None) -> str | Why:
    """Show how far each share can change at almost no loss."""
    answer = parts.answer
    if answer is None or answer.source is None:
        return Why(f"Only a mixture that is solved for or proposed has near-optimal ranges. {_solve()}")
    if eps is None:
        return Why(f"It was switched off by {either('eps=None', '--no-ranges')}.")
    source = answer.source
    if len(answer.mixture) > MOST_RANGED:
        why = f"It is skipped above {MOST_RANGED} domains, where it costs more than all other sections{either('; solution.ranges(eps, domains=[...]) computes it for chosen domains', '')}."
        return Why(why)
    try:
        found = source.ranges(eps)
    except ValueError as problem:
        return Why(str(problem))
    order = answer.order()
    widest = max(order, key=lambda name: found[name][1] - found[name][0])
    low, high = found[widest]
    words = f"the share of {widest} can be anything from {percentage(low)} to {percentage(high)}"
    body = html.paragraph(
        f"While the objective stays within {eps:g} of this mixture's and the other shares adjust, {words}. Within a wide range, choose by "
        "cost or licence. "
        + (
            "The ranges cover the mixtures that the search evaluated."
            if answer.gap is None
            else "The true ranges are at least as wide."
        )
    )
    rows = [[name, percentage(answer.mixture[name]), *(percentage(end) for end in found[name])] for name in order]
    drawn = figures.html(
        lambda: _share_figures.ranges(source, eps, ranges=found),
        f"Range of each share within {eps:g} of the objective; {widest} has the widest.",
        "Bars: shares of mixtures within the tolerance. Dots: this mixture.",
    )
    listed = html.table(["domain", "share", "from", "to"], rows)
    return body + html.with_numbers(drawn, "All ranges as numbers", listed)


def prices(parts: Parts, figures: Figures) -> str | Why:
    """Show what the binding limits cost."""
    answer = parts.answer
    if answer is None or answer.source is None:
        return Why(f"Only a mixture that is solved for or proposed has shadow prices. {_solve()}")
    if not answer.limited:
        why = f"There are no limits. {either('Region(domains, cap=..., floor=..., bounds=...) or Region.from_tokens.', '--tokens, --cap, --floor, --limit.')}"
        return Why(why)
    if answer.gap is None:
        how = either("mixfast.fit(swarm, 'log_linear')", "--law-kind log_linear")
        why = f"A search gives no multipliers. Convex laws (log_linear, linear, epochs) are solved exactly and give them: {how}."
        return Why(why)
    words = cap_in_words(answer.region, answer.mixture.weights) if answer.region is not None else ""
    capped = html.paragraph(f"Limits: {words}.") if words else ""
    found = answer.prices
    if not found:
        return capped + html.paragraph("No limit binds: relaxing a single limit gains nothing.")
    source = answer.source
    body = capped + figures.html(
        lambda: _share_figures.prices(source),
        f"Bars of the prices of {len(found)} binding limits; {found[0].name} has the highest.",
        "Price: gain from relaxing the limit by one percentage point. A price holds for small changes.",
    )
    body += html.bullets([price.text for price in found[: draw.MOST_ROWS]])
    if isinstance(source, Solution):
        cost = source.value - source.unconstrained.value
        body += html.paragraph(
            f"All limits together cost {max(cost, 0.0):.4g} {answer.unit}: without limits, the minimised objective is "
            f"{source.unconstrained.value:.6g}."
        )
    return body


def convergence(parts: Parts, figures: Figures) -> str | Why:
    """Show the steps of the solve or the search."""
    answer = parts.answer
    if answer is None or answer.source is None or not answer.source.trace:
        return Why("Nothing was solved or searched. " + _solve())
    source = answer.source
    trace = source.trace
    gap = "no gap" if answer.gap is None else f"a gap of {answer.gap:.1e}"
    evaluated = "rows" if isinstance(source, Solution) else "points or metrics"
    rows = []
    for i, step in enumerate(trace, start=1):
        bound = "-" if math.isnan(step.gap) else f"{step.gap:.1e}"
        rows.append([i, f"{step.rows:,}", f"{step.domains:,}", f"{step.value:.8g}", bound])
    drawn = ""
    if len(trace) > 1:
        drawn = figures.html(
            lambda: _solve_figures.convergence(source),
            f"Progress over {len(trace)} steps, ending with {gap}.",
            "The gap is an upper bound of the distance to the optimum; hollow marks are steps on a sample of the rows."
            if answer.gap is not None
            else "The best value found so far.",
        )
    listed = html.table(["step", f"{evaluated} evaluated", "active domains", "minimised objective", "gap"], rows)
    return html.with_numbers(drawn, "All steps as numbers", listed)


def held_out(parts: Parts, figures: Figures) -> str | Why:
    """Show losses on rows that were held out."""
    report = parts.held_out
    if report is None:
        why = f"No rows were held out. {either('Pass solver.holdout(table, region, share=0.2).', 'For a table: --held-out 0.2.')}"
        return Why(why)
    fitted, rest = report.sizes
    best, limited = report.rows[0], any(row.name == "mixfast, no limits" for row in report.rows)
    body = html.paragraph(
        f"Fitted on {fitted:,} rows, compared on the other {rest:,}. Best: {best.name}, {best.held_out_loss:.6g} nats; lower is better. "
        + ("Of the fitted mixtures only 'mixfast' satisfies the limits." if limited else "")
    )
    rows = [
        [row.name, f"{row.fit_loss:.5f}", f"{row.held_out_loss:.5f}", "yes" if row.fitted else ""]
        for row in report.rows
    ]
    drawn = figures.html(
        lambda: _solve_figures.held_out(report),
        f"Held-out losses of {len(report.rows)} mixtures and experts; {best.name} is best.",
        "Filled circles: fitted mixtures. Squares: baselines. Hollow circles: single experts. Ticks: the loss on the fitted rows.",
    )
    listed = html.table(["mixture", "on the fitted rows", "held out", "fitted"], rows)
    return body + html.with_numbers(drawn, "All losses as numbers", listed)


def history(parts: Parts, figures: Figures) -> str | Why:
    """Show the mixture after each update in its ledger."""
    ledger = parts.ledger
    if ledger is None:
        why = f"There is no ledger. {either('Start one with reuse.Ledger.start(mixture, why=...), and pass it.', 'Start one with `mixfast reuse start`, and give --ledger life.yaml.')}"
        return Why(why)
    entries = ledger.entries
    body = figures.html(
        lambda: _timeline_figures.history(ledger),
        f"Stacked shares after each of {len(entries)} updates, from {entries[0].when[:10]} to {entries[-1].when[:10]}.",
        "The mixture after each update. Domains that were never among the nine largest share one bar.",
    )
    rows = [
        [entry.when[:10], entry.kind, str(len(entry.mixture)), str(len(entry.frozen)) if entry.frozen else "",
         f"{entry.runs} of {entry.full_runs}" if entry.full_runs else "", number(entry.loss, 3) if entry.loss is not None else "",
         _changed(entry.changes), entry.why]
        for entry in entries
    ]  # fmt: skip
    header = ["when", "kind", "domains", "frozen", "runs", "cost of reuse", "changes", "why"]
    body += html.table(
        header,
        rows,
        words=[6, 7],
        caption="Runs: advised number, of that for a full recomputation. Cost of reuse: predicted loss above that of a full recomputation.",
    )
    names = list(dict.fromkeys(name for entry in reversed(entries) for name in entry.mixture))
    grid = [
        [name, *(percentage(entry.mixture[name]) if name in entry.mixture else "" for entry in entries)]
        for name in names
    ]
    listed = html.table(["domain", *(entry.when[:10] for entry in entries)], grid)
    return body + html.folded("All shares after every update", listed)


def schedule(parts: Parts, figures: Figures) -> str | Why:
    """Show the shares from which the loader samples over the run."""
    given = parts.schedule
    if given is None:
        why = f"There is no schedule. {either('Pass a MixtureSchedule or a MixtureSampler.', 'Give --schedule FILE, as MixtureSchedule.to_json writes it.')}"
        return Why(why)
    plan = _timeline_figures.plan_of(given)
    samples, found = _timeline_figures.course(given, None)
    unit = plan.sample_tokens or 1
    body = figures.html(
        lambda: _timeline_figures.schedule(given),
        f"Stacked shares of {len(plan.domains)} domains over the run, with {counted(len(plan.changes) - 1, 'change')}.",
        "Shares over the run: constant or changing linearly between the points of the table. "
        "Domains that are never among the nine largest share one area.",
    )
    at = [f"{int(sample) * unit:,}" for sample in samples]
    order = sorted(range(len(plan.domains)), key=lambda k: -found[0, k])
    rows = [[plan.domains[k], *(percentage(float(value)) for value in found[:, k])] for k in order]
    what = "tokens" if plan.sample_tokens else "samples"
    body += html.table(["domain", *at], rows, caption=f"Shares at these {what}.")
    return body


def _key(parts: Parts) -> str:
    """Explain the marks that are in the figure of shares."""
    answer = parts.answer
    if answer is None:
        return ""
    words = ["Bars: shares."]
    words += ["Whiskers: intervals."] if parts.intervals is not None else []
    words += ["Diamonds: prior."] if answer.prior else []
    words += ["Circles: the present mixture."] if parts.present is not None else []
    if answer.common_cap is not None:
        words.append("Dashed line: the common cap, if it is within the axis.")
    if any(cap != answer.common_cap for cap in answer.caps.values()):
        words.append("Tips of triangles: caps within the axis.")
    words += [f"! marks more than {_share_figures.MANY_EPOCHS:g} epochs."] if answer.epochs else []
    over = len(answer.mixture) - draw.MOST_ROWS
    words += [f"The last {over} domains share one row."] if over > 0 else []
    return " ".join(words)


def _span(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"{100 * max(ends[0], 0.0):.1f} - {100 * ends[1]:.1f}%"


def _changed(changes: tuple[dict[str, object], ...]) -> str:
    parts = []
    for change in changes:
        rest = [_flat(value) for key, value in change.items() if key != "change"]
        parts.append(f"{change.get('change', '')} {'; '.join(rest)}".strip())
    return ", ".join(parts)


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{old} → {_flat(new)}" for old, new in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_flat(one) for one in value)
    return "" if value is None else str(value)
