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
group state status url run_url experiment_id artifact_uri tags notes user username entity project sweep sweep_id job_type host hostname commit git_commit created
created_at updated updated_at started finished start_time end_time heartbeat_at relative_time relative_time_(process)
relative_time_(wall) date time timestamp _timestamp _runtime _step _wandb description createdat updatedat heartbeatat
"""
# Also after the name of an evaluation or a trainer: train/global_step, eval_samples_per_second.
_METERS = """
runtime wall_time walltime wall_clock wall_clock_time duration elapsed elapsed_time total_time loading_time train_time training_time eval_time
iteration_time total_evaluation_time_seconds step steps global_step num_steps total_steps train_steps max_steps max_iters save_steps eval_steps
logging_steps checkpoint_step ckpt_step iteration iterations epoch epochs num_epochs num_train_epochs run_progress gpu_hours gpu_days gpu_count
num_gpus n_gpus gpu_type gpus gpus_per_node gpu_mem gpu_memory peak_memory max_memory cpu_count logical_cpu_count num_nodes n_nodes world_size
local_rank num_workers mfu throughput tps tflops petaflops total_petaflops flops total_flops train_flops compute_flops total_flos
samples_per_second examples_per_second steps_per_second tokens_per_second tokens_per_sec seed seeds random_state learning_rate lr max_lr peak_lr
min_lr lr_max lr_min lr_decay weight_decay wd momentum beta1 beta2 adam_beta1 adam_beta2 adam_epsilon adam_eps grad_norm total_grad_norm
gradient_norm params_norm param_norm num_zeros loss_scale grad_clip clip_grad max_grad_norm load_imbalance batch_size global_batch_size
micro_batch_size global_bs micro_bs gbs mbs per_device_train_batch_size per_device_eval_batch_size batch_tokens tokens_per_batch
tokens_per_step warmup warmup_steps warmup_ratio warmup_frac model_size model_params n_params num_params num_parameters params_count
parameter_count total_params active_params num_active_params non_embedding_params n_layer n_layers num_layers num_hidden_layers n_head n_heads
num_heads num_attention_heads num_key_value_heads num_kv_heads n_embd d_model d_ff ffn_dim head_dim hidden_size intermediate_size vocab_size
seq_len seqlen max_seq_len sequence_len sequence_length context_length max_position_embeddings block_size rope_theta dropout tokens n_tokens
num_tokens total_tokens train_tokens tokens_seen n_tokens_seen num_tokens_seen num_input_tokens_seen token_budget
trainer_seed data_seed model_seed random_seed consumed_samples consumed_tokens consumed_train_samples model_preparation_time
jit_compilation_time global_grad_norm
"""
_METER_NAMES = frozenset(_METERS.split())
BOOKKEEPING = frozenset([*ID_NAMES, CHOSEN, "", *_TRACKED.split()]) | _METER_NAMES
"""Columns that are never domains or metrics: what Olmix and experiment trackers write beside them."""

# How pandas names the nameless columns of a file.
_NAMELESS = "unnamed:"
_METER_AT_END = re.compile(
    r"_(?:runtime|samples_per_second|steps_per_second|tokens_per_second|(?:loading|preparation|compilation)_time|gpu_hours|seed)$"
)
# A unit behind the name, as torchtitan writes it: mfu(%).
_UNIT = re.compile(r"_?\((?:%|s|ms|tps|gi?b|mi?b|group_\d+)\)$")
# The first part of the names of settings, as W&B and MLflow export them; and of measurements of the machine or the optimiser.
_SETTINGS = re.compile(r"(?:config|args|hparams|params|tags|_wandb)[/.]")
_MACHINE = re.compile(
    r"(?:train/)?(?:throughput|optim|optimi[sz]er|time_metrics|timers?|memory|hardware|checkpoint|lr_scheduler)/"
)
# The same values over another axis, as Megatron writes them.
_OTHER_AXIS = re.compile(r"_vs_(?:samples|steps|tokens)$")
# Standard errors of a metric.
_SPREAD = re.compile(r"(?:^|_)(?:stderr|std_err|std_error|standard_error|standard_deviation|stddev|stdev)(?=_|$)")
_SPREAD_AT_END = re.compile(r"_(?:std|sem|ci|ci95|(?:ci_)?(?:low|lower|high|upper)(?:_bound)?)$")
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
    last = _UNIT.sub("", spelled(re.split(r"[/.]", plain)[-1]))
    joined = "_".join(words_of(plain.rpartition("/")[2]))
    if _SETTINGS.match(plain) or _OTHER_AXIS.search(joined) or (_MACHINE.match(plain) and told_direction(name) is None):
        return True
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
