"""What the tags of trainers and trackers tell: which are measured on training data, which repeat others, and which are no metrics."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from mixfast.readers.results._contents import Measure
from mixfast.swarm import is_bookkeeping, is_by_product

NATS = "nats_per_token"
TRAINING = "measured on the run's own training data, whose mixture differs between runs"

_OF_TRAINING = re.compile(r"^(?:train|training|loss_metrics|lm-loss-training)[/_]|^(?:train |training )?loss$")
# Hardware, time and the state of the optimiser: parts of a tag before its last.
_MACHINERY = re.compile(
    r"(?:^|/)(?:time_metrics|timers?|memory|system|perf|performance|throughput|hardware|gpu|optim|optimizer|grad|gradients?|params)/|^mem-"
)
_IN_PARENTHESES = re.compile(r"\s*\([^()]*\)$")
# Megatron writes each tag twice: "lm loss validation" by step, "lm loss validation vs samples" by samples.
_AGAINST = re.compile(r" vs (samples|tokens|gigaflos)$")
_PERPLEXITY = re.compile(r" ppl$")
# Losses in nats per token: Megatron's with the name of a validation set or without, and torchtitan's.
_LOSS = re.compile(r"^(?:lm-loss-validation/)?lm loss validation(?!.* ppl)|^validation_metrics/loss$")


@dataclass(frozen=True, slots=True)
class Told:
    """What a tag tells.

    Attributes
    ----------
    against : str
        What the steps of this tag count if they are not training steps, such as "samples".
    left_out, unit, direction
        As in `Measure`.
    """

    left_out: str = ""
    against: str = ""
    unit: str | None = None
    direction: str | None = None


def told(tag: str, beside: Collection[str] = ()) -> Told | None:
    """Return what a tag tells, given the tags ``beside`` it; None if it is no metric.

    >>> told("lm loss validation vs samples", ["lm loss validation"]).left_out
    'repeats lm loss validation against samples instead of steps'
    >>> told("validation_metrics/throughput(tps)") is None
    True
    """
    bare = _IN_PARENTHESES.sub("", tag)
    against = found[1] if (found := _AGAINST.search(bare)) else ""
    bare = _AGAINST.sub("", bare)
    if is_bookkeeping(bare) or is_by_product(bare, beside) or _MACHINERY.search(tag):
        return None
    unit, direction = (NATS, "min") if _LOSS.search(bare) else (None, None)
    return Told(_reason(tag, bare, against, beside), against, unit, direction)


def _reason(tag: str, bare: str, against: str, beside: Collection[str]) -> str:
    if _OF_TRAINING.search(tag) or any(one.startswith(f"{bare} validation") for one in beside):
        return TRAINING
    if against and bare in beside:
        return f"repeats {bare} against {against} instead of steps"
    loss = _PERPLEXITY.sub("", bare)
    if loss != bare and loss in beside:
        return f"repeats {loss}: it is its exponential, capped at exp(20)"
    return ""


def measures_of(
    history: Mapping[str, Mapping[int | None, float]], run: str = "", n: int | None = None
) -> tuple[list[Measure], list[str]]:
    """Return the measures of a history, and the tags that are no metrics.

    Parameters
    ----------
    history : mapping of tag to mapping of step to value
        In the order of writing. A tag that is left out is returned with its last value only.
    """
    measures, bookkeeping = [], []
    for tag, values in history.items():
        what = told(tag, history.keys())
        if what is None:
            bookkeeping.append(tag)
            continue
        points: Iterable[tuple[int | None, float]] = values.items()
        if what.left_out or what.against:
            last = max(values, key=lambda step: -1 if step is None else step)
            points = [(None if what.against else last, values[last])]
        measures += [
            Measure(tag, value, run, n=n, unit=what.unit, direction=what.direction, step=step, left_out=what.left_out)
            for step, value in points
        ]
    return measures, bookkeeping
