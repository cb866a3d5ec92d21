"""Classify columns of a table of runs by name: ids, bookkeeping of a tracker, by-products of a metric; and match patterns of names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

from mixfast._text.names import listing, misspelt
from mixfast._text.names import matching as matching_one
from mixfast.swarm._checks import SwarmError
from mixfast.swarm._metric_names import told_direction, words_of

ID_NAMES = ("run", "run_id", "index", "id", "run_name", "name", "display_name")
"""Columns that may name the runs, in this order: the first that both tables have is used, the others are bookkeeping."""

CHOSEN = "chosen"

# In lower case, with _ between words.
_TRACKED = """
group state status url run_url tags notes user username entity project sweep sweep_id job_type host hostname commit git_commit created
created_at updated updated_at started finished start_time end_time heartbeat_at relative_time relative_time_(process)
relative_time_(wall) date time timestamp _timestamp _runtime _step _wandb description
"""
# Also after the name of an evaluation or a trainer: train/global_step, eval_samples_per_second.
_METERS = """
runtime wall_time walltime wall_clock wall_clock_time duration elapsed elapsed_time total_time loading_time step steps global_step
iteration iterations epoch epochs gpu_hours gpu_days gpu_count num_gpus n_gpus gpu_type gpus mfu throughput flops total_flops train_flops
total_flos samples_per_second steps_per_second tokens_per_second tokens_per_sec seed data_seed trainer_seed random_seed model_seed
learning_rate lr max_lr peak_lr min_lr weight_decay batch_size global_batch_size micro_batch_size warmup warmup_steps model_size n_params
num_params num_parameters params_count n_layers num_layers n_heads num_heads d_model hidden_size vocab_size seq_len sequence_length
context_length dropout n_tokens num_tokens total_tokens train_tokens tokens_seen n_tokens_seen num_input_tokens_seen consumed_tokens
consumed_samples consumed_train_samples grad_norm gradient_norm global_grad_norm total_grad_norm params_norm param_norm loss_scale
num_zeros iteration_time jit_compilation_time model_preparation_time world_size tflops tps
"""
_METER_NAMES = frozenset(_METERS.split())
BOOKKEEPING = frozenset([*ID_NAMES, CHOSEN, "", *_TRACKED.split()]) | _METER_NAMES
"""Columns that are never domains or metrics: what Olmix and experiment trackers write beside them."""

# How pandas names the nameless columns of a file.
_NAMELESS = "unnamed:"
_METER_AT_END = re.compile(
    r"_(?:runtime|samples_per_second|steps_per_second|tokens_per_second|loading_time|jit_compilation_time"
    r"|model_preparation_time|gpu_hours)$"
)
# Standard errors of a metric.
_SPREAD = re.compile(r"(?:^|_)(?:stderr|std_err|std_error|standard_error|standard_deviation|stddev|stdev)(?=_|$)")
_SPREAD_AT_END = re.compile(r"_(?:std|sem|ci95)$")
# These also stand for languages: sd is Sindhi, se is Northern Sami.
_TWO_LETTERS = ("sd", "se", "ci")
_SPREAD_OR_LANGUAGE = re.compile(r"[_/.](?:sd|se|var|ci)$")
# Number of examples on which a metric was measured.
_COUNT = re.compile(
    r"(?:^|_)(?:n|num|number_of|total)_(?:samples?|examples?|instances?|docs?|documents?|questions?|items?|shots?|fewshot)$"
    r"|(?:^|_)(?:sample|example|instance|doc|document|question)s?_(?:count|len|length)$"
)


def spelled(name: str) -> str:
    """Return a name of a column in lower case, with _ for spaces and hyphens: "Run ID" is run_id."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def is_bookkeeping(name: str) -> bool:
    """Return whether a column with this name is a domain or a metric only if it is asked for."""
    bare = spelled(name)
    return bare in BOOKKEEPING or bare.startswith((_NAMELESS, "_wandb", "system/"))


def is_unsure(name: str) -> bool:
    """Return whether this name of bookkeeping may also be the name of a domain: "notes" may, "runtime" and "_step" may not."""
    bare = spelled(name)
    return bare in _TRACKED.split() and not bare.startswith("_")


def is_by_product(name: str, beside: Collection[str] = ()) -> bool:
    """Return whether a column of metrics belongs to another one: its standard error, its number of examples, or its run time.

    ``loss_sd`` and ``loss_se`` are deviations and errors only if ``loss`` is ``beside`` them and ``loss_de`` is not; otherwise they are languages.

    >>> [
    ...     is_by_product(name)
    ...     for name in ("arc/acc_stderr,none", "quiz/example_count", "train/global_step", "arc/acc,none")
    ... ]
    [True, True, True, False]
    """
    plain = name.partition(",")[0]
    last = spelled(re.split(r"[/.]", plain)[-1])
    joined = "_".join(words_of(plain.rpartition("/")[2]))
    if last in _METER_NAMES or _METER_AT_END.search(last) or _SPREAD.search(joined) or _COUNT.search(joined):
        return True
    own = plain.lower()
    if mark := _SPREAD_OR_LANGUAGE.search(own):
        bare = own[: mark.start()]
        plain_names, stems = _of_others(tuple(beside))
        return own[:-2] not in stems and bare in plain_names
    found = _SPREAD_AT_END.search(joined)
    return found is not None and told_direction(joined[: found.start()]) is not None


@lru_cache(maxsize=4)
def _of_others(beside: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of metrics, also without the name of an evaluation; and the parts before two letters that may be a language."""
    others = [one.partition(",")[0].lower() for one in beside]
    stems = (one[:-2] for one in others if one[-2:].isalpha() and one[-2:] not in _TWO_LETTERS)
    return frozenset([*others, *(one.rpartition("/")[2] for one in others)]), frozenset(stems)


def matching(names: Sequence[str], wanted: str | Iterable[str], what: str) -> list[str]:
    """Return the names that the wanted names and patterns match, each once, in the order wanted; an exact name wins over a pattern.

    Raises
    ------
    SwarmError
        If one of them matches nothing; ``what`` says in which argument it was given.
    """
    given = [wanted] if isinstance(wanted, str) else list(wanted or ())
    found: list[str] = []
    unknown = []
    known = set(names)
    for name in given:
        meant = [name] if name in known else matching_one(names, name)
        found += meant
        if not meant:
            unknown.append(name)
    if unknown:
        raise SwarmError(
            f"{what} names columns that do not exist: {misspelt(unknown, names)}; the columns are: {listing(map(repr, names))}"
        )
    return list(dict.fromkeys(found))
