"""GuardReport: what became of one guard or goal at a mixture, in numbers and in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixfast._text.names import counted, listing
from mixfast.proposers._guards import Guard

# After a search, a guard binds if less than this fraction of its limit is left.
_NEAR = 1e-4
# Most guards that a summary lists.
_SHOWN = 8


@dataclass(frozen=True)
class GuardReport:
    """One guard or goal at a proposed mixture.

    Attributes
    ----------
    metric : str
    direction : str
        "min" or "max".
    kind : str
        "guard", "goal" or "tolerance".
    given : str
        As the user wrote it.
    limit : float
        The largest allowed value of the metric, or the smallest if more is better.
    reference : float
        Predicted value at the reference mixture.
    predicted : float
        Predicted value at the mixture.
    slack : float
        How far the prediction is on the right side of the limit, in the metric's unit; negative if the guard is violated.
    binds : bool
        Whether the limit stops the metric from getting worse.
    violated : bool
        Whether the prediction is beyond the limit, by more than rounding. Only a search returns such mixtures.
    price : float or None
        What relaxing the limit saves for each unit of the metric: the objective, or the KL divergence of `reach` in nats. 0 if the guard does
        not bind, None after a search.
    sd : float or None
        Seed standard deviation of the metric.
    """

    metric: str
    direction: str
    kind: str
    given: str
    limit: float
    reference: float
    predicted: float
    slack: float
    binds: bool
    violated: bool
    price: float | None
    sd: float | None
    # What relaxing the limit saves, in words.
    _saved: str = "saved"

    @classmethod
    def of(
        cls, guard: Guard, predicted: float, price: float | None, *, free: float, rounding: float, saved: str
    ) -> GuardReport:
        """Report on a guard.

        Parameters
        ----------
        guard : Guard
        predicted : float
            The metric at the mixture.
        price : float or None
            The multiplier of the limit; None after a search.
        free : float
            A smaller multiplier is 0.
        rounding : float
            A smaller violation is rounding.
        saved : str
            What relaxing the limit saves, in words.
        """
        slack = guard.sign * (guard.limit - predicted)
        price = None if price is None else price if price > free else 0.0
        violated = slack < -rounding
        near = abs(slack) <= _NEAR * max(abs(guard.limit), 1e-12)
        return cls(
            guard.metric,
            "min" if guard.sign > 0.0 else "max",
            guard.kind,
            guard.given,
            guard.limit,
            guard.reference,
            predicted,
            slack,
            not violated and (near if price is None else price > 0.0),
            violated,
            price,
            guard.sd,
            saved,
        )

    @property
    def price_per_sd(self) -> float | None:
        """What relaxing the limit by one seed standard deviation saves, at this price; None if either is not known."""
        return None if self.price is None or self.sd is None else self.price * self.sd

    @property
    def text(self) -> str:
        """The report in a sentence."""
        side = "most" if self.direction == "min" else "least"
        what = f"the {self.kind} of {self.metric}"
        if self.kind != "tolerance":
            own = "" if self.kind == "goal" and self.given[-1:].isdigit() else f"{self.given}: "
            what = f"{what} ({own}at {side} {self.limit:.6g})"
        if self.violated:
            return f"{what} is violated: {self.predicted:.6g} is predicted, beyond the limit by {-self.slack:.3g}"
        if not self.binds:
            return f"{what} holds with {self.slack:.3g} to spare"
        if self.price is None:
            return f"{what} binds"
        per_sd = "" if self.price_per_sd is None else f", {self.price_per_sd:.3g} per seed standard deviation"
        return f"{what} binds ({self.price:.3g} {self._saved} per unit{per_sd})"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain numbers and strings, for JSON."""
        told = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return {**told, "price_per_sd": self.price_per_sd, "text": self.text}


def in_words(reports: Sequence[GuardReport]) -> list[str]:
    """Return the sentences of guards that are violated or bind, and how many more there are."""
    told = sorted((one for one in reports if one.violated or one.binds), key=_weight)
    lines = [one.text for one in told[:_SHOWN]]
    rest = len(told) - len(lines)
    if rest:
        lines.append(
            f"{counted(rest, 'more limit')} of metrics {'binds or is' if rest == 1 else 'bind or are'} violated"
        )
    loose = [one for one in reports if not one.violated and not one.binds and one.kind != "tolerance"]
    if loose:
        kinds = dict.fromkeys(one.kind for one in loose)
        other = "other " if told else ""
        lines.append(" and ".join(_held([one for one in loose if one.kind == kind], other + kind) for kind in kinds))
    return lines


def _held(loose: Sequence[GuardReport], kind: str) -> str:
    return f"{counted(len(loose), kind)} {'holds' if len(loose) == 1 else 'hold'} without binding"


def _weight(report: GuardReport) -> tuple[bool, float]:
    """Sort violated guards first, then by price."""
    return not report.violated, -(report.price_per_sd or report.price or 0.0)


def doubts_of_guards(
    guards: Sequence[Guard], reports: Sequence[GuardReport], sd: Mapping[str, float] | None
) -> list[str]:
    """Return reasons to doubt guards and goals: violations, amounts in another standard deviation, limits met with nothing to spare."""
    found = []
    if broken := [one for one in reports if one.violated]:
        named = listing(f"{one.metric} by {-one.slack:.3g}" for one in broken)
        found.append(
            f"the search found no mixture that keeps every limit of a metric; this one exceeds those of {named}. Another mixture may keep them."
        )
    if replaced := [one for one in guards if one.of_runs is not None]:
        named = listing(f"{one.metric} ({one.of_runs:.3g})" for one in replaced)
        found.append(
            f"no seed noise is known for {named}, so 'sd' is the standard deviation over the runs there, which also contains what the mixtures "
            "do: usually more than the noise. Repeat a mixture with another seed to learn the noise."
        )
    if sd is not None and (
        close := [one for one in reports if one.binds and one.kind != "tolerance" and sd.get(one.metric, 0.0) > 0.0]
    ):
        named = listing(f"{one.metric} +- {sd[one.metric]:.2g}" for one in close)
        found.append(
            f"limits that bind are met by the prediction with nothing to spare, so a new run breaks each with a probability of about one half "
            f"(one standard deviation: {named}). Ask for more than you need."
        )
    return found
