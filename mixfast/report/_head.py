"""The opening of the page: the answer, its proof, what it gains and changes, which limits bind, and warnings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mixfast._text.names import listing, named
from mixfast._text.numbers import NOTHING
from mixfast.proposers import Proposal, tolerances_in_words, worse_in_words
from mixfast.report import _axes as draw
from mixfast.report import _html as html
from mixfast.report._answer import ends_of
from mixfast.report._share_figures import MANY_EPOCHS
from mixfast.solver import Bootstrap, Solution, solve_doubts

if TYPE_CHECKING:
    from mixfast.laws import MetricReport
    from mixfast.report._answer import Answer
    from mixfast.report._folds import OutOfFold
    from mixfast.report._parts import Parts

# The opening shows at most this many changes and limits.
_FIRST = 6
# An interval wider than this leaves a real choice open.
_WIDE = 0.08


def head(parts: Parts, found: OutOfFold | None, doubts: Sequence[str]) -> str:
    """The opening of the page; `doubts` are its warnings."""
    answer = parts.answer
    cards = [] if answer is None else _cards(answer, parts)
    out = ""
    if answer is None:
        out += html.paragraph(
            "No mixture: this page has no solution, proposal, mixture or ledger to report."
            + (" It says how well the laws predict." if parts.law is not None else "")
        )
    else:
        out += html.paragraph(answer.meaning)
    if parts.law is not None:
        cards += _law_cards(scores_of(parts, found))
    if cards:
        out += f'<dl class="facts">{"".join(cards)}</dl>'
    if doubts:
        out += "<h3>Warnings</h3>" + html.bullets(doubts, "warnings")
    if answer is not None:
        blocks = [_values(answer, parts), *_all_changes(answer, parts), _limits(answer)]
        out += '<div class="pair">' + "".join(f"<div>{block}</div>" for block in blocks if block) + "</div>"
    return out


def warnings(parts: Parts, found: OutOfFold | None) -> Iterator[str]:
    """Sentences on what speaks against trusting the page, the most serious first."""
    answer = parts.answer
    if parts.refusal is not None:
        yield f"N{str(parts.refusal)[1:]}."
    if answer is not None and isinstance(answer.source, Proposal):
        yield from worse_in_words(answer.source)
    if answer is not None:
        if answer.source is not None and answer.status != "optimal":
            yield f"Status {answer.status}. {answer.meaning}"
        yield from _about_shares(answer, parts)
    yield from _about_laws(parts, found)
    if parts.ledger is not None:
        last = parts.ledger.entries[-1]
        yield from (f"Update of {last.when[:10]}: {words}" for words in last.warnings)
        pending = parts.ledger.pending
        if pending is not None:
            yield f"An update planned on {pending.when[:10]} is open ({pending.why}): the mixture does not have it yet."
            yield from (f"Planned update: {words}" for words in pending.warnings)


def scores_of(parts: Parts, found: OutOfFold | None) -> Sequence[MetricReport]:
    """Return the out-of-fold scores of the figure, or else those that the law was saved with."""
    if found is not None:
        return found.scores
    return () if parts.law is None else tuple(parts.law.reports)


def number(value: float | None, digits: int = 5) -> str:
    """Return a number in a few characters; a dash if there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}g}"


def points(change: float) -> str:
    """Return a change of a share in percentage points."""
    return f"{100.0 * change:+.2f}"


# The cards.


def _card(what: str, value: str, more: str = "", *, doubt: bool = False) -> str:
    sub = f'<span class="sub">{html.prose(more)}</span>' if more else ""
    mark = ' class="doubt"' if doubt else ""
    return f"<div{mark}><dt>{html.text(what)}</dt><dd>{html.text(value)}{sub}</dd></div>"


def _cards(answer: Answer, parts: Parts) -> list[str]:
    used = sum(share > NOTHING for share in answer.mixture.values())
    cards = [_card("status", answer.status, doubt=answer.status not in ("optimal", "given"))]
    if answer.source is not None:
        gap = f"{answer.gap:.1e}" if answer.gap is not None else "none"
        cards.append(_card("gap", gap, "how much better another allowed mixture can be at most" if answer.gap is not None
                           else "a search certifies nothing", doubt=answer.gap is None))  # fmt: skip
        kl = f"; with {answer.kl:g} x KL to the prior" if answer.kl > 0.0 else ""
        cards.append(_card("value", f"{answer.source.value:.6g}", f"{answer.unit}{kl}"))
        values = parts.values
        gain = getattr(answer.source, "gain", None)
        for name in values:
            # The gain of a proposal says it of the prior, with its uncertainty.
            if name != "this mixture" and (gain is None or "prior" not in name):
                change = values["this mixture"] - values[name]
                cards.append(_card(f"loss against {name}", f"{change:+.4g}", "negative is better", doubt=change > 0.0))
    gain = getattr(answer.source, "gain", None)
    if gain is not None:
        sd = "" if gain.sd is None else f"± {gain.sd:.2g}, one standard deviation of two new runs"
        over = "equal shares" if answer.prior is None else "prior"
        cards.append(
            _card(f"expected gain over {over}", f"{gain.value:+.4g}", sd, doubt=gain.value <= (gain.sd or 0.0))
        )
    if isinstance(answer.source, Proposal):
        worse, of = len(answer.source.worse), len(answer.source.target.metrics)
        cards.append(_card("metrics expected to get worse", f"{worse} of {of}", "than at the prior", doubt=worse > 0))
    cards.append(_card("domains with a share", f"{used} of {len(answer.mixture)}"))
    if answer.epochs:
        name, most = max(answer.epochs.items(), key=lambda item: item[1])
        cards.append(_card("most epochs", f"{most:.2f}", named(name, 40), doubt=_many(most)))
    return cards


def _law_cards(scores: Sequence[MetricReport]) -> list[str]:
    if not scores:
        return []
    from mixfast.laws import mean_known

    rank = mean_known([one.spearman for one in scores])
    bad = sum(one.runs > 0 and not one.r2 > 0.0 for one in scores)
    return [
        _card("law, rank correlation", number(rank, 3), f"mean over {len(scores)} metrics, runs not seen"),
        _card("metrics the law misses", f"{bad} of {len(scores)}", "predicted no better than by their mean", doubt=bad > 0),
    ]  # fmt: skip


# The tables.


def _values(answer: Answer, parts: Parts) -> str:
    values = parts.values
    if len(values) < 2:
        return ""
    own = values["this mixture"]
    rows = [
        [name, f"{value:.6g}", "" if name == "this mixture" else f"{value - own:+.4g}"]
        for name, value in values.items()
    ]
    what = "objective without KL term" if answer.kl > 0.0 else "objective"
    return "<h3>Value</h3>" + html.table(
        ["mixture", what, "difference"], rows, caption=f"In {answer.unit}; less is better."
    )


def _all_changes(answer: Answer, parts: Parts) -> Iterator[str]:
    if answer.prior is not None:
        yield _changes(answer, answer.prior, "prior")
    if parts.present is not None:
        yield _changes(answer, parts.present, "present mixture")
    if answer.prior is None and parts.present is None:
        yield _changes(answer, dict.fromkeys(answer.mixture.domains, 1.0 / len(answer.mixture)), "uniform mixture")


def _changes(answer: Answer, against: Mapping[str, float], words: str) -> str:
    names = [*answer.mixture.domains, *(name for name in against if name not in answer.mixture)]
    moved = sorted(names, key=lambda name: -abs(answer.mixture.get(name, 0.0) - against.get(name, 0.0)))
    rows = [
        [name, draw.share(against.get(name, 0.0)), draw.share(answer.mixture.get(name, 0.0)),
         points(answer.mixture.get(name, 0.0) - against.get(name, 0.0))]
        for name in moved[:_FIRST]
    ]  # fmt: skip
    total = 0.5 * math.fsum(abs(answer.mixture.get(name, 0.0) - against.get(name, 0.0)) for name in names)
    caption = f"{draw.share(total)} of the tokens change hands in all."
    return f"<h3>Biggest changes against the {words}</h3>" + html.table(
        ["domain", words.removesuffix(" mixture"), "here", "points"], rows, caption=caption
    )


def _limits(answer: Answer) -> str:
    held = tolerances_in_words(answer.source) if isinstance(answer.source, Proposal) else []
    tolerances = "<h3>Metrics that hold the mixture</h3>" + html.bullets(held) if held else ""
    return _priced_limits(answer) + tolerances


def _priced_limits(answer: Answer) -> str:
    if not answer.limited or answer.source is None:
        return ""
    title = "<h3>Limits that bind, and their price</h3>"
    if answer.gap is None:
        return title + html.paragraph("A search knows no prices of limits.", "soft")
    if not answer.prices:
        return title + html.paragraph("None: the limits cost nothing.", "soft")
    rows = [
        [one.name, f"{one.limit} {draw.share(one.value)}", f"{one.price / 100.0:.2g}"] for one in answer.prices[:_FIRST]
    ]
    more = len(answer.prices) - len(rows)
    caption = "Saved per percentage point by which the limit gives way." + (f" {more} more bind." if more else "")
    return title + html.table(["domain or group", "limit", "price"], rows, caption=caption)


# The warnings.


def _many(passes: float) -> bool:
    # Rounding: a cap of four epochs may be exceeded in the last digits.
    return passes > MANY_EPOCHS * (1.0 + 1e-6)


def _about_shares(answer: Answer, parts: Parts) -> Iterator[str]:
    many = {name: passes for name, passes in (answer.epochs or {}).items() if _many(passes)}
    if many:
        worst = sorted(many, key=lambda name: -many[name])
        named = listing(f"{name} {many[name]:.1f}" for name in worst)
        yield f"Read more than {MANY_EPOCHS:g} times, where repeats are worth far less than new tokens: {named}."
    doubt = getattr(parts.intervals, "doubt", "")
    if doubt:
        yield doubt[:1].upper() + doubt[1:]
    wide = {name: high - low for name, (low, high) in ends_of(parts.intervals).items() if high - low > _WIDE}
    if wide:
        worst = sorted(wide, key=lambda name: -wide[name])
        named = listing(f"{name} ({100.0 * wide[name]:.0f} points)" for name in worst)
        yield f"Wide intervals, the data do not settle these shares: {named}."
    if len(answer.units) > 1:
        yield f"The objective puts metrics of different units together ({'; '.join(answer.units)}): the larger numbers decide."
    for doubt in _doubts(answer.source, parts):
        yield doubt[:1].upper() + doubt[1:]
    values = parts.values
    worse = [name for name in values if name != "this mixture" and values[name] < values["this mixture"]]
    if worse:
        why = "" if answer.source is None else ", because limits or the KL term hold the mixture"
        yield f"Worse than {listing(worse)} in the objective{why}."


def _doubts(source: Solution | Proposal | None, parts: Parts) -> Iterator[str]:
    """What the console says against a solution or a proposal."""
    if isinstance(source, Proposal):
        yield from source.doubts
    elif source is not None:
        intervals = parts.intervals if isinstance(parts.intervals, Bootstrap) else None
        yield from (f"{doubt}." for doubt in solve_doubts(source, intervals))


def _about_laws(parts: Parts, found: OutOfFold | None) -> Iterator[str]:
    scores = scores_of(parts, found)
    bad = [one.metric for one in scores if one.runs and not one.r2 > 0.0]
    if bad:
        yield f"Laws that predict unseen runs no better than the mean does: {listing(bad)}."
    short = [one.metric for one in scores if one.coverage < 0.75]
    if short:
        yield f"Intervals too narrow, 90 % ones held less than 75 % of the unseen runs: {listing(short)}."
    if parts.law is not None:
        yield from parts.law.notes
