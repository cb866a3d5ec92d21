"""``samples_*.jsonl`` of lm-evaluation-harness (``--log_samples``), for bits per byte of multiple choice.

lm-evaluation-harness computes bits per byte only for whole texts. For multiple choice its files have the log-probability
of each choice, as text, and the choice itself: bits per byte of a document are -log2 p(right choice) / bytes of the right choice, and the
metric is the mean over documents, as OLMES and OLMo-core define it. The delimiter before a choice, a space, is not counted.

The number of examples in the prompts, the model and its step are read from the results file with the same date.

The right choice is the target: an index, or the text of a choice. It is checked against the accuracies in the same lines.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixfast._text.names import counted
from mixfast.readers.results._contents import Contents, Format, Measure, ResultsError, Wanted
from mixfast.readers.results._lm_eval_about import beside, model_of, shots_of, step_of, written
from mixfast.readers.results._source import Source

_DATED = re.compile(r"samples_(.+?)(?:_(\d{4}-\d{2}-\d{2}T[\d.+-]+))?\.jsonl")
_KEYS = frozenset(["doc_id", "arguments", "resps", "target"])


@dataclass(frozen=True)
class _Document:
    """The choices of one document.

    Attributes
    ----------
    logprobs : sequence of float
        Natural logarithms.
    sizes : sequence of int
        UTF-8 bytes of each choice.
    by_index, by_text : int or None
        The right choice, if the target is its index or its text.
    accuracy : float or None
    """

    logprobs: Sequence[float]
    sizes: Sequence[int]
    by_index: int | None
    by_text: int | None
    accuracy: float | None

    @property
    def best(self) -> int:
        """The choice with the highest probability; the first of equal ones, as in lm-evaluation-harness."""
        return max(range(len(self.logprobs)), key=self.logprobs.__getitem__)

    def agrees(self, right: int) -> bool:
        """Return whether the accuracy is consistent with this choice; with only one choice it always is."""
        return len(self.sizes) == 1 or self.accuracy is None or (self.accuracy == 1.0) == (self.best == right)

    def bits(self, right: int) -> float:
        """Return bits per byte of a choice."""
        return -self.logprobs[right] / (math.log(2.0) * self.sizes[right])


def _fits(source: Source) -> bool:
    if source.kind != "jsonl":
        return False
    first = next(iter(source.lines()), None)
    return first is not None and isinstance(first[1], dict) and first[1].keys() >= _KEYS


def _read(source: Source, wanted: Wanted) -> Contents:
    named = _DATED.fullmatch(source.name)
    task = named[1] if named else source.name.removesuffix(".jsonl")
    date = (named[2] or "") if named else ""
    results = beside(source.path, date) if date else {}
    try:
        measures, problem = of_samples(
            task, (line for _, line in source.lines()), shots=shots_of(results, task), step=step_of(results)
        )
    except ValueError as damaged:
        if isinstance(damaged, ResultsError):
            raise
        raise ResultsError(f"{damaged}; the file is damaged or was not written to its end") from damaged
    return Contents(
        measures, fields=model_of(results), written=written(results) or date, notes=(problem,) if problem else ()
    )


def of_samples(
    task: str, samples: Iterable[object], *, shots: int | None = None, step: int | None = None
) -> tuple[list[Measure], str]:
    """Compute bits per byte of a task of multiple choice.

    Returns
    -------
    measures : list of Measure
        Empty if the documents have no choices with log-probabilities, or if the right choices cannot be determined.
    problem : str
        Why there is no measure, or a remark on it; may be empty.
    """
    documents: dict[object, _Document] = {}
    repeated: dict[object, None] = {}
    chosen, left_out, is_whole = None, 0, False
    for number, sample in enumerate(samples, start=1):
        if not isinstance(sample, Mapping) or not sample.keys() >= _KEYS:
            raise ResultsError(f"line {number} is no sample: it needs the keys {', '.join(sorted(_KEYS))}")
        # Each filter repeats the documents, with the same log-probabilities.
        chosen = sample.get("filter", "none") if chosen is None else chosen
        if sample.get("filter", "none") != chosen:
            continue
        document = _document(sample)
        if document is None:
            left_out += 1
            is_whole = all(len(each) == 1 for each in _requests(sample["arguments"]))
        else:
            own = sample["doc_id"]
            if documents.setdefault(own, document) != document:
                repeated[own] = None
            documents[own] = document
    if not documents:
        # Texts that are scored whole have bits per byte in the file of results.
        return [], "" if is_whole else f"{task} has no choices with log-probabilities, so no bits per byte are computed"
    values, problem = _bits(list(documents.values()))
    if not values:
        return [], f"no bits per byte are computed for {task}: {problem}"
    mean = math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.inf
    spread = (
        math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
        if len(values) > 1
        else math.nan
    )
    key = f"bits_per_byte,{chosen}"
    measure = Measure(
        f"{task}/{key}",
        mean,
        stderr=spread / math.sqrt(len(values)) if math.isfinite(spread) else None,
        n=len(values),
        unit="bits_per_byte",
        direction="min",
        step=step,
        told_apart="" if shots is None else f"{task}|{shots}/{key}",
    )
    return [measure], _remark(task, left_out + len(documents) - len(values), values, len(repeated))


def _remark(task: str, without: int, values: Sequence[float], repeated: int) -> str:
    parts = []
    if without:
        parts.append(
            f"bits per byte of {task} are the mean over {len(values)} of {len(values) + without} documents: the others have no single right choice, "
            "or no log-probabilities"
        )
    if not all(map(math.isfinite, values)):
        parts.append(f"{sum(map(math.isinf, values))} of {len(values)} right choices of {task} have probability 0")
    if repeated:
        parts.append(
            f"{task} has several lines for {counted(repeated, 'document')} with different values, and the last is used"
        )
    return "; ".join(parts)


def _bits(documents: Sequence[_Document]) -> tuple[list[float], str]:
    """Return bits per byte of each document with a known right choice, or none and why."""
    if any(each.accuracy not in (None, 0.0, 1.0) for each in documents):
        return [], "its accuracies are fractions, so several choices are right"
    found = {}
    for reading in ("by_index", "by_text"):
        known = [(each, right) for each in documents if (right := _right(each, reading)) is not None]
        if known and all(each.agrees(right) for each, right in known):
            found[reading] = [each.bits(right) for each, right in known]
    if len(found) == 2 and found["by_index"] != found["by_text"]:
        # A reading that fits each target precedes one that does not.
        whole = [way for way in found if all(getattr(each, way) is not None for each in documents)]
        if len(whole) != 1:
            return [], "its targets may be indices of choices or their texts, and no accuracies in the file decide it"
        return found[whole[0]], ""
    if found:
        return next(iter(found.values())), ""
    if all(_right(each, "by_index") is None for each in documents):
        return [], "its targets name no single choice that has text"
    return [], "its targets contradict the accuracies in the same file"


def _right(document: _Document, reading: str) -> int | None:
    """Return the right choice; the other reading of the target is used if the first has none."""
    first, second = document.by_index, document.by_text
    if reading == "by_text":
        first, second = second, first
    right = first if first is not None else second
    return right if right is not None and document.sizes[right] else None


def _document(sample: Mapping[str, Any]) -> _Document | None:
    requests = _requests(sample["arguments"])
    answers = sample["resps"]
    if not requests or not isinstance(answers, (list, tuple)) or len(answers) != len(requests):
        return None
    logprobs = [_logprob(answer) for answer in answers]
    if any(len(each) < 2 or not isinstance(each[1], str) for each in requests) or any(
        each is None for each in logprobs
    ):
        return None
    half = len(requests) // 2
    if (
        len(requests) == 2 * half
        and ("acc_mutual_info" in sample or "acc_mutual_info" in (sample.get("metrics") or ()))
        and not any(each[0] for each in requests[half:])
    ):
        # The second half has the choices without a question.
        requests, logprobs = requests[:half], logprobs[:half]
    accuracy = sample.get("acc")
    choices = _without_delimiter([each[1] for each in requests])
    by_index, by_text = _targets(sample["target"], [each[1] for each in requests], choices)
    document = _Document(
        [each for each in logprobs if each is not None],
        [len(choice.encode("utf-8", "surrogatepass")) for choice in choices],
        by_index,
        by_text,
        float(accuracy) if isinstance(accuracy, (int, float)) else None,
    )
    return _of_contexts(document) if len(set(choices)) == 1 < len(choices) else document


def _of_contexts(document: _Document) -> _Document:
    """Find the right one of several questions with one answer, as in winogrande, where the target is the answer.

    It follows from the accuracy only: with accuracy 1 the most probable one is right; with accuracy 0 and two questions, the other one.
    """
    right = None
    if document.accuracy == 1.0:
        right = document.best
    elif document.accuracy == 0.0 and len(document.sizes) == 2:
        right = 1 - document.best
    return _Document(document.logprobs, document.sizes, right, None, document.accuracy)


def _requests(arguments: object) -> list[list[Any]]:
    """Return the arguments of each request: ``{"gen_args_0": {"arg_0": question, "arg_1": choice}}`` in files, else a list of tuples."""
    if isinstance(arguments, Mapping):
        arguments = list(arguments.values())
    if not isinstance(arguments, (list, tuple)):
        return []
    return [
        list(each.values()) if isinstance(each, Mapping) else list(each)
        for each in arguments
        if isinstance(each, (Mapping, list, tuple))
    ]


def _logprob(answer: object) -> float | None:
    """Return the log-probability of ``[["-12.3", "False"]]``: the first of the repeats."""
    while isinstance(answer, (list, tuple)) and answer and isinstance(answer[0], (list, tuple)):
        answer = answer[0]
    if not isinstance(answer, (list, tuple)) or len(answer) != 2:
        return None
    try:
        logprob = float(answer[0])
    except (TypeError, ValueError):
        return None
    return None if math.isnan(logprob) else logprob


def _without_delimiter(choices: Sequence[str]) -> list[str]:
    """Remove the white space that all choices begin with."""
    starts = [choice[: len(choice) - len(choice.lstrip())] for choice in choices]
    shared = next(
        (size for size in range(min(map(len, starts)), 0, -1) if len({start[:size] for start in starts}) == 1), 0
    )
    return [choice[shared:] for choice in choices]


def _targets(target: object, continuations: Sequence[str], choices: Sequence[str]) -> tuple[int | None, int | None]:
    """Return the right choice if the target is read as an index, and if it is read as the text of a choice."""
    if len(choices) == 1:
        return 0, None
    by_text = next((at for at, pair in enumerate(zip(continuations, choices, strict=True)) if target in pair), None)
    text = str(target).strip()
    by_index = int(text) if text.isdecimal() and int(text) < len(choices) else None
    return by_index, by_text


LM_EVAL_SAMPLES = Format(
    "lm-eval-samples",
    "samples of lm-evaluation-harness, for bits per byte of multiple choice",
    ("samples_*.jsonl",),
    _fits,
    _read,
    samples=True,
)
