"""The decision at the top of the page: the mixture, its certificate, what it gains and costs, and what to doubt."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mixfast._text.names import counted, distinct, listing
from mixfast._text.numbers import NOTHING
from mixfast.proposers import LeastChange, Proposal, guards_in_words, worse_in_words
from mixfast.report import _html as html
from mixfast.report._answer import ends_of, percentage
from mixfast.report._share_figures import MANY_EPOCHS
from mixfast.solver import Bootstrap, Solution, solve_doubts

if TYPE_CHECKING:
    from mixfast.laws import MetricReport
    from mixfast.report._answer import Answer
    from mixfast.report._folds import OutOfFold
    from mixfast.report._parts import Parts

# The sign of every difference on the page, in tables, figures and cards.
SIGN = "Differences between mixtures are gains: + is better, - is worse. Costs and prices are gains given up."
# A mixture of at most `_WHOLE` domains is shown whole; otherwise the `_LARGEST` largest shares and the `_CHANGED` largest other changes.
_WHOLE, _LARGEST, _CHANGED = 14, 8, 4
# The decision shows at most this many limits.
_LIMITS = 6
# Most characters of a name in the decision; its tables share the width of the page, so such a name takes two lines.
_LONGEST = 40
# An interval wider than this leaves the choice of the share open.
_WIDE = 0.08


def head(parts: Parts, found: OutOfFold | None, doubts: Sequence[str]) -> str:
    """Return the top of the page; `doubts` are its warnings."""
    answer = parts.answer
    cards = [] if answer is None else _cards(answer, parts)
    if parts.law is not None:
        cards += _law_cards(scores_of(parts, found))
    if answer is None:
        out = html.paragraph(
            "No mixture: this page has no solution, proposal, mixture or ledger to report."
            + (" It shows how well the laws predict." if parts.law is not None else "")
        )
    else:
        out = html.paragraph(f"{answer.meaning} {SIGN}")
    if cards:
        out += f'<dl class="facts">{"".join(cards)}</dl>'
    columns = []
    if answer is not None:
        costs = _values(answer, parts) + _limits(answer) + _guards(answer)
        columns = [_titled("The mixture", _mixture(answer, parts)), _titled("What it gains and costs", costs)]
    if doubts or answer is not None:
        said = html.bullets(doubts, "warnings") if doubts else html.paragraph("No warnings.", "soft")
        columns.append(_titled("What to doubt", said))
    return out + '<div class="decision">' + "".join(f"<div>{column}</div>" for column in columns if column) + "</div>"


def warnings(parts: Parts, found: OutOfFold | None) -> Iterator[str]:
    """Yield the reasons to doubt the page, one sentence each, the most serious first."""
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
            yield f"The update planned on {pending.when[:10]} is open ({pending.why}): the mixture does not include it yet."
            yield from (f"Planned update: {words}" for words in pending.warnings)


def scores_of(parts: Parts, found: OutOfFold | None) -> Sequence[MetricReport]:
    """Return the out-of-fold scores computed for the page, or else those saved with the law."""
    if found is not None:
        return found.scores
    return () if parts.law is None else tuple(parts.law.reports)


def number(value: float | None, digits: int = 5) -> str:
    """Return a number in a few characters; a dash if there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}g}"


def points(change: float) -> str:
    """Return a change of a share in percentage points."""
    return f"{100.0 * change:+.2f}"


def _value(value: float) -> str:
    """Return a value with six digits, the same number for all values of a column."""
    return f"{value:#.6g}".rstrip(".")


def _titled(title: str, body: str) -> str:
    return f"<h2>{html.text(title)}</h2>{body}" if body else ""


# The cards.


def _card(what: str, value: str, more: str = "", *, doubt: bool = False) -> str:
    sub = f'<span class="sub">{html.prose(more)}</span>' if more else ""
    mark = ' class="doubt"' if doubt else ""
    return f"<div{mark}><dt>{html.text(what)}</dt><dd>{html.text(value)}{sub}</dd></div>"


def _cards(answer: Answer, parts: Parts) -> list[str]:
    cards = [_card("status", answer.status, _proof(answer), doubt=answer.status not in ("optimal", "given"))]
    if answer.loss is not None:
        cards.append(_card(_what(answer), _value(answer.loss), f"{answer.unit}; lower is better"))
    cards += _gain_cards(answer, parts)
    if isinstance(answer.source, Proposal):
        worse, of = len(answer.source.worse), len(answer.source.target.metrics)
        cards.append(_card("metrics expected to get worse", f"{worse} of {of}", "than at the prior", doubt=worse > 0))
    used = sum(share > NOTHING for share in answer.mixture.values())
    cards.append(_card("domains with a share", f"{used} of {len(answer.mixture)}"))
    if answer.epochs:
        name, most = max(answer.epochs.items(), key=lambda item: item[1])
        short = distinct(answer.mixture.domains, _LONGEST)[name]
        cards.append(_card("most epochs", f"{most:.2f}", short, doubt=_many(most)))
    return cards


def _proof(answer: Answer) -> str:
    if answer.source is None:
        return ""
    return (
        "no gap: a search certifies nothing" if answer.gap is None else f"gap {answer.gap:.1e} to the optimum at most"
    )


def _what(answer: Answer) -> str:
    """Return the name of the one value that the page gives for each mixture."""
    if isinstance(answer.source, Proposal) or (answer.source is None and answer.unit != "nats"):
        return "predicted objective"
    return "loss"


def _gain_cards(answer: Answer, parts: Parts) -> Iterator[str]:
    """Yield the gain over the prior, or equal shares if there is none, and over the present mixture; or the least change."""
    if isinstance(answer.source, LeastChange):
        least = answer.source
        yield _card(
            "change", f"{least.change:.4g} nats", f"{least.moved:.1%} of the tokens move", doubt=not least.reached
        )
        return
    gain, values = getattr(answer.source, "gain", None), parts.values
    first = next((name for name in values if name != "this mixture"), None)
    if gain is not None:
        sd = "" if gain.sd is None else f"± {gain.sd:.2g}, one standard deviation of two new runs"
        over = "equal shares" if answer.prior is None else "prior"
        yield _card(f"expected gain over {over}", f"{gain.value:+.4g}", sd, doubt=gain.value <= (gain.sd or 0.0))
    for name in values:
        if (name == first and gain is None) or name == "present mixture":
            change = values[name] - values["this mixture"]
            yield _card(f"gain over {name}", f"{change:+.4g}", doubt=change < 0.0)


def _law_cards(scores: Sequence[MetricReport]) -> list[str]:
    if not scores:
        return []
    from mixfast.laws import mean_known

    rank = mean_known([one.spearman for one in scores])
    bad = sum(one.runs > 0 and not one.r2 > 0.0 for one in scores)
    return [
        _card("law, rank correlation", number(rank, 3), f"mean over {len(scores)} metrics, unseen runs"),
        _card("badly predicted metrics", f"{bad} of {len(scores)}", "predictions no better than the mean", doubt=bad > 0),
    ]  # fmt: skip


# The mixture, and what it gains and costs.


def _mixture(answer: Answer, parts: Parts) -> str:
    mixture, epochs = answer.mixture, answer.epochs
    against: dict[str, Mapping[str, float]] = {}
    if answer.prior is not None:
        against["prior"] = answer.prior
    if parts.present is not None:
        against["present"] = parts.present
    if not against:
        against["uniform"] = dict.fromkeys(mixture.domains, 1.0 / len(mixture))
    names = [*answer.order(), *(name for name in parts.present or {} if name not in mixture)]
    shown = _shown(names, mixture, against)
    columns: dict[str, Callable[[str], str]] = {"domain": str, "share": _shares_of(mixture)}
    for title, other in against.items():
        columns[title] = _shares_of(other)
    title, other = list(against.items())[-1]
    columns["points"] = lambda name: points(mixture.get(name, 0.0) - other.get(name, 0.0))
    if epochs:
        columns["epochs"] = lambda name: f"{epochs[name]:.2f}" if name in epochs else ""
    rows = [[show(name) for show in columns.values()] for name in shown]
    left = [name for name in names if name not in set(shown)]
    if left:
        totals = [percentage(_total(one, left)) for one in (mixture, *against.values())]
        rows.append([f"other {len(left)} domains", *totals, *[""] * (len(columns) - 1 - len(totals))])
    moved = [
        f"{percentage(_moved(mixture, other, names))}{'' if place else ' of the tokens move to other domains'} against the {_full(title)}"
        for place, (title, other) in enumerate(against.items())
    ]
    words = [f"{', '.join(moved)}."]
    if len(against) > 1:
        words.append(f"Points: change from the {_full(title)}.")
    if left:
        words.append("Shown: the largest shares, and the largest changes of others.")
    return html.table(list(columns), rows, caption=" ".join(words), longest=_LONGEST)


def _shares_of(mixture: Mapping[str, float]) -> Callable[[str], str]:
    return lambda name: percentage(mixture.get(name, 0.0))


def _shown(
    names: Sequence[str], mixture: Mapping[str, float], against: Mapping[str, Mapping[str, float]]
) -> Sequence[str]:
    """Return the domains for the decision: all of a few, else the largest shares and the largest other changes."""
    if len(names) <= _WHOLE:
        return names
    rest = sorted(
        names[_LARGEST:],
        key=lambda name: -max(abs(mixture.get(name, 0.0) - other.get(name, 0.0)) for other in against.values()),
    )
    return [*names[:_LARGEST], *rest[:_CHANGED]]


def _full(title: str) -> str:
    return title if title == "prior" else f"{title} mixture"


def _moved(mixture: Mapping[str, float], other: Mapping[str, float], names: Sequence[str]) -> float:
    """Return the share of the tokens that differs between two mixtures."""
    return 0.5 * math.fsum(abs(mixture.get(name, 0.0) - other.get(name, 0.0)) for name in names)


def _total(shares: Mapping[str, float], names: Sequence[str]) -> float:
    return math.fsum(shares.get(name, 0.0) for name in names)


def _values(answer: Answer, parts: Parts) -> str:
    """Return one value for each mixture, and the terms that the solver added to it."""
    values = parts.values
    if len(values) < 2:
        return ""
    own = values["this mixture"]
    others = answer.references(parts.present)
    rows = [
        [
            f"{name} (outside the limits)" if name in others and not _allowed(answer, others[name]) else name,
            _value(value),
            "" if name == "this mixture" else f"{value - own:+.4g}",
        ]
        for name, value in values.items()
    ]
    out = html.table(["mixture", _what(answer), "gain over it"], rows, caption=f"In {answer.unit}; lower is better.")
    terms = answer.added
    if terms and answer.source is not None:
        sums = " + ".join(f"{term:.4g} ({name})" for name, term in terms.items())
        out += html.paragraph(f"Minimised objective: {_value(answer.source.value)} = {_value(own)} + {sums}.", "soft")
    return out


def _allowed(answer: Answer, shares: Mapping[str, float]) -> bool:
    """Whether a mixture meets the limits; mixtures of other domains count as allowed."""
    region = answer.region
    return region is None or set(shares) != set(region.domains) or region.contains(shares)


def _guards(answer: Answer) -> str:
    held = guards_in_words(answer.source) if isinstance(answer.source, Proposal) else []
    return "<h3>Limits of metrics</h3>" + html.bullets(held) if held else ""


def _limits(answer: Answer) -> str:
    if not answer.limited or answer.source is None:
        return ""
    title = "<h3>Binding limits and their price</h3>"
    if answer.gap is None:
        return title + html.paragraph("A search gives no prices of limits.", "soft")
    if not answer.prices:
        return title + html.paragraph("None: the limits cost nothing.", "soft")
    rows = [
        [one.name, f"{one.limit} {percentage(one.value)}", f"{one.price / 100.0:.2g}"]
        for one in answer.prices[:_LIMITS]
    ]
    more = len(answer.prices) - len(rows)
    caption = "Price: gain from relaxing the limit by one percentage point." + (
        f" {counted(more, 'more limit')} {'binds' if more == 1 else 'bind'}." if more else ""
    )
    return title + html.table(["domain or group", "limit", "price"], rows, caption=caption, longest=_LONGEST)


# The warnings.


def _many(passes: float) -> bool:
    # Rounding: a cap of four epochs may be exceeded in the last digits.
    return passes > MANY_EPOCHS * (1.0 + 1e-6)


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _about_shares(answer: Answer, parts: Parts) -> Iterator[str]:
    many = {name: passes for name, passes in (answer.epochs or {}).items() if _many(passes)}
    if many:
        worst = sorted(many, key=lambda name: -many[name])
        named = listing(f"{name} {many[name]:.1f}" for name in worst)
        yield (
            f"Domains repeated more than {MANY_EPOCHS:g} times, in epochs: {named}. Repeated tokens are then worth far less than new ones."
        )
    doubt = getattr(parts.intervals, "doubt", "")
    if doubt:
        yield _sentence(doubt)
    wide = {name: high - low for name, (low, high) in ends_of(parts.intervals).items() if high - low > _WIDE}
    if wide:
        worst = sorted(wide, key=lambda name: -wide[name])
        named = listing(f"{name} ({100.0 * wide[name]:.0f} points)" for name in worst)
        yield f"Wide intervals: the data do not determine these shares: {named}."
    if len(answer.units) > 1 and not answer.is_scaled:
        yield f"The objective adds metrics of different units ({'; '.join(answer.units)}): those with the larger numbers dominate."
    yield from map(_sentence, _doubts(answer.source, parts))
    values = parts.values
    worse = [name for name in values if name != "this mixture" and values[name] < values["this mixture"]]
    if worse:
        why = "" if answer.source is None else ", because of the limits or the KL term"
        yield f"Worse than {listing(worse)} in the objective{why}."


def _doubts(source: Solution | Proposal | None, parts: Parts) -> Iterator[str]:
    """Yield the doubts about a solution or a proposal that the console prints."""
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
        yield f"Intervals are too narrow: the 90 % intervals contain less than 75 % of the unseen runs for {listing(short)}."
    if parts.law is not None:
        yield from map(_sentence, parts.law.notes)
