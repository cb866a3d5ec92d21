"""Tell from the name of a metric which way is better, and its unit. The only list of such words; names of tasks do not tell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._text.audience import either
from mixfast._text.names import listing
from mixfast._text.visible import quote
from mixfast.swarm._far import far_from_others

# More is better for these, at any place in a name.
_MORE = re.compile(
    r"(?:^|_)(?:"
    r"accuracy|accuracies|(?:exact|extractive|numerical)_match"
    r"|(?:pass|maj\d*|cons|hits?|success|acc|em|f1|recall|precision|ndcg(?:_cut)?|mrr|map|best|any|avg|mean|[pr])@\w+"
    r"|(?:pass|maj|cons|hits?|success|acc|em|f1|recall|precision|ndcg|mrr|map)_at_(?:k|\d+)|pass\^\w+|ndcg_cut_\d+"
    r"|ndcg|mrr|mcc|matthews|mc[123]"
    r"|(?:sacre|code)?bleu\d?|rouge(?:_?(?:\d|l|lsum))?|chrf\d*|bertscore|bleurt"
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
    r"(?:^|_)(?:acc(?:_norm)?(?:_(?:raw|per_char|per_token|per_byte|bytes|uncond|mutual_info|char|token|all|ambig|disambig))?"
    r"|em|p?q?em|f1|f_?(?:score|measure)|exact|contains|math_verify|score|scores|recall|precision|map|hits?|elo(?:_rating)?|kappa|iou|meteor"
    r"|(?:spearman|pearson)(?:r|_corr\w*)?|kendall_?tau(?:_b)?|(?:percent|pct|fraction)_correct|tpr|tnr|true_(?:positive|negative)_rate"
    r"|ll(?:_per_(?:byte|char|token|word))?)$"
)
# The same, but only as the whole of a scope, except for words that say how it was averaged: probability is also a subject of exams.
_MORE_ALONE = re.compile(
    r"_?(?:(?:avg|mean|norm|normali[sz]ed|uncond)_)*(?:probs?|probability|probabilities|likelihood)(?:_norm|_per_(?:byte|char|token|word))?$"
)
# These words say that there is a number, not of what: another part of the name may be a loss or an error.
_GENERIC = ("_score", "_scores", "_primary_score")
# A score of these may be better if it is lower.
_UNWANTED = re.compile(
    r"toxic|(?<![a-z])(?:harm(?!on)|hate(?![a-z]))|repetition|memori[sz]ation|contamination|leak|duplicat|anomaly|uncertainty|crps"
)
_ATTACK = re.compile(r"(?:attack|jailbreak|unsafe)\w*_success|success\w*_(?:attack|jailbreak)")
_CHANGE = re.compile(
    r"_(?:gap|delta|reduction|improvement|gain|degradation)$|(?:acc|accuracy|score)_drop$|^(?:1|inv|inverse)_"
)
# At the end these say what the number is, whatever the task before them is called: eval_error_detection_accuracy.
_MORE_FOR_SURE = re.compile(r"(?:accuracy|acc|acc_norm|f1|exact_match|auroc|auc)$")
# Less is better for these, at any place; they win over the words above.
_LESS_UNITS = {
    "loss": None, "losses": None, "nll": None, "ce": None, "xent": None, "entropy": None, "crossentropy": None, "nats": None, "bits": None,
    "surprisal": None, "kl": None, "kld": None, "divergence": None,
    "nlogp": "logprob", "nlogprob": "logprob", "neglogprob": "logprob", "neglogp": "logprob",
    "bpb": "bits_per_byte", "bpc": "bits_per_character", "bpt": "bits_per_token",
    "ppl": "perplexity", "perplexity": "perplexity", "perplexities": "perplexity",
    "err": "error", "error": "error", "errors": "error", "wer": "error", "cer": "error", "brier": "error", "ece": "error", "mse": "error",
    "rmse": "error", "mae": "error", "toxicity": "error", "regret": "error", "ter": "error", "logloss": None, "hallucination": "error",
    "stderr": "error",
    "runtime": "seconds", "seconds": "seconds", "latency": "seconds",
}  # fmt: skip
# Less is better for these, at the end only; they win over the words above, too.
_LESS_AT_END = re.compile(
    r"(?:^|_)(?:fpr|fnr|false_(?:positive|negative)_rate|(?:fail|failure|miss|violation)_rate|bias(?:_score\w*)?|pct_stereotype)$"
)
# Sets of one metric may be numbered: loss0, loss1.
_NUMBERED = re.compile(r"(loss|nll|bpb|ppl)\d+$")
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
_UNIT_AT_END = re.compile(
    r"(?:^|_)(?:(?P<of>nats|bits)_(?:per_)?(?P<per>byte|token|char|character|word)|bpb|(?<!log_)perplexity|(?<!log_)ppl)(?:_corr|_correct)?$"
)
_UNIT_NAMES = {"bpb": "bits_per_byte", "ppl": "perplexity"}
# Losses in nats per token are lower: a uniform guess over a vocabulary of a million tokens has 14.
_LARGEST_LOSS = 20.0
_LOGPROB = re.compile(r"^_?(?:log_?(?:p|lik)|ll(?:_|$))")


_POSITIVE = "has positive values only, as losses and probabilities have and log-probabilities do not"


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case; for lm-eval's ``task/metric,filter``, those of task and metric."""
    return re.findall(r"[a-z0-9@^]+", _FILTER.sub("", name.lower()))


def told_direction(name: str) -> str | None:
    """Return "max" or "min" if the name of a metric tells which way is better, else None.

    Text in parentheses at the end, as in OLMo-core's ``eval/downstream/arc (BPB v2)``, is examined first, then the part after
    the last ``/``, then the whole name: the task of ``error_analysis/acc`` is not an error. A score tells nothing if the rest of the name
    tells that less is better, as in ``toxicity/score`` and ``arc:bpb/primary_score``.

    >>> [told_direction(name) for name in ("arc/choice_logprob", "val_loss", "arc/neg_logprob", "mmlu")]
    ['max', 'min', 'min', None]
    """
    scopes = [_decided(words) for words in _scopes(name)]
    way, word = next((found for found in scopes if found[0] is not None), (None, ""))
    if word in _GENERIC and (any(other == "min" for other, _ in scopes) or _UNWANTED.search(name.lower())):
        return None
    # Success of attacks, and changes of a metric, have no usual direction.
    last = "_".join(words_of(name.rpartition("/")[2]))
    return None if (way == "max" and _ATTACK.search(last)) or _CHANGE.search(last) else way


def told_unit(name: str) -> str | None:
    """Return the unit that the name of a metric tells; None if it tells none, as for a loss.

    Scores, errors, log-probabilities and rewards have "units" of their own, so that they are not averaged with losses.
    """
    for words in _scopes(name):
        if found := _UNIT_AT_END.search("_".join(_bare(words))):
            if found["of"]:
                return f"{found['of']}_per_{'character' if found['per'] == 'char' else found['per']}"
            bare = found[0].strip("_").partition("_")[0]
            return _UNIT_NAMES.get(bare, bare)
        way, word = _decided(words)
        if way is not None:
            break
    else:
        return None
    if word in _LESS_UNITS:
        # A logarithm of a perplexity is a loss in nats.
        return None if _LESS_UNITS[word] == "perplexity" and "log" in words else _LESS_UNITS[word]
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
    joined = "_".join(_bare(words))
    if (sure := _MORE_FOR_SURE.search(joined)) and joined[: sure.start()].endswith("_"):
        at = joined[: sure.start()].count("_")
        return ("min" if _is_negated(words, at) else "max"), "_" + sure[0]
    for at, given in enumerate(words):
        numbered = _NUMBERED.match(given)
        word = given if numbered is None else numbered[1]
        if word in _LESS_UNITS:
            return ("max" if _is_negated(words, at) else "min"), word
    if _LESS_AT_END.search(joined):
        return "min", "error"
    if found := _MORE.search(joined) or _MORE_AT_END.search(joined) or _MORE_ALONE.match(joined):
        at = joined[: found.start() + 1].count("_")
        return ("min" if _is_negated(words, at) else "max"), "_" + found[0].lstrip("_")
    return None, ""


def _is_negated(words: Sequence[str], at: int) -> bool:
    """Return whether a word for "negative" precedes the deciding one, as in neg_logprob, but not in false_negative_error."""
    while at > 0 and words[at - 1] in _BETWEEN:
        at -= 1
    return at > 0 and words[at - 1] in _NEGATIONS and (at < 2 or words[at - 2] not in ("false", "true"))


def in_doubt(values: Vector, way: str, *, assumed: bool, unit: str | None = None) -> str | None:
    """Return why the direction of a metric with these values is in doubt, or None.

    Parameters
    ----------
    values : (R,) float64
        NaN for runs without a value.
    way : "min" or "max"
        The direction that the name tells, or that was assumed because it does not; never given by the user.
    assumed : bool
    unit : str, optional
    """
    # A diverged run says nothing of what the metric is.
    known = values[np.isfinite(values) & ~far_from_others(values)]
    if not known.size:
        return None
    if way == "max":
        return _POSITIVE if unit == "logprob" and known.min() > 0.0 else None
    if known.min() < 0.0:
        return "has negative values, as log-probabilities and rewards have and losses do not"
    if assumed and known.max() > _LARGEST_LOSS:
        return f"has values above {_LARGEST_LOSS:g}, as percentages do and losses per token do not, and its name does not show the direction"
    if assumed and known.max() <= 1.0 and np.ptp(known) > 0.0:
        return "lies between 0 and 1, as accuracies do, and its name does not show the direction"
    return None


def doubts_of_directions(reasons: Mapping[str, str]) -> list[str]:
    """Return a sentence for each reason why the other direction may be right for metrics, with what to do about it."""
    out = []
    for reason in dict.fromkeys(reasons.values()):
        names = [name for name, why in reasons.items() if why == reason]
        shown = listing(names, limit=3)
        up, down = (" ".join(f"--{way}-is-better {quote(name)}" for name in names[:3]) for way in ("more", "less"))
        how = either(f"swarm.better(more={names[:3]}) or swarm.better(less={names[:3]})", f"{up} or {down}")
        out.append(
            f"{'more' if reason == _POSITIVE else 'less'} of {shown} is taken as better, but {'it' if len(names) == 1 else 'each'} {reason}: set "
            f"which way is better when the laws are fitted, {how}."
        )
    return out
