"""Tell from the name of a metric which way is better, and its unit. The only list of such words; names of tasks do not tell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._text.audience import either
from mixfast._text.names import listing
from mixfast._text.visible import quote

# More is better for these, at any place in a name.
_MORE = re.compile(
    r"(?:^|_)(?:"
    r"accuracy|accuracies|exact_match"
    r"|(?:pass|maj|cons|hits?|success|acc|em|f1|recall|precision|ndcg(?:_cut)?|mrr|map|best|avg|mean|[pr])@\w+"
    r"|(?:pass|maj|cons|hits?|success|acc|em|f1|recall|precision|ndcg|mrr|map)_at_(?:k|\d+)|pass\^\w+|ndcg_cut_\d+"
    r"|ndcg|mrr|mcc|matthews|mc[123]"
    r"|(?:sacre)?bleu\d?|rouge(?:_?(?:\d|l|lsum))?|chrf\d*|bertscore|bleurt"
    r"|auc|auroc|auprc|aucpr"
    r"|win_?rate|(?:pass|success|solve|hit)_rate"
    r"|log_?(?:probs?|probability|probabilities|likelihoods?|lik)|logps?"
    r"|rewards?"
    r"|(?:choice|correct|gold|answer|target)_prob(?:s|ability|abilities)?"
    r"|prob(?:s|ability)?_(?:of_)?(?:the_)?(?:choice|correct|gold|answer|target)|p_correct"
    r")(?=_|$)"
)
# The same, but only at the end: elsewhere these words may belong to the name of a task.
_MORE_AT_END = re.compile(
    r"(?:^|_)(?:acc|acc_norm|acc_raw|acc_per_char|acc_per_token|acc_per_byte|acc_bytes|acc_uncond|acc_mutual_info|acc_char|acc_token"
    r"|em|f1|exact|contains|math_verify|score|scores|recall|precision|map|hits?|elo|kappa|iou|meteor|spearman|pearson)$"
)
# Less is better for these, at any place; they win over the words above.
_LESS_UNITS = {
    "loss": None, "losses": None, "nll": None, "ce": None, "xent": None, "entropy": None, "crossentropy": None, "nats": None, "bits": None,
    "surprisal": None, "kl": None, "kld": None, "divergence": None,
    "nlogp": "logprob", "nlogprob": "logprob", "neglogprob": "logprob", "neglogp": "logprob",
    "bpb": "bits_per_byte", "bpc": "bits_per_character", "bpt": "bits_per_token",
    "ppl": "perplexity", "perplexity": "perplexity",
    "err": "error", "error": "error", "errors": "error", "wer": "error", "cer": "error", "brier": "error", "ece": "error", "mse": "error",
    "rmse": "error", "mae": "error", "toxicity": "error", "regret": "error", "ter": "error", "logloss": None,
    "stderr": "error",
    "runtime": "seconds", "seconds": "seconds", "latency": "seconds",
}  # fmt: skip
# The same, but only at the end.
_SPREADS = frozenset(["std", "stdev", "stddev"])
# Words that may follow the deciding word at the end of a name.
_BEHIND = re.compile(
    r"(?:pct|percent|mean|avg|average|macro|micro|weighted|overall|total|val|valid|validation|test|dev|eval|final|last|best|\d+shots?|v\d+)$"
)
# A word of `_NEGATIONS` before the deciding word reverses it; words of `_BETWEEN` may be in between, as in neg_mean_squared_error.
_NEGATIONS = frozenset(["neg", "negative", "negated", "minus"])
_BETWEEN = frozenset(["mean", "avg", "average", "root", "median", "squared", "absolute", "log", "max"])
# lm-eval calls a metric task/metric,filter.
_FILTER = re.compile(r",[^,/]*$")
_IN_PARENTHESES = re.compile(r"\(([^()]*)\)\s*$")
_UNIT_AT_END = re.compile(r"(?:^|_)((?:nats|bits)_(?:per_)?(?:byte|token)|bpb|perplexity|ppl)(?:_corr|_correct)?$")
_UNIT_NAMES = {
    "bpb": "bits_per_byte", "ppl": "perplexity", "bits_byte": "bits_per_byte", "bits_token": "bits_per_token", "nats_byte": "nats_per_byte",
    "nats_token": "nats_per_token",
}  # fmt: skip
# Losses in nats per token are lower: a uniform guess over a vocabulary of a million tokens has 14.
_LARGEST_LOSS = 20.0
_LOGPROB = re.compile(r"^_?log_?(?:p|lik)")


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case; for lm-eval's ``task/metric,filter``, those of task and metric."""
    return re.findall(r"[a-z0-9@^]+", _FILTER.sub("", name.lower()))


def told_direction(name: str) -> str | None:
    """Return "max" or "min" if the name of a metric tells which way is better, else None.

    Text in parentheses at the end, as in OLMo-core's ``eval/downstream/arc (BPB v2)``, is examined first, then the part after
    the last ``/``, then the whole name: the task of ``error_analysis/acc`` is not an error.

    >>> [told_direction(name) for name in ("arc/choice_logprob", "val_loss", "arc/neg_logprob", "mmlu")]
    ['max', 'min', 'min', None]
    """
    return next((way for words in _scopes(name) if (way := _decided(words)[0]) is not None), None)


def told_unit(name: str) -> str | None:
    """Return the unit that the name of a metric tells; None if it tells none, as for a loss.

    Scores, errors, log-probabilities and rewards have "units" of their own, so that they are not averaged with losses.
    """
    for words in _scopes(name):
        if found := _UNIT_AT_END.search("_".join(_bare(words))):
            return _UNIT_NAMES.get(found[1], found[1])
        way, word = _decided(words)
        if way is not None:
            break
    else:
        return None
    if word in _LESS_UNITS:
        return _LESS_UNITS[word]
    return "logprob" if _LOGPROB.match(word) else "reward" if word.startswith("_reward") else "score"


def _scopes(name: str) -> Iterator[list[str]]:
    """Yield lists of words to examine, in order, until one tells something."""
    plain = _FILTER.sub("", name)
    if inner := _IN_PARENTHESES.search(plain):
        yield words_of(inner[1])
    sign = ["neg"] if name.lstrip().startswith("-") else []
    if "/" in plain:
        yield sign + words_of(plain.rpartition("/")[2])
    yield sign + words_of(plain)


def _bare(words: Sequence[str]) -> list[str]:
    """Return the words without those that may follow the deciding one."""
    bare = list(words)
    while len(bare) > 1 and _BEHIND.match(bare[-1]):
        bare.pop()
    return bare


def _decided(words: Sequence[str]) -> tuple[str | None, str]:
    """Return which way is better, and the deciding word: from _LESS_UNITS, or from the other list with a leading _."""
    if len(words) > 1 and words[-1] in _SPREADS:
        return "min", "stderr"
    for at, word in enumerate(words):
        if word in _LESS_UNITS:
            return ("max" if _is_negated(words, at) else "min"), word
    joined = "_".join(_bare(words))
    if found := _MORE.search(joined) or _MORE_AT_END.search(joined):
        at = joined[: found.start() + 1].count("_")
        return ("min" if _is_negated(words, at) else "max"), "_" + found[0].lstrip("_")
    return None, ""


def _is_negated(words: Sequence[str], at: int) -> bool:
    """Return whether a word for "negative" precedes the deciding one, as in neg_logprob, but not in false_negative_error."""
    while at > 0 and words[at - 1] in _BETWEEN:
        at -= 1
    return at > 0 and words[at - 1] in _NEGATIONS and (at < 2 or words[at - 2] not in ("false", "true"))


def in_doubt(values: Vector, way: str, *, assumed: bool) -> str | None:
    """Return why "less is better" is in doubt for a metric with these values, or None.

    Parameters
    ----------
    values : (R,) float64
        NaN for runs without a value.
    way : "min" or "max"
        The direction that the name tells, or that was assumed because it does not; never given by the user.
    assumed : bool
    """
    known = values[np.isfinite(values)]
    if way != "min" or not known.size:
        return None
    if known.min() < 0.0:
        return "has negative values, as log-probabilities and rewards have and losses do not"
    if assumed and known.max() > _LARGEST_LOSS:
        return f"has values above {_LARGEST_LOSS:g}, as percentages do and losses per token do not, and its name does not show the direction"
    if assumed and known.max() <= 1.0 and np.ptp(known) > 0.0:
        return "lies between 0 and 1, as accuracies do, and its name does not show the direction"
    return None


def doubts_of_directions(reasons: Mapping[str, str]) -> list[str]:
    """Return a sentence for each reason why more may be better for metrics, with what to do about it."""
    out = []
    for reason in dict.fromkeys(reasons.values()):
        names = [name for name, why in reasons.items() if why == reason]
        shown = listing(names, limit=3)
        up, down = (" ".join(f"--{way}-is-better {quote(name)}" for name in names[:3]) for way in ("more", "less"))
        how = either(f"swarm.better(more={names[:3]}) or swarm.better(less={names[:3]})", f"{up} or {down}")
        out.append(
            f"less of {shown} is taken as better, but {'it' if len(names) == 1 else 'each'} {reason}: set which way is better when "
            f"the laws are fitted, {how}."
        )
    return out
