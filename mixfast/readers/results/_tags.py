"""Interpret the tags of trainers and trackers: which are measured on training data, which repeat others, and which are no metrics."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from mixfast.swarm import is_bookkeeping, is_by_product

NATS = "nats_per_token"
TRAINING = "measured on the run's own training data, whose mixture differs between runs"

_OF_TRAINING = re.compile(r"^(?:train|training|loss_metrics|lm-loss-training)[/_]|^(?:train |training )?loss$")
# Hardware, time and the state of the optimiser: parts of a tag before its last.
_MACHINERY = re.compile(
    r"(?:^|/)(?:time_metrics|timers?|memory|system|perf|performance|throughput|hardware|gpu|optim|optimizer|grad|gradients?|params)/"
    r"|^mem-|^(?:lr|learning_rate)[-/]"
)
_IN_PARENTHESES = re.compile(r"\s*\([^()]*\)$")
# Megatron writes each tag twice: "lm loss validation" by step, "lm loss validation vs samples" by samples.
_AGAINST = re.compile(r" vs (samples|tokens|gigaflos)$")
_VALIDATION = re.compile(" validation")
_PERPLEXITY = re.compile(r" ppl$")
# NeMo's Megatron Bridge writes this mean beside the losses of several validation sets.
_AGGREGATE = re.compile(r" validation\b.*\(aggregated\)")
# W&B summarises a metric over its steps as asked by define_metric.
_OVER_STEPS = re.compile(r"\.(min|max|mean|best|first)$")
# Losses in nats per token: Megatron's with the name of a validation set or without, and torchtitan's.
_LOSS = re.compile(r"^(?:lm-loss-validation/)?lm loss validation(?!.* ppl)|^validation_metrics/loss$")


@dataclass(frozen=True, slots=True)
class Told:
    """The meaning of a tag.

    Attributes
    ----------
    against : str
        The unit of the steps of this tag if they are not training steps, such as "samples".
    left_out, unit, direction
        As in `Measure`.
    """

    left_out: str = ""
    against: str = ""
    unit: str | None = None
    direction: str | None = None


class Tags(Collection[str]):
    """The tags of a file, of which there may be 100 000, so that none is compared with all others.

    Attributes
    ----------
    validated : frozenset of str
        What precedes " validation" in a tag.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = dict.fromkeys(names)
        self.validated = frozenset(
            name[: found.start()] for name in self._names for found in _VALIDATION.finditer(name)
        )

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def told(tag: str, among: Iterable[str] = ()) -> Told | None:
    """Return the meaning of a tag among the tags of its file; None if it is no metric.

    >>> told("lm loss validation vs samples", ["lm loss validation"]).left_out
    'repeats lm loss validation against samples instead of steps'
    >>> told("validation_metrics/throughput(tps)") is None
    True
    """
    beside = among if isinstance(among, Tags) else Tags(among)
    bare = _IN_PARENTHESES.sub("", tag)
    against = found[1] if (found := _AGAINST.search(bare)) else ""
    bare = _AGAINST.sub("", bare)
    if is_bookkeeping(bare) or is_by_product(bare, beside) or _MACHINERY.search(tag):
        return None
    unit, direction = (NATS, "min") if _LOSS.search(bare) else (None, None)
    return Told(_reason(tag, bare, against, beside), against, unit, direction)


def _reason(tag: str, bare: str, against: str, beside: Tags) -> str:
    if _AGGREGATE.search(tag):
        return "mean over the validation sets"
    if _OF_TRAINING.search(tag) or bare in beside.validated:
        return TRAINING
    if against and bare in beside:
        return f"repeats {bare} against {against} instead of steps"
    found = _OVER_STEPS.search(tag)
    if found and (tag[: found.start()] in beside or f"{tag[: found.start()]}.last" in beside):
        return f"the {found[1]} over the steps of {tag[: found.start()]}, not its last value"
    loss = _PERPLEXITY.sub("", bare)
    if loss != bare and loss in beside:
        return f"repeats {loss}: it is its exponential, capped at exp(20)"
    return ""
