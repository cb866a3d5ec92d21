"""What the name of a metric tells: which way is better, and its unit. The one list of such words; names of tasks tell nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._text.audience import either
from mixfast._text.names import listing
from mixfast._text.visible import quote

# Metrics of which more is better, wherever they stand in a name.
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
# The same, but only at the end: elsewhere these words may well belong to the name of a task.
_MORE_AT_END = re.compile(
    r"(?:^|_)(?:acc|acc_norm|acc_raw|acc_per_char|acc_per_token|acc_per_byte|acc_bytes|acc_uncond|acc_mutual_info|acc_char|acc_token"
    r"|em|f1|exact|contains|math_verify|score|scores|recall|precision|map|hits?|elo|kappa|iou|meteor|spearman|pearson)$"
)
# Metrics of which less is better, wherever they stand; beside one of the words above they decide.
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
# Before the deciding word these turn it round, and those may stand between: scikit-learn has neg_mean_squared_error.
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
# Losses in nats per token stay below: a uniform guess over a vocabulary of a million has 14.
_LARGEST_LOSS = 20.0
_LOGPROB = re.compile(r"^_?log_?(?:p|lik)")


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case: of lm-eval's ``task/metric,filter`` those of task and metric."""
    return re.findall(r"[a-z0-9@^]+", _FILTER.sub("", name.lower()))


def told_direction(name: str) -> str | None:
    """Return "max" or "min" where the name of a metric tells which way is better, None where it does not.

    What stands in parentheses at the end, as in OLMo-core's ``eval/downstream/arc (BPB v2)``, tells first, then what
    follows the last ``/``, then the whole name: the task of ``error_analysis/acc`` is no error.

    >>> [told_direction(name) for name in ("arc/choice_logprob", "val_loss", "arc/neg_logprob", "mmlu")]
    ['max', 'min', 'min', None]
    """
    return next((way for words in _scopes(name) if (way := _decided(words)[0]) is not None), None)


def told_unit(name: str) -> str | None:
    """Return the unit that the name of a metric tells, None where it tells none, as a loss does.

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
    """Lists of words to look at, one after the other until one tells something."""
    plain = _FILTER.sub("", name)
    if inner := _IN_PARENTHESES.search(plain):
        yield words_of(inner[1])
    sign = ["neg"] if name.lstrip().startswith("-") else []
    if "/" in plain:
        yield sign + words_of(plain.rpartition("/")[2])
    yield sign + words_of(plain)


def _bare(words: Sequence[str]) -> list[str]:
    """The words without those that may follow the deciding one."""
    bare = list(words)
    while len(bare) > 1 and _BEHIND.match(bare[-1]):
        bare.pop()
    return bare


def _decided(words: Sequence[str]) -> tuple[str | None, str]:
    """Which way is better, and the word that decided it: of _LESS_UNITS, or with a leading _ of the other list."""
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
    """Whether a word for "negative" stands before the deciding one, as in neg_logprob, but not in false_negative_error."""
    while at > 0 and words[at - 1] in _BETWEEN:
        at -= 1
    return at > 0 and words[at - 1] in _NEGATIONS and (at < 2 or words[at - 2] not in ("false", "true"))


def in_doubt(values: Vector, way: str, *, assumed: bool) -> str | None:
    """Return why "less is better" is in doubt for a metric with these values, None where it is not.

    Parameters
    ----------
    values : (R,) float64
        NaN where a run has none.
    way : "min" or "max"
        Not given by the user: told by the name, or assumed where it tells nothing.
    assumed : bool
    """
    known = values[np.isfinite(values)]
    if way != "min" or not known.size:
        return None
    if known.min() < 0.0:
        return "has negative values, as log-probabilities and rewards have and losses do not"
    if assumed and known.max() > _LARGEST_LOSS:
        return f"has values above {_LARGEST_LOSS:g}, as percentages do and losses per token do not, and its name tells nothing"
    if assumed and known.max() <= 1.0 and np.ptp(known) > 0.0:
        return "lies between 0 and 1, as accuracies do, and its name tells nothing"
    return None


def doubts_of_directions(reasons: Mapping[str, str]) -> list[str]:
    """Return a sentence for each reason why metrics may be better the other way, with what to do about it."""
    out = []
    for reason in dict.fromkeys(reasons.values()):
        names = [name for name, why in reasons.items() if why == reason]
        shown = listing(names, limit=3)
        up, down = (" ".join(f"--{way}-is-better {quote(name)}" for name in names[:3]) for way in ("more", "less"))
        how = either(f"swarm.better(more={names[:3]}) or swarm.better(less={names[:3]})", f"{up} or {down}")
        out.append(
            f"less of {shown} is taken for better, but {'it' if len(names) == 1 else 'each'} {reason}: say which way is better when "
            f"the laws are fitted, {how}."
        )
    return out
