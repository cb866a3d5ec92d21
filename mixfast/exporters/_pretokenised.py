"""Loaders of pre-tokenised files that take weights beside paths: Megatron-LM, NeMo, nanotron, MosaicML Streaming, OLMo-core, Olmix, levanter.

All but Streaming draw sequences of equal length, so shares of tokens go out as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mixfast.exporters._draft import Counts, Draft, Paths, in_order, yaml_text
from mixfast.exporters._result import Export, ExportError
from mixfast.exporters._schedules import stages_of
from mixfast.mixture import Mixture
from mixfast.sampler import MixtureSchedule

# BlendedDataset holds the number of a data set as int16.
_MEGATRON_MOST = 32767
# levanter packs the place in a block into 16 bits.
_LEVANTER_MOST = 65535
# Below this relative change its rounding is not worth a note.
_LEVANTER_SAID = 1e-2
# Rounding of counts and of whole sequences must not push a source over its limit, where OLMo-core refuses it.
_REPETITION_ROOM = 0.01


def megatron(mixture: Mixture, *, paths: Paths | None = None) -> Export:
    """Write the file of Megatron-LM's ``--data-args-path``: ``share prefix share prefix ...``, one pair a line.

    Written for megatron-core 0.19 (``--data-path`` takes the same words). Weights are shares of training sequences,
    whatever the sizes of the data sets; all must be above 0.

    Parameters
    ----------
    mixture : Mixture
    paths : mapping of str to str, or str
        Prefix of each domain's ``.bin`` and ``.idx``, without white space; or a pattern with ``{domain}``.

    Returns
    -------
    Export

    Raises
    ------
    ExportError
        If a prefix is missing or has white space, or there are more than 32 767 domains.
    """
    draft = Draft.of("megatron", mixture)
    prefixes = _words(draft, paths)
    if len(prefixes) > _MEGATRON_MOST:
        raise ExportError(f"megatron blends at most {_MEGATRON_MOST} data sets, got {len(prefixes)}")
    shares = draft.mixture.as_dict()
    return draft.done("".join(f"{share!r} {prefixes[name]}\n" for name, share in shares.items()), ".txt", shares)


def nemo(mixture: Mixture, *, paths: Paths | None = None) -> Export:
    """Write NeMo's ``paths`` as YAML: ``[share, prefix, share, prefix, ...]``, as texts, which is their type there.

    Written for the ``PreTrainingDataModule`` of NeMo 2, which hands the list to Megatron-LM. NeMo 3 trains no language
    models; Megatron Bridge, which does, takes this list as ``data_path``, or the file of `megatron` as
    ``data_args_path``. Parameters and errors are those of `megatron`.
    """
    draft = Draft.of("nemo", mixture)
    prefixes = _words(draft, paths)
    shares = draft.mixture.as_dict()
    draft.notes.append(in_order(shares))
    blend = [word for name, share in shares.items() for word in (repr(share), prefixes[name])]
    return draft.done(yaml_text({"paths": blend}), ".yaml", shares)


def _words(draft: Draft, paths: Paths | None) -> dict[str, str]:
    prefixes = draft.path(paths, "the path prefix of the tokenised files")
    broken = [f"{name}: {prefix!r}" for name, prefix in prefixes.items() if prefix.split() != [prefix]]
    if broken:
        raise ExportError(f"{draft.format} splits its list at white space, so a prefix has none; got {broken[0]}")
    return prefixes


def nanotron(
    mixture: Mixture | MixtureSchedule, *, paths: Paths | None = None, batch_size: int | None = None
) -> Export:
    """Write nanotron's ``data_stages``: ``dataset_folder`` and ``dataset_weights``, in one stage or those of a schedule.

    Written for nanotron's main branch of 2026-04 (Nanoset); ``paths`` gives the folder of each domain. From stage to
    stage nanotron goes on where it stood in each folder.

    Parameters
    ----------
    mixture : Mixture or MixtureSchedule
        Of a schedule, without ramps.
    paths : mapping of str to str, or str
        Folder of each domain; or a pattern with ``{domain}``.
    batch_size : int, optional
        Sequences of a global batch, for a schedule.

    Returns
    -------
    Export
        Its values are those of the first stage.

    Raises
    ------
    ExportError
        If folders are missing; a schedule has ramps, or changes inside a batch.
    """
    draft, parts = stages_of("nanotron", mixture, batch_size)
    folders = draft.path(paths, "the folder of the tokenised files")
    stages = []
    for number, (step, shares) in enumerate(parts, start=1):
        draft.notes.append(in_order(shares) if len(parts) == 1 else f"stage {number}, {in_order(shares)}")
        dataset = {
            "dataset_folder": [folders[name] for name in shares],
            "dataset_weights": list(shares.values()),
        }
        stages.append(
            {
                "name": "mixture" if len(parts) == 1 else f"mixture {number}",
                "start_training_step": step + 1,
                "data": {"seed": 42, "num_loading_workers": 1, "dataset": dataset},
            }
        )
    return draft.done(yaml_text({"data_stages": stages}), ".yaml", parts[0][1])


def streaming(
    mixture: Mixture,
    *,
    paths: Paths | None = None,
    unit: str | None = None,
    tokens: Counts | None = None,
    documents: Counts | None = None,
) -> Export:
    """Write the ``streams`` of MosaicML Streaming and llm-foundry: a ``proportion`` and a place for each domain.

    Written for mosaicml-streaming 0.13. In Python: ``[Stream(**stream) for stream in streams.values()]``. A path with
    a scheme (``s3://``) is ``remote``, any other ``local``. Proportions count samples: see ``unit`` of `export`.
    """
    draft = Draft.of("streaming", mixture)
    places = draft.path(paths, "the folder or URL of the shards")
    shares = draft.elements(unit, tokens, documents).as_dict()
    draft.notes.append("proportions are relative: epoch_size of the data set says how long an epoch is")
    streams = {
        name: {"remote" if "://" in places[name] else "local": places[name], "proportion": share}
        for name, share in shares.items()
    }
    return draft.done(yaml_text({"streams": streams}), ".yaml", shares)


def olmo_core(
    mixture: Mixture, *, paths: Paths | None = None, tokens: Counts | None = None, budget: int | None = None
) -> Export:
    """Write the ``SourceMixtureList`` of OLMo-core: ``target_ratio``, ``paths`` and, with counts, ``max_repetition_ratio``.

    Written for ai2-olmo-core 3.0. Several paths a domain and globs are fine. A domain that needs more tokens than it
    has is refused by OLMo-core, unless it may be repeated: ``tokens`` and ``budget`` say how often it is.

    Parameters
    ----------
    mixture : Mixture
    paths : mapping of str to str or sequence of str, or str
        Files of token ids; or a pattern with ``{domain}``.
    tokens : mapping of str to int, optional
        Tokens of each domain.
    budget : int, optional
        Tokens of the whole run, ``requested_tokens`` of the data set's configuration.

    Returns
    -------
    Export

    Raises
    ------
    ExportError
        If paths are missing, or only one of ``tokens`` and ``budget`` is given.
    """
    draft = Draft.of("olmo-core", mixture)
    files = draft.paths(paths, "the files of token ids")
    epochs = draft.epochs(tokens, budget)
    shares = draft.mixture.as_dict()
    sources = [
        {"source_name": name, "target_ratio": share, "paths": list(files[name])}
        | ({} if epochs is None else {"max_repetition_ratio": _repetition(epochs[name])})
        for name, share in shares.items()
    ]
    if epochs is None:
        draft.notes.append("no domain may be repeated; with tokens and budget, max_repetition_ratio is written")
    else:
        draft.notes.append(f"max_repetition_ratio is for requested_tokens: {budget}")
        _say_repeated(draft, epochs)
    return draft.done(yaml_text({"sources": sources}), ".yaml", shares)


def olmix(mixture: Mixture, *, tokens: Counts | None = None, budget: int | None = None) -> Export:
    """Write the ``mix`` of an Olmix launch file, in its flat form, with a ``repetition_factor`` for each domain.

    Written for allenai/olmix of 2026-03. ``tokens`` and ``budget`` are as for `olmo_core`; without them the factors
    are 1. Names are Olmix's, ``source:topic``.
    """
    draft = Draft.of("olmix", mixture)
    epochs = draft.epochs(tokens, budget)
    shares = draft.mixture.as_dict()
    if epochs is None:
        draft.notes.append(
            "repetition factors are 1, no domain may be repeated; with tokens and budget they are worked out"
        )
    else:
        _say_repeated(draft, epochs)
    mix = {
        name: {"weight": share, "repetition_factor": 1.0 if epochs is None else _repetition(epochs[name])}
        for name, share in shares.items()
    }
    return draft.done(yaml_text({"mix": mix}), ".yaml", shares)


def _repetition(epochs: float) -> float:
    return max(1.0, math.ceil(100.0 * (epochs + _REPETITION_ROOM)) / 100.0)


def _say_repeated(draft: Draft, epochs: dict[str, float]) -> None:
    repeated = [f"{name} {epoch:.4g}" for name, epoch in epochs.items() if epoch > 1.0]
    if repeated:
        draft.notes.append(f"domains read more than once, in epochs: {', '.join(repeated)}")


def levanter(mixture: Mixture | MixtureSchedule, *, block_size: int = 2048, batch_size: int | None = None) -> Export:
    """Write the ``train_weights`` and ``mixture_block_size`` of levanter's data configuration.

    Written for levanter of 2026-10 (``LmDataConfig``). Each block of so many sequences holds ``share * block_size``
    of a domain, rounded down, and the largest gets the rest: a share below one sequence a block is never trained on,
    which a note says. A schedule becomes a list of step and shares.

    Parameters
    ----------
    mixture : Mixture or MixtureSchedule
        Of a schedule, without ramps.
    block_size : int, default 2048
        Sequences of a block; at most 65 535.
    batch_size : int, optional
        Sequences of a batch, for a schedule.

    Returns
    -------
    Export
        Its values are those of the first part.

    Raises
    ------
    ExportError
        If ``block_size`` is not such a number; a schedule has ramps, or changes inside a batch or a block.
    """
    if isinstance(block_size, bool) or not isinstance(block_size, int) or not 1 <= block_size <= _LEVANTER_MOST:
        raise ExportError(
            f"block_size must be a whole number of sequences above 0 and at most {_LEVANTER_MOST}, got {block_size!r}"
        )
    draft, parts = stages_of("levanter", mixture, batch_size, unit=block_size)
    for step, shares in parts:
        draft.notes += [f"from step {step}: {note}" if step else note for note in _block_notes(shares, block_size)]
    weights: Any = parts[0][1] if len(parts) == 1 else [[step, shares] for step, shares in parts]
    document = {"data": {"train_weights": weights, "mixture_block_size": block_size}}
    return draft.done(yaml_text(document), ".yaml", parts[0][1])


def _block_notes(shares: Mapping[str, float], block_size: int) -> list[str]:
    """Return what levanter makes of shares: counts in a block, of which the largest is made up to its size."""
    counts = {name: int(share * block_size) for name, share in shares.items()}
    counts[max(counts, key=counts.__getitem__)] += block_size - sum(counts.values())
    notes = []
    if never := [name for name, count in counts.items() if count == 0]:
        enough = math.ceil(1.0 / min(shares.values()))
        advice = (
            f"a block size of {enough} has one of each"
            if enough <= _LEVANTER_MOST
            else f"no block has one of each, its size being at most {_LEVANTER_MOST}: drop or merge them"
        )
        notes.append(
            f"below one sequence in a block of {block_size}, so never trained on: {', '.join(never)}; {advice}"
        )
    error = {name: abs(count / block_size / shares[name] - 1.0) for name, count in counts.items() if count}
    name = max(error, key=error.__getitem__)
    if error[name] > _LEVANTER_SAID:
        notes.append(
            f"levanter rounds to whole sequences of a block: {name} becomes {counts[name] / block_size:.6g}, "
            f"not {shares[name]:.6g}; larger blocks are closer"
        )
    return notes
